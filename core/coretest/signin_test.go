package coretest_test

import (
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/souk-market/souk/core"
	"github.com/souk-market/souk/core/coretest"
	"github.com/souk-market/souk/core/oauth"
)

// Apple, "Reauthenticating a person to manage apps": the URL as the page has it,
// where neither the redirect nor the address is escaped.
const sampleAuthorize = "?login_hint=alice@example.com&client_id=D4C1C937-D9B4-4BB6-BCD3-5E0850143EF5&code_challenge_method=S256" +
	"&response_type=code&code_challenge=E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM&state=EE01F1C6-5123-402E-909D-71E596780759" +
	"&redirect_uri=app-distribution-oauth://"

func TestSampleAuthorizationRequestShowsThePage(t *testing.T) {
	t.Parallel()
	s := shared(t)
	p := get(t, s.PublicURL()+"/oauth/authorize"+sampleAuthorize).page(t, s.PublicURL())
	if p.status != 200 || p.action == "" || !strings.HasPrefix(p.header.Get("Content-Type"), "text/html") {
		t.Fatalf("the documented request answered %d %s: %s", p.status, p.header.Get("Content-Type"), p.body)
	}
	if !strings.Contains(p.text, coretest.Alice) {
		t.Errorf("the page does not show the account that is to sign in: %s", p.text)
	}
	if p.kinds["field_password"] != "password" || p.fields["field_password"] != "" {
		t.Errorf("the page has the fields %v, want an empty one for the password", p.kinds)
	}
	q := p.submit(t, coretest.Alice, coretest.AlicePassword).led(t, deviceRedirect)
	if q.Get("state") != "EE01F1C6-5123-402E-909D-71E596780759" || q.Get("code") == "" {
		t.Errorf("sign-in led to %v, want a code and the same state", q)
	}
	// RFC 9207 is for clients that are registered: a device reads code and state.
	if q.Has("iss") {
		t.Errorf("the answer to a device has the iss %s", q.Get("iss"))
	}
}

// Apple, "Reauthenticating a person to manage apps": a restore has no session of
// the marketplace's website.
func TestPageHeaders(t *testing.T) {
	t.Parallel()
	s := shared(t)
	for _, test := range []struct {
		name    string
		request signIn
		form    string
	}{
		{"of a device", deviceSignIn(""), "app-distribution-oauth:"},
		{"of an app with a private-use scheme", nativeSignIn(), "com.example.market:"},
		{"of an app on a loopback address", appSignIn(), "http://127.0.0.1:7777"},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := open(t, s, test.request.query()).header
			for key, want := range map[string]string{
				"Cache-Control": "no-store", "Pragma": "no-cache", "Referrer-Policy": "no-referrer",
				"X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY",
			} {
				if got := h.Get(key); got != want {
					t.Errorf("%s is %q, want %q", key, got, want)
				}
			}
			csp := map[string]string{}
			for d := range strings.SplitSeq(h.Get("Content-Security-Policy"), ";") {
				name, value, _ := strings.Cut(strings.TrimSpace(d), " ")
				csp[name] = value
			}
			// Browsers hold form-action also against the redirect after the form.
			if csp["default-src"] != "'none'" || csp["frame-ancestors"] != "'none'" || csp["base-uri"] != "'none'" || csp["form-action"] != "'self' "+test.form {
				t.Errorf("Content-Security-Policy is %v, want nothing but forms to 'self' %s", csp, test.form)
			}
		})
	}
}

