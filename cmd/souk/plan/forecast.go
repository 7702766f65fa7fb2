// Package plan foretells what a changed policy or rollout does to a population before it
// goes live, and how many machines a population needs. Devices are simulated or were
// recorded; what becomes of each is decided the real way, by package market and by the
// plugins themselves. Nothing is written.
package plan

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/souk-market/souk/cmd/souk/sim/population"
	"github.com/souk-market/souk/core/catalog"
	"github.com/souk-market/souk/core/market"
	"github.com/souk-market/souk/core/plugin"
	"github.com/souk-market/souk/sdk/abi"
)

// Version names one of an app.
type Version struct{ Item, ID uint64 }

// Rollout is one that is, or would be, open to another share.
type Rollout struct {
	Item, Version uint64
	Before, After int // basis points
}

// Forecast is one in the making. It lets the market go on as it is until Change, and then
// for a day both as it is and as it would be.
type Forecast struct {
	Config   population.Config
	Apps     []population.App // whose versions devices install as they come out: all but those that Held names
	Held     map[Version]bool // those that devices have only if they were offered them
	Item     func(app int, at time.Time) catalog.Item
	Rollouts []Rollout
	Before   *market.Market // its Config and Plugins
	After    *market.Market
	Grants   []string // of everybody
	From     time.Time
	Change   time.Time
	Sample   uint64                // about how many of the devices are looked at; 0 = all
	Progress func(done, of uint64) // may be nil

	population *population.Population
	share      float64        // of the devices that are looked at
	names      map[uint64]int // of items, by their place in Apps
	sides      [2]*side
	device     population.Device
	supposed   market.Supposed
	report     *Report
	asked      []asked // one a rollout
	changed    map[slot]bool
	changes    map[Change]int
	shown      map[Change]int // examples
	perApp     map[uint64]*App
	differing  map[uint64]bool // devices
}

// side is the market as it is, or as it would be.
type side struct {
	market   *market.Market
	rollouts []Rollout
	after    bool
	snapshot *catalog.Snapshot
	took     map[slot]uint64 // versions of Held
	offered  map[slot]uint64 // on the day: how often
	first    map[offer]bool  // ever, a version of Held
	onTheDay map[offer]bool  // a version of Held, on the day
	asked    []market.App    // by the device that asked last
	outcomes []plugin.Outcome
}

// asked are the devices that could have the version of a rollout, and have asked since it
// came out.
type asked struct {
	devices  map[uint64]bool
	minOS    uint32
	released time.Time
}

// slot is an app on a device. Neither number comes near half of its bits.
type slot uint64

func newSlot(device uint64, app int) slot { return slot(device<<17 | uint64(app)) }

func (s slot) device() uint64 { return uint64(s >> 17) }

// offer is a version that a device was offered.
type offer struct {
	device  uint64
	version Version
}

// The sides.
const (
	before = iota
	after
)

// horizon is how long a forecast looks ahead.
const horizon = 24 * time.Hour

// peakOver is the stretch of which the busiest counts as the peak: as long as clocks
// that are set to the hour need.
const peakOver = 30 * time.Second

// Run makes the forecast.
func (f *Forecast) Run(ctx context.Context) (*Report, error) {
	if err := f.begin(); err != nil {
		return nil, err
	}
	coming := f.coming()
	to := f.Change.Add(horizon)
	expected := f.expected(to)
	done := uint64(0)
	for a := range f.population.Arrivals(f.From, to) {
		for len(coming) > 0 && !coming[0].at.After(a.At) {
			if err := f.publish(coming[0]); err != nil {
				return nil, err
			}
			coming = coming[1:]
		}
		if done++; done%4096 == 0 {
			if err := ctx.Err(); err != nil {
				return nil, context.Cause(ctx)
			}
			if f.Progress != nil {
				f.Progress(done, max(expected, done))
			}
		}
		if err := f.arrive(ctx, a); err != nil {
			return nil, err
		}
	}
	return f.end(), nil
}

