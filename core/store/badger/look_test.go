package badger

import (
	"errors"
	"runtime"
	"sync"
	"testing"

	"github.com/souk-market/souk/core/store"
)

func TestLookHoldsUntilTheKeyIsWritten(t *testing.T) {
	e := openTest(t, Options{InMemory: true})
	holds := func(k store.Key, l *look) bool { return e.recent.holds(e.recent.place(encodeKey(k)), l) }
	absent := e.look(ctx, testKey(0), encodeKey(testKey(0)))
	if absent.item.Version != 0 || !holds(testKey(0), &absent) {
		t.Fatalf("look at an absent record = %+v, does not hold", absent)
	}
	stored, err := e.Update(ctx, testKey(0), set("value"))
	if err != nil {
		t.Fatal(err)
	}
	if holds(testKey(0), &absent) {
		t.Error("a look holds though the record was written since")
	}
	present := e.look(ctx, testKey(0), encodeKey(testKey(0)))
	if present.item.Version != stored.Version || !holds(testKey(0), &present) {
		t.Errorf("look = %+v, want version %d, and that it holds", present, stored.Version)
	}
	other := 1 // of another place
	for e.recent.place(encodeKey(testKey(other))) == e.recent.place(encodeKey(testKey(0))) {
		other++
	}
	if _, err := e.Update(ctx, testKey(other), set("other")); err != nil {
		t.Fatal(err)
	}
	if !holds(testKey(0), &present) {
		t.Error("a look does not hold after a write of another key")
	}
	if e.recent.holds(0, &look{}) {
		t.Error("a look that nobody took holds")
	}
}

// An Apply that does not ask what is there leaves nothing behind when it is
// refused: whoever comes next in the batch sees the record as it was.
func TestRefusedApplyLeavesItsBatchAlone(t *testing.T) {
	e := openTest(t, Options{InMemory: true})
	part := func(sub string) store.Key { return store.Key{Table: 'P', Part: "part", Sub: sub} }
	before, err := e.Update(ctx, part("a"), set("before"))
	if err != nil {
		t.Fatal(err)
	}
	release := hold(t, e)
	var all sync.WaitGroup
	all.Go(func() {
		err := e.Apply(ctx,
			store.Op{Key: part("a"), Value: []byte("after")},
			store.Op{Key: part("b"), Guard: true, If: before.Version, Value: []byte("after")})
		if !errors.Is(err, store.ErrConflict) {
			t.Errorf("Apply = %v, want ErrConflict", err)
		}
	})
	for len(e.queue) < 1 {
		runtime.Gosched()
	}
	all.Go(func() {
		it, err := e.Update(ctx, part("a"), leave)
		if err != nil || it.Version != before.Version || string(it.Value) != "before" {
			t.Errorf("Update behind it = %q, %v, want what was there before", it.Value, err)
		}
	})
	all.Go(func() {
		err := e.Apply(ctx, store.Op{Key: part("a"), Guard: true, If: before.Version})
		if err != nil {
			t.Errorf("Apply behind it = %v: the record is as it was", err)
		}
	})
	for len(e.queue) < 3 {
		runtime.Gosched()
	}
	release()
	all.Wait()
}
