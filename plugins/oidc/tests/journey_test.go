//go:build !wasip1

package oidc_test

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/souk-market/souk/core"
	"github.com/souk-market/souk/core/plugin"
)

// signIn signs somebody in, from the authorization request to the answer of the
// callback.
func (m *market) signIn(t testing.TB, hint string, by *signer, do func(*spec)) answer {
	t.Helper()
	m.Clock.Advance(2 * time.Second) // the log takes so many lines, and an address so many attempts
	asked := m.begin(t, newClient(), hint)
	s := m.p.good(asked, by)
	if do != nil {
		do(s)
	}
	return m.back(t, m.issued(asked, s))
}

// account returns what the core keeps of one.
func (m *market) account(t testing.TB, name string) account {
	t.Helper()
	var a account
	if err := json.Unmarshal(m.Must(t, http.MethodGet, "/api/accounts/"+url.PathEscape(name), nil), &a); err != nil {
		t.Fatal(err)
	}
	return a
}

// failures returns how often the plugin could not answer.
func (m *market) failures() uint64 {
	var n uint64
	for _, k := range m.Plugins.Plugins()[0].Hooks[0].Failures {
		n += k
	}
	return n
}

// TestJourney signs somebody in by the page and its button, twice.
func TestJourney(t *testing.T) {
	t.Parallel()
	m := start(t, func(s *plugin.Spec) {
		s.Config["immediate"], s.Config["message"] = false, "Use your work account."
	})
	name := m.p.host() + "#248289761001"
	seen := map[string]bool{}
	for range 2 {
		c := newClient()
		page := get(t, m.PublicURL()+"/oauth/authorize?"+c.query(""))
		if out := page.outcome(); out != "Sign in with Example ID | Use your work account." {
			t.Errorf("the page says %q", out)
		}
		asked := m.away(t, m.press(t, page, "continue"))
		for name, want := range map[string]string{
			"response_type": "code", "client_id": clientID, "scope": "openid email profile", "code_challenge_method": "S256",
			"redirect_uri": publicURL + "/oauth/callback/oidc", "tenant": "1", "prompt": "", "login_hint": "",
		} {
			if got := asked.Get(name); got != want {
				t.Errorf("the provider is asked with %s=%q, want %q", name, got, want)
			}
		}
		for _, secret := range []string{"nonce", "code_challenge", "state"} {
			v := asked.Get(secret)
			if len(v) < 43 || seen[v] {
				t.Errorf("%s is %q: too short, or the same as before", secret, v)
			}
			seen[v] = true
		}
		if _, ok := asked["code_verifier"]; ok {
			t.Error("the browser is told the verifier")
		}
		a := m.back(t, m.issued(asked, m.p.good(asked, rs)))
		if a.outcome() != "signed in" || a.location.Query().Get("state") != c.state {
			t.Fatalf("%s at %v, want to be signed in\n%s", a.outcome(), a.location, pluginLog(m.Log.String()))
		}
		c.tokens(t, m.Server, a.location.Query().Get("code"))
	}
	if got := signedIn(m.Log.String()); !slices.Equal(got, []string{name, name}) {
		t.Errorf("signed in as %q, want twice as %s", got, name)
	}
	if a := m.account(t, name); a.DisplayName != "Carol Example" || a.Territory != "" || len(a.Grants) > 0 {
		t.Errorf("the account is %+v", a)
	}

	page := get(t, m.PublicURL()+"/oauth/authorize?"+newClient().query(""))
	if out := m.press(t, page, "cancel").outcome(); out != "access_denied" {
		t.Errorf("a cancel on the page: %s", out)
	}
	// After a sign-in that did not work the button leads there again.
	asked := m.away(t, m.press(t, page, "continue"))
	page = m.back(t, url.Values{"state": asked["state"], "iss": {m.p.URL}, "error": {"temporarily_unavailable"}})
	if out := page.outcome(); out != "Sign in with Example ID | Example ID could not sign you in. Please try again. Use your work account." {
		t.Errorf("the page says %q", out)
	}
	asked = m.away(t, m.press(t, page, "continue"))
	if out := m.back(t, m.issued(asked, m.p.good(asked, es))).outcome(); out != "signed in" {
		t.Errorf("the second try: %s", out)
	}
	if n := m.p.fetched("/.well-known/openid-configuration") + m.p.fetched("/keys"); n != 2 {
		t.Errorf("discovery and keys were fetched %d times for three sign-ins, want 2", n)
	}
	m.Clock.Advance(time.Hour)
	asked = m.away(t, m.press(t, get(t, m.PublicURL()+"/oauth/authorize?"+newClient().query("")), "continue"))
	if out := m.back(t, m.issued(asked, m.p.good(asked, rs))).outcome(); out != "signed in" || m.p.fetched("/keys") != 2 {
		t.Errorf("an hour later: %s, keys fetched %d times, want 2", out, m.p.fetched("/keys"))
	}
}

