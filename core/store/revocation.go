package store

import (
	"context"
	"fmt"
	"time"
)

// Revocation says that access tokens of a family, or of a subject, are worth
// nothing. It is kept until the last of them would have run out by itself.
type Revocation struct {
	ID    [16]byte
	Until time.Time
}

// Revoke refuses the access tokens of a family; RevokeFamily, which writes it down,
// ends the whole sign-in. It stores the revocation and puts it into this node's RevocationSet, there
// before it is durable: when in doubt a token is refused. Revoking again can only
// make it last longer.
func (s *Store) Revoke(ctx context.Context, id [16]byte, until time.Time) error {
	s.revoked.add(Revocation{ID: id, Until: until})
	_, err := s.engine.Update(ctx, revocationKey(id), func(cur *Item) (*Write, error) {
		if cur != nil {
			before, err := decodeRevocation(cur.Value)
			if err != nil {
				return nil, err
			}
			if !until.After(before) {
				return nil, nil
			}
		}
		return &Write{Value: encodeRevocation(until), Expires: until}, nil
	})
	return err
}

// Revocations returns all that are still in force.
func (s *Store) Revocations(ctx context.Context) ([]Revocation, error) {
	var all []Revocation
	err := s.scanAll(ctx, tableRevocation, partRevocations, func(it Item) error {
		if len(it.Key.Sub) != 16 {
			return fmt.Errorf("store: table %c: key %x is no family id", tableRevocation, it.Key.Sub)
		}
		until, err := decodeRevocation(it.Value)
		if err != nil {
			return err
		}
		all = append(all, Revocation{ID: [16]byte([]byte(it.Key.Sub)), Until: until})
		return nil
	})
	return all, err
}

// RevocationSet returns the set that this Store keeps up to date.
func (s *Store) RevocationSet() *RevocationSet { return s.revoked }

// loadRevocations adds what is stored to the set. It never takes anything away: a
// Revoke may have come in between.
func (s *Store) loadRevocations(ctx context.Context) error {
	began := s.now()
	all, err := s.Revocations(ctx)
	if err != nil {
		return fmt.Errorf("load revocations: %w", err)
	}
	for _, r := range all {
		s.revoked.add(r)
	}
	s.revoked.loaded.Store(began.UnixMilli())
	return nil
}

// RevocationsKnown is the moment up to which this node knows all revocations. On a
// single node that is now; with others it is when the table was last read.
func (s *Store) RevocationsKnown() time.Time {
	if !s.shared {
		return s.now()
	}
	return time.UnixMilli(s.revoked.loaded.Load()).UTC()
}

func encodeRevocation(until time.Time) []byte { return appendTime([]byte{1}, until) }

func decodeRevocation(b []byte) (time.Time, error) {
	r := readRecord(tableRevocation, b, 1)
	until := r.time()
	return until, r.end()
}
