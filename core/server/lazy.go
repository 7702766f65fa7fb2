package server

import (
	"net"
	"time"
)

// lazy is a listener whose connections set a deadline when they are about to wait, and
// only if the one that is set will not do. fasthttp moves three for each request, each
// under a lock of the runtime's timers, and nearly all are moved again before anybody
// has waited. A deadline may come later than was asked, by a sixteenth of the shortest
// one that there is, never earlier.
//
// A connection of it is for one goroutine: a deadline doesn't wake another one that
// waits. Close does.
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
	return &lazyConn{Conn: c, read: lazyDeadline{slack: l.slack}, write: lazyDeadline{slack: l.slack}}, nil
}

type lazyConn struct {
	net.Conn
	read, write lazyDeadline
}

// lazyDeadline is one that was asked for, and one that the connection has.
type lazyDeadline struct {
	asked, set time.Time // zero = none
	slack      time.Duration
}

// lazySlack is the part of the shortest deadline by which one may be late.
const lazySlack = 16

// apply sets the deadline that was asked for, unless the one that is set will do.
//
// hot: called for each read and write.
func (d *lazyDeadline) apply(set func(time.Time) error) error {
	if d.asked.IsZero() == d.set.IsZero() {
		if late := d.set.Sub(d.asked); late >= 0 && late <= d.slack {
			return nil
		}
	}
	t := d.asked
	if !t.IsZero() {
		t = t.Add(min(d.slack, max(0, time.Until(t)/lazySlack))) // one that is over is not put off
	}
	d.set = t
	return set(t)
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
	c.read.asked = t
	return nil
}

// SetWriteDeadline implements net.Conn.
func (c *lazyConn) SetWriteDeadline(t time.Time) error {
	c.write.asked = t
	return nil
}

// SetDeadline implements net.Conn.
func (c *lazyConn) SetDeadline(t time.Time) error {
	c.read.asked, c.write.asked = t, t
	return nil
}
