//go:build !wasip1

package policy_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/url"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"github.com/souk-market/souk/plugins/oidc/policy"
	"github.com/souk-market/souk/sdk/abi"
	souk "github.com/souk-market/souk/sdk/go"
)

const (
	issuer = "https://id.example.com"
	nowMS  = 1_790_000_000_000

	discovery = `{"issuer":"` + issuer + `","authorization_endpoint":"` + issuer + `/authorize","token_endpoint":"` + issuer + `/token","jwks_uri":"` + issuer + `/keys"}`
)

// provider answers http_fetch as an OpenID provider does.
type provider struct {
	signer jose.Signer
	keys   string
	claims object
	asked  []*abi.FetchRequest
	broken map[string]string // path to a body instead
}

// start makes one with a key of its own, for host functions that work in memory.
func start(t testing.TB) *provider {
	t.Helper()
	souk.Reset()
	t.Cleanup(souk.Reset)
	souk.SetSecret("client_secret", "a secret: 100%")
	key, public := ecKey(t)
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: key, KeyID: "k1"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	p := &provider{signer: s, keys: public, broken: map[string]string{}}
	souk.HandleFetch(p.fetch)
	return p
}

// ecKey makes a key and the key set that has its public half.
func ecKey(t testing.TB) (*ecdsa.PrivateKey, string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: "k1", Use: "sig"}}})
	if err != nil {
		t.Fatal(err)
	}
	return key, string(b)
}

func (p *provider) fetch(q *abi.FetchRequest, a *abi.FetchResponse) error {
	c := *q
	p.asked = append(p.asked, &c)
	u, err := url.Parse(q.URL)
	if err != nil || u.Host != "id.example.com" {
		return souk.ErrRefused
	}
	a.Status = 200
	body, ok := p.broken[u.Path]
	switch {
	case ok:
		a.Body = body
	case u.Path == "/.well-known/openid-configuration":
		a.Body = discovery
	case u.Path == "/keys":
		a.Body = p.keys
	case u.Path == "/token":
		payload, err := json.Marshal(p.claims)
		if err != nil {
			return err
		}
		signed, err := p.signer.Sign(payload)
		if err != nil {
			return err
		}
		token, err := signed.CompactSerialize()
		if err != nil {
			return err
		}
		a.Body = `{"token_type":"bearer","access_token":"x","id_token":"` + token + `"}`
	default:
		a.Status = 404
	}
	return nil
}

// ask puts one step to the policy as the host does: through the bytes of the
// request and of the verdict.
func ask(t testing.TB, p *policy.Party, sent abi.SignInRequest) (abi.SignInAnswer, error) {
	t.Helper()
	sent.NowMS = nowMS
	var req abi.SignInRequest
	if err := req.Read(sent.Append(nil)); err != nil {
		t.Fatal(err)
	}
	var v, got abi.SignInVerdict
	if err := p.SignIn(&req, &v); err != nil {
		return abi.SignInAnswer{}, err
	}
	if err := got.Read(v.Append(nil)); err != nil || len(got.Items) != 1 {
		t.Fatalf("the verdict has %d items: %v", len(got.Items), err)
	}
	return got.Items[0], nil
}

