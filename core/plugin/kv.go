package plugin

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"time"

	"github.com/souk-market/souk/sdk/abi"
)

// KV is a plugin's own part of the store. The slices of a call belong to the
// callee; what Get returns belongs to the caller.
type KV interface {
	Get(ctx context.Context, key []byte) ([]byte, error)
	Put(ctx context.Context, key, val []byte, ttl time.Duration) error // ttl 0 = for ever
	Delete(ctx context.Context, key []byte) error                      // no error when there is none
	Swap(ctx context.Context, key, old, val []byte) error              // old nil = there must be none
	Add(ctx context.Context, key []byte, delta int64) (int64, error)   // a counter is 8 bytes, little endian
}

// What a KV returns, wrapped or not; any other error is a failure of the store.
var (
	ErrKVNotFound = errors.New("kv: not found")
	ErrKVConflict = errors.New("kv: the value is another")
	ErrKVQuota    = errors.New("kv: the quota is used up")
	ErrKVRefused  = errors.New("kv: refused") // for example an Add to what is no counter
)

func kvCode(err error) uint64 {
	switch {
	case err == nil:
		return 0
	case errors.Is(err, ErrKVNotFound):
		return code(abi.CodeNotFound)
	case errors.Is(err, ErrKVConflict):
		return code(abi.CodeConflict)
	case errors.Is(err, ErrKVQuota), errors.Is(err, ErrKVRefused):
		return code(abi.CodeRefused)
	}
	return code(abi.CodeFailed)
}

// kvKey reads a key; it is the callee's copy, because a store may keep it.
func (in *instance) kvKey(at, n uint64) ([]byte, bool) {
	in.charge(priceKV)
	key, ok := in.bytes(at, n)
	if !ok || len(key) == 0 || len(key) > abi.MaxKVKey || in.asked.hook == 0 || in.store() == nil {
		return nil, false
	}
	return bytes.Clone(key), true
}

func (in *instance) kvValue(at, n uint64) ([]byte, bool) {
	value, ok := in.bytes(at, n)
	if !ok || len(value) > abi.MaxKVValue {
		return nil, false
	}
	in.charge(uint64(len(value)) / priceByte)
	return append([]byte{}, value...), true // never nil: nil means none
}

// kvWrites says whether this question may write: update checks and restores
// are too many, and their answers must not depend on who asked before.
func (in *instance) kvWrites() bool {
	q := in.asked
	asks := q.hook == abi.HookEntitle || q.hook == abi.HookSelectVersion
	return !asks || q.purpose != abi.PurposeUpdate && q.purpose != abi.PurposeRestore
}

// kv_get(key, klen, out, cap) -> length
func hostKVGet(in *instance, stack []uint64) {
	key, ok := in.kvKey(stack[0], stack[1])
	if !ok || !in.space(stack[2], stack[3]) {
		stack[0] = code(abi.CodeRefused)
		return
	}
	var value []byte
	err := in.outside(func(ctx context.Context) (err error) {
		value, err = in.store().Get(ctx, key)
		return err
	})
	if err != nil {
		stack[0] = kvCode(err)
		return
	}
	in.charge(uint64(len(value)) / priceByte)
	stack[0] = in.fill(stack[2], stack[3], value)
}

// kv_put(key, klen, value, vlen, ttl) -> 0
func hostKVPut(in *instance, stack []uint64) {
	key, ok1 := in.kvKey(stack[0], stack[1])
	value, ok2 := in.kvValue(stack[2], stack[3])
	if !ok1 || !ok2 || !in.kvWrites() {
		stack[0] = code(abi.CodeRefused)
		return
	}
	ttl := time.Duration(uint32(stack[4])) * time.Second
	stack[0] = kvCode(in.outside(func(ctx context.Context) error { return in.store().Put(ctx, key, value, ttl) }))
}

// kv_delete(key, klen) -> 0
func hostKVDelete(in *instance, stack []uint64) {
	key, ok := in.kvKey(stack[0], stack[1])
	if !ok || !in.kvWrites() {
		stack[0] = code(abi.CodeRefused)
		return
	}
	err := in.outside(func(ctx context.Context) error { return in.store().Delete(ctx, key) })
	if errors.Is(err, ErrKVNotFound) {
		err = nil
	}
	stack[0] = kvCode(err)
}

// kv_swap(key, klen, old, olen, value, vlen) -> 0
func hostKVSwap(in *instance, stack []uint64) {
	key, ok1 := in.kvKey(stack[0], stack[1])
	old, ok2 := in.kvValue(stack[2], stack[3])
	value, ok3 := in.kvValue(stack[4], stack[5])
	if !ok1 || !ok2 || !ok3 || !in.kvWrites() {
		stack[0] = code(abi.CodeRefused)
		return
	}
	if len(old) == 0 {
		old = nil
	}
	stack[0] = kvCode(in.outside(func(ctx context.Context) error { return in.store().Swap(ctx, key, old, value) }))
}

// kv_add(key, klen, delta, out) -> 0
func hostKVAdd(in *instance, stack []uint64) {
	key, ok := in.kvKey(stack[0], stack[1])
	if !ok || !in.space(stack[3], 8) || !in.kvWrites() {
		stack[0] = code(abi.CodeRefused)
		return
	}
	var sum int64
	err := in.outside(func(ctx context.Context) (err error) {
		sum, err = in.store().Add(ctx, key, int64(stack[2]))
		return err
	})
	if err != nil {
		stack[0] = kvCode(err)
		return
	}
	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], uint64(sum))
	in.mem.Write(uint32(stack[3]), b[:]) // space was checked, and memory doesn't shrink
	stack[0] = 0
}
