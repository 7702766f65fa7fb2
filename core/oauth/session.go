package oauth

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/souk-market/souk/core/store"
)

// Session is one sign-in of an account that is still good.
type Session struct {
	ID      string    `json:"id"`     // hexadecimal
	Client  string    `json:"client"` // as policy sees it: a registered client's id, a device's 32 digits
	Device  bool      `json:"device"`
	Created time.Time `json:"created"`
	Used    time.Time `json:"used"` // of the last refresh, or of the sign-in
}

// Sessions returns the sign-ins of an account.
func (s *Server) Sessions(ctx context.Context, account string) ([]Session, error) {
	found, err := s.live(ctx, account)
	if err != nil {
		return nil, err
	}
	sessions := make([]Session, 0, len(found))
	for _, f := range found {
		sessions = append(sessions, s.session(f))
	}
	return sessions, nil
}

func (s *Server) session(f store.Session) Session {
	return Session{
		ID: hex.EncodeToString(f.ID[:]), Client: s.Clients.Policy(f.Family.Client), Device: f.Family.Class == ClassDevice,
		Created: f.Family.Created, Used: f.Family.RotatedAt,
	}
}

// live are the families of an account that are worth something.
func (s *Server) live(ctx context.Context, account string) ([]store.Session, error) {
	subject := store.SubjectID(account)
	r, err := s.Store.Account(ctx, subject)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return nil, nil
	case err != nil:
		return nil, err
	}
	all, err := s.Store.Sessions(ctx, subject)
	if err != nil {
		return nil, err
	}
	live := all[:0]
	for _, f := range all {
		if f.Family.State == store.Active && f.Family.Epoch == r.Epoch && (f.Family.Class != ClassApp || s.Clients.byKey(f.Family.Client) != nil) {
			live = append(live, f)
		}
	}
	return live, nil
}

// Revoke ends the sign-ins of an account that match: their access tokens from the
// next request on, their refresh tokens for good. It returns those that it ended.
func (s *Server) Revoke(ctx context.Context, account string, match func(Session) bool) ([]Session, error) {
	found, err := s.live(ctx, account)
	if err != nil {
		return nil, err
	}
	ended := []Session{}
	for _, f := range found {
		session := s.session(f)
		if !match(session) {
			continue
		}
		if err := s.revoke(ctx, f.ID, "the operator ended it"); err != nil {
			return ended, err
		}
		ended = append(ended, session)
	}
	return ended, nil
}

// RevokeAccount signs an account out everywhere. Its epoch goes first, and with it
// all that devices hold: what is under way at this moment, a code or a subject token
// that was issued before, or a family that is just being created, is of the old one
// and comes to nothing: see Server.signedOut.
func (s *Server) RevokeAccount(ctx context.Context, account string) ([]Session, error) {
	found, err := s.live(ctx, account)
	if err != nil {
		return nil, err
	}
	if _, err := s.Store.Account(ctx, store.SubjectID(account)); errors.Is(err, store.ErrNotFound) {
		return []Session{}, nil
	} else if err != nil {
		return nil, err
	}
	after, err := s.Store.UpdateAccount(ctx, account, func(a *store.Account) (bool, error) {
		a.Epoch++
		a.Devices, a.Held = nil, nil
		return true, nil
	})
	if err != nil {
		return nil, err
	}
	// Again: some may have come in between.
	if _, err := s.signOut(ctx, store.SubjectID(account), after.Epoch); err != nil {
		return nil, err
	}
	ended := make([]Session, 0, len(found))
	for _, f := range found {
		ended = append(ended, s.session(f))
	}
	return ended, nil
}

// signOut ends the sign-ins of an account but those of this epoch or of one that has come
// since, which came after. One of an epoch that the account has not reached is of an account
// that was lost and begun anew. It returns how many it ended.
func (s *Server) signOut(ctx context.Context, subject [16]byte, epoch uint32) (ended int, err error) {
	all, err := s.Store.Sessions(ctx, subject)
	if err != nil {
		return 0, err
	}
	now, err := s.Store.Account(ctx, subject) // second: none that was listed is of a later epoch
	if err != nil {
		return 0, err
	}
	for _, f := range all {
		if f.Family.State != store.Active || epoch <= f.Family.Epoch && f.Family.Epoch <= now.Epoch {
			continue
		}
		if err := s.revoke(ctx, f.ID, "the account was signed out"); err != nil {
			return ended, err
		}
		ended++
	}
	return ended, s.Store.SignedOut(ctx, subject, epoch)
}

// FinishSignOuts brings sign-outs everywhere to their ends that were cut off, by a crash
// or by an error: until then each refresh of such an account looks at it. It is for a
// server that starts, and may run beside everything else. It returns how many sign-ins
// it ended; what it can't end is left for the next start.
func (s *Server) FinishSignOuts(ctx context.Context) (ended int, err error) {
	for _, subject := range s.Store.SignOuts() {
		a, e := s.Store.Account(ctx, subject)
		if errors.Is(e, store.ErrNotFound) {
			continue // it is about to be made
		}
		n := 0
		if e == nil {
			n, e = s.signOut(ctx, subject, a.Epoch)
		}
		ended += n
		switch {
		case ctx.Err() != nil, errors.Is(e, store.ErrFull), errors.Is(e, store.ErrStopped), errors.Is(e, store.ErrClosed):
			return ended, e // none of the others would go better
		case e != nil:
			err = errors.Join(err, fmt.Errorf("sign out account %x: %w", subject, e))
		}
	}
	return ended, err
}
