package plan

import (
	"fmt"
	"math"
	"time"

	"github.com/souk-market/souk/cmd/souk/sim/population"
)

// Figures are what a request costs, in microseconds of a core: what `souk bench` measures.
type Figures struct {
	Check   float64 `json:"check_us"`   // an update check with nothing newer, on a connection that stays
	Offer   float64 `json:"offer_us"`   // an offer more, with its signature
	Refresh float64 `json:"refresh_us"` // a refresh of a token
	TLS     float64 `json:"tls_us"`     // a check on a new TLS connection, with the connection; 0 = not known
}

// Case is a line of `souk bench --json`.
type Case struct {
	Case string  `json:"case"`
	CPU  float64 `json:"cpu_us"`
}

// FiguresOf takes the figures from what a benchmark has printed.
func FiguresOf(cases []Case) (f Figures, err error) {
	cpu := map[string]float64{}
	for _, c := range cases {
		if !(c.CPU > 0) || math.IsInf(c.CPU, 0) {
			return f, fmt.Errorf("case %q: cpu_us is %g: it has to be more than 0", c.Case, c.CPU)
		}
		cpu[c.Case] = c.CPU
	}
	for _, name := range []string{"a", "c", "f"} {
		if cpu[name] == 0 {
			return f, fmt.Errorf("has no case %q: let \"souk bench --json\" measure all", name)
		}
	}
	if cpu["c"] <= cpu["a"] {
		return f, fmt.Errorf("case c, where all is offered, costs %g µs, and case a, where nothing is, %g: measure on a quieter machine", cpu["c"], cpu["a"])
	}
	return Figures{Check: cpu["a"], Offer: cpu["c"] - cpu["a"], Refresh: cpu["f"], TLS: cpu["g"]}, nil
}

// Demand is what is to be carried.
type Demand struct {
	Population population.Config
	Offers     float64       // a check on a usual day
	Release    float64       // a check on the day of a release
	TokenLife  time.Duration // of access tokens
	Use        float64       // share of a core that may be busy
}

// Load is a time that a market has to get through.
type Load struct {
	Name   string  `json:"name"`
	How    string  `json:"how"`    // the rate follows from what
	Checks float64 `json:"checks"` // a second
	Cores  Cores   `json:"cores"`
	Worst  Cores   `json:"cores_release"` // on the day of a release
}

// Cores are what is needed; of TLS 0 where nobody measured it.
type Cores struct {
	KeepAlive float64 `json:"keep_alive"`
	TLS       float64 `json:"tls"`
}

// Capacity is what a market needs.
type Capacity struct {
	Devices uint64  `json:"devices"`
	Figures Figures `json:"figures"`
	Use     float64 `json:"use"`

	Refreshes float64 `json:"refreshes"` // a check
	Usual     Cores   `json:"usual_us"`  // a check with all that belongs to it, in microseconds
	Release   Cores   `json:"release_us"`
	Loads     []Load  `json:"loads"`
	PerCore   Cores   `json:"devices_per_core"`       // that a core carries through the busiest hour of a release
	PerSpike  Cores   `json:"devices_per_core_spike"` // and through the spike in it, with nothing shed
}

// An outage, and how soon everybody is back after it who has no patience.
const (
	outage    = 28 * time.Minute
	reconnect = 10 * time.Second
)

