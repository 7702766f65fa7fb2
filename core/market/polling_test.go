package market_test

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/souk-market/souk/core/market"
	"github.com/souk-market/souk/core/store"
	"github.com/souk-market/souk/core/store/badger"
)

// openPolling is two nodes on one store.
func openPolling(t *testing.T) (one, other *market.Polling, ahead *atomic.Int64) {
	t.Helper()
	ahead = new(atomic.Int64)
	now := func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	engine, err := badger.Open(badger.Options{InMemory: true, Now: now})
	if err != nil {
		t.Fatal(err)
	}
	s, err := store.Open(t.Context(), engine, store.Config{Now: now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	var nodes [2]*market.Polling
	for i := range nodes {
		if nodes[i], err = market.OpenPolling(t.Context(), s, 24, now, nil); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(nodes[i].Close)
	}
	return nodes[0], nodes[1], ahead
}

func wantHours(t *testing.T, what string, p *market.Polling, want int) {
	t.Helper()
	if got := p.Hours(); got != want {
		t.Errorf("%s a device is to wait for %d hours, want %d", what, got, want)
	}
}

// reach waits for what another node was told.
func reach(t *testing.T, p *market.Polling, want int) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); p.Hours() != want; time.Sleep(time.Millisecond) { // between looks, not instead of them
		if time.Now().After(end) {
			t.Fatalf("the other node says %d hours, want %d", p.Hours(), want)
		}
	}
}

func TestPollingReachesEveryNode(t *testing.T) {
	one, other, ahead := openPolling(t)
	wantHours(t, "where nothing is said", one, 24)
	if err := one.Set(t.Context(), 48, time.Time{}); err != nil {
		t.Fatal(err)
	}
	wantHours(t, "at once", one, 48)
	reach(t, other, 48)
	if err := other.Set(t.Context(), 72, time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	wantHours(t, "at once", other, 72)
	reach(t, one, 72)
	ahead.Store(int64(time.Hour))
	wantHours(t, "when it has ended", one, 24)
	if one.Said() != nil {
		t.Errorf("after its end the operator says %+v, want nothing", one.Said())
	}
	ahead.Store(0)
	if err := one.Clear(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantHours(t, "when it was taken back", one, 24)
	reach(t, other, 24)
}

func TestPollingKeepsToTheBounds(t *testing.T) {
	one, _, _ := openPolling(t)
	for _, hours := range []int{-1, 0, 23, 721, 1 << 40} {
		if err := one.Set(t.Context(), hours, time.Time{}); err == nil {
			t.Errorf("Set(%d) = nil, want it refused", hours)
		}
	}
	for _, hours := range []int{24, 720} {
		if err := one.Set(t.Context(), hours, time.Time{}); err != nil {
			t.Errorf("Set(%d) = %v", hours, err)
		}
		wantHours(t, "within the bounds", one, hours)
	}
}

// A record that says nothing keeps nobody from serving, and can be taken back.
func TestPollingThatCannotBeReadLetsTheConfigurationHold(t *testing.T) {
	for what, value := range map[string][]byte{
		"cut off":      {1, 0},
		"out of range": append([]byte{1, 0, 0, 0, 1, 0}, make([]byte, 16)...),
	} {
		engine, err := badger.Open(badger.Options{InMemory: true})
		if err != nil {
			t.Fatal(err)
		}
		s, err := store.Open(t.Context(), engine, store.Config{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = s.Close() })
		if err := engine.Apply(t.Context(), store.Op{Key: store.Key{Table: 'O', Part: "polling"}, Value: value}); err != nil {
			t.Fatal(err)
		}
		p, err := market.OpenPolling(t.Context(), s, 24, time.Now, nil)
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		t.Cleanup(p.Close)
		wantHours(t, what, p, 24)
		if err := p.Clear(t.Context()); err != nil {
			t.Fatalf("%s: take it back: %v", what, err)
		}
		if err := p.Set(t.Context(), 48, time.Time{}); err != nil {
			t.Fatalf("%s: set anew: %v", what, err)
		}
		wantHours(t, "set anew", p, 48)
	}
}
