package admin

import (
	"context"
	"crypto/rand"
	"encoding/base32"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/souk-market/souk/core/plugin"
	"github.com/souk-market/souk/core/store"
	"github.com/souk-market/souk/core/store/audit"
)

// personPrefix begins the keys of people in the data of the accounts plugin; the
// address in lower case follows. Key and value are what that plugin reads.
const personPrefix = "person/"

// person is the record of someone who signs in with a password. What the account
// may have, and where it is at home, stands in the account's own record.
type person struct {
	Email    string `json:"email"` // as the operator has written it
	Name     string `json:"name"`
	Password string `json:"password"` // argon2id hash in PHC format
	Disabled bool   `json:"disabled"`
	TOTP     string `json:"totp,omitempty"` // secret of the second step (RFC 6238), base32 without padding
}

// personView is a person as the operator sees one: without the hash and the secret.
type personView struct {
	Email      string `json:"email"`
	Name       string `json:"name"`
	Disabled   bool   `json:"disabled"`
	TOTP       bool   `json:"totp,omitempty"`       // a code is asked for after the password
	TOTPURI    string `json:"totp_uri,omitempty"`   // once, when the secret is new: for the person's authenticator app
	Unreadable bool   `json:"unreadable,omitempty"` // the record is damaged: write it again
}

func (p *person) view() personView {
	return personView{Email: p.Email, Name: p.Name, Disabled: p.Disabled, TOTP: p.TOTP != ""}
}

// personPage is a page of the listing. Next is the after of the following one.
type personPage struct {
	People []personView `json:"people"`
	Next   string       `json:"next,omitempty"`
}

// listPeople answers GET /api/people, in the order of the addresses.
func (s *Server) listPeople(ctx context.Context, r *request) error {
	after, limit, err := r.page()
	if err != nil {
		return err
	}
	limit = min(limit, maxPage-1) // the store's own bound, with the one more
	from := ""
	if after != "" {
		from = personPrefix + strings.ToLower(after)
	}
	found, err := s.people.List(ctx, personPrefix, from, limit+1)
	if err != nil {
		return err
	}
	page := personPage{People: []personView{}}
	for i, entry := range found {
		email := strings.TrimPrefix(entry.Key, personPrefix)
		if i == limit {
			page.Next = strings.TrimPrefix(found[i-1].Key, personPrefix)
			break
		}
		var p person
		if err := json.Unmarshal(entry.Value, &p); err != nil {
			s.log.Error("person not readable", "email", email, "error", err)
			page.People = append(page.People, personView{Email: email, Unreadable: true})
			continue
		}
		page.People = append(page.People, p.view())
	}
	return r.write(200, page)
}

// personChange is the body of PUT /api/people/{email}: what is missing stays.
type personChange struct {
	Password *string `json:"password"`
	Name     *string `json:"name"`
	Disabled *bool   `json:"disabled"`
	TOTP     *bool   `json:"totp"` // true makes a new secret, false takes it away

	secret string // of TOTP
}

const (
	maxPassword = 1024 // bytes
	maxName     = 255  // bytes
)

// check refuses what can't be stored, and what could not be used to sign in.
func (c *personChange) check(minPassword int) error {
	if c.Password != nil {
		switch n := utf8.RuneCountInString(*c.Password); {
		case n < minPassword:
			return problemf(400, "password: has %d characters, at least %d are needed", n, minPassword)
		case len(*c.Password) > maxPassword:
			return problemf(400, "password: has %d bytes, at most %d are taken", len(*c.Password), maxPassword)
		}
	}
	if c.Name != nil && (len(*c.Name) > maxName || strings.ContainsFunc(*c.Name, func(r rune) bool { return !unicode.IsPrint(r) })) {
		return problemf(400, "name: is longer than %d bytes, or no text in one line", maxName)
	}
	return nil
}

// apply makes the change; hash is that of the password, empty if there is none.
func (c *personChange) apply(p *person, hash string) {
	if hash != "" {
		p.Password = hash
	}
	if c.Name != nil {
		p.Name = *c.Name
	}
	if c.Disabled != nil {
		p.Disabled = *c.Disabled
	}
	if c.TOTP != nil {
		p.TOTP = c.secret
	}
}

// totpPrefix begins the keys under which the accounts plugin keeps the last code
// that was used; the address in lower case follows.
const totpPrefix = "totp/"

// newTOTP makes the secret of a second step, of as many bits as its HMAC has
// (RFC 4226 §4).
func newTOTP() string {
	var secret [20]byte
	_, _ = rand.Read(secret[:])                         // never fails
	return base32.StdEncoding.EncodeToString(secret[:]) // no padding: 20 is a multiple of 5
}

// totpURI is how an authenticator app takes a secret, as a text or as a QR code.
func totpURI(market, email, secret string) string {
	u := url.URL{Scheme: "otpauth", Host: "totp", Path: "/" + market + ":" + email}
	return u.String() + "?secret=" + secret + "&issuer=" + url.PathEscape(market)
}

