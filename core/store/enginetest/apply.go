package enginetest

import (
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/souk-market/souk/core/store"
)

func allOrNothing(t *testing.T, e engine) {
	a, b, c := key("part", "a"), key("part", "b"), store.Key{Table: 'Q', Part: "part", Sub: "c"}
	if err := e.Apply(ctx); err != nil {
		t.Errorf("Apply() = %v", err)
	}
	if err := e.Apply(ctx,
		store.Op{Key: a, Guard: true, Value: []byte("1")},
		store.Op{Key: b, Value: []byte("1")},
		store.Op{Key: c, Guard: true}, // must be absent, and stays so
	); err != nil {
		t.Fatalf("Apply = %v", err)
	}
	e.wantAbsent(t, c)
	va, vb := e.get(t, a).Version, e.get(t, b).Version

	refused := map[string][]store.Op{
		"a wrong version": {{Key: a, Guard: true, If: va, Value: []byte("2")}, {Key: b, Guard: true, If: va + vb + 1, Value: []byte("2")}},
		"must be absent":  {{Key: a, Value: []byte("2")}, {Key: b, Guard: true, Delete: true}},
		"must be present": {{Key: a, Delete: true}, {Key: c, Guard: true, If: va}},
		"last is checked": {{Key: c, Value: []byte("2")}, {Key: a, Guard: true}},
	}
	for why, ops := range refused {
		wantIs(t, "Apply, "+why, e.Apply(ctx, ops...), store.ErrConflict)
		e.wantValue(t, a, "1")
		e.wantValue(t, b, "1")
		e.wantAbsent(t, c)
	}

	if err := e.Apply(ctx,
		store.Op{Key: a, Guard: true, If: va},
		store.Op{Key: b, Guard: true, If: vb, Delete: true},
		store.Op{Key: c, Guard: true, Value: []byte("3")},
	); err != nil {
		t.Fatalf("Apply = %v", err)
	}
	if e.get(t, a).Version != va {
		t.Error("a guard alone changed its record")
	}
	e.wantAbsent(t, b)
	e.wantValue(t, c, "3")
	if err := e.Apply(ctx, store.Op{Key: b, Delete: true}); err != nil {
		t.Errorf("Apply deleting what is absent = %v", err)
	}
}

// contention moves two counters by one, guarded, from many callers. They stay
// equal and count the winners.
func contention(t *testing.T, e engine) {
	a, b := key("pair", "a"), key("pair", "b")
	e.put(t, a, strings.Repeat("\x00", 8))
	e.put(t, b, strings.Repeat("\x00", 8))
	var won atomic.Uint64
	together(16, func(int) {
		for range 20 {
			x, errA := e.Get(ctx, a)
			y, errB := e.Get(ctx, b)
			if err := errors.Join(errA, errB); err != nil {
				t.Errorf("Get = %v", err)
				return
			}
			next, _ := increment(&x)
			err := e.Apply(ctx,
				store.Op{Key: a, Guard: true, If: x.Version, Value: next.Value},
				store.Op{Key: b, Guard: true, If: y.Version, Value: next.Value})
			switch {
			case err == nil:
				won.Add(1)
			case !errors.Is(err, store.ErrConflict):
				t.Errorf("Apply = %v", err)
			}
		}
	})
	x, y := number(e.get(t, a)), number(e.get(t, b))
	if x != won.Load() || y != won.Load() || x == 0 {
		t.Errorf("counters are %d and %d after %d applies", x, y, won.Load())
	}
}

func applyRefusals(t *testing.T, e engine) {
	a := key("part", "a")
	many := make([]store.Op, store.MaxOps+1)
	for i := range many {
		many[i] = store.Op{Key: key("part", fmt.Sprint(i)), Value: []byte("x")}
	}
	refused := map[string][]store.Op{
		"two parts":              {{Key: a, Value: []byte("x")}, {Key: key("other", "b"), Value: []byte("x")}},
		"a key named twice":      {{Key: a, Guard: true}, {Key: a, Value: []byte("x")}},
		"an op that does naught": {{Key: a}},
		"too many ops":           many,
	}
	for why, ops := range refused {
		wantIs(t, "Apply with "+why, e.Apply(ctx, ops...), store.ErrLimit)
	}
	e.wantAbsent(t, a)
	if err := e.Apply(ctx, many[:store.MaxOps]...); err != nil {
		t.Errorf("Apply of %d ops = %v", store.MaxOps, err)
	}
	if items, err := e.Scan(ctx, 'P', "part", "", 1000); err != nil || len(items) != store.MaxOps {
		t.Errorf("Scan = %d items, %v, want %d", len(items), err, store.MaxOps)
	}
}

