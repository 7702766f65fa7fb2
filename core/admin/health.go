package admin

import (
	"context"
	"errors"
	"fmt"

	"github.com/souk-market/souk/core/store"
)

// healthz answers GET /healthz: the process lives.
func (s *Server) healthz(_ context.Context, r *request) error {
	return r.write(200, map[string]string{"status": "ok"})
}

// readyz answers GET /readyz: requests can be answered.
func (s *Server) readyz(ctx context.Context, r *request) error {
	stats, _ := s.store.Stats()
	if err := s.check(ctx, &stats); err != nil {
		return problemf(503, "not ready: %v", err).because(err)
	}
	ready := map[string]string{"status": "ready"}
	if stats.Full {
		// Update checks go on, and writes will by themselves: no reason to turn
		// devices away.
		ready["writes"] = sentenceFull
	}
	if load := s.load(); load != "" {
		// It does what it can. Without it the others would have to do that too.
		ready["load"] = load
	}
	return r.write(200, ready)
}

// load says what is turned away, empty for nothing.
func (s *Server) load() string {
	if s.pressure == nil {
		return ""
	}
	switch pressure := s.pressure(); {
	case pressure > 2:
		return "there is too much to do: update checks are turned away, and some of everything else"
	case pressure > 1:
		return "there is too much to do: update checks are turned away, as many as it takes"
	case pressure > 0:
		return "there is much to do: some update checks do without what would have to be signed for them"
	}
	return ""
}

// check says what keeps the server from answering.
func (s *Server) check(ctx context.Context, stats *store.Stats) error {
	// Any record does: what counts is that the store answers.
	if _, err := s.store.Account(ctx, store.SubjectID("readyz")); err != nil && !errors.Is(err, store.ErrNotFound) {
		return fmt.Errorf("the store does not answer: %w", err)
	}
	if stats.Stopped {
		return errors.New(sentenceStopped)
	}
	if stats.Damage != nil { // "not found" may be wrong from now on
		return fmt.Errorf("%s: %w", sentenceDamaged, stats.Damage)
	}
	if s.changes != nil && s.changes.Stats().Stopped { // nobody can be signed in or out
		return errors.New(sentenceStopped)
	}
	if err := s.catalog.Err(); err != nil {
		return fmt.Errorf("the catalogue can't be followed: %w", err)
	}
	if s.ready != nil {
		return s.ready(ctx)
	}
	return nil
}
