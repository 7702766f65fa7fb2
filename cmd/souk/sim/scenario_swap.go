package sim

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/souk-market/souk/core/catalog"
	"github.com/souk-market/souk/plugins"
)

// swapEvery is how often the plugin becomes another, in real time.
const swapEvery = 250 * time.Millisecond

// policySwap gives each app two more versions: one that is open to everyone, and a
// newer one that is open to nobody. Meanwhile the plugin is made to offer the former
// while the latter is held, or nothing, in turns; and another build of it takes its
// place. So each check is answered about all its apps, or about none.
func policySwap(r *run) (*scenario, error) {
	if r.c.Config != "" {
		return nil, errors.New("--config: policy-swap has a plugin of its own: leave it out")
	}
	s := &scenario{length: aDay / 4, speed: 720, alone: "swaps a plugin", claims: []*check{r.checks.whole, r.checks.newer, r.checks.fits, r.checks.status, r.checks.described, r.checks.nonce, r.checks.codes}}
	r.mixes.Store(true)
	s.catalogue = func(r *run) {
		for i := range r.items {
			it := &r.items[i]
			it.Versions = append(it.Versions, swapVersion(it, 998, catalog.FullShare), swapVersion(it, 999, 0))
		}
	}
	var swaps int
	var all, none atomic.Uint64
	s.operate = func(ctx context.Context) error {
		builds := [][]byte{anotherBuild(plugins.Rollout, "1"), anotherBuild(plugins.Rollout, "2")}
		every := time.NewTicker(swapEvery)
		defer every.Stop()
		for r.clock.Now().Before(r.to) {
			select {
			case <-every.C:
			case <-ctx.Done():
				return nil
			}
			if _, err := r.server.tell(order{Held: [...]string{"nothing", "previous"}[swaps/2%2]}); err != nil {
				return err
			}
			var err error
			if swaps%2 == 0 {
				err = r.op.reload(ctx)
			} else {
				err = r.op.putModule(ctx, rolloutPlugin, builds[swaps/2%2])
			}
			if err != nil {
				return err
			}
			swaps++
		}
		return nil
	}
	s.judged = func(w *worker, j *job, _ reply) {
		known := 0
		for i := range w.apps {
			if w.r.truth.items[w.apps[i].Item] != nil {
				known++
			}
		}
		n := len(w.got.offers)
		r.checks.whole.hold(n == 0 || n == known, func() string {
			return fmt.Sprintf("device %d: %d of %d apps are offered something", w.device.Index, n, known)
		})
		if n == 0 {
			none.Add(1)
		} else if n == known {
			all.Add(1)
		}
	}
	s.conclude = func() {
		r.figure("swaps", "%d; %d checks were answered by the one policy, %d by the other", swaps, all.Load(), none.Load())
		r.checks.whole.hold(all.Load() > 0 && none.Load() > 0, func() string { return "only one of the policies has answered: the run was too small or too short" })
	}
	return s, nil
}

// swapVersion is a version that any device runs, newer than all others of an app.
func swapVersion(it *catalog.Item, n uint64, share int) catalog.Version {
	id := n
	if len(it.Versions) > 0 {
		id = it.Versions[0].ID/1000*1000 + n
	}
	return catalog.Version{ID: id, Short: digits(n), Build: digits(n), MinOS: map[string]string{"ios": "1.0"}, Rollout: catalog.Rollout{Share: share}}
}

// anotherBuild is a module with a custom section more: it does the same and is another.
func anotherBuild(wasm []byte, name string) []byte {
	section := append([]byte{byte(len(name))}, name...)
	b := append([]byte(nil), wasm...)
	b = append(b, 0, byte(len(section)))
	return append(b, section...)
}
