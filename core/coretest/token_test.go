package coretest_test

import (
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/souk-market/souk/core"
	"github.com/souk-market/souk/core/coretest"
)

// opens reports with which status the market answers an access token.
func opens(t testing.TB, s *coretest.Server, access string) int {
	t.Helper()
	return ask(t, s, "/restore", access, appsBody("iOS", deviceOS, app{coretest.NotesItem, coretest.NotesNew})).status
}

// Apple, "Reauthenticating a person to manage apps": redirect_uri is not in the
// documented body, and devices send it.
func TestCodeGivesTokens(t *testing.T) {
	t.Parallel()
	s := shared(t)
	for _, test := range []struct {
		name   string
		change func(url.Values)
	}{
		{"with all parameters", func(url.Values) {}},
		{"without redirect_uri", func(v url.Values) { v.Del("redirect_uri") }},
		{"with the redirect_uri as the redirect has it", func(v url.Values) { v.Set("redirect_uri", "app-distribution-oauth:") }},
		{"without client_id", func(v url.Values) { v.Del("client_id") }},
		{"with parameters that nobody knows", func(v url.Values) { v.Set("resource", "x"); v.Set("foo", "bar") }},
		{"with parameters that are empty", func(v url.Values) { v.Set("client_secret", ""); v.Set("scope", "") }},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := deviceSignIn(coretest.Alice)
			form := r.redemption(r.aliceCode(t, s))
			test.change(form)
			asked := time.Now()
			a := token(t, s, form)
			got := a.granted(t, test.name)
			a.lives(t, test.name, 72*time.Hour, asked)
			if o := a.object(t); o["issued_token_type"] != accessType || o["scope"] != "all" {
				t.Errorf("the answer %s has not the documented issued_token_type and scope", a.body)
			}
			if status := opens(t, s, got.access); status != 200 {
				t.Errorf("restore with the new token answered %d, want 200", status)
			}
		})
	}
}

// RFC 6749 §4.1.3: an app with several redirects has to say which.
func TestRegisteredClientNamesItsRedirect(t *testing.T) {
	t.Parallel()
	s := shared(t)
	r := nativeSignIn()
	code := r.aliceCode(t, s)
	form := r.redemption(code)
	form.Del("redirect_uri")
	token(t, s, form).refused(t, "without redirect_uri", 400, "invalid_request")
	form.Set("redirect_uri", coretest.NativeRedirect+"/")
	token(t, s, form).refused(t, "with another redirect_uri", 400, "invalid_grant")
	form = r.redemption(code)
	form.Del("client_id") // the verifier proves who it is
	token(t, s, form).granted(t, "without client_id")
}

// Lifetimes: a day's poll must not always meet an expired token; an app's is short.
func TestAppTokensLiveAnHour(t *testing.T) {
	t.Parallel()
	s := shared(t)
	for client, r := range map[string]signIn{"the marketplace app": nativeSignIn(), "another app": appSignIn()} {
		want := time.Hour
		if r.client == coretest.NativeClient {
			want = 72 * time.Hour
		}
		form, asked := r.redemption(r.aliceCode(t, s)), time.Now()
		token(t, s, form).lives(t, client, want, asked)
	}
}

// RFC 6749 §4.1.2: a code is for one use, and what was issued for it ends.
func TestCodeRedeemedTwiceRevokesItsTokens(t *testing.T) {
	t.Parallel()
	s := shared(t)
	for _, r := range []signIn{deviceSignIn(coretest.Alice), nativeSignIn()} {
		code := r.aliceCode(t, s)
		got := token(t, s, r.redemption(code)).granted(t, "first use")
		if status := opens(t, s, got.access); status != 200 {
			t.Errorf("the token of the first use answered %d, want 200", status)
		}
		token(t, s, r.redemption(code)).refused(t, "second use", 400, "invalid_grant")
		if status := opens(t, s, got.access); status != 403 {
			t.Errorf("after the second use the access token answered %d, want 403 at once", status)
		}
		refresh(t, s, got.refresh).refused(t, "the refresh token after the second use", 400, "invalid_grant")
		token(t, s, r.redemption(code)).refused(t, "third use", 400, "invalid_grant")
	}
}

// RFC 6749 §5.2, RFC 7636 §4.6.
func TestCodeIsBound(t *testing.T) {
	t.Parallel()
	s := shared(t)
	for _, test := range []struct {
		name   string
		change func(url.Values)
		burnt  bool
	}{
		{"another client_id", func(v url.Values) { v.Set("client_id", newClientID()) }, false},
		{"a registered client_id", func(v url.Values) { v.Set("client_id", coretest.NativeClient) }, false},
		{"another redirect_uri", func(v url.Values) { v.Set("redirect_uri", coretest.NativeRedirect) }, false},
		{"another code", func(v url.Values) { v.Set("code", "x"+v.Get("code")) }, false},
		{"a wrong verifier", func(v url.Values) { v.Set("code_verifier", newPKCE().verifier) }, true},
		{"the challenge as verifier", func(v url.Values) { v.Set("code_verifier", pkceOf(v.Get("code_verifier")).challenge) }, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			r := deviceSignIn(coretest.Alice)
			code := r.aliceCode(t, s)
			form := r.redemption(code)
			test.change(form)
			token(t, s, form).refused(t, test.name, 400, "invalid_grant")
			if again := token(t, s, r.redemption(code)); test.burnt {
				again.refused(t, "the right request afterwards", 400, "invalid_grant")
			} else {
				again.granted(t, "the right request afterwards")
			}
		})
	}
}

