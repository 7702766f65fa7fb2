package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/souk-market/souk/core/oauth"
)

// route is one thing to ask for.
type route struct {
	method  string
	path    string // a last part in braces stands for any
	handler func(*Server, context.Context, *fasthttp.RequestCtx) error
	accepts string                                                   // the media type that the body must have; empty = no body is read
	body    int                                                      // the most bytes of the body; 0 = what [limits] allows
	refuse  func(r *fasthttp.RequestCtx, err error, status int) bool // the error's form, where it is not the usual
	quick   bool                                                     // without a deadline of its own: it waits for nothing but policy
	index   int                                                      // in the table

	background bool // nobody waits for it: it is turned away before everything else
	light      bool // to answer it is less work than to turn it away
}

const (
	formType = "application/x-www-form-urlencoded"
	jsonType = "application/json"
)

// routes is the table of the public listener.
var routes = []route{
	{method: "GET", path: "/.well-known/marketplace-kit", handler: (*Server).marketplaceKit, light: true},
	{method: "GET", path: "/.well-known/oauth-authorization-server", handler: (*Server).authorizationServer, light: true},
	{method: "GET", path: "/oauth/authorize", handler: (*Server).authorize, refuse: refuseOnPage},
	{method: "POST", path: "/oauth/authorize", handler: (*Server).submit, refuse: refuseOnPage, accepts: formType, body: 64 << 10},
	{method: "GET", path: oauth.CallbackPath + "{plugin}", handler: (*Server).callback, refuse: refuseOnPage},
	{method: "POST", path: oauth.CallbackPath + "{plugin}", handler: (*Server).callback, refuse: refuseOnPage, accepts: formType, body: 64 << 10},
	{method: "POST", path: "/oauth/token", handler: (*Server).token, refuse: refuseToken, accepts: formType, body: 16 << 10},
	{method: "POST", path: "/restore", handler: (*Server).restore, accepts: jsonType},
	{method: "POST", path: updatesPath, handler: (*Server).updates, accepts: jsonType, quick: true, background: true},
	{method: "GET", path: "/install/{appleItemId}", handler: (*Server).installPage, refuse: refuseInstall},
	{method: "POST", path: "/install/{appleItemId}", handler: (*Server).signOut, refuse: refuseInstall, accepts: formType, body: 1 << 10},
	{method: "POST", path: "/install-token", handler: (*Server).installToken, accepts: jsonType},
}

// byPath finds the routes of a path, byFolder those of a path without its last part.
var byPath, byFolder = func() (whole, folder map[string][]*route) {
	whole, folder = map[string][]*route{}, map[string][]*route{}
	for i := range routes {
		routes[i].index = i
		path, _, open := strings.Cut(routes[i].path, "{")
		m := whole
		if open {
			m = folder
		}
		m[path] = append(m[path], &routes[i])
	}
	return whole, folder
}()

const updatesPath = "/updates"

var updatesRoute = byPath[updatesPath][0]

// handle answers a request, and counts it. What a quick route answers has to leave within
// its time from when the request had arrived, which spares a look at the clock; what
// refuses, within its time from now, since a body that isn't liked may have taken long to
// read.
func (s *Server) handle(r *fasthttp.RequestCtx) {
	rt := s.route(r)
	s.counts.add(r.ConnID(), r.Response.StatusCode(), rt)
	if c := lazyOf(r.Conn()); c != nil {
		c.id = r.ConnID()
		now := r.Time()
		if rt == nil || !rt.quick || r.Response.StatusCode() != fasthttp.StatusOK {
			now = time.Now()
		}
		c.answers(now)
	}
}

