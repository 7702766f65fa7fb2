package bench

import (
	"math"
	"testing"
	"time"
)

// pairsOf makes pairs of rates, of a second each and with a processor that is busy
// for half of it.
func pairsOf(bare, ours []int) (p pairs) {
	for i := range bare {
		p = append(p, pair{
			bare: turn{requests: bare[i], took: time.Second, cpu: time.Second / 2},
			ours: turn{requests: ours[i], took: time.Second, cpu: time.Second / 2, clients: time.Second / 4},
		})
	}
	return p
}

func near(a, b float64) bool { return math.Abs(a-b) < 1e-9*math.Max(1, math.Abs(b)) }

func TestPairsAreComparedWithTheirNeighbour(t *testing.T) {
	// The machine slows down by half in the middle: of both, so the ratio stays.
	p := pairsOf([]int{100_000, 100_000, 50_000, 50_000, 50_000}, []int{25_000, 25_000, 12_500, 12_500, 12_500})
	if got := p.ratio(); !near(got, 0.25) {
		t.Errorf("ratio = %v, want 0.25", got)
	}
	if got := p.cpuRatio(); !near(got, 4) {
		t.Errorf("cpuRatio = %v, want 4", got)
	}
	if got := p.rate(); !near(got, 12_500) {
		t.Errorf("rate = %v, want 12500", got)
	}
	if got := p.cpu(); !near(got, 40) {
		t.Errorf("cpu = %v µs, want 40", got)
	}
}

func TestPairsLeaveOutWhatMetOne(t *testing.T) {
	p := pairsOf([]int{1000, 1000, 1000, 1000, 1000}, []int{300, 300, 20, 300, 900})
	if got := p.ratio(); !near(got, 0.3) {
		t.Errorf("ratio = %v, want that of the others, 0.3", got)
	}
	even := pairsOf([]int{1000, 1000, 1000, 1000}, []int{100, 200, 300, 400})
	if got := even.ratio(); !near(got, 0.25) {
		t.Errorf("ratio of four = %v, want the middle of the two in the middle, 0.25", got)
	}
}

func TestVoid(t *testing.T) {
	for _, test := range []struct {
		name   string
		bare   []int
		spread float64
		void   bool
	}{
		{"steady", []int{100, 100, 100, 100, 100, 100, 100, 100, 100}, 0, false},
		{"a neighbour spoils two", []int{100, 100, 100, 30, 100, 100, 100, 20, 100}, 0, false},
		{"within a fifth", []int{90, 90, 90, 100, 100, 100, 110, 110, 110}, 0.20, false},
		{"beyond a fifth", []int{89, 89, 89, 100, 100, 100, 110, 110, 110}, 0.21, true},
		{"two speeds", []int{100, 50, 100, 50, 100, 50, 100, 50, 100}, 0.5, true},
		{"one slice", []int{100}, 0, false},
		{"two slices", []int{75, 125}, 0.5, true},
	} {
		r := &result{pairs: pairsOf(test.bare, test.bare)}
		if got := r.spread(); !near(got, test.spread) || r.void() != test.void {
			t.Errorf("%s: spread = %v, void = %v, want %v, %v", test.name, got, r.void(), test.spread, test.void)
		}
	}
}

// Where processor time is what counts, that has to be steady.
func TestVoidByProcessorTime(t *testing.T) {
	r := &result{httpCase: httpCase{byCPU: true}}
	for _, rate := range []int{50, 100, 150} { // always half of the processor for 100 requests
		r.pairs = append(r.pairs, pair{bare: turn{requests: rate, took: time.Second, cpu: time.Duration(rate) * time.Second / 200}})
	}
	if r.void() || !near(r.spread(), 0) {
		t.Errorf("a rate that varies with a processor time that doesn't: spread = %v", r.spread())
	}
	if r.byCPU = false; !r.void() {
		t.Errorf("by its rate: spread = %v, want it void", r.spread())
	}
	r.byCPU, r.pairs[0].bare.cpu = true, time.Second
	if !r.void() {
		t.Errorf("with a slice that took eight times the processor: spread = %v, want it void", r.spread())
	}
}

func TestPercentile(t *testing.T) {
	var all []time.Duration
	for i := range 1000 {
		all = append(all, time.Duration((i*7919)%1000)) // each of 0 to 999, in disorder
	}
	for part, want := range map[float64]time.Duration{0: 0, 0.5: 500, 0.99: 990, 1: 999} {
		if got := percentile(all, part); got != want {
			t.Errorf("percentile of %v = %v, want %v", part, got, want)
		}
	}
	if got := percentile(nil, 0.99); got != 0 {
		t.Errorf("percentile of nothing = %v, want 0", got)
	}
}
