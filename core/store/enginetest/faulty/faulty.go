// Package faulty is an engine that fails when a test wants it to: it stands before
// another one and plays what a disk, a lost connection or a rival can do to a write.
// What stands above a store has to be right whatever happens here.
//
// A fault meets a write and never a read, nor an Update that leaves its record as it
// is; so a script says what becomes of the next writes and need not know how often
// somebody looks. What the caller is told and what is kept are two things: that is
// the whole point.
package faulty

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"

	"github.com/souk-market/souk/core/store"
)

// Fault is what becomes of one write.
type Fault int

// The faults. Those that stop are a sync that fails: all later writes are
// store.ErrStopped, and reads go on with what was there before.
const (
	None     Fault = iota
	Conflict       // an Apply is store.ErrConflict; the function of an Update runs twice
	Full           // store.ErrFull
	Lost           // store.ErrUnknown, and it did not happen
	Kept           // store.ErrUnknown, and it did
	StopLost       // store.ErrUnknown, and it did not happen
	StopKept       // store.ErrUnknown, and it is there after a restart
)

var names = [...]string{"none", "conflict", "full", "lost", "kept", "stop, lost", "stop, kept"}

// String is the fault's name.
func (f Fault) String() string { return names[f] }

// ErrDisk is the cause of what a Fault breaks.
var ErrDisk = errors.New("faulty: input/output error")

// Write is a write that is about to happen.
type Write struct {
	N     int // how many came before it
	Apply bool
	Table byte // 0 = a Mark
}

// Engine is a store.Engine with faults. Make it with New.
type Engine struct {
	store.Engine

	mu      sync.Mutex
	script  func(Write) Fault
	writes  int
	met     map[Fault]int
	full    bool
	stopped error
	pending func() error  // what a restart will find
	gate    chan struct{} // open = nil
	hints   chan struct{} // the same
}

// New makes an engine without faults before another one, which Close closes.
func New(e store.Engine) *Engine {
	return &Engine{Engine: e, met: make(map[Fault]int)}
}

// Script has f decide what becomes of each write; nil = all go well. One write is
// asked about at a time, in the order in which they come.
func (e *Engine) Script(f func(Write) Fault) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.script, e.writes = f, 0
}

// Next gives the faults to the next writes to a table, one each.
func (e *Engine) Next(table byte, faults ...Fault) {
	e.Script(func(w Write) Fault {
		if w.Table != table || len(faults) == 0 {
			return None
		}
		f := faults[0]
		faults = faults[1:]
		return f
	})
}

// Random is a script that gives one of the faults to a share of all writes, in
// percent. The same seed gives the same faults to the same order of writes.
func Random(seed uint64, percent int, faults ...Fault) func(Write) Fault {
	r := rand.New(rand.NewPCG(seed, 0))
	return func(Write) Fault {
		if r.IntN(100) >= percent {
			return None
		}
		return faults[r.IntN(len(faults))]
	}
}

// Met is how many writes met a fault so far.
func (e *Engine) Met(f Fault) int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.met[f]
}

// SetFull fills the disk, or makes room on it.
func (e *Engine) SetFull(full bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.full = full
}

// Hold is a sync that takes its time: from now on all writes are accepted and wait
// until release. Whose context ends before gets store.ErrUnknown, and the write
// happens all the same.
func (e *Engine) Hold() (release func()) { return e.shut(&e.gate) }

// HoldHints keeps hints back until release. The first of a Watch is there at once.
func (e *Engine) HoldHints() (release func()) { return e.shut(&e.hints) }

func (e *Engine) shut(gate *chan struct{}) (open func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	held := make(chan struct{})
	*gate = held
	return sync.OnceFunc(func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		if *gate == held {
			*gate = nil
		}
		close(held)
	})
}

// fault takes the fault of one write.
func (e *Engine) fault(apply bool, table byte) (Fault, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case e.stopped != nil:
		return None, e.stopped
	case e.full:
		return e.meet(Full)
	case e.script == nil:
		return None, nil
	}
	w := Write{N: e.writes, Apply: apply, Table: table}
	e.writes++
	return e.meet(e.script(w))
}

// meet counts a fault; e.mu is held.
func (e *Engine) meet(f Fault) (Fault, error) {
	e.met[f]++
	switch f {
	case Full:
		return f, fmt.Errorf("%w: 0 MiB free", store.ErrFull)
	case Lost:
		return f, unknown()
	case StopLost, StopKept:
		e.stopped = fmt.Errorf("%w: %w", store.ErrStopped, ErrDisk)
		return f, unknown()
	}
	return f, nil
}

func unknown() error { return fmt.Errorf("%w: %w", store.ErrUnknown, ErrDisk) }

// later keeps a write for the restart.
func (e *Engine) later(write func() error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.pending = write
}

// Update implements store.Engine.
func (e *Engine) Update(ctx context.Context, k store.Key, f store.UpdateFunc) (store.Item, error) {
	return e.wait(ctx, func(ctx context.Context) (store.Item, error) { return e.update(ctx, k, f) })
}

