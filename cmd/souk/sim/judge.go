package sim

import (
	"fmt"
	"slices"

	"github.com/souk-market/souk/cmd/souk/sim/population"
)

// judge holds the answer to an update check against what is known: what the device
// has, what the operator wants, and where the policy is known, what it says.
func (w *worker) judge(j *job, rp reply) {
	r, c := w.r, w.r.checks
	for i := range w.got.offers {
		w.judgeOffer(j, rp, &w.got.offers[i])
	}
	tells := r.exact && !r.mixes.Load()
	missing := uint64(0) // an app whose offer is
	for i := range w.apps {
		a := &w.apps[i]
		states := r.truth.during(a.Item, rp.sent, rp.answered)
		w.judgeFailure(a, states)
		given := w.given(a.Item)
		if tells && !given && len(states) > 0 &&
			!slices.ContainsFunc(states, func(s *state) bool { return s.expected(&w.device, a.Version) == 0 }) {
			missing = a.Item
		}
	}
	for _, item := range w.got.failures {
		c.failures.hold(slices.ContainsFunc(w.apps, func(a population.Installed) bool { return a.Item == item }), func() string {
			return fmt.Sprintf("device %d was told that app %d is not there, and it has not asked for it", w.device.Index, item)
		})
	}
	if tells && !r.blind.Load() {
		r.withheld.hold(missing == 0, func() string {
			return fmt.Sprintf("device %d of %s is offered nothing for app %d, and something is due", w.device.Index, w.device.Account, missing)
		})
	}
	if missing != 0 {
		r.tally.givenUp()
	}
	if h := r.halted.Load(); h != nil {
		w.judgeHalt(h, rp)
	}
	if r.release != nil {
		r.release.saw(w, rp)
	}
	if w.r.scenario.judged != nil {
		w.r.scenario.judged(w, j, rp)
	}
}

// judgeHalt looks at those who would take the version if they could.
func (w *worker) judgeHalt(h *halt, rp reply) {
	if w.device.OS < h.minOS {
		return
	}
	for i := range w.apps {
		if w.apps[i].Item != h.item || w.apps[i].Version >= h.version {
			continue
		}
		given := slices.ContainsFunc(w.got.offers, func(o offer) bool { return o.item == h.item && o.version == h.version })
		if given {
			h.offered(rp)
		}
		if rp.sent >= h.done+settle {
			w.r.checks.halt.hold(!given, func() string {
				return fmt.Sprintf("device %d, app %d: %d is offered %v after its halt was answered", w.device.Index, h.item, h.version, rp.sent-h.done)
			})
		}
	}
}

// given says whether there is an offer for an app.
func (w *worker) given(item uint64) bool {
	for i := range w.got.offers {
		if w.got.offers[i].item == item {
			return true
		}
	}
	return false
}

func (w *worker) judgeOffer(j *job, rp reply, o *offer) {
	r, c := w.r, w.r.checks
	at := slices.IndexFunc(w.apps, func(a population.Installed) bool { return a.Item == o.item })
	if at < 0 {
		c.status.hold(false, func() string {
			return fmt.Sprintf("device %d was offered app %d, and it has not asked for it", w.device.Index, o.item)
		})
		return
	}
	if _, times := w.got.version(o.item); times > 1 {
		c.status.hold(false, func() string {
			return fmt.Sprintf("device %d was offered app %d %d times in one answer", w.device.Index, o.item, times)
		})
	}
	installed := w.apps[at].Version
	c.newer.hold(o.version > installed, func() string {
		return fmt.Sprintf("device %d, app %d: %d is offered, and %d is installed", w.device.Index, o.item, o.version, installed)
	})
	states := r.truth.during(o.item, rp.sent, rp.answered)
	c.status.hold(slices.ContainsFunc(states, func(s *state) bool { return s.published(o.version) }), func() string {
		return fmt.Sprintf("device %d, app %d: %d is offered, and it is not published, or withdrawn, halted or taken down", w.device.Index, o.item, o.version)
	})
	c.fits.hold(slices.ContainsFunc(states, func(s *state) bool { return w.fits(s, o.version) }), func() string {
		return fmt.Sprintf("device %d with system %s, app %d: %d is offered, which needs a newer one", w.device.Index, appendOS(nil, w.device.OS), o.item, o.version)
	})
	if r.exact && !r.mixes.Load() {
		c.newest.hold(slices.ContainsFunc(states, func(s *state) bool { return s.expected(&w.device, installed) == o.version }), func() string {
			return fmt.Sprintf("device %d of %s, app %d: %d is offered, and %d should be", w.device.Index, w.device.Account, o.item, o.version,
				states[len(states)-1].expected(&w.device, installed))
		})
	}
	w.judgeContent(j, rp, o, states)
}

