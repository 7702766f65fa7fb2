package enginetest

import (
	"bytes"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/souk-market/souk/core/store"
)

func readsBack(t *testing.T, e engine) {
	k := key("part", "sub")
	e.wantAbsent(t, k)
	first := e.put(t, k, "one")
	if first.Version == 0 || string(first.Value) != "one" || first.Key != k || !first.Expires.IsZero() {
		t.Errorf("Update = %+v, want the stored item", first)
	}
	got := e.get(t, k)
	if got.Version != first.Version || string(got.Value) != "one" || got.Key != k || !got.Expires.IsZero() {
		t.Errorf("Get = %+v, want %+v", got, first)
	}
	if second := e.put(t, k, "one"); second.Version == first.Version {
		t.Error("two writes have the same version")
	}
	e.put(t, k, "")
	e.wantValue(t, k, "")
	if _, err := e.Update(ctx, k, func(*store.Item) (*store.Write, error) { return &store.Write{}, nil }); err != nil {
		t.Errorf("Update with a nil value = %v", err)
	}
	e.wantValue(t, k, "") // empty, and there
	e.wantAbsent(t, key("part", ""))
	e.wantAbsent(t, key("par", "tsub"))
	e.wantAbsent(t, store.Key{Table: 'Q', Part: "part", Sub: "sub"})

	it, err := e.Update(ctx, k, func(*store.Item) (*store.Write, error) { return &store.Write{Delete: true}, nil })
	if err != nil || it.Version != 0 {
		t.Errorf("deleting Update = %+v, %v, want version 0", it, err)
	}
	e.wantAbsent(t, k)
	e.put(t, k, "back")
	e.wantValue(t, k, "back")
}

func ownership(t *testing.T, e engine) {
	k := key("owned", "")
	given := []byte("value")
	it, err := e.Update(ctx, k, func(*store.Item) (*store.Write, error) { return &store.Write{Value: given}, nil })
	if err != nil {
		t.Fatal(err)
	}
	given[0], it.Value[1] = '!', '!'
	got := e.get(t, k)
	got.Value[2] = '!'
	if _, err := e.Update(ctx, k, func(cur *store.Item) (*store.Write, error) {
		cur.Value[3] = '!'
		return nil, nil
	}); err != nil {
		t.Fatal(err)
	}
	e.wantValue(t, k, "value")

	op := store.Op{Key: k, Value: []byte("other")}
	if err := e.Apply(ctx, op); err != nil {
		t.Fatal(err)
	}
	op.Value[0] = '!'
	e.wantValue(t, k, "other")

	items, err := e.Scan(ctx, 'P', "owned", "", 1)
	if err != nil || len(items) != 1 {
		t.Fatalf("Scan = %v, %v", items, err)
	}
	items[0].Value[0] = '!'
	if err := e.Dump(ctx, func(it store.Item) error { it.Value[1] = '!'; return nil }); err != nil {
		t.Fatal(err)
	}
	e.wantValue(t, k, "other")
}

func noVersionTwice(t *testing.T, e engine) {
	k := key("phoenix", "")
	seen := map[store.Version]bool{}
	for i := range 200 {
		v := e.put(t, k, "value").Version
		if v == 0 || seen[v] {
			t.Fatalf("write %d has the version %d of an earlier one", i, v)
		}
		seen[v] = true
		if i%2 == 0 {
			if err := e.Apply(ctx, store.Op{Key: k, Guard: true, If: v, Delete: true}); err != nil {
				t.Fatalf("Apply = %v", err)
			}
		}
	}
	if got := e.get(t, k).Version; !seen[got] {
		t.Errorf("Get returns the version %d, which no write had", got)
	}
}

