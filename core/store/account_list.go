package store

import (
	"context"
	"errors"
)

// listAccount puts the name into the list of accounts. Doing it twice does no
// harm.
func (s *Store) listAccount(ctx context.Context, account string) error {
	return s.engine.Apply(ctx, Op{
		Key:   accountIndexKey(SubjectID(account)),
		Value: appendText([]byte{1}, account),
	})
}

// Accounts returns up to limit accounts, those behind the account named after; an
// empty after begins. They come in the order of their ids, which looks like none
// but is the same each time. Fewer than limit are the last.
func (s *Store) Accounts(ctx context.Context, after string, limit int) ([]Account, error) {
	bucket, sub := 0, ""
	if after != "" {
		subject := SubjectID(after)
		bucket, sub = bucketOf(subject), string(subject[:])
	}
	var accounts []Account
	for ; bucket < accountBuckets; bucket, sub = bucket+1, "" {
		for len(accounts) < limit {
			items, err := s.engine.Scan(ctx, tableAccountIndex, accountBucket(bucket), sub, limit-len(accounts))
			if err != nil {
				return nil, err
			}
			if len(items) == 0 {
				break
			}
			if accounts, err = s.appendAccounts(ctx, accounts, items); err != nil {
				return nil, err
			}
			sub = items[len(items)-1].Key.Sub
		}
	}
	return accounts, nil
}

// appendAccounts adds the accounts that are listed. One may be missing, when its
// creation was cut short.
func (s *Store) appendAccounts(ctx context.Context, accounts []Account, listed []Item) ([]Account, error) {
	for _, it := range listed {
		name, err := decodeAccountName(it.Value)
		if err != nil {
			return nil, err
		}
		a, err := s.Account(ctx, SubjectID(name))
		switch {
		case err == nil:
			accounts = append(accounts, a)
		case !errors.Is(err, ErrNotFound):
			return nil, err
		}
	}
	return accounts, nil
}

func decodeAccountName(b []byte) (string, error) {
	r := readRecord(tableAccountIndex, b, 1)
	name := r.text()
	return name, r.end()
}
