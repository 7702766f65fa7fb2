package bench

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"path/filepath"
	"sync/atomic"

	"github.com/valyala/fasthttp"

	"github.com/souk-market/souk/cmd/souk/child"
)

// bare is the baseline: a fasthttp server as the library sets it up, whose handler
// answers with as many bytes as the other server does and decides nothing.
type bare struct {
	listener net.Listener
	body     atomic.Pointer[[]byte]
}

// newBare listens. With a directory it speaks TLS, with the certificate there and the
// settings of Souk's own listener; a measurement looks whether handshakes come to the
// same.
func newBare(dir string) (*bare, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	if dir != "" {
		cert, err := tls.LoadX509KeyPair(filepath.Join(dir, child.CertFile), filepath.Join(dir, child.KeyFile))
		if err != nil {
			return nil, errors.Join(err, l.Close())
		}
		l = tls.NewListener(l, &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{cert}, NextProtos: []string{"http/1.1"}})
	}
	b := &bare{listener: l}
	b.answer(0)
	return b, nil
}

// answer sets how many bytes the body of an answer has from now on.
func (b *bare) answer(size int) {
	body := make([]byte, size)
	for i := range body {
		body[i] = 'x'
	}
	b.body.Store(&body)
}

func (b *bare) obey(o order) error {
	if o.Answer != nil {
		b.answer(*o.Answer)
	}
	return nil
}

// serve answers until ctx ends.
func (b *bare) serve(ctx context.Context) error {
	s := &fasthttp.Server{Handler: func(r *fasthttp.RequestCtx) {
		r.SetContentType("application/json")
		r.SetBody(*b.body.Load())
	}}
	context.AfterFunc(ctx, func() { _ = b.listener.Close() }) // which ends Serve
	err := s.Serve(b.listener)
	if ctx.Err() != nil {
		return nil
	}
	return err
}
