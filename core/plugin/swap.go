package plugin

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/souk-market/souk/core/plugin/meter"
	"github.com/souk-market/souk/sdk/abi"
)

var (
	// ErrNoPlugin says that there is no plugin of that name.
	ErrNoPlugin = errors.New("plugin: there is no such plugin")
	// ErrNoPrevious says that there is nothing to return to.
	ErrNoPrevious = errors.New("plugin: there is no generation before this one")
	// ErrReplaced says that another module is asked than the caller has seen.
	ErrReplaced = errors.New("plugin: another module is asked now")
)

// A new generation is on probation: if it mostly fails, the one before it comes
// back by itself.
const (
	probationTime     = time.Minute
	probationFailures = 3
)

// turn is the right to change what is asked, of one at a time.
type turn struct {
	*Host
	published bool
}

// turn waits until no other swap is under way and few sets drain.
func (h *Host) turn(ctx context.Context) (*turn, error) {
	select {
	case h.swapping <- struct{}{}:
	case <-ctx.Done():
		return nil, fmt.Errorf("wait for another swap: %w", ctx.Err())
	}
	select {
	case h.draining <- struct{}{}:
	case <-ctx.Done():
		<-h.swapping
		return nil, fmt.Errorf("wait for the requests of earlier generations: %w", ctx.Err())
	}
	return &turn{Host: h}, nil
}

// done gives the turn back. The place among the draining is that of the set that
// was replaced, if one was.
func (t *turn) done() {
	if !t.published {
		<-t.draining
	}
	<-t.swapping
}

// change publishes what next makes of the generations of now.
func (t *turn) change(next func(now []*generation) []*generation) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return errClosed
	}
	t.publish(next(slices.Clone(t.set.Load().all)))
	t.published = true
	return nil
}

// replace publishes g in the place of its plugin's generation. previous is what
// its plugin may return to from then on, nil for nothing.
func (t *turn) replace(g, previous *generation) error {
	now := t.loader.now()
	return t.change(func(all []*generation) []*generation {
		for i, old := range all {
			if old.plugin == g.plugin {
				all[i] = g
				g.succeeds(previous, now)
			}
		}
		return all
	})
}

// succeeds notes that g is asked from now on. previous is what its plugin may
// return to, nil for none. The host's lock is held.
func (g *generation) succeeds(previous *generation, now time.Time) {
	forgotten := g.previous
	g.previous = previous
	g.since = now
	g.probation.begin(now, previous != nil)
	g.compared.restart()
	for _, b := range g.breakers {
		if b != nil {
			b.restart()
		}
	}
	if forgotten != nil && forgotten != previous && forgotten != g {
		g.host.settle(forgotten)
	}
}

// standsFor says whether g and an older generation are asked the same, in earnest
// or as the same shadow. Only to such a one may its plugin return: from a plugin
// back to the shadow that it was, nobody would be asked any more.
func (g *generation) standsFor(old *generation) bool {
	return old != nil && g.spec.Shadow == old.spec.Shadow && g.spec.InsteadOf == old.spec.InsteadOf &&
		len(g.hooks) == len(old.hooks) && !slices.ContainsFunc(g.hooks, func(h abi.Hook) bool { return !slices.Contains(old.hooks, h) })
}

// probation is how long a generation may be sent back; 0 = not, or no more.
type probation struct{ until atomic.Int64 }

func (p *probation) begin(now time.Time, possible bool) {
	p.until.Store(0)
	if possible {
		p.until.Store(now.Add(probationTime).UnixNano())
	}
}

func (p *probation) lasts(now time.Time) bool { return now.UnixNano() < p.until.Load() }

// end says whether it was this call that ended it.
func (p *probation) end() bool { return p.until.Swap(0) != 0 }

