package server

import (
	"io"
	"runtime/debug"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/souk-market/souk/core/catalog"
)

// The short way. Nearly all that a market is asked are update checks, and nearly all of
// those have nothing new: what stands around such an answer, headers read into their
// places and a head put together from some, takes longer than the answer. So a connection
// without TLS looks at what it has read before fasthttp does. A check that is there whole
// is answered by the same code, but for its head and that of its answer; all else is
// fasthttp's, which sees no more than a connection that rested. It is never of another
// opinion: FuzzScanCheck holds together what the two read, and TestShortWay what they
// answer. RATIONALE.md says what it is worth, and why there is none under TLS.
//
// It begins behind the first answer of a connection, which is fasthttp's: by then its id
// and its deadlines are known. It ends when the server is about to close.

// shortly answers what has come over a connection between two requests, if it is an update
// check. An error ends the connection.
//
// hot: called for nearly every update check; no allocation (BenchmarkServe in core/coretest).
func (s *Server) shortly(c *lazyConn, b []byte) (answered bool, err error) {
	var h checkHead
	body, ok := s.scanCheck(b, &h)
	if !ok || s.closing.Load() || !c.begin() {
		return false, nil
	}
	x := appsExchanges.Get().(*appsExchange)
	defer x.release()
	now := time.Now()
	out, status := s.checkShortly(c, x, &h, body, now)
	s.counts.add(c.id, status, updatesRoute)
	s.counts.short(c.id)
	if status != fasthttp.StatusOK {
		now = time.Now() // as in handle
	}
	c.answers(now)
	_, err = c.Write(out)
	c.read.asked.Store(c.rests)
	if !c.end() || s.closing.Load() {
		return true, io.EOF
	}
	return true, err
}

// checkShortly is what route and apps are for other requests. The answer is of x.
func (s *Server) checkShortly(c *lazyConn, x *appsExchange, h *checkHead, body []byte, now time.Time) (out []byte, status int) {
	defer func() {
		if p := recover(); p != nil {
			out, status = s.byFasthttp(x, func(r *fasthttp.RequestCtx) { s.mistake(r, updatesPath, p, debug.Stack()) })
		}
	}()
	if s.turnsAway(updatesRoute) {
		if s.limits.ShedAnswer == ShedEmpty {
			s.sheds.empty[updatesRoute.index].Add(1)
			x.whole = append(append(x.whole[:0], headRoom...), noUpdates...)
			return s.putHead(x.whole, now), fasthttp.StatusOK
		}
		return s.byFasthttp(x, func(r *fasthttp.RequestCtx) { s.shed(r, updatesRoute) })
	}
	x.request.Territory = ""
	if len(h.territory) > 0 {
		x.request.Territory = s.territoryFrom(c.RemoteAddr(), [][]byte{h.territory})
	}
	if err := s.askApps(s.base, x, body, h.token, h.authorization, now, s.market.Updates); err != nil {
		return s.byFasthttp(x, func(r *fasthttp.RequestCtx) { s.answer(r, updatesRoute, err) })
	}
	x.whole = appendAnswer(append(x.whole[:0], headRoom...), "updates", &x.answer, (*catalog.Release).AppendUpdate)
	return s.putHead(x.whole, now), fasthttp.StatusOK
}

// byFasthttp has fasthttp write an answer that is not the usual.
func (s *Server) byFasthttp(x *appsExchange, answer func(*fasthttp.RequestCtx)) (out []byte, status int) {
	if x.unusual == nil {
		x.unusual = new(fasthttp.RequestCtx)
	}
	r := x.unusual
	defer r.Response.Reset()
	answer(r)
	body := r.Response.Body()
	r.Response.Header.SetContentLength(len(body))
	if s.closing.Load() {
		r.SetConnectionClose()
	}
	x.whole = append(r.Response.Header.AppendBytes(x.whole[:0]), body...)
	return x.whole, r.Response.StatusCode()
}

// What writeBuffer and fasthttp put before a body: these parts, the date behind the first
// and the length behind the second.
const (
	headDate     = "HTTP/1.1 200 OK\r\nDate: "
	headLength   = "\r\nContent-Type: application/json;charset=UTF-8\r\nContent-Length: "
	headKept     = "\r\nCache-Control: no-store\r\n"
	headClose    = "Connection: close\r\n"
	headEnd      = "\r\n"
	dateLength   = len("Sun, 06 Nov 1994 08:49:37 GMT")
	lengthDigits = 19
)

// headRoom is room for the longest head. It is never written to.
var headRoom = make([]byte, len(headDate)+dateLength+len(headLength)+lengthDigits+len(headKept)+len(headClose)+len(headEnd))

// putHead puts the head of an answer right before its body, which begins behind room for
// it, and returns both.
func (s *Server) putHead(whole []byte, now time.Time) []byte {
	var digits [lengthDigits]byte
	length := strconv.AppendUint(digits[:0], uint64(len(whole)-len(headRoom)), 10)
	last := ""
	if s.closing.Load() {
		last = headClose
	}
	whole = whole[lengthDigits-len(length)+len(headClose)-len(last):]
	at := copy(whole, headDate)
	at += copy(whole[at:], s.date.at(now))
	at += copy(whole[at:], headLength)
	at += copy(whole[at:], length)
	at += copy(whole[at:], headKept)
	at += copy(whole[at:], last)
	copy(whole[at:], headEnd)
	return whole
}

// date is the time as the header of that name says it (RFC 9110 §5.6.7), made once a
// second.
type date struct{ last atomic.Pointer[dated] }

type dated struct {
	second int64
	text   []byte
}

// at is the date of an answer to a request that came at a time, or of one that was
// answered meanwhile.
func (d *date) at(now time.Time) []byte {
	const longest = 60 // beyond that the clock was set back
	second := now.Unix()
	last := d.last.Load()
	if last == nil || last.second < second || last.second > second+longest {
		last = &dated{second, fasthttp.AppendHTTPDate(nil, now)}
		d.last.Store(last)
	}
	return last.text
}
