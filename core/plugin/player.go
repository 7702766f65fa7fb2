package plugin

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/souk-market/souk/sdk/abi"
)

// errUnknown is the answer where a recording has none.
var errUnknown = errors.New("the recording has no such answer")

// player is a KV that answers as a tape did. To the same calls in the same order
// it gives the same answers, and to a read again and again the last one. An answer
// is good between the same writes of its key alone: a read before a write says
// nothing of one after it. What the tape has no answer to fails, and is noted:
// nobody knows what the store would have said.
type player struct {
	answers []HostAnswer
	used    []bool
	unknown bool
}

func newPlayer(answers []HostAnswer) *player {
	return &player{answers: answers, used: make([]bool, len(answers))}
}

func (p *player) find(q HostAnswer) (*HostAnswer, error) {
	done := 0
	for i := range p.answers {
		if p.used[i] && p.answers[i].writes(q.Key) {
			done++
		}
	}
	last, written := -1, 0
	for i := range p.answers {
		a := &p.answers[i]
		if a.asks(&q) && (written == done || q.Op == OpMetric) {
			if last = i; !p.used[i] {
				break
			}
		}
		if a.writes(q.Key) {
			written++
		}
	}
	if last < 0 || p.used[last] && q.Op != OpGet {
		p.unknown = true
		return nil, fmt.Errorf("%w to %s %q", errUnknown, q.Op, q.Key)
	}
	p.used[last] = true
	return &p.answers[last], tapeError(p.answers[last].Code)
}

func tapeError(c abi.Code) error {
	switch c {
	case 0:
		return nil
	case abi.CodeNotFound:
		return ErrKVNotFound
	case abi.CodeConflict:
		return ErrKVConflict
	case abi.CodeRefused:
		return ErrKVRefused
	}
	return fmt.Errorf("kv: the recording has code %d", c)
}

// Get implements KV.
func (p *player) Get(_ context.Context, key []byte) ([]byte, error) {
	a, err := p.find(HostAnswer{Op: OpGet, Key: key})
	if err != nil {
		return nil, err
	}
	return bytes.Clone(a.Value), nil
}

// Put implements KV.
func (p *player) Put(_ context.Context, key, val []byte, ttl time.Duration) error {
	_, err := p.find(HostAnswer{Op: OpPut, Key: key, Value: val, TTL: int64(ttl / time.Second)})
	return err
}

// Delete implements KV.
func (p *player) Delete(_ context.Context, key []byte) error {
	_, err := p.find(HostAnswer{Op: OpDelete, Key: key})
	return err
}

// Swap implements KV.
func (p *player) Swap(_ context.Context, key, old, val []byte) error {
	_, err := p.find(HostAnswer{Op: OpSwap, Key: key, Old: old, Value: val})
	return err
}

// Add implements KV.
func (p *player) Add(_ context.Context, key []byte, delta int64) (int64, error) {
	a, err := p.find(HostAnswer{Op: OpAdd, Key: key, Delta: delta})
	if err != nil {
		return 0, err
	}
	return a.Sum, nil
}

// metric answers metric_add.
func (p *player) metric(name string, value int64) abi.Code {
	a, err := p.find(HostAnswer{Op: OpMetric, Key: []byte(name), Delta: value})
	if err != nil {
		return abi.CodeRefused
	}
	return a.Code
}

// Replay asks a plugin a question that was recorded. What the host answered then
// it answers again, nothing else and to nobody else; the Verdict is Unknown where
// that doesn't tell what the plugin would have said. The error says that the
// plugin isn't asked this hook, or that there is none.
func (h *Host) Replay(ctx context.Context, name string, q *Inquiry, answers []HostAnswer) (Verdict, error) {
	c := h.Acquire()
	defer c.Release()
	at := slices.IndexFunc(c.set.all, func(g *generation) bool { return g.name == name })
	if at < 0 {
		return Verdict{}, fmt.Errorf("%w: %q", ErrNoPlugin, name)
	}
	g := c.set.all[at]
	if !slices.Contains(g.hooks, q.Hook) {
		return Verdict{}, fmt.Errorf("%w: %s", ErrNotAsked, q.Hook)
	}
	p := newPlayer(answers)
	a := &aside{metric: p.metric, keep: true}
	if g.kv != nil {
		a.kv = p
	}
	v := g.askDry(ctx, q, a)
	v.Unknown = p.unknown
	return v, nil
}

// ErrNotAsked says that a plugin doesn't answer a hook.
var ErrNotAsked = errors.New("plugin: is not asked this hook")
