package enginetest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/souk-market/souk/core/store"
)

// wait takes a hint; it fails the test when none comes.
func wait(t *testing.T, hints <-chan struct{}) {
	t.Helper()
	select {
	case _, open := <-hints:
		if !open {
			t.Fatal("the channel of hints is closed")
		}
	case <-time.After(patience):
		t.Fatal("no hint came")
	}
}

func hints(t *testing.T, e engine) {
	one, err := e.Watch(t.Context(), 'P')
	if err != nil {
		t.Fatalf("Watch = %v", err)
	}
	two, err := e.Watch(t.Context(), 'P')
	if err != nil {
		t.Fatalf("Watch = %v", err)
	}
	wait(t, one) // the first is there at once
	wait(t, two)
	k := key("watched", "")
	writes := []func() error{
		func() error { _, err := e.Update(ctx, k, increment); return err },
		func() error { return e.Apply(ctx, store.Op{Key: k, Value: make([]byte, 8)}) },
		func() error { return e.Apply(ctx, store.Op{Key: k, Delete: true}) },
	}
	for i, write := range writes {
		var before store.Version
		if it, err := e.Get(ctx, k); err == nil {
			before = it.Version
		}
		done := make(chan error, 1)
		go func() { done <- write() }()
		for _, hints := range []<-chan struct{}{one, two} {
			// A hint may be an old one; what counts is that the last one comes
			// when the change can be read.
			for changed := false; !changed; {
				wait(t, hints)
				it, err := e.Get(ctx, k)
				if err != nil && !errors.Is(err, store.ErrNotFound) {
					t.Fatalf("Get = %v", err)
				}
				changed = it.Version != before
			}
		}
		if err := <-done; err != nil {
			t.Errorf("write %d = %v", i, err)
		}
	}
}

func hintsEnd(t *testing.T, e engine) {
	watching, stop := context.WithCancel(ctx)
	hints, err := e.Watch(watching, 'P')
	if err != nil {
		t.Fatalf("Watch = %v", err)
	}
	for range 100 { // nobody takes the hints: no write may wait for that
		if _, err := e.Update(ctx, key("watched", ""), increment); err != nil {
			t.Fatalf("Update = %v", err)
		}
	}
	if n := len(hints); n > 1 {
		t.Errorf("%d hints wait, want one", n)
	}
	stop()
	for open := true; open; {
		select {
		case _, open = <-hints:
		case <-time.After(patience):
			t.Fatal("the channel is still open after its context ended")
		}
	}
	if _, err := e.Update(ctx, key("watched", ""), increment); err != nil {
		t.Errorf("Update = %v", err)
	}
	_, err = e.Watch(watching, 'P')
	wantIs(t, "Watch with an ended context", err, context.Canceled)
}

func cancelledBefore(t *testing.T, e engine) {
	ended, cancel := context.WithCancel(ctx)
	cancel()
	k := key("cancelled", "")
	_, err := e.Update(ended, k, increment)
	wantIs(t, "Update", err, context.Canceled)
	if errors.Is(err, store.ErrUnknown) {
		t.Error("Update with an ended context does not know what it did")
	}
	err = e.Apply(ended, store.Op{Key: k, Value: []byte("x")})
	wantIs(t, "Apply", err, context.Canceled)
	if errors.Is(err, store.ErrUnknown) {
		t.Error("Apply with an ended context does not know what it did")
	}
	_, err = e.Get(ended, k)
	wantIs(t, "Get", err, context.Canceled)
	_, err = e.Scan(ended, 'P', "cancelled", "", 1)
	wantIs(t, "Scan", err, context.Canceled)
	wantIs(t, "Dump", e.Dump(ended, func(store.Item) error { return nil }), context.Canceled)
	e.wantAbsent(t, k)
}

