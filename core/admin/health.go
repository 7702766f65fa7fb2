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
	if err := s.check(ctx); err != nil {
		return problemf(503, "not ready: %v", err).because(err)
	}
	ready := map[string]string{"status": "ready"}
	if stats, _ := s.store.Stats(); stats.Full {
		// Update checks go on, and writes will by themselves: no reason to turn
		// devices away.
		ready["writes"] = sentenceFull
	}
	return r.write(200, ready)
}

// check says what keeps the server from answering.
func (s *Server) check(ctx context.Context) error {
	// Any record does: what counts is that the store answers.
	if _, err := s.store.Account(ctx, store.SubjectID("readyz")); err != nil && !errors.Is(err, store.ErrNotFound) {
		return fmt.Errorf("the store does not answer: %w", err)
	}
	if stats, _ := s.store.Stats(); stats.Stopped {
		return errors.New(sentenceStopped)
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
