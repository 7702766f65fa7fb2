package enginetest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/souk-market/souk/core/store"
)

func subs(items []store.Item) []string {
	var list []string
	for _, it := range items {
		list = append(list, it.Key.Sub)
	}
	return list
}

func scanOrder(t *testing.T, e engine) {
	// Parts that are prefixes of one another, and subs that would run into them.
	parts := []string{"", "a", "ab", "a\x00", "a\xff", "b"}
	want := []string{"", "\x00", "\x00\x01", "a", "a\x00", "aa", "b", "\xff", "\xff\xff"}
	for _, part := range parts {
		for _, i := range []int{4, 0, 8, 2, 6, 1, 5, 3, 7} {
			k := key(part, want[i])
			e.put(t, k, part+"|"+want[i])
		}
	}
	e.put(t, store.Key{Table: 'O', Part: "a"}, "another table")
	e.put(t, store.Key{Table: 'Q', Part: "a"}, "another table")
	for _, part := range parts {
		items, err := e.Scan(ctx, 'P', part, "", 100)
		if err != nil {
			t.Fatalf("Scan(%q) = %v", part, err)
		}
		if got := subs(items); !slices.Equal(got, want) {
			t.Errorf("Scan(%q) = %q, want %q", part, got, want)
		}
		for _, it := range items {
			if string(it.Value) != part+"|"+it.Key.Sub || it.Key.Part != part || it.Version == 0 {
				t.Errorf("Scan(%q) returns %+v", part, it)
			}
		}
		for i, after := range want[1:] {
			items, err := e.Scan(ctx, 'P', part, after, 100)
			if err != nil || !slices.Equal(subs(items), want[i+2:]) {
				t.Errorf("Scan(%q) after %q = %q, %v, want %q", part, after, subs(items), err, want[i+2:])
			}
		}
	}
	if items, err := e.Scan(ctx, 'P', "a", "", 0); err != nil || len(items) != 0 {
		t.Errorf("Scan with the limit 0 = %v, %v", items, err)
	}
	if items, err := e.Scan(ctx, 'P', "absent", "", 10); err != nil || len(items) != 0 {
		t.Errorf("Scan of an absent part = %v, %v", items, err)
	}
}

func scanPages(t *testing.T, e engine) {
	const n = 250
	var want []string
	for i := range n {
		if i%3 != 1 {
			want = append(want, fmt.Sprintf("%05d", i))
		}
	}
	together(n, func(i int) {
		op := store.Op{Key: key("pages", fmt.Sprintf("%05d", i)), Value: []byte("x")}
		if i%3 == 1 {
			op.Expires = start.Add(time.Minute)
		}
		if err := e.Apply(ctx, op); err != nil {
			t.Errorf("Apply = %v", err)
		}
	})
	e.clock.advance(time.Hour)
	for _, limit := range []int{1, 7, 100, n} {
		var got []string
		for after := ""; ; {
			items, err := e.Scan(ctx, 'P', "pages", after, limit)
			if err != nil {
				t.Fatalf("Scan = %v", err)
			}
			if len(items) > limit {
				t.Fatalf("Scan = %d items, want at most %d", len(items), limit)
			}
			got = append(got, subs(items)...)
			if len(items) < limit {
				break
			}
			after = items[len(items)-1].Key.Sub
		}
		if !slices.Equal(got, want) {
			t.Errorf("pages of %d give %d records, want %d", limit, len(got), len(want))
		}
	}
}

func (e engine) dump(t *testing.T) map[store.Key]store.Item {
	t.Helper()
	all := map[store.Key]store.Item{}
	err := e.Dump(ctx, func(it store.Item) error {
		if _, twice := all[it.Key]; twice {
			t.Errorf("Dump hands out %q twice", it.Key)
		}
		all[it.Key] = it
		return nil
	})
	if err != nil {
		t.Fatalf("Dump = %v", err)
	}
	return all
}

func stream(items []store.Item) func() (store.Item, error) {
	return func() (store.Item, error) {
		if len(items) == 0 {
			return store.Item{}, io.EOF
		}
		it := items[0]
		items = items[1:]
		return it, nil
	}
}

