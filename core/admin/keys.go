package admin

import (
	"context"
	"errors"
	"log/slog"
	"strconv"
	"time"
)

// Keys is the key ring of the tokens, as an operator works it.
type Keys interface {
	Keys() []Key
	// Rotate makes a new key and returns its id: tokens are made under it from now on.
	Rotate(ctx context.Context) (id byte, err error)
	// Retire ends a key: its tokens are no longer good. Unless it is forced it
	// refuses a key whose tokens may still be in use.
	Retire(ctx context.Context, id byte, force bool) error
}

// Key is one key of the ring; nobody is shown its secret.
type Key struct {
	ID      byte       `json:"id"`
	Created time.Time  `json:"created"`
	Retired *time.Time `json:"retired,omitempty"`
	Current bool       `json:"current"`
}

// ErrKey is wrapped by a refusal of Keys that the operator can do something about.
var ErrKey = errors.New("key")

// listKeys answers GET /api/keys.
func (s *Server) listKeys(_ context.Context, r *request) error {
	return r.write(200, map[string]any{"keys": s.keys.Keys()})
}

// rotateKeys answers POST /api/keys.
func (s *Server) rotateKeys(ctx context.Context, r *request) error {
	id, err := s.keys.Rotate(ctx)
	if errors.Is(err, ErrKey) {
		return problemf(409, "%v", err)
	}
	s.audit(ctx, err, "key.rotate", slog.Int("key", int(id)))
	if err != nil {
		return err
	}
	return r.write(201, map[string]any{"keys": s.keys.Keys()})
}

// retireKey answers POST /api/keys/{key}/retire.
func (s *Server) retireKey(ctx context.Context, r *request) error {
	id, err := strconv.ParseUint(r.parts["key"], 10, 8)
	if err != nil {
		return problemf(404, "key: %.20q is no key: keys are numbers from 1 to 255", r.parts["key"])
	}
	var body struct {
		Force bool `json:"force"`
	}
	if err := r.read(&body); err != nil {
		return err
	}
	err = s.keys.Retire(ctx, byte(id), body.Force)
	if errors.Is(err, ErrKey) {
		return problemf(409, "%v", err)
	}
	s.audit(ctx, err, "key.retire", slog.Uint64("key", id), slog.Bool("force", body.Force))
	if err != nil {
		return err
	}
	return r.write(200, map[string]any{"keys": s.keys.Keys()})
}
