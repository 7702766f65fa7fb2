package coretest_test

import (
	"crypto/rand"
	"encoding/json"
	"net/http"
	"net/url"
	"testing"

	"golang.org/x/oauth2"

	"github.com/souk-market/souk/core/coretest"
)

// registered is a client that was registered over the admin API.
type registered struct{ ID, Secret string }

func register(t *testing.T, s *coretest.Server, body map[string]any) registered {
	t.Helper()
	var c registered
	if err := json.Unmarshal(s.Must(t, http.MethodPost, "/api/clients", body), &c); err != nil {
		t.Fatal(err)
	}
	return c
}

const (
	secondMarket   = "com.example.second"
	secondRedirect = "com.example.second:/signed-in"
	partnerServer  = "com.example.server"
	partnerBack    = "https://partner.example.com/back"
)

// ofSecond counts alice's sign-ins to the second market.
func ofSecond(t *testing.T, s *coretest.Server) (n int) {
	t.Helper()
	for _, one := range sessionsOf(t, s, coretest.Alice) {
		if one.Client == secondMarket {
			n++
		}
	}
	return n
}

func clientPath(id string) string { return "/api/clients/" + url.PathEscape(id) }

// A client is registered while the server runs, and when it is disabled or removed
// everything that it holds ends with the next request: for good.
func TestARegisteredClientEndsWithItsSignIns(t *testing.T) {
	t.Parallel()
	s := coretest.Start(t, quick)
	again := map[string]any{"id": secondMarket, "name": "Second Market", "redirect_uris": []string{secondRedirect}, "market": true}
	sign := func() signIn {
		return signIn{client: secondMarket, redirect: secondRedirect, state: rand.Text(), pkce: newPKCE()}
	}
	if a := get(t, authorizeURL(s, sign().query())); a.status != 400 {
		t.Errorf("before it is registered its sign-in page answered %d, want 400", a.status)
	}
	register(t, s, again)
	for _, end := range []struct {
		what      string
		end, back func()
	}{
		{"disabled", func() { s.Must(t, http.MethodPut, clientPath(secondMarket), map[string]bool{"disabled": true}) },
			func() { s.Must(t, http.MethodPut, clientPath(secondMarket), map[string]bool{"disabled": false}) }},
		{"removed", func() { s.Must(t, http.MethodDelete, clientPath(secondMarket), nil) },
			func() { register(t, s, again) }},
		{"no market app any more", func() { s.Must(t, http.MethodPut, clientPath(secondMarket), map[string]bool{"market": false}) },
			func() { s.Must(t, http.MethodPut, clientPath(secondMarket), map[string]bool{"market": true}) }},
	} {
		device, other := deviceOf(t, s, coretest.Alice), nativeSignIn().tokens(t, s)
		held := goesOn(t, s, end.what+", before", sign().tokens(t, s))
		late := sign()
		code := late.aliceCode(t, s)
		others := len(sessionsOf(t, s, coretest.Alice)) - ofSecond(t, s)
		if ofSecond(t, s) == 0 {
			t.Errorf("%s, before: no sign-in of the client is listed", end.what)
		}
		end.end()
		ended(t, s, end.what, held)
		form := late.redemption(code)
		form.Del("client_id")
		token(t, s, form).refused(t, end.what+": a code from before", 400, "invalid_grant")
		if n := len(sessionsOf(t, s, coretest.Alice)); n != others || ofSecond(t, s) != 0 {
			t.Errorf("%s: %d sign-ins are listed, %d of the client, want the %d of others", end.what, n, ofSecond(t, s), others)
		}
		if end.what != "no market app any more" {
			if a := get(t, authorizeURL(s, sign().query())); a.status != 400 {
				t.Errorf("%s: its sign-in page answered %d, want 400", end.what, a.status)
			}
			form := exchangeForm(s.SubjectToken(t, coretest.Alice), secondMarket)
			token(t, s, form).refused(t, end.what+": an exchange, which any device may do", 401, "invalid_client")
		}
		s.Restart(t)
		ended(t, s, end.what+", after a restart", held)
		end.back()
		ended(t, s, end.what+" and back", held)
		token(t, s, late.redemption(code)).refused(t, end.what+" and back: a code from before", 400, "invalid_grant")
		goesOn(t, s, end.what+" and back, signed in again", sign().tokens(t, s))
		goesOn(t, s, end.what+": a device", device)
		goesOn(t, s, end.what+": another app", other)
	}
}

// A code goes where it was asked for: if the client may not get answers there any more,
// the code is worth nothing.
func TestACodeEndsWithItsRedirectURI(t *testing.T) {
	t.Parallel()
	s := coretest.Start(t, quick)
	register(t, s, map[string]any{"id": secondMarket, "redirect_uris": []string{secondRedirect, secondRedirect + "/more"}})
	sign := signIn{client: secondMarket, redirect: secondRedirect, state: rand.Text(), pkce: newPKCE()}
	kept := signIn{client: secondMarket, redirect: secondRedirect + "/more", state: rand.Text(), pkce: newPKCE()}
	form, other := sign.redemption(sign.aliceCode(t, s)), kept.redemption(kept.aliceCode(t, s))
	// And somebody signs in to a device whose id is then an app's.
	device := signIn{client: "com.example.third", redirect: deviceRedirect, state: rand.Text(), pkce: newPKCE()}
	taken := device.redemption(device.aliceCode(t, s))
	s.Must(t, http.MethodPut, clientPath(secondMarket), map[string]any{"redirect_uris": []string{secondRedirect + "/more"}})
	register(t, s, map[string]any{"id": "com.example.third", "redirect_uris": []string{"com.example.third:/back"}})
	token(t, s, form).refused(t, "a code at a redirect URI that was taken away", 400, "invalid_grant")
	token(t, s, taken).refused(t, "a device's code, of a client now", 400, "invalid_grant")
	token(t, s, other).granted(t, "a code at the one that was kept")
}

