package plugin

import (
	"time"

	"github.com/souk-market/souk/sdk/abi"
)

// Waits is how many questions about devices have waited for an instance so far, those
// that got none too, and how long together. Both begin anew with other modules.
func (h *Host) Waits() (n uint64, together time.Duration) {
	for _, g := range h.set.Load().all {
		s := g.lanes[fastLane]
		if s == nil || g.spec.Shadow {
			continue
		}
		for hook := range g.gaveUp {
			if laneOf(abi.Hook(hook)) == fastLane {
				n += g.gaveUp[hook].waits.Load()
				together += time.Duration(g.gaveUp[hook].waited.Load())
			}
		}
		for i := range s.all {
			for _, c := range s.all[i].counts {
				if c != nil {
					n += c.waits.Load()
					together += time.Duration(c.waited.Load())
				}
			}
		}
	}
	return n, together
}
