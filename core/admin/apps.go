package admin

import (
	"context"
	"encoding/json"
	"log/slog"
	"strconv"

	"github.com/souk-market/souk/core/catalog"
)

// appPage is a page of the listing. Next is the after of the following one.
type appPage struct {
	Apps []catalog.Item `json:"apps"`
	Next string         `json:"next,omitempty"`
}

// listApps answers GET /api/apps, in the order of the ids.
func (s *Server) listApps(_ context.Context, r *request) error {
	after, limit, err := r.page()
	if err != nil {
		return err
	}
	from := uint64(0)
	if after != "" {
		var ok bool
		if from, ok = catalog.ParseID(after); !ok {
			return problemf(400, "after: %q is no id: write its digits", after)
		}
	}
	page := appPage{Apps: []catalog.Item{}}
	for e := range s.catalog.Snapshot().After(from) {
		if len(page.Apps) == limit {
			page.Next = digits(page.Apps[limit-1].ID)
			break
		}
		page.Apps = append(page.Apps, e.Item())
	}
	return r.write(200, page)
}

// app answers GET /api/apps/{item}.
func (s *Server) app(_ context.Context, r *request) error {
	id, err := r.item()
	if err != nil {
		return err
	}
	e := s.catalog.Snapshot().Item(id)
	if e == nil {
		return catalog.ErrNotFound
	}
	return r.write(200, e.Item())
}

// putApp answers PUT /api/apps/{item}: the whole app, in place of what was there.
func (s *Server) putApp(ctx context.Context, r *request) error {
	id, err := r.item()
	if err != nil {
		return err
	}
	var it catalog.Item
	if err := json.Unmarshal(r.http.Request.Body(), &it); err != nil {
		return explainJSON(err)
	}
	switch it.ID {
	case 0: // the path says it
		it.ID = id
	case id:
	default: // RFC 9110 §9.3.4
		return problemf(409, "id: is %d, but the path names %d", it.ID, id)
	}
	status, old := 201, 0
	if e := s.catalog.Snapshot().Item(id); e != nil {
		status, old = 200, len(e.Versions)
	}
	stored, err := s.catalog.Put(ctx, it)
	s.audit(ctx, err, "app.put", appAttr(id), slog.Int("old_versions", old), slog.Int("new_versions", len(it.Versions)))
	if err != nil {
		return err
	}
	return r.write(status, stored)
}

// removeApp answers DELETE /api/apps/{item}.
func (s *Server) removeApp(ctx context.Context, r *request) error {
	id, err := r.item()
	if err != nil {
		return err
	}
	err = s.catalog.Remove(ctx, id)
	s.audit(ctx, err, "app.remove", appAttr(id))
	if err != nil {
		return err
	}
	return r.done()
}

// putTakedown answers PUT /api/apps/{item}/takedown.
func (s *Server) putTakedown(ctx context.Context, r *request) error {
	id, err := r.item()
	if err != nil {
		return err
	}
	var body struct {
		Reason string `json:"reason"`
	}
	if err := r.read(&body); err != nil {
		return err
	}
	if body.Reason == "" {
		return problemf(400, "reason: is missing: say why the app is taken down")
	}
	it, err := s.catalog.Takedown(ctx, id, body.Reason)
	s.audit(ctx, err, "app.takedown", appAttr(id), slog.String("new", body.Reason))
	if err != nil {
		return err
	}
	return r.write(200, it)
}

// removeTakedown answers DELETE /api/apps/{item}/takedown.
func (s *Server) removeTakedown(ctx context.Context, r *request) error {
	id, err := r.item()
	if err != nil {
		return err
	}
	reason := ""
	if e := s.catalog.Snapshot().Item(id); e != nil {
		reason = e.Reason
	}
	it, err := s.catalog.Reinstate(ctx, id)
	s.audit(ctx, err, "app.reinstate", appAttr(id), slog.String("old", reason))
	if err != nil {
		return err
	}
	return r.write(200, it)
}

func appAttr(id uint64) slog.Attr { return slog.String("app", digits(id)) }

func digits(id uint64) string { return strconv.FormatUint(id, 10) }
