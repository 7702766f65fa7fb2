package sim

import (
	"context"
	"time"

	"github.com/souk-market/souk/cmd/souk/sim/population"
	"github.com/souk-market/souk/core/catalog"
)

// halt is one that the operator has ordered, and when it was answered.
type halt struct {
	item, version uint64
	minOS         uint32
	done          time.Duration
	last          atomicDuration // when the latest offer of it was answered
}

func (h *halt) offered(rp reply) { h.last.Max(rp.answered) }

// haltOfARelease brings a release out for everyone, and halts it a quarter of a day
// later.
func haltOfARelease(r *run) (*scenario, error) {
	s := &scenario{length: aDay / 2, speed: 1440, alone: "brings a release out", claims: r.usual(r.checks.halt)}
	s.apps = func(r *run) {
		rel := population.ReleaseDay(r.config, r.apps)
		rel.Version.Released = r.after(time.Hour)
		r.release = newRelease(rel, r.config.Devices)
	}
	s.operate = func(ctx context.Context) error {
		if err := r.sleep(ctx, r.release.Version.Released); err != nil {
			return nil // the run is over
		}
		if err := r.openRelease(ctx, catalog.FullShare); err != nil {
			return err
		}
		if err := r.sleep(ctx, r.after(aDay/4)); err != nil {
			return nil
		}
		rel := r.release
		it := r.truth.now(rel.Item)
		for i := range it.Versions {
			if it.Versions[i].ID == rel.Version.ID {
				it.Versions[i].Rollout.Halted = true
			}
		}
		err := r.change(it, func() error { return r.op.halt(ctx, rel.Item, rel.Version.ID) })
		r.halted.Store(&halt{item: rel.Item, version: rel.Version.ID, minOS: rel.Version.MinOS, done: r.clock.since()})
		r.mark("the release is halted")
		return err
	}
	s.conclude = func() {
		h := r.halted.Load()
		if h == nil {
			return
		}
		r.figure("last offer", "%v after the answer to the halt", max(0, h.last.Load()-h.done).Round(10*time.Microsecond))
		r.figure("release", "%d devices were offered it before", r.release.offers.Load())
		r.checks.halt.hold(r.release.offers.Load() > 0, func() string { return "nobody was offered the release before: the run was too small" })
	}
	return s, nil
}
