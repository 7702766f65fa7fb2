package catalog

import (
	"iter"
	"math"
)

// index finds items by their ids: places in a row, an item in the first free one from
// where its hash says. Made once and never changed. A map of the language would read
// four lines of memory to find an item, and in a large catalogue these are what a check
// waits for; this reads one, which also says what is newest.
type index struct {
	slots []slot // a power of two, and one in three is free
	shift uint8  // leaves as many bits of a hash
}

type slot struct {
	id     uint64
	latest uint64 // Entry.latest, or removed
	entry  *Entry // nil = free
}

// removed is latest of an item that was taken down: a device has to be told.
const removed = math.MaxUint64

func newIndex(entries []*Entry) index {
	size, shift := 1, uint8(64)
	for size*2 < (len(entries)+1)*3 {
		size, shift = size*2, shift-1
	}
	t := index{make([]slot, size), shift}
	for _, e := range entries {
		sl := t.slot(e.ID, hash(e.ID))
		*sl = slot{e.ID, e.latest, e}
		if e.Removed {
			sl.latest = removed
		}
	}
	return t
}

// slot returns the place of an item, or the free one where it would be.
func (t *index) slot(id, h uint64) *slot {
	mask := uint64(len(t.slots) - 1)
	for i := t.place(h); ; i++ {
		if sl := &t.slots[i&mask]; sl.id == id || sl.entry == nil {
			return sl
		}
	}
}

// place is where the search for an item begins. A hash shifted by 64 bits is 0, the place
// of an index of one.
func (t *index) place(h uint64) uint64 { return h << 8 >> t.shift }

func (t *index) all() iter.Seq[*Entry] {
	return func(yield func(*Entry) bool) {
		for i := range t.slots {
			if e := t.slots[i].entry; e != nil && !yield(e) {
				return
			}
		}
	}
}

// same says whether it is the very same index.
func (t *index) same(other *index) bool { return &t.slots[0] == &other.slots[0] }

// hash spreads ids, which are often consecutive, by Fibonacci hashing. The upper bits are
// the better ones: eight say which index, those below them where in it.
func hash(id uint64) uint64 { return id * 0x9e3779b97f4a7c15 }
