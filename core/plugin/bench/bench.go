// Package bench says what a question to a plugin costs, and beside what: the
// whole question as the server asks it, the engine's bare call of the same
// module, the same policy as a Go function. It measures in rounds, each of which
// has all of them, so that what else runs on the machine meets all alike, and
// says ratios: nanoseconds are one machine's on one day.
//
// It knows the engine, because that is what it measures against. It prints
// nothing.
package bench

import (
	"context"
	"fmt"
	"slices"
	"time"
)

//go:generate go run ../../../sdk/toolchain/build core/plugin/bench

// Subject is something whose time is taken.
type Subject struct {
	Name string
	Run  func(ctx context.Context, calls int) error // so many calls
}

// Time is what a call of a subject took, in nanoseconds.
type Time struct {
	Min    float64 `json:"min"` // of the rounds
	Median float64 `json:"median"`
}

// Options say how long is measured. The zero value is ready.
type Options struct {
	Rounds int           // 0 = 20
	Batch  time.Duration // of one subject in one round, about; 0 = 4ms
	Fuel   bool          // of a plugin: fuel and memory only, no times
}

func (o Options) rounds() int {
	if o.Rounds > 0 {
		return o.Rounds
	}
	return 20
}

func (o Options) batch() time.Duration {
	if o.Batch > 0 {
		return o.Batch
	}
	return 4 * time.Millisecond
}

// Measure takes the time of all subjects, in turn, in each round. The error is
// the first of a subject, with its name.
func Measure(ctx context.Context, o Options, subjects ...Subject) ([]Time, error) {
	calls := make([]int, len(subjects))
	for i, s := range subjects {
		var err error
		if calls[i], err = calibrate(ctx, s, o.batch()); err != nil {
			return nil, fmt.Errorf("%s: %w", s.Name, err)
		}
	}
	taken := make([][]float64, len(subjects))
	for round := range o.rounds() {
		for at := range subjects {
			i := at
			if round%2 == 1 { // nobody always comes behind the same neighbour
				i = len(subjects) - 1 - at
			}
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			began := time.Now()
			if err := subjects[i].Run(ctx, calls[i]); err != nil {
				return nil, fmt.Errorf("%s: %w", subjects[i].Name, err)
			}
			taken[i] = append(taken[i], float64(time.Since(began))/float64(calls[i]))
		}
	}
	times := make([]Time, len(subjects))
	for i, t := range taken {
		slices.Sort(t)
		times[i] = Time{Min: t[0], Median: t[len(t)/2]}
	}
	return times, nil
}

// calibrate warms a subject up and returns how many calls make a batch. What took
// long once may have been cold: it takes long twice.
func calibrate(ctx context.Context, s Subject, batch time.Duration) (int, error) {
	for n, slow := 1, false; ; {
		began := time.Now()
		if err := s.Run(ctx, n); err != nil {
			return 0, err
		}
		switch took := time.Since(began); {
		case took < batch/2 && n < 1<<24:
			n, slow = 2*n, false
		case slow || n >= 1<<24:
			return max(1, int(float64(n)*float64(batch)/float64(max(took, 1)))), nil
		default:
			slow = true
		}
	}
}
