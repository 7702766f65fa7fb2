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

// state is what a dump has, as its values.
type state map[store.Key]string

func (e engine) state(t *testing.T) state {
	t.Helper()
	s := state{}
	for k, it := range e.dump(t) {
		s[k] = string(it.Value)
	}
	return s
}

// since applies to a dump what was changed since the mark.
func (e engine) since(t *testing.T, before state, name [16]byte) state {
	t.Helper()
	s := maps.Clone(before)
	written := map[store.Key]bool{}
	err := e.DumpSince(ctx, name, func(it store.Item, gone bool) error {
		if gone {
			if written[it.Key] {
				t.Errorf("DumpSince hands out %q, and then that it is gone", it.Key)
			}
			delete(s, it.Key)
			return nil
		}
		written[it.Key] = true
		s[it.Key] = string(it.Value)
		return nil
	})
	if err != nil {
		t.Fatalf("DumpSince = %v", err)
	}
	return s
}

func (e engine) mark(t *testing.T, name byte) [16]byte {
	t.Helper()
	if err := e.Mark(ctx, [16]byte{name}); err != nil {
		t.Fatalf("Mark = %v", err)
	}
	return [16]byte{name}
}

func (e engine) remove(t *testing.T, k store.Key) {
	t.Helper()
	if err := e.Apply(ctx, store.Op{Key: k, Delete: true}); err != nil {
		t.Fatalf("Apply = %v", err)
	}
}

func changesSince(t *testing.T, e engine) {
	k := func(sub string) store.Key { return key("since", sub) }
	never := time.Time{}
	for _, sub := range []string{"stays", "changes", "goes", "returns", "goes twice", "soon", "sooner", "at once"} {
		e.put(t, k(sub), "before")
	}
	e.putUntil(t, k("later"), "before", start.Add(time.Minute))
	e.putUntil(t, k("runs out"), "before", start.Add(time.Minute))
	first := e.mark(t, 1)
	before := e.state(t)

	e.put(t, k("changes"), "after")
	e.put(t, k("new"), "after")
	e.remove(t, k("goes"))
	e.remove(t, k("returns"))
	e.put(t, k("returns"), "after")
	e.remove(t, k("goes twice"))
	e.put(t, k("goes twice"), "after")
	second := e.mark(t, 2)
	between := e.state(t)
	e.remove(t, k("goes twice"))
	e.put(t, k("comes and goes"), "after")
	e.remove(t, k("comes and goes"))
	// An expiry is no delete, and takes a record back all the same.
	e.putUntil(t, k("soon"), "after", start.Add(time.Minute))
	e.putUntil(t, k("sooner"), "after", start.Add(2*time.Hour))
	e.putUntil(t, k("sooner"), "after", start.Add(time.Minute))
	e.putUntil(t, k("at once"), "after", start)
	e.putUntil(t, k("later"), "after", never)

	check := func(when string) {
		t.Helper()
		want := e.state(t)
		// What ran out by itself did so in the earlier dump too.
		ran := func(s state) state {
			if !e.clock.now().Before(start.Add(time.Minute)) {
				delete(s, k("runs out"))
			}
			return s
		}
		if got := ran(e.since(t, before, first)); !maps.Equal(got, want) {
			t.Errorf("%s: the first dump and what changed since are %v, want %v", when, got, want)
		}
		if got := ran(e.since(t, between, second)); !maps.Equal(got, want) {
			t.Errorf("%s: the second dump and what changed since are %v, want %v", when, got, want)
		}
	}
	check("at once")
	e.clock.advance(time.Hour)
	check("after an expiry")

	third := e.mark(t, 3)
	now := e.state(t)
	if got := e.since(t, now, third); !maps.Equal(got, now) {
		t.Errorf("a dump and no change since are %v, want %v", got, now)
	}
	// The same mark once more is the one that it was: it may have been a retry.
	e.remove(t, k("stays"))
	again := e.mark(t, 3)
	if got := e.since(t, now, again); !maps.Equal(got, e.state(t)) {
		t.Errorf("a mark that was made again moved")
	}
	stop := errors.New("stop")
	if err := e.DumpSince(ctx, first, func(store.Item, bool) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("DumpSince = %v, want emit's error", err)
	}
	none := func(store.Item, bool) error {
		t.Error("DumpSince of an unknown mark hands out something")
		return nil
	}
	wantIs(t, "DumpSince of an unknown mark", e.DumpSince(ctx, [16]byte{9}, none), store.ErrNoMark)

	// Marks belong to an engine, not to what is loaded into it.
	copied := engine{Engine: e.open(t, e.clock.now), clock: e.clock}
	defer copied.Close()
	if err := copied.Load(ctx, stream(slices.Collect(maps.Values(e.dump(t))))); err != nil {
		t.Fatalf("Load = %v", err)
	}
	wantIs(t, "DumpSince of another engine's mark", copied.DumpSince(ctx, first, none), store.ErrNoMark)
}

// busyMarks is a full dump and three that build on it while many write, delete and
// shorten. Each writer keeps two records alike in one Apply: a dump that is not of
// one moment would tear them.
func busyMarks(t *testing.T, e engine) {
	const writers = 16
	stop := make(chan struct{})
	var all sync.WaitGroup
	defer all.Wait()
	for i := range writers {
		all.Go(func() {
			part := fmt.Sprint("busy ", i)
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				one, two := key(part, fmt.Sprint("one ", n%7)), key(part, fmt.Sprint("two ", n%7))
				ops := []store.Op{{Key: one, Value: fmt.Append(nil, n)}, {Key: two, Value: fmt.Append(nil, n)}}
				switch n % 5 {
				case 1:
					ops[0].Delete, ops[1].Delete = true, true
				case 2:
					ops[0].Expires, ops[1].Expires = start.Add(time.Hour), start.Add(time.Hour)
				case 3: // expired as it is written
					ops[0].Expires, ops[1].Expires = start, start
				}
				if err := e.Apply(ctx, ops...); err != nil {
					t.Errorf("Apply = %v", err)
					return
				}
			}
		})
	}
	name := e.mark(t, 1)
	s := e.state(t)
	for n := byte(2); n < 5; n++ {
		next := e.mark(t, n)
		s = e.since(t, s, name)
		name = next
		for k, v := range s {
			twin := "one "
			if k.Sub[:len(twin)] == twin {
				twin = "two "
			}
			if other, ok := s[key(k.Part, twin+k.Sub[len(twin):])]; !ok || other != v {
				t.Errorf("%q is %q and its twin %q: the dump is not of one moment", k, v, other)
			}
		}
	}
	close(stop)
	all.Wait()
	if got, want := e.since(t, s, name), e.state(t); !maps.Equal(got, want) {
		t.Errorf("after four dumps there are %d records, want %d, or with other values", len(got), len(want))
	}
}