// route is the way of every request: find the route, turn it away if there is too
// much to do, check what may be checked without knowing what it is about, ask the handler, turn its error into an
// answer. It returns the route, nil if there is none.
func (s *Server) route(r *fasthttp.RequestCtx) (rt *route) {
	defer func() {
		if p := recover(); p != nil {
			s.mistake(r, string(r.Path()), p, debug.Stack())
		}
	}()
	rt, missing := find(r)
	if missing != nil {
		missing.write(r)
		return nil
	}
	if s.turnsAway(rt) && !r.Request.MayContinue() { // for who waited for 100 it was decided before
		s.shed(r, rt)
		return rt
	}
	if refused := rt.takes(r); refused != nil {
		s.answer(r, rt, refused)
		return rt
	}
	ctx := s.base
	if !rt.quick {
		ctx = s.deadlines.of(r)
	}
	if err := rt.handler(s, ctx, r); err != nil {
		s.answer(r, rt, err)
	}
	return rt
}

// mistake answers for a panic: a mistake of ours. The request is lost, the process is not.
func (s *Server) mistake(r *fasthttp.RequestCtx, path string, p any, stack []byte) {
	s.log.Error("panic", "path", path, "panic", p, "stack", string(stack))
	r.Response.Reset()
	writeProblem(r, 500, "the server made a mistake")
}

// turnsAway draws the lot of a request: once for each.
func (s *Server) turnsAway(rt *route) bool { return !rt.light && s.pressure.sheds(rt.background) }

// find returns the route, or why there is none.
func find(r *fasthttp.RequestCtx) (*route, *problem) {
	path := r.Path()
	if string(path) == updatesPath && r.IsPost() { // nearly every request is this one
		return updatesRoute, nil
	}
	found := byPath[string(path)] // no allocation: the compiler sees through the conversion
	if found == nil {
		found = byFolder[string(path[:bytes.LastIndexByte(path, '/')+1])]
	}
	if found == nil {
		return nil, &problem{status: 404, sentence: "there is nothing at this path"}
	}
	method := r.Method()
	for _, rt := range found {
		if rt.method != string(method) && !(rt.method == "GET" && r.IsHead()) {
			continue
		}
		return rt, nil
	}
	var allow []string
	for _, rt := range found {
		allow = append(allow, rt.method)
	}
	slices.Sort(allow)
	r.Response.Header.Set("Allow", strings.Join(allow, ", "))
	return nil, &problem{status: 405, sentence: "this path answers " + strings.Join(allow, " and ")}
}

// takes says why a body can't be taken, nil if it can.
func (rt *route) takes(r *fasthttp.RequestCtx) *problem {
	if rt.accepts == "" {
		return nil
	}
	switch n := len(r.Request.Body()); {
	case !isType(r.Request.Header.ContentType(), rt.accepts):
		return &problem{status: 415, sentence: "the body has to be " + rt.accepts}
	case len(r.Request.Header.ContentEncoding()) > 0:
		return &problem{status: 415, sentence: "a compressed body is not taken"}
	case rt.body > 0 && n > rt.body:
		return &problem{status: 413, sentence: fmt.Sprintf("the body has %d bytes, at most %d are taken here", n, rt.body)}
	}
	return nil
}

// isType compares a media type without its parameters.
func isType(header []byte, want string) bool {
	if string(header) == want { // as nearly everybody writes it
		return true
	}
	if i := strings.IndexByte(string(header), ';'); i >= 0 {
		header = header[:i]
	}
	return strings.EqualFold(strings.TrimSpace(string(header)), want)
}

// answer turns a handler's error into an answer. The client reads a sentence of
// ours; the log gets the cause.
func (s *Server) answer(r *fasthttp.RequestCtx, rt *route, err error) {
	status := 500
	var problem *problem
	var protocol *oauth.Error
	switch {
	case errors.As(err, &problem):
		status = problem.status
	case errors.As(err, &protocol):
		status = protocol.Status()
	}
	if cause := errors.Unwrap(err); cause != nil || status >= 500 {
		level := s.log.Debug
		if status >= 500 {
			level = s.log.Error
		}
		level("request refused", "path", rt.path, "status", status, "error", err)
	}
	if rt.refuse != nil && rt.refuse(r, err, status) {
		return
	}
	if problem != nil {
		problem.write(r)
		return
	}
	writeProblem(r, status, "the request could not be carried out")
}