func TestTextFromOutsideIsEscaped(t *testing.T) {
	t.Parallel()
	const nasty = `"><script>alert(1)</script>'&`
	s := coretest.Start(t, func(c *core.Config) {
		quick(c)
		c.OAuth.Clients = append(c.OAuth.Clients, oauth.ClientConfig{ID: "com.example.nasty", Name: nasty, RedirectURIs: []string{"com.example.nasty:/x"}})
	})
	r := signIn{client: "com.example.nasty", redirect: "com.example.nasty:/x", hint: nasty + "@example.com", state: nasty, pkce: newPKCE()}
	p := open(t, s, r.query()) // page() refuses a script element
	if strings.Contains(string(p.body), "<script>alert") {
		t.Errorf("the page has text as markup: %s", p.body)
	}
	if strings.Count(p.text, nasty) < 2 {
		t.Errorf("the page shows %q, want the client's name and the hint as they are", p.text)
	}
	if got := p.fields["field_email"]; got != nasty+"@example.com" {
		t.Errorf("the field is filled in with %q, want the hint", got)
	}
	p = p.submit(t, nasty, nasty).page(t, p.at)
	if p.status != 200 || p.action == "" || strings.Contains(string(p.body), "<script>alert") {
		t.Errorf("a wrong sign-in answered %d: %s", p.status, p.body)
	}
}

// A device writes a plus sign into the query as it is.
func TestPlusSignInTheHintIsKept(t *testing.T) {
	t.Parallel()
	s := shared(t)
	r := deviceSignIn("")
	p := get(t, authorizeURL(s, r.query())+"&login_hint="+coretest.PlusPerson).page(t, s.PublicURL()+"/oauth/authorize")
	if !strings.Contains(p.text, coretest.PlusPerson) || p.fields["field_email"] != coretest.PlusPerson {
		t.Fatalf("the page shows %q with the field %q, want %s", p.text, p.fields["field_email"], coretest.PlusPerson)
	}
	q := p.submit(t, p.fields["field_email"], coretest.AlicePassword).led(t, deviceRedirect)
	if q.Get("code") == "" {
		t.Errorf("signing in as %s led to %v, want a code", coretest.PlusPerson, q)
	}
}

func TestHintDoesNotTellWhetherAnAccountExists(t *testing.T) {
	t.Parallel()
	s := shared(t)
	transaction := regexp.MustCompile(`name="transaction" value="[^"]*"`)
	seen := map[string]string{}
	for _, hint := range []string{coretest.Alice, "nobody@example.com"} {
		r := deviceSignIn(hint)
		body := transaction.ReplaceAllString(string(open(t, s, r.query()).body), "")
		seen[hint] = strings.ReplaceAll(body, hint, "HINT")
	}
	if seen[coretest.Alice] != seen["nobody@example.com"] {
		t.Errorf("the page for a known account is\n%s\nand for an unknown one\n%s", seen[coretest.Alice], seen["nobody@example.com"])
	}
	p := open(t, s, deviceSignIn("").query())
	if p.kinds["field_email"] != "email" || p.kinds["field_password"] != "password" {
		t.Errorf("without a hint the page has the fields %v, want address and password", p.kinds)
	}
	if a := p.submit(t, coretest.Alice, coretest.AlicePassword); a.status != 303 {
		t.Errorf("without a hint the sign-in answered %d, want 303", a.status)
	}
}

func TestWrongPasswordShowsThePageAgain(t *testing.T) {
	t.Parallel()
	s := shared(t)
	said := map[string]string{}
	for account, password := range map[string]string{coretest.Bob: "not builder", "nobody-here@example.com": "builder-bob"} {
		r := deviceSignIn("")
		a := open(t, s, r.query()).submit(t, account, password)
		p := a.page(t, s.PublicURL()+"/oauth/authorize")
		if p.status != 200 || p.action == "" || a.header.Get("Location") != "" {
			t.Errorf("%s with a wrong password answered %d to %q, want the page again", account, p.status, a.header.Get("Location"))
		}
		if p.fields["field_email"] != account || p.fields["field_password"] != "" {
			t.Errorf("the page is filled in with %q and %q, want the address and no password", p.fields["field_email"], p.fields["field_password"])
		}
		said[account] = strings.ReplaceAll(p.text, account, "")
		if account == coretest.Bob {
			// The same page can be sent again.
			if q := p.submit(t, coretest.Bob, coretest.BobPassword).led(t, deviceRedirect); q.Get("state") != r.state || q.Get("code") == "" {
				t.Errorf("the second try led to %v, want a code and the state %s", q, r.state)
			}
		}
	}
	if said[coretest.Bob] != said["nobody-here@example.com"] {
		t.Errorf("a wrong password says %q for a known account and %q for an unknown one", said[coretest.Bob], said["nobody-here@example.com"])
	}
}

