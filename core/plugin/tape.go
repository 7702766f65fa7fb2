package plugin

import (
	"bytes"
	"context"
	"slices"
	"time"
	"unsafe"

	"github.com/souk-market/souk/sdk/abi"
)

// HostAnswer is one answer of the host to a guest, with what the guest asked:
// of all host functions those whose answers don't follow from the question.
type HostAnswer struct {
	Op    HostOp   `json:"op"`
	Key   []byte   `json:"key"`             // of a metric its name
	Old   []byte   `json:"old,omitempty"`   // of a swap; nil = there must be none
	Value []byte   `json:"value,omitempty"` // that was read, or written
	Delta int64    `json:"delta,omitempty"` // of an add, or to a metric
	TTL   int64    `json:"ttl,omitempty"`   // of a put, in seconds
	Sum   int64    `json:"sum,omitempty"`   // of an add
	Code  abi.Code `json:"code,omitempty"`  // 0 = it was done
}

// HostOp is what a guest asked of the host.
type HostOp string

// What is kept of a guest's calls.
const (
	OpGet    HostOp = "get"
	OpPut    HostOp = "put"
	OpDelete HostOp = "delete"
	OpSwap   HostOp = "swap"
	OpAdd    HostOp = "add"
	OpMetric HostOp = "metric"
)

// asks says whether both are the same question to the host.
func (a *HostAnswer) asks(b *HostAnswer) bool {
	written := a.Op == OpGet || bytes.Equal(a.Value, b.Value)
	return a.Op == b.Op && written && bytes.Equal(a.Key, b.Key) && bytes.Equal(a.Old, b.Old) && a.Delta == b.Delta && a.TTL == b.TTL
}

// writes says whether there was something else below the key afterwards.
func (a *HostAnswer) writes(key []byte) bool {
	return a.Op != OpGet && a.Op != OpMetric && a.Code == 0 && bytes.Equal(a.Key, key)
}

// What a tape takes of one call, in bytes. Beyond it the call is not recorded.
const (
	maxTape      = 256 << 10
	sizeofAnswer = int(unsafe.Sizeof(HostAnswer{}))
)

// tape keeps what the host answers in one call.
type tape struct {
	answers []HostAnswer
	size    int
	over    bool // it was too much, or something that a recording must not have
	secrets *secrets
}

func (t *tape) add(a HostAnswer) {
	if t.over {
		return
	}
	t.size += sizeofAnswer + len(a.Key) + len(a.Old) + len(a.Value)
	hides := t.secrets != nil && slices.ContainsFunc([][]byte{a.Key, a.Old, a.Value}, func(b []byte) bool { return t.secrets.holds(string(b)) })
	if t.over = hides || t.size > maxTape; t.over {
		t.answers, t.size = nil, 0
		return
	}
	t.answers = append(t.answers, a)
}

// taping is what a question to a plugin is recorded with; nil = there is nothing
// that the host could answer to it.
func (g *generation) taping() *aside {
	if g.kv == nil && !slices.Contains(g.spec.Allow, "metric") {
		return nil
	}
	a := &aside{tape: &tape{secrets: g.secrets}}
	if g.kv != nil {
		a.kv = taped{g.kv, a.tape}
	}
	return a
}

// taped is a KV that keeps its answers.
type taped struct {
	KV
	tape *tape
}

func tapeCode(err error) abi.Code { return abi.Code(int32(uint32(kvCode(err)))) }

// Get implements KV.
func (t taped) Get(ctx context.Context, key []byte) ([]byte, error) {
	val, err := t.KV.Get(ctx, key)
	t.tape.add(HostAnswer{Op: OpGet, Key: key, Value: bytes.Clone(val), Code: tapeCode(err)})
	return val, err
}

// Put implements KV.
func (t taped) Put(ctx context.Context, key, val []byte, ttl time.Duration) error {
	err := t.KV.Put(ctx, key, val, ttl)
	t.tape.add(HostAnswer{Op: OpPut, Key: key, Value: val, TTL: int64(ttl / time.Second), Code: tapeCode(err)})
	return err
}

// Delete implements KV.
func (t taped) Delete(ctx context.Context, key []byte) error {
	err := t.KV.Delete(ctx, key)
	t.tape.add(HostAnswer{Op: OpDelete, Key: key, Code: tapeCode(err)})
	return err
}

// Swap implements KV.
func (t taped) Swap(ctx context.Context, key, old, val []byte) error {
	err := t.KV.Swap(ctx, key, old, val)
	t.tape.add(HostAnswer{Op: OpSwap, Key: key, Old: old, Value: val, Code: tapeCode(err)})
	return err
}

// Add implements KV.
func (t taped) Add(ctx context.Context, key []byte, delta int64) (int64, error) {
	sum, err := t.KV.Add(ctx, key, delta)
	t.tape.add(HostAnswer{Op: OpAdd, Key: key, Delta: delta, Sum: sum, Code: tapeCode(err)})
	return sum, err
}
