package sim

import (
	"context"
	"time"

	"github.com/souk-market/souk/cmd/souk/sim/report"
)

// Of a run there are about so many ticks, none longer or shorter than these.
const (
	ticks      = 240
	shortest   = 100 * time.Millisecond
	longest    = 5 * time.Second
	countEvery = time.Second // the server's own counters are read
)

// tick cuts the run into stretches until it has ended.
func (r *run) tick(ctx context.Context, ended <-chan struct{}) error {
	length := min(max(r.clock.due(r.to)/ticks, shortest), longest)
	every := time.NewTicker(length)
	defer every.Stop()
	began, offered, counted := r.clock.since(), uint64(0), time.Duration(0)
	var lastCPU time.Duration
	shared := 0 // ticks that have their part of it
	cut := func(last bool) {
		t := report.Tick{At: r.clock.at(began)}
		now := r.clock.since()
		t.Length = now - began
		r.tally.cut(&t)
		total := r.tally.total()
		t.Offered, offered = max(total, offered)-offered, total
		began = now
		r.mu.Lock()
		r.result.Ticks = append(r.result.Ticks, t)
		if r.release != nil {
			r.result.Adoption = append(r.result.Adoption, r.release.adoption(t.At))
		}
		r.mu.Unlock()
		if last || now-counted >= countEvery {
			if err := r.count(ctx, last); err != nil && last { // else the answers say what is wrong with it
				r.void("the server's own counters could not be read at the end: %v", err)
			}
			cpu := r.cpu()
			r.spread(shared, cpu-lastCPU)
			counted, lastCPU, shared = now, cpu, len(r.result.Ticks)
		}
		r.c.progress.show(r, &t)
	}
	for {
		select {
		case <-every.C:
			cut(false)
		case <-ended:
			cut(true)
			return nil
		}
	}
}

// spread gives the ticks from one on their parts of the processor's time.
func (r *run) spread(from int, cpu time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	rest := r.result.Ticks[from:]
	whole := time.Duration(0)
	for i := range rest {
		whole += rest[i].Length
	}
	for i := range rest {
		rest[i].CPU = time.Duration(float64(cpu) * float64(rest[i].Length) / float64(max(whole, 1)))
	}
}

// count reads the server's own counters. A server that is down has none. The last ones
// are worth a wait: what the answers lack is held against them.
func (r *run) count(ctx context.Context, last bool) error {
	within := 2 * time.Second
	if last {
		within = answerWithin
	}
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	c, err := r.op.counters(ctx)
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if c.cpu < r.last.cpu || c.signatures < r.last.signatures { // another process
		r.used, r.base = r.used.plus(r.last.minus(r.base)), counters{}
	}
	r.last = c
	return nil
}

func (r *run) cpu() time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.used.plus(r.last.minus(r.base)).cpu
}

func (c counters) plus(d counters) counters {
	return counters{
		c.guestCalls + d.guestCalls, c.signatures + d.signatures, c.spared + d.spared, c.rushed + d.rushed,
		c.empty + d.empty, c.unavailable + d.unavailable, c.cpu + d.cpu,
	}
}

func (c counters) minus(d counters) counters {
	return counters{
		max(0, c.guestCalls-d.guestCalls), max(0, c.signatures-d.signatures), max(0, c.spared-d.spared), max(0, c.rushed-d.rushed),
		max(0, c.empty-d.empty), max(0, c.unavailable-d.unavailable), max(0, c.cpu-d.cpu),
	}
}
