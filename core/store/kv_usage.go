package store

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// usage counts what a plugin keeps. A write first reserves what it could need at
// most and gives back the rest afterwards; so writes go on side by side and share
// a commit. One that finds no room that way goes alone: then the count stands
// still and what the write replaces can be taken into account.
//
// On one node the count never falls short of what is stored. It is above it by
// keys that have expired and by writes whose outcome was lost, until room is
// needed: then it is counted again, once a second at most. With other nodes it
// also misses what they wrote since this one last counted, at most a minute ago.
type usage struct {
	mu sync.RWMutex // writes share it, one that goes alone or counts holds it

	bytes, keys atomic.Int64
	lost        atomic.Bool  // an outcome was lost
	expiry      atomic.Int64 // the earliest expiry, in Unix milliseconds; 0 = none
	counted     atomic.Int64 // when, in Unix milliseconds
}

const (
	recountAfter  = time.Second
	recountShared = time.Minute
)

// write runs an Update that adds at most size bytes and one key.
func (u *usage) write(ctx context.Context, kv *KV, k Key, size int64, f UpdateFunc) (Item, error) {
	if !u.outdated(kv.store) {
		u.mu.RLock()
		if u.reserve(size, kv.quota) {
			defer u.mu.RUnlock()
			return u.update(ctx, kv, k, size, 1, f)
		}
		u.mu.RUnlock()
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if err := u.recount(ctx, kv); err != nil {
		return Item{}, err
	}
	u.add(size, 1)
	return u.update(ctx, kv, k, size, 1, func(cur *Item) (*Write, error) {
		w, err := f(cur)
		if err != nil || w == nil {
			return nil, err
		}
		bytes, keys := growth(k, cur, w)
		if (bytes > 0 || keys > 0) && !u.fits(bytes-size, keys-1, kv.quota) {
			return nil, fmt.Errorf("%w: plugin %s keeps %d bytes in %d keys, at most %d in %d", ErrQuota, kv.name,
				u.bytes.Load()-size, u.keys.Load()-1, kv.quota.Bytes, kv.quota.Keys)
		}
		return w, nil
	})
}

// update runs f and puts what it really needed in the place of what was reserved.
// When the outcome is lost the reservation stays, as the most that it can be.
func (u *usage) update(ctx context.Context, kv *KV, k Key, bytes, keys int64, f UpdateFunc) (Item, error) {
	var grown, more atomic.Int64 // f may still run when Update has returned
	it, err := kv.store.engine.Update(ctx, k, func(cur *Item) (*Write, error) {
		w, err := f(cur)
		if err != nil {
			return nil, err
		}
		b, n := growth(k, cur, w)
		grown.Store(b)
		more.Store(n)
		return w, nil
	})
	switch {
	case err == nil:
		u.add(grown.Load()-bytes, more.Load()-keys)
		u.expires(it.Expires)
	case errors.Is(err, ErrUnknown):
		u.lost.Store(true)
	default:
		u.add(-bytes, -keys)
	}
	return it, err
}

// growth is what a write adds to the count.
func growth(k Key, cur *Item, w *Write) (bytes, keys int64) {
	if w == nil {
		return 0, 0
	}
	if cur != nil {
		bytes, keys = -int64(len(k.Sub)+len(cur.Value)), -1
	}
	if !w.Delete {
		bytes, keys = bytes+int64(len(k.Sub)+len(w.Value)), keys+1
	}
	return bytes, keys
}

func (u *usage) add(bytes, keys int64) {
	u.bytes.Add(bytes)
	u.keys.Add(keys)
}

func (u *usage) reserve(bytes int64, q KVQuota) bool {
	u.add(bytes, 1)
	if u.fits(0, 0, q) {
		return true
	}
	u.add(-bytes, -1)
	return false
}

func (u *usage) fits(bytes, keys int64, q KVQuota) bool {
	return (q.Bytes <= 0 || u.bytes.Load()+bytes <= q.Bytes) && (q.Keys <= 0 || u.keys.Load()+keys <= q.Keys)
}

// expires notes when room may come back.
func (u *usage) expires(at time.Time) {
	if at.IsZero() {
		return
	}
	for {
		earliest := u.expiry.Load()
		if earliest != 0 && earliest <= at.UnixMilli() || u.expiry.CompareAndSwap(earliest, at.UnixMilli()) {
			return
		}
	}
}

// outdated says that other nodes may have written too much since the last count.
func (u *usage) outdated(s *Store) bool {
	return s.shared && s.now().Sub(time.UnixMilli(u.counted.Load())) > recountShared
}

// recount counts again if that can change anything; u.mu is held.
func (u *usage) recount(ctx context.Context, kv *KV) error {
	now := kv.store.now()
	if now.Sub(time.UnixMilli(u.counted.Load())) < recountAfter {
		return nil
	}
	expiry := u.expiry.Load()
	if !kv.store.shared && !u.lost.Load() && (expiry == 0 || expiry > now.UnixMilli()) {
		return nil
	}
	if err := u.count(ctx, kv.store, kv.name); err != nil {
		return fmt.Errorf("count the data of plugin %s: %w", kv.name, err)
	}
	return nil
}

// count reads all of a plugin's keys; nobody else writes meanwhile.
func (u *usage) count(ctx context.Context, s *Store, plugin string) error {
	now := s.now()
	var found usage
	err := s.scanAll(ctx, tablePlugin, plugin, func(it Item) error {
		found.add(int64(len(it.Key.Sub)+len(it.Value)), 1)
		found.expires(it.Expires)
		return nil
	})
	if err != nil {
		return err
	}
	u.bytes.Store(found.bytes.Load())
	u.keys.Store(found.keys.Load())
	u.expiry.Store(found.expiry.Load())
	u.lost.Store(false)
	u.counted.Store(now.UnixMilli())
	return nil
}
