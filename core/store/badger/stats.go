package badger

import (
	"sync/atomic"

	"github.com/souk-market/souk/core/store"
)

// counts are written by the committer and read by whoever asks.
type counts struct {
	batches, ops, bytes atomic.Uint64
	stopped             atomic.Bool
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
