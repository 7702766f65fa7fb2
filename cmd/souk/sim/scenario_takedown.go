package sim

import (
	"context"
	"slices"
	"sync/atomic"
	"time"

	"github.com/souk-market/souk/cmd/souk/sim/population"
)

// takedown takes the top app down in the middle of a day.
func takedown(r *run) (*scenario, error) {
	s := &scenario{length: aDay / 2, speed: 1440, alone: "takes an app down", claims: r.usual()}
	var item uint64
	var done, last atomicDuration
	var told, asked atomic.Uint64
	s.operate = func(ctx context.Context) error {
		if err := r.sleep(ctx, r.after(aDay/4)); err != nil {
			return nil // the run is over
		}
		it := r.truth.now(r.apps[population.TopApp].Item)
		it.Removed, it.Reason = true, "the simulator's"
		r.mark("app %d is taken down", it.ID)
		item = it.ID
		err := r.change(it, func() error { return r.op.takedown(ctx, it.ID, it.Reason) })
		done.Store(r.clock.since())
		return err
	}
	s.judged = func(w *worker, _ *job, rp reply) {
		at := done.Load()
		if at == 0 || !slices.ContainsFunc(w.apps, func(a population.Installed) bool { return a.Item == item }) {
			return
		}
		asked.Add(1)
		if slices.Contains(w.got.failures, item) {
			told.Add(1)
		} else if late := rp.sent - at; late > 0 {
			last.Max(late)
		}
	}
	s.conclude = func() {
		r.figure("takedown", "%d of %d requests for the app were told that it is gone; the last one that was not was sent %v after the answer to the operator",
			told.Load(), asked.Load(), last.Load().Round(time.Millisecond))
		r.checks.failures.hold(told.Load() > 0, func() string { return "nobody was told that the app is gone: the run was too small" })
	}
	return s, nil
}

// atomicDuration is a time.Duration.
type atomicDuration struct{ ns atomic.Int64 }

func (d *atomicDuration) Load() time.Duration   { return time.Duration(d.ns.Load()) }
func (d *atomicDuration) Store(v time.Duration) { d.ns.Store(int64(v)) }

// Max stores v if it is more than what is there.
func (d *atomicDuration) Max(v time.Duration) {
	for {
		old := d.ns.Load()
		if int64(v) <= old || d.ns.CompareAndSwap(old, int64(v)) {
			return
		}
	}
}
