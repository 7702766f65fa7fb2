package catalog

import (
	"iter"
	"slices"
	"unsafe"

	"github.com/souk-market/souk/core/prefetch"
)

// Snapshot is the whole catalogue at one moment. It never changes.
//
// The items lie in 256 indexes, of which the next snapshot shares all that hold no changed
// item. With 100 000 items a change thus copies one index of about 400 and not all of
// them.
type Snapshot struct {
	indexes     [256]index
	order       []uint64 // all ids, ascending; shared until an item comes or goes
	generation  uint64
	fingerprint uint64
	replaced    chan struct{}
}

func newSnapshot() *Snapshot {
	s := &Snapshot{replaced: make(chan struct{})}
	for i := range s.indexes {
		s.indexes[i] = newIndex(nil)
	}
	return s
}

// Item returns the entry of an item, nil if the catalogue has none. A removed (taken
// down) item has one.
//
// hot: called for every app of every request; no allocation.
func (s *Snapshot) Item(id uint64) *Entry { return s.slot(id).entry }

// Outdated returns the entry of an item as Item does, and whether there can be something
// newer than the installed version, or something else to say: false means an app that
// is up to date, for which the entry isn't even looked into.
//
// hot: called for every app of every update check; no allocation.
func (s *Snapshot) Outdated(id, installed uint64) (e *Entry, maybe bool) {
	sl := s.slot(id)
	return sl.entry, installed < sl.latest || sl.latest == removed
}

// Prefetch has the place of an item come into the processor's cache while the caller goes on.
//
// hot: called for every app of every update check; no allocation.
func (s *Snapshot) Prefetch(id uint64) {
	h := hash(id)
	t := &s.indexes[h>>56]
	prefetch.Line(unsafe.Pointer(&t.slots[t.place(h)]))
}

func (s *Snapshot) slot(id uint64) *slot {
	h := hash(id)
	return s.indexes[h>>56].slot(id, h)
}

// Len returns how many items there are.
func (s *Snapshot) Len() int { return len(s.order) }

// All returns the items in the order of their ids.
func (s *Snapshot) All() iter.Seq[*Entry] { return s.After(0) }

// After returns the items whose id is higher than id, in the order of their ids: the next
// page of a listing.
func (s *Snapshot) After(id uint64) iter.Seq[*Entry] {
	return func(yield func(*Entry) bool) {
		i, found := slices.BinarySearch(s.order, id)
		if found {
			i++
		}
		for _, id := range s.order[i:] {
			if !yield(s.Item(id)) {
				return
			}
		}
	}
}

// Generation counts the snapshots of this process.
func (s *Snapshot) Generation() uint64 { return s.generation }

// Fingerprint is equal on all nodes that hold the same catalogue.
func (s *Snapshot) Fingerprint() uint64 { return s.fingerprint }

// Replaced is closed as soon as there is a newer snapshot.
func (s *Snapshot) Replaced() <-chan struct{} { return s.replaced }

// with returns the next snapshot; a nil entry takes the item out.
func (s *Snapshot) with(changes map[uint64]*Entry) *Snapshot {
	next := &Snapshot{
		indexes: s.indexes, order: s.order, generation: s.generation + 1,
		fingerprint: s.fingerprint, replaced: make(chan struct{}),
	}
	var fresh [len(s.indexes)][]*Entry // to come into each index
	var changed [len(s.indexes)]bool
	var come []uint64
	gone := 0
	for id, e := range changes {
		i := hash(id) >> 56
		changed[i] = true
		old := s.Item(id)
		if old != nil {
			next.fingerprint -= old.fingerprint()
		}
		if e != nil {
			next.fingerprint += e.fingerprint()
			fresh[i] = append(fresh[i], e)
		}
		switch {
		case old == nil && e != nil:
			come = append(come, id)
		case old != nil && e == nil:
			gone++
		}
	}
	for i := range changed {
		if !changed[i] {
			continue
		}
		for e := range s.indexes[i].all() {
			if _, ok := changes[e.ID]; !ok {
				fresh[i] = append(fresh[i], e)
			}
		}
		next.indexes[i] = newIndex(fresh[i])
	}
	if len(come) > 0 || gone > 0 {
		next.order = slices.Grow(slices.Clone(s.order), len(come))
		if gone > 0 {
			next.order = slices.DeleteFunc(next.order, func(id uint64) bool { return next.Item(id) == nil })
		}
		next.order = append(next.order, come...)
		slices.Sort(next.order)
	}
	return next
}

// Changed returns the items that an older snapshot has not, or has otherwise; not those
// that only it has.
func (s *Snapshot) Changed(old *Snapshot) iter.Seq[*Entry] {
	return func(yield func(*Entry) bool) {
		for i := range s.indexes {
			if s.indexes[i].same(&old.indexes[i]) {
				continue
			}
			for e := range s.indexes[i].all() {
				if old.Item(e.ID) != e && !yield(e) {
					return
				}
			}
		}
	}
}