// TestWho looks at what becomes of the claims.
func TestWho(t *testing.T) {
	t.Parallel()
	m := start(t, func(s *plugin.Spec) {
		for key, v := range map[string]any{
			"account": "email", "account_prefix": "", "email_domains": []string{"example.com"}, "hosted_domains": []string{"Example.com"},
			"territory": "address.country", "territories": map[string]string{"AT": "AUT"}, "display_name": "nick",
			"grants": []string{"member"}, "grants_claim": "realm.roles", "grants_prefix": "group:", "grants_map": map[string]string{"plus": "sub:plus"},
			"prompt": "login",
		} {
			s.Config[key] = v
		}
	})
	base := func(s *spec) {
		s.claims["hd"], s.claims["nick"] = "example.com", "Car\u0007ol"
		s.claims["address"] = object{"country": "AT"}
		s.claims["realm"] = object{"roles": []string{"staff", "plus", "staff", "bad\nname"}}
	}
	signIn := func(hint string, do func(*spec)) answer {
		t.Helper()
		return m.signIn(t, hint, rs, func(s *spec) {
			base(s)
			if do != nil {
				do(s)
			}
		})
	}
	if out := signIn("", nil).outcome(); out != "signed in" {
		t.Fatalf("%s\n%s", out, pluginLog(m.Log.String()))
	}
	want := "{carol@example.com Carol AUT [group:staff member sub:plus]}"
	if got := m.account(t, "carol@example.com"); fmt.Sprint(got) != want {
		t.Errorf("the account is %v, want %s", got, want)
	}
	// Who has left every group holds what everyone holds.
	signIn("", func(s *spec) { delete(s.claims, "realm"); s.claims["address"] = object{"country": "Austria"} })
	want = "{carol@example.com Carol AUT [member]}"
	if got := m.account(t, "carol@example.com"); fmt.Sprint(got) != want {
		t.Errorf("without groups the account is %v, want %s", got, want)
	}

	asked := m.begin(t, newClient(), "carol@example.com")
	if asked.Get("login_hint") != "carol@example.com" || asked.Get("prompt") != "login" || asked.Get("hd") != "example.com" {
		t.Errorf("the provider is asked with %v, want the hint, the prompt and the domain", asked)
	}
	many := make([]string, 300)
	for i := range many {
		many[i] = fmt.Sprint("g", i)
	}
	for _, test := range []struct {
		name, hint string
		do         func(*spec)
		say        string // "" = signed in
	}{
		{"the one who was to", "Carol@Example.com", nil, ""},
		{"somebody else", "dave@example.com", nil, sayOther},
		{"an account of another kind", "id.example.com#1", nil, sayOther},
		{"an address that is not verified", "", func(s *spec) { s.claims["email_verified"] = false }, sayNotHere},
		{"an address of which nobody says so", "", func(s *spec) { delete(s.claims, "email_verified") }, sayNotHere},
		{"verified as a text", "", func(s *spec) { s.claims["email_verified"] = "true" }, ""},
		{"verified as a number", "", func(s *spec) { s.claims["email_verified"] = 1 }, sayNotHere},
		{"no address", "", func(s *spec) { delete(s.claims, "email") }, sayNotHere},
		{"an address of another domain", "", func(s *spec) { s.claims["email"] = "carol@evil.example" }, sayNotHere},
		{"an address with two domains", "", func(s *spec) { s.claims["email"] = "carol@evil.example@example.com" }, sayNotHere},
		{"a letter that is ASCII in lower case", "", func(s *spec) { s.claims["email"] = "\u212Aarol@example.com" }, sayNotHere},
		{"an address with a space", "", func(s *spec) { s.claims["email"] = " carol@example.com" }, sayNotHere},
		{"another domain of the provider's", "", func(s *spec) { s.claims["hd"] = "evil.example" }, sayNotHere},
		{"none", "", func(s *spec) { delete(s.claims, "hd") }, sayNotHere},
		{"groups that are a text", "", func(s *spec) { s.claims["realm"] = object{"roles": "staff"} }, sayNotHere},
		{"too many groups", "", func(s *spec) { s.claims["realm"] = object{"roles": many} }, sayNotHere},
	} {
		before := len(signedIn(m.Log.String()))
		a := signIn(test.hint, test.do)
		if got := signedIn(m.Log.String())[before:]; test.say == "" && !slices.Equal(got, []string{"carol@example.com"}) {
			t.Errorf("%s: %s %q, want to be signed in", test.name, a.outcome(), got)
		}
		if test.say != "" && !strings.Contains(a.outcome(), test.say) {
			t.Errorf("%s: %s, want the page that says %q", test.name, a.outcome(), test.say)
		}
		if test.say != "" && !strings.HasPrefix(test.name, "groups") && !strings.HasPrefix(test.name, "too many") {
			if asked := m.away(t, m.press(t, a, "continue")); asked.Get("prompt") != "select_account" {
				t.Errorf("%s: the button leads to prompt %q, want the choice of an account", test.name, asked.Get("prompt"))
			}
		}
	}
}

