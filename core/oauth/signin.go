package oauth

import (
	"cmp"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/souk-market/souk/core/plugin"
	"github.com/souk-market/souk/core/store"
	"github.com/souk-market/souk/core/store/audit"
	"github.com/souk-market/souk/core/token"
	"github.com/souk-market/souk/sdk/abi"
)

// Page is what the sign-in page shows. The frame around it is the server's.
type Page struct {
	Title       string
	Message     string // a sentence for the person
	HTML        string // the plugin's own page, as it wrote it: never shown before it was sanitized. Empty = none
	Fields      []Field
	Client      string   // what the person signs in to
	LoginHint   string   // which account the device asks for; text from outside
	Transaction string   // sealed; comes back with the form. Empty = there is nothing to send
	Redirect    string   // where the answer will go: the page's CSP has to allow it
	Hosts       []string // where else: other providers that the plugin may send a person to
	Locale      string
	Status      int
	RetryAfter  time.Duration
}

// Field is one field of the form.
type Field struct{ Name, Label, Kind, Value string }

// Step is where a sign-in has got to: a page, or the way back to the client.
type Step struct {
	Page     *Page
	Redirect string
}

// transaction is a sign-in under way. It travels in the form, sealed, so that
// the page works without a cookie and on any node.
type transaction struct {
	ClientID  string            `json:"c"`
	Redirect  string            `json:"r"`
	State     string            `json:"s,omitempty"`
	Challenge string            `json:"h"`
	Hint      string            `json:"l,omitempty"`
	Account   string            `json:"a,omitempty"` // what was typed on an earlier page: attempts count for it
	Plugin    string            `json:"p"`           // the one that showed the page: no other sees the answer
	Memory    string            `json:"m,omitempty"` // what that plugin wants back
	Fields    map[string]string `json:"f,omitempty"` // name → kind of the page's fields
	Away      bool              `json:"w,omitempty"` // the person is at another provider
	Expires   int64             `json:"x"`           // unix seconds
}

// FieldPrefix stands before a plugin's field in the form, so that no field can be
// taken for one of the core's.
const FieldPrefix = "field_"

// Authorize answers GET on the authorization endpoint: it checks the request and
// asks policy for the page.
func (s *Server) Authorize(ctx context.Context, p Params, v Visitor) (*Step, error) {
	a, err := s.authorization(p)
	if err != nil {
		return nil, err
	}
	t := &transaction{
		ClientID: a.client.ID, Redirect: a.redirect, State: a.state, Challenge: a.challenge, Hint: a.hint,
		Expires: s.Now().Add(s.Config.SignIn.Std()).Unix(),
	}
	return s.ask(ctx, a, t, v, abi.SignInShow, nil, 0)
}

// Submit answers POST on the authorization endpoint: one step of a sign-in.
func (s *Server) Submit(ctx context.Context, p Params, v Visitor) (*Step, error) {
	t, a, err := s.resume(token.PurposeSignIn, p["transaction"])
	if err != nil {
		return nil, err
	}
	if p["action"] == "cancel" {
		// The plugin is told but has no say.
		_, _ = s.ask(ctx, a, t, v, abi.SignInCancel, nil, 0)
		return nil, a.refuse(s, Errorf(AccessDenied, "the person cancelled"))
	}
	fields, typed := t.submitted(p)
	t.Account = cmp.Or(typed, t.Account, t.Hint)
	return s.attempt(ctx, a, t, v, abi.SignInSubmit, fields)
}

// attempt puts to policy what may be a guess, within the limits. That it failed is
// stored before anybody learns it; where it can't be, nobody does.
func (s *Server) attempt(ctx context.Context, a *authorization, t *transaction, v Visitor, m abi.SignInMethod, fields []abi.SubmittedField) (*Step, error) {
	account := t.Account
	failed, wait, err := s.Attempts.Take(ctx, account, v.Address)
	switch {
	case err != nil:
		return nil, err
	case wait > 0:
		s.limited(ctx, account, v.Address, failed > 0)
		return s.tooMany(a, t, v, wait), nil
	}
	step, err := s.ask(ctx, a, t, v, m, fields, failed)
	var refused *Error
	switch {
	case err == nil && step.Page == nil && t.Away: // what comes of it is not known yet
	case err == nil && step.Page == nil:
		if err := s.Attempts.Forget(ctx, account, v.Address); err != nil {
			s.log().Error("failed attempts still count against who has signed in", "account", account, "error", err)
		}
	case err == nil, errors.As(err, &refused) && refused.Code == AccessDenied:
		if err := s.Attempts.Failed(ctx, account); err != nil {
			return nil, err
		}
	}
	return step, err
}

