package token

import "encoding/binary"

// Refresh is what a refresh token says: which family, and which of its generations.
// It has no expiry, because the family's record has.
type Refresh struct {
	KID        byte // the key: 0, or one that is gone, mints under the current key
	Family     [16]byte
	Generation uint32
}

// The layout: 0 version 1, 1 kid, 2 family, 18 generation (big endian), 22 HMAC-SHA256,
// 20 bytes of it.
const (
	refreshSize = 42
	refreshBody = refreshSize - 20
	// RefreshLen is the length of each refresh token in characters.
	RefreshLen = refreshSize / 3 * 4
)

// AppendRefresh appends the token for t to dst. The same t under the same key gives the
// same bytes, so that nothing secret has to be kept for a retry.
func (r *Ring) AppendRefresh(dst []byte, t Refresh) []byte {
	kid, sub := r.mint(t.KID)
	var raw [refreshSize]byte
	raw[0], raw[1] = version, kid
	copy(raw[2:18], t.Family[:])
	binary.BigEndian.PutUint32(raw[18:], t.Generation)
	sub.refresh.seal(raw[:], refreshBody)
	return encoding.AppendEncode(dst, raw[:])
}

// ParseRefresh returns what an authentic token says, so that a forgery costs no look
// into the store.
func (r *Ring) ParseRefresh(tok []byte) (Refresh, error) {
	var raw [refreshSize]byte
	if !decode(raw[:], tok) || raw[0] != version {
		return Refresh{}, ErrMalformed
	}
	sub := r.keys[raw[1]]
	if sub == nil || !sub.refresh.verify(raw[:], refreshBody) {
		return Refresh{}, ErrForged
	}
	return Refresh{
		KID:        raw[1],
		Family:     [16]byte(raw[2:18]),
		Generation: binary.BigEndian.Uint32(raw[18:]),
	}, nil
}
