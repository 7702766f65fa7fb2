package plugin

import "time"

// Waits is how many questions about devices have waited for an instance so far, and
// how long together. Both begin anew with other modules.
func (h *Host) Waits() (n uint64, together time.Duration) {
	for _, g := range h.set.Load().all {
		s := g.lanes[fastLane]
		if s == nil || g.spec.Shadow {
			continue
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
