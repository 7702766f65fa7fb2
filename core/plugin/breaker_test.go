package plugin_test

import (
	"maps"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/souk-market/souk/core/plugin"
	"github.com/souk-market/souk/sdk/abi"
)

// broken is a host whose plugin traps where the account is "x"; its breaker has
// the default limit.
func broken(t *testing.T, j *journal, set func(*plugin.Spec)) (*plugin.Host, *clock) {
	t.Helper()
	var now clock
	s := spec("a", trapsForX(decisions(allow)))
	s.Breaker = plugin.DefaultSpec().Breaker
	if set != nil {
		set(&s)
	}
	return open(t, plugin.Options{Specs: []plugin.Spec{s}, Now: now.now, Log: j.logger()}), &now
}

func breakerOf(h *plugin.Host) plugin.BreakerInfo { return h.Plugins()[0].Hooks[0].Breaker }

// asks asks n times as one account, and wants it answered or failed.
func asks(t *testing.T, h *plugin.Host, n int, account string, failed bool) {
	t.Helper()
	for range n {
		if got := entitle(t, h, 1, abi.Head{Account: account})[0]; got.Failed != failed || (got.Decision == deny) != failed {
			t.Fatalf("the question of %q is answered %+v, want failed = %v", account, got, failed)
		}
	}
}

func wantState(t *testing.T, h *plugin.Host, state string) {
	t.Helper()
	if b := breakerOf(h); b.State != state || (b.Until != nil) != (state == "open") {
		t.Fatalf("the breaker is %+v, want it %s", b, state)
	}
}

func TestBreaker(t *testing.T) {
	var j journal
	h, now := broken(t, &j, nil)
	asks(t, h, 4, "x", true)
	wantState(t, h, "closed")
	asks(t, h, 1, "x", true)
	wantState(t, h, "open")
	if until := breakerOf(h).Until; !until.Equal(now.now().Add(time.Second)) {
		t.Errorf("the breaker is open until %v, want a second", until)
	}
	asks(t, h, 3, "somebody", true) // by on_error, without the guest
	if have, want := failuresOf(h, "a", "entitle"), map[string]uint64{"trap": 5, "breaker open": 3}; !maps.Equal(have, want) {
		t.Errorf("failures = %v, want %v", have, want)
	}

	// One question after a second; it fails, so two seconds; and so on to a minute.
	for delay := 2 * time.Second; delay < 2*time.Minute; delay *= 2 {
		now.add(breakerOf(h).Until.Sub(now.now()))
		asks(t, h, 1, "x", true)
		wantState(t, h, "open")
		if have, want := breakerOf(h).Until.Sub(now.now()), min(delay, time.Minute); have != want {
			t.Errorf("the breaker opened for %v more, want %v", have, want)
		}
		asks(t, h, 1, "somebody", true)
	}
	if have := failuresOf(h, "a", "entitle")["trap"]; have != 5+6 {
		t.Errorf("the guest was asked and failed %d times, want 5 and a probe for each of 6 delays", have)
	}

	// A probe that is answered closes it.
	now.add(time.Minute)
	asks(t, h, 4, "somebody", false)
	wantState(t, h, "closed")
	if b := breakerOf(h); b.Opened != 1 || b.Failures != 0 {
		t.Errorf("the breaker is %+v, want one that opened once and has no failures", b)
	}
	if opened, closed := strings.Count(j.String(), "its breaker opened"), strings.Count(j.String(), "its breaker closed"); opened != 1 || closed != 1 {
		t.Errorf("the log says %d times that it opened and %d times that it closed, want once each", opened, closed)
	}
	if last := h.Plugins()[0].LastFailure; !strings.Contains(last, "unreachable") {
		t.Errorf("the last failure is %q, want the guest's own", last)
	}
}

func TestBreakerLeavesAlone(t *testing.T) {
	for _, c := range []struct {
		rule string
		set  func(*plugin.Spec)
		run  func(t *testing.T, h *plugin.Host, now *clock)
	}{
		{"failures that are far apart", nil, func(t *testing.T, h *plugin.Host, now *clock) {
			for range 20 {
				asks(t, h, 1, "x", true)
				now.add(3 * time.Second)
			}
		}},
		{"failures among many answers", nil, func(t *testing.T, h *plugin.Host, _ *clock) {
			for range 20 {
				asks(t, h, 1, "x", true)
				asks(t, h, 3, "somebody", false)
			}
		}},
		{"a limit of 0", func(s *plugin.Spec) { s.Breaker = 0 }, func(t *testing.T, h *plugin.Host, _ *clock) {
			asks(t, h, 100, "x", true)
		}},
		{"requests that were given up", nil, func(t *testing.T, h *plugin.Host, _ *clock) {
			c := h.Acquire()
			defer c.Release()
			for range 10 {
				c.Entitle.Apps = append(c.Entitle.Apps[:0], make([]abi.EntitleApp, 40_000)...) // too many to be asked
				if got := c.AskEntitle(t.Context())[0]; !got.Failed {
					t.Fatalf("a question that is too large: %+v, want a failure", got)
				}
			}
		}},
	} {
		t.Run(c.rule, func(t *testing.T) {
			h, now := broken(t, new(journal), c.set)
			c.run(t, h, now)
			wantState(t, h, "closed")
		})
	}
}

// TestOneProbeAtATime: of all that ask when the time is over one reaches the
// guest.
func TestOneProbeAtATime(t *testing.T) {
	kv := &store{waiting: make(chan struct{}), release: make(chan struct{})}
	g := newGuest().imported("souk", "kv_get", "iiii", "i")
	code := g.put(1024, decisions(allow))
	g.hook("entitle", "i32.const 8192 i32.const 3 i32.const 16384 i32.const 100 call kv_get i32.const -5 i32.eq if unreachable end "+code)
	var now clock
	s := spec("a", g.wasm())
	s.Allow, s.Breaker, s.HostDeadline = []string{"kv"}, 1, 1<<40
	h := open(t, plugin.Options{Specs: []plugin.Spec{s}, KV: kv.open, Now: now.now})
	var wg sync.WaitGroup
	question := func(failed bool) {
		wg.Go(func() {
			if got := entitle(t, h, 1, abi.Head{})[0]; got.Failed != failed {
				t.Errorf("answered %+v, want failed = %v", got, failed)
			}
		})
	}
	kv.fail = plugin.ErrFailed
	question(true)
	<-kv.waiting
	kv.release <- struct{}{}
	wg.Wait()
	wantState(t, h, "open")

	kv.fail = nil
	now.add(time.Second)
	question(false)
	<-kv.waiting
	wantState(t, h, "half-open")
	asks(t, h, 5, "somebody", true)
	kv.release <- struct{}{}
	wg.Wait()
	wantState(t, h, "closed")
	kv.waiting = nil
	asks(t, h, 5, "somebody", false)
}

// TestASwapClosesTheBreaker: what is put right is asked at once.
func TestASwapClosesTheBreaker(t *testing.T) {
	h, _ := broken(t, new(journal), nil)
	asks(t, h, 5, "x", true)
	wantState(t, h, "open")
	swap(t, h, "a", constant("entitle", decisions(allow)))
	asks(t, h, 1, "x", false)
	wantState(t, h, "closed")
}
