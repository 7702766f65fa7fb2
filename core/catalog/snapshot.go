package catalog

import (
	"iter"
	"maps"
	"slices"
)

// Snapshot is the whole catalogue at one moment. It never changes.
//
// The items lie in 256 maps, of which the next snapshot shares all that hold no changed
// item. With 100 000 items a change thus copies one map of about 400 and not all of
// them, and a look-up stays one of a map.
type Snapshot struct {
	shards      [256]map[uint64]*Entry
	order       []uint64 // all ids, ascending; shared until an item comes or goes
	generation  uint64
	fingerprint uint64
	replaced    chan struct{}
}

func newSnapshot() *Snapshot { return &Snapshot{replaced: make(chan struct{})} }

// Item returns the entry of an item, nil if the catalogue has none. A removed (taken
// down) item has one.
//
// hot: called for every app of every request; no allocation.
func (s *Snapshot) Item(id uint64) *Entry { return s.shards[shard(id)][id] }

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
		shards: s.shards, order: s.order, generation: s.generation + 1,
		fingerprint: s.fingerprint, replaced: make(chan struct{}),
	}
	var own [len(s.shards)]bool
	var come []uint64
	gone := 0
	for id, e := range changes {
		i := shard(id)
		if !own[i] {
			own[i] = true
			if next.shards[i] = maps.Clone(s.shards[i]); next.shards[i] == nil {
				next.shards[i] = make(map[uint64]*Entry)
			}
		}
		old := s.Item(id)
		if old != nil {
			next.fingerprint -= old.fingerprint()
		}
		if e != nil {
			next.fingerprint += e.fingerprint()
			next.shards[i][id] = e
		} else {
			delete(next.shards[i], id)
		}
		switch {
		case old == nil && e != nil:
			come = append(come, id)
		case old != nil && e == nil:
			gone++
		}
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

// shard spreads ids, which are often consecutive, by Fibonacci hashing.
func shard(id uint64) uint8 { return uint8(id * 0x9e3779b97f4a7c15 >> 56) }
