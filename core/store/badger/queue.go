package badger

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"time"

	"github.com/souk-market/souk/core/store"
)

// What one commit may hold. Badger takes 15 % of a memtable, 9.6 MiB; the largest
// Apply has 8 MiB and then goes alone.
const (
	maxBatchOps   = 2048
	maxBatchBytes = 4 << 20
)

// job is one caller's wish: an Update, which has one step and its function, the steps
// of an Apply, or a Mark. The committer puts its writes into a batch and sends to done
// once the results are there to be read.
type job struct {
	one   [1]step // room for most
	steps []step
	f     store.UpdateFunc
	mark  *[16]byte
	ops   int // writes at most
	bytes int // written at most

	item store.Item
	err  error
	done chan struct{} // has room for the one answer
}

var jobs = sync.Pool{New: func() any { return &job{done: make(chan struct{}, 1)} }}

// Update implements store.Engine.
func (e *Engine) Update(ctx context.Context, k store.Key, f store.UpdateFunc) (store.Item, error) {
	if err := store.CheckKey(k); err != nil {
		return store.Item{}, err
	}
	j := jobs.Get().(*job)
	s := &j.one[0]
	s.op.Key, s.enc = k, encodeKey(k)
	s.place = e.recent.place(s.enc)
	j.steps, j.f, j.ops, j.bytes = j.one[:], f, 1, store.MaxKey+store.MaxValue
	return e.send(ctx, j)
}

// Apply implements store.Engine.
func (e *Engine) Apply(ctx context.Context, ops ...store.Op) error {
	if err := store.CheckOps(ops); err != nil {
		return err
	}
	if len(ops) == 0 {
		return nil
	}
	j := jobs.Get().(*job)
	j.steps, j.ops = j.one[:0], len(ops)
	for _, op := range ops {
		s := e.newStep(op)
		j.steps = append(j.steps, s)
		j.bytes += len(s.enc) + len(s.value)
	}
	_, err := e.send(ctx, j)
	return err
}

// send queues the job and waits for its answer. Until it is queued the end of ctx
// means that nothing was written; from then on only the committer knows.
func (e *Engine) send(ctx context.Context, j *job) (store.Item, error) {
	for i := range j.steps {
		if s := &j.steps[i]; !s.blind() {
			s.seen = e.look(ctx, s.op.Key, s.enc)
		}
	}
	if err := e.enqueue(ctx, j); err != nil {
		return store.Item{}, err
	}
	select {
	case <-j.done:
		return j.answer()
	case <-ctx.Done():
	}
	select {
	case <-j.done: // both: the answer is worth more
		return j.answer()
	default: // the committer still has the job
		return store.Item{}, fmt.Errorf("%w: %w", store.ErrUnknown, context.Cause(ctx))
	}
}

// answer takes the results and gives the job back.
func (j *job) answer() (store.Item, error) {
	it, err := j.item, j.err
	*j = job{done: j.done}
	jobs.Put(j)
	return it, err
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
//
// The first of many who were just answered would get a commit for itself, because
// whoever sends wakes the committer at once. So a batch of one lets all others run
// that can: who writes alone loses nothing by that.
func (e *Engine) fill(b *batch, first *job) (held *job) {
	b.begin()
	yielded := false
	for j := first; ; {
		if !b.fits(j) {
			return j
		}
		b.add(j)
		if !yielded && len(b.jobs) == 1 && len(e.queue) == 0 {
			yielded = true
			runtime.Gosched()
		}
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
	began := time.Now()
	err := b.commit()
	if len(b.dirty) > 0 {
		e.counts.commit.add(uint64(time.Since(began)))
		e.counts.batch.add(uint64(len(b.jobs)))
	}
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
		j.done <- struct{}{}
	}
}
