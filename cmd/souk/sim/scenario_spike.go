package sim

import (
	"fmt"
	"time"

	"github.com/souk-market/souk/cmd/souk/sim/population"
	"github.com/souk-market/souk/cmd/souk/sim/report"
)

// hourSpike is the time around the busiest full hours, of devices whose clocks are all
// right: a fifth of an hour's checks comes within 30 s.
func hourSpike(r *run) (*scenario, error) {
	r.config.Spike = 0.2
	peak, err := busiest(r.config)
	if err != nil {
		return nil, err
	}
	s := &scenario{length: 90 * time.Minute, speed: 360, begin: max(0, peak-15*time.Minute), claims: r.usual()}
	s.conclude = func() {
		var top report.Tick
		best := 0.0
		for _, t := range r.result.Ticks {
			if rate := float64(t.Offered) / t.Length.Seconds(); rate > best {
				best, top = rate, t
			}
		}
		r.figure("spike", "%.0f requests a second for %v, p99 %v", best, top.Length.Round(time.Millisecond), top.P99)
	}
	return s, nil
}

// busiest is the hour of the day in which most devices ask, after midnight.
func busiest(c population.Config) (time.Duration, error) {
	c.Spike = 0
	p, err := population.New(c, population.Catalogue(c))
	if err != nil {
		return 0, fmt.Errorf("make the population: %w", err)
	}
	hour, best := time.Duration(0), 0.0
	for h := range 24 {
		at := time.Duration(h) * time.Hour
		if rate := p.Rate(c.Start.Add(at + time.Hour/2)); rate > best {
			hour, best = at, rate
		}
	}
	return hour, nil
}
