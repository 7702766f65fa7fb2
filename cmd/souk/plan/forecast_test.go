package plan_test

import (
	"strings"
	"testing"
	"time"

	"github.com/souk-market/souk/cmd/souk/plan"
	"github.com/souk-market/souk/cmd/souk/sim/population"
	"github.com/souk-market/souk/core"
	"github.com/souk-market/souk/core/plugin"
	"github.com/souk-market/souk/plugins"
	"github.com/souk-market/souk/sdk/abi"
)

// policy opens the plugins of a market; none = the market's own rules.
func policy(t *testing.T, specs ...plugin.Spec) *plan.Policy {
	t.Helper()
	p := &plan.Policies{Specs: specs, Market: core.DefaultConfig().Market}
	o, err := p.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := o.Close(); err != nil {
			t.Error(err)
		}
	})
	return o
}

func rollout(keys map[string]any) plugin.Spec {
	s := plugin.DefaultSpec()
	s.Name, s.Wasm, s.Config = "rollout", plugins.Rollout, keys
	return s
}

func config(devices uint64) population.Config {
	c := population.Default()
	c.Devices = devices
	return c
}

// release is the rollout of the release of the scenario.
func release(c population.Config, before, after int) plan.Rollout {
	r := population.ReleaseDay(c, population.Catalogue(c))
	return plan.Rollout{Item: r.Item, Version: r.Version.ID, Before: before, After: after}
}