// Sentences of the plugin.
const (
	sayOther   = "That is another account than the one that this sign-in is for."
	sayNotHere = "This account may not sign in here. Please use another one."
)

// TestUserinfo asks for claims that are not in the ID token.
func TestUserinfo(t *testing.T) {
	t.Parallel()
	m := start(t, func(s *plugin.Spec) {
		s.Config["userinfo"], s.Config["account"] = true, "email"
		s.Config["client_auth"] = "client_secret_post"
	})
	thin := func(info object) func(*spec) {
		return func(s *spec) {
			for _, name := range []string{"email", "email_verified", "name"} {
				delete(s.claims, name)
			}
			m.p.change(func() { m.p.bearer["Bearer "+s.access] = info })
		}
	}
	for _, test := range []struct {
		name string
		do   func(*spec)
		as   string // "" = not
	}{
		{"a good answer", thin(object{"sub": "248289761001", "email": "carol@example.com", "email_verified": true}), "carol@example.com"},
		{"the answer about somebody else", thin(object{"sub": "1", "email": "carol@example.com", "email_verified": true}), ""},
		{"an answer without sub", thin(object{"email": "carol@example.com", "email_verified": true}), ""},
		{"no answer", func(s *spec) {}, ""},
		{"a verification of another address", func(s *spec) {
			thin(object{"sub": "248289761001", "email": "carol@example.com", "email_verified": true})(s)
			s.claims["email"] = "boss@example.com"
		}, ""},
		{"two addresses", func(s *spec) {
			thin(object{"sub": "248289761001", "email": "carol@example.com", "email_verified": true})(s)
			s.claims["email"], s.claims["email_verified"] = "boss@example.com", true
		}, "boss@example.com"},
	} {
		before := len(signedIn(m.Log.String()))
		a := m.signIn(t, "", rs, test.do)
		got := signedIn(m.Log.String())[before:]
		if test.as == "" && len(got) > 0 || test.as != "" && !slices.Equal(got, []string{m.p.host() + "#" + test.as}) {
			t.Errorf("%s: %s, signed in as %q, want %q\n%s", test.name, a.outcome(), got, test.as, pluginLog(m.Log.String()))
		}
	}
}

