package badger

import (
	"context"
	"fmt"
	"time"

	"github.com/souk-market/souk/core/store"
)

// What one commit may hold. Badger takes 15 % of a memtable, 9.6 MiB; the largest
// Apply has 8 MiB and then goes alone.
const (
	maxBatchOps   = 2048
	maxBatchBytes = 4 << 20
)

// job is one caller's wish. run is called by the committer and puts its writes
// into the batch; the caller reads the results once done is closed.
type job struct {
	ops   int // writes at most
	bytes int // written at most
	run   func(b *batch) (store.Item, error)

	item store.Item
	err  error
	done chan struct{}
}

// Update implements store.Engine.
func (e *Engine) Update(ctx context.Context, k store.Key, f store.UpdateFunc) (store.Item, error) {
	if err := store.CheckKey(k); err != nil {
		return store.Item{}, err
	}
	enc := encodeKey(k)
	return e.send(ctx, &job{
		ops:   1,
		bytes: store.MaxKey + store.MaxValue,
		run:   func(b *batch) (store.Item, error) { return b.update(k, enc, f) },
	})
}

// Apply implements store.Engine.
func (e *Engine) Apply(ctx context.Context, ops ...store.Op) error {
	if err := store.CheckOps(ops); err != nil {
		return err
	}
	if len(ops) == 0 {
		return nil
	}
	steps := make([]step, len(ops))
	size := 0
	for i, op := range ops {
		steps[i] = newStep(op)
		size += len(steps[i].enc) + len(steps[i].value)
	}
	_, err := e.send(ctx, &job{
		ops:   len(ops),
		bytes: size,
		run:   func(b *batch) (store.Item, error) { return store.Item{}, b.apply(steps) },
	})
	return err
}

// send queues the job and waits for its answer. Until it is queued the end of ctx
// means that nothing was written; from then on only the committer knows.
func (e *Engine) send(ctx context.Context, j *job) (store.Item, error) {
	j.done = make(chan struct{})
	if err := e.enqueue(ctx, j); err != nil {
		return store.Item{}, err
	}
	select {
	case <-j.done:
		return j.item, j.err
	case <-ctx.Done():
	}
	select {
	case <-j.done: // both: the answer is worth more
		return j.item, j.err
	default:
		return store.Item{}, fmt.Errorf("%w: %w", store.ErrUnknown, context.Cause(ctx))
	}
}

func (e *Engine) enqueue(ctx context.Context, j *job) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	e.sending.RLock()
	defer e.sending.RUnlock()
	if e.closed.Load() {
		return store.ErrClosed
	}
	select {
	case e.queue <- j:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// committer is the one goroutine that writes. It ends when the queue is closed
// and empty.
func (e *Engine) committer() {
	defer close(e.done)
	b := newBatch(e)
	var discarded time.Time
	var held *job // did not fit into the last batch
	for {
		j := held
		if held = nil; j == nil {
			var open bool
			if j, open = <-e.queue; !open {
				return
			}
		}
		held = e.fill(b, j)
		e.finish(b)
		if now := time.Now(); now.Sub(discarded) >= time.Second {
			discarded = now
			if ts, ok := e.snapshots.advance(e.read.Load()); ok {
				e.db.SetDiscardTs(ts)
			}
		}
	}
}

// fill runs the first job and whatever else is queued, up to the limits of a
// batch. It returns the job that no longer fitted.
func (e *Engine) fill(b *batch, first *job) (held *job) {
	b.begin()
	for j := first; ; {
		if !b.fits(j) {
			return j
		}
		b.add(j)
		select {
		case next, open := <-e.queue:
			if !open {
				return nil
			}
			j = next
		default:
			return nil
		}
	}
}

// finish commits the batch, makes it visible, tells the watchers and answers. All
// answers wait for the commit, also those that wrote nothing: what they saw may
// have been a write of this batch.
func (e *Engine) finish(b *batch) {
	defer b.end()
	err := b.commit()
	if err == nil {
		e.watchers.hint(b.tables)
	} else {
		e.stopped = fmt.Errorf("%w: %w", store.ErrStopped, err)
		e.counts.stopped.Store(true)
		e.log.Error("store: commit failed, writes stop until a restart", "error", err)
	}
	e.counts.ops.Add(uint64(len(b.jobs)))
	for _, j := range b.jobs {
		if err != nil {
			j.item, j.err = store.Item{}, fmt.Errorf("%w: %w", store.ErrUnknown, err)
		}
		close(j.done)
	}
}