// Swap puts another module in the place of a plugin's. The configuration stays:
// the new module may import, use and answer what the old one may, and nothing
// else. It is loaded and started while the old one answers, then it takes over
// between two requests. After an error, one sentence, nothing has changed.
//
// The bytes are the caller's again when Swap returns. The error wraps ErrNoPlugin
// or ErrReplaced, or is a BadModule.
func (h *Host) Swap(ctx context.Context, name string, m Module) (Swapped, error) {
	t, err := h.turn(ctx)
	if err != nil {
		return Swapped{}, err
	}
	defer t.done()
	old, err := h.expected(name, m.Expect)
	if err != nil {
		return Swapped{}, err
	}
	s := old.spec
	s.File, s.Hooks, s.upload = "", nil, &m
	s.Wasm = append([]byte{}, m.Wasm...) // never nil, which would be the file
	// First of all: what nobody vouches for is not even looked at.
	if _, err := h.loader.vouch(&s, s.Wasm); err != nil {
		return Swapped{}, &BadModule{err}
	}
	if err := covers(s.Wasm, old.hooks); err != nil {
		return Swapped{}, &BadModule{err}
	}
	for _, hook := range old.hooks {
		s.Hooks = append(s.Hooks, hook.String())
	}
	g, err := h.successor(ctx, old, s)
	if err != nil {
		return Swapped{}, badModule(ctx, err)
	}
	if err := t.say(ctx, changeOf("swap", old, g)); err != nil {
		h.discard(g)
		return Swapped{}, err
	}
	// The configuration is still what the operator wrote.
	g.spec.File, g.spec.Hooks, g.uploaded = old.spec.File, old.spec.Hooks, true
	if err := t.replace(g, old); err != nil {
		h.discard(g)
		return Swapped{}, err
	}
	g.plugin.swaps.Add(1)
	g.logSwapped("plugin swapped")
	return swapped(old, g), nil
}

// successor loads the generation after old, and starts as many instances.
func (h *Host) successor(ctx context.Context, old *generation, s Spec) (*generation, error) {
	g, err := h.loader.load(ctx, old.plugin, s)
	if err != nil {
		return nil, err
	}
	if err := g.warm(ctx, old.running()); err != nil {
		return nil, errors.Join(err, g.close(context.Background()))
	}
	h.adopt(g)
	return g, nil
}

// adopt makes a generation one of its plugin's.
func (h *Host) adopt(g *generation) {
	h.mu.Lock()
	defer h.mu.Unlock()
	g.plugin.number++
	g.number = g.plugin.number
	g.living = append(g.living, g)
}

// discard closes generations that were adopted and never asked.
func (h *Host) discard(all ...*generation) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, g := range all {
		h.settle(g)
	}
}

// covers refuses a module that leaves a question unanswered which is asked now.
// What is wrong with it otherwise, load says better.
func covers(wasm []byte, asked []abi.Hook) error {
	m, err := meter.Inspect(wasm)
	if err != nil {
		return nil
	}
	have, err := checkExports(m)
	if err != nil {
		return nil
	}
	for _, hook := range asked {
		if !slices.Contains(have, hook) {
			return fmt.Errorf("the module doesn't export %s, which this plugin is asked: it exports %s; change hooks in the configuration if that is meant", hook, hookList(have))
		}
	}
	return nil
}

// named returns the generation of a plugin that is asked now.
func (h *Host) named(name string) *generation {
	for _, g := range h.set.Load().all {
		if g.name == name {
			return g
		}
	}
	return nil
}

// Return puts the generation of a plugin back that was there before the last
// swap. Returning twice goes forward again. expect is the SHA-256 of what has to
// be asked now, "" for whatever is. The error wraps ErrNoPlugin, ErrReplaced or
// ErrNoPrevious.
func (h *Host) Return(ctx context.Context, name, expect string) (Swapped, error) {
	t, err := h.turn(ctx)
	if err != nil {
		return Swapped{}, err
	}
	defer t.done()
	g, err := h.expected(name, expect)
	if err != nil {
		return Swapped{}, err
	}
	previous, err := t.goBack(ctx, g, g, "return")
	switch {
	case errors.Is(err, ErrNoPrevious):
		return Swapped{}, err
	case err != nil:
		return Swapped{}, badModule(ctx, err)
	}
	g.plugin.returns.Add(1)
	previous.logSwapped("plugin returned to the generation before")
	return swapped(g, previous), nil
}