// TestKeys lets the provider change its keys.
func TestKeys(t *testing.T) {
	t.Parallel()
	m := start(t, nil)
	if out := m.signIn(t, "", rs, nil).outcome(); out != "signed in" {
		t.Fatalf("%s\n%s", out, m.Log)
	}
	// A token with an unknown key doesn't make the plugin ask at once …
	m.p.change(func() { m.p.keys = append(m.p.keys, rsOther.jwk) })
	if out := m.signIn(t, "", rsOther, nil).outcome(); !strings.HasPrefix(out, again) || m.p.fetched("/keys") != 1 {
		t.Errorf("a moment after the last look: %s, %d looks", out, m.p.fetched("/keys"))
	}
	// … but half a minute later, and once for all of them.
	m.Clock.Advance(30 * time.Second)
	for range 3 {
		if out := m.signIn(t, "", rsOther, nil).outcome(); out != "signed in" || m.p.fetched("/keys") != 2 {
			t.Errorf("half a minute later: %s, %d looks", out, m.p.fetched("/keys"))
		}
	}
	m.p.change(func() { m.p.keys = []object{rsOther.jwk} })
	if out := m.signIn(t, "", rs, nil).outcome(); out != "signed in" {
		t.Errorf("a key that was taken back while the set is kept: %s", out)
	}
	m.Clock.Advance(time.Hour)
	if out := m.signIn(t, "", rs, nil).outcome(); !strings.HasPrefix(out, again) {
		t.Errorf("a key that was taken back: %s, want the page again", out)
	}

	small, large := rsaSigner("rs", 2048), rsaSigner("rs", 4608)
	small.jwk["n"] = small.jwk["n"].(string)[:171]
	stranger := object{"kty": "oct", "kid": "rs", "k": b64.EncodeToString([]byte(clientSecret))}
	encrypts := object{"kty": "RSA", "kid": "rs", "use": "enc", "n": rs.jwk["n"], "e": "AQAB"}
	other := object{"kty": "RSA", "kid": "rs", "alg": "PS256", "n": rs.jwk["n"], "e": "AQAB"}
	private := object{"kty": "RSA", "kid": "rs", "n": rs.jwk["n"], "e": "AQAB", "x5c": []string{"no certificate"}}
	var many []object
	for range 65 {
		many = append(many, rs.jwk)
	}
	failed := func(name string) { // of what only the provider can put right the operator hears
		t.Helper()
		before, log := m.failures(), len(m.Log.String())
		m.Clock.Advance(time.Hour)
		asked := m.begin(t, newClient(), "")
		if a := m.back(t, m.issued(asked, m.p.good(asked, rs))); a.status != 503 || m.failures() != before+1 {
			t.Errorf("%s: %s, want a failure\n%s", name, a.outcome(), m.Log.String()[log:])
		}
		if log := m.Log.String()[log:]; !strings.Contains(log, "keys") {
			t.Errorf("%s: the log says\n%s", name, log)
		}
	}
	for _, test := range []struct {
		name string
		keys []object
		want string
	}{
		{"a key for other uses, and a secret", []object{encrypts, other, stranger}, again},
		{"the same and the right one", []object{encrypts, other, stranger, rs.jwk}, "signed in"},
		{"certificates decide nothing", []object{private}, "signed in"},
		{"two keys of that name", []object{rs.jwk, rsOther.jwk, {"kty": "RSA", "kid": "rs", "n": rsOther.jwk["n"], "e": "AQAB"}}, again},
		{"no keys", []object{}, again},
		{"a short key", []object{small.jwk}, "failed"},
		{"a long key", []object{large.jwk}, "failed"},
		{"65 keys", many, "failed"},
		{"a key with a number", []object{{"kty": "RSA", "kid": 5}}, "failed"},
		{"a key of nothing", []object{{"kty": "RSA", "kid": "rs"}}, "failed"},
		{"an exponent of 1", []object{{"kty": "RSA", "kid": "rs", "n": rs.jwk["n"], "e": "AQ"}}, "again or failed"},
	} {
		m.p.change(func() { m.p.keys = test.keys })
		if test.want == "failed" {
			failed(test.name)
			continue
		}
		m.Clock.Advance(time.Hour)
		out := m.signIn(t, "", rs, nil).outcome()
		if test.want == "again or failed" && out != "signed in" {
			continue
		}
		if !strings.HasPrefix(out, test.want) {
			t.Errorf("%s: %s, want %s\n%s", test.name, out, test.want, pluginLog(m.Log.String()))
		}
	}
	for name, document := range map[string]string{
		"no JSON":              "<html>",
		"a list":               "[]",
		"no keys in it":        "{}",
		"a document of 100 KB": `{"keys":[],"x":"` + strings.Repeat("x", 100<<10) + `"}`,
		"a document of 300 KB": `{"keys":[],"x":"` + strings.Repeat("x", 300<<10) + `"}`,
		"depth":                `{"keys":` + strings.Repeat("[", 5000) + strings.Repeat("]", 5000) + `}`,
	} {
		m.p.change(func() { m.p.document = document })
		failed(name)
	}
	m.p.change(func() { m.p.document, m.p.keys = "", []object{rs.jwk} })
	m.Clock.Advance(time.Hour)
	if out := m.signIn(t, "", rs, nil).outcome(); out != "signed in" {
		t.Errorf("after all that: %s", out)
	}
}

