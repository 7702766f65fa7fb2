package badger

import (
	"errors"
	"fmt"
	"maps"
	"testing"
	"time"

	"github.com/souk-market/souk/core/store"
)

// dump is what an engine holds, by part.
func dump(t *testing.T, e *Engine) map[string]string {
	t.Helper()
	all := map[string]string{}
	if err := e.Dump(ctx, func(it store.Item) error { all[it.Key.Part] = string(it.Value); return nil }); err != nil {
		t.Fatalf("Dump = %v", err)
	}
	return all
}

// since adds to a dump what has changed since a mark, and counts what is gone.
func since(t *testing.T, e *Engine, before map[string]string, name [16]byte) (after map[string]string, gone int) {
	t.Helper()
	after = maps.Clone(before)
	err := e.DumpSince(ctx, name, func(it store.Item, lost bool) error {
		if lost {
			gone++
			delete(after, it.Key.Part)
			return nil
		}
		after[it.Key.Part] = string(it.Value)
		return nil
	})
	if err != nil {
		t.Fatalf("DumpSince = %v", err)
	}
	return after, gone
}

func remove(t *testing.T, e *Engine, k store.Key) {
	t.Helper()
	if err := e.Apply(ctx, store.Op{Key: k, Delete: true}); err != nil {
		t.Fatalf("Apply = %v", err)
	}
}

// Compaction throws deletes away, and what they have deleted, and Badger takes back
// what has expired. What changed is known all the same, also after a restart.
func TestHistoryOutlivesCompactionAndRestart(t *testing.T) {
	o := Options{Dir: t.TempDir()}
	open := func() *Engine {
		e, err := Open(o)
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	e := open()
	for i := range 100 {
		if _, err := e.Update(ctx, testKey(i), set("before")); err != nil {
			t.Fatal(err)
		}
	}
	name := [16]byte{1}
	if err := e.Mark(ctx, name); err != nil {
		t.Fatal(err)
	}
	before := dump(t, e)
	for i := range 40 {
		remove(t, e, testKey(i))
	}
	long := time.Now().Add(-2 * expirySlop) // Badger itself drops it at once
	for i := 40; i < 60; i++ {
		if err := e.Apply(ctx, store.Op{Key: testKey(i), Value: []byte("x"), Expires: long}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := e.Update(ctx, testKey(60), set("after")); err != nil {
		t.Fatal(err)
	}
	for range 3 { // closing flushes and compacts
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
		e = open()
		if err := e.db.Flatten(1); err != nil {
			t.Fatal(err)
		}
		got, gone := since(t, e, before, name)
		if want := dump(t, e); !maps.Equal(got, want) || len(want) != 40 || gone != 60 {
			t.Errorf("a dump and what changed since have %d records after %d went, want %d and 60", len(got), gone, len(want))
		}
		if _, err := e.Update(ctx, testKey(60), set("later")); err != nil {
			t.Fatal(err)
		}
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestHistoryIsBoundedAndSaysWhatItForgot(t *testing.T) {
	e := openTest(t, Options{InMemory: true})
	e.history.most = 50
	for i := range 200 {
		if _, err := e.Update(ctx, testKey(i), set("before")); err != nil {
			t.Fatal(err)
		}
	}
	name := [16]byte{1}
	if err := e.Mark(ctx, name); err != nil {
		t.Fatal(err)
	}
	before := dump(t, e)
	for i := range 50 {
		remove(t, e, testKey(i))
	}
	if got, _ := since(t, e, before, name); !maps.Equal(got, dump(t, e)) {
		t.Error("a list that is full is not whole")
	}
	remove(t, e, testKey(50))
	none := func(store.Item, bool) error {
		t.Error("DumpSince hands out a part of what it should")
		return nil
	}
	if err := e.DumpSince(ctx, name, none); !errors.Is(err, store.ErrNoMark) {
		t.Errorf("DumpSince with a list that was cut = %v, want ErrNoMark", err)
	}
	// From here on it is whole again, also for a name that was forgotten.
	if err := e.Mark(ctx, name); err != nil {
		t.Fatal(err)
	}
	if got, _ := since(t, e, dump(t, e), name); !maps.Equal(got, dump(t, e)) {
		t.Error("a mark that was made anew has changes behind it")
	}
	next := [16]byte{2}
	if err := e.Mark(ctx, next); err != nil {
		t.Fatal(err)
	}
	before = dump(t, e)
	for i := 51; i < 100; i++ {
		remove(t, e, testKey(i))
	}
	got, gone := since(t, e, before, next)
	if !maps.Equal(got, dump(t, e)) || gone != 49 {
		t.Errorf("a dump and what changed since have %d records after %d went, want %d and 49", len(got), gone, len(dump(t, e)))
	}
	if n := e.history.next - e.history.first; n > 50 {
		t.Errorf("the list has %d entries, want 50 at most", n)
	}
}

func TestHistoryKeepsTheNewestMarks(t *testing.T) {
	e := openTest(t, Options{InMemory: true})
	name := func(n int) [16]byte { return [16]byte([]byte(fmt.Sprintf("%016d", n))) }
	for n := range mostMarks + 1 {
		if err := e.Mark(ctx, name(n)); err != nil {
			t.Fatal(err)
		}
	}
	all := func(store.Item, bool) error { return nil }
	if err := e.DumpSince(ctx, name(0), all); !errors.Is(err, store.ErrNoMark) {
		t.Errorf("DumpSince of the oldest mark = %v, want ErrNoMark", err)
	}
	for n := 1; n <= mostMarks; n++ {
		if err := e.DumpSince(ctx, name(n), all); err != nil {
			t.Errorf("DumpSince of mark %d = %v", n, err)
		}
	}
}

// A directory that an earlier program wrote has no history: it begins where the
// engine goes on.
func TestHistoryBeginsWhereThereWasNone(t *testing.T) {
	dir := t.TempDir()
	e, err := Open(Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := e.Update(ctx, testKey(1), set("before")); err != nil {
		t.Fatal(err)
	}
	ts := e.read.Load() + 1
	txn := e.db.NewTransactionAt(ts, true)
	if err := errors.Join(txn.Delete(historyKey), txn.CommitAt(ts, nil), e.Close()); err != nil {
		t.Fatal(err)
	}
	if e, err = Open(Options{Dir: dir}); err != nil {
		t.Fatal(err)
	}
	name := [16]byte{1}
	if err := e.Mark(ctx, name); err != nil {
		t.Fatal(err)
	}
	before := dump(t, e)
	remove(t, e, testKey(1))
	if got, gone := since(t, e, before, name); len(got) != 0 || gone != 1 {
		t.Errorf("a dump and what changed since have %d records after %d went, want none after 1", len(got), gone)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
}
