package coretest_test

import (
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/html"

	"github.com/souk-market/souk/core"
	"github.com/souk-market/souk/core/catalog"
	"github.com/souk-market/souk/core/coretest"
	"github.com/souk-market/souk/core/oauth"
)

const (
	phone = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/26.1 Mobile/15E148 Safari/604.1"
	desk  = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36"
)

// visitor is somebody with a browser, which unlike a device keeps cookies.
type visitor struct {
	http  *http.Client
	base  string
	agent string
}

func newVisitor(t testing.TB, s *coretest.Server) *visitor {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &visitor{&http.Client{Jar: jar, CheckRedirect: agent.CheckRedirect, Transport: agent.Transport, Timeout: agent.Timeout}, s.PublicURL(), phone}
}

// get asks for a page, at a whole URL or a path.
func (v *visitor) get(t testing.TB, to string) installPage {
	t.Helper()
	if strings.HasPrefix(to, "/") {
		to = v.base + to
	}
	return v.send(t, request(t, http.MethodGet, to, "", "", "User-Agent", v.agent))
}

func (v *visitor) send(t testing.TB, req *http.Request) installPage {
	t.Helper()
	res, err := v.http.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	doc, err := html.Parse(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	p := installPage{page: page{answer: answer{status: res.StatusCode, header: res.Header}, fields: map[string]string{}, kinds: map[string]string{}}}
	var text strings.Builder
	for n := range doc.Descendants() {
		if n.Type == html.TextNode && n.Parent.Data != "style" {
			text.WriteString(n.Data)
		}
		at := map[string]string{}
		for _, a := range n.Attr {
			at[a.Key] = a.Val
		}
		switch {
		case n.Type != html.ElementNode:
		case n.Data == "a" && at["class"] == "button":
			p.buttons = append(p.buttons, at["href"])
		case n.Data == "form":
			p.action = at["action"]
		case n.Data == "input":
			p.fields[at["name"]], p.kinds[at["name"]] = at["value"], at["type"]
		case n.Data == "meta" && at["http-equiv"] == "refresh":
			p.fresh = at["content"]
		case n.Data == "script":
			t.Errorf("%s has a script", req.URL)
		}
	}
	p.text = text.String()
	if got := p.header.Get("Cache-Control"); got != "no-store" {
		t.Errorf("%s may be kept: Cache-Control %q", req.URL, got)
	}
	return p
}

// installPage is a page as a visitor sees it.
type installPage struct {
	page
	buttons []string
	fresh   string
}

func installPath(item string) string { return "/install/" + item }

// link reads the link of the page's one button.
func (p installPage) link(t testing.TB) map[string]string {
	t.Helper()
	const before = "marketplace-kit://install?"
	if p.status != 200 || len(p.buttons) != 1 || !strings.HasPrefix(p.buttons[0], before) {
		t.Fatalf("the page answered %d with the buttons %q, want 200 and one that installs; it says %q", p.status, p.buttons, p.text)
	}
	values := map[string]string{}
	for _, pair := range strings.Split(strings.TrimPrefix(p.buttons[0], before), "&") {
		name, value, _ := strings.Cut(pair, "=")
		if strings.ContainsAny(value, " +#;/?:@=") {
			t.Errorf("the value of %s is not percent-encoded: %s", name, value)
		}
		text, err := url.PathUnescape(value) // where a plus sign stays one, as on the device
		if err != nil || values[name] != "" {
			t.Errorf("the link has %s twice or escaped wrong: %s", name, p.buttons[0])
		}
		values[name] = text
	}
	return values
}

// signIn walks from the page through the sign-in page and back.
func (v *visitor) signIn(t testing.TB, item, account, password string) installPage {
	t.Helper()
	back := v.goesBack(t, item, account, password)
	p := v.get(t, back)
	if to := p.header.Get("Location"); p.status != 302 || to != installPath(item) {
		t.Fatalf("after the sign-in the page answered %d to %q, want 302 to itself without the code; it says %q", p.status, to, p.text)
	}
	return v.get(t, installPath(item))
}

// goesBack signs in as far as the redirect to the page, and returns it.
func (v *visitor) goesBack(t testing.TB, item, account, password string) string {
	t.Helper()
	begin := v.get(t, installPath(item)+"?sign_in=1")
	page := v.get(t, begin.header.Get("Location"))
	if begin.status != 302 || page.status != 200 || page.action == "" {
		t.Fatalf("the page led with %d to a sign-in page of %d: %q", begin.status, page.status, page.text)
	}
	form := url.Values{"action": {"continue"}}
	for name, value := range page.fields {
		switch page.kinds[name] {
		case "password":
			value = password
		case "email":
			value = account
		}
		form.Set(name, value)
	}
	if password == "" {
		form.Set("action", "cancel")
	}
	done := v.send(t, request(t, http.MethodPost, v.base+page.action, formType, form.Encode(), "Sec-Fetch-Site", "same-origin"))
	if done.status != 303 && done.status != 302 {
		t.Fatalf("the sign-in answered %d: %q", done.status, done.text)
	}
	return done.header.Get("Location")
}

func TestInstallPageOfAnOpenApp(t *testing.T) {
	t.Parallel()
	s := shared(t)
	p := newVisitor(t, s).get(t, installPath(coretest.SkyItem))
	link := p.link(t)
	if want := s.PublicURL() + "/packages/" + coretest.SkyItem + "/" + coretest.SkyVersion; link["alternativeDistributionPackage"] != want || len(link) != 2 {
		t.Errorf("the link has %v, want the package %s, an install verification token and nothing else", link, want)
	}
	claims := verify(t, s, link["installVerificationToken"]).claims
	if claims["iid"] != coretest.SkyItem || claims["vid"] != coretest.SkyVersion || claims["bid"] != "com.example.sky" || claims["dtype"] != "download" {
		t.Errorf("the token of the link says %v, want the first download of the app", claims)
	}
	if p.fresh != "900; url="+installPath(coretest.SkyItem) { // 20 minutes are the life of the token
		t.Errorf("the page fetches itself anew after %q s, want 900 and without a query", p.fresh)
	}
	for _, text := range []string{"Sky", "Souk", "Version 1.4", "iOS 17.4 or later"} {
		if !strings.Contains(p.text, text) {
			t.Errorf("the page says %q, want %q in it", p.text, text)
		}
	}
	for name, want := range map[string]string{
		"Content-Type": "text/html; charset=utf-8", "X-Frame-Options": "DENY", "X-Content-Type-Options": "nosniff", "Set-Cookie": "",
		"Referrer-Policy": "origin", // the system looks at the page that a link was on
	} {
		if got := p.header.Get(name); got != want {
			t.Errorf("the page has the %s %q, want %q", name, got, want)
		}
	}
	if csp := p.header.Get("Content-Security-Policy"); !strings.HasPrefix(csp, "default-src 'none'; style-src 'sha256-") || !strings.Contains(csp, "form-action 'self'; base-uri 'none'; frame-ancestors 'none'") {
		t.Errorf("the page's policy is %q", csp)
	}
	again := newVisitor(t, s).get(t, installPath(coretest.SkyItem)).link(t)
	if again["installVerificationToken"] == link["installVerificationToken"] {
		t.Error("two visits got the same install verification token")
	}
}

// The page is an app like any other: sign-in with a code and PKCE, a token, and an
// end as soon as the operator says so.
func TestInstallPageSignsIn(t *testing.T) {
	t.Parallel()
	s := coretest.Start(t, quick)
	v := newVisitor(t, s)
	p := v.get(t, installPath(coretest.NotesItem))
	if want := installPath(coretest.NotesItem) + "?sign_in=1"; p.status != 200 || !slices.Equal(p.buttons, []string{want}) || p.fresh != "" {
		t.Errorf("to nobody in particular the page answered %d with the buttons %q, want one to %s", p.status, p.buttons, want)
	}
	first := v.signIn(t, coretest.NotesItem, coretest.Alice, coretest.AlicePassword)
	link := first.link(t)
	if link["account"] != coretest.Alice || link["token"] == "" || link["appShareURL"] != "https://market.example.com/apps/notes" || len(link) != 5 {
		t.Errorf("the link has %v, want alice's account, a subject token and the share URL", link)
	}
	if first.fresh != "450; url="+installPath(coretest.NotesItem) { // ten minutes are the life of the subject token
		t.Errorf("the page fetches itself anew after %q s, want 450", first.fresh)
	}
	if !strings.Contains(first.text, "Signed in as "+coretest.Alice) {
		t.Errorf("the page says %q, want who is signed in", first.text)
	}

	// Looking again is no download, and another link.
	second := v.get(t, installPath(coretest.NotesItem)).link(t)
	if second["token"] == link["token"] {
		t.Error("two visits got the same subject token")
	}
	for i, l := range []map[string]string{link, second} {
		if got := verify(t, s, l["installVerificationToken"]).claims["dtype"]; got != "download" {
			t.Errorf("link %d is for a %v, want download: nothing was downloaded yet", i+1, got)
		}
	}

	if p := v.get(t, installPath(coretest.SkyItem)).link(t); p["account"] != coretest.Alice || p["token"] == "" {
		t.Errorf("an open app's link for somebody who is signed in has %v, want the account and a token", p)
	}

	// One device takes the link.
	device := newClientID()
	held := token(t, s, exchangeForm(link["token"], device)).granted(t, "the token of the link")
	if status := opens(t, s, held.access); status != 200 {
		t.Errorf("the device's token answered %d, want 200", status)
	}
	token(t, s, exchangeForm(link["token"], newClientID())).refused(t, "the same link on another device", 400, "invalid_request")
	if got := verify(t, s, v.get(t, installPath(coretest.NotesItem)).link(t)["installVerificationToken"]).claims["dtype"]; got != "redownload" {
		t.Errorf("after a device took the link the next is for a %v, want redownload", got)
	}

	// The sign-in is listed and ended like any other.
	var own []session
	for _, x := range sessionsOf(t, s, coretest.Alice) {
		if x.Client == "install-page" && !x.Device {
			own = append(own, x)
		}
	}
	if len(own) != 1 {
		t.Fatalf("alice's sign-ins have %v of the install page, want one", own)
	}
	held = token(t, s, exchangeForm(second["token"], device)).granted(t, "the other link")
	left := v.get(t, installPath(coretest.NotesItem)).link(t)["token"]
	s.Must(t, http.MethodDelete, "/api/accounts/"+url.PathEscape(coretest.Alice)+"/sessions/"+own[0].ID, nil)
	token(t, s, exchangeForm(left, device)).refused(t, "a link of a visitor whose sign-in was ended", 400, "invalid_request")
	goesOn(t, s, "a device that came by a link before", held)
	if p := v.get(t, installPath(coretest.NotesItem)); len(p.buttons) != 1 || strings.HasPrefix(p.buttons[0], "marketplace-kit:") {
		t.Errorf("after the sign-in was ended the buttons are %q, want one that signs in", p.buttons)
	}

	// So does one whose account is signed out everywhere, and one whose time is over.
	v.signIn(t, coretest.NotesItem, coretest.Alice, coretest.AlicePassword).link(t)
	left = v.get(t, installPath(coretest.NotesItem)).link(t)["token"]
	s.Must(t, http.MethodDelete, "/api/accounts/"+url.PathEscape(coretest.Alice)+"/sessions", nil)
	token(t, s, exchangeForm(left, device)).refused(t, "a link of an account that was signed out", 400, "invalid_request")
	if p := v.get(t, installPath(coretest.NotesItem)); strings.HasPrefix(p.buttons[0], "marketplace-kit:") {
		t.Error("after the account was signed out the page still installs")
	}
	v.signIn(t, coretest.NotesItem, coretest.Alice, coretest.AlicePassword).link(t)
	left = v.get(t, installPath(coretest.NotesItem)).link(t)["token"]
	s.Clock.Advance(11 * time.Minute)
	token(t, s, exchangeForm(left, newClientID())).refused(t, "a link of eleven minutes ago", 400, "invalid_request")
	s.Clock.Advance(50 * time.Minute)
	if p := v.get(t, installPath(coretest.NotesItem)); strings.HasPrefix(p.buttons[0], "marketplace-kit:") {
		t.Error("after an hour the page still installs")
	}
}

// Whoever signs out, or in as somebody else, leaves nothing behind in the browser
// and nothing that is worth anything outside of it.
func TestInstallPageSignsOut(t *testing.T) {
	t.Parallel()
	s := coretest.Start(t, quick)
	v := newVisitor(t, s)
	path := installPath(coretest.NotesItem)
	leave := func(site string) installPage {
		return v.send(t, request(t, http.MethodPost, s.PublicURL()+path, formType, "", "Sec-Fetch-Site", site))
	}
	left := v.signIn(t, coretest.NotesItem, coretest.Alice, coretest.AlicePassword).link(t)["token"]
	if p := leave("cross-site"); p.status != 403 {
		t.Errorf("the form of another site answered %d, want 403", p.status)
	}
	v.get(t, path).link(t)
	if p := leave("same-origin"); p.status != 303 || p.header.Get("Location") != path {
		t.Errorf("signing out answered %d to %q, want 303 to the page", p.status, p.header.Get("Location"))
	}
	if p := v.get(t, path); strings.HasPrefix(p.buttons[0], "marketplace-kit:") || strings.Contains(p.text, coretest.Alice) {
		t.Errorf("after signing out the page has the buttons %q: %q", p.buttons, p.text)
	}
	token(t, s, exchangeForm(left, newClientID())).refused(t, "a link of a visitor who signed out", 400, "invalid_request")
	if p := leave("same-origin"); p.status != 303 {
		t.Errorf("signing out twice answered %d, want 303", p.status)
	}

	left = v.signIn(t, coretest.NotesItem, coretest.Alice, coretest.AlicePassword).link(t)["token"]
	v.signIn(t, coretest.NotesItem, coretest.Bob, coretest.BobPassword)
	token(t, s, exchangeForm(left, newClientID())).refused(t, "a link of a visitor before the present one", 400, "invalid_request")
	for _, x := range sessionsOf(t, s, coretest.Alice) {
		t.Errorf("alice still has the sign-in %v", x)
	}
}

// The page's client is for the page: with the public endpoints nobody makes more
// of it than an hour.
func TestPageClientHasNoTokensToRefresh(t *testing.T) {
	t.Parallel()
	s := shared(t)
	r := signIn{client: oauth.PageClient, redirect: s.PublicURL() + installPath(coretest.NotesItem), state: "s", pkce: newPKCE()}
	o := token(t, s, r.redemption(r.aliceCode(t, s))).object(t)
	if o["access_token"] == "" || o["refresh_token"] != nil || o["expires_in"].(float64) > 3600 {
		t.Errorf("the page's client got %v, want an access token of an hour and no other", o)
	}
	link := newVisitor(t, s).signIn(t, coretest.NotesItem, coretest.Alice, coretest.AlicePassword).link(t)
	for _, subject := range []string{link["token"], s.SubjectToken(t, coretest.Alice)} {
		token(t, s, exchangeForm(subject, oauth.PageClient)).refused(t, "an exchange by the page's client", 400, "unauthorized_client")
	}
	token(t, s, exchangeForm(link["token"]+"x", newClientID())).refused(t, "a forged link", 400, "invalid_request")
}

// Somebody who is signed out everywhere while a page is being made gets a link that
// is worth nothing: it carries what the visitor's own token said.
func TestInstallLinkOfWhoIsSignedOutMeanwhile(t *testing.T) {
	t.Parallel()
	s := coretest.Start(t, quick)
	v := newVisitor(t, s)
	v.signIn(t, coretest.NotesItem, coretest.Alice, coretest.AlicePassword)
	u, err := url.Parse(s.PublicURL())
	if err != nil {
		t.Fatal(err)
	}
	visitor, err := s.OAuth.Bearer([]byte(v.http.Jar.Cookies(u)[0].Value), oauth.AudiencePage)
	if err != nil {
		t.Fatal(err)
	}
	s.Must(t, http.MethodDelete, "/api/accounts/"+url.PathEscape(coretest.Alice)+"/sessions", nil)
	link, err := s.OAuth.LinkToken(&visitor, coretest.Alice, 1000002)
	if err != nil {
		t.Fatal(err)
	}
	token(t, s, exchangeForm(link, newClientID())).refused(t, "the link", 400, "invalid_request")
}

// A device writes what it reads of a link into a form without changing it.
func TestInstallLinkIsPercentEncoded(t *testing.T) {
	t.Parallel()
	s := coretest.Start(t, quick)
	item := coretest.Catalogue()[1]
	item.ShareURL = "https://market.example.com/apps?a=1&b=%20+x;%C3%BC"
	if _, err := s.Catalog.Put(t.Context(), item); err != nil {
		t.Fatal(err)
	}
	link := newVisitor(t, s).signIn(t, coretest.NotesItem, coretest.PlusPerson, coretest.AlicePassword).link(t)
	if link["account"] != coretest.PlusPerson || link["appShareURL"] != item.ShareURL {
		t.Errorf("the link has the account %q and the share URL %q, want %q and %q", link["account"], link["appShareURL"], coretest.PlusPerson, item.ShareURL)
	}
}

func TestInstallPageIsForThoseWhoMay(t *testing.T) {
	t.Parallel()
	s := coretest.Start(t, quick)
	v := newVisitor(t, s)
	if p := v.signIn(t, coretest.PlusItem, coretest.Bob, coretest.BobPassword); p.status != 200 || len(p.buttons) != 0 || !strings.Contains(p.text, "not available for this account") {
		t.Errorf("without the grant the page answered %d with the buttons %q: %q, want a sentence and no button", p.status, p.buttons, p.text)
	}
	s.Grant(t, coretest.Bob, coretest.PlusGrant)
	if link := v.get(t, installPath(coretest.PlusItem)).link(t); link["account"] != coretest.Bob {
		t.Errorf("with the grant the link has %v", link)
	}
	// Somebody else on the same browser.
	if link := v.signIn(t, coretest.NotesItem, coretest.Alice, coretest.AlicePassword).link(t); link["account"] != coretest.Alice {
		t.Errorf("after alice signed in on bob's browser the link is %v's", link["account"])
	}
	if p := v.get(t, installPath(coretest.PlusItem)); len(p.buttons) != 0 {
		t.Errorf("alice gets bob's app: %q", p.buttons)
	}
	// An app that needs no sign-in, and a policy that wants one all the same.
	item := coretest.Catalogue()[2]
	item.SignIn = catalog.SignInNone
	if _, err := s.Catalog.Put(t.Context(), item); err != nil {
		t.Fatal(err)
	}
	if p := newVisitor(t, s).get(t, installPath(coretest.PlusItem)); len(p.buttons) != 1 || strings.HasPrefix(p.buttons[0], "marketplace-kit:") || !strings.Contains(p.text, "once you are signed in") {
		t.Errorf("to nobody in particular the page has the buttons %q: %q, want one that signs in", p.buttons, p.text)
	}
	item = coretest.Catalogue()[3]
	item.Versions[0].Rollout.Halted = true
	if _, err := s.Catalog.Put(t.Context(), item); err != nil {
		t.Fatal(err)
	}
	if p := newVisitor(t, s).get(t, installPath(coretest.SkyItem)); p.status != 200 || len(p.buttons) != 0 || !strings.Contains(p.text, "not available at the moment") {
		t.Errorf("the page of a halted version answered %d with %q: %q", p.status, p.buttons, p.text)
	}
	s.Must(t, http.MethodPut, "/api/apps/"+coretest.NotesItem+"/takedown", map[string]string{"reason": "court order"})
	if p := v.get(t, installPath(coretest.NotesItem)); p.status != 404 || strings.Contains(p.text, "Notes") {
		t.Errorf("the page of an app that was taken down answered %d: %q", p.status, p.text)
	}
}

// The system compares the origins of page and package.
func TestInstallPageNeedsThePackageOnItsOrigin(t *testing.T) {
	t.Parallel()
	s := coretest.Start(t, quick)
	for _, test := range []struct {
		where, url string
		installs   bool
	}{
		{"here", s.PublicURL() + "/elsewhere/adp", true},
		{"on another host", "https://cdn.example.com/adp", false},
		{"on another port", "http://127.0.0.1:1/adp", false},
		{"under another scheme", strings.Replace(s.PublicURL(), "http:", "https:", 1) + "/adp", false},
	} {
		item := coretest.Catalogue()[3]
		item.Versions[0].Package = test.url
		if _, err := s.Catalog.Put(t.Context(), item); err != nil {
			t.Fatal(err)
		}
		p := newVisitor(t, s).get(t, installPath(coretest.SkyItem))
		if len(p.buttons) == 1 != test.installs {
			t.Errorf("a package %s: the buttons are %q, want one: %v", test.where, p.buttons, test.installs)
		}
	}
	if !strings.Contains(s.Log.String(), "the package is not on the origin of server.public_url") {
		t.Error("the operator is not told why a page can't install")
	}
}

// What a browser says of its system helps to choose and refuses nothing: it may
// name an older one than it has.
func TestInstallPageChoosesForTheSystem(t *testing.T) {
	t.Parallel()
	s := shared(t)
	v := newVisitor(t, s)
	v.signIn(t, coretest.NotesItem, coretest.Alice, coretest.AlicePassword)
	const (
		form = "Mozilla/5.0 (iPhone; CPU iPhone OS %s like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/%v Mobile/15E148 Safari/604.1"
		mac  = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) "
	)
	for agent, want := range map[string]string{
		phone: coretest.NotesNew, desk: coretest.NotesNew, "": coretest.NotesNew, " OS ": coretest.NotesNew,
		strings.NewReplacer("%s", "17_5_1", "%v", "17.5").Replace(form): coretest.NotesOld,
		strings.NewReplacer("%s", "18_0", "%v", "18.0").Replace(form):   coretest.NotesNew,
		strings.NewReplacer("%s", "16_0", "%v", "16.0").Replace(form):   coretest.NotesNew, // nothing fits: the device will say so
		strings.NewReplacer("%s", "nine", "%v", "x").Replace(form):      coretest.NotesNew,
		"Mozilla/5.0 (iPad; CPU OS 17_4 like Mac OS X) Version/17.4":    coretest.NotesOld,
		mac + "Version/17.4 Safari/605.1.15":                            coretest.NotesOld, // an iPad that asks for the desktop's pages
		mac + "Chrome/140.0.0.0 Safari/537.36":                          coretest.NotesNew,
		"Mozilla/5.0 (iPhone; CPU iPhone OS 17_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) CriOS/140.0 Mobile/15E148 Safari/604.1": coretest.NotesOld,
		"Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) CriOS/140.0 Mobile/15E148 Safari/604.1": coretest.NotesNew,
	} {
		v.agent = agent
		if got := verify(t, s, v.get(t, installPath(coretest.NotesItem)).link(t)["installVerificationToken"]).claims["vid"]; got != want {
			t.Errorf("for %q the page installs %v, want %s", agent, got, want)
		}
	}
	for agent, elsewhere := range map[string]bool{
		phone: false, desk: true, "": true, mac + "Version/17.4 Safari/605.1.15": false, mac + "Chrome/140.0.0.0 Safari/537.36": true,
	} {
		v.agent = agent
		if got := strings.Contains(v.get(t, installPath(coretest.SkyItem)).text, "Open this page on the iPhone or iPad"); got != elsewhere {
			t.Errorf("to %q the page says to open it elsewhere: %v, want %v", agent, got, elsewhere)
		}
	}
}

