package oauth

import (
	"context"
	"hash/maphash"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/souk-market/souk/core/store"
	"github.com/souk-market/souk/core/store/audit"
)

// refusals decides which refused attempts are written down. Whoever guesses decides
// how often a limit is reached, and must not decide how much is written for it: the
// same limit is told once in a window, all of them together ten times a minute, and
// what was not told is counted in the next entry.
type refusals struct {
	mu     sync.Mutex
	seed   maphash.Seed
	told   [refusalCells]int64 // when, ns since 1970, by hash of the key
	empty  int64               // when the bucket of all has drained, ns since 1970
	untold int
}

const (
	refusalCells = 1 << 12
	refusalEach  = 6 * time.Second
	refusalBurst = 10
)

// tell says whether this one is to be written down, and how many before it were not.
func (r *refusals) tell(key string, now time.Time, window time.Duration) (untold int, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	at := now.UnixNano()
	cell := &r.told[maphash.String(r.seed, key)%refusalCells]
	filled := max(r.empty, at) + int64(refusalEach)
	if *cell != 0 && at-*cell < int64(window) || filled-at > int64(refusalBurst*refusalEach) {
		r.untold++
		return 0, false
	}
	*cell, r.empty = at, filled
	untold, r.untold = r.untold, 0
	return untold, true
}

// limited writes down that attempts at an account, or from an address, have reached
// their limit. It is no change that could be held back: where it can't be written,
// the log says so, and the attempt is refused all the same.
func (s *Server) limited(ctx context.Context, account, address string, byAccount bool) {
	e := audit.Entry{Kind: audit.LimitReached, Detail: map[string]string{"limit": "address"}}
	key := "address " + network(address)
	if byAccount {
		account = strings.ToLower(account)
		key, e.Detail["limit"] = "account "+account, "account"
	}
	untold, ok := s.Attempts.refusals.tell(key, s.Now(), s.Config.AttemptsWindow.Std())
	if !ok {
		return
	}
	if untold > 0 {
		e.Detail["untold"] = strconv.Itoa(untold)
	}
	if byAccount {
		// What was typed there may be anything, a password too. The name of an account
		// that exists is none.
		if _, err := s.Store.CachedAccount(ctx, store.SubjectID(account)); err == nil {
			e.Account, e.Subject = account, store.SubjectID(account)
		}
	}
	if err := s.Store.Audit(ctx, e); err != nil {
		s.log().Error("a limit that was reached is not written down", "error", err)
	}
}
