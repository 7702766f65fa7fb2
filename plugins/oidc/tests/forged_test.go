//go:build !wasip1

package oidc_test

import (
	"maps"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"
)

// again begins what the page says after a sign-in that did not work.
const again = "Sign in with Example ID"

// TestForgedTokens brings ID tokens of which each breaks one rule to the whole
// server. None signs anybody in.
func TestForgedTokens(t *testing.T) {
	t.Parallel()
	m := start(t, nil)
	claim := func(name string, v any) func(*spec) {
		return func(s *spec) { s.claims[name] = v }
	}
	drop := func(name string) func(*spec) {
		return func(s *spec) { delete(s.claims, name) }
	}
	after := func(name string, d time.Duration) func(*spec) {
		return func(s *spec) { s.claims[name] = m.Clock.Now().Add(d).Unix() }
	}
	header := func(name string, v any) func(*spec) {
		return func(s *spec) { s.header[name] = v }
	}
	by := func(other *signer, alg string) func(*spec) {
		return func(s *spec) { s.by, s.header["alg"] = other, alg }
	}
	unsigned := &signer{sign: func(string) []byte { return nil }}
	for _, test := range []struct {
		name string
		with *signer
		do   func(*spec)
		why  string // "" = it is good
	}{
		{"a good RS256", rs, nil, ""},
		{"a good ES256", es, nil, ""},
		{"no kid where one key fits", es, func(s *spec) { delete(s.header, "kid") }, ""},
		{"no at_hash", rs, drop("at_hash"), ""},
		{"several audiences, and we are azp", rs, func(s *spec) { s.claims["aud"], s.claims["azp"] = []string{"x", clientID}, clientID }, ""},
		{"expired within the leeway", rs, after("exp", -50*time.Second), ""},
		{"a clock that is ahead within the leeway", rs, after("iat", 50*time.Second), ""},
		{"a time with a fraction", rs, func(s *spec) { s.claims["iat"] = float64(m.Clock.Now().Unix()) + 0.5 }, ""},

		{"alg none", rs, by(unsigned, "none"), "unexpected signature algorithm"},
		{"alg NONE", rs, by(unsigned, "NONE"), "unexpected signature algorithm"},
		{"no alg", rs, func(s *spec) { delete(s.header, "alg") }, "ID token"},
		{"no signature", rs, func(s *spec) { s.by = unsigned }, "the signature is wrong"},
		{"HS256 with the public key", rs, by(hmacSigner(rs.jwk["n"].(string)), "HS256"), "unexpected signature algorithm"},
		{"HS256 with the client's secret", rs, by(hmacSigner(clientSecret), "HS256"), "unexpected signature algorithm"},
		{"PS256", rs, header("alg", "PS256"), "unexpected signature algorithm"},
		{"RS384", rs, header("alg", "RS384"), "unexpected signature algorithm"},
		{"RS256 with the kid of a curve", es, header("alg", "RS256"), "no such key"},
		{"ES256 with the kid of RSA", rs, header("alg", "ES256"), "no such key"},
		{"another key with that kid", rs, by(rsOther, "RS256"), "the signature is wrong"},
		{"another curve's key with that kid", es, by(ecSigner("es"), "ES256"), "the signature is wrong"},
		{"a key that the token brings along", rs, func(s *spec) { s.by, s.header["jwk"] = rsOther, rsOther.jwk }, "the signature is wrong"},
		{"a key that the token points to", rs, func(s *spec) {
			s.by, s.header["kid"], s.header["jku"] = rsOther, "other", m.p.URL+"/other"
		}, "no such key"},
		{"the kid of nobody", rs, header("kid", "nobody"), "no such key"},
		{"a kid that is no text", rs, header("kid", 7), "ID token"},
		{"an extension that is critical", rs, func(s *spec) { s.header["crit"], s.header["x"] = []string{"x"}, 1 }, "the signature is wrong"},

		{"another audience", rs, claim("aud", "somebody else"), "audience"},
		{"another audience in a list", rs, claim("aud", []string{"somebody else"}), "audience"},
		{"no audience", rs, drop("aud"), "audience"},
		{"several audiences and no azp", rs, claim("aud", []string{clientID, "x"}), "azp is missing"},
		{"an azp that is not we", rs, claim("azp", "x"), "azp is somebody else"},
		{"an azp that is no text", rs, claim("azp", 1), "azp is somebody else"},
		{"another issuer", rs, claim("iss", "https://evil.example"), "issuer"},
		{"the issuer with a slash", rs, claim("iss", m.p.URL+"/"), "issuer"},
		{"no issuer", rs, drop("iss"), "issuer"},
		{"another nonce", rs, claim("nonce", strings.Repeat("A", 43)), "nonce"},
		{"no nonce", rs, drop("nonce"), "nonce"},
		{"an empty nonce", rs, claim("nonce", ""), "nonce"},
		{"expired", rs, after("exp", -70*time.Second), "expired"},
		{"no exp", rs, drop("exp"), "exp or iat"},
		{"an exp of null", rs, claim("exp", nil), "exp or iat"},
		{"an exp that is text", rs, claim("exp", "tomorrow"), "ID token"},
		{"issued in the future", rs, after("iat", 70*time.Second), "issued in the future"},
		{"issued long ago", rs, after("iat", -12*time.Minute), "long ago"},
		{"no iat", rs, drop("iat"), "exp or iat"},
		{"not good yet", rs, after("nbf", 70*time.Second), "not valid yet"},
		{"no sub", rs, drop("sub"), "sub is missing"},
		{"an empty sub", rs, claim("sub", ""), "sub is missing"},
		{"a sub that is a number", rs, claim("sub", 248289761001), "ID token"},
		{"an at_hash of another token", rs, func(s *spec) { s.access = "another token" }, "at_hash"},
		{"an at_hash and no token", rs, func(s *spec) { s.extra = object{"access_token": nil} }, "at_hash"},
		{"an at_hash that is no text", rs, claim("at_hash", 5), "at_hash"},
		{"an account that is no text", rs, claim("sub", "a\x00b"), "makes no account"},
		{"an account that is too long", rs, claim("sub", strings.Repeat("s", 255)), "makes no account"},

		{"two parts", rs, func(s *spec) { s.raw = part(s.header) + "." + part(s.claims) }, "ID token"},
		{"four parts", rs, func(s *spec) { s.raw = s.text() + ".AAAA" }, "ID token"},
		{"padding", rs, func(s *spec) { s.raw = s.text() + "==" }, "base64url"},
		{"a line end in it", rs, func(s *spec) { s.raw = strings.Replace(s.text(), ".", "\n.", 1) }, "base64url"},
		{"bits that nobody uses", rs, func(s *spec) { s.raw = loose(s.text()) }, "base64url"},
		{"the same claim twice", rs, func(s *spec) {
			s.raw = resigned(s, strings.Replace(decoded(part(s.claims)), "{", `{"sub":"admin",`, 1))
		}, "ID token"},
		{"claims that are a list", rs, func(s *spec) { s.raw = resigned(s, `["sub"]`) }, "ID token"},
		{"claims that are no UTF-8", rs, func(s *spec) { s.raw = resigned(s, "{\"sub\":\"\xff\"}") }, "ID token"},
		{"a long one", rs, claim("x", strings.Repeat("x", 40<<10)), "too long"},

		{"no ID token", rs, func(s *spec) { s.extra = object{"id_token": nil} }, "no ID token"},
		{"an ID token that is a number", rs, func(s *spec) { s.extra = object{"id_token": 1} }, "id_token"},
		{"a token of another type", rs, func(s *spec) { s.extra = object{"token_type": "DPoP"} }, "type"},
		{"a broken token endpoint", rs, func(s *spec) { s.status = 500 }, "status 500"},
		{"a status that is none", rs, func(s *spec) { s.status = 202 }, "status 202"},
	} {
		m.Clock.Advance(2 * time.Second) // the log takes so many lines, and an address so many attempts
		asked := m.begin(t, newClient(), "")
		s := m.p.good(asked, test.with)
		if test.do != nil {
			test.do(s)
		}
		before := len(m.Log.String())
		a := m.back(t, m.issued(asked, s))
		log := m.Log.String()[before:]
		if test.why == "" {
			if a.outcome() != "signed in" {
				t.Errorf("%s: %s, want to be signed in\n%s", test.name, a.outcome(), pluginLog(log))
			}
			continue
		}
		if out := a.outcome(); !strings.HasPrefix(out, again) || len(signedIn(log)) > 0 {
			t.Errorf("%s: %s, want the page again\n%s", test.name, out, pluginLog(log))
		}
		if !strings.Contains(pluginLog(log), test.why) {
			t.Errorf("%s: the log doesn't say %q:\n%s", test.name, test.why, pluginLog(log))
		}
	}
	if n := len(m.Plugins.Plugins()[0].Hooks[0].Failures); n > 0 {
		t.Errorf("a forged token counts as a failure of the plugin: %v", m.Plugins.Plugins()[0].Hooks[0].Failures)
	}
	accounts := signedIn(m.Log.String())
	slices.Sort(accounts)
	if accounts = slices.Compact(accounts); len(accounts) != 1 {
		t.Errorf("the accounts are %q, want one", accounts)
	}
}

