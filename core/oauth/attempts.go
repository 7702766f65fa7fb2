package oauth

import (
	"context"
	"hash/maphash"
	"net/netip"
	"strings"
	"sync/atomic"
	"time"

	"github.com/souk-market/souk/core/store"
)

// Attempts counts attempts at passwords, by account and by address. Each key has
// a leaky bucket: an attempt fills it by one, and over the window a full one
// empties evenly.
//
// The buckets are tables of fixed size that keys are hashed into, twice, so that
// nobody can make the server forget an account by trying many others. Two keys
// seldom share both cells; the emptier cell counts, so that sharing one costs
// nothing.
//
// What failed at an account is stored too, before anybody is told that it did: so
// neither a crash nor another node forgives what was answered. The table stays the
// first to ask. It counts what is under way, and addresses are in it alone.
type Attempts struct {
	accounts, addresses buckets
	store               *store.Store
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
func NewAttempts(c Config, s *store.Store, now func() time.Time) *Attempts {
	window := c.AttemptsWindow.Std()
	return &Attempts{
		accounts: newBuckets(c.AttemptsAccount, window), addresses: newBuckets(c.AttemptsAddress, window),
		store: s, refusals: refusals{seed: maphash.MakeSeed()}, now: now,
	}
}

func newBuckets(capacity int, window time.Duration) buckets {
	return buckets{capacity, window / time.Duration(capacity), maphash.MakeSeed(), make([]atomic.Int64, attemptCells)}
}

// Take counts one attempt that is about to be made. Above a limit it is not
// counted, and wait says when the next one will be; 0 = it may be made. failed is
// the number of attempts at the account that still count.
//
// It counts first and takes back what was too much: many attempts at the same
// moment must not all see the room for one.
func (a *Attempts) Take(ctx context.Context, account, address string) (failed int, wait time.Duration, err error) {
	now := a.now().UnixNano()
	byAddress := a.addresses.find(network(address))
	if _, wait := a.addresses.take(byAddress, now); wait > 0 {
		return 0, wait, nil
	}
	if account == "" {
		return 0, 0, nil
	}
	cells := a.accounts.find(strings.ToLower(account))
	stored, err := a.store.Attempts(ctx, attemptID(account))
	if err != nil {
		a.addresses.add(byAddress, -a.addresses.each, now)
		return 0, 0, storeError(err)
	}
	if !stored.IsZero() {
		a.accounts.lift(cells, stored.UnixNano())
	}
	failed, wait = a.accounts.take(cells, now)
	if wait > 0 {
		a.addresses.add(byAddress, -a.addresses.each, now)
	}
	return failed, wait, nil
}

// Failed stores that an attempt which was taken has failed. Without it nobody may be
// told that it did.
func (a *Attempts) Failed(ctx context.Context, account string) error {
	if account == "" {
		return nil
	}
	if _, err := a.store.AddAttempt(ctx, attemptID(account), a.accounts.each); err != nil {
		return storeError(err)
	}
	return nil
}

// Forget takes a successful attempt back: the account begins anew, and the
// address gets back the one that it took.
func (a *Attempts) Forget(ctx context.Context, account, address string) error {
	now := a.now().UnixNano()
	a.addresses.add(a.addresses.find(network(address)), -a.addresses.each, now)
	if account == "" {
		return nil
	}
	cells := a.accounts.find(strings.ToLower(account))
	a.accounts.add(cells, -a.accounts.add(cells, 0, now), now)
	return a.store.ForgetAttempts(ctx, attemptID(account))
}

// attemptID is under what attempts at an account are stored, of one that does not
// exist too: the answer must not tell.
func attemptID(account string) [16]byte { return store.SubjectID(strings.ToLower(account)) }

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

// lift makes a bucket as full as it is said to be, if it is emptier.
func (b *buckets) lift(cells [2]*atomic.Int64, empty int64) {
	for _, c := range cells {
		for old := c.Load(); old < empty && !c.CompareAndSwap(old, empty); old = c.Load() {
		}
	}
}
