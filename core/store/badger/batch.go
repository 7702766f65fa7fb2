package badger

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"runtime/debug"
	"time"

	bdb "github.com/dgraph-io/badger/v4"

	"github.com/souk-market/souk/core/store"
)

// batch is one commit in the making: the records that its jobs have touched, as
// the next job of the batch sees them.
type batch struct {
	e       *Engine
	ts      uint64 // of the commit
	now     time.Time
	refuse  error    // why no write is taken, if so
	txn     *bdb.Txn // reads what was committed before
	records map[string]*record
	tables  tableSet // written to
	seq     uint16   // writes so far
	lost    [][]byte // keys for the history
	marks   bool     // the history gets a mark
	ops     int
	bytes   int
	jobs    []*job
}

// record is a record inside a batch: what the next job sees, and what the commit
// is to write.
type record struct {
	enc     []byte      // key
	item    *store.Item // nil = absent or expired; its value is never handed out itself
	dirty   bool
	stored  []byte // with dirty: the stored form, nil = delete
	expires time.Time
}

func newBatch(e *Engine) *batch {
	return &batch{e: e, records: make(map[string]*record)}
}

func (b *batch) begin() {
	read := b.e.read.Load()
	b.ts = read + 1
	b.now = b.e.now()
	b.txn = b.e.db.NewTransactionAt(read, false)
	b.refuse = b.e.refusal()
}

func (b *batch) end() {
	b.txn.Discard()
	clear(b.records)
	clear(b.jobs)
	*b = batch{e: b.e, records: b.records, jobs: b.jobs[:0]}
}

// refusal says why writes are not taken at present.
func (e *Engine) refusal() error {
	if e.stopped != nil {
		return e.stopped
	}
	if e.space == nil {
		return nil
	}
	return e.space.check(time.Now(), e.counts.bytes.Load())
}

func (b *batch) fits(j *job) bool {
	if len(b.jobs) == 0 {
		return true
	}
	return b.ops+j.ops <= maxBatchOps && b.bytes+j.bytes <= maxBatchBytes
}

func (b *batch) add(j *job) {
	j.item, j.err = b.run(j)
	b.ops += j.ops
	b.jobs = append(b.jobs, j)
}

// run does the job up to its commit. Badger panics over a block that is damaged, and
// the committer must outlive that too. A job that panicked has put nothing: all reads
// come before the first write.
func (b *batch) run(j *job) (it store.Item, err error) {
	defer func() {
		if p := recover(); p != nil {
			b.e.log.Error("store: reading panicked", "panic", p, "stack", string(debug.Stack()))
			it, err = store.Item{}, fmt.Errorf("%w: reading panicked: %v", store.ErrDamaged, p)
		}
	}()
	return j.run(b)
}

// record returns the record as the batch has it so far.
func (b *batch) record(k store.Key, enc []byte) (*record, error) {
	if r, ok := b.records[string(enc)]; ok {
		return r, nil
	}
	r := &record{enc: enc}
	switch it, err := lookup(b.txn, k, enc, b.now); {
	case err == nil:
		r.item = &it
	case !errors.Is(err, store.ErrNotFound):
		return nil, err
	}
	b.records[string(enc)] = r
	return r, nil
}

func (b *batch) update(k store.Key, enc []byte, f store.UpdateFunc) (store.Item, error) {
	r, err := b.record(k, enc)
	if err != nil {
		return store.Item{}, err
	}
	w, err := b.e.call(f, r.copy())
	if err != nil {
		return store.Item{}, err
	}
	if w == nil {
		if it := r.copy(); it != nil {
			return *it, nil
		}
		return store.Item{Key: k}, nil
	}
	if b.refuse != nil {
		return store.Item{}, b.refuse
	}
	if w.Delete {
		b.delete(r)
		return store.Item{Key: k}, nil
	}
	if err := store.CheckWrite(k, w.Value); err != nil {
		return store.Item{}, err
	}
	expires := store.Millis(w.Expires)
	it := b.put(r, k, encodeValue(w.Value, expires))
	it.Value = bytes.Clone(it.Value)
	return it, nil
}

