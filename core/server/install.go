package server

import (
	"bytes"
	"cmp"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"html/template"
	"net/url"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/valyala/fasthttp"

	"github.com/souk-market/souk/core/catalog"
	"github.com/souk-market/souk/core/market"
	"github.com/souk-market/souk/core/oauth"
	"github.com/souk-market/souk/core/token"
)

var (
	//go:embed install.html
	installText     string
	installTemplate = template.Must(template.New("install").Parse(installText))
)

// installView is what the template draws.
type installView struct {
	Style                 template.CSS
	Path                  string // of the page
	Market, Name, Initial string
	Version, MinOS        string
	Message, Account      string
	Link                  template.URL // of the one button; empty = there is nothing to install
	SignIn                bool         // the button leads to the sign-in page instead
	Elsewhere             bool         // the browser is on no iPhone or iPad
	FreshFor              int          // seconds
}

// beginParameter asks the page of an app to begin a sign-in.
const beginParameter = "sign_in"

// installPage answers GET /install/{appleItemId}: a page with one button, whose
// link is made for this visit. It works without script. A visitor signs in
// through the sign-in page, as with any other app, and comes back here.
func (s *Server) installPage(ctx context.Context, r *fasthttp.RequestCtx) error {
	text, item, err := pageItem(r)
	if err != nil {
		return err
	}
	// Whoever shares the link of a page may add parameters of their own, of any kind.
	p, err := s.params(r.QueryArgs(), beginParameter, "code", "error", "state", "iss")
	if err != nil {
		return err
	}
	message := ""
	switch {
	case r.IsHead(): // only looks
	case p[beginParameter] != "":
		return s.beginPage(r, text)
	case p["code"] != "" || p["error"] != "":
		done := false
		if done, message, err = s.endPage(ctx, r, text, p); done || err != nil {
			return err
		}
	}
	agent := browserOf(string(r.Request.Header.UserAgent()))
	v := market.Visit{Item: item, Platform: agent.platform, OS: agent.os, Territory: s.territoryOf(r), Access: s.visitorOf(r)}
	in, err := s.market.Install(ctx, v)
	if errors.Is(err, market.ErrNoAccount) { // signed out everywhere
		v.Access = nil
		in, err = s.market.Install(ctx, v)
	}
	switch {
	case errors.Is(err, market.ErrNoApp):
		return &problem{status: 404, sentence: noApp}
	case err != nil:
		return &problem{status: 503, sentence: "This is not possible at the moment: try again later", retry: true, cause: err}
	}
	view := installView{
		Style: template.CSS(pageStyle), Path: oauth.PagePath + text, Market: s.market.Config.Name,
		Name: cmp.Or(in.App.Name, in.App.BundleID), Message: message, Account: in.Account,
	}
	first, _ := utf8.DecodeRuneInString(view.Name)
	view.Initial = string(unicode.ToUpper(first))
	switch {
	case in.SignIn:
		view.SignIn = true
	case in.Release == nil && in.Nobody:
		view.Message = cmp.Or(message, "This app is not available at the moment.")
	case in.Release == nil && in.Account == "":
		view.SignIn = true
		view.Message = cmp.Or(message, "This app may be available to you once you are signed in.")
	case in.Release == nil:
		view.Message = cmp.Or(message, "This app is not available for this account.")
	case !sameOrigin(in.Release.Package, s.oauth.Issuer):
		s.foreignPackage(in)
		view.Message = cmp.Or(message, "This app can't be installed from this page.")
	default:
		view.Elsewhere = agent.elsewhere
		if err := s.link(&view, in, v.Access); err != nil {
			return err
		}
	}
	return writeInstall(r, &view)
}

const noApp = "There is no such app here"

// pageItem is the app of a page, and its id as the path has it.
func pageItem(r *fasthttp.RequestCtx) (text string, item uint64, err error) {
	text = strings.TrimPrefix(string(r.Path()), oauth.PagePath)
	item, ok := catalog.ParseID(text)
	if !ok {
		return "", 0, &problem{status: 404, sentence: noApp}
	}
	return text, item, nil
}