func cancelledDuring(t *testing.T, e engine) {
	cause := errors.New("the client hung up")
	running, cancel := context.WithCancelCause(ctx)
	k := key("cancelled", "")
	entered, leave := make(chan struct{}), make(chan struct{})
	var once sync.Once
	result := make(chan error, 1)
	go func() {
		_, err := e.Update(running, k, func(cur *store.Item) (*store.Write, error) {
			once.Do(func() { close(entered) })
			<-leave
			return increment(cur)
		})
		result <- err
	}()
	<-entered
	cancel(cause)
	select {
	case err := <-result:
		wantIs(t, "Update", err, store.ErrUnknown)
		wantIs(t, "Update", err, cause)
	case <-time.After(patience):
		t.Fatal("Update does not return when its context ends")
	}
	close(leave)
	// Either outcome is right, and the engine goes on.
	it, err := e.Update(ctx, k, increment)
	if err != nil {
		t.Fatalf("Update = %v", err)
	}
	if n := number(it); n != 1 && n != 2 {
		t.Errorf("counter = %d, want 1 or 2", n)
	}
}

func closeFinishes(t *testing.T, e engine) {
	entered, leave := make(chan struct{}), make(chan struct{})
	var once sync.Once
	var all sync.WaitGroup
	update := func(i int, f store.UpdateFunc) {
		all.Go(func() {
			_, err := e.Update(ctx, key("closing", fmt.Sprint(i)), f)
			if err != nil && (i == 0 || !errors.Is(err, store.ErrClosed)) {
				t.Errorf("Update %d = %v", i, err)
			}
		})
	}
	update(0, func(cur *store.Item) (*store.Write, error) {
		once.Do(func() { close(entered) })
		<-leave
		return increment(cur)
	})
	<-entered
	for i := range 64 {
		update(1+i, increment)
	}
	closed := make(chan error, 1)
	go func() { closed <- e.Close() }()
	close(leave)
	all.Wait()
	if err := <-closed; err != nil {
		t.Errorf("Close = %v", err)
	}
}

func closedSays(t *testing.T, e engine) {
	hints, err := e.Watch(ctx, 'P')
	if err != nil {
		t.Fatalf("Watch = %v", err)
	}
	together(4, func(int) {
		if err := e.Close(); err != nil {
			t.Errorf("Close = %v", err)
		}
	})
	for range hints { // closed too, so this ends
	}
	k := key("closed", "")
	_, err = e.Get(ctx, k)
	wantIs(t, "Get", err, store.ErrClosed)
	_, err = e.Update(ctx, k, increment)
	wantIs(t, "Update", err, store.ErrClosed)
	wantIs(t, "Apply", e.Apply(ctx, store.Op{Key: k, Value: []byte("x")}), store.ErrClosed)
	_, err = e.Scan(ctx, 'P', "closed", "", 1)
	wantIs(t, "Scan", err, store.ErrClosed)
	_, err = e.Watch(ctx, 'P')
	wantIs(t, "Watch", err, store.ErrClosed)
	wantIs(t, "Dump", e.Dump(ctx, func(store.Item) error { return nil }), store.ErrClosed)
	wantIs(t, "Load", e.Load(ctx, func() (store.Item, error) { return store.Item{}, io.EOF }), store.ErrClosed)
	wantIs(t, "Mark", e.Mark(ctx, [16]byte{1}), store.ErrClosed)
	wantIs(t, "DumpSince", e.DumpSince(ctx, [16]byte{1}, func(store.Item, bool) error { return nil }), store.ErrClosed)
}

