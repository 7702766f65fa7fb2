package coretest_test

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/html"

	"github.com/souk-market/souk/core"
	"github.com/souk-market/souk/core/coretest"
)

// The words that every device and app knows.
const (
	deviceRedirect = "app-distribution-oauth://"
	formType       = "application/x-www-form-urlencoded"
	jsonType       = "application/json"
	exchangeGrant  = "urn:ietf:params:oauth:grant-type:token-exchange"
	accessType     = "urn:ietf:params:oauth:token-type:access_token"
)

// common is a server for all tests that leave it as they found it: they sign in
// and ask, but change neither catalogue nor clock.
var common commonServer

type commonServer struct {
	once   sync.Once
	server *coretest.Server
	host   lasting
}

// quick lets a server not wait for the disk: no test cuts the power.
func quick(c *core.Config) { c.Store.Durability = core.DurabilityProcess }

func shared(t testing.TB) *coretest.Server {
	t.Helper()
	common.once.Do(func() { common.server = coretest.Start(&common.host, quick) })
	if common.server == nil {
		t.Fatal("the common server did not start")
	}
	return common.server
}

// lasting is the testing.TB of a server that outlives a test.
type lasting struct {
	testing.TB
	cleanup []func()
	dir     string
}

func (l *lasting) Helper()                        {}
func (l *lasting) Context() context.Context       { return context.Background() }
func (l *lasting) Cleanup(f func())               { l.cleanup = append(l.cleanup, f) }
func (l *lasting) Errorf(format string, a ...any) { fmt.Fprintf(os.Stderr, format+"\n", a...) }
func (l *lasting) Fatal(a ...any)                 { panic(fmt.Sprint(a...)) }
func (l *lasting) Fatalf(format string, a ...any) { panic(fmt.Sprintf(format, a...)) }

func (l *lasting) TempDir() string {
	dir, err := os.MkdirTemp("", "souk")
	if err != nil {
		panic(err)
	}
	l.dir = dir
	return dir
}

func TestMain(m *testing.M) {
	code := m.Run()
	for _, f := range common.host.cleanup {
		f()
	}
	if dir := common.host.dir; dir != "" {
		os.RemoveAll(dir)
	}
	os.Exit(code)
}

// agent follows no redirect and keeps no cookie, like a device.
var agent = &http.Client{
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	Transport:     &http.Transport{MaxIdleConnsPerHost: 32, IdleConnTimeout: 5 * time.Second},
	Timeout:       time.Minute,
}

// answer is what came back.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// send sends a request. Whatever it is, no answer sets a cookie, is the server's
// own failure or may be kept. To be told when to come back is no failure.
func send(t testing.TB, req *http.Request) answer {
	t.Helper()
	res, err := agent.Do(req)
	if err != nil {
		t.Errorf("%s %s: %v", req.Method, req.URL.Path, err)
		return answer{header: http.Header{}}
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Errorf("%s %s: read the answer: %v", req.Method, req.URL.Path, err)
	}
	a := answer{res.StatusCode, res.Header, body}
	if c := a.header.Values("Set-Cookie"); len(c) > 0 {
		t.Errorf("%s %s sets the cookie %q: a device sends none back", req.Method, req.URL.Path, c)
	}
	if a.status >= 500 && (a.status != 503 || a.header.Get("Retry-After") == "") {
		t.Errorf("%s %s answered %d: %s", req.Method, req.URL.Path, a.status, body)
	}
	if got := a.header.Get("Cache-Control"); got != "no-store" {
		t.Errorf("%s %s answered with the Cache-Control %q, want no-store", req.Method, req.URL.Path, got)
	}
	return a
}

func request(t testing.TB, method, to, contentType, body string, header ...string) *http.Request {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, to, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	return req
}

func get(t testing.TB, to string, header ...string) answer {
	t.Helper()
	return send(t, request(t, http.MethodGet, to, "", "", header...))
}

