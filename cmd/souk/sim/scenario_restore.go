package sim

import (
	"context"
	"time"

	"github.com/souk-market/souk/cmd/souk/sim/population"
	"github.com/souk-market/souk/core/catalog"
)

// kindRestore is a new device on which its person signs in and wants all apps back.
const kindRestore population.Kind = 128

// restoreWave is a weekend on which people have new devices: one of a hundred, and 200
// at least. Of some apps the version that they had is not what they can have.
func restoreWave(r *run) (*scenario, error) {
	s := &scenario{length: 2 * aDay, speed: 1440, claims: r.usual(r.checks.restored)}
	s.catalogue = func(r *run) {
		for i := range r.items {
			age(&r.items[i], i)
		}
	}
	s.operate = func(context.Context) error {
		n := min(max(r.c.Devices/100, 200), r.c.Devices)
		for i := range n {
			at := mix(r.c.Seed, i, 1)
			due := time.Duration(at * float64(r.clock.due(r.to)))
			device := uint64(mix(r.c.Seed, i, 2) * float64(r.c.Devices))
			r.pacer.push(job{due: due, at: r.clock.at(due).UnixNano(), device: device, kind: kindRestore})
		}
		r.mark("%d people begin to restore what they had", n)
		return nil
	}
	s.serve = func(w *worker, j job) {
		if j.kind != kindRestore {
			w.request(j)
			return
		}
		w.restore(&j)
	}
	s.conclude = func() {
		b := &r.restored
		r.figure("restored", "%d apps in the version that people had, and %d in theirs that was halted; %d in another, and %d are gone",
			b.asked.Load(), b.halted.Load(), b.another.Load(), b.gone.Load())
		if r.exact {
			r.checks.restored.hold(b.halted.Load() > 0 && b.another.Load() > 0 && b.gone.Load() > 0, func() string {
				return "of versions that were withdrawn or halted and apps that are gone not all were asked for: the run was too small or too short"
			})
		}
	}
	return s, nil
}

// age lets an app of the catalogue, the newest version of which nearly everybody has, be
// one that has seen more: of each six one after the other. The top app stays as it is.
func age(it *catalog.Item, place int) {
	v := it.Versions
	if len(v) < 3 {
		return
	}
	switch place % 6 {
	case 1: // who had it gets the one before
		v[0].Withdrawn = true
	case 2: // who had it gets it back, and nobody else
		v[0].Rollout.Halted = true
	case 3: // who had it gets the one before if that is open to them, else the one before that
		v[0].Withdrawn, v[1].Rollout.Share = true, catalog.FullShare/2
	case 4:
		it.Removed, it.Reason = true, "the simulator's"
	}
}

// restore walks the way of a new device: refused without a token, signed in with that
// of an install link, and given all that it had.
func (w *worker) restore(j *job) {
	w.become(j)
	if len(w.apps) == 0 || !w.tokenless(j) {
		return
	}
	if !w.enter(w.r.clock.since()) {
		return
	}
	w.post(pathRestore, w.token)
	rp, ok := w.exchange(w.r.clock.since(), w.restores)
	if !ok {
		return
	}
	w.r.checks.codes.hold(rp.status == 200, w.unexpected(rp.status, 200))
	if rp.status == 200 {
		w.judgeRestore(j, rp, w.device.Account)
	}
}
