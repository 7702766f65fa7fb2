package token

import (
	"encoding/binary"
	"time"
)

// Access is what an access token says. Subject, Family and Client are identifiers of
// fixed size that others derive; what the bits of Audience, Flags and Scope mean is
// the authorization server's affair.
type Access struct {
	KID      byte // the key: 0, or one that is gone, mints under the current key
	Audience byte
	Flags    byte
	IssuedAt uint32 // Unix seconds, see Seconds
	Expires  uint32 // Unix seconds; the first second in which the token is refused
	Subject  [16]byte
	Family   [16]byte
	Client   [16]byte
	Scope    uint32
	Epoch    uint32 // of the subject: a higher one in the revocation set ends the token
}

// The layout, all numbers big endian. The size is a multiple of three, so that the
// encoding has no spare bits.
//
//	 0 version 1   1 kid   2 audience   3 flags
//	 4 issued at   8 expires
//	12 subject    28 family   44 client
//	60 scope      64 epoch
//	68 HMAC-SHA256, 16 bytes of it
const (
	accessSize = 84
	accessBody = accessSize - 16
	// AccessLen is the length of each access token in characters.
	AccessLen = accessSize / 3 * 4
)

// AppendAccess appends the token for a to dst. The same a under the same key gives the
// same bytes, on every node: this is what makes a retried refresh repeatable.
//
// hot: does not allocate when dst has room (see BenchmarkAppendAccess).
func (r *Ring) AppendAccess(dst []byte, a *Access) []byte {
	kid, sub := r.mint(a.KID)
	var raw [accessSize]byte
	raw[0], raw[1], raw[2], raw[3] = version, kid, a.Audience, a.Flags
	binary.BigEndian.PutUint32(raw[4:], a.IssuedAt)
	binary.BigEndian.PutUint32(raw[8:], a.Expires)
	copy(raw[12:28], a.Subject[:])
	copy(raw[28:44], a.Family[:])
	copy(raw[44:60], a.Client[:])
	binary.BigEndian.PutUint32(raw[60:], a.Scope)
	binary.BigEndian.PutUint32(raw[64:], a.Epoch)
	sub.access.seal(raw[:], accessBody)
	return encoding.AppendEncode(dst, raw[:])
}

// VerifyAccess returns what an authentic token says. With ErrExpired it still does, for
// those who want to know whose time is over; with ErrMalformed and ErrForged it
// returns nothing.
//
// hot: called for every device request; no allocation (see BenchmarkVerifyAccess).
func (r *Ring) VerifyAccess(tok []byte, now time.Time) (Access, error) {
	var raw [accessSize]byte
	if !decode(raw[:], tok) || raw[0] != version {
		return Access{}, ErrMalformed
	}
	sub := r.keys[raw[1]]
	if sub == nil || !sub.access.verify(raw[:], accessBody) {
		return Access{}, ErrForged
	}
	a := Access{
		KID:      raw[1],
		Audience: raw[2],
		Flags:    raw[3],
		IssuedAt: binary.BigEndian.Uint32(raw[4:]),
		Expires:  binary.BigEndian.Uint32(raw[8:]),
		Subject:  [16]byte(raw[12:28]),
		Family:   [16]byte(raw[28:44]),
		Client:   [16]byte(raw[44:60]),
		Scope:    binary.BigEndian.Uint32(raw[60:]),
		Epoch:    binary.BigEndian.Uint32(raw[64:]),
	}
	if a.Expired(now) {
		return a, ErrExpired
	}
	return a, nil
}

// Expired reports whether now is at or past the token's expiry.
func (a *Access) Expired(now time.Time) bool { return now.Unix() >= int64(a.Expires) }