func (e *Engine) update(ctx context.Context, k store.Key, f store.UpdateFunc) (store.Item, error) {
	var mu sync.Mutex // the function may run when Update has returned
	var met Fault
	var asked bool
	var refused error
	it, err := e.Engine.Update(ctx, k, func(cur *store.Item) (*store.Write, error) {
		w, err := f(cur)
		if err != nil || w == nil {
			return w, err
		}
		mu.Lock()
		defer mu.Unlock()
		if !asked {
			met, refused = e.fault(false, k.Table)
			asked = true
		}
		if refused != nil {
			return nil, refused
		}
		if met == Conflict { // somebody was quicker, with the same value
			return f(cur)
		}
		return w, nil
	})
	mu.Lock()
	defer mu.Unlock()
	switch {
	case met == Kept && err == nil:
		return store.Item{}, unknown()
	case met == StopKept:
		e.later(func() error { _, err := e.Engine.Update(context.Background(), k, f); return err })
	}
	return it, err
}

// Apply implements store.Engine.
func (e *Engine) Apply(ctx context.Context, ops ...store.Op) error {
	_, err := e.wait(ctx, func(ctx context.Context) (store.Item, error) { return store.Item{}, e.apply(ctx, ops) })
	return err
}

func (e *Engine) apply(ctx context.Context, ops []store.Op) error {
	guards := make([]store.Op, 0, len(ops))
	for _, op := range ops {
		if op.Guard {
			guards = append(guards, store.Op{Key: op.Key, Guard: true, If: op.If})
		}
	}
	writes := false
	for _, op := range ops {
		writes = writes || op.Delete || op.Value != nil
	}
	if err := store.CheckOps(ops); err != nil || !writes {
		return errors.Join(err, e.Engine.Apply(ctx, guards...))
	}
	if err := e.Engine.Apply(ctx, guards...); err != nil {
		return err // a guard that does not hold comes before all that can fail
	}
	switch met, err := e.fault(true, ops[0].Key.Table); {
	case met == StopKept:
		e.later(func() error { return e.Engine.Apply(context.Background(), ops...) })
		return err
	case err != nil:
		return err
	case met == Conflict:
		return store.ErrConflict
	case met == Kept:
		if err := e.Engine.Apply(ctx, ops...); err != nil {
			return err
		}
		return unknown()
	}
	return e.Engine.Apply(ctx, ops...)
}

// Mark implements store.Engine. It is a write too, of the table 0.
func (e *Engine) Mark(ctx context.Context, name [16]byte) error {
	_, err := e.wait(ctx, func(ctx context.Context) (store.Item, error) { return store.Item{}, e.mark(ctx, name) })
	return err
}

func (e *Engine) mark(ctx context.Context, name [16]byte) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	switch met, err := e.fault(false, 0); {
	case met == StopKept:
		e.later(func() error { return e.Engine.Mark(context.Background(), name) })
		return err
	case err != nil:
		return err
	case met == Kept:
		if err := e.Engine.Mark(ctx, name); err != nil {
			return err
		}
		return unknown()
	}
	return e.Engine.Mark(ctx, name)
}

// wait lets a write pass the gate.
func (e *Engine) wait(ctx context.Context, write func(context.Context) (store.Item, error)) (store.Item, error) {
	e.mu.Lock()
	gate := e.gate
	e.mu.Unlock()
	if gate == nil || ctx.Err() != nil {
		return write(ctx)
	}
	type result struct {
		item store.Item
		err  error
	}
	done := make(chan result, 1)
	go func() {
		<-gate
		it, err := write(context.WithoutCancel(ctx))
		done <- result{it, err}
	}()
	select {
	case r := <-done:
		return r.item, r.err
	case <-ctx.Done():
		return store.Item{}, fmt.Errorf("%w: %w", store.ErrUnknown, context.Cause(ctx))
	}
}

// Watch implements store.Engine.
func (e *Engine) Watch(ctx context.Context, table byte) (<-chan struct{}, error) {
	inner, err := e.Engine.Watch(ctx, table)
	if err != nil {
		return nil, err
	}
	out := make(chan struct{}, 1)
	out <- <-inner // the first, at once
	go func() {
		defer close(out)
		for range inner {
			e.mu.Lock()
			gate := e.hints
			e.mu.Unlock()
			if gate != nil {
				select {
				case <-gate:
				case <-ctx.Done():
					return
				}
			}
			select {
			case out <- struct{}{}:
			default: // the last one was not taken yet
			}
		}
	}()
	return out, nil
}

// Restart is what another start of the program finds: writes go on, and the one
// that was kept is there. The script is over.
func (e *Engine) Restart() error {
	e.mu.Lock()
	pending := e.pending
	e.pending, e.stopped, e.script = nil, nil, nil
	e.mu.Unlock()
	if pending == nil {
		return nil
	}
	return pending()
}

// Close closes the engine behind, after a Restart: who opens the same files again
// finds what it would.
func (e *Engine) Close() error { return errors.Join(e.Restart(), e.Engine.Close()) }

// Stats are those of the engine behind, if it has any, and what was done to it.
func (e *Engine) Stats() store.Stats {
	var s store.Stats
	if counted, ok := e.Engine.(interface{ Stats() store.Stats }); ok {
		s = counted.Stats()
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	s.Full = s.Full || e.full
	s.Stopped = s.Stopped || e.stopped != nil
	return s
}
