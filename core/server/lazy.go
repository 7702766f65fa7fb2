package server

import (
	"net"
	"sync/atomic"
	"time"
)

// lazy is a listener whose connections set a deadline when they are about to wait, and
// only if the one that is set will not do. fasthttp moves three for each request, each
// under a lock of the runtime's timers, and nearly all are moved again before anybody
// has waited. A deadline may come later than was asked, by a sixteenth of the shortest
// one that there is, never earlier.
//
// One goroutine reads and one at a time writes; another may ask for a deadline, as
// closing a TLS connection does, but that doesn't wake who waits. Close does.
type lazy struct {
	net.Listener
	slack time.Duration // by which a deadline may be late at most
}

// Accept implements net.Listener.
func (l lazy) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return newLazyConn(c, l.slack), nil
}

type lazyConn struct {
	net.Conn
	read, write lazyDeadline
}

func newLazyConn(c net.Conn, slack time.Duration) *lazyConn {
	l := &lazyConn{Conn: c}
	l.read.slack, l.write.slack = int64(slack), int64(slack)
	return l
}

// lazyDeadline is one that was asked for, and one that the connection has: times since
// lazyBegan, 0 for none.
type lazyDeadline struct {
	asked atomic.Int64
	set   int64
	slack int64
}

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

// Read implements net.Conn.
func (c *lazyConn) Read(b []byte) (int, error) {
	if err := c.read.apply(c.Conn.SetReadDeadline); err != nil {
		return 0, err
	}
	return c.Conn.Read(b)
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
