package coretest_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/souk-market/souk/core"
	"github.com/souk-market/souk/core/coretest"
	"github.com/souk-market/souk/core/plugin"
)

const upstreamAuthorize = "https://id.example.com/authorize?client_id=souk&scope=openid"

// upstreamStart runs a server whose people sign in at another provider.
func upstreamStart(t *testing.T, location string) *coretest.Server {
	wasm := buildGuest(t, "upstream")
	return coretest.Start(t, func(c *core.Config) {
		quick(c)
		spec := plugin.DefaultSpec()
		spec.Name, spec.Wasm, spec.Hosts = "upstream", wasm, []string{"id.example.com"}
		spec.Config = map[string]any{"location": location}
		spec.Deadline *= 50
		spec.StartDeadline *= 30
		c.Plugin = append([]plugin.Spec{spec}, c.Plugin...)
	})
}

// sent reads where a person was sent, and the state that was sealed for them.
func (a answer) sent(t *testing.T) (state string) {
	t.Helper()
	u, err := url.Parse(a.header.Get("Location"))
	if err != nil || a.status != 302 && a.status != 303 || u.Host != "id.example.com" {
		t.Fatalf("answered %d to %q, want a redirect to the provider: %s", a.status, a.header.Get("Location"), a.body)
	}
	q := u.Query()
	if q.Get("client_id") != "souk" || q.Get("scope") != "openid" || len(q["state"]) != 1 {
		t.Errorf("the provider is asked with %v, want what the plugin wrote and a state", q)
	}
	unreserved(t, "state", q.Get("state"))
	return q.Get("state")
}

// TestSignInAtAnotherProvider goes there and back.
func TestSignInAtAnotherProvider(t *testing.T) {
	t.Parallel()
	s := upstreamStart(t, upstreamAuthorize)
	r := deviceSignIn("carol@example.com")
	back := func(method, plugin string, q url.Values) answer {
		t.Helper()
		if method == http.MethodPost {
			return post(t, s.PublicURL()+"/oauth/callback/"+plugin, formType, q.Encode())
		}
		return get(t, s.PublicURL()+"/oauth/callback/"+plugin+"?"+q.Encode())
	}
	values := func(state, code string) url.Values {
		return url.Values{"state": {state}, "code": {code}, "iss": {"https://id.example.com"}}
	}
	for _, method := range []string{http.MethodGet, http.MethodPost} {
		state := get(t, authorizeURL(s, r.query())).sent(t)
		q := back(method, "upstream", values(state, "account:carol@example.com")).led(t, deviceRedirect)
		if q.Get("code") == "" || q.Get("state") != r.state {
			t.Fatalf("%s: the way back led to %v, want a code and the state of the device", method, q)
		}
		token(t, s, r.redemption(q.Get("code"))).granted(t, method)
	}
	if list := accounts(t, s); !strings.Contains(list, `"code iss"`) {
		t.Errorf("the plugin was handed other parameters than code and iss: %s", list)
	}

	// On the way there may be pages, and another round.
	r = deviceSignIn("page@example.com")
	p := open(t, s, r.query())
	if csp := p.header.Get("Content-Security-Policy"); !strings.Contains(csp, "form-action 'self' app-distribution-oauth: https://id.example.com;") {
		t.Errorf("the page's policy %q doesn't let its form lead to the provider", csp)
	}
	state := p.submit(t, "", "").sent(t)
	state = back(http.MethodGet, "upstream", values(state, "again")).sent(t)
	p = back(http.MethodGet, "upstream", values(state, "page")).page(t, s.PublicURL()+"/oauth/authorize")
	if p.status != 200 || p.kinds["field_pin"] != "text" {
		t.Errorf("the page after the way back is %d %s", p.status, p.body)
	}

	q := back(http.MethodGet, "upstream", url.Values{"state": {state}, "error": {"access_denied"}}).led(t, deviceRedirect)
	if q.Get("error") != "access_denied" || q.Get("state") != r.state {
		t.Errorf("a refusal of the provider led to %v, want access_denied", q)
	}

	state = get(t, authorizeURL(s, deviceSignIn("carol@example.com").query())).sent(t)
	other := open(t, s, deviceSignIn("page@example.com").query()).fields["transaction"]
	late := values(state, "account:carol@example.com")
	for name, test := range map[string]struct {
		plugin string
		q      url.Values
	}{
		"another plugin":             {"accounts", values(state, "account:carol@example.com")},
		"no such plugin":             {"x", values(state, "account:carol@example.com")},
		"no state":                   {"upstream", url.Values{"code": {"account:carol@example.com"}}},
		"a state that was changed":   {"upstream", values(state[:len(state)-4]+"AAAA", "account:carol@example.com")},
		"a page's transaction":       {"upstream", values(other, "account:carol@example.com")},
		"a state twice":              {"upstream", url.Values{"state": {state, state}}},
		"a state that nobody sealed": {"upstream", values(strings.Repeat("A", 200), "account:carol@example.com")},
	} {
		a := back(http.MethodGet, test.plugin, test.q)
		if a.status != 400 || a.header.Get("Location") != "" {
			t.Errorf("%s: answered %d to %q, want a page of 400", name, a.status, a.header.Get("Location"))
		}
	}
	// What was sealed for the provider is no page's transaction either.
	if a := (page{at: s.PublicURL(), action: "/oauth/authorize"}).send(t, url.Values{"transaction": {state}, "action": {"continue"}}); a.status != 400 {
		t.Errorf("a provider's state as a transaction answered %d, want 400", a.status)
	}
	s.Clock.Advance(11 * time.Minute)
	if a := back(http.MethodGet, "upstream", late); a.status != 400 {
		t.Errorf("a way back after eleven minutes answered %d, want 400", a.status)
	}
	if log := s.Log.String(); strings.Contains(log, "account:carol") || strings.Contains(log, state) {
		t.Error("the log has a code or a state")
	}
}

func TestProviderIsOnTheList(t *testing.T) {
	t.Parallel()
	for name, location := range map[string]string{
		"another host":       "https://evil.example/authorize",
		"plain http":         "http://id.example.com/authorize",
		"a state of its own": upstreamAuthorize + "&state=mine",
	} {
		s := upstreamStart(t, location)
		res, err := agent.Get(authorizeURL(s, deviceSignIn("carol@example.com").query()))
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode < 500 || res.Header.Get("Location") != "" {
			t.Errorf("%s: answered %d to %q, want a failure and nobody sent anywhere", name, res.StatusCode, res.Header.Get("Location"))
		}
	}
}