// RFC 6749 §2.3.1: a server shows its secret in the header or in the body, and
// without it nothing that was issued to it is worth anything.
func TestAConfidentialClientShowsItsSecret(t *testing.T) {
	t.Parallel()
	s := coretest.Start(t, quick)
	c := register(t, s, map[string]any{"id": partnerServer, "kind": "confidential", "redirect_uris": []string{partnerBack}})
	sign := signIn{client: partnerServer, redirect: partnerBack, state: rand.Text(), pkce: newPKCE()}
	basic := func(id, secret string) []string {
		r, _ := http.NewRequest(http.MethodPost, "http://x", nil)
		r.SetBasicAuth(url.QueryEscape(id), url.QueryEscape(secret))
		return []string{"Authorization", r.Header.Get("Authorization")}
	}
	with := func(form url.Values, pairs ...string) url.Values {
		out := url.Values{}
		for name := range form {
			out.Set(name, form.Get(name))
		}
		for i := 0; i < len(pairs); i += 2 {
			if out.Set(pairs[i], pairs[i+1]); pairs[i+1] == "" {
				out.Del(pairs[i])
			}
		}
		return out
	}
	// wrong are requests that a form must not succeed with. None of them spends it.
	wrong := func(what string, form url.Values, secret string) {
		t.Helper()
		for _, test := range []struct {
			name   string
			form   url.Values
			header []string
			status int
			code   string
		}{
			{"no secret", form, nil, 401, "invalid_client"},
			{"no client either", with(form, "client_id", ""), nil, 401, "invalid_client"},
			{"another secret in the body", with(form, "client_secret", secret+"x"), nil, 401, "invalid_client"},
			{"its hash", with(form, "client_secret", "0000000000000000000000000000000000000000000"), nil, 401, "invalid_client"},
			{"another secret in the header", with(form, "client_id", ""), basic(c.ID, "x"+secret), 401, "invalid_client"},
			{"an empty secret in the header", with(form, "client_id", ""), basic(c.ID, ""), 401, "invalid_client"},
			{"a secret and no client", with(form, "client_id", "", "client_secret", secret), nil, 401, "invalid_client"},
			{"the secret with another client's name", with(form, "client_id", coretest.AppClient, "client_secret", secret), nil, 401, "invalid_client"},
			{"two clients", with(form, "client_id", coretest.AppClient), basic(c.ID, secret), 400, "invalid_request"},
			{"both ways", with(form, "client_secret", secret), basic(c.ID, secret), 400, "invalid_request"},
		} {
			a := token(t, s, test.form, test.header...)
			a.refused(t, what+" with "+test.name, test.status, test.code)
			if challenge := a.header.Get("WWW-Authenticate"); test.status == 401 && (challenge != "") != (test.header != nil) {
				t.Errorf("%s with %s: WWW-Authenticate is %q, want one where the header was used (RFC 6749 §5.2)", what, test.name, challenge)
			}
		}
	}
	form := sign.redemption(sign.aliceCode(t, s))
	wrong("a code", form, c.Secret)
	got := token(t, s, with(form, "client_id", ""), basic(c.ID, c.Secret)...).granted(t, "a code with the secret in the header")
	refreshForm := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {got.refresh}, "client_id": {c.ID}}
	wrong("a refresh", refreshForm, c.Secret)
	got = token(t, s, with(refreshForm, "client_secret", c.Secret)).granted(t, "a refresh with the secret in the body")

	old := c.Secret
	if err := json.Unmarshal(s.Must(t, http.MethodPost, clientPath(c.ID)+"/secret", nil), &c); err != nil || c.Secret == old {
		t.Fatalf("another secret: %v", err)
	}
	refreshForm.Set("refresh_token", got.refresh)
	wrong("a refresh after another secret", with(refreshForm, "client_secret", ""), c.Secret)
	token(t, s, with(refreshForm, "client_secret", old)).refused(t, "a refresh with the old secret", 401, "invalid_client")
	token(t, s, with(refreshForm, "client_secret", c.Secret)).granted(t, "a refresh with the new secret: the sign-in goes on")

	// A client that others wrote, which finds out by itself how the secret is sent.
	for _, style := range []oauth2.AuthStyle{oauth2.AuthStyleAutoDetect, oauth2.AuthStyleInHeader, oauth2.AuthStyleInParams} {
		config := oauth2.Config{
			ClientID: c.ID, ClientSecret: c.Secret, RedirectURL: partnerBack,
			Endpoint: oauth2.Endpoint{TokenURL: s.PublicURL() + "/oauth/token", AuthStyle: style},
		}
		sign := signIn{client: partnerServer, redirect: partnerBack, state: rand.Text(), pkce: newPKCE()}
		tok, err := config.Exchange(t.Context(), sign.aliceCode(t, s), oauth2.VerifierOption(sign.pkce.verifier))
		if err != nil {
			t.Fatalf("x/oauth2 with the style %d: exchange: %v", style, err)
		}
		tok.Expiry = tok.Expiry.AddDate(-1, 0, 0)
		if next, err := config.TokenSource(t.Context(), tok).Token(); err != nil || next.RefreshToken == tok.RefreshToken {
			t.Errorf("x/oauth2 with the style %d: refresh: %v", style, err)
		}
	}
}