// A restore groups apps by account: signing in as somebody else would mix two up.
func TestSignInIsForTheHintedAccount(t *testing.T) {
	t.Parallel()
	s := shared(t)
	a := open(t, s, deviceSignIn(coretest.Alice).query()).submit(t, coretest.Bob, coretest.BobPassword)
	if p := a.page(t, "the form"); a.status != 200 || p.action == "" || !strings.Contains(p.text, coretest.Alice) {
		t.Errorf("signing in as another account than the hinted one answered %d %q, want the page again, naming the account", a.status, p.text)
	}
}

// RFC 6749 §4.1.2: the exact value received from the client.
func TestStateComesBackByteForByte(t *testing.T) {
	t.Parallel()
	s := shared(t)
	for _, state := range []string{
		"EE01F1C6-5123-402E-909D-71E596780759", "a+b c", "a%2Bb&code=x", "=&?#/:;,@!$'()*[]", `"<>\^{|}` + "`", "100%", "ž€", strings.Repeat("s", 2048),
	} {
		r := nativeSignIn()
		r.state = state
		p := open(t, s, r.query())
		form := url.Values{"transaction": {p.fields["transaction"]}, "action": {"cancel"}}
		if got := p.send(t, form).led(t, r.redirect).Get("state"); got != state {
			t.Errorf("the state %q came back as %q", state, got)
		}
	}
	r := nativeSignIn()
	r.state = ""
	p := open(t, s, r.query())
	q := p.send(t, url.Values{"transaction": {p.fields["transaction"]}, "action": {"cancel"}}).led(t, r.redirect)
	if q.Has("state") {
		t.Errorf("a request without a state got %q back", q.Get("state"))
	}
}

// RFC 6749 §4.1.2.1.
func TestCancelIsAccessDenied(t *testing.T) {
	t.Parallel()
	s := shared(t)
	for _, r := range []signIn{deviceSignIn(coretest.Alice), nativeSignIn(), appSignIn()} {
		p := open(t, s, r.query())
		q := p.send(t, url.Values{"transaction": {p.fields["transaction"]}, "action": {"cancel"}, "field_email": {""}}).led(t, r.redirect)
		if q.Get("error") != "access_denied" || q.Get("error_description") == "" || q.Get("state") != r.state || q.Has("code") {
			t.Errorf("cancel in %s led to %v, want access_denied with the state %s", r.client, q, r.state)
		}
	}
}

// RFC 9207 §2: the client can tell which server it was.
func TestIssuerForRegisteredClients(t *testing.T) {
	t.Parallel()
	s := shared(t)
	r := nativeSignIn()
	p := open(t, s, r.query())
	for name, q := range map[string]url.Values{
		"a code":   p.submit(t, coretest.Alice, coretest.AlicePassword).led(t, r.redirect),
		"an error": p.send(t, url.Values{"transaction": {p.fields["transaction"]}, "action": {"cancel"}}).led(t, r.redirect),
	} {
		if q.Get("iss") != s.PublicURL() {
			t.Errorf("%s comes with the iss %q, want %s", name, q.Get("iss"), s.PublicURL())
		}
	}
}

// RFC 8252 §7.3: a native app does not know its port in advance.
func TestLoopbackRedirectTakesAnyPort(t *testing.T) {
	t.Parallel()
	s := shared(t)
	// Its default port is one, too.
	if a := get(t, authorizeURL(s, signIn{client: coretest.AppClient, redirect: "http://127.0.0.1/callback", state: "s", pkce: newPKCE()}.query())); a.status != 200 {
		t.Errorf("the redirect without a port answered %d, want the page", a.status)
	}
	r := appSignIn()
	r.redirect = "http://127.0.0.1:50123/callback"
	p := open(t, s, r.query())
	if csp := p.header.Get("Content-Security-Policy"); !strings.Contains(csp, "form-action 'self' http://127.0.0.1:50123;") {
		t.Errorf("the page's policy %s does not let the form lead to the port of the request", csp)
	}
	code := p.submit(t, coretest.Alice, coretest.AlicePassword).led(t, r.redirect).Get("code")
	form := r.redemption(code)
	form.Set("redirect_uri", coretest.AppRedirect)
	token(t, s, form).refused(t, "the registered port instead of the used one", 400, "invalid_grant")
	token(t, s, r.redemption(code)).granted(t, "the used port")
}

