package token

import (
	"cmp"
	"context"
	"maps"
	"math"
	"runtime/metrics"
	"slices"
	"time"
)

// The forecast. Offers of one kind come like the checks of the day: at a rate that
// changes within minutes, and all at once when a release is published. So each kind has
// a rate of its own, weighted towards the last minute, and the pool holds what the rate
// brings until the horizon.
const (
	forecastEvery = time.Second
	memory        = time.Minute     // an offer counts for 1/e after so long
	horizon       = 2 * time.Minute // but no more than a quarter of a token's life
	fewest        = 4               // offers until the horizon: less is signed when it is asked for
)

// The filler. It works in short spells with rests in between, in which the runtime looks
// at the network; together they are less than a third of one core.
const (
	spell    = 8 // signatures, a few tenths of a millisecond
	rest     = time.Millisecond
	restBusy = 4 * time.Millisecond // after a look that found no core idle; doubled up to
	restMost = 32 * time.Millisecond
	asleep   = time.Duration(math.MaxInt64) // until somebody asks for something
)

// filler is what Fill has in mind.
type filler struct {
	looked time.Time // when it forecast last, on the steady clock
	queue  []*supply // those that want more, in turn
	busy   time.Duration
	cores  coreWatch
}

// Fill signs ahead until ctx ends, and only while a core is idle: a request that is under
// way goes first. It sleeps where nothing is offered. Only one may run.
func (p *InstallPool) Fill(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		pause := p.step(time.Now())
		if pause == asleep {
			select {
			case <-ctx.Done():
				return
			case <-p.wake:
			}
			pause = forecastEvery // the offers of a second tell more than the first one
		}
		timer.Reset(pause)
	}
}

// step does a little of what there is to do and returns how long to rest.
func (p *InstallPool) step(now time.Time) time.Duration {
	f := &p.filler
	if due := now.Sub(f.looked); due >= forecastEvery || due < 0 {
		f.looked = now
		if f.queue = p.forecast(f.queue[:0]); len(p.supplies.Load().by) == 0 {
			return asleep
		}
	}
	if len(f.queue) == 0 {
		return forecastEvery
	}
	if !p.idle() {
		f.busy = min(max(2*f.busy, restBusy), restMost)
		return f.busy
	}
	f.busy = 0
	s := f.queue[0]
	f.queue = f.queue[1:]
	need := s.need()
	made, err := p.sign(s, min(need, spell))
	switch {
	case err != nil: // whoever asks for such a token is told; others have their turn
	case made > 0 && made < need:
		f.queue = append(f.queue, s)
	}
	return rest
}

// need is how many tokens the supply lacks.
func (s *supply) need() int {
	ready, _, _ := s.count()
	return int(s.want.Load()) - ready
}

func (p *InstallPool) idle() bool {
	if p.Idle != nil {
		return p.Idle()
	}
	return p.filler.cores.idle()
}

// Expect says that so many offers of these claims are likely to come soon: a release was
// published, or is open to more people. What is foreseen so fades within minutes; the
// offers that come take its place.
func (p *InstallPool) Expect(c InstallClaims, offers int) {
	if p.Most <= 0 {
		return
	}
	p.mu.Lock()
	if s := p.of(c); s != nil {
		s.expected = max(s.expected, float64(offers))
	}
	p.mu.Unlock()
	p.nudge()
}

// forecast counts the offers of late, says how many tokens there should be of each kind,
// and drops those that are too old or are kept in vain. It appends the supplies that lack
// some to dst.
func (p *InstallPool) forecast(dst []*supply) []*supply {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.Signer.now()
	elapsed := now.Sub(p.forecasted)
	if len(p.supplies.Load().by) == 0 { // it slept, and the first offer has woken it
		elapsed = forecastEvery
	}
	p.forecasted = now
	p.welcome()
	all := slices.Collect(maps.Values(p.supplies.Load().by))
	for _, s := range all {
		p.empty(s, now.UnixMilli(), false)
		s.foresee(max(elapsed, 0), min(horizon, p.Signer.life()/4))
		if !p.offered(s.claims) {
			s.want.Store(0)
		}
	}
	// The hottest first: they come first in the queue too.
	slices.SortFunc(all, func(a, b *supply) int { return cmp.Compare(b.rate+b.expected, a.rate+a.expected) })
	all = p.forget(all)
	p.share(all)
	for _, s := range all {
		if want := int(s.want.Load()); s.need() >= max(1, want/8) {
			dst = append(dst, s)
		}
	}
	return dst
}