// RFC 6749 §4.1.2 recommends ten minutes at most; ours has five.
func TestCodeLivesFiveMinutes(t *testing.T) {
	t.Parallel()
	s := coretest.Start(t, quick)
	r := deviceSignIn(coretest.Alice)
	early, late := r.aliceCode(t, s), r.aliceCode(t, s)
	s.Clock.Advance(4*time.Minute + 50*time.Second) // signing in takes a moment itself
	token(t, s, r.redemption(early)).granted(t, "after less than five minutes")
	s.Clock.Advance(11 * time.Second)
	token(t, s, r.redemption(late)).refused(t, "after more than five minutes", 400, "invalid_grant")
}

// RFC 7636 §4.1: 43 to 128 characters of the unreserved ones.
func TestVerifierLengthAndAlphabet(t *testing.T) {
	t.Parallel()
	s := shared(t)
	const all = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~"
	for name, v := range map[string]string{
		"43 characters": all[20:63], "128 characters": all + all[4:], "the unreserved marks": strings.Repeat("-._~", 11),
	} {
		r := deviceSignIn(coretest.Alice)
		r.pkce = pkceOf(v)
		token(t, s, r.redemption(r.aliceCode(t, s))).granted(t, "verifier of "+name)
	}
	for name, v := range map[string]string{
		"42 characters": all[:42], "129 characters": all + all[3:], "a plus sign": all[:42] + "+", "a space": all[:42] + " ",
		"a letter that is not ASCII": all[:42] + "é",
	} {
		r := deviceSignIn(coretest.Alice)
		r.pkce = pkceOf(v)
		token(t, s, r.redemption(r.aliceCode(t, s))).refused(t, "verifier with "+name, 400, "invalid_grant")
	}
}

// RFC 9700 §2.1.1, §4.8: every code has a challenge, and whatever a client says
// later takes it off none.
func TestPKCEIsNotDowngraded(t *testing.T) {
	t.Parallel()
	s := shared(t)
	for _, r := range []signIn{deviceSignIn(coretest.Alice), nativeSignIn()} {
		for name, without := range map[string][]string{
			"challenge and method": {"code_challenge", "code_challenge_method"}, "challenge": {"code_challenge"}, "method": {"code_challenge_method"},
		} {
			q := r.query()
			for _, key := range without {
				q.Del(key)
			}
			if back := get(t, authorizeURL(s, q)).led(t, r.redirect); back.Get("error") != "invalid_request" || back.Has("code") {
				t.Errorf("an authorization request without %s led to %v, want invalid_request", name, back)
			}
		}
		code := r.aliceCode(t, s)
		for _, test := range []struct {
			name   string
			change func(url.Values)
		}{
			{"without the verifier", func(v url.Values) { v.Del("code_verifier") }},
			{"with an empty verifier", func(v url.Values) { v.Set("code_verifier", "") }},
			{"with the method plain and no verifier", func(v url.Values) { v.Del("code_verifier"); v.Set("code_challenge_method", "plain") }},
			{"with a challenge for the verifier", func(v url.Values) { v.Del("code_verifier"); v.Set("code_challenge", r.pkce.challenge) }},
		} {
			form := r.redemption(code)
			test.change(form)
			token(t, s, form).refused(t, "a code "+test.name, 400, "invalid_request")
		}
		token(t, s, r.redemption(code)).granted(t, "the code with its verifier after all that")
		// plain: the challenge itself, now said to be the verifier.
		code = r.aliceCode(t, s)
		form := r.redemption(code)
		form.Set("code_verifier", r.pkce.challenge)
		form.Set("code_challenge_method", "plain")
		token(t, s, form).refused(t, "a code with its challenge for a verifier", 400, "invalid_grant")
	}
}

func TestPKCEVectors(t *testing.T) {
	t.Parallel()
	s := shared(t)
	for _, test := range []struct {
		name string
		pair pkce
		good bool
	}{
		{"RFC 7636 appendix B", pkce{"dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk", "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"}, true},
		{"AppDirect, Authorization code for native applications", pkce{"rtDJlZb3hnHD0P65DYiUF0Xmplzg_anBoflHNGq0yCM", "FULBvRhW7stRYdJC2WQ1Tar4QtmoKtArNR6H-cnAGXg"}, true},
		{"the same with one character changed", pkce{"rtDJlZb3hnHD0P65DYiUF0Xmplzg_anBoflHNGq0yCN", "FULBvRhW7stRYdJC2WQ1Tar4QtmoKtArNR6H-cnAGXg"}, false},
		// Apple's sample pair is cut off in print, and what is left is no pair.
		{"Reauthenticating a person to manage apps, cut off", pkce{"7SJJJc6vi1D7x.SKZ4SuEijHA9C.FkASXVUo9E25ns1", "sib4eJtJBmkL312KjyoNlSFeDrpCOKnUwheZGipfnUY"}, false},
		{"the same verifier with its own challenge", pkce{"7SJJJc6vi1D7x.SKZ4SuEijHA9C.FkASXVUo9E25ns1", "7yLO6u4d4IikzEKUKeSKqKylP__yak3CmUTKY2Qhk4A"}, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := deviceSignIn(coretest.Alice)
			r.pkce = test.pair
			if a := token(t, s, r.redemption(r.aliceCode(t, s))); test.good {
				a.granted(t, test.name)
			} else {
				a.refused(t, test.name, 400, "invalid_grant")
			}
		})
	}
}

