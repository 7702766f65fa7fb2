package admin

import (
	"io"
	"net"
	"sync/atomic"
	"time"
)

// lingers is how long a client may go on to send what nobody wants.
const lingers = 5 * time.Second

// lingering is a listener whose connections can be closed slowly. To close one
// while its client still sends makes the kernel throw away what the client has
// not read yet, and that is the sentence that says what is wrong.
type lingering struct{ net.Listener }

// Accept implements net.Listener.
func (l lingering) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &slowly{Conn: c}, nil
}

type slowly struct {
	net.Conn
	unread atomic.Bool
}

// linger lets what a connection still gets be read, and thrown away, before it
// is closed.
func linger(c net.Conn) {
	if c, ok := c.(*slowly); ok {
		c.unread.Store(true)
	}
}

// Close implements net.Conn.
func (c *slowly) Close() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok && c.unread.Swap(false) && half.CloseWrite() == nil {
		_ = c.Conn.SetReadDeadline(time.Now().Add(lingers))
		_, _ = io.Copy(io.Discard, c.Conn)
	}
	return c.Conn.Close()
}
