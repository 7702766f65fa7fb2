package badger

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	bdb "github.com/dgraph-io/badger/v4"

	"github.com/souk-market/souk/core/store"
)

var ctx = context.Background()

func openTest(t *testing.T, o Options) *Engine {
	t.Helper()
	if !o.InMemory {
		o.Dir = t.TempDir()
	}
	e, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Errorf("Close() = %v", err)
		}
	})
	return e
}

func testKey(n int) store.Key { return store.Key{Table: 'P', Part: fmt.Sprint(n)} }

func set(value string) store.UpdateFunc {
	return func(*store.Item) (*store.Write, error) { return &store.Write{Value: []byte(value)}, nil }
}

func leave(*store.Item) (*store.Write, error) { return nil, nil }

func TestFailedCommitStopsWritesForGood(t *testing.T) {
	e := openTest(t, Options{InMemory: true})
	broken := errors.New("input/output error")
	var failing atomic.Bool
	commit := e.commit
	e.commit = func(txn *bdb.Txn, ts uint64) error {
		if failing.Load() {
			return broken
		}
		return commit(txn, ts)
	}
	before, err := e.Update(ctx, testKey(0), set("before"))
	if err != nil {
		t.Fatal(err)
	}
	failing.Store(true)
	var all sync.WaitGroup
	var unknown atomic.Int64
	for i := range 32 {
		all.Go(func() {
			_, err := e.Update(ctx, testKey(i), set("after"))
			switch {
			case errors.Is(err, store.ErrUnknown) && errors.Is(err, broken):
				unknown.Add(1)
			case !errors.Is(err, store.ErrStopped) || !errors.Is(err, broken):
				t.Errorf("Update during the failure = %v, want ErrUnknown or ErrStopped with the cause", err)
			}
		})
	}
	all.Wait()
	if unknown.Load() == 0 {
		t.Error("no caller was told that its outcome is not known")
	}
	failing.Store(false) // too late
	if _, err := e.Update(ctx, testKey(0), set("after")); !errors.Is(err, store.ErrStopped) {
		t.Errorf("Update after the failure = %v, want ErrStopped", err)
	}
	if err := e.Apply(ctx, store.Op{Key: testKey(1), Delete: true}); !errors.Is(err, store.ErrStopped) {
		t.Errorf("Apply after the failure = %v, want ErrStopped", err)
	}
	if it, err := e.Get(ctx, testKey(0)); err != nil || it.Version != before.Version {
		t.Errorf("Get after the failure = %q, %v, want what was committed", it.Value, err)
	}
	if it, err := e.Update(ctx, testKey(0), leave); err != nil || it.Version != before.Version {
		t.Errorf("Update that writes nothing = %q, %v", it.Value, err)
	}
	if !e.Stats().Stopped {
		t.Error("Stats do not say that writes stopped")
	}
}

// A commit reads the list of what is gone: its blocks may be damaged like others.
func TestPanicInCommitStopsWrites(t *testing.T) {
	e := openTest(t, Options{InMemory: true})
	e.commit = func(*bdb.Txn, uint64) error { panic("a damaged block") }
	if _, err := e.Update(ctx, testKey(0), set("lost")); !errors.Is(err, store.ErrUnknown) || !errors.Is(err, store.ErrDamaged) {
		t.Errorf("Update whose commit panicked = %v, want ErrUnknown with ErrDamaged", err)
	}
	if _, err := e.Update(ctx, testKey(0), set("after")); !errors.Is(err, store.ErrStopped) {
		t.Errorf("Update afterwards = %v, want ErrStopped", err)
	}
	if _, err := e.Get(ctx, testKey(0)); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("Get afterwards = %v, want ErrNotFound", err)
	}
}

