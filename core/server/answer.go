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
	r.Response.SetBody(body)
}

// mostExchanged is how large a buffer may be that goes to a connection: fasthttp keeps it
// there, and by exchanges one large answer after the other would leave its buffer with
// each connection in turn.
const mostExchanged = 16 << 10

// writeBuffer is writeBody, mostly without a copy: fasthttp takes the body over, and the
// caller the one that it had. What the caller gets may be the body itself, or nil.
//
// hot: called for every update check.
func writeBuffer(r *fasthttp.RequestCtx, body []byte) (old []byte) {
	if cap(body) <= mostExchanged {
		writeHead(r)
		return r.Response.SwapBody(body)
	}
	writeBody(r, body)
	if len(body) <= mostExchanged { // the buffer is of a larger answer, and would keep the next ones from the exchange
		return nil
	}
	return body
}

// writeHead says that the answer is JSON, and that nobody may keep it.
func writeHead(r *fasthttp.RequestCtx) {
	h := &r.Response.Header
	h.SetContentType("application/json;charset=UTF-8")
	for i := range jsonHeaders {
		h.SetCanonical(jsonHeaders[i].name, jsonHeaders[i].value)
	}
}

// jsonHeaders are those of each JSON answer, in the form in which they are sent.
var jsonHeaders = [...]struct{ name, value []byte }{
	{[]byte("Cache-Control"), []byte("no-store")},
	{[]byte("Pragma"), []byte("no-cache")},
	{[]byte("X-Content-Type-Options"), []byte("nosniff")},
}
