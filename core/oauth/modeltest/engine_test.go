package modeltest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/souk-market/souk/core/store"
)

// fate is what becomes of a call to the engine.
type fate byte

const (
	fateRun     fate = iota
	fateNothing      // nobody learns that nothing happened
	fateLost         // it happens and nobody learns of it
	fateLate         // nobody learns of it, and it happens later
	fateFull         // it is refused
	fateDead         // the process dies before
	fateDying        // the process dies after
)

// errDied is what calls get whose process has died; nobody is answered with it.
var errDied = errors.New("modeltest: the process has died")

// gate decides on the calls to the engine.
type gate interface {
	// pass returns once the call may go on, with its fate.
	pass(ctx context.Context, write bool) fate
	// passed is called once it has happened, before its caller goes on.
	passed(ctx context.Context)
	// later keeps a write for later; soon does those of a key that were kept.
	later(ctx context.Context, key store.Key, do func())
	soon(key store.Key)
}

// port is the engine as one life of a process sees it. Histories share an engine, each
// with parts of its own.
type port struct {
	inner store.Engine
	space string
	gate  gate
	plant *plant
	dead  atomic.Bool
}

func (p *port) in(k store.Key) store.Key {
	k.Part = p.space + k.Part
	return k
}

func (p *port) out(it store.Item) store.Item {
	it.Key.Part = strings.TrimPrefix(it.Key.Part, p.space)
	return it
}

func lost(ctx context.Context) error {
	return fmt.Errorf("%w: %w", store.ErrUnknown, context.DeadlineExceeded)
}

// call does what the gate says with a call.
func (p *port) call(ctx context.Context, write bool, do func() error) error {
	fate := fateDead
	if !p.dead.Load() {
		fate = p.gate.pass(ctx, write)
	}
	switch fate {
	case fateDead:
		return errDied
	case fateNothing:
		if !write {
			return context.DeadlineExceeded
		}
		return lost(ctx)
	case fateFull:
		return store.ErrFull
	}
	err := do()
	switch {
	case fate == fateDying || p.dead.Load():
		return errDied
	case fate == fateLost && write:
		return lost(ctx)
	}
	p.gate.passed(ctx)
	if p.dead.Load() {
		return errDied
	}
	return err
}

func (p *port) Get(ctx context.Context, k store.Key) (it store.Item, err error) {
	err = p.call(ctx, false, func() error {
		it, err = p.inner.Get(ctx, p.in(k))
		return err
	})
	return p.out(it), err
}

func (p *port) Update(ctx context.Context, k store.Key, f store.UpdateFunc) (it store.Item, err error) {
	key := p.in(k)
	inside := func(cur *store.Item) (*store.Write, error) {
		if cur != nil {
			at := p.out(*cur)
			cur = &at
		}
		return p.plant.update(p, k, cur, f)
	}
	if p.dead.Load() {
		return store.Item{}, errDied
	}
	switch fate := p.gate.pass(ctx, true); fate {
	case fateDead:
		return store.Item{}, errDied
	case fateNothing:
		return store.Item{}, lost(ctx)
	case fateFull:
		return store.Item{}, store.ErrFull
	case fateLate:
		p.gate.later(ctx, key, func() { _, _ = p.inner.Update(context.WithoutCancel(ctx), key, inside) })
		return store.Item{}, lost(ctx)
	default:
		p.gate.soon(key)
		it, err = p.inner.Update(ctx, key, inside)
		it, err = p.plant.updated(p.out(it), err)
		switch {
		case fate == fateDying || p.dead.Load():
			return store.Item{}, errDied
		case fate == fateLost:
			return store.Item{}, lost(ctx)
		}
	}
	p.gate.passed(ctx)
	if p.dead.Load() {
		return store.Item{}, errDied
	}
	return it, err
}

func (p *port) Apply(ctx context.Context, ops ...store.Op) error {
	in := make([]store.Op, len(ops))
	for i, op := range ops {
		op.Key = p.in(op.Key)
		in[i] = op
	}
	return p.call(ctx, true, func() error {
		for _, op := range in {
			p.gate.soon(op.Key)
		}
		return p.inner.Apply(ctx, in...)
	})
}

func (p *port) Scan(ctx context.Context, table byte, part, after string, limit int) (items []store.Item, err error) {
	err = p.call(ctx, false, func() error {
		items, err = p.inner.Scan(ctx, table, p.space+part, after, limit)
		return err
	})
	for i := range items {
		items[i] = p.out(items[i])
	}
	return items, err
}