// RFC 6749 §4.1.2.1, RFC 9700 §4.11.2: as long as client and redirect are not
// proven, a person sees a page and nothing is sent anywhere.
func TestUnprovenRedirectNeverRedirects(t *testing.T) {
	t.Parallel()
	s := shared(t)
	for _, test := range []struct{ name, client, redirect string }{
		{"no redirect", coretest.NativeClient, ""},
		{"no client", "", coretest.NativeRedirect},
		{"client with a line feed", "com.example\nmarket", deviceRedirect},
		{"client of 256 characters", strings.Repeat("c", 256), deviceRedirect},
		{"another client's redirect", coretest.NativeClient, coretest.AppRedirect},
		{"device's redirect for a registered client", coretest.NativeClient, deviceRedirect},
		{"registered redirect for a device", newClientID(), coretest.NativeRedirect},
		{"slash at the end", coretest.NativeClient, coretest.NativeRedirect + "/"},
		{"suffix", coretest.NativeClient, coretest.NativeRedirect + "x"},
		{"suffix on another port", coretest.AppClient, "http://127.0.0.1:7778/callbackx"},
		{"slash at the end on another port", coretest.AppClient, "http://127.0.0.1:7778/callback/"},
		{"no path", coretest.AppClient, "http://127.0.0.1:7777"},
		{"empty host", coretest.NativeClient, "com.example.market:///signed-in"},
		{"host instead of a path", coretest.NativeClient, "com.example.market://signed-in"},
		{"empty host of http", coretest.AppClient, "http:///callback"},
		{"no slashes behind http", coretest.AppClient, "http:127.0.0.1:7777/callback"},
		{"one slash behind http", coretest.AppClient, "http:/127.0.0.1:7777/callback"},
		{"dot segment with a semicolon", coretest.AppClient, "http://127.0.0.1:7777/..;/callback"},
		{"dot segment at the end", coretest.AppClient, "http://127.0.0.1:7777/callback/..;/"},
		{"escaped slash at the end", coretest.AppClient, "http://127.0.0.1:7777/callback%2f"},
		{"escaped slash and host", coretest.AppClient, "http://127.0.0.1:7777%2f@evil.example/callback"},
		{"escaped dot segment", coretest.AppClient, "http://127.0.0.1:7777/x/%2e%2e/callback"},
		{"double slash", coretest.AppClient, "http://127.0.0.1:7777//callback"},
		{"parameters of a path", coretest.AppClient, "http://127.0.0.1:7777/callback;x=1"},
		{"fragment on another port", coretest.AppClient, "http://127.0.0.1:7778/callback#x"},
		{"empty fragment", coretest.AppClient, "http://127.0.0.1:7777/callback#"},
		{"empty query", coretest.AppClient, "http://127.0.0.1:7777/callback?"},
		{"scheme in capitals", coretest.AppClient, "HTTP://127.0.0.1:7777/callback"},
		{"path in capitals", coretest.AppClient, "http://127.0.0.1:7777/Callback"},
		{"dot behind the host", coretest.AppClient, "http://127.0.0.1.:7777/callback"},
		{"host as a number", coretest.AppClient, "http://2130706433:7777/callback"},
		{"host in octal", coretest.AppClient, "http://0177.0.0.1:7777/callback"},
		{"host in wide digits", coretest.AppClient, "http://１27.0.0.1:7777/callback"},
		{"tab amid the host", coretest.AppClient, "http://127.0.0.1\t:7777/callback"},
		{"line feed in front", coretest.AppClient, "\nhttp://127.0.0.1:7777/callback"},
		{"space in front", coretest.AppClient, " http://127.0.0.1:7777/callback"},
		{"query added", coretest.NativeClient, coretest.NativeRedirect + "?x=1"},
		{"fragment added", coretest.NativeClient, coretest.NativeRedirect + "#x"},
		{"other case of the path", coretest.NativeClient, "com.example.market:/Signed-In"},
		{"other case of the scheme", coretest.NativeClient, "COM.example.market:/signed-in"},
		{"escaped slash", coretest.NativeClient, "com.example.market:%2fsigned-in"},
		{"escaped letter", coretest.NativeClient, "com.example.market:/%73igned-in"},
		{"dot segment", coretest.NativeClient, "com.example.market:/x/../signed-in"},
		{"longer scheme", coretest.NativeClient, "com.example.market.evil:/signed-in"},
		{"space at the end", coretest.NativeClient, coretest.NativeRedirect + " "},
		{"https instead of http", coretest.AppClient, "https://127.0.0.1:7777/callback"},
		{"user before the host", coretest.AppClient, "http://127.0.0.1:7777@evil.example/callback"},
		{"user in front", coretest.AppClient, "http://evil@127.0.0.1:7777/callback"},
		{"host as a suffix", coretest.AppClient, "http://127.0.0.1.evil.example/callback"},
		{"port that is a host", coretest.AppClient, "http://127.0.0.1:7777.evil.example/callback"},
		{"port and user", coretest.AppClient, "http://127.0.0.1:80@evil.example/callback"},
		{"port with a sign", coretest.AppClient, "http://127.0.0.1:+80/callback"},
		{"port of six digits", coretest.AppClient, "http://127.0.0.1:777777/callback"},
		{"empty port", coretest.AppClient, "http://127.0.0.1:/callback"},
		{"localhost by name", coretest.AppClient, "http://localhost:7777/callback"},
		{"other loopback address", coretest.AppClient, "http://127.0.0.2:7777/callback"},
		{"IPv6 loopback", coretest.AppClient, "http://[::1]:7777/callback"},
		{"other path", coretest.AppClient, "http://127.0.0.1:7777/other"},
		{"backslash", coretest.AppClient, `http://127.0.0.1:7777\@evil.example/callback`},
		{"query on another port", coretest.AppClient, "http://127.0.0.1:7778/callback?next=//evil.example"},
		{"somewhere else", coretest.AppClient, "https://evil.example/callback"},
		{"javascript", coretest.AppClient, "javascript:alert(1)"},
		{"device's redirect with a path", newClientID(), "app-distribution-oauth://evil"},
		{"device's redirect in capitals", newClientID(), "APP-DISTRIBUTION-OAUTH://"},
		{"device's redirect with three slashes", newClientID(), "app-distribution-oauth:///"},
		{"device's redirect with a query", newClientID(), "app-distribution-oauth://?x=1"},
		{"device's scheme with a suffix", newClientID(), "app-distribution-oauth.evil://"},
	} {
		r := signIn{client: test.client, redirect: test.redirect, state: "s", pkce: newPKCE()}
		q := r.query()
		if test.redirect == "" {
			q.Del("redirect_uri")
		}
		for _, wrong := range []string{"", "token"} { // also when something else is wrong, too
			if wrong != "" {
				q.Set("response_type", wrong)
			}
			for method, a := range map[string]answer{
				"GET":  get(t, authorizeURL(s, q)),
				"POST": post(t, s.PublicURL()+"/oauth/authorize", formType, q.Encode()),
			} {
				if p := a.page(t, test.name); a.status != 400 || a.header.Get("Location") != "" || p.action != "" {
					t.Errorf("%s %s: answered %d to %q, want a page of 400 that leads nowhere", method, test.name, a.status, a.header.Get("Location"))
				}
				if !strings.Contains(a.header.Get("Content-Security-Policy"), "form-action 'none'") {
					t.Errorf("%s %s: the policy of the error page is %q", method, test.name, a.header.Get("Content-Security-Policy"))
				}
			}
		}
	}
}

