package store_test

import (
	"context"
	"encoding/binary"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/souk-market/souk/core/store"
	"github.com/souk-market/souk/core/store/badger"
)

var ctx = context.Background()

// start is the first moment of every test; none looks at the wall clock.
var start = time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)

type clock struct{ at atomic.Pointer[time.Time] }

func newClock() *clock {
	c := &clock{}
	c.set(start)
	return c
}

func (c *clock) now() time.Time          { return *c.at.Load() }
func (c *clock) set(t time.Time)         { c.at.Store(&t) }
func (c *clock) advance(d time.Duration) { c.set(c.now().Add(d)) }

func openEngine(t testing.TB, c *clock) store.Engine {
	t.Helper()
	e, err := badger.Open(badger.Options{InMemory: true, Now: c.now})
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

func openStore(t testing.TB) (*store.Store, store.Engine, *clock) {
	t.Helper()
	c := newClock()
	e := openEngine(t, c)
	s, err := store.Open(ctx, e, store.Config{Now: c.now})
	if err != nil {
		t.Fatal(err)
	}
	return s, e, c
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

// eventually waits for what another goroutine is about to do.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !holds(); {
		if time.Now().After(deadline) {
			t.Fatalf("it never came that %s", what)
		}
	}
}

func formatOf(t *testing.T, e store.Engine) uint32 {
	t.Helper()
	it, err := e.Get(ctx, store.Key{Table: 'M', Part: "format"})
	if err != nil || len(it.Value) != 5 {
		t.Fatalf("format record = %x, %v", it.Value, err)
	}
	return binary.BigEndian.Uint32(it.Value[1:])
}

func TestOpenMarksAnEmptyStore(t *testing.T) {
	s, e, c := openStore(t)
	if f := formatOf(t, e); f != store.Format {
		t.Errorf("an empty store was given the format %d, want %d", f, store.Format)
	}
	if _, err := store.Open(ctx, e, store.Config{Now: c.now}); err != nil {
		t.Errorf("Open again = %v", err)
	}
	if err := s.Close(); err != nil {
		t.Errorf("Close() = %v", err)
	}
	if _, err := s.Family(ctx, [16]byte{}); !errors.Is(err, store.ErrClosed) {
		t.Errorf("Family after Close = %v, want ErrClosed", err)
	}
}

func TestOpenRefusesOtherFormats(t *testing.T) {
	c := newClock()
	e := openEngine(t, c)
	tests := []struct {
		record string
		says   string
	}{
		{"\x01\x00\x00\x00\x04", "store: this directory was written by a newer version (format 4, this program knows 3)"},
		{"\x01\x00\x00\x00\x00", "store: this directory was written by an older version (format 0, this program knows 1 to 3)"},
		{"\x02\x00\x00\x00\x01", "table M: record of format 2, this program knows 1"},
		{"\x01\x00\x00\x00\x01\x00", "table M: 1 bytes behind the record"},
		{"", "table M: record is damaged"},
	}
	for _, test := range tests {
		op := store.Op{Key: store.Key{Table: 'M', Part: "format"}, Value: []byte(test.record)}
		if err := e.Apply(ctx, op); err != nil {
			t.Fatal(err)
		}
		_, err := store.Open(ctx, e, store.Config{Now: c.now})
		if err == nil || !strings.Contains(err.Error(), test.says) {
			t.Errorf("Open with the format record %x = %v, want %q", test.record, err, test.says)
		}
	}
}

func TestNodesSeeEachOther(t *testing.T) {
	c := newClock()
	e := openEngine(t, c)
	shared := store.Config{Now: c.now, Shared: true}
	one, err := store.Open(ctx, e, shared)
	if err != nil {
		t.Fatal(err)
	}
	two, err := store.Open(ctx, e, shared)
	if err != nil {
		t.Fatal(err)
	}
	const name = "alice@example.com"
	grant := func(s *store.Store, grant string) {
		_, err := s.UpdateAccount(ctx, name, func(a *store.Account) (bool, error) {
			a.Grants = []string{grant}
			return true, nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, g := range []string{"silver", "gold"} {
		grant(one, g)
		eventually(t, "the other node sees the grant", func() bool {
			a, err := two.CachedAccount(ctx, store.SubjectID(name))
			return err == nil && a.HasGrant(g)
		})
	}
	id := [16]byte{7}
	if err := one.Revoke(ctx, id, start.Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if !one.RevocationSet().Contains(id) {
		t.Error("the node that revoked does not know it")
	}
	eventually(t, "the other node sees the revocation", func() bool { return two.RevocationSet().Contains(id) })
	if known := two.RevocationsKnown(); known.After(c.now()) {
		t.Errorf("RevocationsKnown() = %v, want no later than now", known)
	}
	// Closing one ends its goroutines; the engine is closed with it.
	if err := errors.Join(one.Close(), two.Close()); err != nil {
		t.Errorf("Close() = %v", err)
	}
}
