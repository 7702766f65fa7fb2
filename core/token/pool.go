package token

import (
	"context"
	"fmt"
	"maps"
	"math"
	"math/bits"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// InstallPool keeps install verification tokens that were signed before anyone asks for
// them: a token has no device in it, and a signature is most of what an offer costs. It
// is in memory alone, and bound to one signer and so to one key: another key is another
// pool. Safe for concurrent use.
//
// A token is given out once at most, whatever else happens: each has a number, a counter
// that only rises says whose turn it is, and what comes after an error, a panic or a
// drop can't turn it back.
type InstallPool struct {
	Signer *InstallSigner
	Most   int                      // tokens at a time, at most; 0: each is signed when it is asked for
	Offer  func(InstallClaims) bool // whether such tokens may be given out still; nil: all may
	Idle   func() bool              // whether a core can be spared; nil: no goroutine waits for one

	supplies atomic.Pointer[supplies] // never changed, but replaced
	mu       sync.Mutex               // held to replace it, and by the forecast

	tokens, bytes           atomic.Int64  // of all batches, with what was taken of them
	served, inline, dropped atomic.Uint64 // served: of batches that are closed

	strangers sync.Mutex // guards asked
	asked     map[InstallClaims]uint64
	wake      chan struct{}

	forecasted time.Time // under mu
	filler     filler    // of Fill alone
}

// NewInstallPool makes a pool of at most so many tokens.
func NewInstallPool(s *InstallSigner, most int) *InstallPool {
	p := &InstallPool{Signer: s, Most: most, asked: map[InstallClaims]uint64{}, wake: make(chan struct{}, 1)}
	p.supplies.Store(newSupplies(map[InstallClaims]*supply{}))
	return p
}

// PoolStats say what a pool has and did.
type PoolStats struct {
	Ready   int    // tokens that can be given out
	Bytes   int64  // of memory for tokens
	Served  uint64 // tokens that were given out
	Inline  uint64 // offers for which there was none, and that were signed at once
	Dropped uint64 // tokens that nobody got: too old, or of what is not offered any more
}

// Bounds beside Most.
const (
	maxToken     = 1 << 10 // bytes: a longer one is never kept, so that Most bounds the bytes too
	maxSupplies  = 4096    // claims whose offers are counted
	maxStrangers = 1024    // of those that were not counted so far
)

// Append appends a token that nobody got before: one of the pool, or a new one. now is the
// time, or a moment ago. After an error dst has grown by nothing.
//
// hot: called for every offer; no allocation where the pool has a token (see
// BenchmarkInstallPool).
func (p *InstallPool) Append(dst []byte, c InstallClaims, now time.Time) ([]byte, error) {
	tok, ok := p.AppendReady(dst, c, now)
	if ok {
		return tok, nil
	}
	if p.Most > 0 {
		p.inline.Add(1)
	}
	return p.Signer.Append(dst, c)
}

// AppendReady appends a token of the pool that nobody got before. Where there is none dst
// has grown by nothing and nothing is signed, but the pool knows what was asked for.
func (p *InstallPool) AppendReady(dst []byte, c InstallClaims, now time.Time) (tok []byte, ok bool) {
	if p.Most <= 0 {
		return dst, false
	}
	s := p.supplies.Load().find(&c)
	if s == nil {
		p.stranger(c)
		return dst, false
	}
	if tok, ok := p.take(s, dst, now.UnixMilli()); ok {
		return tok, true
	}
	s.missed.Add(1)
	return dst, false
}

// stranger counts an offer whose claims have no supply. The next forecast gives them one.
func (p *InstallPool) stranger(c InstallClaims) {
	p.strangers.Lock()
	if n, known := p.asked[c]; known || len(p.asked) < maxStrangers {
		p.asked[c] = n + 1
	}
	p.strangers.Unlock()
	p.nudge()
}

// nudge wakes Fill if it sleeps.
func (p *InstallPool) nudge() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// supplies are those of all claims, to go through and to look into. The map has them all;
// places are quicker to look into than a map of Go's, whose hash of claims takes in the
// bundle id.
type supplies struct {
	by     map[InstallClaims]*supply
	places []place // half of them free: each in the one that its hash names, or behind it
	shift  int     // of a hash, to a place
}

// place is a supply and its item, which spares a look at the supply of another.
type place struct {
	item   uint64
	supply *supply // nil: it is free
}

func newSupplies(by map[InstallClaims]*supply) *supplies {
	size := bits.Len(uint(2 * len(by)))
	m := &supplies{by: by, places: make([]place, 1<<size), shift: 64 - size}
	for c, s := range by {
		at := m.first(&c)
		for m.places[at].supply != nil {
			at = (at + 1) & (len(m.places) - 1)
		}
		m.places[at] = place{c.Item, s}
	}
	return m
}

// find returns the supply of some claims, nil if there is none.
func (m *supplies) find(c *InstallClaims) *supply {
	for at := m.first(c); ; at = (at + 1) & (len(m.places) - 1) {
		p := &m.places[at]
		if p.supply == nil || p.item == c.Item && p.supply.claims == *c {
			return p.supply
		}
	}
}

// first is the place that the hash of some claims names.
func (m *supplies) first(c *InstallClaims) int {
	h := c.Item ^ bits.RotateLeft64(c.Version, 32)
	if c.Redownload {
		h = ^h
	}
	return int(h * 0x9e3779b97f4a7c15 >> m.shift) // 2^64 over the golden ratio spreads ids that lie close together
}

// supply is what the pool has of the same claims. What a taker looks at is at its
// beginning, one line of memory.
type supply struct {
	claims  InstallClaims
	current atomic.Pointer[batch] // what is taken from; nil: there is nothing
	missed  atomic.Uint64         // offers that found nothing

	mu     sync.Mutex
	next   []*batch // after current, oldest first
	served uint64   // of batches that are closed
	gone   bool     // it takes no more

	// Of the forecast, under the pool's lock.
	counted  uint64       // offers that are in rate
	rate     float64      // of offers, a second
	expected float64      // offers that are foreseen besides; fades
	want     atomic.Int64 // tokens that there should be; Fill reads it
	_        [7]uint64    // so many whole lines
}

// batch is a few tokens in a row, all of one length. Nothing in it changes but taken. It
// is one line of memory, which whoever takes has to have for itself.
type batch struct {
	taken         atomic.Int64 // tokens that were asked of it; beyond n there was none
	text          []byte
	size, n       int32 // of one token in text, and how many there are
	issued, until int64 // Unix milliseconds: it is good from the one on, and before the other
	_             uint64
}

// closed is what taken is set to when nothing may be taken any more.
const closed = math.MaxInt64 / 2

func (b *batch) left() int { return int(max(0, int64(b.n)-b.taken.Load())) }

// given is how many of them somebody got; of a batch that isn't closed.
func (b *batch) given() uint64 { return uint64(int(b.n) - b.left()) }

// good says whether its tokens may be given out: not in the second half of their life,
// and not before it, when a clock was put back.
func (b *batch) good(now int64) bool { return now < b.until && now >= b.issued-backwards }

// backwards is by how many milliseconds a clock may seem to go back: whoever takes a
// token may have read it before somebody else has signed that.
const backwards = 1000

func (b *batch) token(i int) []byte { return b.text[i*int(b.size):][:b.size] }

// take appends one token of the supply.
func (p *InstallPool) take(s *supply, dst []byte, now int64) ([]byte, bool) {
	for {
		b := s.current.Load()
		if b == nil || now < b.issued-backwards { // the forecast sees to a clock that was put back
			return dst, false
		}
		if b.good(now) {
			if i := b.taken.Add(1) - 1; i < int64(b.n) {
				return append(dst, b.token(int(i))...), true
			}
		}
		s.mu.Lock()
		if s.current.Load() == b { // else somebody was quicker
			p.close(s, b)
			s.advance()
		}
		s.mu.Unlock()
	}
}

// advance goes on to the next batch. The lock of the supply is held.
func (s *supply) advance() {
	if len(s.next) == 0 {
		s.current.Store(nil)
		return
	}
	s.current.Store(s.next[0])
	s.next[0] = nil
	s.next = s.next[1:]
}

// close ends a batch: whoever holds on to it finds nothing in it any more. The lock of
// the supply is held.
func (p *InstallPool) close(s *supply, b *batch) {
	n := int(b.n)
	taken := int(min(b.taken.Swap(closed), int64(n)))
	s.served += uint64(taken)
	p.served.Add(uint64(taken))
	p.dropped.Add(uint64(n - taken))
	p.tokens.Add(-int64(n))
	p.bytes.Add(-int64(cap(b.text)))
}

// empty closes all batches that are not good, or all of them.
func (p *InstallPool) empty(s *supply, now int64, all bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p.drop(s, now, all)
}

// drop is empty for who holds the lock of the supply.
func (p *InstallPool) drop(s *supply, now int64, all bool) {
	kept := s.next[:0]
	for _, b := range s.next {
		if all || !b.good(now) {
			p.close(s, b)
			continue
		}
		kept = append(kept, b)
	}
	clear(s.next[len(kept):])
	s.next = kept
	if b := s.current.Load(); b != nil && (all || !b.good(now) || b.left() == 0) {
		p.close(s, b)
		s.advance()
	}
}

// count says how many tokens can be taken, how many somebody got of open batches, and
// how many of closed ones.
func (s *supply) count() (ready int, open, before uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if b := s.current.Load(); b != nil {
		ready, open = b.left(), b.given()
	}
	for _, b := range s.next {
		ready, open = ready+b.left(), open+b.given()
	}
	return ready, open, s.served
}

// Stats returns what the pool has and did so far.
func (p *InstallPool) Stats() PoolStats {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := PoolStats{Bytes: p.bytes.Load(), Inline: p.inline.Load(), Dropped: p.dropped.Load()}
	before := p.served.Load() // first: a batch that is closed meanwhile is counted next time
	for _, s := range p.supplies.Load().by {
		ready, open, _ := s.count()
		all.Ready += ready
		all.Served += open
	}
	all.Served += before
	return all
}

// Sweep drops what may not be given out any more: what is too old, and what Offer says
// no to. It is to be called whenever Offer has changed its mind.
func (p *InstallPool) Sweep() {
	now := p.Signer.now().UnixMilli()
	p.mu.Lock()
	defer p.mu.Unlock()
	gone := false
	for c, s := range p.supplies.Load().by {
		if p.offered(c) {
			p.empty(s, now, false)
			continue
		}
		p.leave(s)
		gone = true
	}
	if gone {
		p.replace(func(m map[InstallClaims]*supply) {
			maps.DeleteFunc(m, func(_ InstallClaims, s *supply) bool { return s.gone })
		})
	}
}

func (p *InstallPool) offered(c InstallClaims) bool { return p.Offer == nil || p.Offer(c) }

// leave empties a supply for good: what is being signed for it comes before and is
// dropped with the rest, or comes after and is not taken. The pool's lock is held, and
// its map is to be replaced.
func (p *InstallPool) leave(s *supply) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gone = true
	p.drop(s, 0, true)
}