func post(t testing.TB, to, contentType, body string, header ...string) answer {
	t.Helper()
	return send(t, request(t, http.MethodPost, to, contentType, body, header...))
}

// object is the answer's JSON object.
func (a answer) object(t testing.TB) map[string]any {
	t.Helper()
	var o map[string]any
	if err := json.Unmarshal(a.body, &o); err != nil {
		t.Errorf("%q is no JSON object: %v", a.body, err)
	}
	return o
}

// refused checks an error of the token endpoint (RFC 6749 §5.2).
func (a answer) refused(t testing.TB, what string, status int, code string) {
	t.Helper()
	o := a.object(t)
	if a.status != status || o["error"] != code {
		t.Errorf("%s: answered %d %s, want %d %s", what, a.status, a.body, status, code)
	}
	if d, ok := o["error_description"].(string); !ok || d == "" {
		t.Errorf("%s: the error %s has no description", what, a.body)
	}
	a.unkept(t, what)
}

// unkept checks the headers that RFC 6749 §5.1 wants of the token endpoint.
func (a answer) unkept(t testing.TB, what string) {
	t.Helper()
	a.json(t, what)
	if pragma := a.header.Get("Pragma"); pragma != "no-cache" {
		t.Errorf("%s: Pragma %q, want no-cache", what, pragma)
	}
}

// json checks that an answer is JSON that nobody may keep, from a server that says nothing
// of itself.
func (a answer) json(t testing.TB, what string) {
	t.Helper()
	h := a.header
	if h.Get("Cache-Control") != "no-store" || !strings.EqualFold(h.Get("Content-Type"), "application/json;charset=UTF-8") {
		t.Errorf("%s: Cache-Control %q and Content-Type %q, want no-store and application/json;charset=UTF-8",
			what, h.Get("Cache-Control"), h.Get("Content-Type"))
	}
	if server, ok := h["Server"]; ok {
		t.Errorf("%s: Server %q, want none", what, server)
	}
}

// tokens are what the token endpoint gives.
type tokens struct{ access, refresh string }

// granted checks a successful answer of the token endpoint.
func (a answer) granted(t testing.TB, what string) tokens {
	t.Helper()
	a.unkept(t, what)
	o := a.object(t)
	access, ok1 := o["access_token"].(string)
	refresh, ok2 := o["refresh_token"].(string)
	_, ok3 := o["expires_in"].(float64) // a device can't read a string
	if a.status != 200 || !ok1 || !ok2 || !ok3 || access == "" || refresh == "" || o["token_type"] != "Bearer" {
		t.Errorf("%s: answered %d %s, want 200 with access_token, refresh_token, token_type Bearer and expires_in as a number", what, a.status, a.body)
	}
	for _, token := range []string{access, refresh} {
		unreserved(t, what, token)
	}
	return tokens{access, refresh}
}

// lives checks expires_in. The server counts in whole seconds, and looks at its
// clock when it issues and again when it answers: what lies between the two, and
// the second that may turn there, is missing from the life.
func (a answer) lives(t testing.TB, what string, want time.Duration, asked time.Time) {
	t.Helper()
	least := want.Seconds() - 1 - time.Since(asked).Seconds()
	if got, _ := a.object(t)["expires_in"].(float64); got > want.Seconds() || got < least {
		t.Errorf("%s: the token lives %v s, want %v s or the moment less that the answer took", what, got, want.Seconds())
	}
}

// unreserved: a device writes a plus sign into a form as it is, so nothing that it
// has to send back may have one (RFC 3986 §2.3).
func unreserved(t testing.TB, what, text string) {
	t.Helper()
	if strings.ContainsFunc(text, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("-._~", r)
	}) {
		t.Errorf("%s: %q has reserved characters", what, text)
	}
}

// pkce is a verifier with its challenge.
type pkce struct{ verifier, challenge string }

func newPKCE() pkce { return pkceOf(rand.Text() + rand.Text()) }