func linearizable(t *testing.T, e engine) {
	k := key("counter", "")
	var acked atomic.Uint64
	var done atomic.Bool
	together(4, func(i int) {
		if i == 0 {
			defer done.Store(true)
			for range 50 {
				it, err := e.Update(ctx, k, increment)
				if err != nil {
					t.Errorf("Update = %v", err)
					return
				}
				acked.Store(number(it))
			}
			return
		}
		for !done.Load() {
			before := acked.Load()
			it, err := e.Get(ctx, k)
			if errors.Is(err, store.ErrNotFound) && before == 0 {
				continue
			}
			if err != nil || number(it) < before {
				t.Errorf("Get = %v, %v after %d was acknowledged", it.Value, err, before)
				return
			}
		}
	})
}

func serialised(t *testing.T, e engine) {
	const callers, each = 64, 20
	k := key("hot", "key")
	var seen [callers*each + 1]atomic.Bool
	together(callers, func(int) {
		for range each {
			it, err := e.Update(ctx, k, increment)
			if err != nil {
				t.Errorf("Update = %v", err)
				return
			}
			if n := number(it); seen[n].Swap(true) {
				t.Errorf("two updates returned %d", n)
			}
		}
	})
	if n := number(e.get(t, k)); n != callers*each {
		t.Errorf("counter = %d after %d updates", n, callers*each)
	}
}

func oneWinner(t *testing.T, e engine) {
	taken := errors.New("taken")
	ways := map[string]func(k store.Key, value string) error{
		"Update": func(k store.Key, value string) error {
			_, err := e.Update(ctx, k, func(cur *store.Item) (*store.Write, error) {
				if cur != nil {
					return nil, taken
				}
				return &store.Write{Value: []byte(value)}, nil
			})
			return err
		},
		"Apply": func(k store.Key, value string) error {
			err := e.Apply(ctx, store.Op{Key: k, Guard: true, Value: []byte(value)})
			if errors.Is(err, store.ErrConflict) {
				return taken
			}
			return err
		},
	}
	for name, create := range ways {
		for round := range 10 {
			k := key(fmt.Sprint(name, round), "")
			var winners atomic.Int64
			var winner atomic.Pointer[string]
			together(64, func(i int) {
				value := fmt.Sprint(i)
				switch err := create(k, value); {
				case err == nil:
					winners.Add(1)
					winner.Store(&value)
				case err != taken:
					t.Errorf("%s = %v, want nil or its own error", name, err)
				}
			})
			if n := winners.Load(); n != 1 {
				t.Fatalf("%d of 64 created one record by %s", n, name)
			}
			e.wantValue(t, k, *winner.Load())
		}
	}
}

func decisions(t *testing.T, e engine) {
	k := key("decided", "")
	it, err := e.Update(ctx, k, func(cur *store.Item) (*store.Write, error) {
		if cur != nil {
			return nil, fmt.Errorf("cur = %v, want nil", cur)
		}
		return nil, nil
	})
	if err != nil || it.Version != 0 || it.Value != nil || it.Key != k {
		t.Errorf("Update that leaves an absent record = %+v, %v", it, err)
	}
	e.wantAbsent(t, k)

	stored := e.put(t, k, "value")
	it, err = e.Update(ctx, k, func(cur *store.Item) (*store.Write, error) {
		if cur == nil || cur.Version != stored.Version || cur.Key != k || string(cur.Value) != "value" {
			return nil, fmt.Errorf("cur = %+v, want %+v", cur, stored)
		}
		return nil, nil
	})
	if err != nil || it.Version != stored.Version || !bytes.Equal(it.Value, stored.Value) {
		t.Errorf("Update that leaves a record = %+v, %v, want %+v", it, err, stored)
	}

	refusal := errors.New("refused")
	_, err = e.Update(ctx, k, func(*store.Item) (*store.Write, error) {
		return &store.Write{Value: []byte("not this")}, refusal
	})
	if err != refusal {
		t.Errorf("Update = %v, want f's own error", err)
	}
	if got := e.get(t, k); got.Version != stored.Version {
		t.Errorf("a refused update changed the record to %q", got.Value)
	}
}