// RFC 6749 §3.2, §5.2.
func TestTokenRequestParameters(t *testing.T) {
	t.Parallel()
	s := shared(t)
	to := s.PublicURL() + "/oauth/token"
	live := deviceOf(t, s, "parameters@example.com")
	good := refreshForm(live.refresh).Encode()
	for _, test := range []struct{ name, body, code string }{
		{"nothing", "", "invalid_request"},
		{"no grant_type", "refresh_token=" + live.refresh, "invalid_request"},
		{"empty grant_type", "grant_type=&refresh_token=" + live.refresh, "invalid_request"},
		{"unknown grant_type", "grant_type=password&username=a&password=b", "unsupported_grant_type"},
		{"grant_type of the implicit grant", "grant_type=implicit", "unsupported_grant_type"},
		{"grant_type in capitals", "grant_type=REFRESH_TOKEN&refresh_token=" + live.refresh, "unsupported_grant_type"},
		{"client credentials", "grant_type=client_credentials&client_id=x&client_secret=y", "unsupported_grant_type"},
		{"a parameter twice", good + "&grant_type=refresh_token", "invalid_request"},
		{"a parameter twice, once empty", good + "&refresh_token=", "invalid_request"},
		{"an unknown parameter twice", good + "&a=1&a=2", "invalid_request"},
		{"refresh without a token", "grant_type=refresh_token", "invalid_request"},
		{"refresh with an empty token", "grant_type=refresh_token&refresh_token=", "invalid_request"},
		{"refresh with an unknown scope", good + "&scope=admin", "invalid_scope"},
		{"refresh with nonsense", "grant_type=refresh_token&refresh_token=nonsense", "invalid_grant"},
		{"refresh with an access token", "grant_type=refresh_token&refresh_token=" + live.access, "invalid_grant"},
		{"code without a code", "grant_type=authorization_code&client_id=x&code_verifier=" + newPKCE().verifier, "invalid_request"},
		{"code without a verifier", "grant_type=authorization_code&client_id=x&code=y", "invalid_request"},
		{"code that is none", "grant_type=authorization_code&client_id=x&code=y&code_verifier=" + newPKCE().verifier, "invalid_grant"},
		{"code that is a refresh token", "grant_type=authorization_code&code=" + live.refresh + "&code_verifier=" + newPKCE().verifier, "invalid_grant"},
		{"a value with NUL", good + "&x=%00", "invalid_request"},
		{"a value that is not UTF-8", good + "&x=%ff%fe", "invalid_request"},
		{"many parameters", good + strings.Repeat("&", 200) + manyParameters(101), "invalid_request"},
	} {
		post(t, to, formType, test.body).refused(t, test.name, 400, test.code)
	}
	// What stands in a query ends in logs (RFC 9700 §4.3.2).
	post(t, to+"?"+good, formType, "").refused(t, "parameters in the query", 400, "invalid_request")
	post(t, to+"?x=y", formType, good).refused(t, "a query besides the body", 400, "invalid_request")
	// None of these was the token's end.
	next := refresh(t, s, live.refresh).granted(t, "the refresh token after all that")
	post(t, to, "Application/X-WWW-Form-Urlencoded ; charset=UTF-8", refreshForm(next.refresh).Encode()).granted(t, "the media type in other letters (RFC 9110 §8.3.1)")
}

func manyParameters(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "&p%d=1", i)
	}
	return b.String()
}

func TestTokenEndpointTakesFormsOnly(t *testing.T) {
	t.Parallel()
	s := shared(t)
	live := deviceOf(t, s, "forms@example.com")
	for contentType, body := range map[string]string{
		jsonType:              `{"grant_type":"refresh_token","refresh_token":"` + live.refresh + `"}`,
		"text/plain":          refreshForm(live.refresh).Encode(),
		"":                    refreshForm(live.refresh).Encode(),
		"multipart/form-data": refreshForm(live.refresh).Encode(),
	} {
		a := post(t, s.PublicURL()+"/oauth/token", contentType, body)
		if e, _ := a.object(t)["error"].(string); a.status != 415 || e == "" {
			t.Errorf("a body of %q answered %d %s, want 415 with an error", contentType, a.status, a.body)
		}
		a.unkept(t, "a body of "+contentType)
	}
}

