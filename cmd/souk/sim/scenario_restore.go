package sim

import (
	"context"
	"time"

	"github.com/souk-market/souk/cmd/souk/sim/population"
)

// kindRestore is a new device on which its person signs in and wants all apps back.
const kindRestore population.Kind = 128

// restoreWave is a weekend on which people have new devices: one of a hundred, and 200
// at least.
func restoreWave(r *run) (*scenario, error) {
	s := &scenario{length: 2 * aDay, speed: 1440, claims: r.usual(r.checks.restored)}
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
	return s, nil
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
		w.judgeRestore(j, rp)
	}
}