func pkceOf(verifier string) pkce {
	sum := sha256.Sum256([]byte(verifier))
	return pkce{verifier, base64.RawURLEncoding.EncodeToString(sum[:])}
}

// newClientID is a client_id as a device makes it.
func newClientID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	return strings.ToUpper(fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:]))
}

// signIn is one authorization request.
type signIn struct {
	client, redirect, hint, state string
	pkce                          pkce
}

// deviceSignIn is the request of a device whose link named an account.
func deviceSignIn(hint string) signIn {
	return signIn{client: newClientID(), redirect: deviceRedirect, hint: hint, state: newClientID(), pkce: newPKCE()}
}

func nativeSignIn() signIn {
	return signIn{client: coretest.NativeClient, redirect: coretest.NativeRedirect, state: rand.Text(), pkce: newPKCE()}
}

func appSignIn() signIn {
	return signIn{client: coretest.AppClient, redirect: coretest.AppRedirect, state: rand.Text(), pkce: newPKCE()}
}

func (r signIn) query() url.Values {
	q := url.Values{
		"response_type": {"code"}, "client_id": {r.client}, "redirect_uri": {r.redirect},
		"code_challenge": {r.pkce.challenge}, "code_challenge_method": {"S256"},
	}
	if r.hint != "" {
		q.Set("login_hint", r.hint)
	}
	if r.state != "" {
		q.Set("state", r.state)
	}
	return q
}

func authorizeURL(s *coretest.Server, q url.Values) string {
	return s.PublicURL() + "/oauth/authorize?" + q.Encode()
}

// page is a page as a browser sees it.
type page struct {
	answer
	at     string            // its address
	text   string            // what a person reads
	action string            // where the form goes; empty = there is no form
	fields map[string]string // by name, with the values that are filled in
	kinds  map[string]string // by name
}

func (a answer) page(t testing.TB, at string) page {
	t.Helper()
	p := page{answer: a, at: at, fields: map[string]string{}, kinds: map[string]string{}}
	doc, err := html.Parse(strings.NewReader(string(a.body)))
	if err != nil {
		t.Fatalf("%s is no page: %v", at, err)
	}
	var text strings.Builder
	for n := range doc.Descendants() {
		if n.Type == html.TextNode && n.Parent.Data != "style" {
			text.WriteString(n.Data)
		}
		if n.Type != html.ElementNode {
			continue
		}
		at := map[string]string{}
		for _, attr := range n.Attr {
			at[attr.Key] = attr.Val
		}
		switch n.Data {
		case "form":
			p.action = at["action"]
		case "input":
			p.fields[at["name"]], p.kinds[at["name"]] = at["value"], at["type"]
		case "img": // a plugin's page may carry pictures
			if src := at["src"]; src != "" && !strings.HasPrefix(src, "data:image/") {
				t.Errorf("%s has a picture from %s", p.at, src)
			}
		case "script", "iframe", "object":
			t.Errorf("%s has an element %s", p.at, n.Data)
		}
	}
	p.text = text.String()
	return p
}

// open asks for the sign-in page.
func open(t testing.TB, s *coretest.Server, q url.Values) page {
	t.Helper()
	p := get(t, authorizeURL(s, q)).page(t, s.PublicURL()+"/oauth/authorize")
	if p.status != 200 || p.action == "" {
		t.Fatalf("the sign-in page answered %d: %s", p.status, p.body)
	}
	return p
}

// submit sends the form with what a person types, and the headers of a browser.
func (p page) submit(t testing.TB, account, password string, header ...string) answer {
	t.Helper()
	form := url.Values{"action": {"continue"}}
	for name, value := range p.fields {
		switch p.kinds[name] {
		case "password":
			value = password
		case "email":
			value = account
		}
		form.Set(name, value)
	}
	return p.send(t, form, header...)
}

