package market

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/souk-market/souk/core/store"
)

// errMoved means that policy decided over counts that are no longer those of the
// account: somebody else's write was first.
var errMoved = errors.New("market: the account's devices changed meanwhile")

// maxTries is how often is decided anew before a device is told to try later. The
// second time is the device's turn, so it takes other servers on the same store, or
// sign-ins that end one after the other, to get so far.
const maxTries = 8

// queues are where the devices of an account wait for each other once they got into
// each other's way. Who asks for the first time writes beside others, but not while
// somebody else has his turn. Several accounts may share one.
type queues [64]sync.RWMutex

func (q *queues) of(account string) *sync.RWMutex {
	return &q[int(store.SubjectID(account)[0])%len(q)]
}

// wait returns when it is the caller's turn, and done gives it up.
func (q *queues) wait(account string) (done func()) {
	turn := q.of(account)
	turn.Lock()
	return turn.Unlock
}

// pass returns when it is nobody's turn; until done it doesn't become anybody's.
func (q *queues) pass(account string) (done func()) {
	turn := q.of(account)
	turn.RLock()
	return turn.RUnlock
}

// leaveOut takes the devices off the account in w that have no sign-in any more, so
// that policy doesn't count them. Nobody notices when a sign-in expires; here it is
// found out, and what is remembered then says so too.
func (m *Market) leaveOut(ctx context.Context, w *work) error {
	others, left := *w.account, *w.account
	others.Free(w.device) // which has the sign-in that asks
	ended, err := m.Store.Ended(ctx, others, m.Device)
	if err != nil {
		return err
	}
	left.Free(ended...)
	w.ended, w.account = ended, &left
	return nil
}

// remember notes which items the account and its device are given, before they get
// a token for them, and takes off who has no sign-in any more. It holds only as long
// as the counts that policy has seen are still those of the record; otherwise nothing
// is written and it is errMoved. The account in w stays as it was: it says what was
// there before.
func (m *Market) remember(ctx context.Context, q *Request, w *work) error {
	var fresh []uint64
	for i := range w.picks {
		p := &w.picks[i]
		if !p.denied && p.choice >= 0 && !(w.account.HasItem(p.entry.ID) && w.account.Holds(w.device, p.entry.ID)) {
			fresh = append(fresh, p.entry.ID)
		}
	}
	if w.account.Account == "" || len(fresh)+len(w.ended) == 0 {
		return nil
	}
	if !w.again { // otherwise it is this device's turn
		defer m.queues.pass(w.account.Account)()
	}
	before, device, ended := w.account, w.device, w.ended // the Update may outlive w
	_, err := m.Store.UpdateAccount(ctx, before.Account, func(a *store.Account) (bool, error) {
		if a.Epoch != before.Epoch {
			return false, ErrNoAccount
		}
		freed := a.Free(ended...)
		for _, item := range fresh {
			devices, holders := a.Ahead(device, item)
			if seen, seenItem := before.Ahead(device, item); devices != seen || holders != seenItem {
				return false, errMoved
			}
		}
		return a.Give(device, fresh...) || freed, nil
	})
	switch {
	case errors.Is(err, errMoved), errors.Is(err, ErrNoAccount):
		return err
	case err != nil:
		return fmt.Errorf("remember downloads: %w", err)
	}
	if m.Store.RevocationSet().Contains(q.Access.Family) { // ended meanwhile, maybe too early to be taken off
		if err := m.Store.Vacate(ctx, q.Access.Subject, device, m.Device); err != nil {
			return fmt.Errorf("take a device off: %w", err)
		}
		return ErrNoAccount
	}
	return nil
}
