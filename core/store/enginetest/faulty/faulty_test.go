package faulty_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/souk-market/souk/core/store"
	"github.com/souk-market/souk/core/store/badger"
	"github.com/souk-market/souk/core/store/enginetest"
	"github.com/souk-market/souk/core/store/enginetest/faulty"
)

var ctx = context.Background()

func open(t testing.TB, o badger.Options) *faulty.Engine {
	t.Helper()
	inner, err := badger.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	return faulty.New(inner)
}

// Without faults it is an engine like any other.
func TestEngine(t *testing.T) {
	enginetest.Run(t, func(t testing.TB, now func() time.Time) store.Engine {
		return open(t, badger.Options{InMemory: true, Now: now})
	})
}

var key = store.Key{Table: 'P', Part: "part", Sub: "sub"}

func write(e store.Engine, value string) error {
	_, err := e.Update(ctx, key, func(*store.Item) (*store.Write, error) { return &store.Write{Value: []byte(value)}, nil })
	return err
}

func apply(e store.Engine, value string) error {
	return e.Apply(ctx, store.Op{Key: key, Value: []byte(value)})
}

func value(t *testing.T, e store.Engine) string {
	t.Helper()
	it, err := e.Get(ctx, key)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		t.Fatal(err)
	}
	return string(it.Value)
}

// What the caller is told, what is read then, and what is there after a restart.
func TestFaults(t *testing.T) {
	for _, test := range []struct {
		fault       faulty.Fault
		told        error
		read, later string
		stops       bool
	}{
		{faulty.None, nil, "new", "new", false},
		{faulty.Full, store.ErrFull, "old", "old", false},
		{faulty.Lost, store.ErrUnknown, "old", "old", false},
		{faulty.Kept, store.ErrUnknown, "new", "new", false},
		{faulty.StopLost, store.ErrUnknown, "old", "old", true},
		{faulty.StopKept, store.ErrUnknown, "old", "new", true},
	} {
		for way, write := range map[string]func(store.Engine, string) error{"Update": write, "Apply": apply} {
			t.Run(fmt.Sprint(test.fault, " ", way), func(t *testing.T) {
				o := badger.Options{Dir: t.TempDir()}
				e := open(t, o)
				if err := write(e, "old"); err != nil {
					t.Fatal(err)
				}
				e.Next('P', test.fault)
				if err := write(e, "new"); !errors.Is(err, test.told) {
					t.Errorf("%s = %v, want %v", way, err, test.told)
				}
				if got := value(t, e); got != test.read {
					t.Errorf("the value is %q, want %q", got, test.read)
				}
				if stopped := e.Stats().Stopped; stopped != test.stops {
					t.Errorf("Stats().Stopped = %v, want %v", stopped, test.stops)
				}
				if err := write(e, test.read); errors.Is(err, store.ErrStopped) != test.stops {
					t.Errorf("the next %s = %v", way, err)
				}
				if err := e.Close(); err != nil {
					t.Fatal(err)
				}
				e = open(t, o)
				if got := value(t, e); got != test.later {
					t.Errorf("after a restart the value is %q, want %q", got, test.later)
				}
				if err := errors.Join(write(e, "again"), e.Close()); err != nil {
					t.Errorf("writing after a restart: %v", err)
				}
			})
		}
	}
}

func TestConflict(t *testing.T) {
	e := open(t, badger.Options{InMemory: true})
	defer e.Close()
	e.Next('P', faulty.Conflict, faulty.Conflict)
	if err := apply(e, "new"); !errors.Is(err, store.ErrConflict) || value(t, e) != "" {
		t.Errorf("Apply = %v, the value is %q", err, value(t, e))
	}
	runs := 0
	_, err := e.Update(ctx, key, func(*store.Item) (*store.Write, error) {
		runs++
		return &store.Write{Value: []byte("new")}, nil
	})
	if err != nil || runs != 2 || value(t, e) != "new" {
		t.Errorf("Update = %v after %d runs, the value is %q", err, runs, value(t, e))
	}
}

// Reads and updates that leave the record alone meet no fault and use none up.
func TestFaultsMeetWritesOnly(t *testing.T) {
	e := open(t, badger.Options{InMemory: true})
	defer e.Close()
	e.Next('P', faulty.Lost)
	value(t, e)
	if _, err := e.Update(ctx, key, func(*store.Item) (*store.Write, error) { return nil, nil }); err != nil {
		t.Errorf("Update that writes nothing = %v", err)
	}
	if err := e.Apply(ctx, store.Op{Key: key, Guard: true}); err != nil {
		t.Errorf("Apply that only checks = %v", err)
	}
	if err := e.Apply(ctx, store.Op{Key: key, Guard: true, If: 1, Value: []byte("x")}); !errors.Is(err, store.ErrConflict) {
		t.Errorf("Apply whose guard does not hold = %v, want ErrConflict", err)
	}
	if err := e.Apply(ctx, store.Op{Key: store.Key{Table: 'Q'}, Value: []byte("x")}); err != nil {
		t.Errorf("Apply to another table = %v", err)
	}
	if err := write(e, "x"); !errors.Is(err, store.ErrUnknown) || e.Met(faulty.Lost) != 1 {
		t.Errorf("the write = %v, want ErrUnknown", err)
	}
}

func TestFullUntilThereIsRoom(t *testing.T) {
	e := open(t, badger.Options{InMemory: true})
	defer e.Close()
	e.SetFull(true)
	if err := write(e, "x"); !errors.Is(err, store.ErrFull) || !e.Stats().Full {
		t.Errorf("a write = %v, want ErrFull", err)
	}
	e.SetFull(false)
	if err := write(e, "x"); err != nil || e.Stats().Full {
		t.Errorf("a write when there is room = %v", err)
	}
}