func (f *Forecast) begin() (err error) {
	if f.population, err = population.New(f.Config, f.Apps); err != nil {
		return err
	}
	f.share = 1
	if f.Sample > 0 {
		f.share = min(1, float64(f.Sample)/float64(f.Config.Devices))
	}
	f.names = make(map[uint64]int, len(f.Apps))
	items := make([]catalog.Item, len(f.Apps))
	for i := range f.Apps {
		f.names[f.Apps[i].Item] = i
		items[i] = f.Item(i, f.From)
	}
	f.sides[before] = &side{market: f.Before, rollouts: f.Rollouts, took: map[slot]uint64{}, offered: map[slot]uint64{}, first: map[offer]bool{}, onTheDay: map[offer]bool{}}
	if f.sides[before].snapshot, err = new(catalog.Snapshot).Suppose(f.sides[before].open(items)...); err != nil {
		return err
	}
	f.changed, f.changes, f.shown = map[slot]bool{}, map[Change]int{}, map[Change]int{}
	f.perApp, f.differing = map[uint64]*App{}, map[uint64]bool{}
	f.report = &Report{
		Devices: f.Config.Devices, Seed: f.Config.Seed, From: f.From, Change: f.Change, To: f.Change.Add(horizon),
		Hours: make([]Hour, int(horizon/time.Hour)),
	}
	for i := range f.report.Hours {
		f.report.Hours[i].At = f.Change.Add(time.Duration(i) * time.Hour)
	}
	for i := range f.Rollouts {
		f.foretell(&f.Rollouts[i])
	}
	return nil
}

// open gives the items the shares of a side.
func (s *side) open(items []catalog.Item) []catalog.Item {
	for i := range items {
		for _, r := range s.rollouts {
			if r.Item != items[i].ID {
				continue
			}
			versions := slices.Clone(items[i].Versions)
			for k := range versions {
				if versions[k].ID != r.Version {
					continue
				}
				versions[k].Rollout.Share = r.Before
				if s.after {
					versions[k].Rollout.Share = r.After
				}
			}
			items[i].Versions = versions
		}
	}
	return items
}

// release is an app at the time at which it has one version more.
type release struct {
	app int
	at  time.Time
}

// coming are the releases of the time that is looked at, in their order.
func (f *Forecast) coming() (all []release) {
	seen := map[release]bool{}
	for i := range f.Apps {
		for _, v := range f.Item(i, f.Change.Add(horizon)).Versions {
			if r := (release{i, v.Released}); v.Released.After(f.From) && !seen[r] {
				seen[r] = true
				all = append(all, r)
			}
		}
	}
	slices.SortStableFunc(all, func(a, b release) int { return a.at.Compare(b.at) })
	return all
}

func (f *Forecast) publish(r release) (err error) {
	for _, s := range f.sides {
		if s == nil {
			continue
		}
		it := s.open([]catalog.Item{f.Item(r.app, r.at)})
		if s.snapshot, err = s.snapshot.Suppose(it...); err != nil {
			return err
		}
	}
	return nil
}

// expected is about how many requests there will be.
func (f *Forecast) expected(to time.Time) uint64 {
	sum := 0.0
	for at := f.From.Add(time.Minute); at.Before(to); at = at.Add(time.Hour) {
		sum += f.population.Rate(at) * 3600
	}
	return uint64(sum)
}

// part divides the market into the one that goes on and the one that changes.
func (f *Forecast) part() error {
	b := f.sides[before]
	a := &side{
		market: f.After, rollouts: b.rollouts, after: true, snapshot: b.snapshot,
		took: maps.Clone(b.took), offered: map[slot]uint64{}, first: maps.Clone(b.first), onTheDay: map[offer]bool{},
	}
	var items []catalog.Item
	for _, r := range f.Rollouts {
		i := f.names[r.Item]
		if slices.ContainsFunc(items, func(it catalog.Item) bool { return it.ID == r.Item }) {
			continue
		}
		items = append(items, f.Item(i, f.Change))
	}
	var err error
	a.snapshot, err = b.snapshot.Suppose(a.open(items)...)
	f.sides[after] = a
	for i := range f.report.Rollouts {
		o := &f.report.Rollouts[i]
		o.OfferedUntilChange = b.everOffered(Version{o.Item, o.Version})
	}
	return err
}

