package plan_test

import (
	"context"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/souk-market/souk/cmd/souk/plan"
	"github.com/souk-market/souk/cmd/souk/sim/population"
)

func contextThatEnds(t *testing.T) (context.Context, context.CancelFunc) {
	return context.WithCancel(t.Context())
}

func demand(devices uint64) plan.Demand {
	d := plan.Demand{Population: population.Default(), Offers: 0.13, Release: 0.8, TokenLife: 72 * time.Hour, Use: 0.5}
	d.Population.Devices = devices
	return d
}

func TestCapacityIsRateTimesCost(t *testing.T) {
	d := demand(1_000_000)
	f := plan.Figures{Check: 15, Offer: 60, Refresh: 45, TLS: 500}
	c, err := d.Capacity(f)
	if err != nil {
		t.Fatal(err)
	}
	near := func(what string, got, want, tolerance float64) {
		t.Helper()
		if math.Abs(got-want) > tolerance*want {
			t.Errorf("%s = %g, want %g", what, got, want)
		}
	}
	// The load model: a million devices are 9.8 checks a second, and 3 % more.
	near("mean", c.Loads[0].Checks, 1e6*0.85/86400/0.97, 0.001)
	near("busiest hour", c.Loads[1].Checks, 18.6, 0.02)
	near("spike", c.Loads[2].Checks, 129, 0.02)
	near("wave", c.Loads[3].Checks, 18.7*1680/10, 0.02)
	usual := 15 + 0.13*60 + (45+15)/3.0
	near("a usual check", c.Usual.KeepAlive, usual, 1e-9)
	near("a usual check with TLS", c.Usual.TLS, usual+485, 1e-9)
	near("a check on a release", c.Release.KeepAlive, 15+0.8*60+(45+15)/3.0, 1e-9)
	for _, l := range c.Loads {
		near(l.Name+", cores", l.Cores.KeepAlive, l.Checks*usual/1e6/0.5, 1e-9)
		near(l.Name+", cores on a release", l.Worst.TLS, l.Checks*c.Release.TLS/1e6/0.5, 1e-9)
	}
	near("devices per core", c.PerCore.KeepAlive, 1e6/c.Loads[1].Worst.KeepAlive, 1e-9)
	near("devices per core, with the spike", c.PerSpike.TLS, 1e6/c.Loads[2].Worst.TLS, 1e-9)
}

func TestFiguresOfABenchmark(t *testing.T) {
	cases := []plan.Case{{"a", 14}, {"b", 22}, {"c", 72}, {"f", 40}, {"g", 450}}
	f, err := plan.FiguresOf(cases)
	if want := (plan.Figures{Check: 14, Offer: 58, Refresh: 40, TLS: 450}); err != nil || f != want {
		t.Errorf("FiguresOf = %+v, %v, want %+v", f, err, want)
	}
	if f, err := plan.FiguresOf(cases[:4]); err != nil || f.TLS != 0 {
		t.Errorf("without g: %+v, %v", f, err)
	}
	for want, cases := range map[string][]plan.Case{
		`no case "a"`:        {{"c", 72}, {"f", 40}},
		`no case "f"`:        {{"a", 14}, {"c", 72}},
		"more than 0":        {{"a", 0}, {"c", 72}, {"f", 40}},
		"a quieter machine":  {{"a", 80}, {"c", 72}, {"f", 40}},
		"has to be more tha": {{"a", math.NaN()}, {"c", 72}, {"f", 40}},
	} {
		if _, err := plan.FiguresOf(cases); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v, want an error with %q", cases, err, want)
		}
	}
}

func TestImpossibleDemandsAreRefused(t *testing.T) {
	good := plan.Figures{Check: 15, Offer: 60, Refresh: 45, TLS: 500}
	for want, change := range map[string]func(*plan.Demand, *plan.Figures){
		"a check can't cost 0":   func(_ *plan.Demand, f *plan.Figures) { f.Check = 0 },
		"an offer can't cost -1": func(_ *plan.Demand, f *plan.Figures) { f.Offer = -1 },
		"less than the 15":       func(_ *plan.Demand, f *plan.Figures) { f.TLS = 3 },
		"can't be busy":          func(d *plan.Demand, _ *plan.Figures) { d.Use = 1.5 },
		"offers a check":         func(d *plan.Demand, _ *plan.Figures) { d.Offers = -1 },
		"good for 1s":            func(d *plan.Demand, _ *plan.Figures) { d.TokenLife = time.Second },
		"population: 0 devices":  func(d *plan.Demand, _ *plan.Figures) { d.Population.Devices = 0 },
	} {
		d, f := demand(1000), good
		change(&d, &f)
		if _, err := d.Capacity(f); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want an error with %q", err, want)
		}
	}
}
