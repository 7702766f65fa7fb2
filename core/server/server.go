// Package server speaks the public protocol: HTTP on one side, by fasthttp and, for
// nearly every update check, by itself (short.go), the rules of oauth and market on the
// other. A handler parses, asks and writes; an if about business belongs a floor lower.
// routes.go is the table of all there is to ask for.
package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/souk-market/souk/core/market"
	"github.com/souk-market/souk/core/oauth"
)

// Server is the public listener. Make it with New.
type Server struct {
	oauth       *oauth.Server
	market      *market.Market
	limits      Limits
	proxies     []netip.Prefix
	territory   string
	tokenHeader []byte // in its canonical form; empty = Authorization alone
	documents   *documents
	counts      *counts
	pressure    *Pressure
	sheds       *sheds
	handshakes  atomic.Uint64
	foreign     sync.Map // of apps, whose package is on another origin: the operator was told
	log         *slog.Logger
	http        *fasthttp.Server
	base        context.Context // of every request; ends when Close is over
	stop        context.CancelFunc
	deadlines   *deadlines
	date        date             // of the short way
	closing     atomic.Bool      // Close has begun
	now         func() time.Time // nil = a request's own
}

// Options wire a Server.
type Options struct {
	Config Config
	Limits Limits
	OAuth  *oauth.Server
	Market *market.Market
	// Pressure is set to work here, and the caller's to close; nil = nothing is ever
	// turned away.
	Pressure *Pressure
	// Now is the clock that tokens and policy go by; nil = the system's, which a request
	// was stamped with when it had arrived.
	Now func() time.Time
	Log *slog.Logger
}

// New makes a Server that waits for Serve.
func New(o Options) (*Server, error) {
	proxies, err := o.Config.proxies()
	if err != nil {
		return nil, err
	}
	s := &Server{
		oauth: o.OAuth, market: o.Market, limits: o.Limits, proxies: proxies,
		territory: o.Config.TerritoryHeader, tokenHeader: fasthttp.AppendNormalizedHeaderKey(nil, o.Market.Config.TokenHeader), counts: newCounts(), sheds: newSheds(), pressure: o.Pressure, now: o.Now, log: o.Log,
	}
	if s.pressure == nil {
		s.pressure = NewPressure(PressureOptions{})
	}
	if s.documents, err = newDocuments(o.OAuth, o.Market, o.Limits.Apps); err != nil {
		return nil, err
	}
	s.base, s.stop = context.WithCancel(context.Background())
	s.deadlines = newDeadlines(s.base, o.Limits.Request.Std())
	s.http = &fasthttp.Server{
		Handler:                      s.handle,
		ErrorHandler:                 s.broken,
		ExpectHandler:                s.expected,
		ReadBufferSize:               int(o.Limits.Header),
		MaxRequestBodySize:           int(o.Limits.Body),
		ConnState:                    turn, // the timeouts are the connection's own: see lazy
		Concurrency:                  concurrency(o.Limits.Connections),
		NoDefaultServerHeader:        true,
		NoDefaultDate:                false,
		DisablePreParseMultipartForm: true,
		CloseOnShutdown:              true,
		Logger:                       quiet{},
	}
	return s, s.pressure.watch(s.work)
}

func concurrency(limit int) int {
	if limit == 0 {
		return fasthttp.DefaultConcurrency * 64
	}
	return limit
}

// quiet drops fasthttp's own lines: it reports each client's mistake, and those
// are answered and counted, not logged.
type quiet struct{}

func (quiet) Printf(string, ...any) {}

// Serve answers on a listener until Close. With a certificate it speaks TLS.
func (s *Server) Serve(l net.Listener, cert *tls.Certificate) error {
	if n := s.limits.ConnectionsPerAddress; n > 0 {
		l = newPerAddress(l, n, s.trusted)
	}
	if cert != nil {
		// fasthttp answers a connection beyond its limit in the loop that accepts, and
		// under TLS would wait there for the handshake of a client that says nothing.
		l = &capped{Listener: &relieved{l, s}, most: int64(s.http.Concurrency)}
		s.http.Concurrency = concurrency(0)
	}
	waits := lazy{Listener: l, timeouts: timeouts{s.limits.ReadTimeout.Std(), s.limits.WriteTimeout.Std(), s.limits.IdleTimeout.Std()}}
	if cert == nil {
		waits.server = s
		return s.http.Serve(waits)
	}
	return s.http.Serve(tls.NewListener(waits, &tls.Config{
		MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{*cert}, NextProtos: []string{"http/1.1"},
	}))
}