// RFC 6749 §2.3.1. Libraries that don't know whether a client is public try the
// header with an empty secret first.
func TestBasicHeaderOfAPublicClient(t *testing.T) {
	t.Parallel()
	s := shared(t)
	basic := func(id, secret string) string {
		req := new(http.Request)
		req.Header = http.Header{}
		req.SetBasicAuth(url.QueryEscape(id), url.QueryEscape(secret))
		return req.Header.Get("Authorization")
	}
	r := nativeSignIn()
	code := r.aliceCode(t, s)
	without := r.redemption(code)
	without.Del("client_id")
	for _, test := range []struct {
		name, header string
		form         url.Values
		status       int
		code         string
	}{
		{"a secret", basic(r.client, "secret"), without, 401, "invalid_client"},
		{"no colon", "Basic eA==", without, 401, "invalid_client"},
		{"no base64", "Basic %%%", without, 401, "invalid_client"},
		{"a bad escape", "Basic " + "JXp6Og==", without, 401, "invalid_client"},
		{"no id at all", "Basic ", without, 401, "invalid_client"},
		{"another client than the body", basic(coretest.AppClient, ""), r.redemption(code), 400, "invalid_request"},
		{"another client", basic(coretest.AppClient, ""), without, 400, "invalid_grant"},
	} {
		a := token(t, s, test.form, "Authorization", test.header)
		a.refused(t, "a header with "+test.name, test.status, test.code)
		if challenge := a.header.Get("WWW-Authenticate"); (test.status == 401) != strings.HasPrefix(challenge, "Basic") {
			t.Errorf("a header with %s is answered %d with the challenge %q (RFC 6749 §5.2)", test.name, a.status, challenge)
		}
	}
	form := r.redemption(code)
	form.Set("client_secret", "secret")
	a := token(t, s, form)
	a.refused(t, "a secret in the body", 401, "invalid_client")
	// A device would begin to negotiate.
	if challenge := a.header.Get("WWW-Authenticate"); challenge != "" {
		t.Errorf("a request without an Authorization header got the challenge %q", challenge)
	}
	token(t, s, without, "Authorization", basic(r.client, "")).granted(t, "a header with the id and an empty secret")
	r = nativeSignIn()
	token(t, s, r.redemption(r.aliceCode(t, s)), "Authorization", basic(r.client, "")).granted(t, "the header and the body with the same id")
}

// golang.org/x/oauth2 with AuthStyleAutoDetect, and others like it, send the code
// with credentials in the header first and then in the body: a code is not burnt by
// a client that is not known.
func TestCodeOutlivesFailedClientAuthentication(t *testing.T) {
	t.Parallel()
	s := shared(t)
	r := nativeSignIn()
	code := r.aliceCode(t, s)
	form := r.redemption(code)
	form.Del("client_id")
	req := request(t, http.MethodPost, s.PublicURL()+"/oauth/token", formType, form.Encode())
	req.SetBasicAuth(r.client, "a secret that nobody gave it")
	send(t, req).refused(t, "the code with a secret in the header", 401, "invalid_client")
	form.Set("client_secret", "a secret that nobody gave it")
	form.Set("client_id", r.client)
	token(t, s, form).refused(t, "the code with a secret in the body", 401, "invalid_client")
	got := token(t, s, r.redemption(code)).granted(t, "the same code without a secret")
	goesOn(t, s, "after failed client authentication", got)
}

// RFC 6749 §2.3: one way of authentication in a request. A public client has none,
// so two names are good as long as they are one, and any secret is refused.
func TestCredentialsInHeaderAndBody(t *testing.T) {
	t.Parallel()
	s := shared(t)
	r := nativeSignIn()
	code := r.aliceCode(t, s)
	for _, test := range []struct {
		name, id, secret, bodyID, bodySecret string
		status                               int
		code                                 string
	}{
		{"a secret in both", r.client, "x", r.client, "x", 401, "invalid_client"},
		{"a secret in the body beside the header", r.client, "", r.client, "x", 401, "invalid_client"},
		{"a secret in the body beside the header's id alone", r.client, "", "", "x", 401, "invalid_client"},
		{"a secret in the header beside the body's id", r.client, "x", r.client, "", 401, "invalid_client"},
		{"two ids", r.client, "", coretest.AppClient, "", 400, "invalid_request"},
		{"two ids, the header's is another client's", coretest.AppClient, "", r.client, "", 400, "invalid_request"},
		{"two spellings of an id", r.client, "", strings.ToUpper(r.client), "", 400, "invalid_request"},
	} {
		form := r.redemption(code)
		form.Set("client_id", test.bodyID)
		form.Set("client_secret", test.bodySecret)
		req := request(t, http.MethodPost, s.PublicURL()+"/oauth/token", formType, form.Encode())
		req.SetBasicAuth(test.id, test.secret)
		send(t, req).refused(t, test.name, test.status, test.code)
	}
	token(t, s, r.redemption(code)).granted(t, "the code after all that")
}

