package token

import (
	"crypto/sha256"
	"io"
)

// OpaqueLen is the length of each opaque token in characters.
const OpaqueLen = 43

// NewOpaque returns 256 random bits: a token that says nothing and that is known by its
// Hash (subject tokens, admin tokens, client secrets). A nil reader means the system's.
func NewOpaque(rand io.Reader) (string, error) {
	var b [32]byte
	if err := random(rand, b[:]); err != nil {
		return "", err
	}
	return encoding.EncodeToString(b[:]), nil
}

// Hash is what is stored of an opaque token. A plain hash is enough: there is no
// guessing 256 bits, and looking up a hash tells a clock nothing of the token.
func Hash(token string) [32]byte { return sha256.Sum256([]byte(token)) }

// ClientID is the fixed-size form in which access tokens carry a client_id. The string
// is taken as it is, letter case and hyphens too: a device repeats its own spelling,
// and treating two spellings as one client would let one vouch for the other.
func ClientID(s string) [16]byte {
	const label = "souk client 1\x00"
	b := make([]byte, 0, len(label)+255) // stays on the stack: client_id has at most 255 bytes
	sum := sha256.Sum256(append(append(b, label...), s...))
	return [16]byte(sum[:16])
}
