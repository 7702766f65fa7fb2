//go:build !wasip1

package abi

import (
	"crypto/sha256"
	"encoding/binary"
)

// Bucket places a key among the Buckets: the first 8 bytes of
// SHA-256(salt ‖ 0x00 ‖ key) as a big-endian number, modulo Buckets. A device
// is in a rollout of n basis points when its bucket is below n: it stays in
// when the rollout grows, and another salt draws other devices first.
//
// Guests ask the host for it: it hashes faster there, and the code of SHA-256
// would be a quarter of a megabyte in each Go guest.
func Bucket(key, salt string) uint32 {
	var space [128]byte // keys and salts are short: no allocation for them
	b := append(space[:0], salt...)
	b = append(b, 0)
	b = append(b, key...)
	sum := sha256.Sum256(b)
	return uint32(binary.BigEndian.Uint64(sum[:8]) % Buckets)
}
