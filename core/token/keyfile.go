package token

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"
)

// A sealed ring: the magic, a nonce, and under AES-256-GCM one record for each key:
// id, secret, created and retired in Unix milliseconds (0: not retired). The ring lies in
// the store and the master key doesn't, so that a copy of the store mints nothing.
const (
	keysMagic = "souk keys 1\n"
	keySize   = 1 + 32 + 8 + 8
)

// SealKeys returns keys encrypted under master, for the store. Times keep their
// milliseconds. A nil reader means the system's.
func SealKeys(master [32]byte, rand io.Reader, keys []Key) ([]byte, error) {
	if len(keys) == 0 || len(keys) > 255 {
		return nil, fmt.Errorf("token: seal %d keys: a ring has 1 to 255", len(keys))
	}
	if master == [32]byte{} {
		return nil, errors.New("token: seal keys: master key is empty")
	}
	gcm, err := newGCM(master[:])
	if err != nil {
		return nil, fmt.Errorf("token: seal keys: %w", err)
	}
	plain := make([]byte, 0, len(keys)*keySize)
	for _, k := range keys {
		plain = append(plain, k.ID)
		plain = append(plain, k.Secret[:]...)
		plain = binary.BigEndian.AppendUint64(plain, uint64(k.Created.UnixMilli()))
		retired := int64(0)
		if !k.Retired.IsZero() {
			retired = max(k.Retired.UnixMilli(), 1) // never 0, which would bring the key back
		}
		plain = binary.BigEndian.AppendUint64(plain, uint64(retired))
	}
	sealed := make([]byte, len(keysMagic)+gcm.NonceSize())
	nonce := sealed[copy(sealed, keysMagic):]
	if err := random(rand, nonce); err != nil {
		return nil, err
	}
	return gcm.Seal(sealed, nonce, plain, []byte(keysMagic)), nil
}

// OpenKeys returns what SealKeys was given. ErrForged means another master key or a
// damaged record, ErrMalformed that it never was a sealed ring.
func OpenKeys(master [32]byte, sealed []byte) ([]Key, error) {
	gcm, err := newGCM(master[:])
	if err != nil {
		return nil, fmt.Errorf("token: open keys: %w", err)
	}
	head := len(keysMagic) + gcm.NonceSize()
	if len(sealed) < head+gcm.Overhead() || string(sealed[:len(keysMagic)]) != keysMagic {
		return nil, fmt.Errorf("open keys: %w", ErrMalformed)
	}
	plain, err := gcm.Open(nil, sealed[len(keysMagic):head], sealed[head:], []byte(keysMagic))
	if err != nil {
		return nil, fmt.Errorf("open keys, is it the right master key? %w", ErrForged)
	}
	if len(plain) == 0 || len(plain)%keySize != 0 {
		return nil, fmt.Errorf("open keys: %w", ErrMalformed)
	}
	keys := make([]Key, 0, len(plain)/keySize)
	for ; len(plain) > 0; plain = plain[keySize:] {
		k := Key{
			ID:      plain[0],
			Secret:  [32]byte(plain[1:33]),
			Created: time.UnixMilli(int64(binary.BigEndian.Uint64(plain[33:]))).UTC(),
		}
		if retired := int64(binary.BigEndian.Uint64(plain[41:])); retired != 0 {
			k.Retired = time.UnixMilli(retired).UTC()
		}
		keys = append(keys, k)
	}
	return keys, nil
}
