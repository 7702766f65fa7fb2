package token

import (
	"cmp"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"
)

// Key is one secret of the ring. It is never used itself: every purpose has a
// subkey that is derived from it.
type Key struct {
	ID      byte      // 1 to 255; stands in clear in each token
	Secret  [32]byte  // from a random source, see NewKey
	Created time.Time // also the moment from which CurrentAt mints with it
	Retired time.Time // zero: verifies; otherwise it verifies nothing, whatever the time
}

// NewKey returns a key with a fresh secret. A nil reader means the system's.
func NewKey(rand io.Reader, id byte, now time.Time) (Key, error) {
	if id == 0 {
		return Key{}, errors.New("token: key id 0 is reserved")
	}
	k := Key{ID: id, Created: now.UTC().Truncate(time.Millisecond)}
	if err := random(rand, k.Secret[:]); err != nil {
		return Key{}, err
	}
	return k, nil
}

// FreeID returns an id that none of keys has, the one after the newest key's if it can.
// A retired key keeps its id taken for as long as it is listed, so that an old token is
// never tried against a newer secret.
func FreeID(keys []Key) (byte, error) {
	var used [256]bool
	var last Key
	for _, k := range keys {
		used[k.ID] = true
		if last.ID == 0 || newer(k, last) > 0 {
			last = k
		}
	}
	id := last.ID
	for range 255 {
		if id++; id != 0 && !used[id] {
			return id, nil
		}
	}
	return 0, errors.New("token: all 255 key ids are taken: drop retired keys")
}

// Ring is an immutable set of keys, safe for concurrent use. A change of keys is a new Ring.
type Ring struct {
	keys    [256]*subkeys // by id; nil: unknown or retired
	minting []Key         // those that verify, oldest first, without their secrets
}

// subkeys are what one key of the ring is good for, derived once.
type subkeys struct {
	access  macKey
	refresh macKey
	seals   [len(purposes)]cipher.AEAD
}

// NewRing derives the subkeys of keys. The newest key that is not retired is the current
// one; without any there is no ring.
func NewRing(keys []Key) (*Ring, error) {
	r := new(Ring)
	var seen [256]bool
	for _, k := range keys {
		switch {
		case k.ID == 0:
			return nil, errors.New("token: key id 0 is reserved")
		case seen[k.ID]:
			return nil, fmt.Errorf("token: key id %d is there twice", k.ID)
		case k.Secret == [32]byte{}:
			return nil, fmt.Errorf("token: key %d has no secret", k.ID)
		}
		seen[k.ID] = true
		if !k.Retired.IsZero() {
			continue
		}
		sub, err := derive(k)
		if err != nil {
			return nil, fmt.Errorf("token: derive subkeys of key %d: %w", k.ID, err)
		}
		r.keys[k.ID] = sub
		k.Secret = [32]byte{}
		r.minting = append(r.minting, k)
	}
	if len(r.minting) == 0 {
		return nil, errors.New("token: no key in the ring that is not retired")
	}
	slices.SortFunc(r.minting, newer)
	return r, nil
}

// Current returns the id of the newest key.
func (r *Ring) Current() byte { return r.minting[len(r.minting)-1].ID }

// CurrentAt returns the id of the newest key that was created by now, or of the oldest
// if none was. A key whose Created lies a little ahead is thus known to every node
// before the first of them mints with it.
func (r *Ring) CurrentAt(now time.Time) byte {
	for i := len(r.minting) - 1; i > 0; i-- {
		if !r.minting[i].Created.After(now) {
			return r.minting[i].ID
		}
	}
	return r.minting[0].ID
}

// Has reports whether tokens under the key verify.
func (r *Ring) Has(kid byte) bool { return r.keys[kid] != nil }

// mint returns the key to mint under: the one asked for, or the current one when kid is
// 0 or no longer in the ring. Minting so can't fail, and the token names its key.
func (r *Ring) mint(kid byte) (byte, *subkeys) {
	if r.keys[kid] == nil {
		kid = r.Current()
	}
	return kid, r.keys[kid]
}

// newer orders keys by age; the id decides among keys of the same moment, so that all
// nodes agree.
func newer(a, b Key) int {
	return cmp.Or(a.Created.Compare(b.Created), cmp.Compare(a.ID, b.ID))
}

// derive makes the subkeys. The labels are part of the format: a changed label
// invalidates all tokens of its kind.
func derive(k Key) (*subkeys, error) {
	subkey := func(label string) ([]byte, error) {
		return hkdf.Key(sha256.New, k.Secret[:], nil, "souk token 1: "+label, 32)
	}
	sub := new(subkeys)
	access, err := subkey("access")
	if err != nil {
		return nil, err
	}
	refresh, err := subkey("refresh")
	if err != nil {
		return nil, err
	}
	sub.access.set(access)
	sub.refresh.set(refresh)
	for i, p := range purposes {
		key, err := subkey("seal " + string(p))
		if err != nil {
			return nil, err
		}
		if sub.seals[i], err = newGCM(key); err != nil {
			return nil, err
		}
	}
	return sub, nil
}

func newGCM(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}
