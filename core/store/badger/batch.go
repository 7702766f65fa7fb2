package badger

import (
	"bytes"
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
	records map[store.Key]*record
	touched []*record // all of them
	dirty   []*record // to be written
	named   []*record // by the Apply at hand
	spare   []*record // of batches before, to be used again
	lost    [][]byte  // keys for the history
	marks   bool      // the history gets a mark
	tables  tableSet  // written to
	seq     uint16    // writes so far
	ops     int
	bytes   int
	jobs    []*job
}

// record is a record inside a batch: what the next job sees, and what the commit
// is to write.
type record struct {
	enc     []byte // key
	place   uint16
	known   bool       // item is what there is
	item    store.Item // Version 0 = absent or expired; its value is handed out after the commit only
	dirty   bool
	stored  []byte // with dirty: the stored form, nil = delete
	expires time.Time
	entry   bdb.Entry // room for what Badger is handed
}

func newBatch(e *Engine) *batch {
	return &batch{e: e, records: make(map[store.Key]*record)}
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
	for _, r := range b.touched {
		*r = record{}
	}
	b.spare = append(b.spare, b.touched...)
	clear(b.records)
	clear(b.touched)
	clear(b.dirty)
	clear(b.named)
	clear(b.jobs)
	*b = batch{
		e: b.e, records: b.records, touched: b.touched[:0], dirty: b.dirty[:0], named: b.named[:0], spare: b.spare,
		jobs: b.jobs[:0],
	}
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
	switch {
	case j.mark != nil:
		return store.Item{}, b.mark(*j.mark)
	case j.f != nil:
		return b.update(&j.steps[0], j.f)
	}
	return store.Item{}, b.apply(j.steps)
}

// record returns the record as the batch has it so far. What is there is read
// unless the step is blind to it.
func (b *batch) record(s *step) (*record, error) {
	r, ok := b.records[s.op.Key]
	if !ok {
		r = b.unused()
		r.enc, r.place = s.enc, s.place
		b.records[s.op.Key] = r
		b.touched = append(b.touched, r)
	}
	if r.known || s.blind() {
		return r, nil
	}
	it := s.seen.item
	if !b.e.recent.holds(s.place, &s.seen) {
		var err error
		if it, err = find(b.txn, s.op.Key, s.enc); err != nil {
			return nil, err
		}
	}
	if !store.Expired(it.Expires, b.now) {
		r.item = it
	}
	r.known = true
	return r, nil
}

func (b *batch) unused() *record {
	last := len(b.spare) - 1
	if last < 0 {
		return new(record)
	}
	r := b.spare[last]
	b.spare = b.spare[:last]
	return r
}

func (b *batch) update(s *step, f store.UpdateFunc) (store.Item, error) {
	k := s.op.Key
	r, err := b.record(s)
	if err != nil {
		return store.Item{}, err
	}
	w, err := b.e.call(f, r.copy())
	if err != nil {
		return store.Item{}, err
	}
	if w == nil {
		it := r.item
		it.Key, it.Value = k, bytes.Clone(it.Value) // others may get it too
		return it, nil
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
	return b.put(r, k, encodeValue(w.Value, expires)), nil
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
	place uint16
	seen  look
	value []byte // stored form, nil if the op puts nothing
}

func (e *Engine) newStep(op store.Op) step {
	s := step{op: op, enc: encodeKey(op.Key)}
	s.place = e.recent.place(s.enc)
	if !op.Delete && op.Value != nil {
		s.value = encodeValue(op.Value, store.Millis(op.Expires))
	}
	s.op.Value = nil // the caller may use it again
	return s
}

// blind says that what becomes of the record doesn't hang on what it is. A put that
// expires may end before what it replaces would have: that one wants to be known.
func (s *step) blind() bool { return !s.op.Guard && s.value != nil && s.op.Expires.IsZero() }

func (b *batch) apply(steps []step) error {
	records := b.named[:0]
	writes := false
	for i := range steps {
		s := &steps[i]
		r, err := b.record(s)
		if err != nil {
			return err
		}
		if s.op.Guard && r.item.Version != s.op.If {
			return store.ErrConflict
		}
		writes = writes || s.op.Delete || s.value != nil
		records = append(records, r)
	}
	b.named = records
	if writes && b.refuse != nil {
		return b.refuse
	}
	for i := range steps {
		switch s := &steps[i]; {
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
	r.item, r.stored, r.expires = it, stored, it.Expires
	if store.Expired(it.Expires, b.now) {
		r.item = store.Item{}
	}
	b.wrote(r, k.Table, len(r.enc)+len(stored))
	return it
}

// delete of what is absent writes nothing.
func (b *batch) delete(r *record) {
	if r.item.Version == 0 {
		return
	}
	b.lose(r, math.MinInt64)
	b.wrote(r, r.item.Key.Table, len(r.enc))
	r.item, r.stored = store.Item{}, nil
}

func (b *batch) wrote(r *record, table byte, n int) {
	if !r.dirty {
		b.dirty = append(b.dirty, r)
	}
	r.known, r.dirty = true, true
	b.tables.add(table)
	b.bytes += n
}

// commit writes what is dirty and moves the readers on. What goes wrong is the end of
// all writes, and so is a panic of Badger's over a damaged block of the history.
//
// The timestamps of the commits in one log have no gaps, on which later relies: so a
// batch that writes nothing takes none.
func (b *batch) commit() (err error) {
	if len(b.dirty) == 0 && !b.marks {
		return nil
	}
	e := b.e
	defer func() {
		if p := recover(); p != nil {
			e.log.Error("store: a commit panicked", "panic", p, "stack", string(debug.Stack()))
			err = fmt.Errorf("%w: a commit panicked: %v", store.ErrDamaged, p)
		}
	}()
	txn := e.db.NewTransactionAt(b.ts-1, true)
	defer txn.Discard()
	for _, r := range b.dirty {
		if err := r.write(txn, e.wall); err != nil {
			return fmt.Errorf("add to the commit: %w", err)
		}
		e.recent.write(r.place, b.ts)
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
	r.entry = bdb.Entry{Key: r.enc, Value: r.stored}
	if wall && !r.expires.IsZero() {
		r.entry.ExpiresAt = uint64(max(r.expires.Add(expirySlop).Unix(), 1))
	}
	return txn.SetEntry(&r.entry)
}

// copy is what an UpdateFunc may see, and change as it likes.
func (r *record) copy() *store.Item {
	if r.item.Version == 0 {
		return nil
	}
	it := r.item
	it.Value = bytes.Clone(it.Value)
	return &it
}
