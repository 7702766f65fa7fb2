package token

import (
	"fmt"
	"io"
	"slices"
)

// Purpose says what a sealed blob is for. Each has its own key, so that a blob which
// serves one purpose is a forgery for all others.
type Purpose string

const (
	PurposeCode    Purpose = "code"    // authorization code: what it was issued for, and the family it will create
	PurposeSignIn  Purpose = "sign_in" // sign-in transaction, in the form of the page
	PurposePage    Purpose = "page"    // cookie of a sign-in that the install page has begun
	PurposeLink    Purpose = "link"    // subject token of an install link: whose it is, for what app, of which sign-in
	PurposeState   Purpose = "state"   // a plugin's state between two steps, also through another provider
	PurposeConsent Purpose = "consent" // consent transaction, in the form of the page
	PurposeSession Purpose = "session" // cookie of the sign-in or the admin page
	PurposeCSRF    Purpose = "csrf"    // form token of a page
)

// purposes is a closed list: keys are derived when the ring is made, not on demand.
var purposes = [...]Purpose{PurposeCode, PurposeSignIn, PurposePage, PurposeLink, PurposeState, PurposeConsent, PurposeSession, PurposeCSRF}

// The layout: 0 version 1, 1 kid, 2 nonce, 14 AES-256-GCM ciphertext and tag. The
// nonces are random, which is good for 2³² blobs under one key and purpose.
const (
	sealHead  = 2
	sealNonce = 12
	sealTag   = 16
	// MaxSealed is how many bytes a sealed blob can hold.
	MaxSealed = 32 << 10
)

// Seal returns plaintext so that only Open with the same purpose reads it, under the
// current key. A blob has no expiry of its own: put one into the plaintext.
// A nil reader means the system's.
func (r *Ring) Seal(rand io.Reader, p Purpose, plaintext []byte) (string, error) {
	i := slices.Index(purposes[:], p)
	if i < 0 {
		return "", fmt.Errorf("token: seal for unknown purpose %q", p)
	}
	if len(plaintext) > MaxSealed {
		return "", fmt.Errorf("token: seal %s: %d bytes are more than %d", p, len(plaintext), MaxSealed)
	}
	kid := r.Current()
	raw := make([]byte, sealHead+sealNonce, sealHead+sealNonce+len(plaintext)+sealTag)
	raw[0], raw[1] = version, kid
	nonce := raw[sealHead:]
	if err := random(rand, nonce); err != nil {
		return "", err
	}
	raw = r.keys[kid].seals[i].Seal(raw, nonce, plaintext, sealContext(raw[:sealHead], p))
	return encoding.EncodeToString(raw), nil
}

// Open returns what Seal was given. It fails with ErrMalformed or ErrForged.
func (r *Ring) Open(p Purpose, sealed string) ([]byte, error) {
	i := slices.Index(purposes[:], p)
	if i < 0 {
		return nil, fmt.Errorf("token: open for unknown purpose %q", p)
	}
	size := encoding.DecodedLen(len(sealed))
	if size < sealHead+sealNonce+sealTag || size > sealHead+sealNonce+MaxSealed+sealTag {
		return nil, ErrMalformed
	}
	raw := make([]byte, size)
	if !decode(raw, []byte(sealed)) || raw[0] != version {
		return nil, ErrMalformed
	}
	sub := r.keys[raw[1]]
	if sub == nil {
		return nil, ErrForged
	}
	nonce, body := raw[sealHead:sealHead+sealNonce], raw[sealHead+sealNonce:]
	plain, err := sub.seals[i].Open(body[:0], nonce, body, sealContext(raw[:sealHead], p))
	if err != nil {
		return nil, ErrForged
	}
	return plain, nil
}

// sealContext is the additional data: the head and the purpose.
func sealContext(head []byte, p Purpose) []byte {
	return append(append(make([]byte, 0, 32), head...), p...)
}