// The rest is not asked for by a store of one node.
func (p *port) Watch(context.Context, byte) (<-chan struct{}, error) {
	return nil, errors.ErrUnsupported
}
func (p *port) Dump(context.Context, func(store.Item) error) error { return errors.ErrUnsupported }
func (p *port) Load(context.Context, func() (store.Item, error)) error {
	return errors.ErrUnsupported
}
func (p *port) Mark(context.Context, [16]byte) error { return errors.ErrUnsupported }
func (p *port) DumpSince(context.Context, [16]byte, func(store.Item, bool) error) error {
	return errors.ErrUnsupported
}
func (p *port) Close() error { return nil }

// chance draws fates.
type chance struct {
	rng    *rand.Rand
	faults float64
}

// draw returns the fate of a call. A write happens late only if its caller may be
// gone: the engine finishes all others before it answers.
func (c *chance) draw(ctx context.Context, write bool) fate {
	if c.faults == 0 || c.rng.Float64() >= c.faults {
		return fateRun
	}
	if !write {
		return fateNothing
	}
	switch c.rng.IntN(7) {
	case 0, 1:
		return fateNothing
	case 2, 3:
		return fateLost
	case 4:
		return fateFull
	}
	if ctx.Done() == nil {
		return fateLost
	}
	return fateLate
}

// inTurn is the gate of histories that are their seed: one caller moves at a time, from
// one call to the engine to the next, and which is drawn.
type inTurn struct {
	chance chance
	parked chan *parked // from callers
	queue  bool         // nothing overtakes a write that is kept, as in the embedded engine
	kept   []kept
	tick   func() int64
}

// parked is a caller before or after a call to the engine, or at its end.
type parked struct {
	op    *op
	write bool
	ctx   context.Context
	after bool
	ended bool
	go_   chan fate
}

// kept is a write that happens later.
type kept struct {
	key store.Key
	op  *op
	do  func()
}

type opKey struct{}

func opOf(ctx context.Context) *op {
	o, _ := ctx.Value(opKey{}).(*op)
	return o
}

func (g *inTurn) pass(ctx context.Context, write bool) fate {
	o := opOf(ctx)
	if o == nil { // the process starts
		return fateRun
	}
	p := &parked{op: o, write: write, ctx: ctx, go_: make(chan fate)}
	g.parked <- p
	return <-p.go_
}

func (g *inTurn) passed(ctx context.Context) {
	if o := opOf(ctx); o != nil {
		p := &parked{op: o, ctx: ctx, after: true, go_: make(chan fate)}
		g.parked <- p
		<-p.go_
	}
}

func (g *inTurn) later(ctx context.Context, key store.Key, do func()) {
	g.kept = append(g.kept, kept{key, opOf(ctx), do})
}

// soon does what was kept of a key, if nothing may overtake it.
func (g *inTurn) soon(key store.Key) {
	if g.queue {
		g.release(key)
	}
}

func (g *inTurn) release(key store.Key) {
	left := g.kept[:0]
	for _, k := range g.kept {
		if k.key != key {
			left = append(left, k)
			continue
		}
		g.land(k)
	}
	g.kept = left
}

func (g *inTurn) land(k kept) {
	k.do()
	k.op.landed(g.tick())
}

// atOnce is the gate of histories that run freely.
type atOnce struct {
	mu      sync.Mutex
	chance  chance
	patient bool // nobody gives up any more
}

// draws returns a number below n, or never 0 once all are patient.
func (g *atOnce) draws(n int) int {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.patient {
		return n
	}
	return g.chance.rng.IntN(n)
}

func (g *atOnce) pass(ctx context.Context, write bool) fate {
	if opOf(ctx) == nil {
		return fateRun
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	fate := g.chance.draw(ctx, write)
	if fate == fateLate {
		fate = fateLost
	}
	return fate
}
func (g *atOnce) passed(context.Context)                   {}
func (g *atOnce) later(context.Context, store.Key, func()) {}
func (g *atOnce) soon(store.Key)                           {}

// random is the server's source of random numbers: from the seed.
type random struct {
	mu  sync.Mutex
	rng *rand.ChaCha8
}

func (r *random) Read(b []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.rng.Read(b)
}

var _ io.Reader = (*random)(nil)
