package store

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/souk-market/souk/core/store/audit"
)

// ErrBound means that a subject token belongs to another client already.
var ErrBound = errors.New("store: token is bound to another client")

// SubjectToken is a token that someone may exchange (RFC 8693). It is known by its
// hash alone, and belongs to the first client that presents it.
type SubjectToken struct {
	Account string
	Client  string // empty until bound
	Foreign bool   // issued by someone else
	Epoch   uint32 // the account's when the token was issued, or first seen
}

// PutSubjectToken stores a token that was just issued, which is written down first. A token with that hash that
// is there already stays as it is, so a retry does no harm.
func (s *Store) PutSubjectToken(ctx context.Context, hash [32]byte, t SubjectToken, expires time.Time) error {
	if err := t.check(); err != nil {
		return err
	}
	err := s.Audit(ctx, audit.Entry{Kind: audit.TokenMinted, Account: t.Account, Subject: SubjectID(t.Account), Until: Millis(expires)})
	if err != nil {
		return err
	}
	_, err = s.engine.Update(ctx, subjectTokenKey(hash), func(cur *Item) (*Write, error) {
		if cur != nil {
			return nil, nil
		}
		return &Write{Value: encodeSubjectToken(t), Expires: expires}, nil
	})
	return err
}

// SubjectToken returns the token with this hash, or ErrNotFound.
func (s *Store) SubjectToken(ctx context.Context, hash [32]byte) (SubjectToken, error) {
	it, err := s.engine.Get(ctx, subjectTokenKey(hash))
	if err != nil {
		return SubjectToken{}, err
	}
	return decodeSubjectToken(it.Value)
}

// BindSubjectToken binds the token to the first client that asks. The same client
// may ask again; another gets ErrBound, and an unknown token is ErrNotFound.
func (s *Store) BindSubjectToken(ctx context.Context, hash [32]byte, client string) (SubjectToken, error) {
	return s.claim(ctx, hash, client, func() (*Write, error) { return nil, ErrNotFound })
}

// ClaimSubjectToken is BindSubjectToken for a token that was not stored when it was
// issued, by someone else or sealed: the first time it is seen it is stored, bound
// to its client.
func (s *Store) ClaimSubjectToken(ctx context.Context, hash [32]byte, t SubjectToken, expires time.Time) (SubjectToken, error) {
	if err := t.check(); err != nil {
		return SubjectToken{}, err
	}
	return s.claim(ctx, hash, t.Client, func() (*Write, error) {
		return &Write{Value: encodeSubjectToken(t), Expires: expires}, nil
	})
}

func (s *Store) claim(ctx context.Context, hash [32]byte, client string, absent func() (*Write, error)) (SubjectToken, error) {
	if client == "" {
		return SubjectToken{}, errors.New("store: bind a subject token: no client given")
	}
	if err := checkText("client", client, maxClient); err != nil {
		return SubjectToken{}, err
	}
	it, err := s.engine.Update(ctx, subjectTokenKey(hash), func(cur *Item) (*Write, error) {
		if cur == nil {
			return absent()
		}
		t, err := decodeSubjectToken(cur.Value)
		switch {
		case err != nil:
			return nil, err
		case t.Client == client:
			return nil, nil
		case t.Client != "":
			return nil, ErrBound
		}
		t.Client = client
		return &Write{Value: encodeSubjectToken(t), Expires: cur.Expires}, nil
	})
	if err != nil {
		return SubjectToken{}, err
	}
	return decodeSubjectToken(it.Value)
}

const maxClient = 255

func (t SubjectToken) check() error {
	return errors.Join(checkText("account", t.Account, maxAccount), checkText("client", t.Client, maxClient))
}

func checkText(what, s string, limit int) error {
	if len(s) > limit {
		return fmt.Errorf("%w: %s of %d bytes, at most %d", ErrLimit, what, len(s), limit)
	}
	return nil
}

func encodeSubjectToken(t SubjectToken) []byte {
	b := appendFlag([]byte{1}, t.Foreign)
	b = binary.BigEndian.AppendUint32(b, t.Epoch)
	b = appendText(b, t.Account)
	return appendText(b, t.Client)
}

func decodeSubjectToken(b []byte) (SubjectToken, error) {
	r := readRecord(tableSubjectToken, b, 1)
	t := SubjectToken{Foreign: r.flag(), Epoch: r.uint32(), Account: r.text(), Client: r.text()}
	if err := r.end(); err != nil {
		return SubjectToken{}, err
	}
	return t, nil
}