// putPerson answers PUT /api/people/{email}: makes or changes someone who signs
// in with a password. "If-None-Match: *" only makes, "If-Match: *" only changes.
func (s *Server) putPerson(ctx context.Context, r *request) error {
	email, err := r.email()
	if err != nil {
		return err
	}
	var change personChange
	if err := r.read(&change); err != nil {
		return err
	}
	if err := change.check(s.oauth.Config.PasswordMin); err != nil {
		return err
	}
	hash := ""
	if change.Password != nil {
		if hash, err = plugin.HashPassword(ctx, *change.Password); err != nil {
			return fmt.Errorf("hash password: %w", err)
		}
	}
	if change.TOTP != nil && *change.TOTP {
		change.secret = newTOTP()
	}
	for {
		before, old, err := s.person(ctx, email)
		if err != nil {
			return err
		}
		if err := r.precondition(before != nil); err != nil {
			return err
		}
		var next person
		switch {
		case before != nil:
			next = *before
		case hash == "":
			return problemf(400, "password: is missing: %s is new", email)
		}
		next.Email = r.parts["email"]
		change.apply(&next, hash)
		if err := s.store.Audit(ctx, change.entry(email, before == nil)); err != nil {
			return err
		}
		switch err := s.swapPerson(ctx, email, old, next); {
		case errors.Is(err, store.ErrConflict):
			continue // somebody was faster: the change is made to what they left
		case err != nil:
			s.auditPerson(ctx, err, email, before, &next, hash != "")
			return err
		}
		s.auditPerson(ctx, nil, email, before, &next, hash != "")
		// Who knew the old password, or may no longer sign in, is signed out.
		if before != nil && (hash != "" || next.Disabled) {
			if _, err := s.signOut(ctx, email); err != nil {
				return err
			}
		}
		status := 200
		if before == nil {
			status = 201
		}
		view := next.view()
		if change.secret != "" {
			view.TOTPURI = totpURI(s.oauth.Market, email, change.secret)
		}
		return r.write(status, view)
	}
}

// precondition compares what is there with what the request wants (RFC 9110 §13.1).
func (r *request) precondition(exists bool) error {
	h := &r.http.Request.Header
	for _, c := range [...]struct {
		header   string
		fails    bool
		sentence string
	}{
		{"If-None-Match", exists, "email: there is such a person already"},
		{"If-Match", !exists, "email: there is no such person"},
	} {
		switch value := string(h.Peek(c.header)); {
		case value == "":
		case value != "*":
			return problemf(400, "%s: only * is possible", c.header)
		case c.fails:
			return problemf(412, "%s", c.sentence)
		}
	}
	return nil
}

// person reads a person and the bytes that stand for one; nil if there is none.
// A record that can't be read is as good as none, and is written over.
func (s *Server) person(ctx context.Context, email string) (*person, []byte, error) {
	value, err := s.people.Get(ctx, []byte(personPrefix+email))
	switch {
	case errors.Is(err, store.ErrNotFound):
		return nil, nil, nil
	case err != nil:
		return nil, nil, err
	}
	var p person
	if err := json.Unmarshal(value, &p); err != nil {
		return nil, value, nil
	}
	return &p, value, nil
}

func (s *Server) swapPerson(ctx context.Context, email string, old []byte, next person) error {
	value, err := json.Marshal(next)
	if err != nil {
		return fmt.Errorf("encode person: %w", err)
	}
	return s.people.Swap(ctx, []byte(personPrefix+email), old, value)
}

// entry says what a change does, and of passwords and secrets only that they are
// others.
func (c *personChange) entry(email string, made bool) audit.Entry {
	var changes []string
	for what, does := range map[string]bool{
		"added": made, "password set": c.Password != nil, "name set": c.Name != nil,
		"disabled": c.Disabled != nil && *c.Disabled, "enabled": c.Disabled != nil && !*c.Disabled,
		"second step begun": c.TOTP != nil && *c.TOTP, "second step ended": c.TOTP != nil && !*c.TOTP,
	} {
		if does {
			changes = append(changes, what)
		}
	}
	slices.Sort(changes)
	return audit.Entry{Kind: audit.PersonChanged, Account: email, Detail: map[string]string{"change": strings.Join(changes, ", ")}}
}

// auditPerson says what changed, and of the password only that it did.
func (s *Server) auditPerson(ctx context.Context, err error, email string, before, after *person, password bool) {
	s.audit(ctx, err, "person.put", slog.String("account", email),
		personAttr("old", before), personAttr("new", after), slog.Bool("password_set", password))
}

func personAttr(key string, p *person) slog.Attr {
	if p == nil {
		return slog.String(key, "")
	}
	return slog.Group(key, slog.String("name", p.Name), slog.Bool("disabled", p.Disabled), slog.Bool("totp", p.TOTP != ""))
}

// removePerson answers DELETE /api/people/{email}: nobody signs in with that
// address any more, and who has is signed out. The account and what it holds stay.
func (s *Server) removePerson(ctx context.Context, r *request) error {
	email, err := r.email()
	if err != nil {
		return err
	}
	before, value, err := s.person(ctx, email)
	if err != nil {
		return err
	}
	if value == nil {
		return problemf(404, "email: there is no such person")
	}
	if err := s.store.Audit(ctx, audit.Entry{Kind: audit.PersonRemoved, Account: email}); err != nil {
		return err
	}
	err = errors.Join(s.people.Delete(ctx, []byte(personPrefix+email)), s.people.Delete(ctx, []byte(totpPrefix+email)))
	s.audit(ctx, err, "person.remove", slog.String("account", email), personAttr("old", before))
	if err != nil {
		return err
	}
	if _, err := s.signOut(ctx, email); err != nil {
		return err
	}
	return r.done()
}
