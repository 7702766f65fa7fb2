package sim

import (
	"context"
	"math"
	"slices"

	"github.com/souk-market/souk/cmd/souk/sim/population"
	"github.com/souk-market/souk/core/catalog"
)

// publish lets the market's own releases come out when their time has come.
func (r *run) publish(ctx context.Context) error {
	type coming struct {
		app *population.App
		v   population.Version
	}
	var all []coming
	for i := range r.apps {
		for _, v := range r.apps[i].Versions {
			if v.Released.After(r.from) && v.Released.Before(r.to) {
				all = append(all, coming{&r.apps[i], v})
			}
		}
	}
	slices.SortFunc(all, func(a, b coming) int { return a.v.Released.Compare(b.v.Released) })
	for _, c := range all {
		if err := r.sleep(ctx, c.v.Released); err != nil {
			return nil // the run is over
		}
		if r.down.now() {
			continue // an operator whose server is down publishes later, and later is after this run
		}
		it := r.truth.now(c.app.Item)
		for _, v := range c.app.Entry(c.v.Released).Versions {
			if v.ID == c.v.ID && !slices.ContainsFunc(it.Versions, func(x catalog.Version) bool { return x.ID == v.ID }) {
				it.Versions = append(it.Versions, v)
			}
		}
		if err := r.change(it, func() error { return r.op.putApp(ctx, it) }); err != nil {
			return err
		}
	}
	return nil
}

// change has the operator change an app, and notes from when to when both are right.
func (r *run) change(it catalog.Item, tell func() error) error {
	s := r.truth.change(it, r.clock.since())
	err := tell()
	s.done.Store(int64(r.clock.since()))
	if err != nil && r.down.now() { // killed under its hands: whether it was done isn't known
		s.done.Store(math.MaxInt64)
		return nil
	}
	return err
}
