// Package admin is what the operator talks to: a JSON API on a listener of its
// own, for the catalogue, the accounts and the people who sign in. The command
// line is its first client; a billing system that hands out grants is another.
//
// Whoever holds the one token may do everything, so the package guards the way
// to it: the token is compared as a hash, and a browser that was lured here by a
// foreign page or a rebound name is turned away before anything is read. It
// decides nothing about apps and accounts: a handler parses, asks the floor
// below, writes the answer, and leaves a line in the log that says who changed
// what. Secrets go in and never come out.
package admin

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/souk-market/souk/core/catalog"
	"github.com/souk-market/souk/core/market"
	"github.com/souk-market/souk/core/oauth"
	"github.com/souk-market/souk/core/plugin"
	"github.com/souk-market/souk/core/store"
	"github.com/souk-market/souk/core/store/audit"
)

// Options wire a Server. Every field is needed but Audit, Traffic, Pressure, Ready, Log
// and Now.
type Options struct {
	Config  Config
	Token   string // the secret; only its SHA-256 is kept
	Store   *store.Store
	Catalog *catalog.Catalog
	OAuth   *oauth.Server
	Market  *market.Market
	Plugins *plugin.Host
	People  *store.KV  // of oauth.accounts_plugin
	Audit   *audit.Log // nil = there is none to read
	Keys    Keys
	// Reload reads the configuration again and takes over what can be. Its error is
	// a sentence for the operator.
	Reload    func(ctx context.Context) (Reloaded, error)
	MaxModule int                             // bytes of a plugin's module
	Traffic   func() Traffic                  // of the public listener, for /metrics; nil = none
	Pressure  func() float64                  // of the same, for /readyz; nil = none
	Ready     func(ctx context.Context) error // what else /readyz asks; nil = nothing
	Log       *slog.Logger                    // nil = silent
	Now       func() time.Time                // of the audit lines; nil = time.Now
}

// Server is the admin listener. Make it with New.
type Server struct {
	token    [sha256.Size]byte
	listen   string // the host of the configured address, in lower case
	store    *store.Store
	catalog  *catalog.Catalog
	oauth    *oauth.Server
	market   *market.Market
	plugins  *plugin.Host
	people   *store.KV
	changes  *audit.Log // nil = none
	keys     Keys
	reread   func(ctx context.Context) (Reloaded, error)
	most     int // bytes of a module
	registry *registry
	pressure func() float64 // nil = none
	ready    func(ctx context.Context) error
	log      *slog.Logger
	now      func() time.Time
	http     *fasthttp.Server
	base     context.Context // of every request; ends when Close is over
	stop     context.CancelFunc
}

const (
	maxHeader  = 16 << 10
	maxIgnored = 4 << 10 // bytes of a body that nobody reads
	patience   = 30 * time.Second
)

