package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/valyala/fasthttp"
)

// serving runs a handler until the test ends.
func serving(t *testing.T, handler fasthttp.RequestHandler) (address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	s := &fasthttp.Server{Handler: handler, CloseOnShutdown: true}
	go func() { served <- s.Serve(l) }()
	t.Cleanup(func() {
		_ = l.Close()
		if err := <-served; err != nil && !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
	})
	return l.Addr().String()
}

func TestLoadCountsWhatWasAnswered(t *testing.T) {
	var answered atomic.Int64
	want := string(appendPost(nil, "host", "/path", "text/plain", []byte("a"), []byte("bc")))
	address := serving(t, func(r *fasthttp.RequestCtx) {
		answered.Add(1)
		if string(r.Path()) != "/path" || string(r.Host()) != "host" || string(r.Request.Body()) != "abc" || string(r.Request.Header.ContentType()) != "text/plain" {
			r.SetStatusCode(400)
		}
		r.SetBodyString("four")
	})
	size := 4
	var clients []client
	for range 3 {
		clients = append(clients, &echo{requests: [][]byte{[]byte(want)}, size: &size})
	}
	l, err := connect(address, clients, way{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer l.close()
	if _, err := l.run(time.Millisecond, false); err != nil {
		t.Fatal(err)
	}
	if n := len(l.times()); n != 0 {
		t.Errorf("%d times were kept of a run that doesn't count", n)
	}
	warm := l.sent
	s, err := l.run(20*time.Millisecond, true)
	if err != nil {
		t.Fatal(err)
	}
	if s.requests < 3 || l.sent != warm+s.requests || int64(l.sent) != answered.Load() || len(l.times()) != s.requests {
		t.Errorf("a run of %d requests, %d sent in all, %d times: the server answered %d", s.requests, l.sent, len(l.times()), answered.Load())
	}
	if s.took < 20*time.Millisecond {
		t.Errorf("a run of 20 ms took %v", s.took)
	}
	if got := l.answerSize(); got != 4 {
		t.Errorf("answerSize = %d, want 4", got)
	}
	size = 5
	if _, err := l.run(time.Millisecond, true); err == nil || !strings.Contains(err.Error(), "answered 200 with 4 bytes, not 200 with 5") {
		t.Errorf("a wrong answer ends a run with %v", err)
	}
}

func TestLoadEndsWithTheServer(t *testing.T) {
	address := serving(t, func(r *fasthttp.RequestCtx) { r.SetConnectionClose() })
	size := 0
	l, err := connect(address, []client{&echo{requests: [][]byte{appendPost(nil, "host", "/", "text/plain")}, size: &size}}, way{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer l.close()
	if _, err := l.run(time.Minute, true); err == nil || !strings.Contains(err.Error(), "read an answer") && !errors.Is(err, io.EOF) {
		t.Errorf("a connection that is closed ends a run with %v", err)
	}
}

// The bare handler is asked all that Souk is asked, in turn.
func TestEchoTakesTurns(t *testing.T) {
	size := 0
	e := &echo{requests: [][]byte{[]byte("a"), []byte("bc")}, size: &size}
	if got := string(e.next(e.next(e.next(nil)))); got != "abca" {
		t.Errorf("an echo of a and bc asks %s, want abca", got)
	}
}

// Each request of a fresh way has a connection and a handshake of its own, and a way
// that resumes goes on where the one before ended.
func TestLoadOverTLS(t *testing.T) {
	dir := t.TempDir()
	settings, err := certify(dir)
	if err != nil {
		t.Fatal(err)
	}
	b, err := newBare(dir)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- b.serve(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	size := 3
	b.answer(size)
	for _, resumed := range []bool{false, true} {
		var clients []client
		for range 2 {
			clients = append(clients, &echo{requests: [][]byte{appendPost(nil, "host", "/", "text/plain", []byte("a"))}, size: &size})
		}
		l, err := connect(b.listener.Addr().String(), clients, way{tls: true, fresh: true, resumed: resumed}, settings)
		if err != nil {
			t.Fatal(err)
		}
		s, err := l.run(50*time.Millisecond, true)
		l.close()
		if err != nil {
			t.Fatalf("resumed %t: %v", resumed, err)
		}
		handshakes := 0
		for _, x := range l.lines {
			handshakes += x.tried
			if x.state.DidResume != (resumed && x.tried > 1) {
				t.Errorf("resumed %t: the last of %d handshakes resumed: %t", resumed, x.tried, x.state.DidResume)
			}
		}
		if s.requests < 2 || handshakes != s.requests || !strings.HasPrefix(l.settings(), "TLS 1.3 ") || !strings.HasSuffix(l.settings(), " http/1.1") {
			t.Errorf("resumed %t: %d requests, %d handshakes with %s", resumed, s.requests, handshakes, l.settings())
		}
	}
	other, err := certify(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	l, err := connect(b.listener.Addr().String(), []client{&echo{requests: [][]byte{{}}, size: &size}}, way{tls: true, fresh: true}, other)
	if err != nil {
		t.Fatal(err)
	}
	defer l.close()
	if _, err := l.run(time.Millisecond, true); err == nil || !strings.Contains(err.Error(), "the certificate is another one") {
		t.Errorf("another server's certificate ends a run with %v", err)
	}
}

// A refresh that was not made is not counted: whatever is wrong with an answer ends
// the measurement.
func TestRefreshesAreChecked(t *testing.T) {
	const old, fresh = "old-token", "new-token"
	good := func(refresh string) string {
		return `{"access_token":"a","token_type":"Bearer","expires_in":10,"refresh_token":"` + refresh + `","scope":"all"}`
	}
	for _, test := range []struct {
		name   string
		status int
		body   string
		want   string // part of the error; empty = right
	}{
		{"right", 200, good(fresh), ""},
		{"refused", 400, `{"error":"invalid_grant"}`, "answered 400"},
		{"overloaded", 503, good(fresh), "answered 503"},
		{"the same token", 200, good(old), "the same refresh token"},
		{"no refresh token", 200, `{"access_token":"a","token_type":"Bearer","expires_in":10}`, "without two tokens"},
		{"no access token", 200, strings.Replace(good(fresh), "access_token", "accept_token", 1), "without two tokens"},
		{"a cut-off token", 200, good(fresh[:5]), "without two tokens"},
		{"a cut-off answer", 200, good(fresh)[:len(good(fresh))-4], "no JSON"},
		{"no life", 200, strings.Replace(good(fresh), "10", "0", 1), "no token response"},
		{"another type", 200, strings.Replace(good(fresh), "Bearer", "MAC", 1), "no token response"},
	} {
		clients, err := refreshClients(&filled{Devices: []device{{Refresh: old}}}, "host", 1)
		if err != nil {
			t.Fatal(err)
		}
		r := clients[0].(*refresher)
		if asked := string(r.next(nil)); !strings.HasSuffix(asked, "\r\n\r\ngrant_type=refresh_token&refresh_token="+old) {
			t.Errorf("the client asks\n%s", asked)
		}
		var a fasthttp.Response
		a.SetStatusCode(test.status)
		a.SetBodyString(test.body)
		err = r.take(&a)
		if test.want != "" {
			if err == nil || !strings.Contains(err.Error(), test.want) || string(r.tokens[0]) != old {
				t.Errorf("%s: take = %v, then it has %s; want %q and the old token", test.name, err, r.tokens[0], test.want)
			}
			continue
		}
		if err != nil || !bytes.HasSuffix(r.next(nil), []byte(fresh)) {
			t.Errorf("%s: take = %v, then it has %s", test.name, err, r.tokens[0])
		}
	}
}

// The connections share the devices out, and each goes through its own in turn.
func TestRefreshersTakeTurns(t *testing.T) {
	f := &filled{}
	for i := range 7 {
		f.Devices = append(f.Devices, device{Refresh: fmt.Sprintf("token-%d-0", i)})
	}
	clients, err := refreshClients(f, "host", 3)
	if err != nil {
		t.Fatal(err)
	}
	asked := map[string]int{}
	for _, c := range clients {
		r := c.(*refresher)
		for round := range 2 {
			for range r.tokens {
				token := string(r.tokens[r.at])
				asked[token]++
				var a fasthttp.Response
				a.SetBodyString(`{"access_token":"a","token_type":"Bearer","expires_in":10,"refresh_token":"` + token[:len(token)-1] + fmt.Sprint(round+1) + `"}`)
				if err := r.take(&a); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	for i := range 7 {
		for round := range 2 {
			if token := fmt.Sprintf("token-%d-%d", i, round); asked[token] != 1 {
				t.Errorf("%s was used %d times, want once: %v", token, asked[token], asked)
			}
		}
	}
	if _, err := refreshClients(f, "host", 8); err == nil || !strings.Contains(err.Error(), "--families") {
		t.Errorf("eight connections with seven devices: %v", err)
	}
}
