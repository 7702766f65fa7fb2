package sim

import (
	"testing"
	"time"

	"github.com/souk-market/souk/cmd/souk/sim/population"
)

// Arrivals and what is pushed come in the order of their times, none before it is due
// and none after the end.
func TestPacer(t *testing.T) {
	epoch := time.Date(2027, time.March, 1, 0, 0, 0, 0, time.UTC)
	c := newClock(epoch, 1000)
	if got := c.Now(); !got.Equal(epoch) {
		t.Errorf("a clock that was not started says %v", got)
	}
	c.start(time.Now())
	p := newPacer(c)
	p.push(job{due: 45 * time.Millisecond, device: 100})
	p.push(job{due: 15 * time.Millisecond, device: 101})
	p.push(job{due: time.Hour, device: 102})
	arrivals := func(yield func(population.Arrival) bool) {
		for i := range uint64(10) {
			if !yield(population.Arrival{At: epoch.Add(time.Duration(i) * 10 * time.Second), Device: i}) {
				return
			}
		}
	}
	due := 0
	p.run(t.Context(), arrivals, 80*time.Millisecond, func(job) { due++ })
	if now := c.since(); now < 80*time.Millisecond {
		t.Errorf("the pacer was done after %v, and 80 ms should pass", now)
	}
	var got []uint64
	last := time.Duration(-1)
	for j := range p.jobs {
		if j.due < last {
			t.Errorf("device %d is due at %v, after one that is due at %v", j.device, j.due, last)
		}
		last = j.due
		got = append(got, j.device)
	}
	want := []uint64{0, 1, 101, 2, 3, 4, 100, 5, 6, 7, 8}
	if len(got) != len(want) || due != len(want) {
		t.Fatalf("jobs of devices %v, want %v", got, want)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Fatalf("jobs of devices %v, want %v", got, want)
		}
	}
}

// Both clocks of a run agree, whichever was started when.
func TestClocks(t *testing.T) {
	epoch := time.Date(2027, time.March, 1, 0, 0, 0, 0, time.UTC)
	a, b := newClock(epoch, 1440), newClock(epoch, 1440)
	start := time.Now().Add(-time.Second).Round(0)
	a.start(start)
	b.start(start)
	before := a.Now()
	between := b.Now()
	after := a.Now()
	if between.Before(before) || after.Before(between) {
		t.Errorf("the clocks say %v, %v, %v", before, between, after)
	}
	if gone := before.Sub(epoch); gone < 24*time.Minute {
		t.Errorf("after a second at 1440, %v have passed", gone)
	}
	if d := a.due(a.at(90 * time.Millisecond)); d < 89*time.Millisecond || d > 91*time.Millisecond {
		t.Errorf("90 ms there and back are %v", d)
	}
}
