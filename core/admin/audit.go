package admin

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strconv"
	"time"

	"github.com/souk-market/souk/core/store"
	"github.com/souk-market/souk/core/store/audit"
)

// LevelAudit is the level of the lines that say who changed what: above all
// others, so that no choice of a level to log loses them.
const LevelAudit = slog.Level(12)

// The log has a line for each change after it was made. What counts is the store's
// audit log: that is written, and on the disk, before.

// audit leaves a line that says what was changed: what it was and what it is.
// Nothing secret may be among the attributes. A write whose outcome is not known
// gets its line too, for it may have happened.
func (s *Server) audit(ctx context.Context, err error, action string, attrs ...slog.Attr) {
	if err != nil && !errors.Is(err, store.ErrUnknown) {
		return
	}
	line := []slog.Attr{
		slog.String("actor", "admin"), slog.String("action", action), slog.String("at", s.now().UTC().Format(time.RFC3339Nano)),
	}
	line = append(line, attrs...)
	if err != nil {
		line = append(line, slog.String("outcome", "unknown"))
	}
	s.log.LogAttrs(ctx, LevelAudit, "audit", line...)
}

// auditPage is a page of the audit log, newest first. Next is the before of the
// following one.
type auditPage struct {
	Entries []audit.Entry `json:"entries"`
	Next    string        `json:"next,omitempty"`
	Damage  []string      `json:"damage,omitempty"` // places that can't be read, among those that were looked at
}

// listAudit answers GET /api/audit: who changed what, newest first.
func (s *Server) listAudit(ctx context.Context, r *request) error {
	if s.changes == nil {
		return problemf(404, "this server keeps no audit log")
	}
	q, err := r.auditQuery()
	if err != nil {
		return err
	}
	limit := q.Limit
	q.Limit++ // one more tells whether there are more
	found, damage, err := audit.Search(ctx, s.changes.Dir(), q)
	if err != nil {
		return err
	}
	page := auditPage{Entries: []audit.Entry{}}
	if len(found) > limit {
		found = found[:limit]
		page.Next = strconv.FormatUint(found[limit-1].Seq, 10)
	}
	page.Entries = append(page.Entries, found...)
	for _, d := range damage {
		page.Damage = append(page.Damage, d.Error())
	}
	return r.write(200, page)
}

// auditQuery reads what of the audit log is wanted.
func (r *request) auditQuery() (q audit.Query, err error) {
	given, err := r.query("account", "family", "kind", "since", "before", "limit")
	if err != nil {
		return q, err
	}
	if q.Limit, err = pageLimit(given["limit"]); err != nil {
		return q, err
	}
	if name, ok := given["account"]; ok {
		if err := checkAccount(name); err != nil {
			return q, err
		}
		q.Account, q.Subject = name, store.SubjectID(name)
	}
	if text, ok := given["family"]; ok {
		if err := q.Family.UnmarshalText([]byte(text)); err != nil || q.Family == (audit.ID{}) {
			return q, problemf(400, "family: %.40q is no sign-in: it has 32 hexadecimal digits", text)
		}
	}
	if text, ok := given["kind"]; ok {
		if q.Kind = audit.Kind(text); !slices.Contains(audit.Kinds, q.Kind) {
			return q, problemf(400, "kind: there is no %.40q: there are %v", text, audit.Kinds)
		}
	}
	if text, ok := given["since"]; ok {
		if q.Since, err = time.Parse(time.RFC3339, text); err != nil {
			return q, problemf(400, "since: %.40q is no time: write it like \"2026-11-28T12:00:00Z\"", text)
		}
	}
	if text, ok := given["before"]; ok {
		if q.Before, err = strconv.ParseUint(text, 10, 64); err != nil || q.Before == 0 {
			return q, problemf(400, "before: %.40q is no entry: entries are numbers from 1", text)
		}
	}
	return q, nil
}
