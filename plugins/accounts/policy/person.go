package policy

import (
	"errors"
	"strings"

	"github.com/souk-market/souk/sdk/abi"
	souk "github.com/souk-market/souk/sdk/go"
	"github.com/souk-market/souk/sdk/go/value"
)

// Prefix begins the keys of the people in the plugin's part of the store; the
// lower-cased email address follows.
const Prefix = "person/"

// maxEmail is the longest address that the store has a key for. A longer one is
// nobody's, and asking for it would count as a failure of the plugin.
const maxEmail = abi.MaxKVKey - len(Prefix)

// Person is the record of one person, as JSON. The operator's command line
// writes it. Grants and territory are the account's and the core's to keep: said
// at each sign-in, they would undo what has been changed since.
type Person struct {
	Email    string `json:"email"`    // as the operator has written it
	Name     string `json:"name"`     // how to address the person
	Password string `json:"password"` // argon2id hash in PHC format; empty = nobody can sign in
	Disabled bool   `json:"disabled"` // may not sign in
	TOTP     string `json:"totp"`     // secret of the second step, base32 without padding; empty = the password is enough
}

// parsePerson reads a record. Keys that it doesn't know are ignored: an older or a
// newer command line may have written them.
func parsePerson(json []byte) (Person, error) {
	var p Person
	root, err := value.Parse(json)
	if err != nil {
		return p, err
	}
	err = root.Table(func(key string, v value.Value) (err error) {
		if v.Kind == value.Null {
			return nil
		}
		switch key {
		case "email":
			p.Email, err = v.Text()
		case "name":
			p.Name, err = v.Text()
		case "password":
			p.Password, err = v.Text()
		case "disabled":
			p.Disabled, err = v.Bool()
		case "totp":
			p.TOTP, err = v.Text()
		}
		return err
	})
	return p, err
}

// verify returns the account that has this address and password, "" when there
// is none. Whatever the reason, the answer takes as long as one verification.
func verify(email, password string) (string, Person, error) {
	account, person, err := find(strings.ToLower(email))
	if err != nil {
		return "", person, err
	}
	ok, err := souk.PasswordVerify(password, person.Password)
	if errors.Is(err, souk.ErrRefused) {
		err = nil // the password is longer than any
	}
	if !ok || person.Disabled {
		account = ""
	}
	return account, person, err
}

// find looks an account up under its address and, if that is unknown, with the
// "+" that may have become a space. An unknown account has an empty Person.
func find(account string) (string, Person, error) {
	person, ok, err := load(account)
	if spelled := plus(account); err == nil && !ok && spelled != account {
		account = spelled
		person, ok, err = load(account)
	}
	if !ok {
		account = ""
	}
	return account, person, err
}

func load(account string) (Person, bool, error) {
	if len(account) > maxEmail {
		return Person{}, false, nil
	}
	b, err := souk.KVGet(Prefix + account)
	if errors.Is(err, souk.ErrNotFound) {
		return Person{}, false, nil
	}
	if err != nil {
		return Person{}, false, err
	}
	p, err := parsePerson(b)
	if err != nil {
		// The operator has to know, the page must not tell: to the person it is an unknown account.
		souk.Log(abi.LevelError, "the record "+Prefix+account+" can't be read: "+err.Error())
		return Person{}, false, nil
	}
	return p, true, nil
}
