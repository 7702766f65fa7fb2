package server

import (
	"net"
	"sync/atomic"

	"github.com/valyala/fasthttp"

	"github.com/souk-market/souk/core/oauth"
)

// The choices of Limits.ShedAnswer.
const (
	ShedEmpty       = "empty"
	ShedUnavailable = "503"
)

// noUpdates is what an update check gets that is turned away: it costs nothing, and the
// device asks again when it would have anyway.
var noUpdates = []byte(`{"updates":[]}`)

// shed answers a request that is turned away, before anybody has looked at more of it
// than its path, and counts it.
func (s *Server) shed(r *fasthttp.RequestCtx, rt *route) {
	if rt.background && s.limits.ShedAnswer == ShedEmpty {
		s.sheds.empty[rt.index].Add(1)
		writeHead(r)
		r.Response.SetBody(noUpdates)
		return
	}
	s.sheds.unavailable[rt.index].Add(1)
	const sentence = "the server has too much to do: try again later"
	if rt.refuse == nil || !rt.refuse(r, oauth.Errorf(oauth.TemporarilyUnavailable, sentence), fasthttp.StatusServiceUnavailable) {
		writeProblem(r, fasthttp.StatusServiceUnavailable, sentence)
	}
	retryAfter(r, int(s.limits.RetryAfter.Std().Seconds()))
}

// sheds counts what was turned away.
type sheds struct {
	empty, unavailable []atomic.Uint64 // by route
	connections        atomic.Uint64
}

func newSheds() *sheds {
	return &sheds{empty: make([]atomic.Uint64, len(routes)), unavailable: make([]atomic.Uint64, len(routes))}
}

// Shed is how many requests of a route were turned away so far with an answer of a
// kind, ShedEmpty or ShedUnavailable.
type Shed struct {
	Method, Route, Kind string
	Requests            uint64
}

// Sheds returns what was turned away so far: of each route one of each kind that it can
// get, and new TLS connections.
func (s *Server) Sheds() (all []Shed, connections uint64) {
	for i, rt := range routes {
		if rt.background {
			all = append(all, Shed{rt.method, rt.path, ShedEmpty, s.sheds.empty[i].Load()})
		}
		all = append(all, Shed{rt.method, rt.path, ShedUnavailable, s.sheds.unavailable[i].Load()})
	}
	return all, s.sheds.connections.Load()
}

// relieved is a listener for TLS that closes new connections at once for the share that
// everything is turned away with. To tell somebody so over TLS takes a handshake, which
// is some fifty times the work of the answer.
type relieved struct {
	net.Listener
	server *Server
}

// Accept implements net.Listener.
func (l *relieved) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if !l.server.pressure.sheds(false) {
			l.server.handshakes.Add(1)
			return conn, nil
		}
		l.server.sheds.connections.Add(1)
		_ = conn.Close()
	}
}

// work is what was done so far that takes the processor, in pieces of some size.
func (s *Server) work() uint64 { return s.counts.total() + s.handshakes.Load() }
