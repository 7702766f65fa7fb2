package plugin

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/souk-market/souk/sdk/abi"
)

// A breaker stops a hook of a plugin from being asked while it only fails: what
// overruns costs its deadline each time, and the answer would be on_error
// anyway. It opens when so many failures as the configuration says happened
// within breakerWindow, and were at least half of what was asked meanwhile: one
// hostile client must not turn a plugin off for all others.
const (
	breakerWindow = 10 * time.Second
	breakerFirst  = time.Second // open for so long, then twice as long
	breakerMost   = time.Minute
)

type breakerState uint32

const (
	breakerClosed breakerState = iota
	breakerOpen
	breakerHalfOpen // one question is asked to see
)

var breakerNames = [...]string{"closed", "open", "half-open"}

// breaker is that of one hook of one generation.
type breaker struct {
	state atomic.Uint32 // a breakerState; written under mu

	mu      sync.Mutex
	limit   int // failures that open it; 0 = never
	recent  []strike
	next    int // of recent, which is a ring
	strikes uint64
	opened  uint64
	until   time.Time
	delay   time.Duration
	probing bool
}

// strike is a failure, and how much had been asked by then.
type strike struct {
	at    time.Time
	calls uint64
}

func newBreaker(limit int) *breaker {
	return &breaker{limit: limit, recent: make([]strike, max(limit, probationFailures))}
}

// admit says whether a question may be asked although the breaker isn't closed,
// and whether it is the one that decides what comes next.
func (b *breaker) admit(now time.Time) (probe, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case breakerState(b.state.Load()) == breakerClosed:
		return false, true
	case b.probing || now.Before(b.until):
		return false, false
	}
	b.probing = true
	b.state.Store(uint32(breakerHalfOpen))
	return true, true
}

// passed says that the probe was answered; it closes the breaker.
func (b *breaker) passed() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.reset()
}

// inconclusive says that the probe showed nothing: the next question is one.
func (b *breaker) inconclusive() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.probing = false
}

func (b *breaker) reset() {
	b.state.Store(uint32(breakerClosed))
	clear(b.recent)
	b.strikes, b.delay, b.probing = 0, 0, false
}

// restart forgets all failures.
func (b *breaker) restart() { b.passed() }

// failed counts a failure. opened says that the breaker was closed before.
func (b *breaker) failed(now time.Time, calls uint64, probe bool) (opened bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.recent[b.next] = strike{now, calls}
	b.next = (b.next + 1) % len(b.recent)
	b.strikes++
	switch closed := breakerState(b.state.Load()) == breakerClosed; {
	case probe:
		b.delay = min(2*b.delay, breakerMost)
	case closed && b.limit > 0 && b.mostly(b.limit, breakerWindow):
		b.delay, opened = breakerFirst, true
		b.opened++
	default:
		return false
	}
	b.probing = false
	b.until = now.Add(b.delay)
	b.state.Store(uint32(breakerOpen))
	return opened
}

// mostly says whether the last n failures happened within so long and were at
// least half of what was asked since the first of them.
func (b *breaker) mostly(n int, within time.Duration) bool {
	if b.strikes < uint64(n) {
		return false
	}
	size := len(b.recent)
	first, last := b.recent[(b.next-n+size)%size], b.recent[(b.next-1+size)%size]
	return last.at.Sub(first.at) <= within && last.calls-first.calls < uint64(2*n)
}

// failing is mostly for those that don't hold the lock.
func (b *breaker) failing(n int, within time.Duration) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.mostly(n, within)
}

// BreakerInfo is what the operator sees of a breaker.
type BreakerInfo struct {
	State    string     `json:"state"` // closed, open or half-open
	Until    *time.Time `json:"until"` // while it is open; the next question after it is asked to see
	Failures uint64     `json:"failures"`
	Opened   uint64     `json:"opened"` // how often
}

func (b *breaker) info() BreakerInfo {
	b.mu.Lock()
	defer b.mu.Unlock()
	state := breakerState(b.state.Load())
	i := BreakerInfo{State: breakerNames[state], Failures: b.strikes, Opened: b.opened}
	if state == breakerOpen {
		until := b.until
		i.Until = &until
	}
	return i
}

// breakerChanged writes that a breaker opened, with the failure that did it, or
// closed.
func (l *pluginLog) breakerChanged(hook abi.Hook, cause *Failure) {
	if cause == nil {
		l.log.LogAttrs(context.Background(), slog.LevelInfo, "plugin answers again: its breaker closed", slog.String("hook", hook.String()))
		return
	}
	l.log.LogAttrs(context.Background(), slog.LevelError, "plugin is not asked for a while: its breaker opened",
		slog.String("hook", hook.String()), slog.String("kind", cause.Kind.String()), slog.String("reason", cause.Reason))
}
