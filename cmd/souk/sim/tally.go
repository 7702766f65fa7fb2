package sim

import (
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/souk-market/souk/cmd/souk/sim/report"
)

// The classes of answers.
const (
	classNone    = report.ClassNone
	classOne     = report.ClassOne
	classMany    = report.ClassMany
	classRestore = "restore"
	classSignIn  = "sign-in"
	classRefresh = "refresh"
	class400     = "400"
	class401     = "401"
	class403     = "403"
	class413     = "413"
	classShed    = "shed"
	classWrong   = "wrong"
	classNothing = "no answer"
)

// newHistogram is for microseconds up to a minute, three digits.
func newHistogram() *hdrhistogram.Histogram { return hdrhistogram.New(1, 60_000_000, 3) }

func microseconds(d time.Duration) int64 {
	return min(max(d.Microseconds(), 1), 60_000_000)
}

// tally counts answers. One lock is enough for what one generator can send.
type tally struct {
	mu      sync.Mutex
	classes map[string]*report.Class
	order   []*report.Class
	lag     *hdrhistogram.Histogram

	offered, sent, answered, shed, failed uint64

	// Of the tick under way.
	tick                 *hdrhistogram.Histogram
	ticking              map[string]uint64
	tickShed, tickFailed uint64
}

func newTally() *tally {
	return &tally{classes: map[string]*report.Class{}, lag: newHistogram(), tick: newHistogram(), ticking: map[string]uint64{}}
}

// answer counts one answer, or none, by how long after the time it was due.
//
// hot: once a request.
func (t *tally) answer(class string, latency time.Duration) {
	us := microseconds(latency)
	t.mu.Lock()
	defer t.mu.Unlock()
	if class == classNothing {
		t.failed++
		t.tickFailed++
		return
	}
	t.ticking[class]++
	switch class {
	case classShed:
		t.shed++
		t.tickShed++
	}
	c := t.classes[class]
	if c == nil {
		c = &report.Class{Name: class, Latency: newHistogram()}
		t.classes[class], t.order = c, append(t.order, c)
	}
	t.answered++
	c.Count++
	_ = c.Latency.RecordValue(us) // it is in range
	_ = t.tick.RecordValue(us)
}

// count is how many answers of a class there were.
func (t *tally) count(class string) uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	if c := t.classes[class]; c != nil {
		return c.Count
	}
	return 0
}

// givenUp counts an answer that was given, without an offer that was due.
func (t *tally) givenUp() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.shed++
	t.tickShed++
}

// request counts one that was sent, so long after it could have been.
func (t *tally) request(lag time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.sent++
	_ = t.lag.RecordValue(microseconds(lag)) // it is in range
}

// again counts one that follows from the answer to another.
func (t *tally) again() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.offered++
	t.sent++
}

func (t *tally) due() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.offered++
}

// nothing takes one back that was due, of a device that has nothing to ask.
func (t *tally) nothing() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.offered--
}

// total is how many were due.
func (t *tally) total() uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.offered
}

// cut ends a tick and begins the next.
func (t *tally) cut(into *report.Tick) {
	t.mu.Lock()
	defer t.mu.Unlock()
	us := func(v int64) time.Duration { return time.Duration(v) * time.Microsecond }
	into.P50, into.P99, into.Max = us(t.tick.ValueAtQuantile(50)), us(t.tick.ValueAtQuantile(99)), us(t.tick.Max())
	into.Classes, into.Shed = t.ticking, t.tickShed
	for _, n := range t.ticking {
		into.Answered += n
	}
	into.Failed = t.tickFailed
	t.ticking, t.tickShed, t.tickFailed = map[string]uint64{}, 0, 0
	t.tick.Reset()
}
