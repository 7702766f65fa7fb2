package server

import (
	"bytes"
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
)

var (
	//go:embed install.html
	installText     string
	installTemplate = template.Must(template.New("install").Parse(installText))
)

// installView is what the template draws.
type installView struct {
	Style                    template.CSS
	Market, Name, Initial    string
	Version, MinOS           string
	Message, Account, SignIn string
	Link                     template.URL // of the one button; empty = there is nothing to install
	SignInFirst              bool         // the button leads to the sign-in page instead
	Elsewhere                bool         // the browser is on no iPhone or iPad, or doesn't say so
	FreshFor                 int          // seconds
}

// beginParameter asks the page of an app to begin a sign-in.
const beginParameter = "sign_in"

// installPage answers GET /install/{appleItemId}: a page with one button, whose
// link is made for this visit. It works without script. A visitor signs in
// through the sign-in page, as with any other app, and comes back here.
func (s *Server) installPage(ctx context.Context, r *fasthttp.RequestCtx) error {
	text := strings.TrimPrefix(string(r.Path()), oauth.PagePath)
	item, ok := catalog.ParseID(text)
	if !ok {
		return &problem{status: 404, sentence: noApp}
	}
	p, err := params(r.QueryArgs())
	if err != nil {
		return err
	}
	message := ""
	switch {
	case p[beginParameter] != "":
		return s.beginPage(r, text)
	case p["code"] != "" || p["error"] != "":
		if message, err = s.endPage(ctx, r, text, p); message == "" {
			return err
		}
	}
	v := market.Visit{Item: item, Territory: s.territoryOf(r)}
	v.Platform, v.OS = systemOf(string(r.Request.Header.UserAgent()))
	if access, err := s.oauth.Bearer(r.Request.Header.Cookie(s.cookie(sessionCookie)), oauth.AudiencePage); err == nil {
		v.Access = &access
	}
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
	return s.writeInstall(ctx, r, in, message, v.OS == catalog.AnyOS)
}

const noApp = "There is no such app here"

// writeInstall draws the page. A link is good for one visit, so a page that stays
// open fetches itself anew before its link is out of date.
func (s *Server) writeInstall(ctx context.Context, r *fasthttp.RequestCtx, in *market.Install, message string, elsewhere bool) error {
	view := installView{
		Style: template.CSS(pageStyle), Market: s.market.Config.Name, Name: in.App.Name, Account: in.Account,
		Message: message, SignInFirst: in.SignIn, Elsewhere: elsewhere,
	}
	if view.Name == "" {
		view.Name = in.App.BundleID
	}
	first, _ := utf8.DecodeRuneInString(view.Name)
	view.Initial = string(unicode.ToUpper(first))
	if in.SignIn || in.Account != "" {
		view.SignIn = string(r.Path()) + "?" + beginParameter + "=1"
	}
	switch {
	case in.SignIn:
	case in.Release == nil && in.Account != "":
		view.Message = "This app is not available for this account."
	case in.Release == nil:
		view.Message = "This app is not available at the moment."
	case !sameOrigin(in.Release.Package, s.oauth.Issuer):
		// The system compares the origins of page and package, and installs nothing.
		s.log.Warn("an install page can't install: the package is not on the origin of server.public_url",
			"item", in.App.ID, "package", in.Release.Package, "public_url", s.oauth.Issuer)
		view.Message = "This app can't be installed from this page."
	default:
		link := market.Link{Package: in.Release.Package, Token: string(in.Token), Account: in.Account, ShareURL: in.App.ShareURL}
		life := s.market.Config.InstallLife.Std()
		if in.Account != "" {
			var err error
			if link.SubjectToken, err = s.oauth.SubjectToken(ctx, in.Account, in.App.ID); err != nil {
				return err
			}
			life = min(life, oauth.SubjectTokenLife)
		}
		view.Link = template.URL(link.String())
		view.FreshFor = int(life.Seconds() * 3 / 4)
		view.Version = in.Release.Short
		if os, ok := in.Release.MinOS(catalog.IOS); ok {
			view.MinOS = systemText(os)
		}
	}
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
		"default-src 'none'; style-src "+styleHash+"; form-action 'none'; base-uri 'none'; frame-ancestors 'none'")
	return nil
}

// sameOrigin says whether a URL has scheme, host and port of another.
func sameOrigin(a, b string) bool {
	x, err1 := url.Parse(a)
	y, err2 := url.Parse(b)
	return err1 == nil && err2 == nil && x.Scheme == y.Scheme && strings.EqualFold(x.Host, y.Host)
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

// endPage takes the visitor back from the sign-in page: to the page without the
// code in its address, or on with a message if nobody signed in.
func (s *Server) endPage(ctx context.Context, r *fasthttp.RequestCtx, item string, p oauth.Params) (message string, err error) {
	access, life, err := s.oauth.EndPage(ctx, item, p, string(r.Request.Header.Cookie(s.cookie(beginCookie))))
	var e *oauth.Error
	switch {
	case errors.As(err, &e) && e.Status() < 500:
		return sentence(e.Description), nil
	case err != nil:
		return "", err
	}
	redirect(r, oauth.PagePath+item)
	s.setCookie(r, beginCookie, "", 0)
	s.setCookie(r, sessionCookie, access, life)
	return "", nil
}

// refuseInstall draws an error as a page.
func refuseInstall(r *fasthttp.RequestCtx, err error, status int) bool {
	title := "Something went wrong"
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

// systemOf reads platform and system out of a User-Agent. Current systems name an
// old version where they always did, and their own as that of the browser.
func systemOf(agent string) (catalog.Platform, uint32) {
	platform := catalog.IOS
	if strings.Contains(agent, "(iPad;") {
		platform = catalog.IPadOS
	}
	_, text, ok := strings.Cut(agent, " OS ")
	text, _, _ = strings.Cut(text, " ")
	os, valid := catalog.ParseOS(strings.ReplaceAll(text, "_", "."))
	if !ok || !valid || !strings.Contains(agent, "(iPhone;") && platform == catalog.IOS {
		return platform, catalog.AnyOS
	}
	if _, text, ok = strings.Cut(agent, " Version/"); ok {
		text, _, _ = strings.Cut(text, " ")
		if newer, ok := catalog.ParseOS(text); ok {
			os = max(os, newer)
		}
	}
	return platform, os
}

// systemText writes a system version as people know it.
func systemText(os uint32) string {
	if patch := os & 0xff; patch != 0 {
		return fmt.Sprintf("%d.%d.%d", os>>16, os>>8&0xff, patch)
	}
	return fmt.Sprintf("%d.%d", os>>16, os>>8&0xff)
}
