package oauth

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
)

// MethodS256 is the only challenge method: with "plain" the challenge is the
// secret itself (RFC 7636 §7.2).
const MethodS256 = "S256"

// validChallenge reports whether a challenge can be the base64url form of a
// SHA-256 (RFC 7636 §4.2). Strict: the last character has two spare bits.
func validChallenge(challenge string) bool {
	if len(challenge) != 43 {
		return false
	}
	_, err := base64.RawURLEncoding.Strict().DecodeString(challenge)
	return err == nil
}

// validVerifier checks the length and the alphabet of RFC 7636 §4.1.
func validVerifier(v string) bool {
	if len(v) < 43 || len(v) > 128 {
		return false
	}
	for i := range len(v) {
		switch c := v[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case c == '-', c == '.', c == '_', c == '~':
		default:
			return false
		}
	}
	return true
}

// verifies reports whether a verifier belongs to a challenge (RFC 7636 §4.6).
func verifies(challenge, verifier string) bool {
	if !validVerifier(verifier) {
		return false
	}
	sum := sha256.Sum256([]byte(verifier))
	want := base64.RawURLEncoding.EncodeToString(sum[:])
	return subtle.ConstantTimeCompare([]byte(want), []byte(challenge)) == 1
}
