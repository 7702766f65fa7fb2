package server

import (
	"context"
	"encoding/base64"
	"errors"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/valyala/fasthttp"

	"github.com/souk-market/souk/core/oauth"
)

// authorize answers GET /oauth/authorize (RFC 6749 §3.1).
func (s *Server) authorize(ctx context.Context, r *fasthttp.RequestCtx) error {
	p, err := s.params(r.QueryArgs())
	if err != nil {
		return err
	}
	step, err := s.oauth.Authorize(ctx, p, s.visitor(r))
	if err != nil {
		return err
	}
	return writeStep(r, step)
}

// submit answers POST /oauth/authorize: the form of the sign-in page, or an
// authorization request that came as a form (RFC 6749 §3.1 allows it).
func (s *Server) submit(ctx context.Context, r *fasthttp.RequestCtx) error {
	p, err := s.form(r)
	if err != nil {
		return err
	}
	if p["transaction"] == "" {
		step, err := s.oauth.Authorize(ctx, p, s.visitor(r))
		if err != nil {
			return err
		}
		return writeStep(r, step)
	}
	// A form of another site could sign a person in as somebody else. There is no
	// cookie to check against, but every current browser says where a form stood.
	if !fromOurPage(r) {
		return &oauth.Error{Code: oauth.InvalidRequest, Description: "the form was not sent by our page"}
	}
	step, err := s.oauth.Submit(s.seen(ctx, r), p, s.visitor(r))
	if err != nil {
		return err
	}
	return writeStep(r, step)
}

// callback answers /oauth/callback/{plugin}, where another provider sends a person
// back to: with a query, or with a form (OAuth 2.0 Form Post Response Mode).
func (s *Server) callback(ctx context.Context, r *fasthttp.RequestCtx) error {
	args := r.QueryArgs()
	if r.IsPost() {
		args = new(fasthttp.Args)
		args.ParseBytes(r.Request.Body())
	}
	p, err := s.params(args)
	if err != nil {
		return err
	}
	step, err := s.oauth.Callback(s.seen(ctx, r), strings.TrimPrefix(string(r.Path()), oauth.CallbackPath), p, s.visitor(r))
	if err != nil {
		return err
	}
	return writeStep(r, step)
}

// fromOurPage says whether a form stood on a page of ours, as far as the browser
// tells.
func fromOurPage(r *fasthttp.RequestCtx) bool {
	site := string(r.Request.Header.Peek("Sec-Fetch-Site"))
	return site == "" || site == "same-origin" || site == "none"
}

// token answers POST /oauth/token (RFC 6749 §3.2).
func (s *Server) token(ctx context.Context, r *fasthttp.RequestCtx) error {
	// What stands in a query ends in logs (RFC 9700 §4.3.2).
	if r.QueryArgs().Len() > 0 {
		return oauth.Errorf(oauth.InvalidRequest, "parameters belong in the body, not in the query")
	}
	p, err := s.form(r)
	if err != nil {
		return err
	}
	basic, err := basicCredentials(string(r.Request.Header.Peek("Authorization")))
	if err != nil {
		return err
	}
	res, err := s.oauth.Token(ctx, oauth.TokenRequest{Params: p, Basic: basic, Visitor: func() oauth.Visitor {
		return oauth.Visitor{Address: s.address(r)}
	}})
	if err != nil {
		return err
	}
	var room [512]byte // both tokens and what is around them
	writeBody(r, appendTokens(room[:0], res))
	return nil
}

// appendTokens writes the answer of the token endpoint as encoding/json does. The
// tokens have no character in them that JSON would escape.
func appendTokens(b []byte, t *oauth.TokenResponse) []byte {
	b = append(append(b, `{"access_token":"`...), t.AccessToken...)
	b = append(append(b, `","token_type":"`...), t.TokenType...)
	b = append(b, `","expires_in":`...)
	b = strconv.AppendInt(b, t.ExpiresIn, 10)
	for _, p := range [...]struct{ name, value string }{
		{`,"refresh_token":`, t.RefreshToken}, {`,"issued_token_type":`, t.IssuedTokenType}, {`,"scope":`, t.Scope},
	} {
		if p.value != "" {
			b = appendString(append(b, p.name...), p.value)
		}
	}
	return append(b, '}')
}

// form reads the parameters in a body. The route has looked at the media type,
// which fasthttp's own reader takes in lower case only.
func (s *Server) form(r *fasthttp.RequestCtx) (oauth.Params, error) {
	args := fasthttp.AcquireArgs()
	defer fasthttp.ReleaseArgs(args)
	args.ParseBytes(r.Request.Body())
	return s.params(args)
}

