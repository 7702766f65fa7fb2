package store

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/souk-market/souk/core/store/audit"
)

// MaxLicenses is how many devices of one account have a licence for one item.
const MaxLicenses = 256

var (
	// ErrLicenseLimit means that other devices of the account have as many licences
	// for the item as there may be.
	ErrLicenseLimit = errors.New("store: no licence left")
	// ErrLicenseRevoked means that the licence was revoked; it stays so.
	ErrLicenseRevoked = errors.New("store: licence is revoked")
	// ErrLicenseID means that the id belongs to another licence: choose another.
	ErrLicenseID = errors.New("store: licence id is taken")
)

// License says that a device of an account may run an item for a while. Times are
// whole seconds.
type License struct {
	ID      uint64 // chosen at random by who issues; never 0
	Item    uint64
	Device  [16]byte
	Revoked bool
	Issued  time.Time
	Renewed time.Time // of the last renewal, or when it was issued
	Expires time.Time
}

// Good says whether the licence counts: an expired one may be renewed, a revoked
// one may not.
func (l *License) Good(now time.Time) bool { return !l.Revoked && now.Before(l.Expires) }

const (
	licenseKept  = 30 * 24 * time.Hour  // that a record stays behind its last licence: so long an expired one can be renewed
	numberKept   = 180 * 24 * time.Hour // the same of a number, moved on when half of it is over
	holderGrace  = time.Hour            // an entry so young may be of a licence that is about to be issued
	holderParts  = 64                   // of the list of an item's holders
	maxGoneAtOne = MaxOps / 2
)

// IssueLicense issues a licence for l.Item to l.Device until l.Expires, and returns
// it. A device that has a good one gets that again, whatever else l says, so a
// retry has the same answer. most is how many devices of the account may have one,
// 0 = MaxLicenses; above it is ErrLicenseLimit. The caller has asked policy before,
// and whoever takes an entitlement away writes that first and revokes then: what
// was issued in between ends at its renewal, where policy is asked again.
//
// Three records, of which the last is the licence: its number and the list of the
// item's holders come first. A crash in between leaves a number that nobody was
// told and an entry that is passed over; the other way round it would leave a
// licence that nobody can renew, or find to revoke it.
func (s *Store) IssueLicense(ctx context.Context, subject [16]byte, l License, most int) (License, error) {
	if l.ID == 0 || l.Item == 0 {
		return License{}, errors.New("store: issue a licence: no id or no item given")
	}
	if err := s.checkLicense(l.Expires); err != nil {
		return License{}, err
	}
	key := licenseKey(subject, l.Item)
	it, err := s.engine.Get(ctx, key)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return License{}, err
	}
	if err == nil { // who is refused, or has one, writes nothing
		list, err := decodeLicenses(it)
		if err != nil {
			return License{}, err
		}
		switch _, change, err := s.issue(list, l, most); {
		case err != nil:
			return License{}, err
		case !change:
			return given(list, l.Device), nil
		}
	}
	if err := s.numberLicense(ctx, subject, l); err != nil {
		return License{}, err
	}
	if err := s.listHolder(ctx, l.Item, subject); err != nil {
		return License{}, fmt.Errorf("list licence: %w", err)
	}
	list, err := s.changeLicenses(ctx, key, func(list []License) ([]License, bool, error) { return s.issue(list, l, most) })
	return given(list, l.Device), err
}

// checkLicense refuses an end that has come already, or that no record can hold.
func (s *Store) checkLicense(expires time.Time) error {
	if !expires.Truncate(time.Second).After(s.now()) || expires.Unix() > math.MaxUint32 {
		return fmt.Errorf("store: licence that expires at %v: has to be in the future, and before 2106", expires)
	}
	return nil
}

// issue decides over the licences of an account for an item. A device has one place
// in the list; what is no longer good makes room where the list is full.
func (s *Store) issue(list []License, l License, most int) (next []License, change bool, err error) {
	now := s.now()
	if have := given(list, l.Device); have.Good(now) {
		return list, false, nil
	}
	if slices.ContainsFunc(list, func(have License) bool { return have.ID == l.ID }) {
		return nil, false, ErrLicenseID // it has ended, and must not come back
	}
	if !roomFor(list, most, now) {
		return nil, false, ErrLicenseLimit
	}
	l.Revoked, l.Issued, l.Renewed = false, now, now
	next = slices.DeleteFunc(slices.Clone(list), func(have License) bool {
		return have.Device == l.Device || len(list) >= MaxLicenses && !have.Good(now)
	})
	return append(next, l), true, nil
}