// New makes a Server that waits for Serve.
func New(o Options) (*Server, error) {
	if strings.TrimSpace(o.Token) == "" {
		return nil, errors.New("admin: the token is empty: without one everybody could come in")
	}
	host, _, err := net.SplitHostPort(o.Config.Listen)
	if err != nil {
		return nil, fmt.Errorf("admin: listen address: %w", err)
	}
	s := &Server{
		token: sha256.Sum256([]byte(o.Token)), listen: strings.ToLower(host),
		store: o.Store, catalog: o.Catalog, oauth: o.OAuth, market: o.Market, plugins: o.Plugins, people: o.People, changes: o.Audit,
		keys: o.Keys, reread: o.Reload, most: o.MaxModule, pressure: o.Pressure, ready: o.Ready, log: o.Log, now: o.Now,
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.now == nil {
		s.now = time.Now
	}
	if s.registry, err = newRegistry(&o); err != nil {
		return nil, fmt.Errorf("admin: metrics: %w", err)
	}
	s.base, s.stop = context.WithCancel(context.Background())
	s.http = &fasthttp.Server{
		Name:                         "souk",
		Handler:                      s.handle,
		HeaderReceived:               s.bodyLimit,
		ExpectHandler:                s.expected,
		ErrorHandler:                 s.broken,
		ReadBufferSize:               maxHeader,
		MaxRequestBodySize:           maxIgnored,
		ReadTimeout:                  patience,
		WriteTimeout:                 patience,
		IdleTimeout:                  2 * patience,
		NoDefaultServerHeader:        true,
		DisablePreParseMultipartForm: true,
		CloseOnShutdown:              true,
		Logger:                       quiet{},
	}
	return s, nil
}

// quiet drops fasthttp's own lines: they report clients' mistakes.
type quiet struct{}

func (quiet) Printf(string, ...any) {}

// Serve answers on a listener until Close.
func (s *Server) Serve(l net.Listener) error { return s.http.Serve(lingering{l}) }

// Close stops to accept, lets the requests under way finish until ctx ends, and
// then cuts off what is left.
func (s *Server) Close(ctx context.Context) error {
	err := s.http.ShutdownWithContext(ctx)
	s.stop()
	return err
}

// bodyLimit lets a request with the token send as much as its route takes. What
// has no token is still refused by the guard; this keeps its body from being read.
func (s *Server) bodyLimit(h *fasthttp.RequestHeader) fasthttp.RequestConfig {
	most, within := s.taken(h)
	return fasthttp.RequestConfig{MaxRequestBodySize: most, ReadTimeout: within}
}

// taken is the most bytes of the body of a request, and how long it may take to
// arrive; 0 = as long as all others.
func (s *Server) taken(h *fasthttp.RequestHeader) (most int, within time.Duration) {
	m, missing := match(string(h.Method()), string(h.RequestURI()))
	if missing == nil && s.authorized(string(h.Peek("Authorization"))) {
		return s.largest(m.route), m.route.within
	}
	return maxIgnored, 0
}

// largest is the most bytes of a body of a route, with the token.
func (s *Server) largest(rt *route) int {
	if rt.body == moduleBody {
		return max(s.most, maxIgnored)
	}
	return max(rt.body, maxIgnored)
}

// expected tells a client that asks (RFC 9110 §10.1.1) that its body is too large
// before it sends it.
func (s *Server) expected(r *fasthttp.RequestCtx) int {
	mayWrite(r)
	if most, _ := s.taken(&r.Request.Header); r.Request.Header.ContentLength() > most {
		p := s.tooLarge(r)
		p.write(r)
		linger(r.Conn()) // it may have begun to send all the same
		return p.status
	}
	return fasthttp.StatusContinue
}

// mayWrite begins the time that an answer has to leave, which otherwise begins
// when a handler has returned.
func mayWrite(r *fasthttp.RequestCtx) {
	_ = r.Conn().SetWriteDeadline(time.Now().Add(patience)) // one that is closed fails at the write
}

// broken answers a request that could not be read.
func (s *Server) broken(r *fasthttp.RequestCtx, err error) {
	mayWrite(r)
	var small *fasthttp.ErrSmallBuffer
	var netErr net.Error
	switch {
	case errors.Is(err, fasthttp.ErrBodyTooLarge):
		s.tooLarge(r).write(r)
		linger(r.Conn())
	case errors.As(err, &small):
		problemf(431, "the head of the request is larger than %d bytes", maxHeader).write(r)
	case errors.As(err, &netErr) && netErr.Timeout():
		problemf(408, "the request took too long to arrive").write(r)
	default:
		problemf(400, "the request is not HTTP").write(r)
	}
	r.SetConnectionClose()
}

// tooLarge says that a body is too large, to those who may know.
func (s *Server) tooLarge(r *fasthttp.RequestCtx) *problem {
	if len(r.Request.Header.Host()) == 0 { // with a body in chunks the head is forgotten: nobody knows who it was
		return problemf(413, "the body is larger than it may be")
	}
	m, p := match(string(r.Method()), string(r.Request.Header.RequestURI()))
	if p == nil && m.route.open {
		return problemf(413, "the body is larger than %d bytes", maxIgnored)
	}
	if refused := s.guard(r); refused != nil {
		return refused
	}
	if p != nil {
		return p
	}
	if m.route.body == moduleBody {
		return problemf(413, "the module is larger than %d bytes: build it smaller, or raise plugins.max_module", s.largest(m.route))
	}
	return problemf(413, "the body is larger than %d bytes", s.largest(m.route))
}
