package badger

import (
	"fmt"
	"sync/atomic"
	"time"

	"github.com/souk-market/souk/core/store"
)

// How stale the last look at the disk may be. A look takes about a microsecond, a
// commit hundreds; and a neighbour that reserves room takes all there is at once.
const (
	lookEvery = time.Millisecond
	lookBytes = 16 << 20 // 20-fold amplification makes 320 MiB of it, half of the least margin
)

// Room returns a check of the disk for whoever else writes to it: it refuses as the
// engine does with this MinFree.
func Room(dir string, minFree int64) func() error {
	minFree = max(minFree, 10*memTable)
	return func() error {
		left, err := diskFree(dir)
		if err != nil {
			return fmt.Errorf("%w: free space of %s: %w", store.ErrFull, dir, err)
		}
		return enough(dir, left, minFree)
	}
}

func enough(dir string, left, minFree int64) error {
	if left < minFree {
		return fmt.Errorf("%w: %d MiB free in %s, %d MiB needed", store.ErrFull, left>>20, dir, minFree>>20)
	}
	return nil
}

// space watches how much room the disk has left. Badger maps its files, and
// writing to a mapped page that finds no room is a signal that ends the process,
// now and on each start until there is room again.
type space struct {
	dir   string
	min   int64
	every time.Duration
	free  func(dir string) (int64, error)
	left  atomic.Int64 // at the last look

	// The committer's.
	looked  time.Time
	written uint64 // by the engine, at the last look
}

// check refuses writes below the minimum; it looks again when the last look is
// too old.
func (s *space) check(now time.Time, written uint64) error {
	if now.Sub(s.looked) >= s.every || written-s.written >= lookBytes {
		if err := s.look(now); err != nil {
			return fmt.Errorf("%w: free space of %s: %w", store.ErrFull, s.dir, err)
		}
		s.written = written
	}
	return enough(s.dir, s.left.Load(), s.min)
}

func (s *space) look(now time.Time) error {
	left, err := s.free(s.dir)
	if err != nil {
		return err
	}
	s.looked = now
	s.left.Store(left)
	return nil
}