// replace changes a copy of the map. The pool's lock is held.
func (p *InstallPool) replace(change func(map[InstallClaims]*supply)) {
	next := maps.Clone(p.supplies.Load().by)
	change(next)
	p.supplies.Store(newSupplies(next))
}

// of returns the supply of some claims, a new one if there is none; nil if there are too
// many. The pool's lock is held.
func (p *InstallPool) of(c InstallClaims) *supply {
	if s := p.supplies.Load().find(&c); s != nil {
		return s
	}
	switch n := len(p.supplies.Load().by); {
	case n >= maxSupplies:
		return nil
	case n == 0: // the forecast slept, and what is expected fades from now on
		p.forecasted = p.Signer.now()
	}
	s := newSupply(c)
	p.replace(func(m map[InstallClaims]*supply) { m[s.claims] = s })
	return s
}

// newSupply makes the supply of some claims. It has a bundle id of its own: the one that
// was given may lie in an item of the catalogue, all of which it would keep for as long.
func newSupply(c InstallClaims) *supply {
	c.BundleID = strings.Clone(c.BundleID)
	return &supply{claims: c}
}

// Warm signs, at once and on the core of the caller, until there are n tokens of each of
// these claims. It is for those who know what will be asked for.
func (p *InstallPool) Warm(ctx context.Context, n int, claims ...InstallClaims) error {
	const together = 64
	for _, c := range claims {
		p.mu.Lock()
		s := p.of(c)
		p.mu.Unlock()
		if s == nil {
			return fmt.Errorf("token: pool: more than %d kinds of tokens", maxSupplies)
		}
		p.empty(s, p.Signer.now().UnixMilli(), false)
		ready, _, _ := s.count()
		made := 0
		for left := n - ready; left > 0; left -= made {
			if err := ctx.Err(); err != nil {
				return err
			}
			var err error
			if made, err = p.sign(s, min(left, together)); err != nil {
				return err
			}
			if made == 0 {
				return fmt.Errorf("token: pool: %d tokens of item %d were asked for, and there is no more room for them: at most %d are kept of all, and none that is not offered", n, c.Item, p.Most)
			}
		}
	}
	return nil
}

