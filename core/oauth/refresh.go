package oauth

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/souk-market/souk/core/store"
	"github.com/souk-market/souk/core/token"
)

// refreshGrant is the grant of RFC 6749 §6 with rotation (RFC 9700 §4.14.2).
//
// A refresh token says which family it is of and its generation there. The
// family's present generation is exchanged for the next. The one before may come
// again, since an answer can be lost on its way to a device: as long as nobody
// used its successor, it gets the same successor. Everything older was used
// after it had been replaced: two parties hold this family, and it ends.
type refreshGrant struct {
	token token.Refresh
}

// A device that lost an answer is back when it wakes up next, maybe a day later.
// It gets its successor then too, but in no more generations than this: the third
// of so many looks like a thief who is always a little late. How often it asks for
// one successor does not matter: it is the same each time.
const (
	lateRetries = 2
	lateWindow  = 10 // generations
)

func (g *refreshGrant) verify(_ context.Context, s *Server, c *tokenCall) error {
	t := c.params["refresh_token"]
	if t == "" {
		return Errorf(InvalidRequest, "refresh_token is missing")
	}
	if _, err := parseScope(c.params["scope"]); err != nil {
		return err
	}
	var err error
	if g.token, err = s.Ring().ParseRefresh([]byte(t)); err != nil {
		return Errorf(InvalidGrant, "refresh_token is not one of ours").because(err)
	}
	return nil
}

func (g *refreshGrant) decide(context.Context, *Server, *tokenCall) error { return nil }

// reuse is why a refresh token ends its family: it was used after it had been
// replaced. It carries the decision out of the Update.
type reuse struct {
	family     store.Family
	generation uint32
}

func (r *reuse) Error() string {
	return fmt.Sprintf("refresh token of generation %d was used, the newest is %d", r.generation, r.family.Generation)
}

// spend is one Update of the family. What it decided is read off the record that
// comes back, since the function in it may run more than once. A family that is to
// end is left as it is there: revoke ends it, once that is written down, and access
// tokens first, so that no crash leaves one that is over and whose access tokens are
// good.
func (g *refreshGrant) spend(ctx context.Context, s *Server, c *tokenCall) error {
	id, now, kid := g.token.Family, s.Now(), s.Ring().Current()
	ending := s.Store.RevocationSet().Contains(id) // or is over already
	f, err := s.Store.UpdateFamily(ctx, id, func(f store.Family) (store.Family, time.Time, bool, error) {
		if err := s.clientOf(c, &f); err != nil {
			return f, time.Time{}, false, err
		}
		if c.client != nil && c.client.Key() != f.Client {
			return f, time.Time{}, false, Errorf(InvalidGrant, "refresh_token was issued to another client")
		}
		if f.Audience == AudiencePage {
			return f, time.Time{}, false, Errorf(InvalidGrant, "refresh_token is not one of ours")
		}
		if f.State != store.Active {
			return f, time.Time{}, false, nil
		}
		next, change := s.rotate(f, g.token.Generation, now, kid)
		if ending || next.State != store.Active {
			return f, time.Time{}, false, &reuse{f, g.token.Generation}
		}
		return next, s.familyExpiry(next, now), change, nil
	})
	reused, ends := errors.AsType[*reuse](err)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return Errorf(InvalidGrant, "refresh_token has expired")
	case ends:
		why := reused.Error()
		if ending {
			why = "its end was begun before"
		}
		ctx := by(c.seen(ctx), reused.family.Class == ClassDevice, s.Clients.Policy(reused.family.Client))
		if err := s.revoke(ctx, id, why); err != nil {
			return err
		}
		return Errorf(InvalidGrant, "refresh_token is revoked").because(reused)
	case err != nil:
		return storeError(err)
	case f.State != store.Active:
		// Also of a family that an older version has ended: it did so the other way round.
		ctx := c.seen(ctx)
		if err := s.bar(ctx, id, f.RotatedAt); err != nil {
			return err
		}
		s.vacate(ctx, id, &f)
		return Errorf(InvalidGrant, "refresh_token is revoked")
	}
	if s.Store.SigningOut(f.Subject) {
		if err := s.current(c.seen(ctx), id, &f); err != nil {
			return err
		}
	}
	c.familyID, c.family = id, f
	return nil
}

// current ends a family of an account that has a newer epoch: it was signed out
// everywhere, and this sign-in was not reached yet, or not before that was cut off.
func (s *Server) current(ctx context.Context, id [16]byte, f *store.Family) error {
	switch account, err := s.Store.CachedAccount(ctx, f.Subject); {
	case errors.Is(err, store.ErrNotFound), err == nil && account.Epoch != f.Epoch:
		ctx := by(ctx, f.Class == ClassDevice, s.Clients.Policy(f.Client))
		if err := s.revoke(ctx, id, "the account was signed out"); err != nil {
			return err
		}
		return Errorf(InvalidGrant, "refresh_token is revoked: the account was signed out")
	case err != nil:
		return storeError(err)
	}
	return nil
}

// clientOf looks at the client of a family. A registered one has to be there still,
// and to have shown its secret. Nothing is written: it is the client's own record
// that says that it has ended.
func (s *Server) clientOf(c *tokenCall, f *store.Family) error {
	if f.Class != ClassApp {
		return nil
	}
	client := s.Clients.byKey(f.Client)
	if client == nil {
		return Errorf(InvalidGrant, "refresh_token was issued to a client that may not be used any more, or only by who signs in again")
	}
	return c.mayGoOn(client)
}

// rotate decides what becomes of a family when a token of a generation is used.
func (s *Server) rotate(f store.Family, generation uint32, now time.Time, kid byte) (next store.Family, change bool) {
	switch {
	case generation >= f.Generation: // newer than ours only after a recovery from a backup
		f.Generation = generation + 1
		f.RotatedAt, f.KID = now, kid
		return f, true
	case generation == f.Generation-1 && now.Sub(f.RotatedAt) <= s.Lives.Grace.Std():
		return f, false
	case generation == f.Generation-1 && f.Class == ClassDevice && late(&f):
		if !f.RotatedAt.Add(s.accessLife(&f)).After(now) {
			f.RotatedAt = now // the same refresh token, but an access token that still lives
		}
		return f, true
	}
	f.State = store.Revoked
	return f, true
}

// late notes that there was a late retry in this generation, unless there were too
// many in others.
func late(f *store.Family) bool {
	free := -1
	for i, g := range f.Late {
		if g == f.Generation {
			return true
		}
		if g == 0 || g+lateWindow <= f.Generation {
			free = i
		}
	}
	if free < 0 {
		return false
	}
	f.Late[free] = f.Generation
	return true
}
