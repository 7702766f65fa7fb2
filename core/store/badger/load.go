package badger

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/souk-market/souk/core/store"
)

// A chunk of a Load is one commit.
const (
	loadOps   = maxBatchOps / 2
	loadBytes = maxBatchBytes / 2
)

// Load implements store.Engine.
func (e *Engine) Load(ctx context.Context, next func() (store.Item, error)) error {
	if err := e.empty(ctx); err != nil {
		return err
	}
	for {
		chunk, size, err := e.chunk(next)
		if err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("store: load: %w", err)
		}
		last := err != nil
		if len(chunk) > 0 {
			_, err = e.send(ctx, &job{steps: chunk, ops: len(chunk), bytes: size, done: make(chan struct{}, 1)})
			if err != nil {
				return fmt.Errorf("store: load: %w", err)
			}
		}
		if last {
			return nil
		}
	}
}

// empty refuses to load into what holds records already.
func (e *Engine) empty(ctx context.Context) error {
	err := e.Dump(ctx, func(store.Item) error { return errEnough })
	if errors.Is(err, errEnough) {
		return errors.New("store: load: the engine is not empty")
	}
	return err
}

// chunk takes the next items; with io.EOF they are the last.
func (e *Engine) chunk(next func() (store.Item, error)) (steps []step, size int, err error) {
	now := e.now()
	for len(steps) < loadOps && size < loadBytes {
		it, err := next()
		if err != nil {
			return steps, size, err
		}
		if err := errors.Join(store.CheckKey(it.Key), store.CheckWrite(it.Key, it.Value)); err != nil {
			return nil, 0, err
		}
		if store.Expired(it.Expires, now) {
			continue
		}
		s := e.newStep(store.Op{Key: it.Key, Value: append([]byte{}, it.Value...), Expires: it.Expires})
		steps = append(steps, s)
		size += len(s.enc) + len(s.value)
	}
	return steps, size, nil
}