func limits(t *testing.T, e engine) {
	full := make([]byte, store.MaxValue)
	long := strings.Repeat("k", store.MaxKey-1-len("part"))
	ok := key("part", long)
	if err := e.Apply(ctx, store.Op{Key: ok, Value: full}); err != nil {
		t.Errorf("Apply with the longest key and value = %v", err)
	}
	if got := e.get(t, ok); len(got.Value) != len(full) {
		t.Errorf("Get = %d bytes, want %d", len(got.Value), len(full))
	}
	write := func(value []byte) store.UpdateFunc {
		return func(*store.Item) (*store.Write, error) { return &store.Write{Value: value}, nil }
	}
	tooLong := append(full, 0)
	for _, k := range []store.Key{key("part", long+"k"), {Table: '!', Part: "p"}, {Part: "p"}} {
		_, err := e.Update(ctx, k, write(nil))
		wantIs(t, "Update of a bad key", err, store.ErrLimit)
		_, err = e.Get(ctx, k)
		wantIs(t, "Get of a bad key", err, store.ErrLimit)
		_, err = e.Scan(ctx, k.Table, k.Part+k.Sub, "", 1)
		wantIs(t, "Scan of a bad part", err, store.ErrLimit)
		wantIs(t, "Apply to a bad key", e.Apply(ctx, store.Op{Key: k, Value: full}), store.ErrLimit)
	}
	_, err := e.Watch(ctx, '!')
	wantIs(t, "Watch of a bad table", err, store.ErrLimit)
	_, err = e.Update(ctx, ok, write(tooLong))
	wantIs(t, "Update with a value too long", err, store.ErrLimit)
	wantIs(t, "Apply with a value too long", e.Apply(ctx, store.Op{Key: ok, Value: tooLong}), store.ErrLimit)
	if got := e.get(t, ok); len(got.Value) != len(full) {
		t.Error("a refused write changed the record")
	}
}

// largeWrites come to far more than an engine takes at a time.
func largeWrites(t *testing.T, e engine) {
	ops := make([]store.Op, store.MaxOps)
	for i := range ops {
		ops[i] = store.Op{Key: key("large", fmt.Sprint(i)), Value: make([]byte, store.MaxValue)}
	}
	together(82, func(i int) {
		var err error
		if i < 2 {
			err = e.Apply(ctx, ops...)
		} else {
			_, err = e.Update(ctx, key("single", fmt.Sprint(i)), func(*store.Item) (*store.Write, error) {
				return &store.Write{Value: make([]byte, store.MaxValue)}, nil
			})
		}
		if err != nil {
			t.Errorf("write %d = %v", i, err)
		}
	})
}

// applyWrites: an op without a guard asks for nothing, an empty value is one, and an
// expiry is kept.
func applyWrites(t *testing.T, e engine) {
	a, b, c := key("part", "a"), key("part", "b"), key("part", "c")
	until := start.Add(time.Minute)
	for _, value := range []string{"first", "second"} {
		err := e.Apply(ctx,
			store.Op{Key: a, Value: []byte(value)},
			store.Op{Key: b, Value: []byte{}},
			store.Op{Key: c, Value: []byte(value), Expires: until.Add(300 * time.Microsecond)})
		if err != nil {
			t.Fatalf("Apply = %v", err)
		}
		e.wantValue(t, a, value)
		e.wantValue(t, b, "")
		if got := e.get(t, c); !got.Expires.Equal(until) {
			t.Errorf("the expiry is %v, want %v: milliseconds", got.Expires, until)
		}
	}
	va, vc := e.get(t, a).Version, e.get(t, c).Version
	if va == 0 || e.get(t, b).Version == 0 || vc == 0 {
		t.Error("a record has no version")
	}
	e.clock.set(until)
	wantIs(t, "Apply over a record that has expired", e.Apply(ctx, store.Op{Key: a, Delete: true}, store.Op{Key: c, Guard: true, If: vc}), store.ErrConflict)
	e.wantValue(t, a, "second")
	if err := e.Apply(ctx, store.Op{Key: a, Guard: true, If: va, Delete: true}, store.Op{Key: c, Guard: true}); err != nil {
		t.Errorf("Apply that knows = %v", err)
	}
	e.wantAbsent(t, a)
}
