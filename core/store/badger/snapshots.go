package badger

import (
	"sync"
	"sync/atomic"
	"time"
)

// snapshots knows whether old versions may be thrown away. In managed mode Badger
// keeps no account of readers: a reader that took its timestamp and was then held
// up could find that compaction had dropped the version it was about to read.
//
// So readers enter one of two gates, those of the present and of the previous
// epoch. Once the previous gate is empty, all readers have a timestamp of at least
// the beginning of the present epoch: up to there versions may go.
type snapshots struct {
	epoch atomic.Uint64
	gates [2]sync.RWMutex
	begin uint64 // read timestamp when the present epoch began; the committer's
}

// enter lets a reader in; it must read its timestamp after this and call RUnlock
// on the gate when it is done.
//
// hot: called for every read; no allocation.
func (s *snapshots) enter() *sync.RWMutex {
	for {
		e := s.epoch.Load()
		gate := &s.gates[e&1]
		gate.RLock()
		if s.epoch.Load() == e {
			return gate
		}
		gate.RUnlock() // the epoch moved on in between
	}
}

// advance begins a new epoch at the read timestamp and returns up to which
// timestamp no reader needs old versions, or false while a reader of the previous
// epoch is still there.
func (s *snapshots) advance(read uint64) (discard uint64, ok bool) {
	e := s.epoch.Load()
	previous := &s.gates[(e+1)&1]
	if !previous.TryLock() {
		return 0, false
	}
	previous.Unlock()
	discard, s.begin = s.begin, read
	s.epoch.Store(e + 1)
	return discard, true
}

// wait returns when no reader is inside. New ones must be turned away already. It
// polls, because a waiting Lock would hold up a reader that is inside and reads
// again.
func (s *snapshots) wait() {
	for i := range s.gates {
		for !s.gates[i].TryLock() {
			time.Sleep(time.Millisecond)
		}
		s.gates[i].Unlock()
	}
}
