package admin

import (
	"context"
	"net/url"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/souk-market/souk/core/store/audit"
)

// route is one thing to ask for.
type route struct {
	method  string
	path    string // parts in braces match one part and hand it to the handler
	handler func(*Server, context.Context, *request) error
	accepts []string // the media types that the body may have; empty = no body is read
	body    int      // the most bytes of the body, or moduleBody
	within  time.Duration
	open    bool // to everybody, without a token
}

var (
	jsonBody    = []string{"application/json"}
	catalogBody = []string{"application/json", "application/toml"}
	wasmBody    = []string{wasmType}
)

const (
	smallBody = 64 << 10
	appBody   = 256 << 10 // an app's record has 64 KiB; people indent
	bulkBody  = 4 << 20
	fileBody  = 64 << 20

	moduleBody = -1 // what the configuration lets a module have
)

// routes is the table of the admin listener.
var routes = []route{
	{method: "GET", path: "/healthz", handler: (*Server).healthz, open: true},
	{method: "GET", path: "/readyz", handler: (*Server).readyz, open: true},
	{method: "GET", path: "/metrics", handler: (*Server).metrics},

	{method: "GET", path: "/api/apps", handler: (*Server).listApps},
	{method: "GET", path: "/api/apps/{item}", handler: (*Server).app},
	{method: "PUT", path: "/api/apps/{item}", handler: (*Server).putApp, accepts: jsonBody, body: appBody},
	{method: "DELETE", path: "/api/apps/{item}", handler: (*Server).removeApp},
	{method: "PUT", path: "/api/apps/{item}/versions/{version}/rollout", handler: (*Server).putRollout, accepts: jsonBody, body: smallBody},
	{method: "PUT", path: "/api/apps/{item}/versions/{version}/withdrawn", handler: (*Server).putWithdrawn, accepts: jsonBody, body: smallBody},
	{method: "PUT", path: "/api/apps/{item}/takedown", handler: (*Server).putTakedown, accepts: jsonBody, body: smallBody},
	{method: "DELETE", path: "/api/apps/{item}/takedown", handler: (*Server).removeTakedown},
	{method: "POST", path: "/api/import", handler: (*Server).importFile, accepts: catalogBody, body: fileBody, within: 5 * time.Minute},

	{method: "GET", path: "/api/accounts", handler: (*Server).listAccounts},
	{method: "GET", path: "/api/accounts/{account}", handler: (*Server).account},
	{method: "PUT", path: "/api/accounts/{account}/grants", handler: (*Server).putGrants, accepts: jsonBody, body: smallBody},
	{method: "PUT", path: "/api/accounts/{account}/territory", handler: (*Server).putTerritory, accepts: jsonBody, body: smallBody},
	{method: "GET", path: "/api/accounts/{account}/sessions", handler: (*Server).listSessions},
	{method: "DELETE", path: "/api/accounts/{account}/sessions", handler: (*Server).revokeAccount},
	{method: "DELETE", path: "/api/accounts/{account}/sessions/{session}", handler: (*Server).revokeSession},
	{method: "DELETE", path: "/api/accounts/{account}/clients/{client}", handler: (*Server).revokeClient},
	{method: "POST", path: "/api/accounts/{account}/subject-token", handler: (*Server).mintSubjectToken},
	{method: "POST", path: "/api/grants", handler: (*Server).bulkGrants, accepts: jsonBody, body: bulkBody},

	{method: "GET", path: "/api/people", handler: (*Server).listPeople},
	{method: "PUT", path: "/api/people/{email}", handler: (*Server).putPerson, accepts: jsonBody, body: smallBody},
	{method: "DELETE", path: "/api/people/{email}", handler: (*Server).removePerson},

	{method: "GET", path: "/api/clients", handler: (*Server).listClients},
	{method: "POST", path: "/api/clients", handler: (*Server).registerClient, accepts: jsonBody, body: smallBody},
	{method: "GET", path: "/api/clients/{client}", handler: (*Server).client},
	{method: "PUT", path: "/api/clients/{client}", handler: (*Server).changeClient, accepts: jsonBody, body: smallBody},
	{method: "DELETE", path: "/api/clients/{client}", handler: (*Server).removeClient},
	{method: "POST", path: "/api/clients/{client}/secret", handler: (*Server).rotateSecret},

	{method: "GET", path: "/api/keys", handler: (*Server).listKeys},
	{method: "POST", path: "/api/keys", handler: (*Server).rotateKeys},
	{method: "POST", path: "/api/keys/{key}/retire", handler: (*Server).retireKey, accepts: jsonBody, body: smallBody},

	{method: "GET", path: "/api/polling-interval", handler: (*Server).polling},
	{method: "PUT", path: "/api/polling-interval", handler: (*Server).putPolling, accepts: jsonBody, body: smallBody},
	{method: "DELETE", path: "/api/polling-interval", handler: (*Server).clearPolling},

	{method: "POST", path: "/api/backup", handler: (*Server).backup, accepts: jsonBody, body: smallBody},

	{method: "GET", path: "/api/plugins", handler: (*Server).listPlugins},
	{method: "GET", path: "/api/plugins/{name}/module", handler: (*Server).module},
	{method: "PUT", path: "/api/plugins/{name}/module", handler: (*Server).putModule, accepts: wasmBody, body: moduleBody, within: 5 * time.Minute},
	{method: "POST", path: "/api/plugins/{name}/return", handler: (*Server).returnPlugin, within: 5 * time.Minute},
	{method: "POST", path: "/api/plugins/reload", handler: (*Server).reload, within: 5 * time.Minute},
	{method: "GET", path: "/api/audit", handler: (*Server).listAudit},
	{method: "POST", path: "/api/explain", handler: (*Server).explain, accepts: jsonBody, body: smallBody},
}

