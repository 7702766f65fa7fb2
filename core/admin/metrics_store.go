package admin

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/souk-market/souk/core/store"
)

type storeCollector struct{ store *store.Store }

var (
	descCommits = described("store_commits_total", "Commits, each one sync of the disk if durability is power.")
	descWrites  = described("store_operations_total", "Updates and applies that were answered.")
	descWritten = described("store_written_bytes_total", "Keys and values that were written, before the engine's own amplification.")
	descQueue   = described("store_queue", "Writes that wait for the committer.")
	descFree    = described("store_free_bytes", "Room on the disk of the store; missing where it is not watched.")
	descStopped = described("store_writes_stopped", "1 for what keeps writes from going on, 0 for the others: the disk is nearly full, until there is room; a commit failed, until a restart.", "why")
)

// Describe implements prometheus.Collector.
func (storeCollector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descCommits, descWrites, descWritten, descQueue, descFree, descStopped} {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (c storeCollector) Collect(out chan<- prometheus.Metric) {
	s, ok := c.store.Stats()
	if !ok {
		return
	}
	counter(out, descCommits, float64(s.Batches))
	counter(out, descWrites, float64(s.Ops))
	counter(out, descWritten, float64(s.Bytes))
	gauge(out, descQueue, float64(s.Queue))
	if s.Free >= 0 {
		gauge(out, descFree, float64(s.Free))
	}
	for why, stopped := range map[string]bool{"disk full": s.Full, "commit failed": s.Stopped} {
		n := 0.0
		if stopped {
			n = 1
		}
		gauge(out, descStopped, n, why)
	}
}