// Only the browser that began a sign-in can end it (RFC 9700 §4.7).
func TestInstallPageSignInIsBoundToTheBrowser(t *testing.T) {
	t.Parallel()
	s := coretest.Start(t, quick)
	refused := func(what string, p installPage, say string) {
		t.Helper()
		if p.status != 200 || len(p.buttons) != 1 || strings.HasPrefix(p.buttons[0], "marketplace-kit:") || !strings.Contains(p.text, say) {
			t.Errorf("%s: the page answered %d with the buttons %q: %q, want one that signs in, and %q", what, p.status, p.buttons, p.text, say)
		}
		for _, c := range p.header.Values("Set-Cookie") {
			t.Errorf("%s: the page set the cookie %s", what, c)
		}
	}
	const begun = "was not begun in this browser"
	alice, victim := newVisitor(t, s), newVisitor(t, s)
	back := alice.goesBack(t, coretest.NotesItem, coretest.Alice, coretest.AlicePassword)
	refused("another browser", victim.get(t, back), begun)
	victim.get(t, installPath(coretest.NotesItem)+"?sign_in=1")
	refused("another browser that began one of its own", victim.get(t, back), begun)
	u, err := url.Parse(back)
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(url.Values){
		"no state":       func(q url.Values) { q.Del("state") },
		"another state":  func(q url.Values) { q.Set("state", q.Get("state")+"x") },
		"no issuer":      func(q url.Values) { q.Del("iss") },
		"another issuer": func(q url.Values) { q.Set("iss", "https://evil.example") }, // RFC 9207
	} {
		q := u.Query()
		change(q)
		refused(name, alice.get(t, u.Path+"?"+q.Encode()), begun)
	}
	refused("the page of another app", alice.get(t, installPath(coretest.PlusItem)+"?"+u.RawQuery), begun)
	q := u.Query()
	q.Set("code", "x")
	refused("no code of ours", alice.get(t, u.Path+"?"+q.Encode()), "could not be completed")
	if p := alice.get(t, back); p.status != 302 {
		t.Errorf("the browser that began it: answered %d %q, want a redirect", p.status, p.text)
	}
	if p := alice.get(t, back); p.status != 200 || !strings.Contains(p.text, begun) {
		t.Errorf("the same address again: answered %d %q, want a page that asks to sign in again", p.status, p.text)
	}

	late := newVisitor(t, s)
	back = late.goesBack(t, coretest.NotesItem, coretest.Alice, coretest.AlicePassword)
	s.Clock.Advance(21 * time.Minute)
	refused("too late", late.get(t, back), begun)
	refused("cancelled", late.get(t, late.goesBack(t, coretest.NotesItem, coretest.Alice, "")), "You did not sign in.")
}

