package store

import (
	"encoding/binary"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"unsafe"

	"github.com/souk-market/souk/core/prefetch"
)

// accountCache keeps accounts in memory, absent ones too. It is bounded by the
// number of entries and lets go of those that were not asked for since the hand of
// the clock last passed.
//
// Whoever asks takes no lock, and touches three lines of memory: one of a table, and the
// first two of an entry. An entry never changes and knows whose it is. So one who asks
// while others write finds an entry that was there when it began, or misses one that is,
// and never half of one or somebody else's.
type accountCache struct {
	shards [cacheShards]cacheShard
	spread uint64 // odd, and another in each process: nobody can choose accounts that all want the same place
}

// Those who ask find more of fewer shards in the processor's cache. A write takes the lock
// of one, and has what was read of it meanwhile read again.
const (
	cacheShardBits = 4
	cacheShards    = 1 << cacheShardBits
)

type cacheShard struct {
	table atomic.Pointer[cacheTable] // nil = empty
	lease atomic.Uint64              // counts drops; changes under mu

	mu   sync.Mutex // held to write
	size int        // entries at most
	held int        // entries
	hand int        // into the table
	_    [16]byte   // a line of memory is that of one shard
}

// cacheTable is places in a row, more than a quarter of them free. An entry is in the
// place that its hash names or in one behind it, with none free in between.
type cacheTable struct {
	shift  uint // of a hash without its shard, to a place
	places []cachePlace
}

// cachePlace is a hash, which spares a look at the entry of another, and the entry; nil
// where it is free.
type cachePlace struct {
	hash  atomic.Uint64
	entry atomic.Pointer[cachedAccount]
}

// cachedAccount is an entry. All but used stays as it was when it was put. It is as long
// as four lines of memory, and so begins with one; an update check needs the first two.
type cachedAccount struct {
	subject [16]byte
	used    atomic.Bool // since the hand passed
	absent  bool        // there is no record
	texts   [43]byte    // of the account: its name, and the territory if there is room
	account Account     // what an update check needs is at its beginning
	_       [40]byte
}

// newCachedAccount makes an entry of what was read. absent: there is no record.
func newCachedAccount(subject [16]byte, account Account, absent bool) *cachedAccount {
	e := &cachedAccount{subject: subject, absent: absent, account: account}
	room := e.texts[:]
	for _, text := range []*string{&e.account.Account, &e.account.Territory} {
		if n := len(*text); n > 0 && n <= len(room) {
			*text = unsafe.String(&room[0], copy(room, *text)) // nobody writes there again
			room = room[n:]
		}
	}
	return e
}

func newAccountCache(size int) *accountCache {
	c := &accountCache{spread: rand.Uint64() | 1}
	for i := range c.shards {
		c.shards[i].size = max(1, size/cacheShards)
	}
	return c
}

// of returns the shard of an account and its hash. Ids are hashes themselves, so half of
// one will do.
func (c *accountCache) of(subject *[16]byte) (s *cacheShard, hash uint64) {
	hash = binary.LittleEndian.Uint64(subject[:8]) * c.spread
	return &c.shards[hash>>(64-cacheShardBits)], hash
}

// get returns what is known of the account. If nothing is, lease must be handed to
// put with what the caller then reads: it is worthless once anything was dropped
// in between, so that what was read before a write can't come back after it.
//
// hot: called for each update check that has candidates (see BenchmarkCachedAccount).
func (c *accountCache) get(subject *[16]byte) (e *cachedAccount, lease uint64) {
	s, hash := c.of(subject)
	if t := s.table.Load(); t != nil {
		if e, _ := t.find(subject, hash); e != nil {
			if !e.used.Load() { // most often it is, and then the line stays everybody's
				e.used.Store(true)
			}
			return e, 0
		}
	}
	return nil, s.lease.Load()
}

// prefetch has what get and who asks it will read come into the processor's cache, if the
// account is in the place that its hash names.
func (c *accountCache) prefetch(subject *[16]byte) {
	s, hash := c.of(subject)
	if t := s.table.Load(); t != nil {
		prefetch.Lines(unsafe.Pointer(t.places[t.place(hash)].entry.Load()))
	}
}

