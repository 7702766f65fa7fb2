package server

import (
	"bytes"
	"net"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/souk-market/souk/core/market"
	"github.com/souk-market/souk/core/oauth"
)

// Two readers of one body: the quick one, and encoding/json, which has the last
// word.
var (
	ScanApps   = scanApps
	DecodeApps = decodeApps
	ParseApps  = parseApps
)

// LazyConn and LazyListener set deadlines late.
func LazyConn(c net.Conn, read, write, idle time.Duration) net.Conn {
	return newLazyConn(c, timeouts{read, write, idle})
}

func LazyListener(l net.Listener, read, write, idle time.Duration) net.Listener {
	return lazy{Listener: l, timeouts: timeouts{read, write, idle}}
}

// Turn says what such a connection does next, and Answers that an answer is under way.
var Turn = turn

func Answers(c net.Conn, now time.Time) { lazyOf(c).answers(now) }

// ReadForm reads parameters as the handlers do.
func ReadForm(body []byte) (oauth.Params, error) {
	var args fasthttp.Args
	args.ParseBytes(body)
	s := Server{limits: DefaultLimits()}
	return s.params(&args)
}

// BasicCredentials reads an Authorization header.
var BasicCredentials = basicCredentials

// RedirectSource is the CSP source of a redirect URI.
var RedirectSource = redirectSource

// AppendFailures writes an answer of nothing but failures.
func AppendFailures(apps []market.App) []byte {
	return appendAnswer(nil, "restores", &market.Answer{Failures: apps}, nil)
}

// NewGovernor is the law of a Pressure: from the delays of looks to its level.
func NewGovernor(updates, all time.Duration) func(delay time.Duration) float64 {
	g := governor{updates: updates, all: all}
	return func(delay time.Duration) float64 { return float64(g.look(delay)) / stage }
}

// Look is the time between two looks.
const Look = beats * beat

// Watch sets a Pressure to work without a Server.
func (p *Pressure) Watch(work func() uint64) error { return p.watch(work) }

// LookWithoutArrival is what a probe says when nothing has arrived since the look before,
// and what arrived last had waited for so long.
func LookWithoutArrival(last time.Duration) time.Duration {
	p := &probe{work: func() uint64 { return 1 << 20 }, out: true, sent: time.Now(), last: last, shortest: never}
	return p.look()
}

// WriteBuffer and WriteBody are two ways to answer.
var (
	WriteBuffer = writeBuffer
	WriteBody   = writeBody
)

// Check is what the short way has read.
type Check struct{ Authorization, Token, Territory, Body string }

// scanning is a Server that can scan, with these headers configured.
func scanning(tokenHeader, territoryHeader string) *Server {
	return &Server{limits: DefaultLimits(), tokenHeader: []byte(tokenHeader), territory: territoryHeader}
}

// ScanCheck reads an update check as the short way does.
func ScanCheck(text, tokenHeader, territoryHeader string) (Check, bool) {
	var h checkHead
	body, ok := scanning(tokenHeader, territoryHeader).scanCheck([]byte(text), &h)
	return Check{string(h.authorization), string(h.token), string(h.territory), string(body)}, ok
}

// Scanner does only that.
func Scanner(tokenHeader, territoryHeader string) func([]byte) bool {
	s := scanning(tokenHeader, territoryHeader)
	return func(b []byte) bool {
		var h checkHead
		_, ok := s.scanCheck(b, &h)
		return ok
	}
}

// ShortAnswer is an answer with this body as the short way writes it, and as fasthttp does,
// maybe the last of its connection.
func ShortAnswer(body []byte, now time.Time, last bool) (short, long []byte) {
	s := new(Server)
	s.closing.Store(last)
	short = s.putHead(append(bytes.Clone(headRoom), body...), now)
	long, _ = s.byFasthttp(new(appsExchange), func(r *fasthttp.RequestCtx) { writeBuffer(r, body) })
	return short, long
}

// Answering begins and ends an answer the short way.
func Answering(c net.Conn) (begin, end func() bool) { return lazyOf(c).begin, lazyOf(c).end }