func run(t *testing.T, f *plan.Forecast) *plan.Report {
	t.Helper()
	r, err := f.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// counted is what the simulated devices come to when they are counted by hand: with the
// bucket of package abi, and no market, catalogue or plugin.
type counted struct {
	asked, untilChange, atEnd map[uint64]bool
	before, after             map[uint64]bool // offered on the day
	hours                     [24]int         // offered in an hour, as it would be
}

func count(t *testing.T, c population.Config, r plan.Rollout) *counted {
	t.Helper()
	apps := population.Catalogue(c)
	rel := population.ReleaseDay(c, apps)
	p, err := population.New(c, apps)
	if err != nil {
		t.Fatal(err)
	}
	change := rel.Version.Released.Add(24 * time.Hour)
	n := &counted{map[uint64]bool{}, map[uint64]bool{}, map[uint64]bool{}, map[uint64]bool{}, map[uint64]bool{}, [24]int{}}
	took := [2]map[uint64]bool{{}, {}}
	var d population.Device
	for a := range p.Arrivals(rel.Version.Released, change.Add(24*time.Hour)) {
		if !a.Kind.Answered() {
			continue
		}
		p.Device(&d, a.Device, a.At)
		list := d.Apps
		if a.Kind == population.Tap {
			at := a.TapOf(len(list))
			list = list[at : at+1]
		}
		has := false
		for _, i := range list {
			has = has || i.Item == r.Item
		}
		if !has || d.OS < rel.Version.MinOS {
			continue
		}
		n.asked[d.Index] = true
		bucket := int(abi.Bucket(d.Account, "6500000001/900000009"))
		takes := p.Takes(d.Index, rel.Version.ID)
		for side, share := range []int{r.Before, r.After} {
			if side == 1 && a.At.Before(change) {
				share = r.Before
			}
			if bucket >= share || took[side][d.Index] {
				continue
			}
			took[side][d.Index] = takes
			day := !a.At.Before(change)
			switch {
			case side == 0 && !day:
				n.untilChange[d.Index] = true
			case side == 0:
				n.before[d.Index] = true
			case day:
				n.after[d.Index] = true
				n.hours[a.At.Sub(change)/time.Hour]++
			}
			if side == 1 {
				n.atEnd[d.Index] = true
			}
		}
	}
	return n
}

func TestForecastIsWhatCountingComesTo(t *testing.T) {
	c := config(6000)
	r := release(c, 1000, 5000)
	want := count(t, c, r)
	for name, p := range map[string]*plan.Policy{"the market's own rules": policy(t), "the plugin rollout": policy(t, rollout(nil))} {
		f := &plan.Forecast{Rollouts: []plan.Rollout{r}, Before: p.Market, After: p.Market}
		if err := f.Own(c, 24*time.Hour); err != nil {
			t.Fatal(err)
		}
		got := run(t, f)
		o := got.Rollouts[0]
		if o.Salt != "6500000001/900000009" {
			t.Fatalf("the salt is %q", o.Salt)
		}
		if o.Asked != uint64(len(want.asked)) || o.OfferedUntilChange != uint64(len(want.untilChange)) || o.Offered != uint64(len(want.atEnd)) {
			t.Errorf("%s: asked %d, offered %d and %d; counted %d, %d and %d", name, o.Asked, o.OfferedUntilChange, o.Offered,
				len(want.asked), len(want.untilChange), len(want.atEnd))
		}
		if o.OnTheDay != uint64(len(want.before)) || o.WouldBe != uint64(len(want.after)) {
			t.Errorf("%s: on the day it is offered to %d and to %d, counted %d and %d", name, o.OnTheDay, o.WouldBe, len(want.before), len(want.after))
		}
		app, inHours := got.Apps[0], plan.Offered{}
		for i, h := range got.Hours {
			inHours.Offers += h.After.Offers - h.Before.Offers
			inHours.Devices += h.After.Devices
			if h.After.Devices < uint64(want.hours[i]) || h.Checks < h.After.Devices {
				t.Errorf("%s: hour %d has %+v, and %d were counted of the rollout", name, i, h, want.hours[i])
			}
		}
		if app.Item != r.Item || inHours.Offers != app.After.Offers-app.Before.Offers || inHours.Offers != got.After.Offers-got.Before.Offers || inHours.Devices < got.After.Devices {
			t.Errorf("%s: %+v in the hours, %+v of the app, %+v in all", name, inHours, app, got.After)
		}
		// Everybody who gets another answer is in a bucket between the shares.
		if got.Changed == 0 || len(got.Examples) == 0 || len(got.Changes) == 0 {
			t.Fatalf("%s: %d devices change, %d kinds, %d examples", name, got.Changed, len(got.Changes), len(got.Examples))
		}
		for _, e := range got.Examples {
			if e.Bucket == nil || *e.Bucket < 1000 || *e.Bucket >= 5000 || !strings.HasSuffix(e.After, "900000009") {
				t.Errorf("%s: an example is %+v", name, e)
			}
		}
	}
}

func TestForecastSaysWhoseWordItIs(t *testing.T) {
	c := config(2000)
	r := release(c, 1000, 5000)
	for want, p := range map[string]*plan.Policy{
		"core: no rollout is open to its bucket":           policy(t),
		"rollout: bucket # is not below # (code 26)":       policy(t, rollout(nil)),
		"rollout: bucket # is not below # (code 26), none": policy(t, rollout(map[string]any{"while_held": "nothing"})),
	} {
		want, _, _ = strings.Cut(want, ", none")
		f := &plan.Forecast{Rollouts: []plan.Rollout{r}, Before: p.Market, After: p.Market}
		if err := f.Own(c, 24*time.Hour); err != nil {
			t.Fatal(err)
		}
		top := run(t, f).Changes[0]
		if top.From != plugin.ResultHold || top.To != plugin.ResultOffer || top.WhyFrom != want || top.Item != r.Item {
			t.Errorf("the most frequent change is %+v, want one from hold, because %s", top, want)
		}
	}
}

func TestNothingChangesWhereNothingIsChanged(t *testing.T) {
	c := config(3000)
	p := policy(t, rollout(nil))
	f := &plan.Forecast{Rollouts: []plan.Rollout{release(c, 2500, 2500)}, Before: p.Market, After: p.Market}
	if err := f.Own(c, 24*time.Hour); err != nil {
		t.Fatal(err)
	}
	r := run(t, f)
	if r.Changed != 0 || len(r.Changes) != 0 || len(r.Examples) != 0 || r.Before != r.After {
		t.Errorf("%d devices change: %+v, and %+v becomes %+v", r.Changed, r.Changes, r.Before, r.After)
	}
	if r.Before.Offers == 0 || r.Before.Peak < r.Before.Mean || r.Before.PeakAt.Before(r.Change) {
		t.Errorf("the day is %+v", r.Before)
	}
}

func TestAnotherConfigurationIsAnotherPolicy(t *testing.T) {
	// A version that only a tenth is open to, of an app that has older news for everybody.
	c := config(4000)
	r := release(c, 1000, 1000)
	is, would := policy(t, rollout(nil)), policy(t, rollout(map[string]any{"while_held": "nothing"}))
	f := &plan.Forecast{Rollouts: []plan.Rollout{r}, Before: is.Market, After: would.Market}
	if err := f.Own(c, 24*time.Hour); err != nil {
		t.Fatal(err)
	}
	got := run(t, f)
	if got.Changed == 0 {
		t.Fatal("nobody gets another answer")
	}
	for _, change := range got.Changes {
		if change.From != plugin.ResultOffer || change.To != plugin.ResultHold {
			t.Errorf("a change is %+v, want from offer to hold", change)
		}
	}
	if got.After.Offers >= got.Before.Offers {
		t.Errorf("%d offers become %d", got.Before.Offers, got.After.Offers)
	}
}

func TestForecastEndsWhenItIsTold(t *testing.T) {
	ctx, cancel := contextThatEnds(t)
	cancel()
	c := config(50_000)
	p := policy(t)
	f := &plan.Forecast{Rollouts: []plan.Rollout{release(c, 0, 10_000)}, Before: p.Market, After: p.Market}
	if err := f.Own(c, 24*time.Hour); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Run(ctx); err == nil {
		t.Error("a forecast that was interrupted has a result")
	}
}
