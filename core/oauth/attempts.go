package oauth

import (
	"hash/maphash"
	"math"
	"net/netip"
	"strings"
	"sync/atomic"
	"time"
)

// Attempts counts attempts at passwords, by account and by address. Each key has
// a leaky bucket: it fills by one an attempt and empties evenly over the window.
//
// The buckets are a table of fixed size that keys are hashed into, twice, so
// that nobody can make the server forget an account by trying many others. Two
// keys seldom share both cells; the emptier cell counts, so that sharing one
// costs nothing.
type Attempts struct {
	account, address float64 // capacities
	window           time.Duration
	now              func() time.Time
	seed             maphash.Seed
	cells            []atomic.Uint64 // level in 1/1024 attempts <<32 | ms since began, wrapping
	began            time.Time
}

const (
	attemptCells = 1 << 17 // a power of two; 1 MiB
	maxLevel     = 1 << 21 // what a cell can hold
)

// NewAttempts makes the counters of a server.
func NewAttempts(c Config, now func() time.Time) *Attempts {
	return &Attempts{
		account: float64(c.AttemptsAccount), address: float64(c.AttemptsAddress),
		window: c.AttemptsWindow.Std(), now: now,
		seed: maphash.MakeSeed(), cells: make([]atomic.Uint64, attemptCells), began: now(),
	}
}

// Take counts one attempt. Above a limit it is not counted, and wait says when
// the next one will be. failed is the number of attempts at the account that
// still count.
//
// It counts first and takes back what was too much: many attempts at the same
// moment must not all see the room for one.
func (a *Attempts) Take(account, address string) (failed int, wait time.Duration, ok bool) {
	byAccount, byAddress := a.keys(account, address)
	level := a.add(byAddress, 1)
	if level > a.address {
		a.add(byAddress, -1)
		return 0, a.until(level, a.address), false
	}
	if account == "" {
		return 0, 0, true
	}
	if level = a.add(byAccount, 1); level > a.account {
		a.add(byAccount, -1)
		a.add(byAddress, -1)
		return int(a.account), a.until(level, a.account), false
	}
	return int(math.Ceil(level)) - 1, 0, true
}

// Forget takes a successful attempt back: the account begins anew, and the
// address gets back the one that it took.
func (a *Attempts) Forget(account, address string) {
	byAccount, byAddress := a.keys(account, address)
	if account != "" {
		a.add(byAccount, -a.account)
	}
	a.add(byAddress, -1)
}

func (a *Attempts) until(level, capacity float64) time.Duration {
	return time.Duration((level - capacity) / capacity * float64(a.window))
}

// cell is one of the two places of a key, with the capacity it drains by.
type cell struct {
	at       [2]*atomic.Uint64
	capacity float64
}

func (a *Attempts) keys(account, address string) (byAccount, byAddress cell) {
	// Of IPv6 one person has a whole /64.
	if ip, err := netip.ParseAddr(address); err == nil && ip.Is6() && !ip.Is4In6() {
		if p, err := ip.WithZone("").Prefix(64); err == nil {
			address = p.String()
		}
	}
	return a.cell("account\x00"+strings.ToLower(account), a.account), a.cell("address\x00"+address, a.address)
}

func (a *Attempts) cell(key string, capacity float64) cell {
	h := maphash.String(a.seed, key)
	const mask = attemptCells - 1
	return cell{[2]*atomic.Uint64{&a.cells[h&mask], &a.cells[h>>32&mask]}, capacity}
}

// drained is the level of one place now.
func (a *Attempts) drained(v uint64, capacity float64) float64 {
	level := float64(v>>32) / 1024
	passed := time.Duration(a.clock()-uint32(v)) * time.Millisecond
	return max(0, level-float64(passed)/float64(a.window)*capacity)
}

// clock counts ms since the start and wraps after 49 days: a bucket that is
// nearly that old may be taken for a fresh one once, which only refuses too much.
func (a *Attempts) clock() uint32 { return uint32(a.now().Sub(a.began).Milliseconds()) }

// add changes both places and returns the level of the emptier one.
func (a *Attempts) add(c cell, n float64) float64 {
	lowest := math.MaxFloat64
	for _, at := range c.at {
		for {
			v := at.Load()
			level := min(maxLevel, max(0, a.drained(v, c.capacity)+n))
			if at.CompareAndSwap(v, uint64(level*1024)<<32|uint64(a.clock())) {
				lowest = min(lowest, level)
				break
			}
		}
	}
	return lowest
}
