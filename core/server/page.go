package server

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"html/template"
	"strconv"
	"strings"

	"github.com/valyala/fasthttp"

	"github.com/souk-market/souk/core/oauth"
)

// The frame of every page that a person sees. Policy says what stands in it.
var (
	//go:embed page.html
	pageText string
	//go:embed page.css
	pageStyle string

	pageTemplate = template.Must(template.New("page").Parse(pageText))
	// The style is named by its hash, so nothing else can be one.
	styleHash = func() string {
		sum := sha256.Sum256([]byte(pageStyle))
		return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
	}()
)

// field is a form field as the template draws it.
type field struct {
	oauth.Field
	Input        string // of the HTML element; empty = a note
	Autocomplete string
	Focus        bool
}

// inputs gives a kind of field its input element and what a password manager
// calls it.
var inputs = map[string][2]string{
	"text": {"text", "on"}, "email": {"email", "username"}, "username": {"text", "username"},
	"password": {"password", "current-password"}, "code": {"text", "one-time-code"}, "hidden": {"hidden", "off"},
}

// writePage draws a page.
func writePage(r *fasthttp.RequestCtx, p *oauth.Page) error {
	view := struct {
		*oauth.Page
		Lang   string
		Style  template.CSS
		Fields []field
		Own    *markup // instead of title and message
		// What policy has not said itself: who asks, and for which account.
		NameClient, NameHint bool
	}{Page: p, Lang: "en", Style: template.CSS(pageStyle)}
	images := "" // a directive that most pages need not have
	if p.HTML != "" {
		if m, ok := readMarkup(p.HTML); ok {
			view.Own = &m
			if m.Images {
				images = "img-src data:; "
			}
		}
	}
	// What a page of its own says about that is not looked into.
	view.NameClient = p.Client != "" && (view.Own != nil || !strings.Contains(p.Title, p.Client))
	view.NameHint = p.LoginHint != "" && p.Transaction != "" && (view.Own != nil || !strings.Contains(p.Message, p.LoginHint))
	focused := false
	for _, f := range p.Fields {
		in := inputs[f.Kind]
		v := field{Field: f, Input: in[0], Autocomplete: in[1]}
		v.Name = oauth.FieldPrefix + f.Name
		if !focused && v.Input != "" && v.Input != "hidden" && f.Value == "" {
			v.Focus, focused = true, true
		}
		if v.Input != "hidden" && f.Value == p.LoginHint {
			view.NameHint = false
		}
		view.Fields = append(view.Fields, v)
	}
	var b bytes.Buffer
	if err := pageTemplate.Execute(&b, view); err != nil {
		return err
	}
	r.Response.SetStatusCode(p.Status)
	r.Response.Header.SetContentType("text/html; charset=utf-8")
	if p.RetryAfter > 0 {
		r.Response.Header.Set("Retry-After", strconv.Itoa(int(p.RetryAfter.Seconds())+1))
	}
	r.Response.SetBody(b.Bytes())
	pageHeaders(r)
	// A form may only be sent here, and the answer may only lead back to the client:
	// browsers hold form-action also against the redirect that follows.
	form := "'none'"
	if p.Transaction != "" {
		form = "'self' " + redirectSource(p.Redirect)
		for _, host := range p.Hosts {
			form += " https://" + host
			if name, _, _ := strings.Cut(host, ":"); name == "127.0.0.1" || name == "localhost" {
				form += " http://" + host
			}
		}
	}
	r.Response.Header.Set("Content-Security-Policy",
		"default-src 'none'; "+images+"style-src "+styleHash+"; form-action "+form+"; base-uri 'none'; frame-ancestors 'none'")
	return nil
}

// redirectSource is the CSP source of a redirect URI: its origin, or the scheme
// of an app. The URI was registered or is built in.
func redirectSource(uri string) string {
	scheme, rest, _ := strings.Cut(uri, ":")
	if scheme != "https" && scheme != "http" {
		return scheme + ":"
	}
	host, _, _ := strings.Cut(strings.TrimPrefix(rest, "//"), "/")
	host, _, _ = strings.Cut(host, "?")
	if strings.HasPrefix(host, "[") {
		return scheme + ":" // CSP has no source for an IPv6 address
	}
	return scheme + "://" + host
}

// pageHeaders are those of everything in the browser: not kept, not framed, and
// without a Referer that would carry the query on.
func pageHeaders(r *fasthttp.RequestCtx) {
	h := &r.Response.Header
	h.Set("Cache-Control", "no-store")
	h.Set("Pragma", "no-cache")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
}
