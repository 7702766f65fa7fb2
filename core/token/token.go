// Package token makes and checks everything that Souk hands out as a string and
// later has to recognise: access and refresh tokens, sealed blobs such as
// authorization codes, random opaque tokens, and the install verification token
// that a device passes on to Apple.
//
// All but the last are for ourselves, so they are as small and as cheap as that
// allows: fixed binary layouts under a MAC or an AEAD, with one key for each
// purpose, and one algorithm that nobody can choose. The package does no I/O,
// keeps no record of what it made, and knows neither accounts nor revocation:
// a token that verifies here is authentic and in date, not yet welcome.
//
// Every string consists of the characters A-Z a-z 0-9 - _ only (and the dots of
// a JWS), because devices send form values whose "+" arrives as a space.
package token

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"math"
	"time"
)

var (
	// ErrMalformed says that the string can't have come from here: wrong length,
	// a foreign character, another version of the layout.
	ErrMalformed = errors.New("token: malformed")
	// ErrForged says that the string has the right shape and fails authentication,
	// which is also what happens when its key is unknown or retired.
	ErrForged = errors.New("token: forged or under a key that is gone")
	// ErrExpired says that the token is authentic and its time is over.
	ErrExpired = errors.New("token: expired")
)

// version is the first byte of each binary layout. A new layout gets a new number,
// so that tokens of both can be told apart before any key is chosen.
const version = 1

// encoding is strict, so that each token has exactly one spelling.
var encoding = base64.RawURLEncoding.Strict()

// decode fills dst from exactly the characters of src. It compares the length of the
// result because the decoder skips line breaks, which would give tokens more spellings.
func decode(dst, src []byte) bool {
	if len(src) != encoding.EncodedLen(len(dst)) {
		return false
	}
	n, err := encoding.Decode(dst, src)
	return err == nil && n == len(dst)
}

// Seconds returns t as tokens carry it, held inside what the field can express
// (until the year 2106).
func Seconds(t time.Time) uint32 {
	return uint32(min(max(t.Unix(), 0), math.MaxUint32))
}

// random fills b from r, or from the system when r is nil.
func random(r io.Reader, b []byte) error {
	if r == nil {
		r = rand.Reader
	}
	if _, err := io.ReadFull(r, b); err != nil {
		return fmt.Errorf("token: read random bytes: %w", err)
	}
	return nil
}