// RFC 6749 §4.1.2.1, RFC 7636 §4.4.1.
func TestErrorsTravelToTheClient(t *testing.T) {
	t.Parallel()
	s := shared(t)
	for _, test := range []struct {
		name   string
		change map[string]string // empty = left out
		code   string
	}{
		{"no response_type", map[string]string{"response_type": ""}, "invalid_request"},
		{"response_type token", map[string]string{"response_type": "token"}, "unsupported_response_type"},
		{"response_type code token", map[string]string{"response_type": "code token"}, "unsupported_response_type"},
		{"response_type in capitals", map[string]string{"response_type": "CODE"}, "unsupported_response_type"},
		{"no PKCE at all", map[string]string{"code_challenge": "", "code_challenge_method": ""}, "invalid_request"},
		{"method without a challenge", map[string]string{"code_challenge": ""}, "invalid_request"},
		{"method left out, which means plain", map[string]string{"code_challenge_method": ""}, "invalid_request"},
		{"method plain", map[string]string{"code_challenge_method": "plain"}, "invalid_request"},
		{"method s256", map[string]string{"code_challenge_method": "s256"}, "invalid_request"},
		{"method S256 with a space", map[string]string{"code_challenge_method": "S256 "}, "invalid_request"},
		{"two methods", map[string]string{"code_challenge_method": "S256 plain"}, "invalid_request"},
		{"method S512", map[string]string{"code_challenge_method": "S512"}, "invalid_request"},
		{"method 5256, as a document prints it", map[string]string{"code_challenge_method": "5256"}, "invalid_request"},
		{"challenge of three characters", map[string]string{"code_challenge": "abc"}, "invalid_request"},
		{"challenge of 42 characters", map[string]string{"code_challenge": strings.Repeat("a", 42)}, "invalid_request"},
		{"challenge of 44 characters", map[string]string{"code_challenge": strings.Repeat("a", 44)}, "invalid_request"},
		{"challenge with padding", map[string]string{"code_challenge": strings.Repeat("a", 42) + "="}, "invalid_request"},
		{"challenge in the other base64 alphabet", map[string]string{"code_challenge": strings.Repeat("a", 40) + "+/A"}, "invalid_request"},
		{"challenge with spare bits", map[string]string{"code_challenge": strings.Repeat("a", 42) + "b"}, "invalid_request"},
		{"unknown scope", map[string]string{"scope": "admin"}, "invalid_scope"},
		{"known and unknown scope", map[string]string{"scope": "all admin"}, "invalid_scope"},
	} {
		for _, r := range []signIn{deviceSignIn(""), nativeSignIn()} {
			q := r.query()
			for key, v := range test.change {
				q.Del(key)
				if v != "" {
					q.Set(key, v)
				}
			}
			for method, a := range map[string]answer{
				"GET":  get(t, authorizeURL(s, q)),
				"POST": post(t, s.PublicURL()+"/oauth/authorize", formType, q.Encode()),
			} {
				back := a.led(t, r.redirect)
				if back.Get("error") != test.code || back.Get("error_description") == "" || back.Get("state") != r.state || back.Has("code") {
					t.Errorf("%s %s of %s: led to %v, want %s and the state %s", method, test.name, r.client, back, test.code, r.state)
				}
				// After a form the browser must not send its fields along (RFC 9700 §4.12).
				if method == "POST" && a.status != 303 {
					t.Errorf("POST %s: redirects with %d, want 303", test.name, a.status)
				}
			}
		}
	}
	r := nativeSignIn()
	r.state = strings.Repeat("s", 2049)
	if q := get(t, authorizeURL(s, r.query())).led(t, r.redirect); q.Get("error") != "invalid_request" || q.Has("state") {
		t.Errorf("a state of 2049 bytes led to %v, want invalid_request without it", q)
	}
}

