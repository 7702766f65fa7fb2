package admin

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/souk-market/souk/core/store"
)

type storeCollector struct{ store *store.Store }

var (
	descCommits  = described("store_commits_total", "Commits, each with one sync for all who write at a time.")
	descWrites   = described("store_operations_total", "Updates and applies that were answered.")
	descWritten  = described("store_written_bytes_total", "Keys and values that were written; the disk gets many times that, with the log and compaction.")
	descQueue    = described("store_queue", "Writes that wait for the commit under way.")
	descCommit   = described("store_commit_seconds", "How long commits took.")
	descBatch    = described("store_batch", "Updates and applies in a commit.")
	descOnDisk   = described("store_disk_bytes", "Room on the disk: tables, and the log of what is not in tables yet.", "kind")
	descTables   = described("store_tables", "Tables on the disk, by level.", "level")
	descStale    = described("store_stale_bytes", "Room on the disk of what was written over, deleted or has expired, and goes with a later compaction.")
	descFree     = described("store_free_bytes", "Room left on the disk; writes stop below min_free.")
	descMemtable = described("store_memtables", "Tables in memory: the one that is written to, and those that wait for the disk.")
	descTaken    = described("store_memory_bytes", "Memory that those take, and the budget for them and the making of tables. Blocks and indexes of tables are in the system's page cache.", "kind")
	descState    = described("store_writes_stopped", "1 if writes are refused, because the disk is nearly full, until there is room, or because a commit failed, until a restart.", "why")
	descDamaged  = described("store_damaged", "1 if a file was found damaged while the server ran: what is read from it may be wrong. The log names it.")
)

// Describe implements prometheus.Collector.
func (storeCollector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		descCommits, descWrites, descWritten, descQueue, descCommit, descBatch, descOnDisk, descTables, descStale, descFree,
		descMemtable, descTaken, descState, descDamaged,
	} {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (c storeCollector) Collect(out chan<- prometheus.Metric) {
	if s, ok := c.store.Stats(); ok {
		counter(out, descCommits, float64(s.Batches))
		counter(out, descWrites, float64(s.Ops))
		counter(out, descWritten, float64(s.Bytes))
		gauge(out, descQueue, float64(s.Queue))
		doubling(out, descCommit, s.Commit, 14, 34, 1e9) // 16 µs to 17 s
		doubling(out, descBatch, s.Batch, 0, 11, 1)
		gauge(out, descState, number(s.Full), "disk full")
		gauge(out, descState, number(s.Stopped), "commit failed")
		gauge(out, descDamaged, number(s.Damage != nil))
		if s.Free >= 0 {
			gauge(out, descFree, float64(s.Free))
		}
	}
	u, ok := c.store.Usage()
	if !ok {
		return
	}
	var tables, stale int64
	for i, l := range u.Levels {
		gauge(out, descTables, float64(l.Tables), strconv.Itoa(i))
		tables += l.Bytes
		stale += l.Stale
	}
	gauge(out, descOnDisk, float64(tables), "tables")
	gauge(out, descOnDisk, float64(u.Log), "log")
	gauge(out, descStale, float64(stale))
	gauge(out, descMemtable, float64(u.Memtables))
	gauge(out, descTaken, float64(u.Memory), "memtables")
	gauge(out, descTaken, float64(u.Budget), "budget")
}

func number(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}

// doubling writes one of the store's histograms, from 1<<from to 1<<to, in another
// unit. Its values are whole numbers, so those below a power of two are those up
// to one less; for times that is the same.
func doubling(out chan<- prometheus.Metric, d *prometheus.Desc, h store.Histogram, from, to int, unit float64) {
	buckets := make(map[float64]uint64, to-from+1)
	var below uint64
	for i := 0; i <= to; i++ {
		below += h.Buckets[i]
		if i >= from {
			buckets[float64(uint64(1)<<i-1)/unit] = below
		}
	}
	out <- prometheus.MustNewConstHistogram(d, h.Count(), float64(h.Sum)/unit, buckets)
}