// arrive lets one request be answered.
func (f *Forecast) arrive(ctx context.Context, a population.Arrival) error {
	changed := !a.At.Before(f.Change)
	if changed && f.sides[after] == nil {
		if err := f.part(); err != nil {
			return err
		}
	}
	if !a.Kind.Answered() || f.share < 1 && !f.population.Sampled(a.Device, f.share) {
		return nil
	}
	d := &f.device
	f.population.Device(d, a.Device, a.At)
	if len(d.Apps) == 0 {
		return nil
	}
	if a.Kind == population.Tap {
		d.Apps[0] = d.Apps[a.TapOf(len(d.Apps))]
		d.Apps = d.Apps[:1]
	}
	hour := -1
	if changed {
		hour = int(a.At.Sub(f.Change) / time.Hour)
		f.report.Hours[hour].Checks++
	}
	for _, s := range f.sides {
		if s == nil {
			continue
		}
		if err := f.ask(ctx, s, a, hour); err != nil {
			return err
		}
	}
	if changed {
		f.compare(a)
	}
	return nil
}

// ask lets a side answer, and the device install what it is offered.
func (f *Forecast) ask(ctx context.Context, s *side, a population.Arrival, hour int) (err error) {
	d, y := &f.device, &f.supposed
	y.At, y.Account, y.Client, y.Platform, y.OS, y.Territory, y.Grants = a.At, d.Account, d.ClientID, d.Platform, d.OS, d.Territory, f.Grants
	y.Apps = y.Apps[:0]
	for _, i := range d.Apps {
		y.Apps = append(y.Apps, market.App{Item: i.Item, Version: max(i.Version, s.took[newSlot(d.Index, i.App)])})
		if hour < 0 || s.after {
			f.could(s, i, a)
		}
	}
	s.asked = append(s.asked[:0], y.Apps...)
	if s.outcomes, err = s.market.Suppose(ctx, s.snapshot, y, s.outcomes[:0]); err != nil {
		return err
	}
	offers := uint64(0)
	for i := range s.outcomes {
		o := &s.outcomes[i]
		if o.Result != plugin.ResultOffer {
			continue
		}
		offers++
		app := f.names[o.Item]
		at := newSlot(d.Index, app)
		if v := (Version{o.Item, o.Version}); f.Held[v] {
			given := offer{d.Index, v}
			s.first[given] = true
			if hour >= 0 {
				s.onTheDay[given] = true
			}
			if f.population.Takes(d.Index, o.Version) {
				s.took[at] = o.Version
			}
		}
		if hour >= 0 {
			s.offered[at]++
		}
	}
	if hour >= 0 && offers > 0 {
		f.report.count(s, hour, a.At, offers)
	}
	return nil
}

// could notes a device that has asked since a rollout began, and that could have its
// version.
func (f *Forecast) could(s *side, i population.Installed, a population.Arrival) {
	for k := range f.report.Rollouts {
		r, n := &f.report.Rollouts[k], &f.asked[k]
		if r.Item == i.Item && f.device.OS >= n.minOS && !a.At.Before(n.released) && i.Version < r.Version {
			n.devices[f.device.Index] = true
		}
	}
}

// everOffered counts the devices that were offered a version of Held.
func (s *side) everOffered(version Version) uint64 { return count(s.first, version) }

func count(offers map[offer]bool, version Version) (n uint64) {
	for o := range offers {
		if o.version == version {
			n++
		}
	}
	return n
}