// RFC 6749 §3.1: parameters must not come twice, and one without a value counts
// as left out.
func TestAuthorizationParameters(t *testing.T) {
	t.Parallel()
	s := shared(t)
	r := nativeSignIn()
	for _, twice := range []string{"client_id=" + r.client, "redirect_uri=https%3A%2F%2Fevil.example", "state=", "state=other", "unknown=1&unknown=2"} {
		a := get(t, authorizeURL(s, r.query())+"&"+twice)
		if a.status != 400 || a.header.Get("Location") != "" {
			t.Errorf("%s besides what is there answered %d to %q, want a page of 400", twice, a.status, a.header.Get("Location"))
		}
	}
	for _, more := range []string{"scope=", "scope=all", "nonce=", "prompt=login&max_age=0&resource=x"} {
		if a := get(t, authorizeURL(s, r.query())+"&"+more); a.status != 200 {
			t.Errorf("%s besides what is there answered %d, want the page", more, a.status)
		}
	}
	if a := post(t, s.PublicURL()+"/oauth/authorize", formType, r.query().Encode()); a.status != 200 || a.page(t, "by POST").action == "" {
		t.Errorf("the request as a form answered %d, want the page (RFC 6749 §3.1)", a.status)
	}
}

// Apple, "Reauthenticating a person to manage apps" shows an upper-case UUID,
// "Installing your app from your website" 32 hexadecimal digits: it is opaque.
func TestAnyDeviceClientIDIsTaken(t *testing.T) {
	t.Parallel()
	s := shared(t)
	for _, id := range []string{
		"D4C1C937-D9B4-4BB6-BCD3-5E0850143EF5", "d4c1c937-d9b4-4bb6-bcd3-5e0850143ef5", "6ef01a168f14431d98a0626cf5c89104", "x", strings.Repeat("c", 255),
	} {
		for _, redirect := range []string{deviceRedirect, "app-distribution-oauth:"} {
			r := signIn{client: id, redirect: redirect, state: "s", pkce: newPKCE()}
			if a := get(t, authorizeURL(s, r.query())); a.status != 200 {
				t.Errorf("client_id %q with %s answered %d, want the page", id, redirect, a.status)
			}
		}
	}
}

