package server_test

import (
	"bytes"
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