// link puts a link behind the button. It is good for one visit, so a page that
// stays open fetches itself anew before its link is out of date.
func (s *Server) link(view *installView, in *market.Install, visitor *token.Access) error {
	link := market.Link{Package: in.Release.Package, Token: string(in.Token), Account: in.Account, ShareURL: in.App.ShareURL}
	life := s.market.Config.InstallLife.Std()
	if in.Account != "" {
		var err error
		if link.SubjectToken, err = s.oauth.LinkToken(visitor, in.Account, in.App.ID); err != nil {
			return err
		}
		life = min(life, oauth.SubjectTokenLife)
	}
	view.Link, view.FreshFor = template.URL(link.String()), int(life.Seconds()*3/4)
	view.Version = in.Release.Short
	if os, ok := in.Release.MinOS(catalog.IOS); ok {
		view.MinOS = systemText(os)
	}
	return nil
}

func writeInstall(r *fasthttp.RequestCtx, view *installView) error {
	var b bytes.Buffer
	if err := installTemplate.Execute(&b, view); err != nil {
		return err
	}
	r.Response.SetStatusCode(200)
	r.Response.Header.SetContentType("text/html; charset=utf-8")
	r.Response.SetBody(b.Bytes())
	pageHeaders(r)
	// The system looks at the origin of the page behind the link, so that is sent
	// along, and no more: the query of a page may hold a code.
	r.Response.Header.Set("Referrer-Policy", "origin")
	r.Response.Header.Set("Content-Security-Policy",
		"default-src 'none'; style-src "+styleHash+"; form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
	return nil
}

// foreignPackage tells the operator, once for each app, why a page installs
// nothing: the system compares the origins of page and package.
func (s *Server) foreignPackage(in *market.Install) {
	if _, told := s.foreign.LoadOrStore(in.App.ID, true); !told {
		s.log.Warn("an install page can't install: the package is not on the origin of server.public_url",
			"item", in.App.ID, "package", in.Release.Package, "public_url", s.oauth.Issuer)
	}
}

// sameOrigin says whether a URL has scheme, host and port of another (RFC 6454 §5).
func sameOrigin(a, b string) bool {
	x, err1 := url.Parse(a)
	y, err2 := url.Parse(b)
	return err1 == nil && err2 == nil && x.Scheme == y.Scheme && strings.EqualFold(x.Hostname(), y.Hostname()) && portOf(x) == portOf(y)
}

func portOf(u *url.URL) string {
	return cmp.Or(u.Port(), map[string]string{"https": "443", "http": "80"}[u.Scheme])
}

// The page's two cookies: the access token of a visitor who is signed in, and what
// has to be remembered while one signs in.
const (
	sessionCookie = "souk"
	beginCookie   = "souk-sign-in"
)

// cookie is the name of a cookie. The prefix keeps others of the domain from
// setting it (RFC 6265bis §4.1.3.2); without TLS browsers take no such name.
func (s *Server) cookie(name string) string {
	if strings.HasPrefix(s.oauth.Issuer, "https:") {
		return "__Host-" + name
	}
	return name
}

// setCookie sets a cookie for so long; 0 takes it away. Lax, because the page is
// reached through links on other sites.
func (s *Server) setCookie(r *fasthttp.RequestCtx, name, value string, life time.Duration) {
	attributes := "; Path=/; HttpOnly; SameSite=Lax"
	if strings.HasPrefix(s.oauth.Issuer, "https:") {
		attributes += "; Secure"
	}
	r.Response.Header.Add("Set-Cookie", fmt.Sprintf("%s=%s; Max-Age=%d%s", s.cookie(name), value, int(life.Seconds()), attributes))
}

// visitorOf is the visitor who is signed in, or nil.
func (s *Server) visitorOf(r *fasthttp.RequestCtx) *token.Access {
	access, err := s.oauth.Bearer(r.Request.Header.Cookie(s.cookie(sessionCookie)), oauth.AudiencePage)
	if err != nil {
		return nil
	}
	return &access
}

// beginPage sends the visitor to the sign-in page.
func (s *Server) beginPage(r *fasthttp.RequestCtx, item string) error {
	location, begun, err := s.oauth.BeginPage(item)
	if err != nil {
		return err
	}
	redirect(r, location)
	s.setCookie(r, beginCookie, begun, oauth.PageSignInLife)
	return nil
}

// endPage takes the visitor back from the sign-in page. It is done when it leads to
// the page without the code in its address; otherwise there is a message for who
// did not sign in.
func (s *Server) endPage(ctx context.Context, r *fasthttp.RequestCtx, item string, p oauth.Params) (done bool, message string, err error) {
	ctx = s.seen(ctx, r)
	access, life, err := s.oauth.EndPage(ctx, item, p, string(r.Request.Header.Cookie(s.cookie(beginCookie))))
	var e *oauth.Error
	switch {
	case errors.As(err, &e) && e.Status() < 500:
		s.log.Debug("a visitor did not sign in", "path", string(r.Path()), "error", err)
		return false, sentence(e.Description), nil
	case err != nil:
		return false, "", err
	}
	if before := s.visitorOf(r); before != nil { // this browser forgets them
		if err := s.oauth.SignOut(ctx, before); err != nil {
			return false, "", err
		}
	}
	redirect(r, oauth.PagePath+item)
	s.setCookie(r, beginCookie, "", 0)
	s.setCookie(r, sessionCookie, access, life)
	return true, "", nil
}

// signOut answers POST /install/{appleItemId}: the visitor signs out.
func (s *Server) signOut(ctx context.Context, r *fasthttp.RequestCtx) error {
	text, _, err := pageItem(r)
	if err != nil {
		return err
	}
	if !fromOurPage(r) {
		return &problem{status: 403, sentence: "The form was not sent by our page"}
	}
	if visitor := s.visitorOf(r); visitor != nil {
		if err := s.oauth.SignOut(s.seen(ctx, r), visitor); err != nil {
			return err
		}
	}
	redirect(r, oauth.PagePath+text)
	s.setCookie(r, sessionCookie, "", 0)
	return nil
}

// refuseInstall draws an error as a page.
func refuseInstall(r *fasthttp.RequestCtx, err error, status int) bool {
	title := "Something went wrong: try again"
	var p *problem
	switch {
	case errors.As(err, &p):
		title = p.sentence
		if p.retry {
			retryAfter(r, 5)
		}
	case status == 503:
		title = "This is not possible at the moment: try again later"
		retryAfter(r, 5)
	}
	return writePage(r, &oauth.Page{Title: title, Status: status}) == nil
}

// browser is what a User-Agent tells of a device.
type browser struct {
	platform  catalog.Platform
	os        uint32 // catalog.AnyOS if it doesn't tell
	elsewhere bool   // it is no iPhone and no iPad
}

// browserOf reads a User-Agent. From system 26 on the system's place in it says
// 18.6 for ever, and only Safari tells its own version, which is the system's. On
// an iPad Safari says that it is a Mac, unless it is told not to.
func browserOf(agent string) browser {
	b := browser{platform: catalog.IOS, os: catalog.AnyOS}
	version, safari := versionAfter(agent, " Version/")
	switch {
	case strings.Contains(agent, "(iPhone;"):
	case strings.Contains(agent, "(iPad;"):
		b.platform = catalog.IPadOS
	case strings.Contains(agent, "(Macintosh;") && safari && strings.Contains(agent, " Safari/") && !strings.Contains(agent, " Chrome/"):
		b.platform, b.os = catalog.IPadOS, version
		return b
	default:
		b.elsewhere = true
		return b
	}
	const frozen, next = 18<<16 | 6<<8, 19 << 16
	system, ok := versionAfter(agent, " OS ")
	switch {
	case safari && ok:
		b.os = max(system, version)
	case ok && (system < frozen || system >= next):
		b.os = system
	}
	return b
}

// versionAfter reads the version behind a word.
func versionAfter(agent, word string) (uint32, bool) {
	_, text, found := strings.Cut(agent, word)
	text, _, _ = strings.Cut(text, " ")
	os, ok := catalog.ParseOS(strings.ReplaceAll(text, "_", "."))
	return os, found && ok
}

// systemText writes a system version as people know it.
func systemText(os uint32) string {
	if patch := os & 0xff; patch != 0 {
		return fmt.Sprintf("%d.%d.%d", os>>16, os>>8&0xff, patch)
	}
	return fmt.Sprintf("%d.%d", os>>16, os>>8&0xff)
}
