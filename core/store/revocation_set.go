package store

import (
	"sync"
	"sync/atomic"
	"time"
)

// RevocationSet holds the ids that are revoked, in memory. Entries past their time
// are dropped when there is reason to; until then they do no harm, since the
// tokens they stand for have run out.
type RevocationSet struct {
	now    func() time.Time
	size   atomic.Int64
	loaded atomic.Int64 // Unix milliseconds
	shards [revocationShards]revocationShard
}

const (
	revocationShards = 64
	pruneFrom        = 64 // entries of a shard
)

type revocationShard struct {
	mu    sync.RWMutex
	until map[[16]byte]int64 // Unix milliseconds
	prune int                // at how many entries to look for old ones
}

func newRevocationSet(now func() time.Time) *RevocationSet {
	s := &RevocationSet{now: now}
	for i := range s.shards {
		s.shards[i].until = make(map[[16]byte]int64)
		s.shards[i].prune = pruneFrom
	}
	return s
}

// Contains says whether the id is revoked.
//
// hot: called for every request with an access token; no allocation (see
// BenchmarkRevocationSet).
func (s *RevocationSet) Contains(id [16]byte) bool {
	if s.size.Load() == 0 {
		return false
	}
	shard := s.shard(id)
	shard.mu.RLock()
	_, revoked := shard.until[id]
	shard.mu.RUnlock()
	return revoked
}

// Len is the number of entries.
func (s *RevocationSet) Len() int { return int(s.size.Load()) }

// add puts r in, or makes it last longer. When a shard has doubled it drops what
// is past its time.
func (s *RevocationSet) add(r Revocation) {
	now := s.now().UnixMilli()
	until := r.Until.UnixMilli()
	if until <= now {
		return
	}
	shard := s.shard(r.ID)
	shard.mu.Lock()
	defer shard.mu.Unlock()
	before, known := shard.until[r.ID]
	if known && before >= until {
		return
	}
	shard.until[r.ID] = until
	if known {
		return
	}
	s.size.Add(1)
	if len(shard.until) < shard.prune {
		return
	}
	for id, until := range shard.until {
		if until <= now {
			delete(shard.until, id)
			s.size.Add(-1)
		}
	}
	shard.prune = max(pruneFrom, 2*len(shard.until))
}

func (s *RevocationSet) shard(id [16]byte) *revocationShard {
	return &s.shards[id[0]%revocationShards]
}
