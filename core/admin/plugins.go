package admin

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"log/slog"
	"strings"

	"github.com/souk-market/souk/core/plugin"
	"github.com/souk-market/souk/core/store"
)

const wasmType = "application/wasm"

// Reloaded is what a reading of the configuration came to.
type Reloaded struct {
	plugin.Reloaded
	Restart []string `json:"restart"` // keys that have changed and that only a restart takes over
}

// listPlugins answers GET /api/plugins.
func (s *Server) listPlugins(_ context.Context, r *request) error {
	body := map[string]any{"plugins": s.plugins.Plugins()}
	if recording := s.plugins.Recording(); recording != nil {
		body["recording"] = recording
	}
	return r.write(200, body)
}

// module answers GET /api/plugins/{name}/module: the module that runs.
func (s *Server) module(_ context.Context, r *request) error {
	wasm, sum, err := s.plugins.Module(r.parts["name"])
	if err != nil {
		return r.pluginProblem(err)
	}
	writeBody(r.http, 200, wasm)
	r.http.Response.Header.SetContentType(wasmType)
	r.http.Response.Header.Set("ETag", etag(sum))
	return nil
}

// swapped is the answer to a change of a module.
type swapped struct {
	plugin.Swapped
	Note string `json:"note,omitempty"`
}

// fleeting is said wherever an uploaded module takes over: who put it there has
// to know how long it stays.
const fleeting = "a restart and a reload load the file that the configuration names: put the module there too if it is to stay"

// putModule answers PUT /api/plugins/{name}/module: another module in its place.
func (s *Server) putModule(ctx context.Context, r *request) error {
	expect, err := r.ifMatch()
	if err != nil {
		return err
	}
	signature, err := r.signature()
	if err != nil {
		return err
	}
	done, err := s.plugins.Swap(ctx, r.parts["name"], plugin.Module{Wasm: r.http.Request.Body(), Signature: signature, Expect: expect})
	if bad, ok := errors.AsType[*plugin.BadModule](err); ok {
		s.log.Warn("module refused", "plugin", r.parts["name"], "reason", bad.Error())
	}
	return s.swapped(ctx, r, "plugin.swap", done, err)
}

// returnPlugin answers POST /api/plugins/{name}/return: the module before the last
// swap is back.
func (s *Server) returnPlugin(ctx context.Context, r *request) error {
	expect, err := r.ifMatch()
	if err != nil {
		return err
	}
	done, err := s.plugins.Return(ctx, r.parts["name"], expect)
	return s.swapped(ctx, r, "plugin.return", done, err)
}

func (s *Server) swapped(ctx context.Context, r *request, action string, done plugin.Swapped, err error) error {
	s.audit(ctx, err, action, slog.String("plugin", done.Name), slog.String("old", done.Before),
		slog.String("new", done.After), slog.Int("generation", done.Generation), slog.String("signed_by", done.SignedBy))
	if err != nil {
		return r.pluginProblem(err)
	}
	answer := swapped{Swapped: done}
	if done.Uploaded {
		answer.Note = fleeting
	}
	r.http.Response.Header.Set("ETag", etag(done.After))
	return r.write(200, answer)
}

// reload answers POST /api/plugins/reload.
func (s *Server) reload(ctx context.Context, r *request) error {
	done, err := s.reread(ctx)
	s.audit(ctx, err, "plugin.reload", slog.Any("added", done.Added), slog.Any("changed", done.Changed), slog.Any("removed", done.Removed))
	switch {
	case err == nil:
		return r.write(200, done)
	case ctx.Err() != nil, errors.Is(err, store.ErrFull), errors.Is(err, store.ErrStopped): // of the audit log
		return err
	}
	return problemf(422, "%v", err)
}

// ifMatch is the SHA-256 that the request wants to be live; "" = whatever is.
func (r *request) ifMatch() (string, error) {
	header := string(r.http.Request.Header.Peek("If-Match"))
	if header == "" || header == "*" {
		return "", nil
	}
	sum := strings.TrimSuffix(strings.TrimPrefix(header, `"`), `"`)
	if b, err := hex.DecodeString(sum); err != nil || len(b) != 32 || etag(sum) != header {
		return "", problemf(400, "the If-Match header has to be the SHA-256 of the module that is to be replaced, in 64 hexadecimal digits and quotes")
	}
	return sum, nil
}

// signatureHeader carries the text of minisign's signature file in base64: it has
// lines, and a header has none.
const signatureHeader = "Souk-Signature"

func (r *request) signature() ([]byte, error) {
	signature, err := base64.StdEncoding.DecodeString(string(r.http.Request.Header.Peek(signatureHeader)))
	if err != nil {
		return nil, problemf(400, "the %s header has to be the .minisig file in base64", signatureHeader)
	}
	return signature, nil
}

func etag(sha256 string) string { return `"` + sha256 + `"` }

// pluginProblem is the answer to an error about the plugin that the path names.
func (r *request) pluginProblem(err error) error {
	_, bad := errors.AsType[*plugin.BadModule](err)
	switch name := r.parts["name"]; {
	case errors.Is(err, plugin.ErrNoPlugin):
		return problemf(404, "name: there is no plugin %.64q", name)
	case errors.Is(err, plugin.ErrNoPrevious):
		return problemf(409, "there is no earlier module of %s to return to", name)
	case errors.Is(err, plugin.ErrReplaced):
		return problemf(412, "%s", strings.TrimPrefix(err.Error(), "plugin: "))
	case bad:
		return problemf(422, "%v", err)
	}
	return err
}