// tooMany is the page for who has to wait.
func (s *Server) tooMany(a *authorization, t *transaction, v Visitor, wait time.Duration) *Step {
	s.log().Warn("sign-in refused: too many attempts", "client", t.ClientID, "address", v.Address)
	return &Step{Page: &Page{
		Title: "Too many attempts", Message: "Wait a while, then try again.", Client: s.name(a.client),
		LoginHint: t.Hint, Redirect: a.redirect, Locale: v.Locale, Status: 429, RetryAfter: wait,
	}}
}

// resume opens a transaction and checks again what may have changed since.
func (s *Server) resume(purpose token.Purpose, sealed string) (*transaction, *authorization, error) {
	plain, err := s.Ring().Open(purpose, sealed)
	if err != nil {
		return nil, nil, Errorf(InvalidRequest, "this sign-in page is not one of ours: go back to the app and begin again").because(err)
	}
	var t transaction
	if err := json.Unmarshal(plain, &t); err != nil {
		return nil, nil, Errorf(ServerError, "the sign-in can't be continued").because(err)
	}
	client, ok := s.Clients.ByID(t.ClientID)
	if !ok || !client.Redirects(t.Redirect) {
		return nil, nil, Errorf(InvalidRequest, "the app was removed while this page was open")
	}
	a := &authorization{client: client, redirect: t.Redirect, state: t.State, challenge: t.Challenge, hint: t.Hint}
	if s.Now().Unix() >= t.Expires {
		return nil, nil, Errorf(InvalidRequest, "this sign-in page has expired: go back to the app and begin again")
	}
	return &t, a, nil
}

// submitted picks the page's own fields out of a form, and the account that the
// person typed.
func (t *transaction) submitted(p Params) (fields []abi.SubmittedField, account string) {
	for _, name := range slices.Sorted(maps.Keys(t.Fields)) {
		value := p[FieldPrefix+name]
		if kind := t.Fields[name]; kind == "email" || kind == "username" {
			account = cmp.Or(account, LoginHint(value))
		}
		fields = append(fields, abi.SubmittedField{Name: name, Value: value})
	}
	return fields, account
}

// ask puts one step of a sign-in to policy and carries out the answer.
func (s *Server) ask(ctx context.Context, a *authorization, t *transaction, v Visitor, m abi.SignInMethod, fields []abi.SubmittedField, failed int) (*Step, error) {
	call := s.Plugins.Acquire()
	defer call.Release()
	if _, err := io.ReadFull(s.Rand, call.Random[:]); err != nil {
		return nil, Errorf(ServerError, "sign-in is not possible at the moment").because(err)
	}
	call.SignIn = abi.SignInRequest{
		Head: abi.Head{
			NowMS: uint64(s.Now().UnixMilli()), Purpose: abi.PurposeSignIn, Seed: s.seed(), Client: a.client.Policy(),
		},
		Method: m, Attempts: uint32(failed), LoginHint: a.hint, ClientName: s.name(a.client),
		Locale: v.Locale, Address: v.Address, State: t.Memory, Fields: fields,
	}
	answer, name, err := call.AskSignIn(ctx, t.Plugin)
	switch {
	case errors.Is(err, plugin.ErrAbstained):
		return nil, a.refuse(s, Errorf(AccessDenied, "nobody can sign in here").because(err))
	case err != nil:
		return nil, Errorf(TemporarilyUnavailable, "sign-in is not possible at the moment: try again later").because(err)
	}
	t.Plugin = name
	switch answer.Outcome {
	case abi.SignInPage:
		return s.page(a, t, v, answer)
	case abi.SignInDone:
		if m != abi.SignInSubmit && m != abi.SignInCallback {
			return nil, Errorf(ServerError, "sign-in is not possible at the moment").
				because(errors.New("plugin " + name + " signed somebody in who sent nothing"))
		}
		return s.signedIn(ctx, a, answer, name)
	case abi.SignInRefused:
		return nil, a.refuse(s, Errorf(AccessDenied, "the sign-in was refused"))
	case abi.SignInRedirect:
		return s.away(t, answer, name)
	}
	return nil, Errorf(ServerError, "sign-in is not possible at the moment").
		because(errors.New("plugin " + name + " answered with an outcome that is not supported here"))
}

