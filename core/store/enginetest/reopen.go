package enginetest

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/souk-market/souk/core/store"
)

// RunReopen puts an engine that keeps its records through what has to be so after it
// was closed and opened again. Each call of place returns an Open of its own, which
// opens the same records each time; the first time there are none.
func RunReopen(t *testing.T, place func(t testing.TB) Open) {
	tests := []struct {
		rule string
		run  func(t *testing.T, e *reopened)
	}{
		{"what was acknowledged is there", staysThere},
		{"no version comes again", noVersionAgain},
		{"expiry goes on meanwhile", expiresMeanwhile},
		{"what close let finish is there", finishedIsThere},
		{"what was loaded is there", loadedIsThere},
	}
	for _, test := range tests {
		t.Run(test.rule, func(t *testing.T) {
			clock := &clock{}
			clock.set(start)
			e := &reopened{engine: engine{clock: clock, open: place(t)}}
			e.again(t)
			t.Cleanup(func() {
				if err := e.Close(); err != nil {
					t.Errorf("Close() = %v", err)
				}
			})
			test.run(t, e)
		})
	}
}

// reopened is an engine that can be closed and opened again.
type reopened struct{ engine }

func (e *reopened) again(t *testing.T) {
	t.Helper()
	if e.Engine != nil {
		if err := e.Close(); err != nil {
			t.Fatalf("Close() = %v", err)
		}
	}
	e.Engine = e.open(t, e.clock.now)
}

func staysThere(t *testing.T, e *reopened) {
	long, gone := key("long", ""), key("gone", "")
	want := map[store.Key]store.Item{}
	for i := range 50 {
		until := time.Time{}
		if i%3 == 0 {
			until = start.Add(time.Hour + time.Duration(i)*time.Millisecond)
		}
		k := key("kept", fmt.Sprint(i))
		e.put(t, k, "overwritten")
		want[k] = e.putUntil(t, k, fmt.Sprint("value ", i), until)
	}
	want[long] = e.put(t, long, string(make([]byte, store.MaxValue)))
	e.put(t, gone, "value")
	if err := e.Apply(ctx, store.Op{Key: gone, Delete: true}); err != nil {
		t.Fatalf("Apply = %v", err)
	}
	for round := range 3 {
		e.again(t)
		got := e.dump(t)
		if len(got) != len(want) {
			t.Errorf("round %d: %d records are there, want %d", round, len(got), len(want))
		}
		for k, w := range want {
			if g := e.get(t, k); string(g.Value) != string(w.Value) || g.Version != w.Version || !g.Expires.Equal(w.Expires) {
				t.Fatalf("round %d: %q is %d bytes of version %d until %v, want %d of %d until %v",
					round, k, len(g.Value), g.Version, g.Expires, len(w.Value), w.Version, w.Expires)
			}
		}
		e.wantAbsent(t, gone)
		// A version from before holds as a guard.
		k := key("kept", fmt.Sprint(round))
		op := store.Op{Key: k, Guard: true, If: want[k].Version, Value: []byte("guarded")}
		if err := e.Apply(ctx, op); err != nil {
			t.Errorf("round %d: Apply with a version from before = %v", round, err)
		}
		wantIs(t, "the same once more", e.Apply(ctx, op), store.ErrConflict)
		want[k] = e.get(t, k)
	}
}

func noVersionAgain(t *testing.T, e *reopened) {
	k := key("phoenix", "")
	seen := map[store.Version]bool{}
	for round := range 5 {
		for i := range 10 {
			v := e.put(t, k, fmt.Sprint(round, i)).Version
			if v == 0 || seen[v] {
				t.Fatalf("round %d: the version %d came again", round, v)
			}
			seen[v] = true
		}
		if round%2 == 0 { // nothing is left that could remind the engine
			if err := e.Apply(ctx, store.Op{Key: k, Delete: true}); err != nil {
				t.Fatalf("Apply = %v", err)
			}
		}
		e.again(t)
		for v := range seen {
			if round%2 == 0 {
				wantIs(t, "Apply with a version of a record that is gone", e.Apply(ctx, store.Op{Key: k, Guard: true, If: v, Value: []byte("x")}), store.ErrConflict)
			}
		}
	}
}

func expiresMeanwhile(t *testing.T, e *reopened) {
	short, long := key("mortal", "a"), key("mortal", "b")
	e.putUntil(t, short, "value", start.Add(time.Minute))
	e.putUntil(t, long, "value", start.Add(time.Hour))
	e.clock.advance(time.Minute)
	e.again(t)
	e.wantAbsent(t, short)
	e.wantValue(t, long, "value")
	if got := e.dump(t); len(got) != 1 {
		t.Errorf("%d records are there, want one", len(got))
	}
	e.clock.set(start) // it was only ever the clock
	e.again(t)
	e.wantValue(t, long, "value")
}

func finishedIsThere(t *testing.T, e *reopened) {
	for range 3 {
		var mu sync.Mutex
		acked := map[store.Key]uint64{}
		under := make(chan struct{}, 64)
		var all sync.WaitGroup
		for i := range 64 {
			all.Go(func() {
				k := key("closing", fmt.Sprint(i))
				for {
					it, err := e.Update(ctx, k, increment)
					if errors.Is(err, store.ErrClosed) {
						return
					}
					if err != nil {
						t.Errorf("Update = %v", err)
						return
					}
					mu.Lock()
					acked[k] = number(it)
					mu.Unlock()
					select {
					case under <- struct{}{}:
					default:
					}
				}
			})
		}
		for range 64 {
			<-under
		}
		if err := e.Close(); err != nil {
			t.Fatalf("Close() = %v", err)
		}
		all.Wait()
		e.again(t)
		for _, k := range slices.SortedFunc(maps.Keys(acked), func(a, b store.Key) int { return len(a.Sub) - len(b.Sub) }) {
			if n := number(e.get(t, k)); n != acked[k] {
				t.Errorf("%q is %d, and %d was the last that was acknowledged", k, n, acked[k])
			}
		}
	}
}

func loadedIsThere(t *testing.T, e *reopened) {
	var items []store.Item
	for i := range 3000 {
		items = append(items, store.Item{Key: key(fmt.Sprint(i%7), fmt.Sprint(i)), Value: fmt.Append(nil, i)})
	}
	if err := e.Load(ctx, stream(items)); err != nil {
		t.Fatalf("Load = %v", err)
	}
	before := e.dump(t)
	e.again(t)
	after := e.dump(t)
	if len(before) != len(items) || len(after) != len(items) {
		t.Errorf("%d records were loaded, %d are there, want %d", len(before), len(after), len(items))
	}
	for k, it := range before {
		if after[k].Version != it.Version || string(after[k].Value) != string(it.Value) {
			t.Fatalf("%q is %+v, want %+v", k, after[k], it)
		}
	}
}
