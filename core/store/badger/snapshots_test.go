package badger

import (
	"sync"
	"sync/atomic"
	"testing"
)

func TestOldVersionsStayForReadersInside(t *testing.T) {
	s := &snapshots{begin: 10}
	gate := s.enter() // reads at 10 or later
	if ts, ok := s.advance(20); !ok || ts != 10 {
		t.Fatalf("advance = %d, %v, want 10: a reader is there since 10", ts, ok)
	}
	if ts, ok := s.advance(30); ok {
		t.Fatalf("advance = %d though a reader of the epoch before is inside", ts)
	}
	late := s.enter() // reads at 20 or later
	gate.RUnlock()
	if ts, ok := s.advance(40); !ok || ts != 20 {
		t.Fatalf("advance = %d, %v, want 20", ts, ok)
	}
	late.RUnlock()
	if ts, ok := s.advance(50); !ok || ts != 40 {
		t.Fatalf("advance = %d, %v, want 40", ts, ok)
	}
	s.wait()
}

func TestDiscardNeverPassesAReader(t *testing.T) {
	s := &snapshots{}
	var read, discarded atomic.Uint64
	var done atomic.Bool
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			for !done.Load() {
				gate := s.enter()
				ts := read.Load()
				for range 10 {
					if d := discarded.Load(); d > ts {
						t.Errorf("discarded up to %d while a reader reads at %d", d, ts)
						done.Store(true)
					}
				}
				gate.RUnlock()
			}
		})
	}
	for range 20000 {
		if ts, ok := s.advance(read.Add(1)); ok {
			discarded.Store(ts)
		}
	}
	done.Store(true)
	readers.Wait()
}