// Close stops to accept and lets the requests under way finish until ctx ends.
// What is left then fails: the floors below are closed next.
func (s *Server) Close(ctx context.Context) error {
	s.closing.Store(true)
	err := s.http.ShutdownWithContext(ctx)
	s.stop()
	return err
}

// expected lets a body come that waits for 100 (RFC 9110 §10.1.1), unless the request
// is turned away: then nobody has to send it.
func (s *Server) expected(r *fasthttp.RequestCtx) int {
	s.mayWrite(r)
	if rt, _ := find(r); rt != nil && s.turnsAway(rt) {
		s.shed(r, rt)
		s.counts.add(r.ConnID(), r.Response.StatusCode(), rt)
		return r.Response.StatusCode()
	}
	return fasthttp.StatusContinue
}

// mayWrite begins the time that an answer has to leave which no handler gives: the
// connection has the deadline of its last answer, and that may be over.
func (s *Server) mayWrite(r *fasthttp.RequestCtx) {
	_ = r.Conn().SetWriteDeadline(time.Now().Add(s.limits.WriteTimeout.Std())) // one that is closed fails at the write
}

// broken answers a request that could not be read.
func (s *Server) broken(r *fasthttp.RequestCtx, err error) {
	s.mayWrite(r)
	var small *fasthttp.ErrSmallBuffer
	var netErr net.Error
	switch {
	case errors.Is(err, fasthttp.ErrBodyTooLarge):
		writeProblem(r, 413, fmt.Sprintf("the body is larger than %d bytes", int64(s.limits.Body)))
	case errors.As(err, &small):
		writeProblem(r, 431, fmt.Sprintf("the head of the request is larger than %d bytes", int64(s.limits.Header)))
	case errors.As(err, &netErr) && netErr.Timeout():
		writeProblem(r, 408, "the request took too long to arrive")
	default:
		writeProblem(r, 400, "the request is not HTTP")
	}
	s.counts.add(r.ConnID(), r.Response.StatusCode(), nil)
	r.SetConnectionClose()
}

// address is the address of the client: the connection's, or behind a trusted
// proxy the last one in X-Forwarded-For that is not itself a proxy.
func (s *Server) address(r *fasthttp.RequestCtx) string {
	remote, ok := addressOf(r.RemoteAddr())
	if !ok {
		return ""
	}
	if !s.trusted(remote) {
		return remote.String()
	}
	// A proxy may merge its line with the client's or add one of its own: all lines
	// count as one, in their order (RFC 9110 §5.3).
	var hops []string
	for _, line := range r.Request.Header.PeekAll("X-Forwarded-For") {
		hops = append(hops, strings.Split(string(line), ",")...)
	}
	for i := len(hops) - 1; i >= 0; i-- {
		hop, err := netip.ParseAddr(strings.TrimSpace(hops[i]))
		if err != nil {
			break
		}
		if remote = hop.Unmap().WithZone(""); !s.trusted(remote) {
			break
		}
	}
	return remote.String()
}

// addressOf is the IP address of the other end of a connection. A zone means something to
// its own host alone (RFC 4007 §11.2), and no network contains an address that has one.
func addressOf(a net.Addr) (ip netip.Addr, ok bool) {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return ip, false
	}
	ip = tcp.AddrPort().Addr().Unmap().WithZone("")
	return ip, ip.IsValid()
}

func (s *Server) trusted(a netip.Addr) bool {
	for _, p := range s.proxies {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// territoryOf is the territory that a trusted proxy names, or empty.
func (s *Server) territoryOf(r *fasthttp.RequestCtx) string {
	if s.territory == "" || len(s.proxies) == 0 {
		return ""
	}
	return s.territoryFrom(r.RemoteAddr(), r.Request.Header.PeekAll(s.territory))
}

// territoryFrom is the territory of a request from an address with these lines of the
// header for it.
func (s *Server) territoryFrom(from net.Addr, lines [][]byte) string {
	if remote, ok := addressOf(from); !ok || !s.trusted(remote) {
		return ""
	}
	if len(lines) != 1 || len(lines[0]) != 3 { // two: one of them may be the client's
		return ""
	}
	t := string(lines[0])
	for i := range 3 {
		if t[i] < 'A' || t[i] > 'Z' {
			return ""
		}
	}
	return t
}
