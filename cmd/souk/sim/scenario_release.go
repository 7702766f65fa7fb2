package sim

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/souk-market/souk/cmd/souk/sim/population"
	"github.com/souk-market/souk/core/catalog"
)

const aDay = 24 * time.Hour

// releaseDay brings a version of the top app out, for everyone or open to a share that
// grows once a day.
func releaseDay(r *run) (*scenario, error) {
	steps, err := shares(r.c.Rollout)
	if err != nil {
		return nil, err
	}
	s := &scenario{length: aDay, speed: 1440, alone: "brings a release out", claims: r.usual()}
	if len(steps) == 0 {
		steps = []int{catalog.FullShare}
	} else {
		s.variant, s.length = "phased "+r.c.Rollout, time.Duration(len(steps))*aDay
	}
	if len(steps) > 1 || steps[0] != catalog.FullShare {
		s.claims = append(s.claims, r.checks.share)
	}
	s.apps = func(r *run) {
		r.release = newRelease(population.ReleaseDay(r.config, r.apps), r.config.Devices)
	}
	s.operate = func(ctx context.Context) error {
		for i, share := range steps {
			if err := r.sleep(ctx, r.release.Version.Released.Add(time.Duration(i)*aDay)); err != nil {
				return nil // the run is over
			}
			if err := r.openRelease(ctx, share); err != nil {
				return err
			}
		}
		return nil
	}
	s.conclude = func() {
		r.release.judge(r.checks.share)
		rel := r.release
		r.figure("release", "of %d devices that could have it and asked, %d did since it came out, %d were offered it and %d have it",
			rel.people.Load(), rel.since.Load(), rel.offers.Load(), rel.has.Load())
		r.checks.newest.hold(rel.has.Load() > 0, func() string { return "nobody was offered the release and has it: the run was too small or too short" })
	}
	return s, nil
}

// openRelease opens the release to a share; the first time it is published.
func (r *run) openRelease(ctx context.Context, share int) error {
	rel := r.release
	it := r.truth.now(rel.Item)
	at := -1
	for i := range it.Versions {
		if it.Versions[i].ID == rel.Version.ID {
			at = i
		}
	}
	tell := func() error { return r.op.rollout(ctx, rel.Item, rel.Version.ID, share) }
	if at < 0 {
		it.Versions = append(it.Versions, rel.version(share))
		tell = func() error { return r.op.putApp(ctx, it) }
	} else {
		it.Versions[at].Rollout.Share = share
	}
	rel.open(share, r.config.Devices)
	r.mark("the release is open to %g %%", float64(share)/100)
	return r.change(it, tell)
}

// shares reads percentages as basis points; nothing = none.
func shares(text string) (all []int, err error) {
	if text == "" {
		return nil, nil
	}
	last := 0
	for part := range strings.SplitSeq(text, ",") {
		percent, err := strconv.ParseFloat(strings.TrimSuffix(strings.TrimSpace(part), "%"), 64)
		share := int(percent*100 + 0.5)
		if err != nil || share <= last || share > catalog.FullShare {
			return nil, fmt.Errorf("--rollout: %q is no percentage, or not more than the one before: write them like \"1,2,5,10,20,50,100\"", part)
		}
		last = share
		all = append(all, share)
	}
	return all, nil
}
