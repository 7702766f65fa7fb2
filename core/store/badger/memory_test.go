package badger

import (
	"errors"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/souk-market/souk/core/store"
)

func TestBudgetOfMemoryIsKept(t *testing.T) {
	for _, memory := range []int64{MinMemory, MinMemory + 1, 600 << 20, DefaultMemory, 1 << 30, 2 << 30, 3 << 30, 64 << 30} {
		s, err := sizesOf(memory)
		if err != nil {
			t.Fatal(err)
		}
		if s.total() > memory || s.queued < 1 || s.table < memTable {
			t.Errorf("%d MiB: memtables of %d MiB of which %d wait take %d MiB", memory>>20, s.table>>20, s.queued, s.total()>>20)
		}
		// What one transaction may have is 15 % of a memtable; the largest Apply has to fit.
		if largest := int64(store.MaxOps * (store.MaxValue + store.MaxKey + 64)); s.table*15/100 < largest {
			t.Errorf("%d MiB: an Apply of %d bytes does not fit into a memtable of %d", memory>>20, largest, s.table)
		}
	}
	if s, err := sizesOf(0); err != nil || s != (sizes{memTable, maxQueued}) {
		t.Errorf("by default %+v, %v", s, err)
	}
	if _, err := Open(Options{InMemory: true, Memory: MinMemory - 1}); err == nil || !strings.Contains(err.Error(), "500 MiB at least") {
		t.Errorf("Open with too little memory = %v, want a sentence with the least", err)
	}
}

// Writes that come faster than tables can be made wait, and don't pile up in
// memory. The records are larger than the market's own and smaller than the
// largest, see memory.go.
func TestMemoryIsBoundedUnderLoad(t *testing.T) {
	if testing.Short() || RaceEnabled {
		t.Skip("writes 250 MiB, and measures what the race detector takes as well")
	}
	e := openTest(t, Options{Memory: MinMemory})
	live := func() int64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	before := live()
	const callers, each = 16, 30 // of half a MiB
	var all sync.WaitGroup
	var applied atomic.Int64
	looks := make(chan struct{}, callers*each)
	for caller := range callers {
		all.Go(func() {
			value := make([]byte, store.MaxValue/16)
			for i := range each {
				ops := make([]store.Op, store.MaxOps)
				for n := range ops {
					k := testKey(caller)
					k.Sub = string([]byte{byte(i), byte(n)})
					ops[n] = store.Op{Key: k, Value: value}
				}
				if err := e.Apply(ctx, ops...); err != nil {
					t.Errorf("Apply = %v", err)
					return
				}
				if applied.Add(1)%callers == 0 {
					looks <- struct{}{}
				}
			}
		})
	}
	go func() {
		all.Wait()
		close(looks)
	}()
	most := int64(0)
	for range looks {
		most = max(most, live()-before)
	}
	// Beside the budget there are the writes that wait themselves.
	if limit := int64(MinMemory + 2*callers*store.MaxOps*store.MaxValue/16); most > limit {
		t.Errorf("%d MiB were in use, with %d MiB as the budget", most>>20, MinMemory>>20)
	}
	t.Logf("%d MiB in use at most of %d MiB, %d MiB written", most>>20, MinMemory>>20, e.Stats().Bytes>>20)
}

func TestLargestApplyFitsIntoTheLeastMemory(t *testing.T) {
	e := openTest(t, Options{Memory: MinMemory})
	ops := make([]store.Op, store.MaxOps)
	for i := range ops {
		k := store.Key{Table: 'P', Part: string(make([]byte, store.MaxKey-3)), Sub: string([]byte{byte(i), 0})}
		ops[i] = store.Op{Key: k, Value: make([]byte, store.MaxValue)}
	}
	if err := e.Apply(ctx, ops...); err != nil {
		t.Fatalf("Apply of the largest kind = %v", err)
	}
	if _, err := e.Get(ctx, store.Key{Table: 'P'}); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("Get of another = %v", err)
	}
}
