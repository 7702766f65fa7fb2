package server

import (
	"crypto/tls"
	"net"
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"
)

// lazy is a listener whose connections keep the timeouts of requests, answers and rests by
// themselves. fasthttp would look at the clock and move a deadline three times for each
// request, each under a lock of the runtime's timers, and nearly all are moved again
// before anybody has waited. A connection sets one when it is about to wait, only if the
// one that is set will not do, and looks at the clock only then. A deadline may come later
// than was asked, by a sixteenth of the shortest one that there is, never earlier.
//
// One goroutine reads and one at a time writes; another may ask for a deadline, as
// closing a TLS connection does, but that doesn't wake who waits. Close does, but for who
// writes an answer the short way: that goes out, or its time is over.
type lazy struct {
	net.Listener
	timeouts
	server *Server // answers update checks the short way; nil under TLS
}

// timeouts are how long a connection waits: for the rest of a request, for an answer to
// leave, and for the next request.
type timeouts struct{ read, write, idle time.Duration }

// slack is by how much a deadline may be late.
func (t timeouts) slack() int64 { return int64(min(t.read, t.write, t.idle) / lazySlack) }

// Accept implements net.Listener.
func (l lazy) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	lc := newLazyConn(c, l.timeouts)
	lc.server = l.server
	return lc, nil
}

type lazyConn struct {
	net.Conn
	read, write lazyDeadline
	idle        int64 // how long it may rest
	rests       int64 // the deadline of the rest after the answer under way; of the reader's goroutine

	server  *Server // answers what it can before fasthttp sees it, see short.go; nil = nothing
	id      uint64  // as fasthttp counts connections; set with the first answer
	between bool    // an answer is out and no request has begun; of the reader's goroutine
	stage   atomic.Int32
}

// Stages of a connection, as the short way sees it.
const (
	connRests   int32 = iota
	connAnswers       // a request of which fasthttp doesn't know
	connLeaves        // the same, and it is to be closed then
	connClosed
)

// begin says that a request is under way; false on a connection that was closed.
func (c *lazyConn) begin() bool { return c.stage.CompareAndSwap(connRests, connAnswers) }

// end says that it is answered, and whether the connection goes on.
func (c *lazyConn) end() bool {
	if c.stage.CompareAndSwap(connAnswers, connRests) {
		return true
	}
	c.stage.Store(connClosed)
	return false
}

// Close implements net.Conn. A server that stops closes what rests, and to fasthttp a
// connection that answers the short way does: it goes on until the answer is out, or
// the time for that is over.
func (c *lazyConn) Close() error {
	for {
		switch c.stage.Load() {
		case connRests:
			if c.stage.CompareAndSwap(connRests, connClosed) {
				return c.Conn.Close()
			}
		case connAnswers:
			if c.stage.CompareAndSwap(connAnswers, connLeaves) {
				return nil
			}
		case connLeaves:
			return nil
		default:
			return c.Conn.Close()
		}
	}
}

// newLazyConn makes a connection that waits for its first request, or for a handshake.
func newLazyConn(c net.Conn, t timeouts) *lazyConn {
	l := &lazyConn{Conn: c, idle: int64(t.idle)}
	l.read.length, l.write.length = int64(t.read), int64(t.write)
	l.read.slack, l.write.slack = t.slack(), t.slack()
	l.read.asked.Store(anew)
	l.write.asked.Store(anew)
	return l
}

// lazyOf is the connection under what fasthttp was given, nil if it is another's.
func lazyOf(c net.Conn) *lazyConn {
	if secret, ok := c.(*tls.Conn); ok {
		c = secret.NetConn()
	}
	l, _ := c.(*lazyConn)
	return l
}

// turn is told by fasthttp what a connection does next: a request has begun, or was
// answered.
//
// hot: called twice for each request.
func turn(c net.Conn, state fasthttp.ConnState) {
	l := lazyOf(c)
	switch {
	case l == nil:
	case state == fasthttp.StateActive:
		l.between = false
		l.read.asked.Store(anew) // for what is not there yet: mostly it all is
	case state == fasthttp.StateIdle:
		l.between = l.server != nil
		l.read.asked.Store(l.rests)
	}
}

// answers begins the time that an answer has to leave, and that of the rest after it.
//
// hot: called for each request.
func (c *lazyConn) answers(now time.Time) {
	at := int64(now.Sub(lazyBegan))
	c.write.asked.Store(max(1, at+c.write.length))
	c.rests = max(1, at+c.idle)
}

// lazyDeadline is one that was asked for, and one that the connection has: times since
// lazyBegan, 0 for none.
type lazyDeadline struct {
	asked  atomic.Int64
	set    int64
	slack  int64
	length int64
}

// anew in the place of a deadline is one that is its length ahead of the first who waits.
const anew = -1

// lazyBegan is what deadlines are counted from, on the steady clock.
var lazyBegan = time.Now()

func (d *lazyDeadline) ask(t time.Time) {
	asked := int64(0)
	if !t.IsZero() {
		asked = max(1, int64(t.Sub(lazyBegan)))
	}
	d.asked.Store(asked)
}

// lazySlack is the part of the shortest deadline by which one may be late.
const lazySlack = 16

// apply sets the deadline that was asked for, unless the one that is set will do.
//
// hot: called for each read and write.
func (d *lazyDeadline) apply(set func(time.Time) error) error {
	asked := d.asked.Load()
	if asked == anew {
		asked = max(1, int64(time.Since(lazyBegan))+d.length)
		if !d.asked.CompareAndSwap(anew, asked) {
			asked = d.asked.Load()
		}
	}
	if (asked == 0) == (d.set == 0) {
		if late := d.set - asked; late >= 0 && late <= d.slack {
			return nil
		}
	}
	if d.set = asked; asked == 0 {
		return set(time.Time{})
	}
	// One that is over is not put off.
	d.set += min(d.slack, max(0, asked-int64(time.Since(lazyBegan)))/lazySlack)
	return set(lazyBegan.Add(time.Duration(d.set)))
}

// Read implements net.Conn. What it reads between requests it answers itself, if it can.
func (c *lazyConn) Read(b []byte) (int, error) {
	for {
		if err := c.read.apply(c.Conn.SetReadDeadline); err != nil {
			return 0, err
		}
		n, err := c.Conn.Read(b)
		if !c.between || n == 0 || err != nil {
			return n, err
		}
		if answered, err := c.server.shortly(c, b[:n]); !answered {
			return n, nil
		} else if err != nil {
			return 0, err
		}
	}
}

// Write implements net.Conn.
func (c *lazyConn) Write(b []byte) (int, error) {
	if err := c.write.apply(c.Conn.SetWriteDeadline); err != nil {
		return 0, err
	}
	return c.Conn.Write(b)
}

// SetReadDeadline implements net.Conn.
func (c *lazyConn) SetReadDeadline(t time.Time) error {
	c.read.ask(t)
	return nil
}

// SetWriteDeadline implements net.Conn.
func (c *lazyConn) SetWriteDeadline(t time.Time) error {
	c.write.ask(t)
	return nil
}

// SetDeadline implements net.Conn.
func (c *lazyConn) SetDeadline(t time.Time) error {
	c.read.ask(t)
	c.write.ask(t)
	return nil
}