func TestFullDiskStopsWritesUntilThereIsRoom(t *testing.T) {
	e := openTest(t, Options{MinFree: 1})
	var left atomic.Int64
	left.Store(10 * e.sizes.table)
	e.space.every = 0
	e.space.free = func(string) (int64, error) { return left.Load(), nil }
	if _, err := e.Update(ctx, testKey(0), set("before")); err != nil {
		t.Fatal(err)
	}
	left.Add(-1)
	for what, err := range map[string]error{
		"Update": func() error { _, err := e.Update(ctx, testKey(0), set("after")); return err }(),
		"Apply":  e.Apply(ctx, store.Op{Key: testKey(0), Value: []byte("after")}),
	} {
		if !errors.Is(err, store.ErrFull) {
			t.Errorf("%s on a full disk = %v, want ErrFull", what, err)
		}
	}
	if !e.Stats().Full {
		t.Error("Stats do not say that the disk is full")
	}
	if it, err := e.Get(ctx, testKey(0)); err != nil || string(it.Value) != "before" {
		t.Errorf("Get on a full disk = %q, %v", it.Value, err)
	}
	if it, err := e.Update(ctx, testKey(0), leave); err != nil || string(it.Value) != "before" {
		t.Errorf("Update that writes nothing on a full disk = %q, %v", it.Value, err)
	}
	if err := e.Apply(ctx, store.Op{Key: testKey(1), Guard: true}); err != nil {
		t.Errorf("Apply that only checks on a full disk = %v", err)
	}
	left.Add(1)
	if _, err := e.Update(ctx, testKey(0), set("after")); err != nil {
		t.Errorf("Update when there is room again = %v", err)
	}
}

func TestSpaceIsLookedAtByTimeAndByBytes(t *testing.T) {
	looks := 0
	s := &space{min: 10, every: time.Second, free: func(string) (int64, error) { looks++; return 10, nil }}
	now := time.Now()
	steps := []struct {
		after   time.Duration
		written uint64
		looks   int
	}{
		{0, 0, 1},
		{999 * time.Millisecond, lookBytes - 1, 1},
		{999 * time.Millisecond, lookBytes, 2},
		{1998 * time.Millisecond, lookBytes, 2},
		{1999 * time.Millisecond, lookBytes, 3},
	}
	for _, step := range steps {
		if err := s.check(now.Add(step.after), step.written); err != nil {
			t.Fatal(err)
		}
		if looks != step.looks {
			t.Errorf("%d looks after %v and %d bytes, want %d", looks, step.after, step.written, step.looks)
		}
	}
	s.free = func(string) (int64, error) { return 0, errors.New("no such device") }
	if err := s.check(now.Add(time.Hour), 0); !errors.Is(err, store.ErrFull) {
		t.Errorf("check = %v when the disk can't be looked at, want ErrFull", err)
	}
}

// hold stops the committer within a job until release is called, so that what is
// queued meanwhile is taken together.
func hold(t *testing.T, e *Engine) (release func()) {
	t.Helper()
	entered, free := make(chan struct{}), make(chan struct{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, err := e.Update(ctx, store.Key{Table: 'P', Part: "hold"}, func(*store.Item) (*store.Write, error) {
			close(entered)
			<-free
			return nil, nil
		})
		if err != nil {
			t.Errorf("Update = %v", err)
		}
	}()
	<-entered
	return func() { close(free); <-done }
}

func TestNeighboursShareACommitWithinLimits(t *testing.T) {
	e := openTest(t, Options{InMemory: true})
	tests := []struct {
		what    string
		callers int
		value   int
		least   uint64 // commits
	}{
		{"ops", 3 * maxBatchOps, 1, 3},
		{"bytes", 200, store.MaxValue, 200*store.MaxValue/maxBatchBytes + 1},
	}
	for _, test := range tests {
		release := hold(t, e)
		before := e.Stats()
		value := string(make([]byte, test.value))
		var all sync.WaitGroup
		for i := range test.callers {
			all.Go(func() {
				if _, err := e.Update(ctx, testKey(i), set(value)); err != nil {
					t.Errorf("Update = %v", err)
				}
			})
		}
		for len(e.queue) < test.callers {
			runtime.Gosched()
		}
		release()
		all.Wait()
		after := e.Stats()
		commits := after.Batches - before.Batches
		if commits < test.least || commits > test.least+2 {
			t.Errorf("%s: %d writes in %d commits, want about %d", test.what, test.callers, commits, test.least)
		}
	}
}

func TestFullQueueIsLeftWhenTheContextEnds(t *testing.T) {
	e := openTest(t, Options{InMemory: true})
	release := hold(t, e)
	var all sync.WaitGroup
	for i := range queueSize {
		all.Go(func() {
			if _, err := e.Update(ctx, testKey(i%10), leave); err != nil {
				t.Errorf("Update = %v", err)
			}
		})
	}
	for len(e.queue) < queueSize {
		runtime.Gosched()
	}
	ends, cancel := context.WithTimeout(ctx, time.Millisecond)
	defer cancel()
	_, err := e.Update(ends, testKey(0), set("never"))
	if !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, store.ErrUnknown) {
		t.Errorf("Update that found the queue full = %v, want the context's error alone", err)
	}
	release()
	all.Wait()
	if _, err := e.Get(ctx, testKey(0)); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("Get = %v, want ErrNotFound", err)
	}
}