// put keeps what was read under a lease. From then on it must not change.
func (c *accountCache) put(e *cachedAccount, lease uint64) {
	s, hash := c.of(&e.subject)
	s.mu.Lock()
	defer s.mu.Unlock()
	if lease != s.lease.Load() {
		return
	}
	t := s.table.Load()
	if t != nil {
		if old, at := t.find(&e.subject, hash); old != nil {
			t.places[at].entry.Store(e)
			return
		}
	}
	if s.held >= s.size {
		s.evict(t)
	}
	if t == nil || (s.held+1)*4 > len(t.places)*3 {
		t = t.grown()
		s.table.Store(t)
		s.hand = 0
	}
	t.insert(e, hash)
	s.held++
}

// evict lets go of the first entry that was not asked for of late.
func (s *cacheShard) evict(t *cacheTable) {
	for looked := 0; ; looked++ {
		at := s.hand
		s.hand = (at + 1) % len(t.places)
		e := t.places[at].entry.Load()
		if e == nil {
			continue
		}
		if looked <= len(t.places) && e.used.Load() { // after a whole turn, whichever it is
			e.used.Store(false)
			continue
		}
		s.hand = at // another may move there
		t.remove(at)
		s.held--
		return
	}
}

// drop forgets the account. It is called after each write of it.
func (c *accountCache) drop(subject [16]byte) {
	s, hash := c.of(&subject)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lease.Add(1)
	t := s.table.Load()
	if t == nil {
		return
	}
	if e, at := t.find(&subject, hash); e != nil {
		t.remove(at)
		s.held--
	}
}

// clear forgets everything: somebody else has written something.
func (c *accountCache) clear() {
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		s.lease.Add(1)
		s.table.Store(nil)
		s.held, s.hand = 0, 0
		s.mu.Unlock()
	}
}

// place is the one that a hash names.
func (t *cacheTable) place(hash uint64) int { return int(hash << cacheShardBits >> t.shift) }

// find returns the entry of an account and where it is, nil if it isn't.
func (t *cacheTable) find(subject *[16]byte, hash uint64) (*cachedAccount, int) {
	at, mask := t.place(hash), len(t.places)-1
	for range t.places { // once around at most, however much others move
		p := &t.places[at]
		e := p.entry.Load()
		if e == nil {
			break
		}
		if p.hash.Load() == hash && e.subject == *subject {
			return e, at
		}
		at = (at + 1) & mask
	}
	return nil, 0
}

// insert puts an entry that isn't there. The lock of the shard is held, as it is for all
// that follows.
func (t *cacheTable) insert(e *cachedAccount, hash uint64) {
	at, mask := t.place(hash), len(t.places)-1
	for t.places[at].entry.Load() != nil {
		at = (at + 1) & mask
	}
	t.places[at].hash.Store(hash)
	t.places[at].entry.Store(e)
}

// remove takes an entry out, and moves those behind it that want to be nearer to their
// place, so that none is behind a free one.
func (t *cacheTable) remove(free int) {
	mask := len(t.places) - 1
	for at := (free + 1) & mask; ; at = (at + 1) & mask {
		p := &t.places[at]
		e, hash := p.entry.Load(), p.hash.Load()
		if e == nil {
			break
		}
		if (at-t.place(hash))&mask >= (at-free)&mask {
			t.places[free].hash.Store(hash)
			t.places[free].entry.Store(e)
			free = at
		}
	}
	t.places[free].entry.Store(nil)
}

// grown returns a table of twice as many places with the same entries. Whoever looks
// into the old one meanwhile began before.
func (t *cacheTable) grown() *cacheTable {
	const first = 3 // bits of the smallest
	if t == nil {
		return &cacheTable{shift: 64 - first, places: make([]cachePlace, 1<<first)}
	}
	next := &cacheTable{shift: t.shift - 1, places: make([]cachePlace, 2*len(t.places))}
	for i := range t.places {
		if e := t.places[i].entry.Load(); e != nil {
			next.insert(e, t.places[i].hash.Load())
		}
	}
	return next
}
