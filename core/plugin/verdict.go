package plugin

import (
	"fmt"
	"net/url"
	"slices"

	"github.com/souk-market/souk/sdk/abi"
)

// Bounds of the verdict of a sign-in.
const (
	maxFields = 32
	maxState  = 4 << 10
)

var fieldKinds = []string{"text", "email", "username", "password", "code", "hidden", "note"}

type entitleAnswer struct {
	abi.EntitleVerdict
	apps int
}

func (a *entitleAnswer) read(b []byte, _ *Spec) (wrong string) {
	if err := a.EntitleVerdict.Read(b); err != nil {
		return err.Error()
	}
	if len(a.Items) != a.apps {
		return wrongCount(len(a.Items), a.apps)
	}
	for i := range a.Items {
		if d := a.Items[i].Decision; d > abi.DecisionPass {
			return fmt.Sprintf("item %d: there is no decision %d", i, d)
		}
	}
	return ""
}

func (a *entitleAnswer) hide(s *secrets) (wrong string) {
	for i := range a.Items {
		a.Items[i].Reason = s.redact(a.Items[i].Reason)
	}
	return ""
}

type selectAnswer struct {
	abi.SelectVersionVerdict
	candidates []int // how many each app has
}

func (a *selectAnswer) read(b []byte, _ *Spec) (wrong string) {
	if err := a.SelectVersionVerdict.Read(b); err != nil {
		return err.Error()
	}
	if len(a.Items) != len(a.candidates) {
		return wrongCount(len(a.Items), len(a.candidates))
	}
	for i := range a.Items {
		c, candidates := a.Items[i].Choice, a.candidates[i]
		if c < abi.Unavailable || int(c) >= candidates {
			return fmt.Sprintf("item %d: choice %d of %d candidates", i, c, candidates)
		}
	}
	return ""
}

func (a *selectAnswer) hide(s *secrets) (wrong string) {
	for i := range a.Items {
		a.Items[i].Reason = s.redact(a.Items[i].Reason)
	}
	return ""
}

type signInAnswer struct{ abi.SignInVerdict }

func (a *signInAnswer) read(b []byte, s *Spec) (wrong string) {
	if err := a.SignInVerdict.Read(b); err != nil {
		return err.Error()
	}
	if len(a.Items) != 1 {
		return wrongCount(len(a.Items), 1)
	}
	item := &a.Items[0]
	if item.Outcome > abi.SignInRedirect {
		return fmt.Sprintf("there is no outcome %d", item.Outcome)
	}
	if len(item.State) > maxState {
		return fmt.Sprintf("a state of %d bytes: at most %d are possible", len(item.State), maxState)
	}
	if len(item.Fields) > maxFields {
		return fmt.Sprintf("%d fields: at most %d are possible", len(item.Fields), maxFields)
	}
	for i := range item.Fields {
		if kind := item.Fields[i].Kind; !slices.Contains(fieldKinds, kind) {
			return fmt.Sprintf("field %d: there is no kind %q", i, cut(kind))
		}
	}
	switch item.Outcome {
	case abi.SignInDone:
		if item.Account == "" {
			return "signed in without an account"
		}
	case abi.SignInRedirect:
		return redirect(item.Location, s.Hosts)
	}
	return ""
}

// hide leaves the state alone, which the core seals.
func (a *signInAnswer) hide(s *secrets) (wrong string) {
	item := &a.Items[0]
	for _, text := range [...]*string{&item.DisplayName, &item.Title, &item.Message, &item.HTML} {
		*text = s.redact(*text)
	}
	for i := range item.Fields {
		f := &item.Fields[i]
		f.Label, f.Value = s.redact(f.Label), s.redact(f.Value)
	}
	switch {
	case s.holds(item.Account):
		return "the account holds a secret"
	case s.holds(item.Location):
		return "the redirect holds a secret"
	case slices.ContainsFunc(item.Grants, s.holds):
		return "a grant holds a secret"
	case slices.ContainsFunc(item.Fields, func(f abi.FormField) bool { return s.holds(f.Name) }):
		return "the name of a field holds a secret"
	}
	return ""
}

// redirect refuses to send a person, with what the address carries, to where
// the operator didn't say.
func redirect(location string, hosts []string) (wrong string) {
	u, err := url.Parse(location)
	switch {
	case err != nil || u.Host == "" || u.User != nil:
		return fmt.Sprintf("a redirect to %q, which is no address", cut(location))
	case !slices.Contains(hosts, u.Host):
		return fmt.Sprintf("a redirect to host %q, which is not on its list of hosts", cut(u.Host))
	case u.Scheme == "https", u.Scheme == "http" && slices.Contains([]string{"localhost", "127.0.0.1", "::1"}, u.Hostname()):
		return ""
	}
	return fmt.Sprintf("a redirect to %q: only https is possible", cut(location))
}

type exchangeAnswer struct{ abi.ExchangeVerdict }

func (a *exchangeAnswer) read(b []byte, _ *Spec) (wrong string) {
	if err := a.ExchangeVerdict.Read(b); err != nil {
		return err.Error()
	}
	if len(a.Items) != 1 {
		return wrongCount(len(a.Items), 1)
	}
	switch item := &a.Items[0]; {
	case item.Outcome > abi.ExchangeRefused:
		return fmt.Sprintf("there is no outcome %d", item.Outcome)
	case item.Outcome == abi.ExchangeAccepted && item.Account == "":
		return "accepted without an account"
	}
	return ""
}

func (a *exchangeAnswer) hide(s *secrets) (wrong string) {
	item := &a.Items[0]
	item.Reason = s.redact(item.Reason)
	if s.holds(item.Account) {
		return "the account holds a secret"
	}
	return ""
}

func wrongCount(have, want int) string {
	return fmt.Sprintf("%d items, the question has %d", have, want)
}

// cut shortens what a guest said for the log.
func cut(s string) string {
	if len(s) > 64 {
		return s[:64]
	}
	return s
}
