package server_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/valyala/fasthttp"

	"github.com/souk-market/souk/core/server"
)

// The space of an answer goes to fasthttp and its own comes back, in turn, and neither
// shows what was in it before.
func TestAnswersExchangeTheirSpace(t *testing.T) {
	var r fasthttp.RequestCtx
	body := []byte("one")
	for i, text := range []string{"one", "two, which is longer", "3", ""} {
		body = append(body[:0], text...)
		body = server.WriteBuffer(&r, body)
		if got := r.Response.Body(); string(got) != text {
			t.Errorf("answer %d is %q, want %q", i, got, text)
		}
		if got := string(r.Response.Header.Peek("Cache-Control")); got != "no-store" {
			t.Errorf("answer %d has the Cache-Control %q, want no-store", i, got)
		}
		for at := range body[:cap(body)] { // whatever is written next is not in the answer
			body[:cap(body)][at] = '?'
		}
		if got := r.Response.Body(); string(got) != text {
			t.Errorf("answer %d has become %q, want %q", i, got, text)
		}
		r.Response.Reset()
	}
	server.WriteBody(&r, []byte("a copy"))
	if got := r.Response.Body(); string(got) != "a copy" {
		t.Errorf("an answer that is copied is %q", got)
	}
}

// One large answer after the other leaves no large buffer with those who ask for small
// ones in between.
func TestLargeAnswersStayWithWhoAsks(t *testing.T) {
	const small, large = 200, 200 << 10
	asker := new(fasthttp.RequestCtx)
	others := make([]fasthttp.RequestCtx, 50) // of a connection each, which keeps its buffer
	var body []byte
	answer := func(r *fasthttp.RequestCtx, size int) {
		t.Helper()
		body = append(body[:0], bytes.Repeat([]byte("x"), size)...)
		body = server.WriteBuffer(r, body)
		if got := len(r.Response.Body()); got != size {
			t.Fatalf("an answer of %d bytes has %d", size, got)
		}
	}
	for round := range 2 { // in the second one the asker's own buffer is large
		for i := range others {
			answer(asker, large)
			if cap(body) < large {
				t.Errorf("round %d: the buffer of a large answer went to who asked for it", round)
			}
			answer(&others[i], small)
			if round > 0 {
				answer(asker, small)
				answer(&others[i], small)
			}
		}
	}
	for i := range others {
		if n := cap(others[i].Response.Body()); n > 16<<10 {
			t.Errorf("connection %d holds %d bytes for answers of %d", i, n, small)
		}
	}
	if answer(asker, small); cap(body) > 16<<10 {
		answer(asker, small)
	}
	if cap(body) > 16<<10 {
		t.Errorf("after small answers the next is written into %d bytes, which nobody exchanges", cap(body))
	}
}

// What a device gets about apps may be kept by nobody; what a browser or a client of OAuth
// may get says so to caches of HTTP/1.0 too, and that it is no page.
func TestHeadsOfAnswers(t *testing.T) {
	large := bytes.Repeat([]byte("x"), 64<<10)
	for _, test := range []struct {
		name  string
		write func(r *fasthttp.RequestCtx)
		want  string
	}{
		{"about apps", func(r *fasthttp.RequestCtx) { server.WriteBuffer(r, []byte("{}")) }, ""},
		{"about many apps", func(r *fasthttp.RequestCtx) { server.WriteBuffer(r, large) }, ""},
		{"else", func(r *fasthttp.RequestCtx) { server.WriteBody(r, []byte("{}")) }, "Pragma: no-cache\nX-Content-Type-Options: nosniff\n"},
	} {
		var r fasthttp.RequestCtx
		test.write(&r)
		want := "Content-Type: application/json;charset=UTF-8\nCache-Control: no-store\n" + test.want
		var got strings.Builder
		for name, value := range r.Response.Header.All() {
			fmt.Fprintf(&got, "%s: %s\n", name, value)
		}
		if got.String() != want {
			t.Errorf("an answer %s has the head\n%s\nwant\n%s", test.name, &got, want)
		}
	}
}

// BenchmarkWriteBuffer is the answer to an update check with one offer, beside one that
// is copied.
func BenchmarkWriteBuffer(b *testing.B) {
	text := bytes.Repeat([]byte("x"), 1000)
	for _, way := range []struct {
		name  string
		write func(r *fasthttp.RequestCtx, body []byte) []byte
	}{
		{"exchanged", server.WriteBuffer},
		{"copied", func(r *fasthttp.RequestCtx, body []byte) []byte {
			server.WriteBody(r, body)
			return body
		}},
	} {
		b.Run(way.name, func(b *testing.B) {
			var r fasthttp.RequestCtx
			var body []byte
			b.ReportAllocs()
			for b.Loop() {
				body = way.write(&r, append(body[:0], text...))
				r.Response.Reset()
			}
		})
	}
}
