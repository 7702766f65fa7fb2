package plugin

import (
	"context"

	"github.com/souk-market/souk/sdk/abi"
)

// A generation has slots of two kinds. A sign-in may wait seconds for the host
// (a password, another server); if it waited in the slots of the update checks,
// a few dozen people at the sign-in page would hold up every device.
const (
	fastLane = iota // entitle and select_version
	slowLane        // sign_in and exchange
	lanes
)

func laneOf(h abi.Hook) int {
	if h == abi.HookSignIn || h == abi.HookExchange {
		return slowLane
	}
	return fastLane
}

// openLanes makes as many slots in each lane that a hook needs.
func (g *generation) openLanes(n int) {
	for _, hook := range g.hooks {
		lane := &g.lanes[laneOf(hook)]
		if *lane == nil {
			*lane = newSlots(n)
		}
		for i := range (*lane).all {
			(*lane).all[i].counts[hook] = new(counts)
		}
	}
	g.dry = newSlots(1)
}

// openShadow makes the one slot of a shadow, which is also that for questions
// that leave no trace.
func (g *generation) openShadow() {
	g.openLanes(1)
	g.dry = g.lanes[fastLane]
	g.compared = &compared{}
}

// each calls f for every slot there is.
func (g *generation) each(f func(*slots, *slot)) {
	for _, s := range g.lanes {
		if s == nil {
			continue
		}
		for i := range s.all {
			f(s, &s.all[i])
		}
	}
}

// warm starts instances until each lane has as many as want says, and one at
// least.
func (g *generation) warm(ctx context.Context, want [lanes]int) error {
	for at, s := range g.lanes {
		if s == nil {
			continue
		}
		for i := range min(max(want[at], 1), len(s.all)) {
			if err := g.warmSlot(ctx, s, &s.all[i]); err != nil {
				return err
			}
		}
	}
	return nil
}

func (g *generation) warmSlot(ctx context.Context, s *slots, sl *slot) (err error) {
	sl.mu.Lock()
	defer s.give(sl)
	switch {
	case sl.closed:
		return errClosed
	case sl.in == nil:
		sl.in, err = g.start(ctx)
	}
	return err
}

// running counts the instances of each lane that are started.
func (g *generation) running() (n [lanes]int) {
	g.each(func(s *slots, sl *slot) {
		at := fastLane
		if s == g.lanes[slowLane] {
			at = slowLane
		}
		if !sl.mu.TryLock() {
			n[at]++ // it answers
			return
		}
		if sl.in != nil {
			n[at]++
		}
		s.give(sl)
	})
	return n
}

// rest frees the instances. What was compiled stays: the next question, or warm,
// starts instances again.
func (g *generation) rest() {
	rest := func(s *slots, sl *slot) {
		sl.mu.Lock()
		if sl.in != nil {
			sl.in.close()
			sl.in = nil
		}
		s.give(sl)
	}
	g.each(rest)
	rest(g.dry, &g.dry.all[0])
}
