package store

import "sync"

// accountCache keeps accounts in memory, absent ones too. It is bounded by the
// number of entries and lets go of those that were not asked for since the hand of
// the clock last passed.
type accountCache struct {
	shards [cacheShards]cacheShard
}

const cacheShards = 64

type cacheShard struct {
	mu    sync.Mutex
	size  int
	index map[[16]byte]int // into slots
	slots []cacheSlot
	hand  int
	lease uint64 // counts drops
}

type cacheSlot struct {
	subject [16]byte
	account *Account // nil = has no record
	used    bool     // since the hand passed
}

func newAccountCache(size int) *accountCache {
	c := &accountCache{}
	for i := range c.shards {
		c.shards[i].size = max(1, size/cacheShards)
		c.shards[i].index = make(map[[16]byte]int)
	}
	return c
}

func (c *accountCache) shard(subject [16]byte) *cacheShard {
	return &c.shards[subject[15]%cacheShards] // the index of accounts takes the first byte
}

// get returns what is known of the account. If nothing is, lease must be handed to
// put with what the caller then reads: it is worthless once anything was dropped
// in between, so that what was read before a write can't come back after it.
func (c *accountCache) get(subject [16]byte) (a *Account, known bool, lease uint64) {
	s := c.shard(subject)
	s.mu.Lock()
	defer s.mu.Unlock()
	at, known := s.index[subject]
	if !known {
		return nil, false, s.lease
	}
	s.slots[at].used = true
	return s.slots[at].account, true, 0
}

func (c *accountCache) put(subject [16]byte, a *Account, lease uint64) {
	s := c.shard(subject)
	s.mu.Lock()
	defer s.mu.Unlock()
	if lease != s.lease {
		return
	}
	at, known := s.index[subject]
	if !known {
		at = s.room()
		s.index[subject] = at
	}
	s.slots[at] = cacheSlot{subject: subject, account: a}
}

// room returns a slot to use, the first whose entry was not asked for of late.
func (s *cacheShard) room() int {
	if len(s.slots) < s.size {
		s.slots = append(s.slots, cacheSlot{})
		return len(s.slots) - 1
	}
	for {
		at := s.hand
		s.hand = (s.hand + 1) % len(s.slots)
		if slot := &s.slots[at]; slot.used {
			slot.used = false
			continue
		}
		if old := s.slots[at].subject; s.index[old] == at {
			delete(s.index, old)
		}
		return at
	}
}

// drop forgets the account. It is called after each write of it.
func (c *accountCache) drop(subject [16]byte) {
	s := c.shard(subject)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lease++
	if at, known := s.index[subject]; known {
		delete(s.index, subject)
		s.slots[at] = cacheSlot{}
	}
}

// clear forgets everything: somebody else has written something.
func (c *accountCache) clear() {
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		s.lease++
		clear(s.index)
		clear(s.slots)
		s.slots = s.slots[:0]
		s.hand = 0
		s.mu.Unlock()
	}
}