func dumpLoad(t *testing.T, e engine) {
	together(2500, func(i int) {
		k := store.Key{Table: "AFPz"[i%4], Part: fmt.Sprint(i % 10), Sub: fmt.Sprint(i)}
		until := time.Time{}
		if i%5 == 0 {
			until = start.Add(time.Duration(i) * time.Millisecond)
		}
		if err := e.Apply(ctx, store.Op{Key: k, Value: fmt.Append(nil, "value ", i), Expires: until}); err != nil {
			t.Errorf("Apply = %v", err)
		}
	})
	e.put(t, key("", ""), "")
	e.put(t, key("gone", ""), "x")
	if err := e.Apply(ctx, store.Op{Key: key("gone", ""), Delete: true}); err != nil {
		t.Fatalf("Apply = %v", err)
	}
	e.clock.advance(time.Second)
	first := e.dump(t)
	if want := 2500 - 201 + 1; len(first) != want {
		t.Errorf("Dump hands out %d records, want %d", len(first), want)
	}

	copied := engine{Engine: e.open(t, e.clock.now), clock: e.clock}
	defer copied.Close()
	if err := copied.Load(ctx, stream(slices.Collect(maps.Values(first)))); err != nil {
		t.Fatalf("Load = %v", err)
	}
	second := copied.dump(t)
	if len(second) != len(first) {
		t.Errorf("%d records arrived, want %d", len(second), len(first))
	}
	for k, it := range first {
		got := second[k]
		if string(got.Value) != string(it.Value) || !got.Expires.Equal(it.Expires) {
			t.Fatalf("%q arrived as %+v, want %+v", k, got, it)
		}
		if got.Version != copied.get(t, k).Version {
			t.Fatalf("Dump and Get return different versions of %q", k)
		}
	}
	stop := errors.New("stop")
	if err := e.Dump(ctx, func(store.Item) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("Dump = %v, want emit's error", err)
	}
}

func loadRefusals(t *testing.T, e engine) {
	if err := e.Load(ctx, stream(nil)); err != nil {
		t.Errorf("Load of nothing = %v", err)
	}
	broken := errors.New("broken")
	err := e.Load(ctx, func() (store.Item, error) { return store.Item{}, broken })
	wantIs(t, "Load of a broken stream", err, broken)
	err = e.Load(ctx, stream([]store.Item{{Key: store.Key{Table: '!'}}}))
	wantIs(t, "Load of a bad key", err, store.ErrLimit)
	// What has expired meanwhile is passed over.
	err = e.Load(ctx, stream([]store.Item{{Key: key("old", ""), Value: []byte("x"), Expires: start}}))
	if err != nil || len(e.dump(t)) != 0 {
		t.Errorf("Load of an expired record = %v, %d records", err, len(e.dump(t)))
	}
	e.put(t, key("here", ""), "first")
	if err := e.Load(ctx, stream([]store.Item{{Key: key("here", ""), Value: []byte("second")}})); err == nil {
		t.Error("Load into an engine that is not empty succeeded")
	}
	e.wantValue(t, key("here", ""), "first")
}

func loadPartly(t *testing.T, e engine) {
	broken := errors.New("the stream broke off")
	given := map[store.Key]string{}
	err := e.Load(ctx, func() (store.Item, error) {
		if len(given) == 2500 {
			return store.Item{}, broken
		}
		it := store.Item{Key: key("partly", fmt.Sprint(len(given))), Value: fmt.Append(nil, len(given))}
		given[it.Key] = string(it.Value)
		return it, nil
	})
	wantIs(t, "Load of a stream that breaks off", err, broken)
	got := e.dump(t)
	for k, it := range got {
		if string(it.Value) != given[k] {
			t.Fatalf("%q is %q, which was not in the stream", k, it.Value)
		}
	}
	if err := e.Load(ctx, stream([]store.Item{{Key: key("again", ""), Value: []byte("x")}})); (err == nil) != (len(got) == 0) {
		t.Errorf("Load over %d records = %v", len(got), err)
	}
	ended, cancel := context.WithCancel(ctx)
	cancel()
	wantIs(t, "Load with an ended context", e.Load(ended, stream(nil)), context.Canceled)
}

func loadedRecords(t *testing.T, e engine) {
	k := key("loaded", "")
	if err := e.Load(ctx, stream([]store.Item{{Key: k, Value: []byte("one"), Version: 12345, Expires: start.Add(time.Minute)}})); err != nil {
		t.Fatalf("Load = %v", err)
	}
	it := e.get(t, k)
	if err := e.Apply(ctx, store.Op{Key: k, Guard: true, If: it.Version, Value: []byte("two"), Expires: it.Expires}); err != nil {
		t.Errorf("Apply with the version of a loaded record = %v", err)
	}
	wantIs(t, "Apply with the version of before", e.Apply(ctx, store.Op{Key: k, Guard: true, If: it.Version, Delete: true}), store.ErrConflict)
	e.wantValue(t, k, "two")
	e.clock.advance(time.Minute)
	e.wantAbsent(t, k)
}
