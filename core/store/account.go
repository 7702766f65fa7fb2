package store

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/souk-market/souk/core/store/audit"
)

// The limits of an account.
const (
	maxAccount = 255 // bytes of a name; of the display name and the territory too
	maxGrants  = 256
	maxGrant   = 128 // bytes
	MaxHistory = 4096

	accountFormat  = 1 // of an account that has no devices
	accountDevices = 2 // of one that has
)

// Account is what the core itself keeps of a person: no credentials, those are a
// plugin's. What an update check needs comes first: there it is one line of memory, and
// the next one.
type Account struct {
	Account     string // the name; it never changes
	Epoch       uint32 // a family of an older epoch is worth nothing
	Territory   string
	Grants      []string // what the person may have: sorted, each once
	DisplayName string
	History     []uint64 // ids of the items given to this account: sorted, each once

	Devices [][16]byte // that were given items, in the order of their first ones; see Give
	Held    []Held     // by item, and of one item in the order in which it was given
}

// HasGrant says whether the account was granted it.
func (a *Account) HasGrant(grant string) bool {
	_, ok := slices.BinarySearch(a.Grants, grant)
	return ok
}

// HasItem says whether the item was given to the account before.
func (a *Account) HasItem(id uint64) bool {
	_, ok := slices.BinarySearch(a.History, id)
	return ok
}

// AddHistory adds the items and says whether that changed anything. A history of
// MaxHistory items takes no more: the oldest can't be told.
func (a *Account) AddHistory(ids ...uint64) (changed bool) {
	for _, id := range ids {
		at, found := slices.BinarySearch(a.History, id)
		if found || len(a.History) >= MaxHistory {
			continue
		}
		a.History = slices.Insert(a.History, at, id)
		changed = true
	}
	return changed
}

// SubjectID is the id of an account: the first half of its name's SHA-256.
func SubjectID(account string) [16]byte {
	sum := sha256.Sum256([]byte(account))
	return [16]byte(sum[:16])
}

// Account reads the account from the engine; ErrNotFound if it has no record.
func (s *Store) Account(ctx context.Context, subject [16]byte) (Account, error) {
	it, err := s.engine.Get(ctx, accountKey(subject))
	if err != nil {
		return Account{}, err
	}
	return decodeAccount(it.Value)
}

// CachedAccount is Account from memory where possible. What an UpdateAccount of
// this node has written is seen by every CachedAccount that begins after it
// returned. The account is shared, and so are its lists: nobody may modify it.
//
// hot: called for each update check that has candidates; no allocation where it is in
// memory (see BenchmarkCachedAccount).
func (s *Store) CachedAccount(ctx context.Context, subject [16]byte) (*Account, error) {
	e, lease := s.cache.get(&subject)
	if e == nil {
		account, err := s.Account(ctx, subject)
		if err != nil && !errors.Is(err, ErrNotFound) {
			return nil, err
		}
		e = newCachedAccount(subject, account, err != nil)
		s.cache.put(e, lease)
	}
	if e.absent {
		return nil, ErrNotFound
	}
	return &e.account, nil
}

// PrefetchAccount has what CachedAccount will read come into the processor's cache while the
// caller goes on.
//
// hot: called for each update check in which there can be something newer.
func (s *Store) PrefetchAccount(subject *[16]byte) { s.cache.prefetch(subject) }

// UpdateAccount lets f change the account and returns it as it then stands. An
// account without a record is created: f sees it with nothing but its name. f must
// be pure, as an UpdateFunc; its error is returned as it is and nothing is
// written.
//
// A change of Grants, Territory or Epoch is written down first, and f runs again then.
// One of Epoch is noted first as a sign-out that begins; SignedOut says when it is over.
// Grants and History are put in order. A History beyond MaxHistory stays as it
// was.
func (s *Store) UpdateAccount(ctx context.Context, account string, f func(*Account) (change bool, err error)) (Account, error) {
	if account == "" {
		return Account{}, errors.New("store: update an account: no name given")
	}
	if err := checkText("account", account, maxAccount); err != nil {
		return Account{}, err
	}
	var it Item
	var noted accountNotes
	err := s.firstWrite(ctx, func(written []audit.Entry) (err error) {
		for {
			it, err = s.writeAccount(ctx, account, s.changeAccount(account, f, noted, written))
			missing, ok := errors.AsType[*unnoted](err)
			if !ok {
				return err
			}
			if noted, err = s.note(ctx, account, noted, missing); err != nil {
				return err
			}
		}
	})
	if err != nil {
		return Account{}, err
	}
	if it.Version == 0 {
		return Account{Account: account}, nil
	}
	return decodeAccount(it.Value)
}

// accountNotes are what has to be in the store before the account is as it is to be.
type accountNotes struct {
	listed bool   // in the list of accounts, for one that is created
	epoch  uint32 // that a sign-out is noted to lead to, for one whose epoch changes
}

// unnoted stops a change that has to wait for notes: it carries those that are missing.
type unnoted struct{ accountNotes }

func (*unnoted) Error() string { return "store: a change of an account has to be noted first" }

// note writes what is missing. It comes before the change: a crash in between leaves a
// name in the list without an account, which Accounts passes over, or a sign-out that
// has not begun. The other way round it would leave an account that no operator can
// find, or sign-ins that ought to have ended and of which nobody knows.
func (s *Store) note(ctx context.Context, account string, noted accountNotes, missing *unnoted) (accountNotes, error) {
	if missing.listed {
		if err := s.listAccount(ctx, account); err != nil {
			return noted, fmt.Errorf("list account: %w", err)
		}
		noted.listed = true
	}
	if missing.epoch != 0 {
		if err := s.beginSignOut(ctx, SubjectID(account), missing.epoch); err != nil {
			return noted, err
		}
		noted.epoch = missing.epoch
	}
	return noted, nil
}