// roomFor says whether the good licences leave one for a device that has none.
func roomFor(list []License, most int, now time.Time) bool {
	if most <= 0 || most > MaxLicenses {
		most = MaxLicenses
	}
	for _, have := range list {
		if have.Good(now) {
			most--
		}
	}
	return most > 0
}

// given is the licence of a device, or the zero one.
func given(list []License, device [16]byte) License {
	for _, have := range list {
		if have.Device == device {
			return have
		}
	}
	return License{}
}

// RenewLicense makes a licence last until expires and returns it; one that lasts so
// long already stays as it is, so a retry does no harm. One that has expired takes
// its place again if others have left one. Unknown and forgotten ids are
// ErrNotFound.
func (s *Store) RenewLicense(ctx context.Context, id uint64, expires time.Time, most int) (License, error) {
	if err := s.checkLicense(expires); err != nil {
		return License{}, err
	}
	key, err := s.numbered(ctx, id, expires)
	if err != nil {
		return License{}, err
	}
	list, err := s.changeLicenses(ctx, key, func(list []License) ([]License, bool, error) {
		at := slices.IndexFunc(list, func(l License) bool { return l.ID == id })
		now := s.now()
		switch {
		case at < 0:
			return nil, false, ErrNotFound
		case list[at].Revoked:
			return nil, false, ErrLicenseRevoked
		case !list[at].Expires.Before(expires.Truncate(time.Second)):
			return list, false, nil
		case !list[at].Good(now) && !roomFor(list, most, now):
			return nil, false, ErrLicenseLimit
		}
		next := slices.Clone(list)
		next[at].Renewed, next[at].Expires = now, expires
		return next, true, nil
	})
	for _, l := range list {
		if l.ID == id {
			return l, err
		}
	}
	return License{}, err
}

// License returns a licence and whose it is, or ErrNotFound.
func (s *Store) License(ctx context.Context, id uint64) (subject [16]byte, l License, err error) {
	key, err := s.numbered(ctx, id, time.Time{})
	if err != nil {
		return subject, License{}, err
	}
	subject = [16]byte([]byte(key.Part))
	it, err := s.engine.Get(ctx, key)
	if err != nil {
		return subject, License{}, err
	}
	list, err := decodeLicenses(it)
	for _, l := range list {
		if l.ID == id {
			return subject, l, nil
		}
	}
	return subject, License{}, errors.Join(err, ErrNotFound)
}

// Licenses returns the licences of an account, in the order of the items and of
// one item in that in which they were issued.
func (s *Store) Licenses(ctx context.Context, subject [16]byte) ([]License, error) {
	var all []License
	err := s.scanAll(ctx, tableLicense, string(subject[:]), func(it Item) error {
		list, err := decodeLicenses(it)
		all = append(all, list...)
		return err
	})
	return all, err
}