// params copies the parameters out of the request, which fasthttp uses again: all
// of them, or those with these names.
func (s *Server) params(args *fasthttp.Args, only ...string) (oauth.Params, error) {
	var room [8]oauth.Pair // more than any client of ours sends
	pairs := room[:0]
	for name, value := range args.All() {
		if only != nil && !slices.Contains(only, string(name)) {
			continue
		}
		pairs = append(pairs, oauth.Pair{Name: parameterName(name), Value: string(value)})
	}
	if len(pairs) > 100 {
		return nil, oauth.Errorf(oauth.InvalidRequest, "there are more than 100 parameters")
	}
	return oauth.NewParams(pairs, int(s.limits.String))
}

// parameterName is string(name), without a copy for what each refresh has.
func parameterName(name []byte) string {
	switch string(name) {
	case "grant_type":
		return "grant_type"
	case "refresh_token":
		return "refresh_token"
	}
	return string(name)
}

// basicCredentials reads an Authorization header of the scheme Basic; both parts
// are form-encoded inside (RFC 6749 §2.3.1).
func basicCredentials(header string) (*oauth.Basic, error) {
	scheme, rest, _ := strings.Cut(header, " ")
	if header == "" || !strings.EqualFold(scheme, "Basic") {
		return nil, nil
	}
	plain, err := base64.StdEncoding.DecodeString(strings.TrimSpace(rest))
	if err != nil {
		return nil, oauth.Errorf(oauth.InvalidClient, "the Authorization header is not base64")
	}
	id, secret, ok := strings.Cut(string(plain), ":")
	if !ok {
		return nil, oauth.Errorf(oauth.InvalidClient, "the Authorization header has no colon")
	}
	var b oauth.Basic
	if b.ID, err = url.QueryUnescape(id); err == nil {
		b.Secret, err = url.QueryUnescape(secret)
	}
	if err != nil {
		return nil, oauth.Errorf(oauth.InvalidClient, "the Authorization header is not form-encoded")
	}
	return &b, nil
}

// seen notes from where a request comes, for what is written down of it.
func (s *Server) seen(ctx context.Context, r *fasthttp.RequestCtx) context.Context {
	return oauth.Seen(ctx, oauth.Visitor{Address: s.address(r)})
}

func (s *Server) visitor(r *fasthttp.RequestCtx) oauth.Visitor {
	locale, _, _ := strings.Cut(string(r.Request.Header.Peek("Accept-Language")), ",")
	locale, _, _ = strings.Cut(strings.TrimSpace(locale), ";")
	if len(locale) > 35 || strings.ContainsFunc(locale, func(c rune) bool {
		return c != '-' && (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z')
	}) {
		locale = "" // no language tag (RFC 5646 §2.1)
	}
	return oauth.Visitor{Address: s.address(r), Locale: locale}
}

// refuseToken answers an error of the token endpoint (RFC 6749 §5.2).
func refuseToken(r *fasthttp.RequestCtx, err error, status int) bool {
	e := protocolError(err)
	r.Response.SetStatusCode(status)
	if e.Code == oauth.InvalidClient && len(r.Request.Header.Peek("Authorization")) > 0 {
		r.Response.Header.Set("WWW-Authenticate", `Basic realm="oauth"`)
	}
	if status == 503 {
		retryAfter(r, 5)
	}
	return writeJSON(r, struct {
		Error       oauth.Code `json:"error"`
		Description string     `json:"error_description,omitempty"`
	}{e.Code, e.Description}) == nil
}

// refuseOnPage answers an error of the authorization endpoint: the client is told
// through the browser if it may be, else the person is.
func refuseOnPage(r *fasthttp.RequestCtx, err error, status int) bool {
	if p := (*problem)(nil); errors.As(err, &p) {
		return false // no browser sends such a request
	}
	e := protocolError(err)
	if e.Redirect != "" {
		redirect(r, e.Redirect)
		return true
	}
	title := "Sign-in is not possible"
	if status == 503 {
		retryAfter(r, 5)
	}
	return writePage(r, &oauth.Page{Title: title, Message: sentence(e.Description), Status: status}) == nil
}

func protocolError(err error) *oauth.Error {
	var e *oauth.Error
	var p *problem
	switch {
	case errors.As(err, &e):
		return e
	case errors.As(err, &p):
		return oauth.Errorf(oauth.InvalidRequest, "%s", p.sentence)
	}
	return oauth.Errorf(oauth.ServerError, "the server made a mistake")
}

// sentence makes a description one for a person.
func sentence(s string) string {
	if s == "" {
		return ""
	}
	return strings.ToUpper(s[:1]) + s[1:] + "."
}

// writeStep answers with the page or the way back to the client.
func writeStep(r *fasthttp.RequestCtx, step *oauth.Step) error {
	if step.Page != nil {
		return writePage(r, step.Page)
	}
	redirect(r, step.Redirect)
	return nil
}

// redirect sends the browser on; after a form with 303, so that the form's fields
// don't go along (RFC 9700 §4.12).
func redirect(r *fasthttp.RequestCtx, to string) {
	status := 302
	if r.IsPost() {
		status = 303
	}
	r.Response.SetStatusCode(status)
	r.Response.Header.Set("Location", to)
	pageHeaders(r)
}
