package bench

import (
	"slices"
	"time"
)

// turn is what a server did in a stretch of time.
type turn struct {
	requests int
	took     time.Duration
	cpu      time.Duration // of its process, until its next slice began
	clients  time.Duration // the processor time that asking took
}

// rate is in requests a second.
func (s turn) rate() float64 { return float64(s.requests) / s.took.Seconds() }

// cpuEach is in microseconds a request.
func (s turn) cpuEach() float64 { return s.cpu.Seconds() * 1e6 / float64(s.requests) }

// clientsEach is in microseconds a request.
func (s turn) clientsEach() float64 { return s.clients.Seconds() * 1e6 / float64(s.requests) }

// pair is a slice of the bare handler and the one of Souk beside it.
type pair struct{ bare, ours turn }

// pairs are those of one case. Neighbours in time are compared with each other, so
// that what else runs on the machine meets both, and the median leaves out what met
// only one.
type pairs []pair

// ratio is Souk's requests a second as a part of the bare handler's.
func (p pairs) ratio() float64 {
	return p.median(func(x pair) float64 { return x.ours.rate() / x.bare.rate() })
}

// cpuRatio is the processor time of a request in multiples of a bare one's.
func (p pairs) cpuRatio() float64 {
	return p.median(func(x pair) float64 { return x.ours.cpuEach() / x.bare.cpuEach() })
}

func (p pairs) rate() float64 {
	return p.median(func(x pair) float64 { return x.ours.rate() })
}

func (p pairs) cpu() float64 {
	return p.median(func(x pair) float64 { return x.ours.cpuEach() })
}

func (p pairs) bareCPU() float64 {
	return p.median(func(x pair) float64 { return x.bare.cpuEach() })
}

// maxSpread is how much the baseline may vary in a run that says anything.
const maxSpread = 0.20

// spread says how much the baseline's rate varied.
func (p pairs) spread() float64 {
	return p.varied(func(x pair) float64 { return x.bare.rate() })
}

// cpuSpread says how much the baseline's processor time of a request varied.
func (p pairs) cpuSpread() float64 {
	return p.varied(func(x pair) float64 { return x.bare.cpuEach() })
}

// varied is the width of the middle half of the slices, as a part of their median. One
// slice that another program has spoilt doesn't count; a machine that is at two speeds
// does.
func (p pairs) varied(of func(pair) float64) float64 {
	all := p.sorted(of)
	n := len(all)
	return (all[n-1-n/4] - all[n/4]) / middle(all)
}

func (p pairs) median(of func(pair) float64) float64 { return middle(p.sorted(of)) }

func (p pairs) sorted(of func(pair) float64) []float64 {
	all := make([]float64, len(p))
	for i, x := range p {
		all[i] = of(x)
	}
	slices.Sort(all)
	return all
}

// middle is the median of what is in order.
func middle(sorted []float64) float64 {
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

// percentile is the value that so large a part of them does not exceed.
func percentile(all []time.Duration, part float64) time.Duration {
	if len(all) == 0 {
		return 0
	}
	slices.Sort(all)
	return all[min(len(all)-1, int(part*float64(len(all))))]
}
