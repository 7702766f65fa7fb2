package core

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/souk-market/souk/core/admin"
	"github.com/souk-market/souk/core/store"
	"github.com/souk-market/souk/core/store/audit"
	"github.com/souk-market/souk/core/token"
)

// keyring holds the keys of all tokens as they stand in the store, and is the way
// to change them. What another node changes is seen here soon after.
type keyring struct {
	store  *store.Store
	master [32]byte
	life   time.Duration // of a refresh token that nobody uses
	now    func() time.Time
	rand   io.Reader
	log    *slog.Logger

	ring atomic.Pointer[token.Ring]
	mu   sync.Mutex // held while reading the store and publishing what was read
	keys []token.Key
	last []byte // as sealed
}

// errMoved says that the ring is no longer what a change was made from.
var errMoved = errors.New("core: the key ring changed meanwhile")

// load takes over the ring that is in the store.
func (k *keyring) load(ctx context.Context) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	sealed, err := k.store.KeyRing(ctx)
	if err != nil {
		return fmt.Errorf("read the key ring: %w", err)
	}
	if bytes.Equal(sealed, k.last) {
		return nil
	}
	keys, err := token.OpenKeys(k.master, sealed)
	if err != nil {
		return fmt.Errorf("token.key_file: is not the key of this store's key ring: %w", err)
	}
	ring, err := token.NewRing(keys)
	if err != nil {
		return err
	}
	k.keys, k.last = keys, sealed
	k.ring.Store(ring)
	return nil
}

// follow takes over what changes in the store, until ctx ends. It returns at once.
func (k *keyring) follow(ctx context.Context) (done <-chan struct{}, err error) {
	hints, err := k.store.WatchKeyRing(ctx)
	if err != nil {
		return nil, fmt.Errorf("watch the key ring: %w", err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		store.Reload(ctx, hints, nil, k.load, func(err error) { k.log.Error("the key ring is not taken over", "error", err) })
	}()
	return ended, nil
}

// Keys implements admin.Keys.
func (k *keyring) Keys() []admin.Key {
	k.mu.Lock()
	defer k.mu.Unlock()
	current := k.ring.Load().Current()
	all := make([]admin.Key, 0, len(k.keys))
	for _, key := range k.keys {
		v := admin.Key{ID: key.ID, Created: key.Created, Current: key.ID == current}
		if !key.Retired.IsZero() {
			v.Retired = &key.Retired
		}
		all = append(all, v)
	}
	return all
}

// Rotate implements admin.Keys: from now on tokens are made under a new key, and
// those of the keys before are still good. The error is an admin.ErrKey where the
// ring is full.
func (k *keyring) Rotate(ctx context.Context) (byte, error) {
	var id byte
	err := k.change(ctx, audit.KeyRotated, &id, func(keys []token.Key) ([]token.Key, error) {
		var err error
		if id, err = token.FreeID(keys); err != nil {
			return nil, fmt.Errorf("%w: the ring has all 255 keys that it can have", admin.ErrKey)
		}
		key, err := token.NewKey(k.rand, id, k.now())
		return append(keys, key), err
	})
	return id, err
}

// Retire implements admin.Keys: tokens of the key are no longer good. The error is
// an admin.ErrKey where the operator can do something about it.
func (k *keyring) Retire(ctx context.Context, id byte, force bool) error {
	return k.change(ctx, audit.KeyRetired, &id, func(keys []token.Key) ([]token.Key, error) {
		i := slices.IndexFunc(keys, func(key token.Key) bool { return key.ID == id })
		switch {
		case i < 0:
			return nil, fmt.Errorf("%w: there is no key %d", admin.ErrKey, id)
		case !keys[i].Retired.IsZero():
			return nil, fmt.Errorf("%w: key %d is retired already", admin.ErrKey, id)
		case id == k.ring.Load().Current():
			return nil, fmt.Errorf("%w: key %d is the current one: rotate first", admin.ErrKey, id)
		}
		// The last token of a key was made when the next key came.
		replaced := k.now()
		for _, key := range keys {
			if key.Created.After(keys[i].Created) && key.Created.Before(replaced) {
				replaced = key.Created
			}
		}
		if good := replaced.Add(k.life); !force && good.After(k.now()) {
			return nil, fmt.Errorf("%w: key %d may have refresh tokens that are good until %s: wait, or force it and sign their devices out",
				admin.ErrKey, id, good.UTC().Format(time.RFC3339))
		}
		keys[i].Retired = k.now()
		return keys, nil
	})
}

// change writes another ring, made from the present one. kind says what happens to
// the key that id names once f has run.
func (k *keyring) change(ctx context.Context, kind audit.Kind, id *byte, f func([]token.Key) ([]token.Key, error)) error {
	for {
		if err := k.load(ctx); err != nil {
			return err
		}
		k.mu.Lock()
		keys, before := slices.Clone(k.keys), k.last
		k.mu.Unlock()
		keys, err := f(keys)
		if err != nil {
			return err
		}
		sealed, err := token.SealKeys(k.master, k.rand, keys)
		if err != nil {
			return err
		}
		if err := k.store.Audit(ctx, keyEntry(kind, *id)); err != nil {
			return err
		}
		_, err = k.store.UpdateKeyRing(ctx, func(cur []byte) ([]byte, error) {
			if !bytes.Equal(cur, before) {
				return nil, errMoved
			}
			return sealed, nil
		})
		if errors.Is(err, errMoved) {
			continue // another node was faster: the change is made to what it left
		}
		if err != nil {
			return fmt.Errorf("write the key ring: %w", err)
		}
		return k.load(ctx)
	}
}

func keyEntry(kind audit.Kind, id byte) audit.Entry {
	return audit.Entry{Kind: kind, Detail: map[string]string{"key": strconv.Itoa(int(id))}}
}