// Capacity works out what a market needs. The rates are those of the population's own
// curve.
func (d *Demand) Capacity(f Figures) (*Capacity, error) {
	if err := d.validate(f); err != nil {
		return nil, err
	}
	apps := population.Catalogue(d.Population)
	p, err := population.New(d.Population, apps)
	if err != nil {
		return nil, err
	}
	c := &Capacity{Devices: d.Population.Devices, Figures: f, Use: d.Use}
	c.Refreshes = min(1, float64(24*time.Hour)/float64(d.TokenLife))
	c.Usual, c.Release = f.cost(d.Offers, c.Refreshes), f.cost(d.Release, c.Refreshes)

	mean, busiest := 0.0, 0.0
	var peakHour time.Time
	for h := range 24 {
		at := d.Population.Start.Add(time.Duration(h) * time.Hour)
		spike, calm := p.Rate(at), p.Rate(at.Add(time.Minute))
		hour := (spike*30 + calm*(3600-30)) / 3600
		if mean += hour / 24; hour > busiest {
			busiest, peakHour = hour, at
		}
	}
	spike := p.Rate(peakHour)
	wave := busiest * outage.Seconds() / reconnect.Seconds()
	for _, l := range []Load{
		{Name: "mean", How: fmt.Sprintf("%g checks a device and day, and %g %% more that people ask for", d.Population.ChecksPerDay, 100*d.Population.Taps), Checks: mean},
		{Name: "busiest hour", How: fmt.Sprintf("×%.2f, from %s UTC: phones ask at night", busiest/mean, peakHour.Format("15:04")), Checks: busiest},
		{Name: "spike on the hour", How: fmt.Sprintf("%g %% of that hour within 30 s: ×%.2f", 100*d.Population.Spike, spike/mean), Checks: spike},
		{Name: "reconnect wave", How: fmt.Sprintf("all that were due in %v of that hour, within %v: ×%.0f", outage, reconnect, wave/mean), Checks: wave},
	} {
		l.Cores, l.Worst = c.Usual.cores(l.Checks, d.Use), c.Release.cores(l.Checks, d.Use)
		c.Loads = append(c.Loads, l)
	}
	c.PerCore, c.PerSpike = c.carried(busiest), c.carried(spike)
	return c, nil
}

// carried is how many devices one core carries at a rate of all.
func (c *Capacity) carried(rate float64) (n Cores) {
	per := c.Release.cores(rate, c.Use)
	n.KeepAlive = float64(c.Devices) / per.KeepAlive
	if per.TLS > 0 {
		n.TLS = float64(c.Devices) / per.TLS
	}
	return n
}

func (d *Demand) validate(f Figures) error {
	for _, v := range []struct {
		name  string
		value float64
		zero  bool
	}{
		{"a check", f.Check, false}, {"an offer", f.Offer, true}, {"a refresh", f.Refresh, true}, {"a TLS connection", f.TLS, true},
	} {
		if !(v.value >= 0 && v.value < 1e9) || v.value == 0 && !v.zero {
			return fmt.Errorf("%s can't cost %g µs", v.name, v.value)
		}
	}
	switch {
	case !(d.Use > 0 && d.Use <= 1):
		return fmt.Errorf("a core can't be busy for %g of its time: use more than 0 and at most 1", d.Use)
	case !(d.Offers >= 0 && d.Offers <= 100 && d.Release >= 0 && d.Release <= 100):
		return fmt.Errorf("%g and %g offers a check: use 0 to 100", d.Offers, d.Release)
	case d.TokenLife < time.Minute:
		return fmt.Errorf("a token that is good for %v: use 1m or more", d.TokenLife)
	case f.TLS > 0 && f.TLS < f.Check:
		return fmt.Errorf("a check on a new TLS connection can't cost %g µs, less than the %g on one that stays", f.TLS, f.Check)
	}
	return nil
}

// cost is that of a check with all that belongs to it.
func (f *Figures) cost(offers, refreshes float64) Cores {
	more := offers*f.Offer + refreshes*(f.Check+f.Refresh) // what was refused comes again
	c := Cores{KeepAlive: f.Check + more}
	if f.TLS > 0 {
		// A refresh is a request more on the connection of its check.
		c.TLS = f.TLS + more
	}
	return c
}

func (c Cores) cores(rate, use float64) Cores {
	return Cores{KeepAlive: rate * c.KeepAlive / 1e6 / use, TLS: rate * c.TLS / 1e6 / use}
}
