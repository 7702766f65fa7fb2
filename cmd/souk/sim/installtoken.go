package sim

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"sync"
	"time"
)

// installKey is what verifies install verification tokens, as Apple would.
type installKey struct {
	public     *ecdsa.PublicKey
	issuer, id string
}

func parseInstallKey(text []byte, issuer, id string) (*installKey, error) {
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, errors.New("the install key is no PEM")
	}
	key, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("the install key: %w", err)
	}
	public, ok := key.(*ecdsa.PublicKey)
	if !ok || public.Curve != elliptic.P256() {
		return nil, errors.New("the install key is not of P-256")
	}
	return &installKey{public, issuer, id}, nil
}

// header is a token's.
type header struct {
	Algorithm string `json:"alg"`
	Key       string `json:"kid"`
}

// claims are those of protocol.md §7.4.
type claims struct {
	Issuer   string `json:"iss"`
	Issued   int64  `json:"iat"`
	Expires  int64  `json:"exp"`
	Audience string `json:"aud"`
	Bundle   string `json:"bid"`
	Kind     string `json:"dtype"`
	Nonce    string `json:"nonce"`
	Item     string `json:"iid"`
	Version  string `json:"vid"`
}

var encoding = base64.RawURLEncoding.Strict()

// verify checks the signature and that the claims are those of an offer that was asked
// for and answered at these times. Who asks for an update or a restore has had the app.
func (k *installKey) verify(o *offer, bundle string, sent, answered time.Time) error {
	parts := bytes.Split(o.token, []byte{'.'})
	if len(parts) != 3 {
		return errors.New("the token is no JWS of three parts")
	}
	text, err := encoding.DecodeString(string(parts[0]))
	if err != nil {
		return fmt.Errorf("the header: %w", err)
	}
	var h header
	if err := json.Unmarshal(text, &h); err != nil {
		return fmt.Errorf("the header: %w", err)
	}
	if h.Algorithm != "ES256" || h.Key != k.id {
		return fmt.Errorf("the header is of alg %q, kid %q, and the key is ES256's, %q", h.Algorithm, h.Key, k.id)
	}
	sig, err := encoding.DecodeString(string(parts[2]))
	if err != nil || len(sig) != 64 {
		return fmt.Errorf("the signature has %d bytes, and ES256 has 64", len(sig))
	}
	digest := sha256.Sum256(o.token[:len(parts[0])+1+len(parts[1])])
	if !ecdsa.Verify(k.public, digest[:], new(big.Int).SetBytes(sig[:32]), new(big.Int).SetBytes(sig[32:])) {
		return errors.New("the signature is not the market's")
	}
	if text, err = encoding.DecodeString(string(parts[1])); err != nil {
		return fmt.Errorf("the claims: %w", err)
	}
	var c claims
	if err := json.Unmarshal(text, &c); err != nil {
		return fmt.Errorf("the claims: %w", err)
	}
	switch {
	case c.Issuer != k.issuer || c.Audience != "AppleDownloadVerification-v1" || c.Kind != "redownload":
		return fmt.Errorf("the claims are of iss %q, aud %q, dtype %q", c.Issuer, c.Audience, c.Kind)
	case c.Item != digits(o.item) || c.Version != digits(o.version) || c.Bundle != bundle:
		return fmt.Errorf("the claims are of iid %s, vid %s, bid %s", c.Item, c.Version, c.Bundle)
	case c.Issued > answered.Unix() || c.Expires <= sent.Unix():
		return fmt.Errorf("the token is good from %d to %d, and it was asked for at %d", c.Issued, c.Expires, sent.Unix())
	}
	return nil
}

// nonceOf reads the nonce of a token, as 128 bits.
func nonceOf(token []byte) (n [16]byte, ok bool) {
	_, rest, _ := bytes.Cut(token, []byte{'.'})
	payload, _, ok := bytes.Cut(rest, []byte{'.'})
	var room [1024]byte
	if !ok || encoding.DecodedLen(len(payload)) > len(room) {
		return n, false
	}
	size, err := encoding.Decode(room[:], payload)
	if err != nil {
		return n, false
	}
	_, text, ok := bytes.Cut(room[:size], []byte(`"nonce":"`))
	if !ok || len(text) < 36 {
		return n, false
	}
	var bare [32]byte
	filled := 0
	for _, c := range text[:36] {
		if c == '-' {
			continue
		}
		if filled == len(bare) {
			return n, false
		}
		bare[filled] = c
		filled++
	}
	if filled != len(bare) {
		return n, false
	}
	_, err = hex.Decode(n[:], bare[:])
	return n, err == nil
}

// nonces are those that were seen. As long as there are few, all are kept; then every
// second, every fourth and so on, by their value: one that comes twice is of the same
// part both times, so of what is kept no repetition is missed. Half of a nonce stands
// for it: among sixteen million random ones, the chance that two share it is 1 in 130000.
type nonces struct {
	mu   sync.Mutex
	most int
	part uint64 // of the values one in so many is kept: a power of two
	seen map[uint64]struct{}
}

const mostNonces = 1 << 22

func newNonces() *nonces {
	return &nonces{most: mostNonces, part: 1, seen: map[uint64]struct{}{}}
}

// add notes a nonce. looked = it is of the part that is kept.
func (s *nonces) add(n [16]byte) (looked, fresh bool) {
	// The first half lies before the version bits of the UUID, and is all random.
	key := binary.BigEndian.Uint64(n[:8])&^0xf000 | uint64(n[15])<<12&0xf000
	s.mu.Lock()
	defer s.mu.Unlock()
	if key%s.part != 0 {
		return false, true
	}
	if _, there := s.seen[key]; there {
		return true, false
	}
	s.seen[key] = struct{}{}
	for len(s.seen) > s.most {
		s.part *= 2
		for k := range s.seen {
			if k%s.part != 0 {
				delete(s.seen, k)
			}
		}
	}
	return true, true
}
