package report

import (
	"slices"
	"time"
)

// clock returns how simulated times of a run are written: as short as they are still
// told apart.
func clock(start time.Time, length time.Duration) func(time.Time) string {
	layout := "15:04:05"
	switch {
	case long(start, length):
		layout = "2 Jan 15:04"
	case !fine(length):
		layout = "15:04"
	}
	return func(t time.Time) string { return t.UTC().Format(layout) }
}

// long says whether a run has more than one midnight in it, so that a time of day
// says too little.
func long(start time.Time, length time.Duration) bool {
	return length > 24*time.Hour || start.UTC().YearDay() != start.Add(length-1).UTC().YearDay()
}

// fine says whether minutes are too coarse.
func fine(length time.Duration) bool { return length < 2*time.Hour }

// merge joins neighbours until there are no more than n ticks. What a tick counts is
// added up; its median becomes the middle one of those that it was made of, weighed
// by nothing, and its p99 and longest are the highest of them.
func merge(ticks []Tick, n int) []Tick {
	if len(ticks) <= n {
		return ticks
	}
	each := (len(ticks) + n - 1) / n
	var merged []Tick
	for part := range slices.Chunk(ticks, each) {
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
		merged = append(merged, t)
	}
	return merged
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
