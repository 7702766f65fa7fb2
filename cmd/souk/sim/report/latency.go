package report

import (
	"cmp"
	"math"
	"slices"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// quantiles are the ones that tables and JSON have.
var quantiles = []float64{0.5, 0.9, 0.99, 0.999, 0.9999}

// at returns the quantile in µs; NaN where the histogram has too few values to know
// it: of 200 answers nobody knows which is the slowest of a thousand.
func at(h *hdrhistogram.Histogram, q float64) float64 {
	if h == nil || h.TotalCount() == 0 || float64(h.TotalCount())*(1-q) < 1-1e-9 {
		return math.NaN()
	}
	return float64(h.ValueAtPercentile(q * 100))
}

// slowest returns the largest value in µs, NaN if there is none.
func slowest(h *hdrhistogram.Histogram) float64 {
	if h == nil || h.TotalCount() == 0 {
		return math.NaN()
	}
	return float64(h.Max())
}

// spectrum is where a spectrum is drawn: 1/(1-quantile), ten steps to each factor of
// ten, from the fastest to the slowest of ten million.
var spectrum = func() (xs []float64) {
	for i := range 71 {
		xs = append(xs, math.Pow(10, float64(i)/10))
	}
	return xs
}()

// along returns the values of a histogram along the spectrum, NaN from where it has
// too few.
func along(h *hdrhistogram.Histogram) []float64 {
	ys := make([]float64, len(spectrum))
	for i, x := range spectrum {
		ys[i] = at(h, 1-1/x)
	}
	return ys
}

// all returns the latencies of all classes together.
func (r *Result) all() *hdrhistogram.Histogram {
	highest := int64(2)
	for _, c := range r.Classes {
		if c.Latency != nil {
			highest = max(highest, c.Latency.Max())
		}
	}
	h := hdrhistogram.New(1, highest, 3)
	for _, c := range r.Classes {
		if c.Latency != nil {
			h.Merge(c.Latency) // drops nothing: the highest is known
		}
	}
	return h
}

// classes are in an order that hangs on nothing that happened, so that a class has
// the same colour in the next report: update checks, other answers, statuses.
func (r *Result) classes() []*Class {
	rank := func(c *Class) int {
		if i := slices.Index([]string{ClassNone, ClassOne, ClassMany}, c.Name); i >= 0 {
			return i
		}
		if c.Name != "" && '0' <= c.Name[0] && c.Name[0] <= '9' {
			return 4
		}
		return 3
	}
	return slices.SortedStableFunc(slices.Values(r.Classes), func(a, b *Class) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(a.Name, b.Name))
	})
}

// offers returns how many answers had an offer.
func (r *Result) offers() (n uint64) {
	for _, c := range r.Classes {
		if c.Name == ClassOne || c.Name == ClassMany {
			n += c.Count
		}
	}
	return n
}

// perCheck is the server's CPU for an answer, µs; NaN = not known.
func (r *Result) perCheck() float64 {
	if r.CPU <= 0 || r.Answered == 0 {
		return math.NaN()
	}
	return float64(r.CPU.Nanoseconds()) / 1e3 / float64(r.Answered)
}
