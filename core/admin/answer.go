package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/valyala/fasthttp"

	"github.com/souk-market/souk/core/catalog"
	"github.com/souk-market/souk/core/oauth"
	"github.com/souk-market/souk/core/store"
	"github.com/souk-market/souk/core/store/backup"
)

// problem is an answer other than the one that was asked for.
type problem struct {
	status    int
	sentence  string
	problems  []string // all that is wrong with an app, each with its path
	challenge string   // WWW-Authenticate
	allow     string   // Allow
	cause     error
}

func problemf(status int, format string, args ...any) *problem {
	return &problem{status: status, sentence: fmt.Sprintf(format, args...)}
}

func (p *problem) because(err error) *problem {
	p.cause = err
	return p
}

// Error implements error; its text is for the log.
func (p *problem) Error() string {
	if p.cause != nil {
		return p.sentence + ": " + p.cause.Error()
	}
	return p.sentence
}

func (p *problem) Unwrap() error { return p.cause }

func (p *problem) write(r *fasthttp.RequestCtx) {
	h := &r.Response.Header
	if p.challenge != "" {
		h.Set("WWW-Authenticate", p.challenge)
	}
	if p.allow != "" {
		h.Set("Allow", p.allow)
	}
	if p.status == 503 {
		h.Set("Retry-After", "5")
	}
	body, err := json.Marshal(struct {
		Error    string   `json:"error"`
		Problems []string `json:"problems,omitempty"`
	}{p.sentence, p.problems})
	if err != nil {
		body = []byte("{}")
	}
	writeBody(r, p.status, body)
}

// writeBody answers with JSON that nobody may keep.
func writeBody(r *fasthttp.RequestCtx, status int, body []byte) {
	h := &r.Response.Header
	h.SetContentType("application/json; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	r.Response.SetStatusCode(status)
	r.Response.SetBody(body)
}

// answer turns a handler's error into an answer. The operator reads a sentence;
// the log gets the cause.
func (s *Server) answer(r *fasthttp.RequestCtx, rt *route, err error) {
	p := explain(err)
	level := s.log.Debug
	if p.status >= 500 {
		level = s.log.Error
	}
	level("admin request refused", "method", rt.method, "path", rt.path, "status", p.status, "error", p)
	p.write(r)
}

// Why nothing can be written.
const (
	sentenceFull    = "the disk is nearly full and writes have stopped: make room, or lower store.min_free"
	sentenceDamaged = "a file of the store was damaged while the server ran"
	sentenceStopped = "writes have stopped after a failed commit: look into the log and restart the server"
)

// explain makes an answer of whatever the floors below return.
func explain(err error) *problem {
	if p, ok := errors.AsType[*problem](err); ok {
		return p
	}
	if invalid, ok := errors.AsType[catalog.Invalid](err); ok {
		return explainInvalid(invalid)
	}
	if refused, ok := errors.AsType[*oauth.Error](err); ok {
		return problemf(refused.Status(), "%s", refused.Description).because(err)
	}
	for _, known := range [...]struct {
		err      error
		status   int
		sentence string
	}{
		{catalog.ErrNotFound, 404, "the catalogue has no such app"},
		{catalog.ErrNoVersion, 404, "the app has no such version"},
		{backup.ErrNoBase, 409, "no backup can build on that one any more, or it is of another store: make a full one"},
		{oauth.ErrNoClient, 404, "client: there is no such client"},
		{oauth.ErrClientTaken, 409, "id: there is such a client already: change it, or choose another id"},
		{oauth.ErrClientConfigured, 409, "client: it stands in config.toml, which wins: change it there and restart the server, or choose another id"},
		{store.ErrClients, 409, "there are as many client ids as there may be, removed ones among them: register one of those anew"},
		{store.ErrLimit, 400, "the record would be larger than the store takes"},
		{store.ErrQuota, 507, "the plugin's data has reached plugins.kv_bytes or plugins.kv_keys: raise them"},
		{store.ErrFull, 507, sentenceFull},
		{store.ErrStopped, 503, sentenceStopped},
		{store.ErrUnknown, 503, "it is not known whether the change was made: repeat the request, which does no harm"},
		{store.ErrClosed, 503, "the server is stopping"},
		{context.DeadlineExceeded, 503, "the server took too long: repeat the request"},
		{context.Canceled, 503, "the server is stopping"},
	} {
		if errors.Is(err, known.err) {
			return problemf(known.status, "%s", known.sentence).because(err)
		}
	}
	return problemf(500, "the server made a mistake: its log has the cause").because(err)
}

func explainInvalid(invalid catalog.Invalid) *problem {
	p := &problem{status: 400}
	for _, one := range invalid {
		p.problems = append(p.problems, one.String())
	}
	switch n := len(invalid); n {
	case 0:
		p.sentence = "the app is not valid"
	case 1:
		p.sentence = p.problems[0]
	default:
		p.sentence = fmt.Sprintf("%s (and %d more)", p.problems[0], n-1)
	}
	return p
}
