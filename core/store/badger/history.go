package badger

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"

	bdb "github.com/dgraph-io/badger/v4"

	"github.com/souk-market/souk/core/store"
)

// history is what the engine remembers of its own past, so that DumpSince can tell
// what has changed. Records that were written carry their timestamp. What is gone
// does not: compaction drops a delete with what it deleted, and an expired record
// with what it had replaced. So each commit also lists the keys that may go missing
// that way: those that it deletes, and those that it rewrites to expire earlier than
// before. The list is numbered and bounded, and the timestamp from which on it is
// whole is kept with it. In Badger, before all tables:
//
//	"\x00history"          form 1 | whole from 8 | first number 8 | marks: name 16, timestamp 8
//	"\x00lost" | number 8  timestamp 8 | key
//
// It belongs to the committer; others read what is stored.
type history struct {
	from        uint64 // the list has all keys that were lost at later timestamps
	first, next uint64 // numbers: of the oldest entry, and of the next one
	marks       []mark // in the order of their timestamps
	dirty       bool   // differs from what is stored
	most        uint64 // entries of the list
}

// mark is a moment with a name: who began to read after it has seen all that was
// committed up to its timestamp.
type mark struct {
	name [16]byte
	ts   uint64
}

const (
	historyForm = 1
	mostMarks   = 256     // a backup makes one
	mostLost    = 1 << 20 // some 60 MB
)

var (
	historyKey = []byte("\x00history")
	lostPrefix = []byte("\x00lost")
)

func lostKey(number uint64) []byte {
	return binary.BigEndian.AppendUint64(bytes.Clone(lostPrefix), number)
}

// openHistory reads the history; a directory that has none yet begins one at the
// timestamp.
func openHistory(txn *bdb.Txn, begin uint64) (history, error) {
	h, err := readHistory(txn)
	if err != nil {
		return h, err
	}
	h.most = mostLost
	if h.from == 0 {
		h.from, h.dirty = begin, true
	}
	h.next = h.first
	last := newest(txn)
	defer last.Close()
	if last.Valid() {
		h.next = binary.BigEndian.Uint64(last.Item().Key()[len(lostPrefix):]) + 1
	}
	return h, nil
}

// newest iterates over the list, the newest entry first.
func newest(txn *bdb.Txn) *bdb.Iterator {
	o := bdb.DefaultIteratorOptions
	o.PrefetchValues = false
	o.Prefix = lostPrefix
	o.Reverse = true
	it := txn.NewIterator(o)
	it.Seek(lostKey(math.MaxUint64))
	return it
}

// readHistory reads what is stored; it is zero where nothing is.
func readHistory(txn *bdb.Txn) (h history, err error) {
	item, err := txn.Get(historyKey)
	if errors.Is(err, bdb.ErrKeyNotFound) {
		return h, nil
	}
	var b []byte
	if err == nil {
		b, err = item.ValueCopy(nil)
	}
	if err == nil && (len(b) < 17 || b[0] != historyForm || (len(b)-17)%24 != 0) {
		err = errCorrupt
	}
	if err != nil {
		return h, fmt.Errorf("store: read the history: %w", err)
	}
	h.from, h.first = binary.BigEndian.Uint64(b[1:]), binary.BigEndian.Uint64(b[9:])
	for b = b[17:]; len(b) > 0; b = b[24:] {
		h.marks = append(h.marks, mark{[16]byte(b[:16]), binary.BigEndian.Uint64(b[16:])})
	}
	return h, nil
}

func (h *history) encode() []byte {
	b := []byte{historyForm}
	b = binary.BigEndian.AppendUint64(b, h.from)
	b = binary.BigEndian.AppendUint64(b, h.first)
	for _, m := range h.marks {
		b = append(b, m.name[:]...)
		b = binary.BigEndian.AppendUint64(b, m.ts)
	}
	return b
}

// mark names the moment of a commit, and says whether that is to be stored. A name that
// is known keeps its moment: it is the same Mark once more, and what it promised holds
// from there on. If it does not hold any more, the name begins anew.
func (h *history) mark(name [16]byte, ts uint64) bool {
	if _, known := h.marked(name); known {
		return false
	}
	h.marks = slices.DeleteFunc(h.marks, func(m mark) bool { return m.name == name })
	h.marks = append(h.marks, mark{name, ts})
	if len(h.marks) > mostMarks {
		h.marks = h.marks[len(h.marks)-mostMarks:]
	}
	h.dirty = true
	return true
}

