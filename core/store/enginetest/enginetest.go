// Package enginetest is what package store asks of an engine, as tests that any
// engine can be put through. It knows nothing of how an engine works: it opens
// one, uses it from many goroutines and looks at the answers.
//
// Time is a clock that the suite sets, so nothing here sleeps; where an engine may
// take a while to tell (Watch), the suite waits for the answer itself.
package enginetest

import (
	"context"
	"encoding/binary"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/souk-market/souk/core/store"
)

// Open opens an empty engine whose expiry follows now. The suite closes it.
type Open func(t testing.TB, now func() time.Time) store.Engine

// Run puts an engine through the suite.
func Run(t *testing.T, open Open) {
	tests := []struct {
		rule string
		run  func(t *testing.T, e engine)
	}{
		{"a record reads back as it was written", readsBack},
		{"bytes belong to whom they were returned to", ownership},
		{"an acknowledged write is seen by every later read", linearizable},
		{"updates of one key are serialised", serialised},
		{"of many creations one wins", oneWinner},
		{"what f decides is what happens", decisions},
		{"a panic in f is an error for its caller alone", panics},
		{"a version is of one write, also when the record was deleted between", noVersionTwice},
		{"writes of one batch have versions of their own", noABA},
		{"apply does all or nothing", allOrNothing},
		{"apply under contention tears nothing", contention},
		{"apply writes what it is told to", applyWrites},
		{"apply refuses what it can't do at once", applyRefusals},
		{"expiry follows the engine's clock", expiry},
		{"scan goes through one part in order", scanOrder},
		{"scan pages without gap or repetition", scanPages},
		{"a hint comes after the change is visible", hints},
		{"hints coalesce and end with their context", hintsEnd},
		{"a dump loads into an empty engine", dumpLoad},
		{"load refuses what it should", loadRefusals},
		{"what changed since a mark completes a dump", changesSince},
		{"dumps that build on each other are of one moment each", busyMarks},
		{"a load that fails leaves nothing that was not in it", loadPartly},
		{"a loaded record is one like others", loadedRecords},
		{"a context that ended in time stops a write", cancelledBefore},
		{"a context that ends too late leaves the outcome open", cancelledDuring},
		{"an apply whose context ends too late is whole or not there", cancelledApply},
		{"all methods at the same time", hammer},
		{"the counts say what was done", counts},
		{"limits are refused with ErrLimit", limits},
		{"large writes from many callers fit", largeWrites},
		{"close lets queued writes finish", closeFinishes},
		{"a closed engine says so", closedSays},
	}
	for _, test := range tests {
		t.Run(test.rule, func(t *testing.T) {
			clock := &clock{}
			clock.set(start)
			e := engine{Engine: open(t, clock.now), clock: clock, open: open}
			t.Cleanup(func() {
				if err := e.Close(); err != nil {
					t.Errorf("Close() = %v", err)
				}
			})
			test.run(t, e)
		})
	}
}

// start is far from any wall clock: an engine that looks at one will be seen.
var start = time.Date(2001, 2, 3, 4, 5, 6, 0, time.UTC)

// patience is how long the suite waits for what must come.
const patience = 20 * time.Second

var ctx = context.Background()

type engine struct {
	store.Engine
	clock *clock
	open  Open
}

type clock struct{ at atomic.Pointer[time.Time] }

func (c *clock) now() time.Time          { return *c.at.Load() }
func (c *clock) set(t time.Time)         { c.at.Store(&t) }
func (c *clock) advance(d time.Duration) { c.set(c.now().Add(d)) }

func key(part, sub string) store.Key { return store.Key{Table: 'P', Part: part, Sub: sub} }

// put writes a value whatever was there before.
func (e engine) put(t *testing.T, k store.Key, value string) store.Item {
	t.Helper()
	return e.putUntil(t, k, value, time.Time{})
}

func (e engine) putUntil(t *testing.T, k store.Key, value string, expires time.Time) store.Item {
	t.Helper()
	it, err := e.Update(ctx, k, func(*store.Item) (*store.Write, error) {
		return &store.Write{Value: []byte(value), Expires: expires}, nil
	})
	if err != nil {
		t.Fatalf("Update(%q) = %v", k, err)
	}
	return it
}

func (e engine) get(t *testing.T, k store.Key) store.Item {
	t.Helper()
	it, err := e.Get(ctx, k)
	if err != nil {
		t.Fatalf("Get(%q) = %v", k, err)
	}
	return it
}

func (e engine) wantValue(t *testing.T, k store.Key, want string) {
	t.Helper()
	if got := string(e.get(t, k).Value); got != want {
		t.Errorf("Get(%q) = %q, want %q", k, got, want)
	}
}

func (e engine) wantAbsent(t *testing.T, k store.Key) {
	t.Helper()
	if it, err := e.Get(ctx, k); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("Get(%q) = %q, %v, want ErrNotFound", k, it.Value, err)
	}
}

func wantIs(t *testing.T, what string, err, target error) {
	t.Helper()
	if !errors.Is(err, target) {
		t.Errorf("%s = %v, want %v", what, err, target)
	}
}

// together runs n goroutines at once and waits for them.
func together(n int, f func(i int)) {
	var all sync.WaitGroup
	begin := make(chan struct{})
	for i := range n {
		all.Go(func() {
			<-begin
			f(i)
		})
	}
	close(begin)
	all.Wait()
}

// increment adds one to a counter of eight bytes.
func increment(cur *store.Item) (*store.Write, error) {
	n := uint64(0)
	if cur != nil {
		n = binary.BigEndian.Uint64(cur.Value)
	}
	return &store.Write{Value: binary.BigEndian.AppendUint64(nil, n+1)}, nil
}

func number(it store.Item) uint64 { return binary.BigEndian.Uint64(it.Value) }
