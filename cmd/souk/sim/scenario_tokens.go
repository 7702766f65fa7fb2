package sim

import (
	"fmt"

	"github.com/souk-market/souk/cmd/souk/sim/population"
)

// mostKept is how many devices can have their refresh tokens remembered.
const mostKept = 2_000_000

// tokenExpiry has each check meet an expired token.
func tokenExpiry(r *run) (*scenario, error) {
	s, err := refreshing(r, 0)
	if err != nil {
		return nil, err
	}
	s.length, s.speed = 2*aDay, 2880
	return s, nil
}

// lostAnswer is tokenExpiry with answers to refreshes that get lost. The device comes
// back a day later, with the token that it has.
//
// A device that loses an answer in more than two of ten generations is signed out: that
// is the rule (RATIONALE.md, "Why may a refresh token be used twice?"), and with 2 % lost
// a long run has such devices. Each late retry takes two days, so the third is on the
// sixth day at the earliest.
func lostAnswer(r *run) (*scenario, error) {
	s, err := refreshing(r, 0.02)
	if err != nil {
		return nil, err
	}
	r.config.Taps = 0 // a second request on the same day would be an earlier retry
	s.length, s.speed = 7*aDay, 10_080
	return s, nil
}

func refreshing(r *run, lose float64) (*scenario, error) {
	if r.c.Devices > mostKept {
		return nil, fmt.Errorf("--devices: %d refresh tokens would have to be remembered: use %d or fewer", r.c.Devices, mostKept)
	}
	r.keeper = new(keeper)
	s := &scenario{alone: "has tokens run out", claims: r.usual(r.checks.refresh)}
	s.serve = func(w *worker, j job) {
		switch j.kind {
		case population.Background, population.Tap, population.Expired:
			w.refreshed(&j, mix(r.c.Seed, j.device, uint64(j.at)) < lose)
		default:
			w.request(j)
		}
	}
	s.conclude = func() {
		r.figure("signed out", "%d devices", r.keeper.signed.Load())
		if lose > 0 {
			r.figure("lost", "%d answers to refreshes; %d were asked for again later", r.keeper.lost.Load(), r.keeper.later.Load())
			r.checks.refresh.hold(r.keeper.later.Load() > 0, func() string {
				return "no device came back after it had lost an answer: the run was too small or too short"
			})
		}
	}
	return s, nil
}

// refreshed is the check of a device whose token has run out.
func (w *worker) refreshed(j *job, lose bool) {
	w.become(j)
	d := w.r.keeper.devices[j.device]
	if len(w.apps) == 0 || d == nil {
		return
	}
	since := w.r.clock.since()
	d.mu.Lock()
	defer d.mu.Unlock()
	w.waited(j.due, since)
	if d.refresh == nil || !w.expired(j) { // it was signed out: its person hasn't noticed yet
		return
	}
	if w.renew(d, w.r.clock.since(), lose) {
		j.due = w.r.clock.since()
		w.check(j)
	}
}
