package badger

import (
	"fmt"
	"os"

	bdb "github.com/dgraph-io/badger/v4"
)

// The budget of memory. A memtable is an arena that is taken whole when it begins:
// its size, and 15 % twice for what one transaction may add to a full one. One is
// written to, one is being made a table of, and in between wait as many as the
// budget has room for: writes go on into the next while the disk is behind. The
// tables that are being made, of a memtable and by compaction, take as much as
// three more (of values of tens of KiB more than that: Badger's builder doubles the
// room of each block, and lets go of none of it before the table is done).
//
// Tables on the disk are mapped. Their blocks and their indexes are the page
// cache's, which the system takes back when it needs the room, so there is no
// cache of our own to be given any.
const (
	memTable  = 64 << 20 // the least that takes the largest Apply, 8 MiB of 15 %; less also costs more writing
	maxTable  = 256 << 20
	maxQueued = 5
	besides   = 5 // one written to, one on its way to the disk, and three for tables being made

	// MinMemory is the least budget: one memtable may wait.
	MinMemory = 500 << 20
	// DefaultMemory has five wait.
	DefaultMemory = 832 << 20
)

// sizes are what a budget comes to.
type sizes struct {
	table  int64 // bytes of a memtable
	queued int   // memtables that may wait
}

// arena is the memory of one memtable.
func (s sizes) arena() int64 { return s.table + s.table*3/10 }

// total is the most that all of it takes.
func (s sizes) total() int64 { return int64(besides+s.queued) * s.arena() }

// sizesOf divides a budget: first memtables may wait, then they become larger,
// which saves writing.
func sizesOf(memory int64) (sizes, error) {
	if memory == 0 {
		memory = DefaultMemory
	}
	if memory < MinMemory {
		return sizes{}, fmt.Errorf("store: memory of %d MiB is too little: %d MiB at least", memory>>20, MinMemory>>20)
	}
	s := sizes{table: memTable}
	s.queued = min(int(memory/s.arena())-besides, maxQueued)
	if s.queued == maxQueued {
		s.table = min(max(memory/int64(besides+maxQueued)*10/13, memTable), maxTable)
	}
	return s, nil
}

// replayTable is the memtable that takes each log which a crash has left. A log may be
// of a start with a larger budget, and Badger ends the process over one that does not
// fit. A log is made twice as long as a memtable. One that was read before was cut to
// what is in it, which takes at most four times as much in memory: small entries, and
// a node of the skip list for each.
func replayTable(o bdb.Options) (int64, error) {
	table := o.MemTableSize
	if o.InMemory {
		return table, nil
	}
	f, err := list(o.Dir)
	if err != nil {
		return 0, err
	}
	for _, id := range f.logs {
		info, err := os.Stat(f.log(id))
		if err != nil {
			return 0, fmt.Errorf("store: %w", err)
		}
		if size := info.Size(); size != 2*o.MemTableSize {
			table = max(table, min(4*size, maxTable))
		}
	}
	return table, nil
}
