package report

import "time"

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
