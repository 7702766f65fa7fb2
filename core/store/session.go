package store

import (
	"context"
	"errors"
	"time"
)

// Session is one sign-in of an account: a family and its id.
type Session struct {
	ID     [16]byte
	Family Family
}

const (
	manySessions = 32        // from so many on a new sign-in clears up what is listed and gone
	sessionGrace = time.Hour // an entry so young may be of a family that is about to be created
)

// listFamily puts a family into the list of its subject. Doing it twice does no
// harm. An entry has no expiry of its own, since each refresh would have to move
// it; entries whose families are gone are taken out when there are many.
func (s *Store) listFamily(ctx context.Context, subject, id [16]byte) error {
	if err := s.engine.Apply(ctx, Op{Key: sessionKey(subject, id), Value: appendTime([]byte{1}, s.now())}); err != nil {
		return err
	}
	listed, err := s.engine.Scan(ctx, tableSession, string(subject[:]), "", manySessions+1)
	if err != nil || len(listed) <= manySessions {
		return err
	}
	var gone []Op
	for _, it := range listed {
		r := readRecord(tableSession, it.Value, 1)
		listed := r.time()
		if err := r.end(); err != nil {
			return err
		}
		if s.now().Sub(listed) < sessionGrace {
			continue
		}
		_, err := s.engine.Get(ctx, Key{Table: tableFamily, Part: it.Key.Sub})
		switch {
		case errors.Is(err, ErrNotFound):
			gone = append(gone, Op{Key: it.Key, Delete: true, Guard: true, If: it.Version})
		case err != nil:
			return err
		}
	}
	if len(gone) == 0 {
		return nil
	}
	if err := s.engine.Apply(ctx, gone...); err != nil && !errors.Is(err, ErrConflict) {
		return err
	}
	return nil
}

// Sessions returns the families of a subject that are there, revoked ones too, in
// the order of their ids.
func (s *Store) Sessions(ctx context.Context, subject [16]byte) ([]Session, error) {
	var all []Session
	err := s.eachSession(ctx, subject, func(one Session) error {
		all = append(all, one)
		return nil
	})
	return all, err
}

// eachSession hands out the sessions of a subject; emit's error ends it.
func (s *Store) eachSession(ctx context.Context, subject [16]byte, emit func(Session) error) error {
	return s.scanAll(ctx, tableSession, string(subject[:]), func(it Item) error {
		if len(it.Key.Sub) != 16 {
			return nil // nobody writes such a key; the family it stands for can't be either
		}
		id := [16]byte([]byte(it.Key.Sub))
		f, err := s.Family(ctx, id)
		switch {
		case errors.Is(err, ErrNotFound):
			return nil
		case err != nil:
			return err
		}
		return emit(Session{ID: id, Family: f})
	})
}