func TestCloseWaitsForReaders(t *testing.T) {
	e := openTest(t, Options{})
	for i := range 2 {
		if _, err := e.Update(ctx, testKey(i), set("value")); err != nil {
			t.Fatal(err)
		}
	}
	inside, leave := make(chan struct{}), make(chan struct{})
	dumped := make(chan error, 1)
	go func() {
		n := 0
		dumped <- e.Dump(ctx, func(store.Item) error {
			if n++; n == 1 {
				close(inside)
				<-leave
			}
			return nil
		})
	}()
	<-inside
	closed := make(chan error, 1)
	go func() { closed <- e.Close() }()
	for { // until Close has begun
		if _, err := e.Get(ctx, store.Key{Table: 'P'}); errors.Is(err, store.ErrClosed) {
			break
		}
		runtime.Gosched()
	}
	for until := time.Now().Add(20 * time.Millisecond); time.Now().Before(until); runtime.Gosched() {
		if e.db.IsClosed() {
			t.Fatal("the files were closed with a reader inside")
		}
	}
	close(leave)
	if err := <-dumped; err != nil {
		t.Errorf("Dump that began before Close = %v", err)
	}
	if err := <-closed; err != nil {
		t.Errorf("Close() = %v", err)
	}
}

func TestOldVersionsGo(t *testing.T) {
	e := openTest(t, Options{})
	for i := range 300 {
		if _, err := e.Update(ctx, testKey(0), set(fmt.Sprint(i))); err != nil {
			t.Fatal(err)
		}
	}
	dir := e.db.Opts().Dir
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	e, err := Open(Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	txn := e.db.NewTransactionAt(e.read.Load(), false)
	defer txn.Discard()
	cursor := txn.NewKeyIterator(encodeKey(testKey(0)), bdb.DefaultIteratorOptions)
	defer cursor.Close()
	n := 0
	for cursor.Rewind(); cursor.Valid(); cursor.Next() {
		n++
	}
	if n != 1 {
		t.Errorf("%d versions of a record are kept after a restart, want 1", n)
	}
}

// Badger's own expiry follows the wall clock, so it must come after ours and only
// where ours does the same.
func TestBadgerExpiryComesLater(t *testing.T) {
	until := time.Now().Add(time.Hour)
	mortal := func(*store.Item) (*store.Write, error) {
		return &store.Write{Value: []byte("x"), Expires: until}, nil
	}
	stored := func(e *Engine) uint64 {
		if _, err := e.Update(ctx, testKey(0), mortal); err != nil {
			t.Fatal(err)
		}
		txn := e.db.NewTransactionAt(e.read.Load(), false)
		defer txn.Discard()
		it, err := txn.Get(encodeKey(testKey(0)))
		if err != nil {
			t.Fatal(err)
		}
		return it.ExpiresAt()
	}
	if at := stored(openTest(t, Options{InMemory: true})); at < uint64(until.Add(expirySlop).Unix()) {
		t.Errorf("Badger drops a record at %d, which lives until %d", at, until.Unix())
	}
	if at := stored(openTest(t, Options{InMemory: true, Now: time.Now})); at != 0 {
		t.Errorf("Badger drops a record at %d, though the clock is not its own", at)
	}
}

// A block that is damaged while the engine runs makes Badger panic over it.
func TestPanicWhileReadingIsAnErrorForItsCallerAlone(t *testing.T) {
	e := openTest(t, Options{InMemory: true})
	release := hold(t, e)
	var all sync.WaitGroup
	var refused atomic.Int64
	for i := range 16 {
		all.Go(func() {
			var err error
			if i%4 == 0 {
				_, err = e.send(ctx, &job{f: set("value"), ops: 1, done: make(chan struct{}, 1)}) // without its step
			} else {
				_, err = e.Update(ctx, testKey(i), set("value"))
			}
			switch {
			case i%4 == 0 && errors.Is(err, store.ErrDamaged):
				refused.Add(1)
			case i%4 == 0 || err != nil:
				t.Errorf("job %d = %v", i, err)
			}
		})
	}
	for len(e.queue) < 16 {
		runtime.Gosched()
	}
	release()
	all.Wait()
	if refused.Load() != 4 {
		t.Errorf("%d of 4 panics were reported", refused.Load())
	}
	if it, err := e.Get(ctx, testKey(1)); err != nil || string(it.Value) != "value" {
		t.Errorf("Get of a neighbour in the batch = %q, %v", it.Value, err)
	}
}