func (p page) send(t testing.TB, form url.Values, header ...string) answer {
	t.Helper()
	at, err := url.Parse(p.at)
	if err != nil {
		t.Fatal(err)
	}
	to, err := at.Parse(p.action)
	if err != nil {
		t.Fatal(err)
	}
	return post(t, to.String(), formType, form.Encode(), append([]string{"Sec-Fetch-Site", "same-origin"}, header...)...)
}

// led reads the parameters of a redirect back to the client.
func (a answer) led(t testing.TB, to string) url.Values {
	t.Helper()
	location := a.header.Get("Location")
	rest, ok := strings.CutPrefix(location, strings.TrimSuffix(to, "//")+"?")
	if (a.status != 302 && a.status != 303) || !ok {
		t.Errorf("answered %d to %q, want a redirect to %s?…: %s", a.status, location, to, a.body)
		return url.Values{}
	}
	if strings.Contains(rest, "+") {
		t.Errorf("the redirect %s has a plus sign: an app's scheme is read without turning it into a space", location)
	}
	q, err := url.ParseQuery(rest)
	if err != nil {
		t.Errorf("the redirect %s has no query: %v", location, err)
	}
	return q
}

// code signs somebody in and returns the code.
func (r signIn) code(t testing.TB, s *coretest.Server, account, password string) string {
	t.Helper()
	q := open(t, s, r.query()).submit(t, account, password).led(t, r.redirect)
	if q.Get("code") == "" || q.Get("state") != r.state {
		t.Fatalf("sign-in as %s led to %v, want a code and the state %s", account, q, r.state)
	}
	unreserved(t, "code", q.Get("code"))
	return q.Get("code")
}

// redemption is the form that redeems a code.
func (r signIn) redemption(code string) url.Values {
	return url.Values{
		"grant_type": {"authorization_code"}, "code": {code}, "code_verifier": {r.pkce.verifier},
		"client_id": {r.client}, "redirect_uri": {r.redirect},
	}
}

func (r signIn) aliceCode(t testing.TB, s *coretest.Server) string {
	t.Helper()
	return r.code(t, s, coretest.Alice, coretest.AlicePassword)
}

// tokens walks the whole way.
func (r signIn) tokens(t testing.TB, s *coretest.Server) tokens {
	t.Helper()
	return token(t, s, r.redemption(r.aliceCode(t, s))).granted(t, "code of "+r.client)
}

// token asks the token endpoint.
func token(t testing.TB, s *coretest.Server, form url.Values, header ...string) answer {
	t.Helper()
	return post(t, s.PublicURL()+"/oauth/token", formType, form.Encode(), header...)
}

func refreshForm(token string) url.Values {
	return url.Values{"grant_type": {"refresh_token"}, "refresh_token": {token}}
}

// refresh is what a device sends: no client_id, no scope.
func refresh(t testing.TB, s *coretest.Server, refreshToken string) answer {
	t.Helper()
	return token(t, s, refreshForm(refreshToken))
}

func exchangeForm(subject, client string) url.Values {
	return url.Values{
		"grant_type": {exchangeGrant}, "issued_token_type": {accessType}, "subject_token": {subject},
		"subject_token_type": {accessType}, "client_id": {client},
	}
}

// deviceOf is a device that is signed in to an account, by way of a link.
func deviceOf(t testing.TB, s *coretest.Server, account string) tokens {
	t.Helper()
	return token(t, s, exchangeForm(s.SubjectToken(t, account), newClientID())).granted(t, "exchange for "+account)
}

// deviceOS is the system of the tests' devices unless a test says otherwise.
const deviceOS = "26.1"

// app is an app of a request, as item and version.
type app struct {
	Item    string `json:"appleItemId"`
	Version string `json:"appleVersionId"`
}

// appsBody is the body of restores and update checks.
func appsBody(platform, os string, apps ...app) string {
	b, err := json.Marshal(map[string]any{"apps": append([]app{}, apps...), "platform": platform, "osVersion": os})
	if err != nil {
		panic(err)
	}
	return string(b)
}

