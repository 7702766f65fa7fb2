package admin

import (
	"context"
	"log/slog"
	"time"

	"github.com/souk-market/souk/core/market"
)

// pollingView is how often devices look for updates.
type pollingView struct {
	Hours      int        `json:"hours"`           // that hold
	Configured int        `json:"configured"`      // that hold where the operator says nothing
	Set        *time.Time `json:"set,omitempty"`   // when the operator said so; missing = nothing is said
	Until      *time.Time `json:"until,omitempty"` // when it ends by itself
}

// polling answers GET /api/polling-interval.
func (s *Server) polling(_ context.Context, r *request) error {
	p := s.market.Polling
	view := pollingView{Hours: p.Hours(), Configured: p.Configured()}
	if said := p.Said(); said != nil {
		view.Set = &said.Set
		if !said.Until.IsZero() {
			view.Until = &said.Until
		}
	}
	return r.write(200, view)
}

// putPolling answers PUT /api/polling-interval: it holds for the next device that reads
// the configuration, until a time or until it is taken back.
func (s *Server) putPolling(ctx context.Context, r *request) error {
	var body struct {
		Hours *int   `json:"hours"`
		Until string `json:"until"`
	}
	if err := r.read(&body); err != nil {
		return err
	}
	if body.Hours == nil {
		return problemf(400, "hours: is missing: say how many hours a device is to wait between two update checks")
	}
	if err := market.CheckPolling(*body.Hours); err != nil {
		return problemf(400, "hours: %v", err)
	}
	var until time.Time
	if body.Until != "" {
		var err error
		if until, err = time.Parse(time.RFC3339, body.Until); err != nil {
			return problemf(400, "until: %.40q is no time: write it like \"2026-11-28T12:00:00Z\"", body.Until)
		}
		if !until.After(s.now()) {
			return problemf(400, "until: %s is past", until.UTC().Format(time.RFC3339))
		}
	}
	before := s.market.Polling.Hours()
	err := s.market.Polling.Set(ctx, *body.Hours, until)
	s.audit(ctx, err, "polling-interval.set", slog.Int("old", before), slog.Int("new", *body.Hours), slog.String("until", body.Until))
	if err != nil {
		return err
	}
	return s.polling(ctx, r)
}

// clearPolling answers DELETE /api/polling-interval: the configuration holds again.
func (s *Server) clearPolling(ctx context.Context, r *request) error {
	before := s.market.Polling.Hours()
	err := s.market.Polling.Clear(ctx)
	s.audit(ctx, err, "polling-interval.clear", slog.Int("old", before), slog.Int("new", s.market.Polling.Configured()))
	if err != nil {
		return err
	}
	return s.polling(ctx, r)
}
