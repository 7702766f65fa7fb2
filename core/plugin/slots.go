package plugin

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// maxWaiting bounds how many questions wait for an instance of one plugin;
// those beyond are turned away at once.
const maxWaiting = 4096

var errClosed = errors.New("the plugin was closed")

// slot holds an instance, or none yet. Its lock is the instance's.
type slot struct {
	mu     sync.Mutex
	in     *instance
	closed bool
	counts [hookCount]*counts // of the hooks of its lane
	_      [64]byte           // the next slot is another core's
}

// slots are the places for the instances of one generation. What costs most
// when cores share instances is the instance's memory that moves between them;
// so a Call, which a core uses again and again, looks for a free slot where it
// found one last time.
//
// Slots are not a sync.Pool: the engine keeps every instance that isn't closed,
// and a pool drops them without closing.
type slots struct {
	all     []slot
	waiting atomic.Int32
	freed   chan struct{} // somebody may find a free slot

	starving atomic.Int32
	handed   chan *slot // still locked, to one that starves
}

// barging is how long those that wait may be overtaken by those that just come.
// Overtaking is quick, but those that run take their slots again and again and
// are stopped by the scheduler while they hold one: so some would wait for ever.
const barging = time.Millisecond

// yields is how often one lets others run before it waits in earnest.
const yields = 8

func newSlots(n int) *slots {
	return &slots{all: make([]slot, n), freed: make(chan struct{}, n), handed: make(chan *slot)}
}

// take returns a locked slot and looks for it where at says first. It waits for
// at most patience and as long as ctx allows; nil with no error means that all
// stayed busy. waited is 0 if one was free, and if so many wait that nobody else may.
func (s *slots) take(ctx context.Context, at *uint32, patience time.Duration) (sl *slot, waited time.Duration, err error) {
	sl = s.find(at)
	if sl == nil {
		began := since()
		if s.waiting.Add(1) > maxWaiting {
			s.waiting.Add(-1)
			return nil, 0, nil
		}
		sl = s.wait(ctx, at, patience)
		waited = max(since()-began, 1)
		s.waiting.Add(-1)
	}
	if sl != nil && sl.closed {
		s.give(sl)
		return nil, waited, errClosed
	}
	return sl, waited, nil
}

func (s *slots) find(at *uint32) *slot {
	n := uint32(len(s.all))
	first := *at % n
	for i := first; ; {
		if sl := &s.all[i]; sl.mu.TryLock() {
			*at = i
			return sl
		}
		if i++; i == n {
			i = 0
		}
		if i == first {
			return nil
		}
	}
}

// wait looks again whenever a slot was given back. Who gives one back after the
// look below failed sees that somebody is waiting: none is missed.
func (s *slots) wait(ctx context.Context, at *uint32, patience time.Duration) *slot {
	// Questions are short: most often a slot is only taken because who has it
	// isn't running, and waits for its turn like us.
	for range yields {
		runtime.Gosched()
		if sl := s.find(at); sl != nil {
			return sl
		}
	}
	timer := time.NewTimer(barging)
	defer timer.Stop()
	var handed chan *slot // nil: nothing comes
	for {
		if sl := s.find(at); sl != nil {
			return sl
		}
		select {
		case <-s.freed:
		case sl := <-handed:
			return sl
		case <-ctx.Done():
			return nil
		case <-timer.C:
			if handed != nil {
				return nil
			}
			handed = s.handed
			s.starving.Add(1)
			defer s.starving.Add(-1)
			timer.Reset(patience)
		}
	}
}

func (s *slots) give(sl *slot) {
	if s.starving.Load() > 0 {
		select {
		case s.handed <- sl:
			return
		default: // found one meanwhile
		}
	}
	sl.mu.Unlock()
	if s.waiting.Load() > 0 {
		select {
		case s.freed <- struct{}{}:
		default: // as many as there are slots are told already
		}
	}
}

// close waits for the calls that run and lets no other begin.
func (s *slots) close() {
	for i := range s.all {
		sl := &s.all[i]
		sl.mu.Lock()
		sl.closed, sl.in = true, nil // the runtime closes what it has
		s.give(sl)
	}
}
