package plugin

import (
	"math"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/souk-market/souk/sdk/abi"
)

// metrics are the counters that a plugin keeps itself. Their number is bounded,
// because every name is a series in whatever collects them, and they outlive the
// module: a new generation goes on counting.
type metrics struct {
	mu    sync.RWMutex
	named map[string]*atomic.Uint64
}

func newMetrics() *metrics { return &metrics{named: map[string]*atomic.Uint64{}} }

// counter finds or makes a counter; nil = there are enough.
func (m *metrics) counter(name string) *atomic.Uint64 {
	m.mu.RLock()
	c := m.named[name]
	m.mu.RUnlock()
	if c != nil {
		return c
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if c = m.named[name]; c == nil && len(m.named) < abi.MaxMetrics {
		c = new(atomic.Uint64)
		m.named[strings.Clone(name)] = c
	}
	return c
}

// values returns what was counted so far.
func (m *metrics) values() map[string]uint64 {
	m.mu.RLock()
	defer m.mu.RUnlock()
	all := make(map[string]uint64, len(m.named))
	for name, c := range m.named {
		all[name] = c.Load()
	}
	return all
}

// addTo adds to a counter that stays where it is when it is full: a collector
// takes one that goes back for a restart.
func addTo(c *atomic.Uint64, n uint64) {
	for {
		have := c.Load()
		if c.CompareAndSwap(have, have+min(n, math.MaxUint64-have)) {
			return
		}
	}
}

// validMetric says whether a collector takes the name as it is.
func validMetric(name string) bool {
	if name == "" || len(name) > abi.MaxMetricName || name[0] < 'a' || name[0] > 'z' {
		return false
	}
	return strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789_") == ""
}

// metric_add(name, nlen, value) -> 0
func hostMetricAdd(in *instance, stack []uint64) {
	in.charge(priceMetric)
	name, ok := in.text(stack[0], stack[1])
	value := int64(stack[2])
	stack[0] = code(abi.CodeRefused)
	// At its start an instance counts nothing: how often one starts is the host's affair.
	if !ok || value < 0 || !validMetric(name) || in.asked.hook == 0 {
		return
	}
	a := in.asked.aside
	if a != nil && a.dry {
		if a.metric != nil {
			stack[0] = code(a.metric(name, value))
		}
		a.taped(name, value, stack[0])
		return
	}
	if c := in.metrics.counter(name); c != nil {
		addTo(c, uint64(value))
		stack[0] = 0
	}
	a.taped(name, value, stack[0])
}

// taped keeps the answer to metric_add.
func (a *aside) taped(name string, value int64, answer uint64) {
	if a != nil && a.tape != nil {
		a.tape.add(HostAnswer{Op: OpMetric, Key: []byte(name), Delta: value, Code: abi.Code(int32(uint32(answer)))})
	}
}