func cancelledApply(t *testing.T, e engine) {
	cause := errors.New("the client hung up")
	a, b := key("cancelled", "a"), key("cancelled", "b")
	entered, leave := make(chan struct{}), make(chan struct{})
	var once sync.Once
	held := make(chan error, 1)
	go func() {
		_, err := e.Update(ctx, a, func(cur *store.Item) (*store.Write, error) {
			once.Do(func() { close(entered) })
			<-leave
			return increment(cur)
		})
		held <- err
	}()
	<-entered
	running, cancel := context.WithCancelCause(ctx)
	result := make(chan error, 1)
	go func() {
		result <- e.Apply(running, store.Op{Key: a, Value: make([]byte, 8)}, store.Op{Key: b, Value: make([]byte, 8)})
	}()
	cancel(cause)
	select {
	case err := <-result:
		// Before it was accepted the context's own error, later a lost outcome.
		if !errors.Is(err, context.Canceled) && !(errors.Is(err, store.ErrUnknown) && errors.Is(err, cause)) {
			t.Errorf("Apply = %v, want the context's error, or ErrUnknown with its cause", err)
		}
		surely := !errors.Is(err, store.ErrUnknown)
		close(leave)
		if err := <-held; err != nil {
			t.Errorf("Update = %v", err)
		}
		e.put(t, key("cancelled", "c"), "x") // whatever was queued is done
		x, errA := e.Get(ctx, a)
		_, errB := e.Get(ctx, b)
		if errA != nil {
			t.Fatalf("Get = %v", errA)
		}
		applied := number(x) == 0
		if applied != (errB == nil) || applied && surely {
			t.Errorf("half of an apply is there: %d, %v", number(x), errB)
		}
	case <-time.After(patience):
		close(leave)
		t.Fatal("Apply does not return when its context ends")
	}
}

// hammer calls everything at once. Nothing may fail, and the counters add up.
func hammer(t *testing.T, e engine) {
	var adds atomic.Uint64
	watching, stop := context.WithCancel(ctx)
	defer stop()
	together(12, func(i int) {
		for n := range 30 {
			k := key("hammer", fmt.Sprint(n%5))
			var err error
			switch i % 6 {
			case 0, 1:
				if _, err = e.Update(ctx, k, increment); err == nil {
					adds.Add(1)
				}
			case 2:
				err = e.Apply(ctx, store.Op{Key: key("beside", fmt.Sprint(n)), Value: []byte("x")}, store.Op{Key: key("beside", "gone"), Delete: true})
			case 3:
				if _, err = e.Get(ctx, k); errors.Is(err, store.ErrNotFound) {
					err = nil
				}
			case 4:
				var items []store.Item
				if items, err = e.Scan(ctx, 'P', "hammer", "", 10); len(items) > 5 {
					err = fmt.Errorf("%d records", len(items))
				}
			case 5:
				if _, err = e.Watch(watching, 'P'); err == nil {
					err = e.Dump(ctx, func(store.Item) error { return nil })
				}
			}
			if err != nil {
				t.Errorf("call %d of caller %d = %v", n, i, err)
				return
			}
		}
	})
	var sum uint64
	for n := range 5 {
		sum += number(e.get(t, key("hammer", fmt.Sprint(n))))
	}
	if sum != adds.Load() {
		t.Errorf("the counters add up to %d after %d updates", sum, adds.Load())
	}
}

// counts looks at the Stats of an engine that has them.
func counts(t *testing.T, e engine) {
	counted, ok := e.Engine.(interface{ Stats() store.Stats })
	if !ok {
		t.Skip("this engine has no Stats")
	}
	before := counted.Stats()
	e.put(t, key("counted", ""), "value")
	if err := e.Apply(ctx, store.Op{Key: key("counted", ""), Value: []byte("value")}); err != nil {
		t.Fatal(err)
	}
	if _, err := e.Update(ctx, key("counted", ""), func(*store.Item) (*store.Write, error) { return nil, nil }); err != nil {
		t.Fatal(err)
	}
	after := counted.Stats()
	if after.Ops-before.Ops != 3 || after.Batches-before.Batches != 2 || after.Bytes-before.Bytes < 2*uint64(len("counted")+len("value")) {
		t.Errorf("Stats() = %+v after two writes and an update without one, before %+v", after, before)
	}
	if after.Queue != 0 || after.Stopped || after.Full {
		t.Errorf("Stats() = %+v of an engine at rest", after)
	}
}