func party(t testing.TB, change object) *policy.Party {
	t.Helper()
	p, err := policy.New(config(t, change))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// away begins a sign-in and returns what the provider is asked and what is to be
// remembered.
func away(t testing.TB, p *policy.Party, req abi.SignInRequest) (url.Values, string) {
	t.Helper()
	req.Method = abi.SignInSubmit
	a, err := ask(t, p, req)
	if err != nil || a.Outcome != abi.SignInRedirect {
		t.Fatalf("submit: %+v, %v, want a redirect", a, err)
	}
	to, err := url.Parse(a.Location)
	if err != nil {
		t.Fatal(err)
	}
	return to.Query(), a.State
}

func good(nonce string) object {
	const now = nowMS / 1000
	return object{"iss": issuer, "aud": "souk", "sub": "s1", "iat": now, "exp": now + 60, "nonce": nonce}
}

func callback(state, code string) abi.SignInRequest {
	return abi.SignInRequest{Method: abi.SignInCallback, State: state, Fields: []abi.SubmittedField{{Name: "code", Value: code}}}
}

func TestSignIn(t *testing.T) {
	p := start(t)
	c := party(t, object{"prompt": "consent"})
	page, err := ask(t, c, abi.SignInRequest{Method: abi.SignInShow})
	if err != nil || page.Outcome != abi.SignInPage || page.Title != "Sign in with id.example.com" || page.State != "" || len(page.Fields) > 0 {
		t.Errorf("show: %+v, %v, want a page with a button", page, err)
	}
	q, state := away(t, c, abi.SignInRequest{Locale: "de-AT"})
	if q.Get("prompt") != "consent" || q.Get("ui_locales") != "de-AT" {
		t.Errorf("the provider is asked with %v", q)
	}
	if len(state) > 4<<10 || strings.Contains(state, q.Get("code_challenge")) || !strings.Contains(state, q.Get("nonce")) {
		t.Errorf("the memory is %q", state)
	}
	p.claims = good(q.Get("nonce"))
	a, err := ask(t, c, callback(state, "c1"))
	if err != nil || a.Outcome != abi.SignInDone || a.Account != "id.example.com#s1" || len(a.Grants) > 0 {
		t.Fatalf("callback: %+v, %v, want to be signed in\n%q", a, err, souk.Logged())
	}
	var sent *abi.FetchRequest
	for _, q := range p.asked {
		if strings.HasSuffix(q.URL, "/token") {
			sent = q
		}
	}
	form, err := url.ParseQuery(sent.Body)
	if err != nil || form.Get("code") != "c1" || form.Get("redirect_uri") != "https://market.example.com/oauth/callback/oidc" || form.Has("client_secret") {
		t.Errorf("the token endpoint is asked with %s, %v", sent.Body, err)
	}
	sum := sha256.Sum256([]byte(form.Get("code_verifier")))
	if base64.RawURLEncoding.EncodeToString(sum[:]) != q.Get("code_challenge") {
		t.Error("the verifier is not that of the challenge (RFC 7636 §4.6)")
	}
	basic := ""
	for _, h := range sent.Headers {
		if h.Name == "Authorization" {
			basic = h.Value
		}
	}
	if basic != "Basic "+base64.StdEncoding.EncodeToString([]byte("souk:a+secret%3A+100%25")) {
		t.Errorf("the client proves itself with %q (RFC 6749 §2.3.1)", basic)
	}
	if a, err := ask(t, c, abi.SignInRequest{Method: abi.SignInCancel}); err != nil || a.Outcome != abi.SignInRefused {
		t.Errorf("cancel: %+v, %v", a, err)
	}
	if _, err := ask(t, c, abi.SignInRequest{Method: 9}); err == nil {
		t.Error("a step that there is not is answered")
	}
}

// TestMemory brings back what another sign-in, or another configuration, has left.
func TestMemory(t *testing.T) {
	p := start(t)
	c := party(t, nil)
	q, state := away(t, c, abi.SignInRequest{})
	p.claims = good(q.Get("nonce"))
	for name, memory := range map[string]string{
		"none":            "",
		"a page's":        "choose",
		"another version": "2" + state[1:],
		"another issuer":  state + "/",
		"cut":             state[:60],
	} {
		if a, err := ask(t, c, callback(memory, "c1")); err != nil || a.Outcome != abi.SignInPage {
			t.Errorf("%s: %+v, %v, want the page again", name, a, err)
		}
	}
	if _, other := away(t, c, abi.SignInRequest{}); other == state {
		t.Error("two sign-ins remember the same")
	}
}

// TestHint signs in where the device has named somebody.
func TestHint(t *testing.T) {
	p := start(t)
	verified := object{"email": "Carol@example.com", "email_verified": true}
	for _, test := range []struct {
		change      object
		hint, asked string
		claims      object
		good        bool
	}{
		{nil, "id.example.com#s1", "", nil, true},
		{nil, "id.example.com#s2", "", nil, false},
		{nil, "id.example.com#s1@x", "", nil, false},
		{nil, "carol@example.com", "carol@example.com", verified, true},
		{nil, "dave@example.com", "dave@example.com", verified, false},
		{nil, "carol@example.com", "carol@example.com", object{"email": "carol@example.com"}, false},
		{nil, "carol", "", verified, false},
		{object{"login_hint": false}, "dave@example.com", "", verified, true},
		{object{"account": "email"}, "id.example.com#carol@example.com", "carol@example.com", verified, true},
		{object{"account": "email", "account_prefix": ""}, "carol@example.com", "carol@example.com", verified, true},
	} {
		c := party(t, test.change)
		q, state := away(t, c, abi.SignInRequest{LoginHint: test.hint})
		if got := q.Get("login_hint"); got != test.asked {
			t.Errorf("%s: the provider is asked for %q, want %q", test.hint, got, test.asked)
		}
		p.claims = good(q.Get("nonce"))
		for k, v := range test.claims {
			p.claims[k] = v
		}
		req := callback(state, "c1")
		req.LoginHint = test.hint
		a, err := ask(t, c, req)
		if err != nil || (a.Outcome == abi.SignInDone) != test.good {
			t.Errorf("%s with %v and %v: %+v, %v, want signed in = %v", test.hint, test.claims, test.change, a, err, test.good)
		}
	}
}

// TestFailures are what the operator has to hear of.
func TestFailures(t *testing.T) {
	for name, broken := range map[string]func(*provider){
		"no provider": func(*provider) { souk.HandleFetch(nil) },
		"discovery":   func(p *provider) { p.broken["/.well-known/openid-configuration"] = "{}" },
		"keys":        func(p *provider) { p.broken["/keys"] = "{}" },
		"no secret":   func(p *provider) { souk.Reset(); souk.HandleFetch(p.fetch) },
		"no such host": func(p *provider) {
			p.broken["/.well-known/openid-configuration"] = strings.ReplaceAll(discovery, "/keys", ".evil/keys")
		},
	} {
		p := start(t)
		c := party(t, nil)
		q, state := away(t, c, abi.SignInRequest{})
		souk.Reset()
		souk.SetSecret("client_secret", "a secret: 100%")
		souk.HandleFetch(p.fetch)
		broken(p)
		p.claims = good(q.Get("nonce"))
		if a, err := ask(t, c, callback(state, "c1")); err == nil {
			t.Errorf("%s: %+v, want a failure", name, a)
		}
	}
}

// FuzzProvider lets the provider say anything. It signs nothing that its keys are
// for, so nobody is signed in, and nothing panics.
func FuzzProvider(f *testing.F) {
	p := start(f)
	c := party(f, object{"client_auth": "none"})
	q, state := away(f, c, abi.SignInRequest{})
	p.claims = good(q.Get("nonce"))
	var a abi.FetchResponse
	if err := p.fetch(&abi.FetchRequest{URL: issuer + "/token"}, &a); err != nil {
		f.Fatal(err)
	}
	forged := a.Body[:len(a.Body)-20] + "AAAAAAAAAAAAAAAAAA\"}"
	f.Add(discovery, p.keys, forged)
	f.Add(discovery, `{"keys":[{"kty":"RSA","kid":"k1","n":"AQAB","e":"AQAB"}]}`, forged)
	f.Add("", "[]", `{"token_type":"Bearer","id_token":"e30.e30."}`)
	f.Add(discovery, `{"keys":[{"kty":"EC","kid":"k1","crv":"P-256","x":"","y":"AA"}]}`, `{"error":"invalid_grant"}`)
	f.Fuzz(func(t *testing.T, discovery, keys, token string) {
		souk.Reset()
		souk.HandleFetch(p.fetch)
		p.broken["/.well-known/openid-configuration"], p.broken["/keys"], p.broken["/token"] = discovery, keys, token
		req := callback(state, "c1")
		req.NowMS = nowMS
		var v abi.SignInVerdict
		err := c.SignIn(&req, &v)
		if err == nil && (len(v.Items) != 1 || v.Items[0].Outcome != abi.SignInPage) {
			t.Errorf("answered %+v", v.Items)
		}
	})
}
