package store

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/souk-market/souk/core/store/audit"
)

// FamilyState says whether a family's refresh tokens are worth anything. A revoked
// family stays until it expires: a delete could come undone, a state can't.
type FamilyState byte

const (
	Active  FamilyState = 1
	Revoked FamilyState = 2
)

// Family is one sign-in: all the refresh tokens that descend from one code. It is
// created when the code is redeemed, which is how a code can be redeemed once, and
// rewritten at each refresh. No token is in it.
type Family struct {
	State      FamilyState
	KID        byte // key of the newest tokens
	Class      byte // kind of client, which decides the lives of its tokens
	Audience   byte
	Generation uint32 // of the newest refresh token
	RotatedAt  time.Time
	Created    time.Time
	Subject    [16]byte
	Client     [16]byte
	Scope      uint32
	Epoch      uint32    // the account's when the family was created
	Late       [2]uint32 // generations at which a late retry was answered
}

// Family returns the family, or ErrNotFound.
func (s *Store) Family(ctx context.Context, id [16]byte) (Family, error) {
	it, err := s.engine.Get(ctx, familyKey(id))
	if err != nil {
		return Family{}, err
	}
	return decodeFamily(it.Value)
}

// CreateFamily creates the family unless it exists; then it returns the one that
// does. Of many at once exactly one creates it. A zero expires is never. The sign-in
// is written down first, and a family that is created revoked as a burned code.
func (s *Store) CreateFamily(ctx context.Context, id [16]byte, f Family, expires time.Time) (created bool, existing Family, err error) {
	if err := f.check(); err != nil {
		return false, Family{}, err
	}
	if s.audit != nil { // a code that comes again is no sign-in: it leaves no entry
		switch existing, err := s.Family(ctx, id); {
		case err == nil:
			return false, existing, nil
		case !errors.Is(err, ErrNotFound):
			return false, Family{}, err
		}
		e := audit.Entry{Kind: audit.SignedIn, Subject: f.Subject, Client: f.Client, Family: id, Epoch: f.Epoch}
		if f.State != Active {
			e.Kind, e.Epoch = audit.CodeBurned, 0
		}
		if err := s.Audit(ctx, e); err != nil {
			return false, Family{}, err
		}
	}
	// The list first: a crash in between leaves an entry without a family, which
	// Sessions passes over. The other way round it would leave a sign-in that nobody
	// finds to end it.
	if f.State == Active {
		if err := s.listFamily(ctx, f.Subject, id); err != nil {
			return false, Family{}, fmt.Errorf("list family: %w", err)
		}
	}
	_, err = s.engine.Update(ctx, familyKey(id), func(cur *Item) (*Write, error) {
		if cur != nil {
			return nil, existsError{*cur}
		}
		return &Write{Value: encodeFamily(f), Expires: expires}, nil
	})
	if found, ok := errors.AsType[existsError](err); ok {
		existing, err = decodeFamily(found.item.Value)
		return false, existing, err
	}
	return err == nil, Family{}, err
}

// UpdateFamily lets f decide what becomes of the family and returns it as it then
// stands. A zero expires keeps the present one. f's error is returned as it is and
// nothing is written; without change nothing is written either. f must be pure, as
// an UpdateFunc. A change that ends the family is written down first, and f runs
// again then; RevokeFamily ends its access tokens too.
func (s *Store) UpdateFamily(ctx context.Context, id [16]byte, f func(cur Family) (next Family, expires time.Time, change bool, err error)) (Family, error) {
	family, err := s.updateFamily(ctx, id, f, false)
	if _, ends := errors.AsType[*unwritten](err); !ends {
		return family, err // nearly always
	}
	return s.endFamily(ctx, id, f)
}

// endFamily is UpdateFamily where it ends the family.
func (s *Store) endFamily(ctx context.Context, id [16]byte, f func(Family) (Family, time.Time, bool, error)) (family Family, err error) {
	err = s.firstWrite(ctx, func(written []audit.Entry) (err error) {
		family, err = s.updateFamily(ctx, id, f, len(written) > 0)
		return err
	})
	return family, err
}