// marked is the moment of a name, if the list is whole since then.
func (h *history) marked(name [16]byte) (ts uint64, ok bool) {
	for _, m := range h.marks {
		if m.name == name {
			return m.ts, m.ts >= h.from
		}
	}
	return 0, false
}

// write adds to a commit what it loses. old reads what was committed before.
func (h *history) write(txn, old *bdb.Txn, ts uint64, lost [][]byte) error {
	for _, key := range lost {
		if err := txn.Set(lostKey(h.next), append(binary.BigEndian.AppendUint64(nil, ts), key...)); err != nil {
			return err
		}
		h.next++
	}
	// Two for one, so that a list which is too long gets shorter.
	for n := 0; n < 2*len(lost) && h.next-h.first > h.most; n++ {
		if err := h.forget(txn, old); err != nil {
			return err
		}
	}
	if !h.dirty {
		return nil
	}
	h.dirty = false
	return txn.Set(historyKey, h.encode())
}

// forget takes the oldest entry off the list.
func (h *history) forget(txn, old *bdb.Txn) error {
	key := lostKey(h.first)
	ts, _, err := lostEntry(old.Get(key))
	if err != nil {
		return err
	}
	h.from, h.dirty = ts, true
	h.first++
	return txn.Delete(key)
}

func lostEntry(item *bdb.Item, err error) (ts uint64, key []byte, _ error) {
	var b []byte
	if err == nil {
		b, err = item.ValueCopy(nil)
	}
	if err == nil && len(b) < 8 {
		err = errCorrupt
	}
	if err != nil {
		return 0, nil, fmt.Errorf("store: read the history: %w", err)
	}
	return binary.BigEndian.Uint64(b), b[8:], nil
}

// lose notes that the record, as it stands, is about to be deleted or to get another
// expiry. Only what could outlive its successor matters. What is not known was not read
// because nothing is lost: see step.blind.
func (b *batch) lose(r *record, expires int64) {
	before := int64(math.MaxInt64)
	switch {
	case r.known && r.item.Version == 0:
		return
	case r.known && !r.item.Expires.IsZero():
		before = r.item.Expires.UnixMilli()
	}
	if expires < before {
		b.lost = append(b.lost, r.enc)
	}
}

// Mark implements store.Engine.
func (e *Engine) Mark(ctx context.Context, name [16]byte) error {
	j := jobs.Get().(*job)
	j.mark, j.ops, j.bytes = &name, 1, 64
	_, err := e.send(ctx, j)
	return err
}

func (b *batch) mark(name [16]byte) error {
	if b.refuse != nil {
		return b.refuse
	}
	if b.e.history.mark(name, b.ts) {
		b.marks = true
	}
	return nil
}

// DumpSince implements store.Engine. All it hands out was there, or was gone, at one
// moment.
func (e *Engine) DumpSince(ctx context.Context, name [16]byte, emit func(it store.Item, gone bool) error) error {
	v, err := e.snapshot(ctx)
	if err != nil {
		return err
	}
	defer v.leave()
	h, err := readHistory(v.txn)
	if err != nil {
		return err
	}
	since, ok := h.marked(name)
	if !ok {
		return store.ErrNoMark
	}
	if err := e.walkAt(ctx, v.txn, nil, firstTable, since, func(it store.Item) error { return emit(it, false) }); err != nil {
		return err
	}
	return e.walkLost(ctx, v.txn, since, func(k store.Key) error { return emit(store.Item{Key: k}, true) })
}

// walkLost hands out the keys that were lost since and are still gone.
func (e *Engine) walkLost(ctx context.Context, txn *bdb.Txn, since uint64, emit func(store.Key) error) error {
	now := e.now()
	list := newest(txn)
	defer list.Close()
	for ; list.Valid(); list.Next() {
		if err := ctx.Err(); err != nil {
			return err
		}
		ts, enc, err := lostEntry(list.Item(), nil)
		if err != nil {
			return err
		}
		if ts <= since {
			return nil
		}
		k, err := decodeKey(enc)
		if err != nil {
			return fmt.Errorf("store: read the history: %w", err)
		}
		switch _, err := lookup(txn, k, enc, now); {
		case errors.Is(err, store.ErrNotFound):
			if err := emit(k); err != nil {
				return err
			}
		case err != nil:
			return err
		}
	}
	return nil
}