// compare notes how the two answers to a device differ.
func (f *Forecast) compare(a population.Arrival) {
	b, c := f.sides[before].outcomes, f.sides[after].outcomes
	for _, i := range f.device.Apps {
		from, to := find(b, i.Item), find(c, i.Item)
		if from.Same(to) {
			continue
		}
		at := newSlot(f.device.Index, i.App)
		if f.changed[at] {
			continue // on the day that is looked at, it has changed once already
		}
		f.changed[at], f.differing[f.device.Index] = true, true
		change := Change{Item: i.Item, From: from.Result, To: to.Result, WhyFrom: kind(from), WhyTo: kind(to)}
		if _, ok := f.changes[change]; !ok && len(f.changes) == maxChanges {
			change = Change{WhyTo: plugin.OtherChanges}
		}
		f.changes[change]++
		change.Item = 0 // the same of another app is the same
		if f.shown[change]++; f.shown[change] <= perChange && len(f.report.Examples) < maxExamples {
			f.report.Examples = append(f.report.Examples, f.example(a, i, from, to))
		}
	}
}

// find is the outcome for an app; none = nothing is newer.
func find(list []plugin.Outcome, item uint64) plugin.Outcome {
	for i := range list {
		if list[i].Item == item {
			return list[i]
		}
	}
	return plugin.Outcome{Item: item, Result: ResultNothing}
}

// ResultNothing is the result for an app without a candidate.
const ResultNothing = market.ResultNothing

func (f *Forecast) example(a population.Arrival, i population.Installed, from, to plugin.Outcome) Example {
	d := &f.device
	e := Example{
		Device: d.Index, Account: string([]byte(d.Account)), Platform: d.Platform.String(), OS: catalog.FormatOS(d.OS), Territory: d.Territory,
		At: a.At, Item: i.Item, Installed: f.sides[before].installed(i.Item),
		Before: from.String(), After: to.String(), WhyBefore: because(from), WhyAfter: because(to),
	}
	for k := range f.Rollouts {
		if r := &f.report.Rollouts[k]; r.Item == i.Item {
			bucket := abi.Bucket(e.Account, r.Salt)
			e.Bucket = &bucket
		}
	}
	return e
}

// installed is what the device that asked last said that it has.
func (s *side) installed(item uint64) uint64 {
	for _, a := range s.asked {
		if a.Item == item {
			return a.Version
		}
	}
	return 0
}

func (f *Forecast) end() *Report {
	r := f.report
	if f.sides[after] == nil { // nobody asks after the change
		_ = f.part()
	}
	for i, s := range f.sides {
		t := []*Total{&r.Before, &r.After}[i]
		devices := map[uint64]uint64{}
		for at, times := range s.offered {
			devices[at.device()] += times
			app := f.app(f.Apps[at&(1<<17-1)].Item)
			[]*Offered{&app.Before, &app.After}[i].add(times)
		}
		for _, times := range devices {
			t.add(times)
		}
	}
	for i := range r.Rollouts {
		o := &r.Rollouts[i]
		o.Asked = uint64(len(f.asked[i].devices))
		v := Version{o.Item, o.Version}
		o.Offered = f.sides[after].everOffered(v)
		o.OnTheDay, o.WouldBe = count(f.sides[before].onTheDay, v), count(f.sides[after].onTheDay, v)
	}
	r.finish(f)
	r.scale(f.share)
	return r
}

func (f *Forecast) app(item uint64) *App {
	a := f.perApp[item]
	if a == nil {
		a = &App{Item: item, Name: f.Apps[f.names[item]].Name}
		f.perApp[item] = a
	}
	return a
}

// foretell begins to look at a rollout.
func (f *Forecast) foretell(r *Rollout) {
	o := Foretold{Item: r.Item, Version: r.Version, Before: r.Before, After: r.After}
	n := asked{devices: map[uint64]bool{}, released: f.From}
	for _, v := range f.Item(f.names[r.Item], f.Change.Add(horizon)).Versions {
		if v.ID != r.Version {
			continue
		}
		n.minOS, _ = catalog.ParseOS(v.MinOS["ios"])
		if o.Salt = v.Rollout.Salt; o.Salt == "" {
			o.Salt = fmt.Sprintf("%d/%d", r.Item, r.Version)
		}
		if v.Released.After(f.From) {
			n.released = v.Released
		}
	}
	f.report.Rollouts, f.asked = append(f.report.Rollouts, o), append(f.asked, n)
}