// page seals the transaction into a page. The answer's strings live in the call's
// memory, so each is copied.
func (s *Server) page(a *authorization, t *transaction, v Visitor, answer *abi.SignInAnswer) (*Step, error) {
	t.Memory = strings.Clone(answer.State)
	t.Fields = make(map[string]string, len(answer.Fields))
	p := &Page{
		Title: strings.Clone(answer.Title), Message: strings.Clone(answer.Message), HTML: strings.Clone(answer.HTML),
		Client: s.name(a.client), LoginHint: a.hint, Redirect: a.redirect, Hosts: s.Plugins.Hosts(t.Plugin), Locale: v.Locale, Status: 200,
	}
	for _, f := range answer.Fields {
		field := Field{strings.Clone(f.Name), strings.Clone(f.Label), strings.Clone(f.Kind), strings.Clone(f.Value)}
		p.Fields = append(p.Fields, field)
		if field.Kind != "note" {
			t.Fields[field.Name] = field.Kind
		}
	}
	plain, err := json.Marshal(t)
	if err != nil {
		return nil, Errorf(ServerError, "sign-in is not possible at the moment").because(err)
	}
	if p.Transaction, err = s.Ring().Seal(s.Rand, token.PurposeSignIn, plain); err != nil {
		return nil, Errorf(ServerError, "sign-in is not possible at the moment").because(err)
	}
	return &Step{Page: p}, nil
}

// signedIn keeps what policy says of the account and sends a code to the client.
func (s *Server) signedIn(ctx context.Context, a *authorization, answer *abi.SignInAnswer, name string) (*Step, error) {
	account := strings.Clone(answer.Account)
	if !ValidAccount(account) {
		return nil, Errorf(ServerError, "sign-in is not possible at the moment").
			because(errors.New("plugin " + name + " named an account that is empty, too long or not text"))
	}
	record, err := s.keep(ctx, account, name, answer)
	if err != nil {
		return nil, storeError(err)
	}
	code, err := s.mintCode(a, record)
	if err != nil {
		return nil, err
	}
	s.log().Info("signed in", "account", account, "client", a.client.ID, "plugin", name)
	return &Step{Redirect: a.answer(s, url.Values{"code": {code}})}, nil
}

// keep writes the account record; what the plugin left empty stays as it is.
func (s *Server) keep(ctx context.Context, account, plugin string, answer *abi.SignInAnswer) (store.Account, error) {
	display, territory := strings.Clone(answer.DisplayName), strings.Clone(answer.Territory)
	var grants []string
	for _, g := range answer.Grants {
		grants = append(grants, strings.Clone(g))
	}
	slices.Sort(grants)
	grants = slices.Compact(grants)
	_, err := s.Store.Account(ctx, store.SubjectID(account))
	first := errors.Is(err, store.ErrNotFound)
	if err != nil && !first {
		return store.Account{}, err
	}
	o := audit.From(ctx)
	o.Actor, o.Name = audit.Plugin, plugin
	return s.Store.UpdateAccount(audit.By(ctx, o), account, func(r *store.Account) (bool, error) {
		change := first
		if display != "" && display != r.DisplayName {
			r.DisplayName, change = display, true
		}
		if territory != "" && territory != r.Territory {
			r.Territory, change = territory, true
		}
		if len(grants) > 0 && !slices.Equal(grants, r.Grants) {
			r.Grants, change = grants, true
		}
		return change, nil
	})
}

// validName reports whether a text can be shown as a client's name.
func validName(name string) bool {
	return len(name) <= maxAccount && utf8.ValidString(name) && !strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) })
}

// ValidAccount reports whether a text can be the name of an account.
func ValidAccount(account string) bool {
	if account == "" || len(account) > maxAccount || strings.TrimSpace(account) != account {
		return false
	}
	return utf8.ValidString(account) && !strings.ContainsFunc(account, func(r rune) bool { return !unicode.IsPrint(r) })
}

func (s *Server) name(c *Client) string {
	if c.Name != "" {
		return c.Name
	}
	return s.Market
}

// seed is the randomness that policy gets for one request.
func (s *Server) seed() uint64 {
	var b [8]byte
	if _, err := io.ReadFull(s.Rand, b[:]); err != nil {
		return 0 // a plugin may not rely on it; nothing of the core does
	}
	return binary.LittleEndian.Uint64(b[:])
}