// updateFamily is UpdateFamily; ending says that its end was written down.
func (s *Store) updateFamily(ctx context.Context, id [16]byte, f func(Family) (Family, time.Time, bool, error), ending bool) (Family, error) {
	it, err := s.engine.Update(ctx, familyKey(id), func(cur *Item) (*Write, error) {
		if cur == nil {
			return nil, ErrNotFound
		}
		family, err := decodeFamily(cur.Value)
		if err != nil {
			return nil, err
		}
		next, expires, change, err := f(family)
		if err != nil || !change {
			return nil, err
		}
		if err := next.check(); err != nil {
			return nil, err
		}
		if s.audit != nil && !ending && family.State == Active && next.State == Revoked {
			return nil, &unwritten{[]audit.Entry{{Kind: audit.FamilyRevoked, Subject: family.Subject, Client: family.Client, Family: id}}}
		}
		if expires.IsZero() {
			expires = cur.Expires
		}
		return &Write{Value: encodeFamily(next), Expires: expires}, nil
	})
	if err != nil {
		return Family{}, err
	}
	return decodeFamily(it.Value)
}

// Ending says how RevokeFamily ends a family.
type Ending struct {
	Why string // for the entry: no token and nothing that a stranger has written
	// Until is when the last access token runs out; those in the past need no
	// revocation.
	Until time.Time
	// Expires is when the record may be forgotten; nil = as before.
	Expires func(Family) time.Time
}

// RevokeFamily ends a sign-in and returns its family. It is written down first; then
// the access tokens go, then the family. If the process dies between the two, what
// is left is a refresh token, and using it gives access tokens that are refused. A
// family that has ended already is not written down again.
func (s *Store) RevokeFamily(ctx context.Context, id [16]byte, end Ending) (Family, error) {
	f, err := s.Family(ctx, id)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return Family{}, err
	}
	if f.State != Revoked && s.audit != nil {
		e := audit.Entry{Kind: audit.FamilyRevoked, Subject: f.Subject, Client: f.Client, Family: id, Until: Millis(end.Until), Detail: map[string]string{"why": end.Why}}
		if err := s.Audit(ctx, e); err != nil {
			return Family{}, err
		}
	}
	if end.Until.After(s.now()) {
		if err := s.Revoke(ctx, id, end.Until); err != nil {
			return Family{}, err
		}
	}
	return s.updateFamily(ctx, id, func(f Family) (Family, time.Time, bool, error) {
		if f.State == Revoked {
			return f, time.Time{}, false, nil
		}
		f.State = Revoked
		var expires time.Time
		if end.Expires != nil {
			expires = end.Expires(f)
		}
		return f, expires, true, nil
	}, true)
}

func (f Family) check() error {
	if f.State != Active && f.State != Revoked {
		return fmt.Errorf("store: family with the state %d", f.State)
	}
	return nil
}

const familySize = 73

func encodeFamily(f Family) []byte {
	b := make([]byte, 0, familySize)
	b = append(b, 1, byte(f.State), f.KID, f.Class, f.Audience)
	b = binary.BigEndian.AppendUint32(b, f.Generation)
	b = appendTime(b, f.RotatedAt)
	b = appendTime(b, f.Created)
	b = append(b, f.Subject[:]...)
	b = append(b, f.Client[:]...)
	b = binary.BigEndian.AppendUint32(b, f.Scope)
	b = binary.BigEndian.AppendUint32(b, f.Epoch)
	b = binary.BigEndian.AppendUint32(b, f.Late[0])
	return binary.BigEndian.AppendUint32(b, f.Late[1])
}

func decodeFamily(b []byte) (Family, error) {
	r := readRecord(tableFamily, b, 1)
	f := Family{
		State:      FamilyState(r.byte()),
		KID:        r.byte(),
		Class:      r.byte(),
		Audience:   r.byte(),
		Generation: r.uint32(),
		RotatedAt:  r.time(),
		Created:    r.time(),
		Subject:    r.id(),
		Client:     r.id(),
		Scope:      r.uint32(),
		Epoch:      r.uint32(),
		Late:       [2]uint32{r.uint32(), r.uint32()},
	}
	if f.State != Active && f.State != Revoked {
		r.fail()
	}
	if err := r.end(); err != nil {
		return Family{}, err
	}
	return f, nil
}