// call runs f; the committer must outlive a panic in it.
func (e *Engine) call(f store.UpdateFunc, cur *store.Item) (w *store.Write, err error) {
	defer func() {
		if p := recover(); p != nil {
			e.log.Error("store: update function panicked", "panic", p, "stack", string(debug.Stack()))
			w, err = nil, fmt.Errorf("store: update function panicked: %v", p)
		}
	}()
	return f(cur)
}

// step is an op made ready by its caller: the committer's time is everyone's.
type step struct {
	op    store.Op
	enc   []byte
	value []byte // stored form, nil if the op puts nothing
}

func newStep(op store.Op) step {
	s := step{op: op, enc: encodeKey(op.Key)}
	if !op.Delete && op.Value != nil {
		s.value = encodeValue(op.Value, store.Millis(op.Expires))
	}
	s.op.Value = nil // the caller may use it again
	return s
}

func (b *batch) apply(steps []step) error {
	records := make([]*record, len(steps))
	writes := false
	for i, s := range steps {
		r, err := b.record(s.op.Key, s.enc)
		if err != nil {
			return err
		}
		if s.op.Guard && r.version() != s.op.If {
			return store.ErrConflict
		}
		writes = writes || s.op.Delete || s.value != nil
		records[i] = r
	}
	if writes && b.refuse != nil {
		return b.refuse
	}
	for i, s := range steps {
		switch {
		case s.op.Delete:
			b.delete(records[i])
		case s.value != nil:
			b.put(records[i], s.op.Key, s.value)
		}
	}
	return nil
}

// put makes stored, whose seq is still to be set, the record's value.
func (b *batch) put(r *record, k store.Key, stored []byte) store.Item {
	b.seq++
	setSeq(stored, b.seq)
	it, err := toItem(k, b.ts, stored)
	if err != nil {
		panic(err) // encodeValue made it
	}
	if !it.Expires.IsZero() {
		b.lose(r, it.Expires.UnixMilli())
	}
	r.item, r.stored, r.expires, r.dirty = &it, stored, it.Expires, true
	if store.Expired(it.Expires, b.now) {
		r.item = nil
	}
	b.wrote(k.Table, len(r.enc)+len(stored))
	return it
}

// delete of what is absent writes nothing.
func (b *batch) delete(r *record) {
	if r.item == nil {
		return
	}
	b.lose(r, math.MinInt64)
	b.wrote(r.item.Key.Table, len(r.enc))
	r.item, r.stored, r.dirty = nil, nil, true
}

func (b *batch) wrote(table byte, n int) {
	b.tables.add(table)
	b.bytes += n
}

// commit writes what is dirty and moves the readers on.
func (b *batch) commit() error {
	e := b.e
	if b.tables == 0 && !b.marks {
		return nil
	}
	txn := e.db.NewTransactionAt(b.ts-1, true)
	defer txn.Discard()
	for _, r := range b.records {
		if !r.dirty {
			continue
		}
		if err := r.write(txn, e.wall); err != nil {
			return fmt.Errorf("add to the commit: %w", err)
		}
	}
	if err := e.history.write(txn, b.txn, b.ts, b.lost); err != nil {
		return fmt.Errorf("keep the history: %w", err)
	}
	until, err := e.reserve(txn, b.ts)
	if err != nil {
		return fmt.Errorf("reserve versions: %w", err)
	}
	if err := e.commit(txn, b.ts); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	e.reservedTo = until
	e.read.Store(b.ts)
	e.counts.batches.Add(1)
	e.counts.bytes.Add(uint64(b.bytes))
	return nil
}

// write adds the record to the commit. With the wall clock Badger may give back
// the room of expired records, well after they have become invisible.
func (r *record) write(txn *bdb.Txn, wall bool) error {
	if r.stored == nil {
		return txn.Delete(r.enc)
	}
	entry := bdb.NewEntry(r.enc, r.stored)
	if wall && !r.expires.IsZero() {
		entry.ExpiresAt = uint64(max(r.expires.Add(expirySlop).Unix(), 1))
	}
	return txn.SetEntry(entry)
}

func (r *record) copy() *store.Item {
	if r.item == nil {
		return nil
	}
	it := *r.item
	it.Value = bytes.Clone(it.Value)
	return &it
}

func (r *record) version() store.Version {
	if r.item == nil {
		return 0
	}
	return r.item.Version
}