// RFC 6749 §5.2: 401 is for a client that is not known, and names the scheme to one
// that used the header. What it holds is another matter, and that is 400: to 401
// some clients answer by asking the person for a password.
func TestInvalidClientIs401AndTheRestIs400(t *testing.T) {
	t.Parallel()
	s := shared(t)
	r := nativeSignIn()
	live := r.tokens(t, s)
	for _, test := range []struct {
		name, key, value string
		status           int
		code             string
	}{
		{"a client_id that is none", "client_id", "com.example\nmarket", 401, "invalid_client"},
		{"a client_id of 256 characters", "client_id", strings.Repeat("c", 256), 401, "invalid_client"},
		{"a client_secret", "client_secret", "x", 401, "invalid_client"},
		{"another client_id", "client_id", coretest.AppClient, 400, "invalid_grant"},
		{"a client_id that nobody has registered", "client_id", "com.example.unknown", 400, "invalid_grant"},
		{"another refresh_token", "refresh_token", "x", 400, "invalid_grant"},
		{"another grant_type", "grant_type", "password", 400, "unsupported_grant_type"},
		{"another scope", "scope", "admin", 400, "invalid_scope"},
	} {
		form := refreshForm(live.refresh)
		form.Set("client_id", r.client)
		form.Set(test.key, test.value)
		a := token(t, s, form)
		a.refused(t, test.name, test.status, test.code)
		if challenge := a.header.Get("WWW-Authenticate"); challenge != "" {
			t.Errorf("%s, without an Authorization header, got the challenge %q", test.name, challenge)
		}
	}
	refresh(t, s, live.refresh).granted(t, "the refresh after all that")
}

// RFC 6749 §3.2: a parameter without a value counts as left out.
func TestEmptyParameterIsLeftOut(t *testing.T) {
	t.Parallel()
	s := shared(t)
	r := deviceSignIn(coretest.Alice)
	code := r.aliceCode(t, s)
	live := deviceOf(t, s, "empty@example.com")
	for name, form := range map[string]url.Values{
		"code": r.redemption(code), "refresh": refreshForm(live.refresh), "exchange": exchangeForm(s.SubjectToken(t, coretest.Alice), newClientID()),
	} {
		for _, needed := range []string{"grant_type", "code", "code_verifier", "refresh_token", "subject_token", "subject_token_type"} {
			if !form.Has(needed) {
				continue
			}
			empty := maps.Clone(form)
			empty[needed] = []string{""}
			without := maps.Clone(form)
			delete(without, needed)
			a, b := token(t, s, empty), token(t, s, without)
			a.refused(t, name+" with an empty "+needed, 400, "invalid_request")
			if string(a.body) != string(b.body) {
				t.Errorf("%s with an empty %s is answered %s, and without it %s", name, needed, a.body, b.body)
			}
		}
		for _, key := range []string{"client_id", "client_secret", "redirect_uri", "scope", "actor_token", "requested_token_type", "issued_token_type", "nobody knows it"} {
			if name == "exchange" && key == "client_id" { // it has to be there
				continue
			}
			form.Set(key, "")
		}
		token(t, s, form).granted(t, name+" with all that may be left out empty")
	}
}

// RFC 6749 §3.2: parameters must not come twice. Two readers of one request could
// each believe another one.
func TestParameterThatComesTwiceIsRefused(t *testing.T) {
	t.Parallel()
	s := shared(t)
	r := deviceSignIn(coretest.Alice)
	live := deviceOf(t, s, "twice@example.com")
	for name, form := range map[string]url.Values{
		"code": r.redemption(r.aliceCode(t, s)), "refresh": refreshForm(live.refresh), "exchange": exchangeForm(s.SubjectToken(t, coretest.Alice), newClientID()),
	} {
		for key, value := range form {
			for what, second := range map[string]string{"the same": value[0], "another": "x", "an empty": ""} {
				twice := maps.Clone(form)
				for _, order := range [][]string{{value[0], second}, {second, value[0]}} {
					twice[key] = order
					token(t, s, twice).refused(t, fmt.Sprintf("%s with %s besides %s value", name, key, what), 400, "invalid_request")
				}
			}
		}
		post(t, s.PublicURL()+"/oauth/token", formType, form.Encode()+"&%67rant_type=refresh_token").refused(t, name+" with an escaped name for the second", 400, "invalid_request")
		token(t, s, form).granted(t, name+" after all that")
	}
}

// Apple's devices send grant_type and refresh_token, and nothing else.
func TestRefreshRotates(t *testing.T) {
	t.Parallel()
	s := coretest.Start(t, quick)
	first := deviceSignIn(coretest.Alice).tokens(t, s)
	s.Clock.Advance(time.Hour)
	asked := time.Now()
	a := refresh(t, s, first.refresh)
	second := a.granted(t, "refresh without client_id")
	a.lives(t, "an hour after the sign-in", 72*time.Hour, asked)
	if second.refresh == first.refresh || second.access == first.access {
		t.Errorf("the refresh gave the same tokens again")
	}
	for name, access := range map[string]string{"old": first.access, "new": second.access} {
		if status := opens(t, s, access); status != 200 {
			t.Errorf("the %s access token answered %d after the refresh, want 200", name, status)
		}
	}
}

// RFC 6749 §6: a refresh token is bound to its client, if the request names one.
func TestRefreshIsBoundToItsClient(t *testing.T) {
	t.Parallel()
	s := shared(t)
	r := nativeSignIn()
	held := r.tokens(t, s)
	for _, client := range []string{newClientID(), coretest.AppClient} {
		form := refreshForm(held.refresh)
		form.Set("client_id", client)
		token(t, s, form).refused(t, "refresh as "+client, 400, "invalid_grant")
	}
	form := refreshForm(held.refresh)
	form.Set("client_id", r.client)
	next := token(t, s, form).granted(t, "refresh as the right client")
	if status := opens(t, s, next.access); status != 200 {
		t.Errorf("after somebody else had tried, the token answered %d, want 200", status)
	}
}

