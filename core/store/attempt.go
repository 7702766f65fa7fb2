package store

import (
	"context"
	"errors"
	"time"
)

// Attempts is until when the failed attempts at an account count: each moved that
// moment on, from now or from where it was. The zero time is none. id is a hash of
// what was typed, of an account or of none.
func (s *Store) Attempts(ctx context.Context, id [16]byte) (until time.Time, err error) {
	it, err := s.engine.Get(ctx, attemptKey(id))
	switch {
	case errors.Is(err, ErrNotFound):
		return time.Time{}, nil
	case err != nil:
		return time.Time{}, err
	}
	return decodeAttempts(it.Value)
}

// AddAttempt counts one failed attempt, which is worth so much time. The record
// expires when none counts any more. Repeated after ErrUnknown it may count twice:
// in doubt there is one attempt less.
func (s *Store) AddAttempt(ctx context.Context, id [16]byte, worth time.Duration) (until time.Time, err error) {
	it, err := s.engine.Update(ctx, attemptKey(id), func(cur *Item) (*Write, error) {
		from := s.now()
		if cur != nil {
			before, err := decodeAttempts(cur.Value)
			if err != nil {
				return nil, err
			}
			if before.After(from) {
				from = before
			}
		}
		until := Millis(from.Add(worth))
		return &Write{Value: encodeAttempts(until), Expires: until}, nil
	})
	if err != nil {
		return time.Time{}, err
	}
	return decodeAttempts(it.Value)
}

// ForgetAttempts lets an account begin anew. Where nothing counts nothing is written,
// and a delete that came undone would only make somebody wait.
func (s *Store) ForgetAttempts(ctx context.Context, id [16]byte) error {
	_, err := s.engine.Update(ctx, attemptKey(id), func(cur *Item) (*Write, error) {
		if cur == nil {
			return nil, nil
		}
		return &Write{Delete: true}, nil
	})
	return err
}

func encodeAttempts(until time.Time) []byte { return appendTime([]byte{1}, until) }

func decodeAttempts(b []byte) (time.Time, error) {
	r := readRecord(tableAttempts, b, 1)
	until := r.time()
	return until, r.end()
}