// TestDiscovery changes what the provider says of itself.
func TestDiscovery(t *testing.T) {
	t.Parallel()
	m := start(t, func(s *plugin.Spec) { s.Breaker = 0 })
	good := m.p.discovery
	for _, test := range []struct {
		name string
		key  string
		to   any
		why  string // "" = nobody minds
	}{
		{"another issuer", "issuer", "https://evil.example", "is of issuer"},
		{"the issuer with a slash", "issuer", m.p.URL + "/", "is of issuer"},
		{"no issuer", "issuer", nil, "is of issuer"},
		{"no token endpoint", "token_endpoint", nil, "is missing"},
		{"a token endpoint that is no text", "token_endpoint", 5, "token_endpoint"},
		{"PKCE, but plain", "code_challenge_methods_supported", []string{"plain"}, "S256"},
		{"nothing about PKCE", "code_challenge_methods_supported", nil, ""},
		{"an authorization endpoint elsewhere", "authorization_endpoint", "https://evil.example/authorize", "not on its list"},
		{"one of another scheme", "authorization_endpoint", "javascript:alert(1)", "no address"},
		{"a document of 100 KB", "x", strings.Repeat("x", 100<<10), "more than"},
	} {
		changed := object{}
		for k, v := range good {
			changed[k] = v
		}
		if changed[test.key] = test.to; test.to == nil {
			delete(changed, test.key)
		}
		m.p.change(func() { m.p.discovery = changed })
		m.Clock.Advance(time.Hour)
		before := len(m.Log.String())
		a := get(t, m.PublicURL()+"/oauth/authorize?"+newClient().query(""))
		if test.why == "" {
			m.away(t, a)
			continue
		}
		if log := m.Log.String()[before:]; a.status != 503 || a.location != nil || !strings.Contains(log, test.why) {
			t.Errorf("%s: %d to %v, want a failure that says %q:\n%s", test.name, a.status, a.location, test.why, log)
		}
	}
	m.Clock.Advance(time.Hour)
	m.p.change(func() { m.p.discovery = good })
	asked := m.begin(t, newClient(), "")
	q := m.issued(asked, m.p.good(asked, rs))
	m.p.Close()
	if a := m.back(t, q); a.status != 503 {
		t.Errorf("with a provider that is gone: %s, want a failure", a.outcome())
	}
}

// TestSecret holds the plugin to what it is told of the client.
func TestSecret(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		change func(*plugin.Spec)
		why    string
	}{
		"no secret":      {func(s *plugin.Spec) { s.Secrets = nil }, "client_secret can't be read"},
		"no secret sent": {func(s *plugin.Spec) { s.Config["client_auth"] = "none" }, "invalid_client"},
		"another client": {func(s *plugin.Spec) { s.Config["client_id"] = "other" }, "invalid_client"},
	} {
		m := start(t, test.change)
		asked := m.begin(t, newClient(), "")
		a := m.back(t, m.issued(asked, m.p.good(asked, rs)))
		if log := m.Log.String(); a.status != 503 || !strings.Contains(log, test.why) || strings.Contains(log, clientSecret) {
			t.Errorf("%s: %s, want a failure that says %q:\n%s", name, a.outcome(), test.why, pluginLog(log))
		}
	}
}

// TestPublicClient signs in without a secret: PKCE stands in for it.
func TestPublicClient(t *testing.T) {
	t.Parallel()
	m := start(t, func(s *plugin.Spec) { s.Config["client_auth"], s.Secrets = "none", nil })
	m.p.change(func() { m.p.secret = "" })
	if out := m.signIn(t, "", es, nil).outcome(); out != "signed in" {
		t.Errorf("%s\n%s", out, pluginLog(m.Log.String()))
	}
}

// sameSeed is randomness of which each seed of a question is 0.
type sameSeed struct{}

