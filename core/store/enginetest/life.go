package enginetest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
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
