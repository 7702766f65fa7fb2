package plan_test

import (
	"math"
	"testing"
	"time"

	"github.com/souk-market/souk/cmd/souk/plan"
)

// figure is one count of a forecast, and how far it may be off.
type figure struct{ n, within float64 }

// figures are all counts that have bounds of their own.
func figures(r *plan.Report) map[string]figure {
	all := map[string]figure{"changed": {float64(r.Changed), float64(r.Within)}}
	for name, t := range map[string]plan.Total{"before": r.Before, "after": r.After} {
		all[name+", devices"] = figure{float64(t.Devices), float64(t.DevicesWithin)}
		all[name+", offers"] = figure{float64(t.Offers), float64(t.OffersWithin)}
	}
	for _, h := range r.Hours {
		at := h.At.Format("15:04 ")
		all[at+"before"] = figure{float64(h.Before.Offers), float64(h.Before.OffersWithin)}
		all[at+"after"] = figure{float64(h.After.Devices), float64(h.After.DevicesWithin)}
	}
	o := r.Rollouts[0]
	for name, n := range map[string]uint64{"asked": o.Asked, "until": o.OfferedUntilChange, "offered": o.Offered, "on the day": o.OnTheDay, "would be": o.WouldBe} {
		all[name] = figure{float64(n), float64(o.Within)}
	}
	for _, a := range r.Apps {
		all["app "+a.Name] = figure{float64(a.After.Offers), float64(a.After.OffersWithin)}
	}
	return all
}

// Of a thousand counts of samples one lies outside its bounds, and the bounds are no
// wider than they have to be. The seeds make it the same each time.
func TestSamplesAreWithinTheirBounds(t *testing.T) {
	p := policy(t)
	forecast := func(seed, sample uint64) map[string]figure {
		c := config(12_000)
		c.Seed = seed
		f := &plan.Forecast{Rollouts: []plan.Rollout{release(c, 1000, 5000)}, Before: p.Market, After: p.Market, Sample: sample}
		if err := f.Own(c, 24*time.Hour); err != nil {
			t.Fatal(err)
		}
		return figures(run(t, f))
	}
	looked, outside, tight := 0, 0, 0
	for seed := range uint64(5) {
		whole, sampled := forecast(seed+1, 0), forecast(seed+1, 3000)
		for name, want := range whole {
			if want.within != 0 {
				t.Fatalf("seed %d: %s of all devices is ±%g", seed+1, name, want.within)
			}
			got := sampled[name]
			if got.within == 0 {
				got.within = 3.2905 * 3.2905 * 4 // an app that nobody of the sample was offered
			}
			off := math.Abs(got.n - want.n)
			if looked++; off > got.within {
				outside++
				t.Logf("seed %d: %s is %g ±%g, and of all devices %g", seed+1, name, got.n, got.within, want.n)
			}
			if off > got.within/4 {
				tight++
			}
		}
	}
	if looked < 1000 || outside*200 > looked || tight*20 < looked {
		t.Errorf("of %d counts %d lie outside their bounds, and %d beyond a quarter of them", looked, outside, tight)
	}
}

// A sample of many devices comes to what all of them do when they are counted by hand.
func TestSampleIsWhatCountingComesTo(t *testing.T) {
	c := config(400_000)
	r := release(c, 1000, 5000)
	want := count(t, c, r)
	p := policy(t)
	f := &plan.Forecast{Rollouts: []plan.Rollout{r}, Before: p.Market, After: p.Market, Sample: 20_000}
	if err := f.Own(c, 24*time.Hour); err != nil {
		t.Fatal(err)
	}
	got := run(t, f)
	o := got.Rollouts[0]
	if got.Share != 0.05 || o.Within == 0 || o.Within*20 > o.Asked {
		t.Fatalf("a share of %g, and %d ±%d ask", got.Share, o.Asked, o.Within)
	}
	for name, n := range map[string][2]int{
		"asked": {int(o.Asked), len(want.asked)}, "offered until the change": {int(o.OfferedUntilChange), len(want.untilChange)},
		"offered": {int(o.Offered), len(want.atEnd)}, "offered on the day": {int(o.WouldBe), len(want.after)},
	} {
		if off := max(n[0]-n[1], n[1]-n[0]); off > int(o.Within) {
			t.Errorf("%s: %d ±%d, counted %d", name, n[0], o.Within, n[1])
		}
	}
}