// patterns are the paths of the table, cut into parts.
var patterns = func() [][]string {
	all := make([][]string, len(routes))
	for i := range routes {
		all[i] = strings.Split(routes[i].path, "/")
	}
	return all
}()

// matched is the route of a request and the parts that its path stands for.
type matched struct {
	route *route
	parts map[string]string
}

// match finds the route of a request target, or says why there is none. It reads
// the target as it was sent: an account may have a slash in its name, and that
// comes percent-encoded.
func match(method, target string) (matched, *problem) {
	path, _, _ := strings.Cut(target, "?")
	sent := strings.Split(path, "/")
	var allow []string
	for i, pattern := range patterns {
		parts, ok := fits(pattern, sent)
		if !ok {
			continue
		}
		rt := &routes[i]
		if rt.method == method || rt.method == "GET" && method == "HEAD" {
			return matched{rt, parts}, nil
		}
		allow = append(allow, rt.method)
	}
	if allow == nil {
		return matched{}, problemf(404, "there is nothing at this path")
	}
	slices.Sort(allow)
	p := problemf(405, "this path answers %s", strings.Join(allow, " and "))
	p.allow = strings.Join(allow, ", ")
	return matched{}, p
}

// fits compares a path with a pattern and decodes the parts in braces, once.
func fits(pattern, sent []string) (map[string]string, bool) {
	if len(pattern) != len(sent) {
		return nil, false
	}
	var parts map[string]string
	for i, want := range pattern {
		if !strings.HasPrefix(want, "{") {
			if want != sent[i] {
				return nil, false
			}
			continue
		}
		value, err := url.PathUnescape(sent[i])
		if err != nil || value == "" {
			return nil, false
		}
		if parts == nil {
			parts = map[string]string{}
		}
		parts[strings.Trim(want, "{}")] = value
	}
	return parts, true
}

// handle is the way of every request: let it in, find the route, check what may
// be checked without knowing what it is about, ask the handler, turn its error
// into an answer.
func (s *Server) handle(r *fasthttp.RequestCtx) {
	defer func() {
		if p := recover(); p != nil { // a mistake of ours; the request is lost, the process is not
			s.log.Error("panic", "method", string(r.Method()), "panic", p, "stack", string(debug.Stack()))
			r.Response.Reset()
			problemf(500, "the server made a mistake").write(r)
		}
	}()
	m, missing := match(string(r.Method()), string(r.Request.Header.RequestURI()))
	if missing != nil || !m.route.open {
		if refused := s.guard(r); refused != nil {
			s.log.Warn("admin request refused", "status", refused.status, "address", r.RemoteIP().String(), "reason", refused.sentence)
			refused.write(r)
			return
		}
	}
	if missing == nil {
		missing = m.route.checkBody(r)
	}
	if missing != nil {
		missing.write(r)
		return
	}
	within := patience
	if m.route.within > 0 {
		within = m.route.within
	}
	ctx, cancel := context.WithTimeout(s.base, within)
	defer cancel()
	ctx = audit.By(ctx, audit.Origin{Actor: audit.Admin, Address: r.RemoteIP().String()})
	if err := m.route.handler(s, ctx, &request{http: r, parts: m.parts}); err != nil {
		s.answer(r, m.route, err)
	}
}

// checkBody refuses a body that the handler could not read.
func (rt *route) checkBody(r *fasthttp.RequestCtx) *problem {
	if len(rt.accepts) == 0 {
		return nil
	}
	if !slices.Contains(rt.accepts, mediaType(r)) {
		return problemf(415, "the Content-Type has to be %s", strings.Join(rt.accepts, " or "))
	}
	if len(r.Request.Header.ContentEncoding()) > 0 {
		return problemf(415, "a compressed body is not taken")
	}
	return nil
}

// mediaType is the type of the body without its parameters.
func mediaType(r *fasthttp.RequestCtx) string {
	t, _, _ := strings.Cut(string(r.Request.Header.ContentType()), ";")
	return strings.ToLower(strings.TrimSpace(t))
}