// RFC 6749 §6: a refresh asks for no more than the sign-in has, and fails without
// costing the token.
func TestRefreshDoesNotWidenTheScope(t *testing.T) {
	t.Parallel()
	s := shared(t)
	for _, r := range []signIn{deviceSignIn(coretest.Alice), appSignIn()} {
		held := r.tokens(t, s)
		for _, scope := range []string{"admin", "all admin", "ALL", "all,admin", "all\tadmin", "openid offline_access", "\"all\""} {
			form := refreshForm(held.refresh)
			form.Set("scope", scope)
			token(t, s, form).refused(t, "refresh with the scope "+scope, 400, "invalid_scope")
		}
		for _, scope := range []string{"all", ""} {
			form := refreshForm(held.refresh)
			form.Set("scope", scope)
			a := token(t, s, form)
			held = a.granted(t, "refresh with the scope "+scope)
			if got := a.object(t)["scope"]; got != "all" {
				t.Errorf("the refresh of %s with the scope %q gave the scope %v, want all", r.client, scope, got)
			}
		}
		if r.client == coretest.AppClient {
			if status := opens(t, s, held.access); status != 403 {
				t.Errorf("an app's token opened the market with %d after refreshes, want 403", status)
			}
		}
	}
}

// An answer can be lost on its way: asking again gives the same tokens.
func TestRefreshRepeatedWithinGraceGivesTheSamePair(t *testing.T) {
	t.Parallel()
	s := coretest.Start(t, quick)
	for name, r := range map[string]signIn{"device": deviceSignIn(coretest.Alice), "app": appSignIn()} {
		held := r.tokens(t, s)
		s.Clock.Advance(time.Hour)
		next := refresh(t, s, held.refresh).granted(t, "refresh of a "+name)
		s.Clock.Advance(30 * time.Second)
		for range 3 {
			if again := refresh(t, s, held.refresh).granted(t, "repeated refresh of a "+name); again != next {
				t.Errorf("the repeated refresh of a %s gave other tokens than the first", name)
			}
		}
		third := refresh(t, s, next.refresh).granted(t, "the successor of a "+name)
		// The successor was used: whoever comes with the predecessor now is late.
		refresh(t, s, held.refresh).refused(t, "an older token of a "+name, 400, "invalid_grant")
		refresh(t, s, third.refresh).refused(t, "the newest token of the same "+name, 400, "invalid_grant")
	}
}

// RFC 9700 §4.14.2: reuse ends the whole sign-in.
func TestOlderRefreshTokenRevokesTheSignIn(t *testing.T) {
	t.Parallel()
	s := shared(t)
	held := deviceOf(t, s, "reuse@example.com")
	other := deviceOf(t, s, "reuse@example.com")
	second := refresh(t, s, held.refresh).granted(t, "first refresh")
	third := refresh(t, s, second.refresh).granted(t, "second refresh")
	refresh(t, s, held.refresh).refused(t, "the first token", 400, "invalid_grant")
	for _, access := range []string{held.access, second.access, third.access} {
		if status := opens(t, s, access); status != 403 {
			t.Errorf("an access token of a revoked sign-in answered %d, want 403", status)
		}
	}
	for _, token := range []string{third.refresh, second.refresh, held.refresh} {
		refresh(t, s, token).refused(t, "a token of a revoked sign-in", 400, "invalid_grant")
	}
	if status := opens(t, s, other.access); status != 200 {
		t.Errorf("another device of the same account answered %d, want 200", status)
	}
}

// A device's next wake-up may be a day away.
func TestDeviceMayRetryARefreshADayLater(t *testing.T) {
	t.Parallel()
	s := coretest.Start(t, quick)
	held := deviceOf(t, s, "late@example.com")
	lose := func(held tokens) (got, repeated tokens, a answer) {
		t.Helper()
		s.Clock.Advance(time.Hour)
		got = refresh(t, s, held.refresh).granted(t, "refresh whose answer is lost")
		s.Clock.Advance(24 * time.Hour)
		a = refresh(t, s, held.refresh)
		if a.status == 200 {
			repeated = a.granted(t, "refresh a day later")
		}
		return got, repeated, a
	}
	for range 2 {
		got, repeated, _ := lose(held)
		if repeated != got {
			t.Errorf("a day later the device got other tokens than those that were lost")
		}
		if status := opens(t, s, repeated.access); status != 200 {
			t.Errorf("the tokens of a late refresh answered %d, want 200", status)
		}
		held = repeated
	}
	for range 8 { // ten generations after the first they count no more
		held = refresh(t, s, held.refresh).granted(t, "refresh")
	}
	got, repeated, _ := lose(held)
	if repeated != got {
		t.Errorf("after ten generations a late refresh gave other tokens than those that were lost")
	}
}