// writeAccount runs the Update and drops the account from the cache once that has
// ended, even if the caller has gone before: a write that lands after the cache was
// cleaned would leave the old account there for good.
func (s *Store) writeAccount(ctx context.Context, account string, change UpdateFunc) (Item, error) {
	if err := ctx.Err(); err != nil {
		return Item{}, err
	}
	subject := SubjectID(account)
	type result struct {
		item Item
		err  error
	}
	done := make(chan result, 1)
	go func() {
		it, err := s.engine.Update(context.WithoutCancel(ctx), accountKey(subject), change)
		s.cache.drop(subject)
		done <- result{it, err}
	}()
	select {
	case r := <-done:
		return r.item, r.err
	case <-ctx.Done():
		return Item{}, fmt.Errorf("%w: %w", ErrUnknown, context.Cause(ctx))
	}
}

// changeAccount is the UpdateFunc around f, with the notes that are there and the
// entries that its change was written down in.
func (s *Store) changeAccount(account string, f func(*Account) (bool, error), noted accountNotes, written []audit.Entry) UpdateFunc {
	return func(cur *Item) (*Write, error) {
		a := Account{Account: account}
		if cur != nil {
			var err error
			if a, err = decodeAccount(cur.Value); err != nil {
				return nil, err
			}
			if a.Account != account {
				return nil, fmt.Errorf("store: account %q has the id of account %q", account, a.Account)
			}
		}
		before := a
		before.Grants, before.History = slices.Clone(a.Grants), slices.Clone(a.History)
		change, err := f(&a)
		if err != nil || !change {
			return nil, err
		}
		missing := accountNotes{listed: cur == nil && !noted.listed}
		if a.Epoch != before.Epoch && a.Epoch != noted.epoch {
			missing.epoch = a.Epoch
		}
		if missing != (accountNotes{}) {
			return nil, &unnoted{missing}
		}
		a.Account = account
		if err := a.tidy(before.History); err != nil {
			return nil, err
		}
		if s.audit != nil {
			if need := before.changes(&a); !sameChanges(need, written) {
				return nil, &unwritten{need}
			}
		}
		return &Write{Value: encodeAccount(a)}, nil
	}
}

// tidy puts the account into the one form that is stored.
func (a *Account) tidy(history []uint64) error {
	a.Grants = sorted(a.Grants)
	a.History = sorted(a.History)
	if len(a.History) > MaxHistory {
		a.History = history
	}
	if n := len(a.Grants); n > maxGrants {
		return fmt.Errorf("%w: account of %d grants, at most %d", ErrLimit, n, maxGrants)
	}
	for _, grant := range a.Grants {
		if err := checkText("grant", grant, maxGrant); err != nil {
			return err
		}
	}
	return errors.Join(a.checkDevices(), checkText("display name", a.DisplayName, maxAccount), checkText("territory", a.Territory, maxAccount))
}

// sorted returns the list in order, each entry once; the list itself may be shared.
func sorted[T string | uint64](list []T) []T {
	if strictlySorted(list) {
		return list
	}
	list = slices.Clone(list)
	slices.Sort(list)
	return slices.Compact(list)
}

func strictlySorted[T string | uint64](list []T) bool {
	for i := 1; i < len(list); i++ {
		if list[i-1] >= list[i] {
			return false
		}
	}
	return true
}

// The history is packed as differences: its ids lie close together.
func encodeAccount(a Account) []byte {
	b := []byte{accountFormat}
	if len(a.Devices) > 0 {
		b[0] = accountDevices
	}
	b = appendText(b, a.Account)
	b = appendText(b, a.DisplayName)
	b = appendText(b, a.Territory)
	b = binary.BigEndian.AppendUint32(b, a.Epoch)
	b = binary.AppendUvarint(b, uint64(len(a.Grants)))
	for _, grant := range a.Grants {
		b = appendText(b, grant)
	}
	b = binary.AppendUvarint(b, uint64(len(a.History)))
	before := uint64(0)
	for _, id := range a.History {
		b = binary.AppendUvarint(b, id-before)
		before = id
	}
	if len(a.Devices) > 0 {
		b = a.appendDevices(b)
	}
	return b
}

func decodeAccount(b []byte) (Account, error) {
	format := byte(accountFormat)
	if len(b) > 0 && b[0] == accountDevices {
		format = accountDevices
	}
	r := readRecord(tableAccount, b, format)
	a := Account{Account: r.text(), DisplayName: r.text(), Territory: r.text(), Epoch: r.uint32()}
	if n := r.count(); n > 0 {
		a.Grants = make([]string, n)
		for i := range a.Grants {
			a.Grants[i] = r.text()
		}
	}
	if n := r.count(); n > 0 {
		a.History = make([]uint64, n)
		before := uint64(0)
		for i := range a.History {
			before += r.uvarint()
			a.History[i] = before
		}
	}
	if !strictlySorted(a.Grants) || !strictlySorted(a.History) {
		r.fail()
	}
	if format == accountDevices {
		a.readDevices(&r)
	}
	if err := r.end(); err != nil {
		return Account{}, err
	}
	return a, nil
}
