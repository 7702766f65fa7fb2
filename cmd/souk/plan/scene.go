package plan

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/souk-market/souk/cmd/souk/sim/population"
	"github.com/souk-market/souk/core/catalog"
)

// Own sets a forecast in the simulator's own market. A rollout of its ReleaseDay begins
// when that comes out, one of any other version at Start. after is how long the market has
// been as it is when it changes.
func (f *Forecast) Own(c population.Config, after time.Duration) error {
	f.Config, f.Apps, f.Held, f.From = c, population.Catalogue(c), map[Version]bool{}, c.Start
	release := population.ReleaseDay(c, f.Apps)
	// The whole catalogue, with what is not out yet.
	catalogue := slices.Clone(f.Apps)
	began := f.From
	for _, r := range f.Rollouts {
		if r.Item == release.Item && r.Version == release.Version.ID {
			a := &catalogue[release.App]
			a.Versions = append(slices.Clone(a.Versions), release.Version)
			f.Held[Version{r.Item, r.Version}], began = true, release.Version.Released
			continue
		}
		app := slices.IndexFunc(f.Apps, func(a population.App) bool { return a.Item == r.Item })
		if app < 0 {
			return fmt.Errorf("--rollout: the simulated market has no app %d: its apps are %d to %d", r.Item, f.Apps[0].Item, f.Apps[len(f.Apps)-1].Item)
		}
		if err := f.hold(app, r.Version); err != nil {
			return err
		}
		for _, v := range catalogue[app].Versions {
			if v.ID == r.Version && v.Released.After(began) {
				began = v.Released
			}
		}
	}
	f.Item = func(app int, at time.Time) catalog.Item { return catalogue[app].Entry(at) }
	f.Change = began.Add(after)
	return nil
}

// hold takes a version out of those that devices install by themselves.
func (f *Forecast) hold(app int, version uint64) error {
	a := &f.Apps[app]
	kept := slices.DeleteFunc(slices.Clone(a.Versions), func(v population.Version) bool { return v.ID == version })
	if len(kept) == len(a.Versions) {
		var ids []uint64
		for _, v := range a.Versions {
			ids = append(ids, v.ID)
		}
		return fmt.Errorf("--rollout: app %d has no version %d: it has %d", a.Item, version, ids)
	}
	a.Versions, f.Held[Version{a.Item, version}] = kept, true
	return nil
}

// settled is the most that a running market is looked at as it is: a week later hardly a
// device is left that has not asked.
const settled = 7 * 24 * time.Hour

// Live sets a forecast in the catalogue of a running server, at a time. bases are the
// shares of devices that have an app, by item; of the others nobody knows more than that
// some are liked more, so that they are taken in the order of the catalogue. after is how
// long the market has been as it is; 0 = since the versions of the rollouts came out, and a
// week at most.
func (f *Forecast) Live(c population.Config, items []catalog.Item, bases map[uint64]float64, now time.Time, after time.Duration) error {
	if len(items) == 0 {
		return fmt.Errorf("the catalogue of the server is empty")
	}
	if after == 0 {
		after = 24 * time.Hour
		for _, r := range f.Rollouts {
			after = settled
			if v := findVersion(items, r.Item, r.Version); v != nil && !v.Released.IsZero() {
				after = min(max(now.Sub(v.Released), time.Hour), settled)
				break
			}
		}
	}
	f.Change, f.From, f.Held = now, now.Add(-after), map[Version]bool{}
	c.Start, c.Apps = f.From.UTC().Truncate(24*time.Hour), len(items)
	f.Config = c
	f.Apps = nil
	for i := range items {
		f.Apps = append(f.Apps, liveApp(&items[i], bases[items[i].ID], now))
		for _, v := range items[i].Versions {
			// Who has it was offered it: it is open to some, or stopped.
			if v.Rollout.Share < catalog.FullShare || v.Rollout.Halted || v.Withdrawn {
				if err := f.hold(i, v.ID); err != nil {
					return err
				}
			}
		}
	}
	for i := range f.Rollouts {
		r := &f.Rollouts[i]
		app := slices.IndexFunc(items, func(it catalog.Item) bool { return it.ID == r.Item })
		if app < 0 {
			return fmt.Errorf("--rollout: the server has no app %d", r.Item)
		}
		v := findVersion(items, r.Item, r.Version)
		if v == nil {
			return fmt.Errorf("--rollout: app %d of the server has no version %d", r.Item, r.Version)
		}
		if v.Rollout.Halted {
			return fmt.Errorf("--rollout: version %d is halted: nobody is offered it, whatever the share", r.Version)
		}
		if r.Before = v.Rollout.Share; !f.Held[Version{r.Item, r.Version}] {
			if err := f.hold(app, r.Version); err != nil {
				return err
			}
		}
	}
	for item := range maps.Keys(bases) {
		if findItem(items, item) == nil {
			return fmt.Errorf("--base: the server has no app %d", item)
		}
	}
	// What is in the catalogue of a server is out, whatever it says of its release.
	f.Item = func(app int, at time.Time) catalog.Item {
		it := items[app]
		it.Versions = slices.DeleteFunc(slices.Clone(it.Versions), func(v catalog.Version) bool { return v.Released.After(at) && !v.Released.After(now) })
		return it
	}
	return nil
}

func findItem(items []catalog.Item, id uint64) *catalog.Item {
	for i := range items {
		if items[i].ID == id {
			return &items[i]
		}
	}
	return nil
}

func findVersion(items []catalog.Item, item, version uint64) *catalog.Version {
	if it := findItem(items, item); it != nil {
		for i := range it.Versions {
			if it.Versions[i].ID == version {
				return &it.Versions[i]
			}
		}
	}
	return nil
}

// liveApp is an app as devices have it.
func liveApp(it *catalog.Item, base float64, now time.Time) population.App {
	a := population.App{Item: it.ID, BundleID: it.BundleID, Name: it.Name, Base: base}
	for i := len(it.Versions) - 1; i >= 0; i-- {
		v := &it.Versions[i]
		os, ok := catalog.ParseOS(v.MinOS["ios"])
		if !ok {
			continue // it runs on no device that asks
		}
		released := v.Released
		if released.After(now) {
			released = time.Time{} // it is out all the same
		}
		a.Versions = append(a.Versions, population.Version{ID: v.ID, Short: v.Short, MinOS: os, Released: released})
	}
	return a
}