// The third late retry in ten generations looks like a thief who is always late.
func TestThirdLateRetryRevokesTheSignIn(t *testing.T) {
	t.Parallel()
	s := coretest.Start(t, quick)
	held := deviceOf(t, s, "thief@example.com")
	var got tokens
	for i := range 3 {
		s.Clock.Advance(time.Hour)
		got = refresh(t, s, held.refresh).granted(t, "refresh whose answer is lost")
		s.Clock.Advance(24 * time.Hour)
		if a := refresh(t, s, held.refresh); i < 2 {
			held = a.granted(t, "late retry")
		} else {
			a.refused(t, "third late retry", 400, "invalid_grant")
		}
	}
	if status := opens(t, s, got.access); status != 403 {
		t.Errorf("after the third late retry the access token answered %d, want 403", status)
	}
	refresh(t, s, got.refresh).refused(t, "the newest token after the third late retry", 400, "invalid_grant")
}

// Each answer can be lost again: what counts is in how many generations a device
// was late, not how often it had to ask.
func TestLateRetriesOfOneGenerationCountOnce(t *testing.T) {
	t.Parallel()
	s := coretest.Start(t, quick)
	held := deviceOf(t, s, "unlucky@example.com")
	lost := refresh(t, s, held.refresh).granted(t, "refresh whose answer is lost")
	for range 5 {
		s.Clock.Advance(time.Hour)
		if got := refresh(t, s, held.refresh).granted(t, "late retry"); got != lost {
			t.Error("a late retry gave other tokens than those that were lost")
		}
	}
	refresh(t, s, lost.refresh).granted(t, "the successor")
	refresh(t, s, held.refresh).refused(t, "the first token once its successor was used", 400, "invalid_grant")
}

// A device that comes back after its access token has run out gets one that lives.
func TestLateRetryGivesALiveAccessToken(t *testing.T) {
	t.Parallel()
	s := coretest.Start(t, quick)
	held := deviceOf(t, s, "very-late@example.com")
	lost := refresh(t, s, held.refresh).granted(t, "refresh whose answer is lost")
	s.Clock.Advance(5 * 24 * time.Hour)
	got := refresh(t, s, held.refresh).granted(t, "refresh five days later")
	if got.refresh != lost.refresh {
		t.Errorf("five days later the device got another refresh token than the one that was lost")
	}
	if status := opens(t, s, got.access); status != 200 {
		t.Errorf("the access token of a retry after five days answered %d, want 200", status)
	}
}

// An app is awake when it asks: it has the grace of a minute and no more.
func TestLateRetryOfAnAppRevokesTheSignIn(t *testing.T) {
	t.Parallel()
	s := coretest.Start(t, quick)
	for _, r := range []signIn{appSignIn(), nativeSignIn()} {
		held := r.tokens(t, s)
		next := refresh(t, s, held.refresh).granted(t, "refresh")
		s.Clock.Advance(61 * time.Second)
		refresh(t, s, held.refresh).refused(t, "late retry of "+r.client, 400, "invalid_grant")
		if status := opens(t, s, next.access); status != 403 {
			t.Errorf("after a late retry the access token of %s answered %d, want 403", r.client, status)
		}
		refresh(t, s, next.refresh).refused(t, "the newest token of "+r.client, 400, "invalid_grant")
	}
}

func TestIdleSignInEnds(t *testing.T) {
	t.Parallel()
	s := coretest.Start(t, func(c *core.Config) {
		quick(c)
		c.Token.RefreshAbsolute = c.Token.RefreshIdle + c.Token.RefreshIdle/2
	})
	idle := deviceOf(t, s, "idle@example.com")
	busy := deviceOf(t, s, "busy@example.com")
	s.Clock.Advance(100 * 24 * time.Hour)
	busy = refresh(t, s, busy.refresh).granted(t, "refresh after 100 days")
	s.Clock.Advance(81 * 24 * time.Hour)
	refresh(t, s, idle.refresh).refused(t, "refresh after 181 idle days", 400, "invalid_grant")
	busy = refresh(t, s, busy.refresh).granted(t, "refresh 81 days after the last one")
	s.Clock.Advance(90 * 24 * time.Hour)
	refresh(t, s, busy.refresh).refused(t, "refresh after refresh_absolute", 400, "invalid_grant")
}

// Apple, "Installing your app from your website": the documented body, where
// issued_token_type stands for requested_token_type.
func TestDocumentedTokenExchange(t *testing.T) {
	t.Parallel()
	s := shared(t)
	const body = "grant_type=urn:ietf:params:oauth:grant-type:token-exchange&issued_token_type=urn:ietf:params:oauth:token-type:access_token" +
		"&subject_token=SUBJECT&subject_token_type=urn:ietf:params:oauth:token-type:access_token&client_id=6ef01a168f14431d98a0626cf5c89104"
	for name, text := range map[string]string{
		"colons as they are": body, "colons as %3A": strings.ReplaceAll(body, ":", "%3A"), "colons as %3a": strings.ReplaceAll(body, ":", "%3a"),
	} {
		a := post(t, s.PublicURL()+"/oauth/token", formType, strings.Replace(text, "SUBJECT", s.SubjectToken(t, coretest.Alice), 1))
		got := a.granted(t, name)
		if o := a.object(t); o["issued_token_type"] != accessType {
			t.Errorf("%s: issued_token_type is %v (RFC 8693 §2.2.1)", name, o["issued_token_type"])
		}
		if status := opens(t, s, got.access); status != 200 {
			t.Errorf("%s: the token answered %d, want 200", name, status)
		}
	}
}

