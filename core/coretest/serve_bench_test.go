//go:build unix

package coretest_test

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"testing"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/souk-market/souk/core"
	"github.com/souk-market/souk/core/server"
)

// memoryConn is a client without a network: the next request is there as soon as the
// last one was answered.
type memoryConn struct {
	net.Conn
	requests [][]byte // in turn
	left     int
	rest     []byte
	answer   []byte // what each answer ends in
	wrong    []byte // the first answer that did not
	closed   chan struct{}
}

func (c *memoryConn) Read(b []byte) (int, error) {
	if len(c.rest) == 0 {
		if c.left == 0 {
			return 0, io.EOF
		}
		c.left--
		c.rest = c.requests[c.left%len(c.requests)]
	}
	n := copy(b, c.rest)
	c.rest = c.rest[n:]
	return n, nil
}

func (c *memoryConn) Write(b []byte) (int, error) {
	if c.wrong == nil && !bytes.HasSuffix(b, c.answer) {
		c.wrong = bytes.Clone(b)
	}
	return len(b), nil
}

func (c *memoryConn) SetReadDeadline(time.Time) error  { return nil }
func (c *memoryConn) SetWriteDeadline(time.Time) error { return nil }

func (c *memoryConn) Close() error {
	close(c.closed)
	return nil
}

// memoryListener has the one connection.
type memoryListener struct {
	net.Listener
	conns chan net.Conn
}

func (l memoryListener) Accept() (net.Conn, error) {
	c, ok := <-l.conns
	if !ok {
		return nil, io.EOF
	}
	return c, nil
}

func (l memoryListener) Close() error { return nil }

// BenchmarkServe is an update check from the bytes of a request to those of the answer,
// without the system's part, beside a bare fasthttp handler.
func BenchmarkServe(b *testing.B) {
	var config core.Config
	host := benchServer(b, func(c *core.Config) {
		c.Limits.ShedUpdates = 0
		config = *c
	})
	souk, err := server.New(server.Options{
		Config: config.Server, Limits: config.Limits, OAuth: host.OAuth, Market: host.Market, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := souk.Close(context.WithoutCancel(b.Context())); err != nil {
			b.Error(err)
		}
	})
	access := benchToken(b, host, "person@example.com")
	bare := &fasthttp.Server{Handler: func(r *fasthttp.RequestCtx) {
		r.SetContentType("application/json")
		r.SetBodyString(benchHello)
	}}
	for _, c := range []struct {
		name     string
		serve    func(net.Listener) error
		from     uint64
		outdated int
		answer   string
	}{
		{"bare", bare.Serve, benchFirstItem, 0, benchHello},
		{"nothing newer", func(l net.Listener) error { return souk.Serve(l, nil) }, benchFirstItem, 0, benchNothing},
		{"held", func(l net.Listener) error { return souk.Serve(l, nil) }, benchHeldFrom, 1, benchNothing},
	} {
		b.Run(c.name, func(b *testing.B) {
			var requests [][]byte
			for i := range uint64(100) {
				requests = append(requests, newBenchCheck(b, "market.example.com", access, c.from+i*97, c.outdated, c.answer).request)
			}
			conn := &memoryConn{requests: requests, left: b.N, answer: []byte(c.answer), closed: make(chan struct{})}
			l := memoryListener{conns: make(chan net.Conn, 1)}
			served := make(chan error, 1)
			go func() { served <- c.serve(l) }()
			b.ReportAllocs()
			b.ResetTimer()
			l.conns <- conn
			<-conn.closed
			b.StopTimer()
			close(l.conns)
			if err := <-served; err != nil {
				b.Fatal(err)
			}
			if conn.wrong != nil {
				b.Fatalf("a check was answered\n%s\nwant %s at its end", conn.wrong, c.answer)
			}
		})
	}
}