// ItemLicenses hands out the licences for an item, account after account; emit's
// error ends it. Entries of accounts that have none any more are taken out.
func (s *Store) ItemLicenses(ctx context.Context, item uint64, emit func(subject [16]byte, l License) error) error {
	for n := range holderParts {
		var gone []Op
		err := s.scanAll(ctx, tableHolder, holderPart(item, byte(n)), func(entry Item) error {
			if len(entry.Key.Sub) != 16 {
				return fmt.Errorf("store: table %c: key %x is no account", tableHolder, entry.Key.Sub)
			}
			subject := [16]byte([]byte(entry.Key.Sub))
			listed, err := decodeHolder(entry.Value)
			if err != nil {
				return err
			}
			it, err := s.engine.Get(ctx, licenseKey(subject, item))
			if errors.Is(err, ErrNotFound) {
				if s.now().Sub(listed) >= holderGrace && len(gone) < maxGoneAtOne {
					gone = append(gone, Op{Key: entry.Key, Delete: true, Guard: true, If: entry.Version})
				}
				return nil
			} else if err != nil {
				return err
			}
			list, err := decodeLicenses(it)
			if err != nil {
				return err
			}
			for _, l := range list {
				if err := emit(subject, l); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		if len(gone) > 0 {
			if err := s.engine.Apply(ctx, gone...); err != nil && !errors.Is(err, ErrConflict) {
				return err
			}
		}
	}
	return nil
}

// RevokeLicense ends one licence; doing it twice does no harm. The end of a licence
// is written down first, here and below; that one was issued or renewed is not: it
// follows from what the account was granted and what policy says, as an install does.
func (s *Store) RevokeLicense(ctx context.Context, id uint64) error {
	key, err := s.numbered(ctx, id, time.Time{})
	if err != nil {
		return err
	}
	if _, err := s.revokeLicenses(ctx, key, func(l License) bool { return l.ID == id }, false); err != nil {
		return err
	}
	_, _, err = s.License(ctx, id) // it may have been forgotten
	return err
}

// RevokeLicenses ends the licences of an account that match, all for a nil match,
// and returns how many. It is one update for each item; after an error it can be
// repeated.
func (s *Store) RevokeLicenses(ctx context.Context, subject [16]byte, match func(License) bool) (ended int, err error) {
	err = s.scanAll(ctx, tableLicense, string(subject[:]), func(it Item) error {
		n, err := s.revokeLicenses(ctx, it.Key, match, false)
		ended += n
		return err
	})
	return ended, err
}

// RevokeItem ends all licences for an item, and returns how many. That is one entry,
// whoever has them: one for each account would push all others out of the log.
func (s *Store) RevokeItem(ctx context.Context, item uint64) (ended int, err error) {
	return s.revokeItem(ctx, item, nil, s.audit == nil)
}

// revokeItem ends the licences for an item that match. written says that this is
// written down, or need not be.
func (s *Store) revokeItem(ctx context.Context, item uint64, match func(License) bool, written bool) (ended int, err error) {
	var last [16]byte
	err = s.ItemLicenses(ctx, item, func(subject [16]byte, l License) error {
		if subject == last || l.Revoked || match != nil && !match(l) {
			return nil
		}
		if !written {
			if err := s.Audit(ctx, audit.Entry{Kind: audit.LicenseRevoked, Item: item}); err != nil {
				return err
			}
			written = true
		}
		last = subject
		n, err := s.revokeLicenses(ctx, licenseKey(subject, item), match, true)
		ended += n
		return err
	})
	return ended, err
}

// revokeLicenses writes over the state of those in one record that match. How many
// that were is read off the record before and after, since f may run again: two
// that revoke at the same moment may both count one. told says that it is written
// down.
func (s *Store) revokeLicenses(ctx context.Context, key Key, match func(License) bool, told bool) (ended int, err error) {
	it, err := s.engine.Get(ctx, key)
	if errors.Is(err, ErrNotFound) {
		return 0, nil
	} else if err != nil {
		return 0, err
	}
	before, err := decodeLicenses(it)
	if err != nil {
		return 0, err
	}
	var after []License
	err = s.firstWrite(ctx, func(written []audit.Entry) (err error) {
		after, err = s.changeLicenses(ctx, key, func(list []License) (next []License, change bool, err error) {
			var ids []string
			next = slices.Clone(list)
			for i := range next {
				if !next[i].Revoked && (match == nil || match(next[i])) {
					next[i].Revoked = true
					ids = append(ids, strconv.FormatUint(next[i].ID, 10))
				}
			}
			if s.audit != nil && !told && len(ids) > 0 {
				need := []audit.Entry{{Kind: audit.LicenseRevoked, Subject: [16]byte([]byte(key.Part)), Item: next[0].Item, Removed: ids}}
				if !sameChanges(need, written) {
					return nil, false, &unwritten{need}
				}
			}
			return next, len(ids) > 0, nil
		})
		return err
	})
	if err != nil {
		return 0, err
	}
	for _, l := range after {
		if l.Revoked && slices.ContainsFunc(before, func(b License) bool { return b.ID == l.ID && !b.Revoked }) {
			ended++
		}
	}
	return ended, nil
}

// changeLicenses lets f change the licences of an account for an item and returns
// them as they then stand. The record is forgotten some time after the last of them.
func (s *Store) changeLicenses(ctx context.Context, key Key, f func([]License) (next []License, change bool, err error)) ([]License, error) {
	it, err := s.engine.Update(ctx, key, func(cur *Item) (*Write, error) {
		var list []License
		if cur != nil {
			var err error
			if list, err = decodeLicenses(*cur); err != nil {
				return nil, err
			}
		}
		next, change, err := f(list)
		if err != nil || !change {
			return nil, err
		}
		last := next[0].Expires
		for _, l := range next {
			if l.Expires.After(last) {
				last = l.Expires
			}
		}
		return &Write{Value: encodeLicenses(next), Expires: last.Add(licenseKept)}, nil
	})
	if err != nil {
		return nil, err
	}
	if it.Version == 0 {
		return nil, nil
	}
	return decodeLicenses(it)
}

// numberLicense notes whose licence an id is, and refuses one of another.
func (s *Store) numberLicense(ctx context.Context, subject [16]byte, l License) error {
	want := encodeNumber(licenseKey(subject, l.Item))
	_, err := s.engine.Update(ctx, numberKey(l.ID), func(cur *Item) (*Write, error) {
		if cur != nil && string(cur.Value) != string(want) {
			return nil, ErrLicenseID
		}
		return &Write{Value: want, Expires: l.Expires.Add(numberKept)}, nil
	})
	return err
}

// numbered is the record that a licence stands in. One that is to last until
// expires keeps its number for longer than that.
func (s *Store) numbered(ctx context.Context, id uint64, expires time.Time) (Key, error) {
	it, err := s.engine.Get(ctx, numberKey(id))
	if err != nil {
		return Key{}, err
	}
	key, err := decodeNumber(it.Value)
	if err != nil || !it.Expires.Before(expires.Add(numberKept/2)) {
		return key, err
	}
	_, err = s.engine.Update(ctx, numberKey(id), func(cur *Item) (*Write, error) {
		if cur == nil {
			return nil, ErrNotFound
		}
		return &Write{Value: cur.Value, Expires: expires.Add(numberKept)}, nil
	})
	return key, err
}

func (s *Store) listHolder(ctx context.Context, item uint64, subject [16]byte) error {
	return s.engine.Apply(ctx, Op{Key: holderKey(item, subject), Value: encodeHolder(s.now())})
}

func encodeHolder(listed time.Time) []byte { return appendTime([]byte{1}, listed) }

func decodeHolder(b []byte) (time.Time, error) {
	r := readRecord(tableHolder, b, 1)
	listed := r.time()
	return listed, r.end()
}

// encodeNumber is the part and the sub of the record that a licence stands in.
func encodeNumber(k Key) []byte { return append(append([]byte{1}, k.Part...), k.Sub...) }

func decodeNumber(b []byte) (Key, error) {
	r := readRecord(tableNumber, b, 1)
	k := Key{Table: tableLicense, Part: string(r.take(16)), Sub: string(r.take(8))}
	return k, r.end()
}

func encodeLicenses(list []License) []byte {
	b := binary.AppendUvarint([]byte{1}, uint64(len(list)))
	for _, l := range list {
		b = binary.BigEndian.AppendUint64(b, l.ID)
		b = append(b, l.Device[:]...)
		b = appendFlag(b, l.Revoked)
		for _, at := range [...]time.Time{l.Issued, l.Renewed, l.Expires} {
			b = binary.BigEndian.AppendUint32(b, uint32(at.Unix()))
		}
	}
	return b
}

// decodeLicenses reads the licences for the item that the key names.
func decodeLicenses(it Item) ([]License, error) {
	r := readRecord(tableLicense, it.Value, 1)
	if len(it.Key.Sub) != 8 {
		r.fail()
		return nil, r.end()
	}
	item := binary.BigEndian.Uint64([]byte(it.Key.Sub))
	n := r.count()
	if n == 0 || n > MaxLicenses {
		r.fail()
		n = 0
	}
	second := func() time.Time { return time.Unix(int64(r.uint32()), 0).UTC() }
	list := make([]License, n)
	for i := range list {
		list[i] = License{ID: r.uint64(), Item: item, Device: r.id(), Revoked: r.flag(), Issued: second(), Renewed: second(), Expires: second()}
		for _, other := range list[:i] { // a device has one place, and a number is one licence's
			if other.ID == list[i].ID || other.Device == list[i].Device {
				r.fail()
			}
		}
		if r.err != nil {
			break
		}
	}
	if err := r.end(); err != nil {
		return nil, err
	}
	return list, nil
}
