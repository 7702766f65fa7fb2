package server

import (
	"encoding/json"
	"math/rand/v2"
	"strconv"

	"github.com/valyala/fasthttp"
)

// problem is an answer other than the one that was asked for.
type problem struct {
	status    int
	sentence  string
	challenge string // WWW-Authenticate
	retry     bool   // Retry-After, at a random time so that not all come back at once
	cause     error
}

func (p *problem) Error() string {
	if p.cause != nil {
		return p.sentence + ": " + p.cause.Error()
	}
	return p.sentence
}

func (p *problem) Unwrap() error { return p.cause }

func (p *problem) write(r *fasthttp.RequestCtx) {
	if p.challenge != "" {
		r.Response.Header.Set("WWW-Authenticate", p.challenge)
	}
	if p.retry {
		retryAfter(r, 5)
	}
	writeProblem(r, p.status, p.sentence)
}

// retryAfter asks for a pause of half to one and a half times so many seconds.
func retryAfter(r *fasthttp.RequestCtx, seconds int) {
	r.Response.Header.Set("Retry-After", strconv.Itoa(max(1, seconds/2+rand.IntN(seconds+1))))
}

// writeProblem answers with a status and a sentence.
func writeProblem(r *fasthttp.RequestCtx, status int, sentence string) {
	r.Response.SetStatusCode(status)
	body, err := json.Marshal(struct {
		Error string `json:"error"`
	}{sentence})
	if err != nil {
		body = []byte("{}")
	}
	writeBody(r, body)
}

// writeJSON answers 200 with a value.
func writeJSON(r *fasthttp.RequestCtx, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return err
	}
	writeBody(r, body)
	return nil
}

// writeBody answers with JSON that nobody may keep (RFC 6749 §5.1).
func writeBody(r *fasthttp.RequestCtx, body []byte) {
	writeHead(r)
	h := &r.Response.Header
	h.SetCanonical(pragma, noCache)
	h.SetCanonical(contentTypeOptions, noSniff)
	r.Response.SetBody(body)
}

// mostExchanged is how large a buffer may be that goes to a connection: fasthttp keeps it
// there, and by exchanges one large answer after the other would leave its buffer with
// each connection in turn.
const mostExchanged = 16 << 10

// writeBuffer answers a device about apps, mostly without a copy: fasthttp takes the body
// over, and the caller the one that it had. What the caller gets may be the body itself,
// or nil. The head has nothing that only browsers and caches of HTTP/1.0 read: who gets
// this has posted JSON.
//
// hot: called for every update check.
func writeBuffer(r *fasthttp.RequestCtx, body []byte) (old []byte) {
	writeHead(r)
	if cap(body) <= mostExchanged {
		return r.Response.SwapBody(body)
	}
	r.Response.SetBody(body)
	if len(body) <= mostExchanged { // the buffer is of a larger answer, and would keep the next ones from the exchange
		return nil
	}
	return body
}

// writeHead says that the answer is JSON, and that nobody may keep it.
func writeHead(r *fasthttp.RequestCtx) {
	h := &r.Response.Header
	h.SetContentTypeBytes(contentTypeJSON)
	h.SetCanonical(cacheControl, noStore)
}

// Headers of JSON answers, in the form in which they are sent.
var (
	contentTypeJSON             = []byte("application/json;charset=UTF-8")
	cacheControl, noStore       = []byte("Cache-Control"), []byte("no-store")
	pragma, noCache             = []byte("Pragma"), []byte("no-cache")
	contentTypeOptions, noSniff = []byte("X-Content-Type-Options"), []byte("nosniff")
)