func TestSlowSync(t *testing.T) {
	e := open(t, badger.Options{InMemory: true})
	defer e.Close()
	release := e.Hold()
	hurried, cancel := context.WithCancelCause(ctx)
	gone := errors.New("the client is gone")
	first := make(chan error, 1)
	go func() {
		_, err := e.Update(hurried, key, func(*store.Item) (*store.Write, error) { return &store.Write{Value: []byte("one")}, nil })
		first <- err
	}()
	cancel(gone)
	if err := <-first; !errors.Is(err, store.ErrUnknown) && !errors.Is(err, context.Canceled) {
		t.Errorf("a write whose context ended = %v", err)
	}
	second := make(chan error, 1)
	go func() { second <- e.Apply(ctx, store.Op{Key: store.Key{Table: 'Q'}, Value: []byte("two")}) }()
	if got := value(t, e); got != "" {
		t.Errorf("reads see %q before the sync, want nothing", got)
	}
	select {
	case err := <-second:
		t.Errorf("a write returned %v before the sync", err)
	default:
	}
	release()
	if err := <-second; err != nil {
		t.Errorf("a patient write = %v", err)
	}
	if _, err := e.Get(ctx, store.Key{Table: 'Q'}); err != nil {
		t.Errorf("Get after the sync = %v", err)
	}
}

func TestHintsComeLate(t *testing.T) {
	e := open(t, badger.Options{InMemory: true})
	defer e.Close()
	hints, err := e.Watch(t.Context(), 'P')
	if err != nil {
		t.Fatal(err)
	}
	<-hints
	release := e.HoldHints()
	if err := write(e, "x"); err != nil {
		t.Fatal(err)
	}
	select {
	case <-hints:
		t.Error("a hint came while hints are held")
	default:
	}
	release()
	<-hints
}

func TestRandomIsReproducible(t *testing.T) {
	draw := func(seed uint64) (all []faulty.Fault) {
		f := faulty.Random(seed, 50, faulty.Lost, faulty.Kept)
		for range 100 {
			all = append(all, f(faulty.Write{}))
		}
		return all
	}
	one, again, other := draw(1), draw(1), draw(2)
	if !slices.Equal(one, again) || slices.Equal(one, other) {
		t.Error("the seed does not decide the faults")
	}
	for _, f := range []faulty.Fault{faulty.None, faulty.Lost, faulty.Kept} {
		if !slices.Contains(one, f) {
			t.Errorf("%v is not among a hundred faults", f)
		}
	}
}

// A mark is a write like any other: what a caller is told of it, and whether anybody
// can go on from it.
func TestFaultsMeetMarks(t *testing.T) {
	for _, test := range []struct {
		fault       faulty.Fault
		told        error
		then, later bool // it is there
	}{
		{faulty.None, nil, true, true},
		{faulty.Conflict, nil, true, true}, // there is nothing to be quicker at
		{faulty.Full, store.ErrFull, false, false},
		{faulty.Lost, store.ErrUnknown, false, false},
		{faulty.Kept, store.ErrUnknown, true, true},
		{faulty.StopLost, store.ErrUnknown, false, false},
		{faulty.StopKept, store.ErrUnknown, false, true},
	} {
		t.Run(test.fault.String(), func(t *testing.T) {
			o := badger.Options{Dir: t.TempDir()}
			e := open(t, o)
			name := [16]byte{1}
			there := func(e *faulty.Engine) bool {
				err := e.DumpSince(ctx, name, func(store.Item, bool) error { return nil })
				if err != nil && !errors.Is(err, store.ErrNoMark) {
					t.Error(err)
				}
				return err == nil
			}
			if err := write(e, "x"); err != nil {
				t.Fatal(err)
			}
			e.Next(0, test.fault)
			if err := e.Mark(ctx, name); !errors.Is(err, test.told) {
				t.Errorf("Mark = %v, want %v", err, test.told)
			}
			if there(e) != test.then || e.Met(test.fault) == 0 {
				t.Errorf("the mark is there: %v, want %v; %d met the fault", !test.then, test.then, e.Met(test.fault))
			}
			stops := test.fault == faulty.StopLost || test.fault == faulty.StopKept
			if err := e.Mark(ctx, [16]byte{2}); errors.Is(err, store.ErrStopped) != stops || err != nil && !stops {
				t.Errorf("the next Mark = %v", err)
			}
			if err := e.Close(); err != nil {
				t.Fatal(err)
			}
			e = open(t, o)
			if there(e) != test.later {
				t.Errorf("after a restart the mark is there: %v, want %v", !test.later, test.later)
			}
			if err := e.Close(); err != nil {
				t.Fatal(err)
			}
		})
	}
	e := open(t, badger.Options{InMemory: true})
	defer e.Close()
	e.SetFull(true)
	if err := e.Mark(ctx, [16]byte{1}); !errors.Is(err, store.ErrFull) {
		t.Errorf("Mark on a full disk = %v, want ErrFull", err)
	}
	e.SetFull(false)
	release := e.Hold()
	marked := make(chan error, 1)
	go func() { marked <- e.Mark(ctx, [16]byte{1}) }()
	select {
	case err := <-marked:
		t.Errorf("Mark returned %v before the sync", err)
	default:
	}
	release()
	if err := <-marked; err != nil {
		t.Errorf("a patient Mark = %v", err)
	}
	gone, cancel := context.WithCancel(ctx)
	cancel()
	if err := e.Mark(gone, [16]byte{2}); !errors.Is(err, context.Canceled) {
		t.Errorf("Mark of one who has gone = %v", err)
	}
}
