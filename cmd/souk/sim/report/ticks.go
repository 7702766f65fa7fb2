package report

import (
	"slices"
	"time"
)

// merge joins neighbours until there are no more than n ticks.
func merge(ticks []Tick, n int) []Tick {
	if len(ticks) <= n {
		return ticks
	}
	each := (len(ticks) + n - 1) / n
	return joined(slices.Collect(slices.Chunk(ticks, each)))
}

// even joins what is much shorter than the others to the one before it: of the last
// instant of a run a rate says nothing.
func even(ticks []Tick) []Tick {
	if len(ticks) < 2 {
		return ticks
	}
	var lengths []time.Duration
	for _, t := range ticks {
		lengths = append(lengths, t.Length)
	}
	slices.Sort(lengths)
	short := lengths[len(lengths)/2] / 2
	var parts [][]Tick
	for i, t := range ticks {
		if last := len(parts) - 1; last >= 0 && t.Length < short {
			parts[last] = ticks[i-len(parts[last]) : i+1]
		} else {
			parts = append(parts, ticks[i:i+1])
		}
	}
	return joined(parts)
}

// enough joins neighbours until each has as much CPU and as many answers as is asked
// for; a rest goes to the last.
func enough(ticks []Tick, has func(Tick) bool) []Tick {
	var parts [][]Tick
	var sum Tick
	from := 0
	for to, t := range ticks {
		sum.CPU, sum.Answered = sum.CPU+t.CPU, sum.Answered+t.Answered
		if has(sum) {
			parts, sum, from = append(parts, ticks[from:to+1]), Tick{}, to+1
		}
	}
	if last := len(parts) - 1; last >= 0 && from < len(ticks) {
		parts[last] = ticks[from-len(parts[last]):]
	} else if last < 0 && len(ticks) > 0 {
		parts = [][]Tick{ticks}
	}
	return joined(parts)
}

func joined(parts [][]Tick) (all []Tick) {
	for _, part := range parts {
		all = append(all, join(part))
	}
	return all
}

// join makes one of some neighbours. What a tick counts is added up; its p50 is the
// middle one of theirs, its p99 and its longest are the highest: percentiles have no
// sum.
func join(part []Tick) Tick {
	if len(part) == 1 {
		return part[0]
	}
	t := Tick{At: part[0].At, Classes: map[string]uint64{}}
	var medians []time.Duration
	for _, p := range part {
		t.Length += p.Length
		t.Offered += p.Offered
		t.Answered += p.Answered
		t.Shed += p.Shed
		t.Failed += p.Failed
		t.P99, t.Max = max(t.P99, p.P99), max(t.Max, p.Max)
		t.CPU += p.CPU
		for name, n := range p.Classes {
			t.Classes[name] += n
		}
		if p.Answered > 0 {
			medians = append(medians, p.P50)
		}
	}
	if len(medians) > 0 {
		slices.Sort(medians)
		t.P50 = medians[len(medians)/2]
	}
	return t
}

// thin keeps every so many of the points, and the last.
func thin[T any](points []T, n int) []T {
	if len(points) <= n {
		return points
	}
	each := (len(points) + n - 2) / (n - 1)
	var kept []T
	for i := 0; i < len(points)-1; i += each {
		kept = append(kept, points[i])
	}
	return append(kept, points[len(points)-1])
}
