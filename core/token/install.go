package token

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strconv"
	"sync/atomic"
	"time"
	"unicode/utf8"
)

// InstallSigner signs install verification tokens: the marketplace's word to Apple that
// it wants this version of this app installed. The device reads the claims, Apple
// checks the signature. Safe for concurrent use if Rand is.
type InstallSigner struct {
	Issuer string            // Apple item id of the marketplace, in decimal
	KeyID  string            // id of the alternative distribution key in App Store Connect
	Key    *ecdsa.PrivateKey // P-256
	Life   time.Duration     // 0: DefaultInstallLife
	Now    func() time.Time  // nil: time.Now
	Rand   io.Reader         // for nonces; nil: the system's

	signed atomic.Uint64
}

// Signed is how many tokens were signed so far.
func (s *InstallSigner) Signed() uint64 { return s.signed.Load() }

// DefaultInstallLife is the life of the token in Apple's sample.
const DefaultInstallLife = 20 * time.Minute

// InstallClaims is what differs from token to token. There is no device in it, so a
// token can be signed before anyone asks for it.
type InstallClaims struct {
	BundleID   string
	Item       uint64 // appleItemId; with Version, the device need not read the manifest first
	Version    uint64 // appleVersionId
	Redownload bool   // the account has had this app before
}

// Sign returns a token with its own nonce.
func (s *InstallSigner) Sign(c InstallClaims) (string, error) {
	tok, err := s.Append(nil, c)
	return string(tok), err
}

// Append appends a token with its own nonce to dst. After an error dst has grown by nothing.
func (s *InstallSigner) Append(dst []byte, c InstallClaims) ([]byte, error) {
	if err := s.check(c); err != nil {
		return dst, err
	}
	nonce, err := newNonce(s.Rand)
	if err != nil {
		return dst, err
	}
	iat := s.now()
	start := len(dst)
	tok := appendInstallInput(dst, installInput{
		keyID: s.KeyID, issuer: s.Issuer, nonce: nonce,
		issuedAt: iat.Unix(), expires: iat.Add(s.life()).Unix(), InstallClaims: c,
	})
	sig, err := signES256(s.Key, tok[start:])
	if err != nil {
		return dst, fmt.Errorf("token: sign install token for item %d: %w", c.Item, err)
	}
	s.signed.Add(1)
	return encoding.AppendEncode(append(tok, '.'), sig[:]), nil
}

func (s *InstallSigner) now() time.Time {
	if s.Now == nil {
		return time.Now()
	}
	return s.Now()
}

func (s *InstallSigner) life() time.Duration {
	if s.Life == 0 {
		return DefaultInstallLife
	}
	return s.Life
}

// check refuses what Apple would, here where the cause can still be named.
func (s *InstallSigner) check(c InstallClaims) error {
	switch {
	case s.Key == nil || s.Key.Curve != elliptic.P256():
		return errors.New("token: install signer has no P-256 key")
	case !isDecimal(s.Issuer):
		return fmt.Errorf("token: install issuer %q is not a decimal item id", s.Issuer)
	case s.KeyID == "":
		return errors.New("token: install signer has no key id")
	case s.Life < 0:
		return fmt.Errorf("token: install token life %v is negative", s.Life)
	case !isBundleID(c.BundleID):
		return fmt.Errorf("token: bundle id %q has other characters than letters, digits, hyphens and periods", c.BundleID)
	case c.Item == 0 || c.Version == 0:
		return fmt.Errorf("token: install token for item %d, version %d: ids begin at 1", c.Item, c.Version)
	}
	return nil
}

// installInput is all that stands in a token; check has passed it, but the writing below
// is right for any content.
type installInput struct {
	keyID, issuer, nonce string
	issuedAt, expires    int64
	InstallClaims
}

