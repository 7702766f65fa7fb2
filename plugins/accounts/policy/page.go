// Package policy signs people in with an email address and a password, and where
// the operator wants it with a code of an authenticator app. It draws the form,
// looks the person up in the plugin's own part of the store, where the operator's
// command line has put them, and says who they are.
//
// It refuses to know HTTP, cookies and codes, which are the core's, and counts
// no attempts: the core has limited them before it asks. It never tells whether
// an account exists. An unknown address, a wrong password and a disabled
// account get the same sentence after the same time.
package policy

import (
	"errors"
	"strconv"
	"strings"

	"github.com/souk-market/souk/sdk/abi"
	"github.com/souk-market/souk/sdk/go/value"
)

// The names of the form's fields.
const (
	FieldEmail    = "email"
	FieldPassword = "password"
)

// maxText bounds each text of the configuration, in bytes.
const maxText = 2000

// warnAfter failed attempts the page says that more of them lead to a wait.
const warnAfter = 3

// Sentences for the person.
const (
	sayWrong     = "The email address or the password is not right."
	sayEmpty     = "Enter your email address and your password."
	sayWait      = "After more failed attempts you will have to wait before you can try again."
	sayOther     = "That is another account than the one that this sign-in is for."
	sayCancelled = "The sign-in was cancelled."
)

// Page is the sign-in page as the operator wants it. Its zero value is ready
// to use.
type Page struct {
	Title   string // the heading; empty = "Sign in", with the client's name if there is one
	Message string // a sentence above the form
	Help    string // a sentence below the form, e.g. whom to write to
}

// New reads the plugin's configuration.
func New(config []byte) (Page, error) {
	var p Page
	root, err := value.Parse(config)
	if err != nil {
		return p, err
	}
	err = root.Table(func(key string, v value.Value) (err error) {
		var into *string
		switch key {
		case "title":
			into = &p.Title
		case "message":
			into = &p.Message
		case "help":
			into = &p.Help
		default:
			return v.Unknown()
		}
		if *into, err = v.Text(); err == nil && len(*into) > maxText {
			err = v.Wrong("the text is longer than " + strconv.Itoa(maxText) + " bytes")
		}
		return err
	})
	return p, err
}

// SignIn answers one step of a sign-in.
func (p Page) SignIn(req *abi.SignInRequest, v *abi.SignInVerdict) error {
	var answer abi.SignInAnswer
	var err error
	switch req.Method {
	case abi.SignInShow:
		answer = p.form(req, hinted(req), "")
	case abi.SignInSubmit:
		if req.State != "" {
			answer, err = p.submitCode(req)
		} else {
			answer, err = p.submit(req)
		}
	case abi.SignInCancel:
		answer = abi.SignInAnswer{Outcome: abi.SignInRefused, Message: sayCancelled}
	default: // this plugin sends nobody to another provider
		err = errors.New("sign_in: there is no step " + strconv.Itoa(int(req.Method)) + " of this sign-in")
	}
	if err != nil {
		return err
	}
	v.Items = append(v.Items, answer)
	return nil
}

// submit checks what the person has typed.
func (p Page) submit(req *abi.SignInRequest) (abi.SignInAnswer, error) {
	typed, password := strings.TrimSpace(field(req, FieldEmail)), field(req, FieldPassword)
	if typed == "" || password == "" {
		return p.form(req, typed, sayEmpty), nil
	}
	if hint := hinted(req); hint != "" && spelling(typed) != spelling(hint) {
		// Decided before anything is looked up, so it tells nothing about either account.
		return p.form(req, typed, sayOther), nil
	}
	account, person, err := verify(typed, password)
	if err != nil {
		return abi.SignInAnswer{}, err
	}
	if account == "" {
		return p.form(req, typed, sayWrong), nil
	}
	if person.TOTP != "" {
		return p.second(req, account, person, ""), nil
	}
	return done(account, person), nil
}

func done(account string, person Person) abi.SignInAnswer {
	return abi.SignInAnswer{Outcome: abi.SignInDone, Account: account, DisplayName: person.Name}
}

// form is the page with an address filled in and a complaint, if there is one,
// in front of the other sentences.
func (p Page) form(req *abi.SignInRequest, email, complaint string) abi.SignInAnswer {
	a := abi.SignInAnswer{Outcome: abi.SignInPage, Title: p.title(req)}
	sentences := []string{complaint}
	if req.Attempts >= warnAfter {
		sentences = append(sentences, sayWait)
	}
	if hint := hinted(req); hint != "" {
		sentences = append(sentences, "Sign in as "+hint+".")
	}
	a.Message = join(append(sentences, p.Message))
	a.Fields = append(a.Fields,
		abi.FormField{Name: FieldEmail, Label: "Email address", Kind: "email", Value: email},
		abi.FormField{Name: FieldPassword, Label: "Password", Kind: "password"}) // never filled in
	return p.helped(a)
}

func (p Page) title(req *abi.SignInRequest) string {
	switch {
	case p.Title != "":
		return p.Title
	case req.ClientName != "":
		return "Sign in to " + req.ClientName
	}
	return "Sign in"
}

// helped is the answer with the operator's sentence below the form.
func (p Page) helped(a abi.SignInAnswer) abi.SignInAnswer {
	if p.Help != "" {
		a.Fields = append(a.Fields, abi.FormField{Name: "help", Kind: "note", Value: p.Help})
	}
	return a
}

func join(sentences []string) string {
	var b strings.Builder
	for _, s := range sentences {
		if s != "" && b.Len() > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(s)
	}
	return b.String()
}

func field(req *abi.SignInRequest, name string) string {
	for _, f := range req.Fields {
		if f.Name == name {
			return f.Value
		}
	}
	return ""
}

// hinted is the account that the device asks to sign in. The phone sends its
// "+" raw, which a form decoder reads as a space, and an address has no spaces.
func hinted(req *abi.SignInRequest) string {
	hint := strings.TrimSpace(req.LoginHint)
	if strings.Contains(hint, "@") {
		hint = plus(hint)
	}
	return hint
}

func plus(s string) string { return strings.ReplaceAll(s, " ", "+") }

// spelling is what two spellings of one account have in common.
func spelling(email string) string { return plus(strings.ToLower(strings.TrimSpace(email))) }
