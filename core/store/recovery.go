package store

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/souk-market/souk/core/store/audit"
)

// Recovery is what is known of the last time when the store was made anew from a
// backup. What happened between the backup and then is forgotten, so nobody can tell
// whether a one-time thing of that time was used.
type Recovery struct {
	// At: codes, links and subject tokens that were issued until then are refused.
	At time.Time
	// Ended: access tokens that were issued until the end of this second are refused
	// too; zero = none are.
	Ended time.Time
}

// Recovery returns what Open has found; it is zero for a store that never was
// recovered.
func (s *Store) Recovery() Recovery { return *s.recovery.Load() }

// SetRecovery notes a recovery, before anybody else uses the store. What an earlier
// one has ended stays ended.
func (s *Store) SetRecovery(ctx context.Context, r Recovery) error {
	_, err := s.engine.Update(ctx, recoveryKey(), func(cur *Item) (*Write, error) {
		r := Recovery{At: Millis(r.At), Ended: Millis(r.Ended)}
		if cur != nil {
			before, err := decodeRecovery(cur.Value)
			if err != nil {
				return nil, err
			}
			r.At, r.Ended = latest(before.At, r.At), latest(before.Ended, r.Ended)
		}
		return &Write{Value: encodeRecovery(r)}, nil
	})
	if err != nil {
		return err
	}
	return s.loadRecovery(ctx)
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func (s *Store) loadRecovery(ctx context.Context) error {
	switch it, err := s.engine.Get(ctx, recoveryKey()); {
	case errors.Is(err, ErrNotFound):
		return nil
	case err != nil:
		return fmt.Errorf("read the recovery: %w", err)
	default:
		r, err := decodeRecovery(it.Value)
		if err == nil {
			s.recovery.Store(&r)
		}
		return err
	}
}

// EndFamily ends a sign-in for good, whether the store has it or not: its access
// tokens are refused until the given time, and its refresh tokens are worth nothing.
// It says whether a sign-in that was active ended.
func (s *Store) EndFamily(ctx context.Context, id [16]byte, until time.Time) (ended bool, err error) {
	if until.After(s.now()) {
		if err := s.Revoke(ctx, id, until); err != nil {
			return false, err
		}
	}
	var was atomic.Bool // the last run of f decides, and it has returned when UpdateFamily does
	_, err = s.UpdateFamily(ctx, id, func(f Family) (Family, time.Time, bool, error) {
		was.Store(f.State == Active)
		f.State = Revoked
		return f, time.Time{}, was.Load(), nil
	})
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	return was.Load() && err == nil, err
}

// EndAccount raises the account's epoch to at least this one, ends its sign-ins of
// older ones, and takes its devices off, as a sign-out everywhere does. It makes an
// account that the store does not have: the next sign-in must not begin at an epoch
// that was over. It returns how many sign-ins ended.
func (s *Store) EndAccount(ctx context.Context, account string, epoch uint32, until time.Time) (ended int, err error) {
	a, err := s.UpdateAccount(ctx, account, func(a *Account) (bool, error) {
		if a.Epoch >= epoch {
			return false, nil
		}
		a.Epoch = epoch
		a.Devices, a.Held = nil, nil
		return true, nil
	})
	if err != nil {
		return 0, err
	}
	all, err := s.Sessions(ctx, SubjectID(account))
	if err != nil {
		return 0, err
	}
	for _, one := range all {
		if one.Family.State != Active || one.Family.Epoch == a.Epoch {
			continue
		}
		if _, err := s.EndFamily(ctx, one.ID, until); err != nil {
			return ended, err
		}
		ended++
	}
	return ended, s.SignedOut(ctx, SubjectID(account), a.Epoch)
}

// Replayed says what ReplayClient has done.
type Replayed struct {
	Client  string
	Changed bool
	Secret  bool // the client needs another secret: the one in the backup was replaced
}

// ReplayClient does again what an entry of the audit takes from a client: its state,
// its sign-ins, its secret, the market, redirect URIs. Nothing is given: the store may
// be of a time before the entry, and who was given what is not safe to guess. What is
// newer than the entry has its change already and stays as it is.
//
// Of a client that the store does not have an ended one remains, if its sign-ins ever
// ended: whoever registers it again must not begin at an epoch that was over. A secret
// that was rotated makes room for one that nobody has: no log has the new one.
func (s *Store) ReplayClient(ctx context.Context, e audit.Entry) (r Replayed, err error) {
	r.Client = e.Detail[detailClient]
	since := time.Time{}
	if text, ok := e.Detail[detailUnchanged]; ok {
		if since, err = time.Parse(time.RFC3339Nano, text); err != nil {
			return r, fmt.Errorf("store: %s: %w", detailUnchanged, err)
		}
	}
	if r.Client == "" {
		return r, fmt.Errorf("store: entry of kind %s without a client", e.Kind)
	}
	var nobodys [32]byte
	_, _ = rand.Read(nobodys[:]) // never fails
	var changed, secret atomic.Bool
	_, err = s.engine.Update(ctx, clientKey(r.Client), func(cur *Item) (*Write, error) {
		changed.Store(false)
		secret.Store(false)
		before := Client{ID: r.Client, State: ClientRemoved, Kind: NativeClient, Created: since, Changed: since}
		if cur != nil {
			var err error
			if before, err = decodeClient(r.Client, cur.Value); err != nil || before.Changed.After(since) {
				return nil, err
			}
		}
		next := before
		if err := next.narrow(e, nobodys); err != nil {
			return nil, err
		}
		if bytes.Equal(encodeClient(next), encodeClient(before)) {
			return nil, nil
		}
		if err := next.check(); err != nil {
			return nil, err
		}
		changed.Store(true)
		secret.Store(next.Secret == nobodys)
		return &Write{Value: encodeClient(next)}, nil
	})
	r.Changed, r.Secret = changed.Load(), secret.Load()
	return r, err
}

// narrow takes from a client what an entry says was taken from it. When it was changed
// stays: of several entries none must hide the next.
func (c *Client) narrow(e audit.Entry, nobodys [32]byte) error {
	c.Epoch = max(c.Epoch, e.Epoch)
	if c.State == ClientRemoved {
		return nil
	}
	switch e.Kind {
	case audit.ClientRemoved, audit.ClientRegistered: // where one is registered there is none
		c.remove()
	case audit.ClientDisabled:
		c.State = ClientDisabled
	case audit.ClientSecretRotated:
		if c.Kind == ConfidentialClient {
			c.Secret = nobodys
		}
	case audit.ClientChanged:
		if e.Detail["market"] == "false" {
			c.Market = false
		}
		if text, ok := e.Detail["scope"]; ok {
			scope, err := strconv.ParseUint(text, 16, 32)
			if err != nil {
				return fmt.Errorf("store: scope: %w", err)
			}
			c.Scope &= uint32(scope)
		}
		c.RedirectURIs = missing(c.RedirectURIs, e.Removed) // with none left nobody can sign in to it
	}
	return nil
}

// ReplayLicenses ends the licences that an entry of the audit says were revoked, and
// returns how many. Of an item's those end that had been issued by then.
func (s *Store) ReplayLicenses(ctx context.Context, e audit.Entry) (ended int, err error) {
	if e.Subject == (audit.ID{}) {
		return s.revokeItem(ctx, e.Item, func(l License) bool { return !l.Issued.After(e.Time) }, true)
	}
	return s.revokeLicenses(ctx, licenseKey(e.Subject, e.Item), func(l License) bool {
		return slices.Contains(e.Removed, strconv.FormatUint(l.ID, 10))
	}, true)
}

// EndSince ends every sign-in that was begun or refreshed at this time or later, and
// returns how many there were. Their access tokens are Recovery's matter.
func (s *Store) EndSince(ctx context.Context, since time.Time) (ended int, err error) {
	var n atomic.Int64
	err = s.eachRecord(ctx, func(it Item) error {
		if it.Key.Table != tableFamily {
			return nil
		}
		f, err := decodeFamily(it.Value)
		if err != nil || f.State != Active || f.Created.Before(since) && f.RotatedAt.Before(since) {
			return err
		}
		was, err := s.EndFamily(ctx, [16]byte([]byte(it.Key.Part)), time.Time{})
		if was {
			n.Add(1)
		}
		return err
	})
	return int(n.Load()), err
}

// nobody is a client that no token can be bound to otherwise.
const nobody = "\x00nobody"

// BurnSubjectTokens binds the subject tokens that nobody has shown yet to nobody: as
// far as this store knows they were not shown, and somebody may have since. It returns
// how many there were.
func (s *Store) BurnSubjectTokens(ctx context.Context) (burned int, err error) {
	var n atomic.Int64
	err = s.eachRecord(ctx, func(it Item) error {
		if it.Key.Table != tableSubjectToken {
			return nil
		}
		t, err := decodeSubjectToken(it.Value)
		if err != nil || t.Client != "" {
			return err
		}
		n.Add(1)
		_, err = s.BindSubjectToken(ctx, [32]byte([]byte(it.Key.Part)), nobody)
		if errors.Is(err, ErrNotFound) { // it has expired meanwhile
			return nil
		}
		return err
	})
	return int(n.Load()), err
}

// Mark, Dump and DumpSince are the engine's: a backup takes all records as they are.
func (s *Store) Mark(ctx context.Context, name [16]byte) error { return s.engine.Mark(ctx, name) }

// Dump hands out every live record; see Engine.
func (s *Store) Dump(ctx context.Context, emit func(Item) error) error {
	return s.engine.Dump(ctx, emit)
}

// DumpSince hands out what has changed since a mark; see Engine.
func (s *Store) DumpSince(ctx context.Context, name [16]byte, emit func(it Item, gone bool) error) error {
	return s.engine.DumpSince(ctx, name, emit)
}

// Size is about how many bytes the records take; 0 where the engine can't tell.
func (s *Store) Size() int64 {
	if e, ok := s.engine.(interface{ Size() int64 }); ok {
		return e.Size()
	}
	return 0
}

// kinds are what the tables hold, in words.
var kinds = map[byte]string{
	tableCatalog: "apps", tableFamily: "sign-ins", tableAccountIndex: "names of accounts", tableKeyRing: "key ring", tableMeta: "format",
	tablePlugin: "records of plugins", tableSession: "lists of sign-ins", tableSubjectToken: "subject tokens", tableAccount: "accounts",
	tableRevocation: "revocations", tableClient: "clients", tableAttempts: "failed attempts", tableLicense: "licences",
	tableOperator: "settings of the operator", tableSignOut: "sign-outs under way", tableNumber: "numbers of licences", tableHolder: "holders of licences",
}

// Kind says what a table holds, in a word or two.
func Kind(table byte) string {
	if k := kinds[table]; k != "" {
		return k
	}
	return fmt.Sprintf("table %c", table)
}

// SealedRing returns the value of a record that is the key ring.
func SealedRing(it Item) (ring []byte, ok bool) { return it.Value, it.Key == keyRingKey() }

func encodeRecovery(r Recovery) []byte { return appendTime(appendTime([]byte{1}, r.At), r.Ended) }

func decodeRecovery(b []byte) (Recovery, error) {
	r := readRecord(tableMeta, b, 1)
	v := Recovery{At: r.time(), Ended: r.time()}
	if err := r.end(); err != nil {
		return Recovery{}, err
	}
	return v, nil
}