// appendInstallInput appends the JWS signing input. Order and spacing are those of
// Apple's sample, so that it is a test vector; iid and vid follow if they are known.
func appendInstallInput(dst []byte, in installInput) []byte {
	var room [512]byte
	b := append(room[:0], `{"alg":"ES256","kid":`...)
	b = appendJSONString(b, in.keyID)
	b = append(b, `,"typ":"JWT"}`...)
	dst = encoding.AppendEncode(dst, b)
	dst = append(dst, '.')

	b = append(room[:0], `{"iss":`...)
	b = appendJSONString(b, in.issuer)
	b = append(b, `,"iat":`...)
	b = strconv.AppendInt(b, in.issuedAt, 10)
	b = append(b, `,"exp":`...)
	b = strconv.AppendInt(b, in.expires, 10)
	b = append(b, `,"aud":"AppleDownloadVerification-v1","bid":`...)
	b = appendJSONString(b, in.BundleID)
	if in.Redownload {
		b = append(b, `,"dtype":"redownload","nonce":`...)
	} else {
		b = append(b, `,"dtype":"download","nonce":`...)
	}
	b = appendJSONString(b, in.nonce)
	if in.Item != 0 && in.Version != 0 {
		b = append(b, `,"iid":"`...)
		b = strconv.AppendUint(b, in.Item, 10)
		b = append(b, `","vid":"`...)
		b = strconv.AppendUint(b, in.Version, 10)
		b = append(b, '"')
	}
	return encoding.AppendEncode(dst, append(b, '}'))
}

// signES256 returns R and S, 32 bytes each, as RFC 7518 §3.4 wants them. The nil reader
// makes the signature deterministic (RFC 6979): a fifth less work than the hedged kind,
// and as safe here, where every message carries a random nonce.
func signES256(key *ecdsa.PrivateKey, msg []byte) ([64]byte, error) {
	digest := sha256.Sum256(msg)
	der, err := key.Sign(nil, digest[:], crypto.SHA256)
	if err != nil {
		return [64]byte{}, err
	}
	return rawSignature(der)
}

// rawSignature rewrites SEQUENCE{INTEGER r, INTEGER s} of P-256, whose lengths all fit
// one byte.
func rawSignature(der []byte) (sig [64]byte, err error) {
	bad := errors.New("unexpected encoding of a P-256 signature")
	if len(der) < 2 || der[0] != 0x30 || int(der[1]) != len(der)-2 {
		return sig, bad
	}
	rest := der[2:]
	for _, half := range [][]byte{sig[:32], sig[32:]} {
		if len(rest) < 2 || rest[0] != 0x02 || int(rest[1]) > len(rest)-2 {
			return sig, bad
		}
		n := rest[2 : 2+int(rest[1])]
		rest = rest[2+len(n):]
		if len(n) == 33 && n[0] == 0 {
			n = n[1:]
		}
		if len(n) == 0 || len(n) > 32 {
			return sig, bad
		}
		copy(half[32-len(n):], n)
	}
	if len(rest) != 0 {
		return sig, bad
	}
	return sig, nil
}

// newNonce returns a random UUID in upper case, as Apple's sample has it.
func newNonce(rand io.Reader) (string, error) {
	var u [16]byte
	if err := random(rand, u[:]); err != nil {
		return "", err
	}
	u[6] = u[6]&0x0f | 0x40 // RFC 9562 §5.4: version 4
	u[8] = u[8]&0x3f | 0x80 // and variant
	var s [36]byte
	hex.Encode(s[0:8], u[0:4])
	hex.Encode(s[9:13], u[4:6])
	hex.Encode(s[14:18], u[6:8])
	hex.Encode(s[19:23], u[8:10])
	hex.Encode(s[24:36], u[10:16])
	for i, c := range s {
		switch {
		case c == 0:
			s[i] = '-'
		case c >= 'a':
			s[i] = c - 'a' + 'A'
		}
	}
	return string(s[:]), nil
}

// appendJSONString appends s as a JSON string. Bytes that are no UTF-8 become U+FFFD,
// since JSON has no way to carry them.
func appendJSONString(b []byte, s string) []byte {
	const digits = "0123456789abcdef"
	b = append(b, '"')
	for _, c := range s {
		switch {
		case c == '"' || c == '\\':
			b = append(b, '\\', byte(c))
		case c < 0x20:
			b = append(b, '\\', 'u', '0', '0', digits[c>>4], digits[c&0xf])
		default:
			b = utf8.AppendRune(b, c)
		}
	}
	return append(b, '"')
}

func isDecimal(s string) bool {
	n, err := strconv.ParseUint(s, 10, 64)
	return err == nil && n != 0 && s[0] != '0' && s[0] != '+'
}

// isBundleID: the characters that Apple allows in a CFBundleIdentifier.
func isBundleID(s string) bool {
	if s == "" || len(s) > 155 {
		return false
	}
	for _, c := range []byte(s) {
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '.') {
			return false
		}
	}
	return true
}