// goBack publishes the generation before g. next is what its plugin may return to
// from there.
func (t *turn) goBack(ctx context.Context, g, next *generation, what string) (*generation, error) {
	t.mu.Lock()
	previous := g.previous
	if previous != nil {
		previous.held++ // its instances stay
	}
	t.mu.Unlock()
	if previous == nil {
		return nil, fmt.Errorf("%w of %q", ErrNoPrevious, g.name)
	}
	err := t.loader.trusts(previous.voucher)
	if err == nil {
		err = previous.warm(ctx, g.running())
	}
	if err == nil {
		err = t.say(ctx, changeOf(what, g, previous))
	}
	if err == nil {
		err = t.replace(previous, next)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	previous.held--
	t.settle(previous)
	return previous, err
}

// Returned says that a generation failed in its first minute, and that the one
// before it was put back.
type Returned struct {
	At     time.Time `json:"at"`
	SHA256 string    `json:"sha256"` // of the module that failed
	Reason string    `json:"reason"`
}

// sendBack puts the generation before g back because g fails. It works beside the
// question that failed, which has its answer.
func (h *Host) sendBack(g *generation, why *Failure) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return
	}
	h.work.Go(func() {
		t, err := h.turn(context.Background())
		if err != nil {
			return
		}
		defer t.done()
		if h.named(g.name) != g {
			return // somebody was quicker
		}
		r := &Returned{At: h.loader.now(), SHA256: hex.EncodeToString(g.hash[:]), Reason: why.Error()}
		_, err = t.goBack(context.Background(), g, nil, "sent back")
		switch {
		case errors.Is(err, errClosed):
		case err != nil:
			g.log.log.Error("plugin fails, and the generation before it can't be put back", "sha256", r.SHA256, "reason", r.Reason, "error", err)
		default:
			h.mu.Lock()
			g.returned = r
			h.mu.Unlock()
			g.sentBack.Add(1)
			g.log.log.Error("plugin failed in its first minute: the generation before it is back", "sha256", r.SHA256, "reason", r.Reason)
		}
	})
}

// newPlugin makes one that nobody knows yet.
func (h *Host) newPlugin(name string) *plugin {
	return &plugin{name: name, host: h, log: newPluginLog(h.loader.log, h.loader.now, name), metrics: newMetrics()}
}

// swaps is the part of a Host that changes what is asked.
type swaps struct {
	set      atomic.Pointer[set]
	loader   *loader
	swapping chan struct{} // a place: one swap at a time
	draining chan struct{} // places
	work     sync.WaitGroup
	mu       sync.Mutex
	closed   bool   // under mu
	sets     uint64 // there were so far; under mu
}

func newSwaps(l *loader) swaps {
	return swaps{loader: l, swapping: make(chan struct{}, 1), draining: make(chan struct{}, maxDraining)}
}

// Changeover is a change of what is asked.
type Changeover struct {
	What          string // swap, return, sent back, or reload
	Plugin        string // of the first three
	Before, After string // their modules' SHA-256
	SignedBy      string // who has signed the one after; empty = nobody

	Added, Changed, Removed []string // plugins; of a reload
}

func changeOf(what string, from, to *generation) Changeover {
	return Changeover{
		What: what, Plugin: to.name, Before: hex.EncodeToString(from.hash[:]), After: hex.EncodeToString(to.hash[:]), SignedBy: to.voucher.String(),
	}
}

// untold says that a change was not made because it could not be told of.
type untold struct{ err error }

func (e *untold) Error() string { return e.err.Error() }
func (e *untold) Unwrap() error { return e.err }

// say tells of a change that is about to be made.
func (t *turn) say(ctx context.Context, c Changeover) error {
	if t.loader.changing == nil {
		return nil
	}
	if err := t.loader.changing(ctx, c); err != nil {
		return &untold{err}
	}
	return nil
}

// logSwapped writes what became of a plugin.
func (g *generation) logSwapped(what string) {
	g.log.log.Info(what, slog.Int("generation", g.number), slog.String("sha256", hex.EncodeToString(g.hash[:])))
}