func TestTransactionIsSealed(t *testing.T) {
	t.Parallel()
	s := coretest.Start(t, quick)
	r := deviceSignIn("")
	p := open(t, s, r.query())
	good := p.fields["transaction"]
	refused := func(name, transaction string) {
		t.Helper()
		p.fields["transaction"] = transaction
		for _, action := range []string{"continue", "cancel"} {
			form := url.Values{"transaction": {transaction}, "action": {action}, "field_email": {coretest.Alice}, "field_password": {coretest.AlicePassword}}
			if a := p.send(t, form); a.status != 400 || a.header.Get("Location") != "" || a.page(t, name).action != "" {
				t.Errorf("%s with %s answered %d to %q, want a page of 400 that leads nowhere", action, name, a.status, a.header.Get("Location"))
			}
		}
	}
	flipped := []byte(good)
	flipped[len(flipped)/2] ^= 1
	refused("a changed transaction", string(flipped))
	refused("a shortened transaction", good[:len(good)-4])
	refused("a text that is none", "nonsense")
	other := shared(t)
	refused("the transaction of another server", open(t, other, r.query()).fields["transaction"])
	code := r.aliceCode(t, s)
	refused("a code instead", code)
	// Nor is a transaction good for anything else.
	token(t, s, r.redemption(good)).refused(t, "a transaction as a code", 400, "invalid_grant")
	s.Clock.Advance(10*time.Minute + time.Second)
	refused("a transaction after ten minutes", good)
}

// The page has no cookie, so the form's origin is all there is against a form on
// somebody else's page.
func TestFormOfAnotherSiteIsRefused(t *testing.T) {
	t.Parallel()
	s := shared(t)
	p := open(t, s, deviceSignIn("").query())
	for site, want := range map[string]int{"cross-site": 400, "same-site": 400, "same-origin": 303, "none": 303} {
		if a := p.submit(t, coretest.Alice, coretest.AlicePassword, "Sec-Fetch-Site", site); a.status != want {
			t.Errorf("the form with Sec-Fetch-Site %s answered %d, want %d", site, a.status, want)
		}
	}
	req := request(t, http.MethodPost, s.PublicURL()+"/oauth/authorize", formType, url.Values{
		"transaction": {p.fields["transaction"]}, "action": {"continue"}, "field_email": {coretest.Alice}, "field_password": {coretest.AlicePassword},
	}.Encode())
	if a := send(t, req); a.status != 303 {
		t.Errorf("the form of a browser that says nothing answered %d, want 303", a.status)
	}
}