// welcome gives supplies to the claims that were asked for and have none.
func (p *InstallPool) welcome() {
	p.strangers.Lock()
	asked := p.asked
	p.asked = map[InstallClaims]uint64{}
	p.strangers.Unlock()
	if len(asked) == 0 {
		return
	}
	p.replace(func(m map[InstallClaims]*supply) {
		for c, n := range asked {
			s := m[c]
			if s == nil && len(m) < maxSupplies {
				s = newSupply(c)
				m[s.claims] = s
			}
			if s != nil {
				s.missed.Add(n)
			}
		}
	})
}

// foresee takes in the offers since the last forecast.
func (s *supply) foresee(elapsed, ahead time.Duration) {
	if elapsed > 0 {
		_, open, before := s.count()
		offers := open + before + s.missed.Load()
		fresh := 1 - math.Exp(-elapsed.Seconds()/memory.Seconds())
		s.rate += fresh * (float64(offers-s.counted)/elapsed.Seconds() - s.rate)
		s.expected -= fresh * s.expected
		s.counted = offers
	}
	want := max(s.rate*ahead.Seconds(), s.expected)
	if want < fewest {
		want = 0
	}
	s.want.Store(int64(min(want, math.MaxInt32)))
}

// forget lets go of supplies that nobody asks for, and of those with the fewest offers
// where there are too many to count. They are in the order of their rates.
func (p *InstallPool) forget(all []*supply) []*supply {
	gone := map[*supply]bool{}
	for i := len(all) - 1; i >= 0; i-- {
		s := all[i]
		if ready, _, _ := s.count(); ready > 0 || s.want.Load() > 0 {
			continue
		}
		if s.rate*horizon.Seconds() < 0.5 || len(all)-len(gone) > maxSupplies*3/4 {
			gone[s] = true
			p.leave(s)
		}
	}
	if len(gone) == 0 {
		return all
	}
	p.replace(func(m map[InstallClaims]*supply) {
		maps.DeleteFunc(m, func(_ InstallClaims, s *supply) bool { return gone[s] })
	})
	return slices.DeleteFunc(all, func(s *supply) bool { return gone[s] })
}

// share cuts what is wanted down to what there may be, the same part of each, and makes
// room where others have more than they want.
func (p *InstallPool) share(all []*supply) {
	var wanted, lacking int64
	for _, s := range all {
		wanted += s.want.Load()
	}
	for _, s := range all {
		if wanted > int64(p.Most) {
			s.want.Store(s.want.Load() * int64(p.Most) / wanted)
		}
		lacking += int64(max(0, s.need()))
	}
	over := p.tokens.Load() + lacking - int64(p.Most)
	for i := len(all) - 1; i >= 0 && over > 0; i-- {
		over -= p.trim(all[i], min(-all[i].need(), int(over)))
	}
}

// trim closes batches in reserve with at most so many tokens, the oldest first, and
// returns how many it has closed.
func (p *InstallPool) trim(s *supply, surplus int) (trimmed int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.next) > 0 && int(s.next[0].n) <= surplus {
		b := s.next[0]
		s.next[0] = nil
		s.next = s.next[1:]
		surplus -= int(b.n)
		trimmed += int64(b.n)
		p.close(s, b)
	}
	return trimmed
}

// coreWatch looks whether a core can be spared.
type coreWatch struct{ sample [1]metrics.Sample }

// idle says whether no goroutine waits for a core.
func (w *coreWatch) idle() bool {
	w.sample[0].Name = "/sched/goroutines/runnable:goroutines"
	metrics.Read(w.sample[:])
	v := w.sample[0].Value
	return v.Kind() == metrics.KindUint64 && v.Uint64() == 0
}