// A token is for what it was issued for.
func TestPageTokensAndDeviceTokensAreApart(t *testing.T) {
	t.Parallel()
	s := shared(t)
	v := newVisitor(t, s)
	v.signIn(t, coretest.NotesItem, coretest.Alice, coretest.AlicePassword)
	u, err := url.Parse(s.PublicURL())
	if err != nil {
		t.Fatal(err)
	}
	var access string
	for _, c := range v.http.Jar.Cookies(u) {
		if c.Name == "souk" {
			access = c.Value
		}
	}
	if access == "" {
		t.Fatalf("the visitor has the cookies %v, want souk", v.http.Jar.Cookies(u))
	}
	if status := opens(t, s, access); status != 403 {
		t.Errorf("the page's token answered %d at the market, want 403", status)
	}
	for _, held := range []string{deviceOf(t, s, coretest.Alice).access, appSignIn().tokens(t, s).access, access[:len(access)-1] + "!"} {
		other := newVisitor(t, s)
		other.http.Jar.SetCookies(u, []*http.Cookie{{Name: "souk", Value: held}})
		if p := other.get(t, installPath(coretest.NotesItem)); p.status != 200 || strings.HasPrefix(p.buttons[0], "marketplace-kit:") {
			t.Errorf("with another token in the cookie the page answered %d and installs", p.status)
		}
	}
}

