package admin

import (
	"context"
	"errors"
	"log/slog"
	"strings"

	"github.com/souk-market/souk/core/catalog"
)

// imported lists what an import did, by app.
type imported struct {
	Added   []string `json:"added"`
	Changed []string `json:"changed"`
	Kept    []string `json:"kept"`    // the file says what it said at the last import
	Missing []string `json:"missing"` // imported once and not in this file: left as they are
}

// importFile answers POST /api/import: a catalogue file, in the format that its
// Content-Type says.
func (s *Server) importFile(ctx context.Context, r *request) error {
	name := "body." + strings.TrimPrefix(mediaType(r.http), "application/")
	// Which URLs are allowed is the catalogue's to decide: it checks all again.
	items, err := catalog.Parse(name, r.http.Request.Body(), catalog.Rules{LoopbackHTTP: true})
	if err != nil {
		if invalid, ok := errors.AsType[catalog.Invalid](err); ok {
			return invalid
		}
		return problemf(400, "the body can't be read: %s", strings.TrimPrefix(err.Error(), "catalog: "))
	}
	done, err := s.catalog.Import(ctx, items)
	s.audit(ctx, err, "catalog.import",
		slog.Int("added", len(done.Added)), slog.Int("changed", len(done.Changed)), slog.Int("kept", len(done.Kept)))
	if err != nil {
		return err
	}
	return r.write(200, imported{all(done.Added), all(done.Changed), all(done.Kept), all(done.Missing)})
}

// all writes ids as the strings that they are everywhere.
func all(ids []uint64) []string {
	list := make([]string, len(ids))
	for i, id := range ids {
		list[i] = digits(id)
	}
	return list
}
