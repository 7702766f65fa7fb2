package sim

import (
	"math"
	"slices"
	"sync"
	"time"
)

// outages are the times in which no answer was to be expected.
type outages struct {
	mu   sync.Mutex
	list []outage
}

type outage struct{ from, to time.Duration }

func (o *outages) begin(at time.Duration) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.list = append(o.list, outage{at, math.MaxInt64})
}

func (o *outages) end(at time.Duration) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.list[len(o.list)-1].to = at
}

func (o *outages) now() bool { return o.during(math.MaxInt64-1, math.MaxInt64-1) }

// during says whether any of a time was one.
func (o *outages) during(from, to time.Duration) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.ContainsFunc(o.list, func(x outage) bool { return from < x.to && x.from < to })
}
