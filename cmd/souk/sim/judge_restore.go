package sim

import (
	"fmt"
	"slices"
	"sync/atomic"

	"github.com/souk-market/souk/cmd/souk/sim/population"
)

// restored counts the apps that devices got back, or not.
type restored struct {
	asked, halted, another, gone atomic.Uint64 // in the version they had; in that, halted; in another; not at all
	unasked                      *check        // answers that are the core's own, and not the plugin's
}

// judgeRestore holds the answer to a restore of an account against what is known: each
// app is given once, in the version that it has to be, or is a failure, and no other is
// there.
func (w *worker) judgeRestore(j *job, rp reply, account string) {
	r, c := w.r, w.r.checks
	unasked := false
	for i := range w.apps {
		a := &w.apps[i]
		states := r.truth.during(a.Item, rp.sent, rp.answered)
		w.judgeFailure(a, states)
		if w.judgeRestored(a, account, states) {
			unasked = true
		}
	}
	if unasked {
		r.restored.unasked.hold(false, func() string {
			return fmt.Sprintf("device %d was given what the core gives by itself, and the plugin would have chosen otherwise", w.device.Index)
		})
	}
	strange := func(item uint64) bool {
		return !slices.ContainsFunc(w.apps, func(a population.Installed) bool { return a.Item == item })
	}
	for _, item := range w.got.failures {
		if strange(item) {
			c.restored.hold(false, func() string {
				return fmt.Sprintf("device %d was told that app %d is not there, and it has not asked for it", w.device.Index, item)
			})
		}
	}
	for i := range w.got.offers {
		o := &w.got.offers[i]
		if strange(o.item) {
			c.restored.hold(false, func() string {
				return fmt.Sprintf("device %d was given app %d, and it has not asked for it", w.device.Index, o.item)
			})
			continue
		}
		states := r.truth.during(o.item, rp.sent, rp.answered)
		c.status.hold(slices.ContainsFunc(states, func(s *state) bool {
			v := s.version(o.version)
			return v != nil && !v.withdrawn && !s.item.Removed
		}), func() string {
			return fmt.Sprintf("device %d, app %d: %d is restored, and it is not published, or withdrawn or taken down", w.device.Index, o.item, o.version)
		})
		c.fits.hold(slices.ContainsFunc(states, func(s *state) bool { return w.fits(s, o.version) }), func() string {
			return fmt.Sprintf("device %d, app %d: %d is restored, which needs a newer system", w.device.Index, o.item, o.version)
		})
		w.judgeContent(j, rp, o, states)
	}
}

// judgeRestored looks at one app of a restore. Where the policy is known, so is the
// version that has to come. unasked = it is the one that the core gives when the plugin
// had no time.
func (w *worker) judgeRestored(a *population.Installed, account string, states []*state) (unasked bool) {
	got, times := w.got.version(a.Item)
	told, want := slices.Contains(w.got.failures, a.Item), uint64(0)
	once := times == 1 && !told || times == 0 && told
	right := once
	if w.r.exact {
		meant := len(states) == 0 && told
		for _, s := range states {
			version, bare := s.restored(&w.device, account, a.Version)
			want, meant, unasked = version, meant || got == version, unasked || got == bare
		}
		if right = once && meant; once && !meant && unasked {
			return true
		}
	}
	w.r.checks.restored.hold(right, func() string {
		return fmt.Sprintf("device %d of %q with system %s, app %d: it had %d, and %d would be right; it got %d, %d times; is it a failure? %v",
			w.device.Index, account, appendOS(nil, w.device.OS), a.Item, a.Version, want, got, times, told)
	})
	if right {
		w.r.restored.count(a, got, states)
	}
	return false
}

// version is what an answer has for an app, and how often.
func (a *answer) version(item uint64) (version uint64, times int) {
	for i := range a.offers {
		if a.offers[i].item == item {
			version, times = a.offers[i].version, times+1
		}
	}
	return version, times
}

func (b *restored) count(a *population.Installed, got uint64, states []*state) {
	halted := func(s *state) bool {
		v := s.version(got)
		return v != nil && v.halted
	}
	switch {
	case got == 0:
		b.gone.Add(1)
	case got != a.Version:
		b.another.Add(1)
	case slices.ContainsFunc(states, halted):
		b.halted.Add(1)
	default:
		b.asked.Add(1)
	}
}

// restores is the class of an answer to a restore.
func (w *worker) restores(status int) string {
	if status != 200 {
		return w.refused(status)
	}
	if err := w.got.parse(w.response.Body(), listRestores); err != nil {
		w.r.checks.codes.hold(false, func() string { return fmt.Sprintf("device %d: %v", w.device.Index, err) })
		return classWrong
	}
	return classRestore
}
