package store

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"time"
)

var (
	// ErrQuota means that a plugin's data would grow beyond its quota.
	ErrQuota = errors.New("store: quota exceeded")
	// ErrNotCounter means that Add met a value that is not 8 bytes, or a sum
	// beyond 64 bits.
	ErrNotCounter = errors.New("store: not a counter")
)

// KVQuota limits what one plugin keeps. 0 is no limit but the engine's.
type KVQuota struct {
	Bytes int64 // keys and values together
	Keys  int64
	Value int // bytes of one value
}

const (
	maxPlugin = 128
	maxList   = 1000
)

// KV is one plugin's own data. Everybody who opens the same plugin shares its
// records and one count of them; see usage for how exact that is.
type KV struct {
	store *Store
	name  string
	quota KVQuota
	usage *usage
}

// KVItem is an entry of List.
type KVItem struct {
	Key   string
	Value []byte
}

// PluginKV opens a plugin's data. The first to open a plugin counts what is there.
func (s *Store) PluginKV(name string, quota KVQuota) (*KV, error) {
	if name == "" || len(name) > maxPlugin {
		return nil, fmt.Errorf("%w: plugin name of %d bytes, 1 to %d", ErrLimit, len(name), maxPlugin)
	}
	if quota.Value <= 0 || quota.Value > MaxValue {
		quota.Value = MaxValue
	}
	s.kvMu.Lock()
	defer s.kvMu.Unlock()
	u := s.kv[name]
	if u == nil {
		u = &usage{}
		if err := u.count(context.Background(), s, name); err != nil {
			return nil, fmt.Errorf("count the data of plugin %s: %w", name, err)
		}
		s.kv[name] = u
	}
	return &KV{store: s, name: name, quota: quota, usage: u}, nil
}

// Get returns a value, or ErrNotFound.
func (kv *KV) Get(ctx context.Context, key []byte) ([]byte, error) {
	it, err := kv.store.engine.Get(ctx, pluginKey(kv.name, key))
	return it.Value, err
}

// Put stores a value, for ttl or for good if that is 0.
func (kv *KV) Put(ctx context.Context, key, val []byte, ttl time.Duration) error {
	val = bytes.Clone(val) // the Update may outlive ctx, and with it the caller's bytes
	var expires time.Time
	if ttl > 0 {
		expires = kv.store.now().Add(ttl)
	}
	_, err := kv.write(ctx, key, len(val), func(*Item) (*Write, error) {
		return &Write{Value: val, Expires: expires}, nil
	})
	return err
}

// Delete removes a value; an absent one is no error.
func (kv *KV) Delete(ctx context.Context, key []byte) error {
	_, err := kv.write(ctx, key, 0, func(*Item) (*Write, error) {
		return &Write{Delete: true}, nil
	})
	return err
}

// Swap stores val if the value is old, and answers ErrConflict otherwise. An empty
// old is an absent value. The expiry stays.
func (kv *KV) Swap(ctx context.Context, key, old, val []byte) error {
	old, val = bytes.Clone(old), bytes.Clone(val)
	_, err := kv.write(ctx, key, len(val), func(cur *Item) (*Write, error) {
		switch {
		case cur == nil && len(old) == 0:
			return &Write{Value: val}, nil
		case cur == nil || len(old) == 0 || !bytes.Equal(cur.Value, old):
			return nil, ErrConflict
		}
		return &Write{Value: val, Expires: cur.Expires}, nil
	})
	return err
}

// Add adds to a counter and returns the sum. An absent counter is 0; the expiry
// stays. A counter is 8 bytes, little endian as all that guests read.
func (kv *KV) Add(ctx context.Context, key []byte, delta int64) (int64, error) {
	it, err := kv.write(ctx, key, 8, func(cur *Item) (*Write, error) {
		var before int64
		var expires time.Time
		if cur != nil {
			var err error
			if before, err = counter(cur.Value); err != nil {
				return nil, err
			}
			expires = cur.Expires
		}
		sum := before + delta
		if delta > 0 && sum < before || delta < 0 && sum > before {
			return nil, fmt.Errorf("%w: %d and %d are more than 64 bits", ErrNotCounter, before, delta)
		}
		return &Write{Value: binary.LittleEndian.AppendUint64(nil, uint64(sum)), Expires: expires}, nil
	})
	if err != nil {
		return 0, err
	}
	return counter(it.Value)
}

func counter(b []byte) (int64, error) {
	if len(b) != 8 {
		return 0, fmt.Errorf("%w: the value has %d bytes", ErrNotCounter, len(b))
	}
	return int64(binary.LittleEndian.Uint64(b)), nil
}

// List returns up to limit entries whose keys begin with prefix and come behind
// after, in the order of the keys.
func (kv *KV) List(ctx context.Context, prefix, after string, limit int) ([]KVItem, error) {
	limit = min(limit, maxList)
	if limit <= 0 {
		return nil, nil
	}
	var list []KVItem
	if after < prefix {
		// A scan begins behind a key, so the key that is the prefix is read alone.
		after = prefix
		if prefix != "" {
			switch val, err := kv.Get(ctx, []byte(prefix)); {
			case err == nil:
				list = append(list, KVItem{Key: prefix, Value: val})
			case !errors.Is(err, ErrNotFound):
				return nil, err
			}
		}
	}
	if len(list) == limit {
		return list, nil
	}
	items, err := kv.store.engine.Scan(ctx, tablePlugin, kv.name, after, limit-len(list))
	if err != nil {
		return nil, err
	}
	for _, it := range items {
		if !strings.HasPrefix(it.Key.Sub, prefix) {
			break
		}
		list = append(list, KVItem{Key: it.Key.Sub, Value: it.Value})
	}
	return list, nil
}

// write runs an Update that leaves a value of at most size bytes, within the
// quota.
func (kv *KV) write(ctx context.Context, key []byte, size int, f UpdateFunc) (Item, error) {
	if len(key) == 0 {
		return Item{}, fmt.Errorf("%w: plugin %s writes to an empty key", ErrLimit, kv.name)
	}
	if size > kv.quota.Value {
		return Item{}, fmt.Errorf("%w: plugin %s: value of %d bytes, at most %d", ErrQuota, kv.name, size, kv.quota.Value)
	}
	return kv.usage.write(ctx, kv, pluginKey(kv.name, key), int64(len(key)+size), f)
}