// ask posts apps to a path, with a token unless it is empty.
func ask(t testing.TB, s *coretest.Server, path, access, body string) answer {
	t.Helper()
	if access == "" {
		return post(t, s.PublicURL()+path, jsonType, body)
	}
	return post(t, s.PublicURL()+path, jsonType, body, "Authorization", "Bearer "+access)
}

// offer is an app as a device is given it.
type offer struct {
	app
	Package string  `json:"alternativeDistributionPackage"`
	Token   string  `json:"installVerificationToken"`
	Bundle  *string `json:"bundleVersion"`
	Short   *string `json:"shortVersionString"`
	Share   string  `json:"appShareURL"`
}

// failure is an app that a device does not get.
type failure struct {
	app
	Failure struct {
		Code        int    `json:"code"`
		Description string `json:"description"`
	} `json:"failure"`
}

// given is the answer to a request for apps.
type given struct {
	Restores []offer   `json:"restores"`
	Updates  []offer   `json:"updates"`
	Installs []offer   `json:"installs"`
	Failures []failure `json:"failures"`
}

// offers are those of whichever list is there.
func (g given) offers() []offer {
	return append(append(append([]offer{}, g.Restores...), g.Updates...), g.Installs...)
}

// apps reads an answer of 200 as a device does: a missing list or a field of the
// wrong type loses all of it.
func (a answer) apps(t testing.TB, list string) given {
	t.Helper()
	var g given
	if a.status != 200 {
		t.Errorf("answered %d %s, want 200", a.status, a.body)
		return g
	}
	if err := json.Unmarshal(a.body, &g); err != nil {
		t.Errorf("a device can't read %s: %v", a.body, err)
	}
	if _, ok := a.object(t)[list].([]any); !ok {
		t.Errorf("the answer %s has no list %s", a.body, list)
	}
	for _, o := range g.offers() {
		if o.Item == "" || o.Version == "" || o.Token == "" || !strings.HasPrefix(o.Package, "http") {
			t.Errorf("the offer %+v lacks a field that a device needs", o)
		}
	}
	for _, f := range g.Failures {
		if f.Item == "" || f.Failure.Code != 404 || f.Failure.Description == "" {
			t.Errorf("the failure %+v is not what a device reads", f)
		}
	}
	return g
}

func restore(t testing.TB, s *coretest.Server, access, os string, apps ...app) given {
	t.Helper()
	return ask(t, s, "/restore", access, appsBody("iOS", os, apps...)).apps(t, "restores")
}

func updates(t testing.TB, s *coretest.Server, access, os string, apps ...app) given {
	t.Helper()
	return ask(t, s, "/updates", access, appsBody("iOS", os, apps...)).apps(t, "updates")
}

// gives checks that an answer has exactly these offers, and failures for the rest.
func (g given) gives(t testing.TB, what string, want []app, failed ...app) {
	t.Helper()
	got := g.offers()
	same := len(got) == len(want) && len(g.Failures) == len(failed)
	for i := range want {
		same = same && got[i].app == want[i]
	}
	for i := range failed {
		same = same && g.Failures[i].app == failed[i]
	}
	if !same {
		var offered, failures []app
		for _, o := range got {
			offered = append(offered, o.app)
		}
		for _, f := range g.Failures {
			failures = append(failures, f.app)
		}
		t.Errorf("%s: offers %v and failures %v, want %v and %v", what, offered, failures, want, failed)
	}
}

// accounts are the accounts that the server knows.
func accounts(t testing.TB, s *coretest.Server) string {
	t.Helper()
	return string(s.Must(t, http.MethodGet, "/api/accounts", nil))
}

// atOnce does n things at the same time.
func atOnce(n int, f func(i int)) {
	var wg sync.WaitGroup
	start := make(chan struct{})
	for i := range n {
		wg.Go(func() {
			<-start
			f(i)
		})
	}
	close(start)
	wg.Wait()
}
