package plugin

import (
	"context"
	"slices"
	"sync/atomic"

	"github.com/souk-market/souk/sdk/abi"
)

// maxDraining bounds the sets that were replaced and still have requests. A swap
// beyond it waits: each keeps its instances.
const maxDraining = 8

// set is what is asked at one time: a generation of every plugin. A Call holds on
// to one from Acquire to Release, so a request sees one generation of each
// plugin however many swaps happen meanwhile; see RATIONALE.md.
type set struct {
	number  uint64        // from 1
	all     []*generation // in the order in which they are asked
	chains  [hookCount][]*generation
	shadows [hookCount][]shadowed
	watched [hookCount]bool // somebody looks at the questions of the hook
	pins    [stripes]pin
	left    chan struct{} // somebody let go of it after it was replaced
}

// stripes are the counters of one set. A Call always uses the same one, and a
// core the same Calls: so cores seldom share a counter.
const stripes = 64

type pin struct {
	n atomic.Int64
	_ [56]byte
}

func newSet(all []*generation, recorded bool) *set {
	s := &set{all: all, left: make(chan struct{}, 1)}
	for _, g := range all {
		for _, hook := range g.hooks {
			if !g.spec.Shadow {
				s.chains[hook] = append(s.chains[hook], g)
			}
		}
	}
	for _, hook := range watchable {
		s.shadows[hook] = shadowsOf(hook, all)
		s.watched[hook] = len(s.shadows[hook]) > 0 || recorded && len(s.chains[hook]) > 0
	}
	return s
}

// watchable are the hooks that may be looked at besides: the questions of the
// others hold what a person typed, and tokens.
var watchable = []abi.Hook{abi.HookEntitle, abi.HookSelectVersion}

// pin makes a Call hold on to the set of now. It looks twice: a set that was
// replaced between the look and the pin may be freed already.
// hot: called for every request.
func (h *Host) pin(c *Call) {
	for {
		c.set = h.set.Load()
		c.set.pins[c.stripe%stripes].n.Add(1)
		if h.set.Load() == c.set {
			return
		}
		h.unpin(c)
	}
}

// unpin lets go. Who looks whether the set was replaced after letting go can't
// miss that somebody waits for it.
func (h *Host) unpin(c *Call) {
	s := c.set
	c.set = nil
	h.letGo(s, c.stripe)
}

// hold holds on to a set that somebody holds on to already.
func (h *Host) hold(s *set, stripe uint32) { s.pins[stripe%stripes].n.Add(1) }

func (h *Host) letGo(s *set, stripe uint32) {
	s.pins[stripe%stripes].n.Add(-1)
	if h.set.Load() != s {
		select {
		case s.left <- struct{}{}:
		default: // it is told already
		}
	}
}

// drain waits until no Call holds on to a set that was replaced.
func (s *set) drain() {
	for i := range s.pins {
		for s.pins[i].n.Load() != 0 {
			<-s.left
		}
	}
}

// publish makes these generations the ones that are asked, and frees what isn't
// any more as soon as its last request is over. The lock is held, and a place
// among the draining is the caller's, unless it is the first set.
func (h *Host) publish(all []*generation) {
	for _, g := range all {
		g.held++
		g.current = g
	}
	next := newSet(all, h.watch.recorder != nil)
	h.sets++
	next.number = h.sets
	if slices.Contains(next.watched[:], true) {
		h.watch.start()
	}
	old := h.set.Swap(next)
	if old == nil {
		return
	}
	h.work.Go(func() {
		old.drain()
		<-h.draining
		h.mu.Lock()
		defer h.mu.Unlock()
		for _, g := range old.all {
			g.held--
			h.settle(g)
		}
	})
}

// settle frees a generation that nobody asks any more: all of it, or, if it is
// what its plugin may return to, only its instances. The lock is held.
func (h *Host) settle(g *generation) {
	switch {
	case g.held > 0 || g.closed:
	case g.previous == g:
		g.rest()
	default:
		g.closed = true
		g.living = slices.DeleteFunc(g.living, func(other *generation) bool { return other == g })
		g.past.add(g)
		if err := g.close(context.Background()); err != nil {
			h.loader.log.Error("plugin: close a generation", "plugin", g.name, "error", err)
		}
	}
}