func decoded(part string) string {
	b, err := b64.DecodeString(part)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// resigned is a token with this text as its claims.
func resigned(s *spec, claims string) string {
	input := part(s.header) + "." + b64.EncodeToString([]byte(claims))
	return input + "." + b64.EncodeToString(s.by.sign(input))
}

// loose changes bits of the last character that mean nothing.
func loose(token string) string {
	const digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	last := strings.IndexByte(digits, token[len(token)-1])
	return token[:len(token)-1] + digits[last^1:][:1]
}

// TestAnswersOfTheProvider brings everything but a code that is right.
func TestAnswersOfTheProvider(t *testing.T) {
	t.Parallel()
	m := start(t, nil)
	change := func(name string, v ...string) func(url.Values) {
		return func(q url.Values) {
			if q[name] = v; v == nil {
				delete(q, name)
			}
		}
	}
	for _, test := range []struct {
		name    string
		do      func(url.Values)
		outcome string
	}{
		{"all is well", func(url.Values) {}, "signed in"},
		{"parameters that nobody knows", change("session_state", "x"), "signed in"},
		{"another issuer", change("iss", "https://evil.example"), again},
		{"no issuer, though it was announced", change("iss"), again},
		{"no code", change("code"), again},
		{"an empty code", change("code", ""), again},
		{"a code that nobody issued", change("code", "0"), again},
		{"a long code", change("code", strings.Repeat("c", 5000)), again},
		{"a cancel", func(q url.Values) { delete(q, "code"); q.Set("error", "access_denied") }, "access_denied"},
		{"a cancel of another issuer", func(q url.Values) { q.Set("error", "access_denied"); q.Set("iss", "https://evil.example") }, again},
		{"an error", func(q url.Values) {
			q.Set("error", "server_error")
			q.Set("error_description", "<b>Call +1 555 0100</b>"+strings.Repeat("!", 300))
		}, again},
	} {
		m.Clock.Advance(2 * time.Second)
		asked := m.begin(t, newClient(), "")
		q := m.issued(asked, m.p.good(asked, rs))
		test.do(q)
		a := m.back(t, q)
		if out := a.outcome(); !strings.HasPrefix(out, test.outcome) {
			t.Errorf("%s: %s, want %s\n%s", test.name, out, test.outcome, pluginLog(m.Log.String()))
		}
		if strings.Contains(a.body, "555") || strings.Contains(a.body, "server_error") {
			t.Errorf("%s: the page repeats the provider: %s", test.name, a.body)
		}
	}
	if log := pluginLog(m.Log.String()); !strings.Contains(log, `\"server_error\" \"<b>Call`) || strings.Contains(log, strings.Repeat("!", 200)) {
		t.Errorf("the log doesn't have the provider's text, or all of it:\n%s", log)
	}

	// A code is good once, and for the sign-in that it belongs to.
	asked := m.begin(t, newClient(), "")
	q := m.issued(asked, m.p.good(asked, rs))
	other := m.begin(t, newClient(), "")
	swapped := maps.Clone(q)
	swapped["state"] = other["state"]
	if out := m.back(t, swapped).outcome(); !strings.HasPrefix(out, again) {
		t.Errorf("a code in another sign-in: %s, want the page again", out)
	}
	asked = m.begin(t, newClient(), "")
	q = m.issued(asked, m.p.good(asked, rs))
	if out := m.back(t, q).outcome(); out != "signed in" {
		t.Errorf("the first time: %s", out)
	}
	if out := m.back(t, q).outcome(); !strings.HasPrefix(out, again) {
		t.Errorf("a code that is spent: %s, want the page again", out)
	}
	if log := m.Log.String(); strings.Contains(log, clientSecret) || strings.Contains(log, q.Get("code")) {
		t.Error("the log has the client's secret or a code")
	}
}
