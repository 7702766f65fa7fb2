package sim

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
	"time"

	"github.com/valyala/fasthttp"
)

// line is one client's connection to the server: kept alive, or a new one with TLS for
// each check.
type line struct {
	address string
	tls     *tls.Config // nil = plain HTTP
	fresh   bool        // each check has a connection of its own
	conn    net.Conn
	in      *bufio.Reader
	used    bool      // had an answer before
	last    time.Time // its latest answer
}

// answerWithin is how long the slowest answer may take; then there is none.
const answerWithin = 30 * time.Second

// idle is how long a connection has to lie still until a server may close it without a
// word.
const idle = time.Second

// ask sends a request and reads its answer. A kept connection that the server has
// closed while nobody asked is no failure: the request goes once more, over a new one. One
// that it closes under a request's hands is.
func (l *line) ask(request []byte, answer *fasthttp.Response) error {
	reused := l.conn != nil && l.used && time.Since(l.last) > idle
	err := l.once(request, answer)
	if err != nil && reused && gone(err) {
		err = l.once(request, answer)
	}
	return err
}

func (l *line) once(request []byte, answer *fasthttp.Response) error {
	if err := l.send(request); err != nil {
		return err
	}
	if err := answer.Read(l.in); err != nil {
		l.close()
		return fmt.Errorf("read an answer: %w", err)
	}
	l.used, l.last = true, time.Now()
	if answer.ConnectionClose() {
		l.close()
	}
	return nil
}

// send sends a request, over a new connection if there is none.
func (l *line) send(request []byte) error {
	if err := l.open(); err != nil {
		return err
	}
	err := l.conn.SetDeadline(time.Now().Add(answerWithin))
	if err == nil {
		_, err = l.conn.Write(request)
	}
	if err != nil {
		l.close()
	}
	return err
}

func (l *line) open() error {
	if l.conn != nil {
		return nil
	}
	conn, err := net.DialTimeout("tcp", l.address, answerWithin)
	if err != nil {
		return err
	}
	if l.tls != nil {
		secure := tls.Client(conn, l.tls)
		ctx, cancel := context.WithTimeout(context.Background(), answerWithin)
		defer cancel()
		if err := secure.HandshakeContext(ctx); err != nil {
			return errors.Join(err, conn.Close())
		}
		conn = secure
	}
	l.conn, l.used = conn, false
	if l.in == nil {
		l.in = bufio.NewReaderSize(conn, 4<<10)
	} else {
		l.in.Reset(conn)
	}
	return nil
}

// over ends what belongs to one check.
func (l *line) over() {
	if l.fresh {
		l.close()
	}
}

func (l *line) close() {
	if l.conn != nil {
		_ = l.conn.Close()
		l.conn = nil
	}
}

// gone says whether an error is that of a connection which the other side had closed
// before it read the request.
func gone(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}
