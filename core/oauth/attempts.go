package oauth

import (
	"hash/maphash"
	"net/netip"
	"strings"
	"sync/atomic"
	"time"
)

// Attempts counts attempts at passwords, by account and by address. Each key has
// a leaky bucket: an attempt fills it by one, and over the window a full one
// empties evenly.
//
// The buckets are tables of fixed size that keys are hashed into, twice, so that
// nobody can make the server forget an account by trying many others. Two keys
// seldom share both cells; the emptier cell counts, so that sharing one costs
// nothing.
type Attempts struct {
	accounts, addresses buckets
	refusals            refusals
	now                 func() time.Time
}

// buckets is one table. A cell holds when its bucket will be empty, which says
// how full it is at any time without a fraction to lose (the generic cell rate
// algorithm, ITU-T I.371).
type buckets struct {
	capacity int
	each     time.Duration // what one attempt fills, as the time until it has drained
	seed     maphash.Seed
	cells    []atomic.Int64 // ns since 1970
}

const attemptCells = 1 << 16 // a power of two; half a MiB a table

// NewAttempts makes the counters of a server.
func NewAttempts(c Config, now func() time.Time) *Attempts {
	window := c.AttemptsWindow.Std()
	return &Attempts{
		accounts: newBuckets(c.AttemptsAccount, window), addresses: newBuckets(c.AttemptsAddress, window),
		refusals: refusals{seed: maphash.MakeSeed()}, now: now,
	}
}

func newBuckets(capacity int, window time.Duration) buckets {
	return buckets{capacity, window / time.Duration(capacity), maphash.MakeSeed(), make([]atomic.Int64, attemptCells)}
}

// Take counts one attempt. Above a limit it is not counted, and wait says when
// the next one will be. failed is the number of attempts at the account that
// still count.
//
// It counts first and takes back what was too much: many attempts at the same
// moment must not all see the room for one.
func (a *Attempts) Take(account, address string) (failed int, wait time.Duration, ok bool) {
	now := a.now().UnixNano()
	byAddress := a.addresses.find(network(address))
	if _, wait := a.addresses.take(byAddress, now); wait > 0 {
		return 0, wait, false
	}
	if account == "" {
		return 0, 0, true
	}
	failed, wait = a.accounts.take(a.accounts.find(strings.ToLower(account)), now)
	if wait > 0 {
		a.addresses.add(byAddress, -a.addresses.each, now)
		return failed, wait, false
	}
	return failed, 0, true
}

// Forget takes a successful attempt back: the account begins anew, and the
// address gets back the one that it took.
func (a *Attempts) Forget(account, address string) {
	now := a.now().UnixNano()
	a.addresses.add(a.addresses.find(network(address)), -a.addresses.each, now)
	if account != "" {
		cells := a.accounts.find(strings.ToLower(account))
		a.accounts.add(cells, -a.accounts.add(cells, 0, now), now)
	}
}

// network is what counts as one address: of IPv6 a person has a whole /64.
func network(address string) string {
	ip, err := netip.ParseAddr(address)
	if err != nil || !ip.Is6() || ip.Is4In6() {
		return address
	}
	prefix, err := ip.WithZone("").Prefix(64)
	if err != nil {
		return address
	}
	return prefix.String()
}

// find returns the cells of a key.
func (b *buckets) find(key string) [2]*atomic.Int64 {
	const mask = attemptCells - 1
	h := maphash.String(b.seed, key)
	one, two := h&mask, h>>32&mask
	if one == two {
		two = (two + 1) & mask
	}
	return [2]*atomic.Int64{&b.cells[one], &b.cells[two]}
}

// take fills a bucket by one attempt if there is room, else says when there will
// be. before is the number of attempts that were in it.
func (b *buckets) take(cells [2]*atomic.Int64, now int64) (before int, wait time.Duration) {
	full := b.each * time.Duration(b.capacity)
	filled := b.add(cells, b.each, now)
	if filled > full {
		b.add(cells, -b.each, now)
		return b.capacity, filled - full
	}
	return int((filled - 1) / b.each), 0
}

// add changes both cells and returns how full the emptier one is.
func (b *buckets) add(cells [2]*atomic.Int64, by time.Duration, now int64) (filled time.Duration) {
	for i, c := range cells {
		for {
			old := c.Load()
			empty := max(now, max(now, old)+int64(by))
			if c.CompareAndSwap(old, empty) {
				if d := time.Duration(empty - now); i == 0 || d < filled {
					filled = d
				}
				break
			}
		}
	}
	return filled
}