func (sameSeed) Read(b []byte) (int, error) {
	if len(b) == 8 {
		clear(b)
		return 8, nil
	}
	return rand.Read(b)
}

// TestNonceIsMoreThanTheSeed begins sign-ins whose seeds are alike.
func TestNonceIsMoreThanTheSeed(t *testing.T) {
	t.Parallel()
	m := &market{p: newIDP(t, time.Now)}
	m.Server = serve(t, m.p.URL, func(s *plugin.Spec) { s.Config["immediate"] = true }, func(c *core.Config) { c.Rand = sameSeed{} })
	seen := map[string]bool{}
	for range 8 {
		q := m.begin(t, newClient(), "")
		for _, name := range []string{"nonce", "code_challenge"} {
			if seen[q.Get(name)] {
				t.Errorf("two sign-ins have the %s %s", name, q.Get(name))
			}
			seen[q.Get(name)] = true
		}
	}
}

// TestReadmeIsEnough signs in with the fuel and the memory that the README names,
// with the largest of everything that the plugin takes. Only time is multiplied: a
// busy machine has less of it. TestTypical has the README's.
func TestReadmeIsEnough(t *testing.T) {
	t.Parallel()
	m := start(t, func(s *plugin.Spec) {
		s.Instances = 1
		s.Deadline *= 50
		s.Config["userinfo"] = true
	})
	big := rsaSigner("big", 4096)
	m.p.change(func() {
		m.p.discovery["x"] = listOf(55 << 10)
		for i := range 30 {
			k := object{"x5c": []string{strings.Repeat("A", 800)}}
			for name, v := range big.jwk {
				k[name] = v
			}
			k["kid"] = fmt.Sprint("other ", i)
			m.p.keys = append(m.p.keys, k)
		}
		m.p.keys = append(m.p.keys, big.jwk)
	})
	for _, by := range []*signer{rs, big, es} {
		for range 3 { // the first one fetches and starts
			info := m.Plugins.Plugins()[0].Hooks[0]
			before := info.Fuel
			a := m.signIn(t, "", by, func(s *spec) {
				s.claims["x"] = listOf(20 << 10)
				m.p.change(func() { m.p.bearer["Bearer "+s.access] = object{"sub": "248289761001", "x": listOf(58 << 10)} })
			})
			info = m.Plugins.Plugins()[0].Hooks[0]
			if a.outcome() != "signed in" {
				t.Fatalf("%v: %s\n%s", by, a.outcome(), pluginLog(m.Log.String()))
			}
			t.Logf("%v: %d units of fuel for both steps, %d KiB of memory", by, info.Fuel-before, m.Plugins.Plugins()[0].Memory>>10)
		}
	}
	for range 3 {
		m.signIn(t, "", rs, nil)
	}
	if n := m.failures(); n > 0 {
		t.Errorf("%d failures: %v", n, m.Plugins.Plugins()[0].LastFailure)
	}
}

// listOf is a list of small values that takes so many bytes as JSON.
func listOf(bytes int) []string {
	list := make([]string, bytes/8)
	for i := range list {
		list[i] = fmt.Sprintf("%05d", i%100000)
	}
	return list
}

// TestTypical holds the README to what sign-ins cost, with the very limits that it
// names.
func TestTypical(t *testing.T) {
	t.Parallel()
	m := start(t, nil)
	big := rsaSigner("big", 4096)
	m.p.change(func() { m.p.keys = append(m.p.keys, big.jwk) })
	m.signIn(t, "", rs, nil)
	for _, test := range []struct {
		by   *signer
		most uint64
	}{{rs, 3_000_000}, {big, 8_000_000}, {es, 6_000_000}} {
		m.signIn(t, "", test.by, nil)
		before := m.Plugins.Plugins()[0].Hooks[0]
		m.signIn(t, "", test.by, nil)
		after := m.Plugins.Plugins()[0].Hooks[0]
		t.Logf("%v: %d units of fuel, %d KiB", test.by, after.Fuel-before.Fuel, m.Plugins.Plugins()[0].Memory>>10)
		if used := after.Fuel - before.Fuel; used > test.most {
			t.Errorf("%v costs %d units of fuel, the README says less than %d", test.by, used, test.most)
		}
	}
	if size := m.Plugins.Plugins()[0].Size; size > 8<<20 {
		t.Errorf("the module has %d bytes", size)
	}
}
