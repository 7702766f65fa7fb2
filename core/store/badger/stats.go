package badger

import (
	"context"
	"io/fs"
	"path/filepath"
	"sync/atomic"

	"github.com/souk-market/souk/core/store"
)

// counts are written by the committer and read by whoever asks.
type counts struct {
	batches, ops, bytes atomic.Uint64
	stopped             atomic.Bool
	commit, batch       histogram
}

type histogram struct {
	sum     atomic.Uint64
	buckets [store.HistogramBuckets]atomic.Uint64
}

func (h *histogram) add(v uint64) {
	h.sum.Add(v)
	h.buckets[store.HistogramBucket(v)].Add(1)
}

func (h *histogram) now() (n store.Histogram) {
	n.Sum = h.sum.Load()
	for i := range n.Buckets {
		n.Buckets[i] = h.buckets[i].Load()
	}
	return n
}

// Stats says what the engine has done since it was opened.
func (e *Engine) Stats() store.Stats {
	s := store.Stats{
		Batches: e.counts.batches.Load(),
		Ops:     e.counts.ops.Load(),
		Bytes:   e.counts.bytes.Load(),
		Queue:   len(e.queue),
		Free:    -1,
		Stopped: e.counts.stopped.Load(),
		Damage:  e.patrol.damage(),
		Commit:  e.counts.commit.now(),
		Batch:   e.counts.batch.now(),
	}
	if e.space != nil {
		// Nobody may have written for long, and who asks wants to know about now. If it
		// can't be told, the next write will find out.
		if left, err := e.space.free(e.space.dir); err == nil {
			e.space.left.Store(left)
		}
		s.Free = e.space.left.Load()
		s.Full = s.Free < e.space.min
	}
	return s
}

// Usage says what the engine takes of the machine. It reads the directory, so it
// is for whoever looks now and then.
func (e *Engine) Usage() store.Usage {
	u := store.Usage{Memtables: 1, Budget: e.sizes.total()}
	if v, err := e.snapshot(context.Background()); err == nil { // the files stay open
		for _, l := range e.db.Levels() {
			u.Levels = append(u.Levels, store.Level{Tables: l.NumTables, Bytes: l.Size, Stale: l.StaleDatSize})
		}
		v.leave()
	}
	if dir := e.db.Opts().Dir; dir != "" {
		u.Memtables, u.Log = logs(dir)
	}
	u.Memory = int64(u.Memtables) * e.sizes.arena()
	return u
}

// Size is about how many bytes the records take on the disk, 0 once the engine is
// closed. Those that were written last are still in memory and not counted.
func (e *Engine) Size() (n int64) {
	v, err := e.snapshot(context.Background()) // the files stay mapped, and it reads them
	if err != nil {
		return 0
	}
	defer v.leave()
	for _, t := range e.db.Tables() {
		n += int64(t.OnDiskSize)
	}
	return n
}

// logs counts the logs of memtables, of which each has one until it has become a
// table, and the bytes that they and the value log take.
func logs(dir string) (memtables int, size int64) {
	// A file that goes while this looks is one less.
	_ = filepath.WalkDir(dir, func(file string, d fs.DirEntry, err error) error {
		kind := filepath.Ext(file)
		if err != nil || d.IsDir() || kind != ".mem" && kind != ".vlog" {
			return nil
		}
		if kind == ".mem" {
			memtables++
		}
		if info, err := d.Info(); err == nil {
			size += allocated(info)
		}
		return nil
	})
	return memtables, size
}