func panics(t *testing.T, e engine) {
	k := key("panic", "")
	e.put(t, k, "before")
	together(16, func(i int) {
		_, err := e.Update(ctx, k, func(cur *store.Item) (*store.Write, error) {
			if i%2 == 0 {
				panic("a mistake")
			}
			return &store.Write{Value: []byte("after")}, nil
		})
		if failed := err != nil; failed != (i%2 == 0) {
			t.Errorf("Update %d = %v", i, err)
		}
	})
	e.wantValue(t, k, "after")
}

func noABA(t *testing.T, e engine) {
	for round := range 20 {
		k := key("aba", fmt.Sprint(round))
		var items [32]store.Item
		together(len(items), func(i int) {
			var err error
			items[i], err = e.Update(ctx, k, func(*store.Item) (*store.Write, error) {
				return &store.Write{Value: []byte{byte(i)}}, nil
			})
			if err != nil {
				t.Errorf("Update = %v", err)
			}
		})
		last := e.get(t, k)
		seen := map[store.Version]byte{}
		for _, it := range items {
			if other, twice := seen[it.Version]; twice {
				t.Fatalf("writes %d and %d have the same version", other, it.Value[0])
			}
			seen[it.Version] = it.Value[0]
			if it.Version == last.Version {
				continue
			}
			err := e.Apply(ctx, store.Op{Key: k, Guard: true, If: it.Version, Value: []byte("lost update")})
			wantIs(t, "Apply with the version of a write that was overtaken", err, store.ErrConflict)
		}
		if seen[last.Version] != last.Value[0] {
			t.Fatalf("the last version is that of write %d, its value that of %d", seen[last.Version], last.Value[0])
		}
	}
}

func expiry(t *testing.T, e engine) {
	k := key("mortal", "a")
	until := start.Add(time.Minute + 7*time.Millisecond)
	it := e.putUntil(t, k, "value", until.Add(300*time.Microsecond))
	if !it.Expires.Equal(until) {
		t.Errorf("Update returned the expiry %v, want %v: milliseconds", it.Expires, until)
	}
	if got := e.get(t, k); !got.Expires.Equal(until) {
		t.Errorf("Get returned the expiry %v, want %v", got.Expires, until)
	}
	e.putUntil(t, key("mortal", "b"), "stays", time.Time{})

	e.clock.set(until.Add(-time.Millisecond))
	e.wantValue(t, k, "value")
	e.clock.set(until)
	e.wantAbsent(t, k)
	if items, err := e.Scan(ctx, 'P', "mortal", "", 10); err != nil || len(items) != 1 {
		t.Errorf("Scan = %v, %v, want the other record alone", items, err)
	}
	if err := e.Dump(ctx, func(it store.Item) error {
		if it.Key == k {
			t.Error("Dump hands out an expired record")
		}
		return nil
	}); err != nil {
		t.Errorf("Dump = %v", err)
	}
	wantIs(t, "Apply on the version of an expired record",
		e.Apply(ctx, store.Op{Key: k, Guard: true, If: it.Version, Value: []byte("x")}), store.ErrConflict)
	if _, err := e.Update(ctx, k, func(cur *store.Item) (*store.Write, error) {
		if cur != nil {
			return nil, errors.New("f sees an expired record")
		}
		return &store.Write{Delete: true}, nil
	}); err != nil {
		t.Errorf("Update = %v", err)
	}
	if err := e.Apply(ctx, store.Op{Key: k, Guard: true, Value: []byte("again"), Expires: until.Add(time.Hour)}); err != nil {
		t.Errorf("Apply over an expired record = %v", err)
	}
	e.wantValue(t, k, "again")
	e.clock.advance(time.Hour)
	e.wantAbsent(t, k)

	// A clock that runs ahead of all others.
	e.clock.set(start.AddDate(150, 0, 0))
	e.putUntil(t, k, "late", e.clock.now().Add(time.Second))
	e.wantValue(t, k, "late")
	e.putUntil(t, k, "stillborn", e.clock.now())
	e.wantAbsent(t, k)
}
