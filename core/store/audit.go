package store

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/souk-market/souk/core/store/audit"
)

// What ends a sign-in or changes what somebody may have is written down in the audit
// log, and is on the disk, before it is done: after a crash an entry may stand
// without its change, never a change without its entry. The calls stand in the
// methods that make the changes, so that nobody can leave them out.

// Audit writes an entry down for a change that is about to be made one floor up, by
// whoever the context names. After an error the change must not be made: it is
// ErrFull or ErrStopped where the store itself would say that of a write. A Store
// without a log writes nothing.
func (s *Store) Audit(ctx context.Context, e audit.Entry) error {
	if s.audit == nil {
		return nil
	}
	o := audit.From(ctx)
	e.Actor, e.Name, e.Address = o.Actor, o.Name, o.Address
	if e.Account == "" && e.Subject != (audit.ID{}) {
		e.Account = s.name(ctx, e.Subject)
	}
	switch err := s.audit.Append(ctx, e); {
	case err == nil:
		return nil
	case errors.Is(err, audit.ErrStopped):
		return fmt.Errorf("%w: %w", ErrStopped, err)
	case errors.Is(err, audit.ErrClosed):
		return fmt.Errorf("%w: %w", ErrClosed, err)
	default:
		return fmt.Errorf("write down %s: %w", e.Kind, err)
	}
}

// name is the name of an account for an entry, empty if there is none.
func (s *Store) name(ctx context.Context, subject [16]byte) string {
	a, err := s.CachedAccount(ctx, subject)
	if err != nil {
		return "" // the entry has the subject
	}
	return a.Account
}

// unwritten carries entries out of an UpdateFunc whose change has to wait for them.
type unwritten struct{ entries []audit.Entry }

func (*unwritten) Error() string { return "store: a change has to be written down first" }

// firstWrite runs an Update whose changes are written down first. update is handed the
// entries that are on the disk; where its change needs others, it returns these as
// unwritten, nothing is written, and it runs again.
func (s *Store) firstWrite(ctx context.Context, update func(written []audit.Entry) error) error {
	var written []audit.Entry
	for {
		err := update(written)
		todo, ok := errors.AsType[*unwritten](err)
		if !ok {
			return err
		}
		for _, e := range todo.entries {
			if err := s.Audit(ctx, e); err != nil {
				return err
			}
		}
		written = todo.entries
	}
}

// changes are the entries that a change of an account needs.
func (a *Account) changes(next *Account) (entries []audit.Entry) {
	add := func(e audit.Entry) {
		e.Account, e.Subject = next.Account, SubjectID(next.Account)
		entries = append(entries, e)
	}
	if next.Epoch != a.Epoch {
		add(audit.Entry{Kind: audit.SignedOut, Epoch: next.Epoch})
	}
	if !slices.Equal(next.Grants, a.Grants) {
		add(audit.Entry{Kind: audit.GrantsChanged, Added: without(next.Grants, a.Grants), Removed: without(a.Grants, next.Grants)})
	}
	if next.Territory != a.Territory {
		add(audit.Entry{Kind: audit.TerritoryChanged, Detail: map[string]string{"old": a.Territory, "new": next.Territory}})
	}
	return entries
}

// without is what is in a list and not in another; both are sorted.
func without(list, other []string) (left []string) {
	for _, one := range list {
		if _, there := slices.BinarySearch(other, one); !there {
			left = append(left, one)
		}
	}
	return left
}

// sameChanges compares entries of the same account, or of the same client.
func sameChanges(a, b []audit.Entry) bool {
	return slices.EqualFunc(a, b, func(a, b audit.Entry) bool {
		return a.Kind == b.Kind && a.Epoch == b.Epoch && slices.Equal(a.Added, b.Added) && slices.Equal(a.Removed, b.Removed) &&
			maps.Equal(a.Detail, b.Detail)
	})
}