// sign adds a batch of at most n tokens, fewer where there is no room, and returns how
// many. Room is taken before and not after, so that there are never more than Most.
func (p *InstallPool) sign(s *supply, n int) (made int, err error) {
	if n = p.reserve(n); n == 0 {
		return 0, nil
	}
	defer func() { p.tokens.Add(int64(made - n)) }()
	if !p.offered(s.claims) {
		return 0, nil
	}
	now := p.Signer.now()
	b := &batch{issued: now.UnixMilli(), until: now.Add(p.Signer.life() / 2).UnixMilli()}
	for range n {
		from := len(b.text)
		if b.text, err = p.Signer.Append(b.text, s.claims); err != nil {
			break
		}
		size := len(b.text) - from
		switch {
		case from == 0 && size > maxToken:
			return 0, nil
		case from == 0:
			b.size = int32(size)
			b.text = append(make([]byte, 0, n*size), b.text...)
		case size != int(b.size): // the seconds of the clock have got another digit: the next batch is of these
			b.text = b.text[:from]
			return p.put(s, b), nil
		}
		b.n++
	}
	if b.n == 0 {
		return 0, err
	}
	return p.put(s, b), err
}

// reserve takes room for at most n tokens.
func (p *InstallPool) reserve(n int) int {
	for {
		have := p.tokens.Load()
		n = min(n, p.Most-int(have))
		if n <= 0 {
			return 0
		}
		if p.tokens.CompareAndSwap(have, have+int64(n)) {
			return n
		}
	}
}

// put adds a batch, unless the supply is gone or not offered by now, and returns its size.
func (p *InstallPool) put(s *supply, b *batch) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.gone {
		p.dropped.Add(uint64(b.n))
		return 0
	}
	p.bytes.Add(int64(cap(b.text)))
	if s.current.Load() == nil {
		s.current.Store(b)
	} else {
		s.next = append(s.next, b)
	}
	return int(b.n)
}
