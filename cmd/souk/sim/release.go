package sim

import (
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/souk-market/souk/cmd/souk/sim/population"
	"github.com/souk-market/souk/cmd/souk/sim/report"
	"github.com/souk-market/souk/core/catalog"
)

// release is the version that a scenario is about. It is the one thing that devices
// remember, in four bits each: that they have asked, that they have since it came out,
// that they were offered it, and that they have it.
type release struct {
	population.Release
	asked, met, offered, took bits
	people, since             atomic.Uint64 // of devices that could have it: those that have asked, and since it came out
	offers, has               atomic.Uint64

	phases []*phase
	now    atomic.Pointer[phase]
}

// phase is a time in which a rollout is open to one share.
type phase struct {
	share    uint32 // basis points
	seen     bits
	n, count atomic.Uint64 // devices that asked, and those that it was open to
}

func newRelease(rel population.Release, devices uint64) *release {
	return &release{Release: rel, asked: newBits(devices), met: newBits(devices), offered: newBits(devices), took: newBits(devices)}
}

// version is the release as the catalogue takes it, open to a share.
func (rel *release) version(share int) catalog.Version {
	v := &rel.Version
	return catalog.Version{
		ID: v.ID, Short: v.Short, Build: "1", Released: v.Released,
		MinOS: map[string]string{"ios": string(appendOS(nil, v.MinOS))}, Rollout: catalog.Rollout{Share: share},
	}
}

// open notes that the rollout is open to another share.
func (rel *release) open(share int, devices uint64) {
	p := &phase{share: uint32(share)}
	if share < catalog.FullShare {
		p.seen = newBits(devices)
	}
	rel.phases = append(rel.phases, p)
	rel.now.Store(p)
}

// installed gives the device the release if it has taken it.
func (rel *release) installed(d *population.Device) {
	if !rel.took.has(d.Index) {
		return
	}
	for i := range d.Apps {
		if d.Apps[i].Item == rel.Item {
			d.Apps[i].Version = rel.Version.ID
		}
	}
}

// saw looks at an answer from which the release may be told.
func (rel *release) saw(w *worker, rp reply) {
	at := slices.IndexFunc(w.apps, func(a population.Installed) bool { return a.Item == rel.Item })
	if at < 0 || w.device.OS < rel.Version.MinOS {
		return
	}
	i, p := w.device.Index, rel.now.Load()
	if rel.asked.set(i) {
		rel.people.Add(1)
	}
	if p == nil {
		return
	}
	if rel.met.set(i) {
		rel.since.Add(1)
	}
	given := slices.ContainsFunc(w.got.offers, func(o offer) bool { return o.item == rel.Item && o.version == rel.Version.ID })
	had := rel.took.has(i) // already before, or it could not be told from who was refused
	if given && rel.offered.set(i) {
		rel.offers.Add(1)
	}
	if given && w.r.people.Takes(i, rel.Version.ID) && rel.took.set(i) {
		rel.has.Add(1)
	}
	states := w.r.truth.during(rel.Item, rp.sent, rp.answered)
	if len(states) != 1 || p.seen == nil {
		return
	}
	if v := states[0].version(rel.Version.ID); v != nil && v.share == p.share && p.seen.set(i) {
		p.n.Add(1)
		if given || had {
			p.count.Add(1)
		}
	}
}

// perPerson widens the bounds of a share for people with two devices, which a rollout
// is open to together. A sixth of the devices is a second one; of an app that a share b
// of them has, the variance is 1 + b/3 times that of devices on their own, and no app is
// meant for more than 0.8.
const perPerson = 1 + 0.8/3

// judge compares the shares of the phases with what they should be.
func (rel *release) judge(c *check) {
	for _, p := range rel.phases {
		n, count := p.n.Load(), p.count.Load()
		if p.seen == nil {
			continue
		}
		share := float64(p.share) / catalog.FullShare
		if !telling(n, share) {
			c.hold(false, func() string {
				return fmt.Sprintf("open to %g %%: %d devices asked, from whom no share can be told: the run was too small or too short", 100*share, n)
			})
			continue
		}
		c.hold(within(count, n, share, perPerson), func() string {
			return fmt.Sprintf("open to %g %%: it was for %d of %d devices, %.2f %%", 100*share, count, n, 100*float64(count)/float64(n))
		})
	}
}

// adoption is how far it has come.
func (rel *release) adoption(at time.Time) report.Adoption {
	a := report.Adoption{At: at}
	if p := rel.now.Load(); p != nil {
		a.Open = float64(p.share) / catalog.FullShare
	}
	if n := float64(rel.people.Load()); n > 0 {
		a.Offered, a.Installed = float64(rel.offers.Load())/n, float64(rel.has.Load())/n
	}
	return a
}
