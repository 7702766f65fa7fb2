package plugin

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"
)

// maxView is what a question that leaves no trace may write, in bytes.
const maxView = 8 << 20

// view is a KV that is written on top of another: reads see what is below and
// the own writes, and the own writes go nowhere. It is for one goroutine.
type view struct {
	KV
	own  map[string][]byte // nil = removed
	size int
}

func newView(below KV) *view { return &view{KV: below} }

// Get implements KV.
func (v *view) Get(ctx context.Context, key []byte) ([]byte, error) {
	val, ok := v.own[string(key)]
	switch {
	case !ok:
		return v.KV.Get(ctx, key)
	case val == nil:
		return nil, ErrKVNotFound
	}
	return bytes.Clone(val), nil
}

func (v *view) set(key, val []byte) error {
	if v.size += len(key) + len(val); v.size > maxView {
		return fmt.Errorf("%w: %d bytes were written in one question", ErrKVQuota, v.size)
	}
	if v.own == nil {
		v.own = map[string][]byte{}
	}
	v.own[string(key)] = val
	return nil
}

// Put implements KV. A value doesn't outlive the question, so its ttl says nothing.
func (v *view) Put(_ context.Context, key, val []byte, _ time.Duration) error {
	return v.set(key, append([]byte{}, val...))
}

// Delete implements KV.
func (v *view) Delete(_ context.Context, key []byte) error { return v.set(key, nil) }

// Swap implements KV.
func (v *view) Swap(ctx context.Context, key, old, val []byte) error {
	have, err := v.Get(ctx, key)
	switch {
	case errors.Is(err, ErrKVNotFound):
		have = nil
	case err != nil:
		return err
	case len(old) == 0: // there must be none
		return ErrKVConflict
	}
	if !bytes.Equal(have, old) {
		return ErrKVConflict
	}
	return v.set(key, append([]byte{}, val...))
}

// Add implements KV.
func (v *view) Add(ctx context.Context, key []byte, delta int64) (int64, error) {
	have, err := v.Get(ctx, key)
	var before int64
	switch {
	case errors.Is(err, ErrKVNotFound):
	case err != nil:
		return 0, err
	case len(have) != 8:
		return 0, fmt.Errorf("%w: the value has %d bytes", ErrKVRefused, len(have))
	default:
		before = int64(binary.LittleEndian.Uint64(have))
	}
	sum := before + delta
	if delta > 0 && sum < before || delta < 0 && sum > before {
		return 0, fmt.Errorf("%w: %d and %d are more than 64 bits", ErrKVRefused, before, delta)
	}
	return sum, v.set(key, binary.LittleEndian.AppendUint64(nil, uint64(sum)))
}
