package sim

import (
	"container/heap"
	"context"
	"iter"
	"sync"
	"time"

	"github.com/souk-market/souk/cmd/souk/sim/population"
)

// job is a request that is due at a real time since the start.
type job struct {
	due    time.Duration
	at     int64 // when a device of the population asks, Unix ns, simulated
	device uint64
	kind   population.Kind
	try    uint8 // how often it was tried already
}

// pacer sends each request when it is due, whatever became of the ones before: an open
// loop. What is to be tried again waits in a heap, which grows with what failed and not
// with the population.
type pacer struct {
	clock *clock
	jobs  chan job
	mu    sync.Mutex
	later queue
	woken chan struct{}
}

// backlog is how many requests that are due may wait for a connection before the
// generator itself falls behind.
const backlog = 1 << 18

func newPacer(c *clock) *pacer {
	return &pacer{clock: c, jobs: make(chan job, backlog), woken: make(chan struct{}, 1)}
}

// push adds a request.
func (p *pacer) push(j job) {
	p.mu.Lock()
	heap.Push(&p.later, j)
	first := p.later[0] == j
	p.mu.Unlock()
	if first {
		select {
		case p.woken <- struct{}{}:
		default: // it is awake
		}
	}
}

// pop takes the first request that was pushed and is due by then.
func (p *pacer) pop(by time.Duration) (j job, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.later) == 0 || p.later[0].due > by {
		return job{}, false
	}
	return heap.Pop(&p.later).(job), true
}

func (p *pacer) first() (time.Duration, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.later) == 0 {
		return 0, false
	}
	return p.later[0].due, true
}

// run sends what arrives, and what is pushed, until a real time since the start. due is
// called for each.
func (p *pacer) run(ctx context.Context, arrivals iter.Seq[population.Arrival], until time.Duration, due func(job)) {
	defer close(p.jobs)
	next, stop := iter.Pull(arrivals)
	defer stop()
	timer := time.NewTimer(0)
	defer timer.Stop()
	arrival, more := next()
	for ctx.Err() == nil {
		now := p.clock.since()
		for {
			j, ok := p.pop(now)
			if more {
				if at := p.clock.due(arrival.At); at <= now && (!ok || at <= j.due) {
					if ok {
						p.push(j)
					}
					j, ok = job{due: at, at: arrival.At.UnixNano(), device: arrival.Device, kind: arrival.Kind}, true
					arrival, more = next()
				}
			}
			if !ok {
				break
			}
			if j.due <= until {
				due(j)
				p.jobs <- j
			}
		}
		if now >= until {
			return
		}
		wait := until - now
		if more {
			wait = min(wait, p.clock.due(arrival.At)-now)
		}
		if at, ok := p.first(); ok {
			wait = min(wait, at-now)
		}
		if wait <= coarse {
			nap(wait)
			continue
		}
		timer.Reset(wait - coarse)
		select {
		case <-timer.C:
		case <-p.woken:
		case <-ctx.Done():
		}
	}
}

// coarse is how exact the runtime's timers are on a machine that has time.
const coarse = 1500 * time.Microsecond

// queue is a heap by time.
type queue []job

func (q queue) Len() int           { return len(q) }
func (q queue) Less(i, j int) bool { return q[i].due < q[j].due }
func (q queue) Swap(i, j int)      { q[i], q[j] = q[j], q[i] }
func (q *queue) Push(x any)        { *q = append(*q, x.(job)) }
func (q *queue) Pop() any {
	old := *q
	j := old[len(old)-1]
	*q = old[:len(old)-1]
	return j
}
