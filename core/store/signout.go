package store

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
)

// A sign-out everywhere is many writes: the account's epoch, and then each of its
// sign-ins. One that is cut off in between leaves sign-ins that are active and of an
// epoch that is over. So that not every refresh has to read an account to find that
// out, there is a list of accounts whose sign-outs have begun: written before the
// epoch, and left when the last sign-in has ended. It is short, and in memory too. What a
// crash leaves there the next start brings to its end (oauth.Server.FinishSignOuts).

// signOuts is that list in memory.
type signOuts struct {
	size  atomic.Int64
	mu    sync.RWMutex
	epoch map[[16]byte]uint32 // by account: the one that the newest sign-out leads to
}

func (o *signOuts) has(subject [16]byte) bool {
	if o.size.Load() == 0 {
		return false
	}
	o.mu.RLock()
	defer o.mu.RUnlock()
	_, listed := o.epoch[subject]
	return listed
}

func (o *signOuts) add(subject [16]byte, epoch uint32) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.epoch == nil {
		o.epoch = make(map[[16]byte]uint32)
	}
	o.epoch[subject] = max(o.epoch[subject], epoch)
	o.size.Store(int64(len(o.epoch)))
}

// remove takes an account off, unless a newer sign-out has begun.
func (o *signOuts) remove(subject [16]byte, epoch uint32) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.epoch[subject] <= epoch {
		delete(o.epoch, subject)
	}
	o.size.Store(int64(len(o.epoch)))
}

// SigningOut says whether a sign-out everywhere of the account may have begun without
// having come to its end. If not, its active sign-ins are of its present epoch, but for
// such as nobody was given a token of. Ask after what must not be overtaken. With other
// nodes, which may be ahead of what this one knows, the answer is always yes.
//
// hot: called for each refresh; no allocation.
func (s *Store) SigningOut(subject [16]byte) bool { return s.shared || s.signOuts.has(subject) }

// beginSignOut notes that an account is about to have this epoch.
func (s *Store) beginSignOut(ctx context.Context, subject [16]byte, epoch uint32) error {
	_, err := s.engine.Update(ctx, signOutKey(subject), func(cur *Item) (*Write, error) {
		if cur != nil {
			before, err := decodeSignOut(cur.Value)
			if err != nil || before >= epoch {
				return nil, err
			}
		}
		return &Write{Value: encodeSignOut(epoch)}, nil
	})
	if err != nil {
		return fmt.Errorf("note that a sign-out begins: %w", err)
	}
	s.signOuts.add(subject, epoch)
	return nil
}

// SignedOut notes that all sign-ins of an account from before this epoch have ended. If
// that fails nothing is lost: refreshes of the account go on to look at it, and the next
// start finishes it.
func (s *Store) SignedOut(ctx context.Context, subject [16]byte, epoch uint32) error {
	_, err := s.engine.Update(ctx, signOutKey(subject), func(cur *Item) (*Write, error) {
		if cur == nil {
			return nil, nil
		}
		newest, err := decodeSignOut(cur.Value)
		if err != nil || newest > epoch {
			return nil, err
		}
		return &Write{Delete: true}, nil
	})
	if err != nil {
		return fmt.Errorf("note that a sign-out has come to its end: %w", err)
	}
	s.signOuts.remove(subject, epoch)
	return nil
}

// SignOuts are the accounts whose sign-outs everywhere have begun and have not come to
// their ends, in no order. Before anybody uses the Store these were all cut off.
func (s *Store) SignOuts() (subjects [][16]byte) {
	s.signOuts.mu.RLock()
	defer s.signOuts.mu.RUnlock()
	for subject := range s.signOuts.epoch {
		subjects = append(subjects, subject)
	}
	return subjects
}

// loadSignOuts reads the list, before anybody uses the Store.
func (s *Store) loadSignOuts(ctx context.Context) error {
	err := s.scanAll(ctx, tableSignOut, partSignOuts, func(it Item) error {
		if len(it.Key.Sub) != 16 {
			return fmt.Errorf("store: table %c: key %x is no subject", tableSignOut, it.Key.Sub)
		}
		epoch, err := decodeSignOut(it.Value)
		if err != nil {
			return err
		}
		subject := [16]byte([]byte(it.Key.Sub))
		if !s.shared { // another node may just be about to begin it
			epoch = s.settleSignOut(ctx, subject, epoch)
		}
		if epoch > 0 {
			s.signOuts.add(subject, epoch)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("load sign-outs: %w", err)
	}
	return nil
}

// settleSignOut returns the epoch that a note is good for, 0 for none. A sign-out that was
// cut off before the account had its epoch did not happen and never will; what one before
// it has left is of the account's own. Where that can't be written the note stays.
func (s *Store) settleSignOut(ctx context.Context, subject [16]byte, noted uint32) uint32 {
	a, err := s.Account(ctx, subject)
	if errors.Is(err, ErrNotFound) {
		err = nil // nor was it created
	}
	if err == nil && a.Epoch >= noted {
		return noted
	}
	if err == nil {
		_, err = s.engine.Update(ctx, signOutKey(subject), func(*Item) (*Write, error) {
			if a.Epoch == 0 {
				return &Write{Delete: true}, nil
			}
			return &Write{Value: encodeSignOut(a.Epoch)}, nil
		})
	}
	if err != nil {
		s.log.Warn("store: a sign-out never began, and that is not noted: nothing is lost", "error", err)
		return noted
	}
	return a.Epoch
}

// noteSignOuts is the step from format 2, which kept no list: a sign-out that was cut
// off is found by what it has left.
func noteSignOuts(ctx context.Context, s *Store, done func()) error {
	return s.eachRecord(ctx, func(it Item) error {
		if it.Key.Table != tableAccount || len(it.Key.Part) != 16 {
			return nil
		}
		a, err := decodeAccount(it.Value)
		if err != nil || a.Epoch == 0 {
			return err
		}
		subject, left := [16]byte([]byte(it.Key.Part)), false
		err = s.eachSession(ctx, subject, func(one Session) error {
			left = left || one.Family.State == Active && one.Family.Epoch != a.Epoch
			return nil
		})
		if err != nil || !left {
			return err
		}
		done()
		return s.beginSignOut(ctx, subject, a.Epoch)
	})
}

func encodeSignOut(epoch uint32) []byte { return binary.BigEndian.AppendUint32([]byte{1}, epoch) }

func decodeSignOut(b []byte) (epoch uint32, err error) {
	r := readRecord(tableSignOut, b, 1)
	epoch = r.uint32()
	return epoch, r.end()
}