func TestTokenExchangeTakesParametersInAnyOrder(t *testing.T) {
	t.Parallel()
	s := shared(t)
	for i := range 5 {
		form := exchangeForm(s.SubjectToken(t, coretest.Alice), newClientID())
		keys := slices.Sorted(maps.Keys(form))
		keys = append(keys[i:], keys[:i]...)
		text := "unknown=1&app_version=2.0&scope=&actor_token=&requested_token_type=" + url.QueryEscape(accessType)
		for _, key := range keys {
			text = key + "=" + url.QueryEscape(form.Get(key)) + "&" + text
		}
		post(t, s.PublicURL()+"/oauth/token", formType, text).granted(t, text)
	}
}

// A subject token is for the first client that shows it (RFC 8693 §2.2.2 for the
// error).
func TestSubjectTokenIsForOneClient(t *testing.T) {
	t.Parallel()
	s := shared(t)
	subject, client := s.SubjectToken(t, coretest.Alice), newClientID()
	first := token(t, s, exchangeForm(subject, client)).granted(t, "the first client")
	second := token(t, s, exchangeForm(subject, client)).granted(t, "the same client again")
	token(t, s, exchangeForm(subject, newClientID())).refused(t, "another client", 400, "invalid_request")
	token(t, s, exchangeForm(subject, coretest.NativeClient)).refused(t, "a registered client", 400, "invalid_request")
	// Apple's devices keep their client_id: the next link brings the same one.
	third := token(t, s, exchangeForm(s.SubjectToken(t, coretest.Alice), client)).granted(t, "the same client with another link")
	for _, got := range []tokens{first, second, third} {
		if status := opens(t, s, got.access); status != 200 {
			t.Errorf("a token of the exchange answered %d, want 200", status)
		}
		refresh(t, s, got.refresh).granted(t, "refresh after an exchange")
	}
}

func TestTokenExchangeIsRefused(t *testing.T) {
	t.Parallel()
	s := shared(t)
	// Without a plugin for them, tokens of others are nobody's.
	const foreign = "eyJhbGciOiJSUzI1NiIsImtpZCI6IjIyIn0"
	access := deviceOf(t, s, coretest.Alice).access
	for _, test := range []struct {
		name, key, value, code string
	}{
		{"no client_id", "client_id", "", "invalid_request"},
		{"no subject_token", "subject_token", "", "invalid_request"},
		{"an unknown subject_token", "subject_token", foreign, "invalid_request"},
		{"an access token of ours", "subject_token", access, "invalid_request"},
		{"no subject_token_type", "subject_token_type", "", "invalid_request"},
		{"the type as the documents' table has it", "subject_token_type", "ietf:params:oauth:token-type:access_token", "invalid_request"},
		{"the type of a JWT", "subject_token_type", "urn:ietf:params:oauth:token-type:jwt", "invalid_request"},
		{"another requested_token_type", "requested_token_type", "urn:ietf:params:oauth:token-type:saml2", "invalid_request"},
		{"another issued_token_type", "issued_token_type", "urn:ietf:params:oauth:token-type:id_token", "invalid_request"},
		{"an actor_token", "actor_token", "x", "invalid_request"},
		{"an unknown scope", "scope", "admin", "invalid_scope"},
	} {
		subject := s.SubjectToken(t, coretest.Alice)
		form := exchangeForm(subject, newClientID())
		form.Set(test.key, test.value)
		token(t, s, form).refused(t, test.name, 400, test.code)
		if test.key != "subject_token" {
			token(t, s, exchangeForm(subject, newClientID())).granted(t, "the right request after "+test.name)
		}
	}
}

func TestSubjectTokenLivesTenMinutes(t *testing.T) {
	t.Parallel()
	s := coretest.Start(t, quick)
	early, late, used := s.SubjectToken(t, coretest.Alice), s.SubjectToken(t, coretest.Alice), s.SubjectToken(t, coretest.Alice)
	client := newClientID()
	token(t, s, exchangeForm(used, client)).granted(t, "at once")
	s.Clock.Advance(9*time.Minute + 50*time.Second)
	token(t, s, exchangeForm(early, newClientID())).granted(t, "after less than ten minutes")
	s.Clock.Advance(11 * time.Second)
	token(t, s, exchangeForm(late, newClientID())).refused(t, "after more than ten minutes", 400, "invalid_request")
	token(t, s, exchangeForm(used, client)).refused(t, "again after more than ten minutes", 400, "invalid_request")
}

// A registered app may be sent a link too: its tokens are of its own kind.
func TestTokenExchangeByARegisteredClient(t *testing.T) {
	t.Parallel()
	s := shared(t)
	for client, want := range map[string]int{coretest.NativeClient: 200, coretest.AppClient: 403} {
		got := token(t, s, exchangeForm(s.SubjectToken(t, coretest.Alice), client)).granted(t, client)
		if status := opens(t, s, got.access); status != want {
			t.Errorf("the token of %s answered %d at the market, want %d", client, status, want)
		}
	}
}