func (w *worker) fits(s *state, id uint64) bool {
	v := s.version(id)
	return v != nil && v.minOS != 0 && v.minOS <= w.device.OS
}

// judgeContent looks at what comes with a version, above all its install verification
// token.
func (w *worker) judgeContent(j *job, rp reply, o *offer, states []*state) {
	r, c := w.r, w.r.checks
	c.described.hold(slices.ContainsFunc(states, func(s *state) bool { return s.describes(o) }), func() string {
		return fmt.Sprintf("device %d, app %d: %d is offered with package %.200s, build %q, version %q", w.device.Index, o.item, o.version, o.pack, o.build, o.short)
	})
	nonce, ok := nonceOf(o.token)
	looked, fresh := true, false
	if ok {
		looked, fresh = r.nonces.add(nonce)
	}
	if looked {
		c.nonce.hold(fresh, func() string {
			return fmt.Sprintf("device %d, app %d: the token for %d has the nonce %X of one before, or none", w.device.Index, o.item, o.version, nonce)
		})
	}
	if r.key == nil || len(states) == 0 || !w.sampled(j, whatSignature, w.r.signatureEvery()) {
		return
	}
	err := r.key.verify(o, states[0].item.BundleID, r.clock.at(rp.sent), r.clock.at(rp.answered))
	c.signature.hold(err == nil, func() string { return fmt.Sprintf("device %d, app %d: %v", w.device.Index, o.item, err) })
}

// judgeFailure looks whether an app that is gone is told to be, and no other.
func (w *worker) judgeFailure(a *population.Installed, states []*state) {
	told := slices.Contains(w.got.failures, a.Item)
	gone, there := len(states) == 0, false
	for _, s := range states {
		if s.item.Removed {
			gone = true
		} else {
			there = true
		}
	}
	why := func() string {
		return fmt.Sprintf("device %d, app %d: is it a failure? %v; is it gone? %v", w.device.Index, a.Item, told, gone)
	}
	if !told && !there && w.empty() {
		w.excuse(w.r.excused.failures, why)
		return
	}
	if told && gone {
		w.r.gone.Add(1)
	}
	w.r.checks.failures.hold(told && gone || !told && there, why)
}

// askAgain asks once more, and wants the same answer: the same versions of the same apps.
func (w *worker) askAgain(j *job, before reply) {
	w.once, w.got = w.got, w.once
	rp, ok := w.exchange(before.answered, w.updates)
	if !ok || rp.status != 200 {
		return
	}
	for i := range w.apps {
		if len(w.r.truth.during(w.apps[i].Item, before.sent, rp.answered)) > 1 {
			return // the operator has changed something meanwhile
		}
	}
	if w.r.mixes.Load() || w.r.blind.Load() {
		return
	}
	why := func() string {
		return fmt.Sprintf("device %d of %s was offered %s, and %s when it asked again", w.device.Index, w.device.Account, w.once.text(), w.got.text())
	}
	if len(w.once.offers) == 0 && len(w.got.offers) == 0 {
		return // most answers are that, and it tells nothing
	}
	if len(w.once.offers) != len(w.got.offers) && (w.once.within(&w.got) || w.got.within(&w.once)) {
		w.r.lacking.hold(false, why) // a server under pressure may leave offers out, and says how many
	} else {
		w.r.checks.sticky.hold(w.once.within(&w.got) && w.got.within(&w.once), why)
	}
	for i := range w.got.offers {
		w.judgeContent(j, rp, &w.got.offers[i], w.r.truth.during(w.got.offers[i].item, rp.sent, rp.answered))
	}
}

// within says whether each offer is one of another answer, too.
func (a *answer) within(b *answer) bool {
	return !slices.ContainsFunc(a.offers, func(o offer) bool {
		return !slices.ContainsFunc(b.offers, func(x offer) bool { return x.item == o.item && x.version == o.version })
	})
}

// text names the offers.
func (a *answer) text() string {
	if len(a.offers) == 0 {
		return "nothing"
	}
	s := ""
	for i, o := range a.offers {
		if i > 0 {
			s += ", "
		}
		s += fmt.Sprintf("%d of app %d", o.version, o.item)
	}
	return s
}