// RFC 6265bis §4.1.3.2: nobody else of the domain can set these cookies.
func TestInstallPageCookies(t *testing.T) {
	t.Parallel()
	for public, want := range map[string]string{
		"https://market.example.com": "__Host-souk-sign-in=; Max-Age=1200; Path=/; HttpOnly; SameSite=Lax; Secure",
		"":                           "souk-sign-in=; Max-Age=1200; Path=/; HttpOnly; SameSite=Lax",
	} {
		address := freeAddress(t)
		s := coretest.Start(t, func(c *core.Config) {
			quick(c)
			c.Server.PublicURL, c.Server.Listen = public, address
		})
		v := newVisitor(t, s)
		v.base = "http://" + address
		set := v.get(t, installPath(coretest.NotesItem)+"?sign_in=1").header.Values("Set-Cookie")
		if len(set) != 1 {
			t.Fatalf("beginning a sign-in set the cookies %q, want one", set)
		}
		name, rest, _ := strings.Cut(set[0], "=")
		_, rest, _ = strings.Cut(rest, ";")
		if got := name + "=;" + rest; got != want {
			t.Errorf("under %q the cookie is %s, want %s", public, got, want)
		}
	}
}

func TestInstallPagePaths(t *testing.T) {
	t.Parallel()
	s := shared(t)
	v := newVisitor(t, s)
	for path, want := range map[string]int{
		"/install/1": 404, "/install/": 404, "/install": 404, "/install/x": 404, "/install/01000004": 404, "/install/1000004/": 404, "/install/1000004/x": 404,
		"/install/18446744073709551616": 404, "/install/%31000004": 200, "/install/1000004?utm=x&y": 200, "/install/1000004?utm=x&utm=%ff": 200, "/install/1000004?code=1&code=2": 400,
	} {
		if p := v.get(t, path); p.status != want {
			t.Errorf("GET %s answered %d %q, want %d", path, p.status, p.text, want)
		}
	}
	if a := send(t, request(t, http.MethodPut, s.PublicURL()+installPath(coretest.SkyItem), formType, "")); a.status != 405 || a.header.Get("Allow") != "GET, POST" {
		t.Errorf("PUT answered %d, Allow %q, want 405, GET and POST", a.status, a.header.Get("Allow"))
	}
	item := coretest.Catalogue()[3]
	item.ID, item.Name, item.SignIn = 1000099, `<b>"Ümlaut" & Co</b>`, catalog.SignInNone
	item.Versions[0].ID = 2000991
	if _, err := s.Catalog.Put(t.Context(), item); err != nil {
		t.Fatal(err)
	}
	if p := v.get(t, "/install/1000099"); !strings.Contains(p.text, item.Name) {
		t.Errorf("the page says %q, want the name as it is: %q", p.text, item.Name)
	}
}
