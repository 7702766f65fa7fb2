package token_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/souk-market/souk/core/token"
)

func p256(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func installSigner(t testing.TB) *token.InstallSigner {
	return &token.InstallSigner{
		Issuer: "1234123412", KeyID: "52c5cb04-1163-4a30-ad4f-a3433cd6a4f6",
		Key: p256(t), Now: func() time.Time { return time.Unix(1623085200, 5) },
	}
}

var sampleInstall = token.InstallClaims{BundleID: "com.example.mytestapp", Item: 10737747186, Version: 2000004563}

// verifyES256 is RFC 7515 §5.2 for ES256, by the library's verifier of big integers.
func verifyES256(pub *ecdsa.PublicKey, jws string) bool {
	parts := strings.Split(jws, ".")
	if len(parts) != 3 {
		return false
	}
	sig, err := base64.RawURLEncoding.Strict().DecodeString(parts[2])
	if err != nil || len(sig) != 64 {
		return false
	}
	digest := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	return ecdsa.Verify(pub, digest[:], new(big.Int).SetBytes(sig[:32]), new(big.Int).SetBytes(sig[32:]))
}

func TestInstallInputIsApplesSample(t *testing.T) {
	const want = "eyJhbGciOiJFUzI1NiIsImtpZCI6IjUyYzVjYjA0LTExNjMtNGEzMC1hZDRmLWEzNDMzY2Q2YTRmNiIsInR5cCI6IkpXVCJ9.eyJpc3MiOiIxMjM0MTIzNDEyIiwiaWF0IjoxNjIzMDg1MjAwLCJleHAiOjE2MjMwODY0MDAsImF1ZCI6IkFwcGxlRG93bmxvYWRWZXJpZmljYXRpb24tdjEiLCJiaWQiOiJjb20uZXhhbXBsZS5teXRlc3RhcHAiLCJkdHlwZSI6ImRvd25sb2FkIiwibm9uY2UiOiI5QkMyQzVDQy1BMUY4LTRGOTMtOUQ2QS00RDUyNDY4NUI2N0UifQ"
	got := token.InstallInput("52c5cb04-1163-4a30-ad4f-a3433cd6a4f6", "1234123412",
		"9BC2C5CC-A1F8-4F93-9D6A-4D524685B67E", 1623085200, 1623086400,
		token.InstallClaims{BundleID: "com.example.mytestapp"})
	if got != want {
		t.Errorf("signing input is\n%s, want\n%s", got, want)
	}
	// A signed token begins like the sample up to the nonce, and ends in iid and vid.
	tok, err := installSigner(t).Sign(sampleInstall)
	if err != nil {
		t.Fatal(err)
	}
	prefix := want[:strings.IndexByte(want, '.')+1+len(`{"iss":"1234123412","iat":1623085200,"exp":1623086400,"aud":"AppleDownloadVerification-v1","bid":"com.example.mytestapp","dtype":"download"`)*4/3]
	if !strings.HasPrefix(tok, prefix) {
		t.Errorf("token is\n%s, want the prefix\n%s", tok, prefix)
	}
}

func TestInstallToken(t *testing.T) {
	s := installSigner(t)
	nonces := map[string]bool{}
	uuid4 := regexp.MustCompile(`^[0-9A-F]{8}-[0-9A-F]{4}-4[0-9A-F]{3}-[89AB][0-9A-F]{3}-[0-9A-F]{12}$`)
	for i := range 200 {
		c := sampleInstall
		c.Redownload = i%2 == 1
		buf, err := s.Append([]byte("token="), c)
		if err != nil {
			t.Fatal(err)
		}
		tok := strings.TrimPrefix(string(buf), "token=")
		if !verifyES256(&s.Key.PublicKey, tok) {
			t.Fatalf("signature of %s does not verify", tok)
		}
		claims, err := base64.RawURLEncoding.DecodeString(strings.Split(tok, ".")[1])
		if err != nil {
			t.Fatal(err)
		}
		var got struct {
			Iss, Aud, Bid, Dtype, Nonce, Iid, Vid string
			Iat, Exp                              int64
		}
		d := json.NewDecoder(bytes.NewReader(claims))
		d.DisallowUnknownFields()
		if err := d.Decode(&got); err != nil {
			t.Fatalf("claims %s: %v", claims, err)
		}
		if !uuid4.MatchString(got.Nonce) || nonces[got.Nonce] {
			t.Fatalf("nonce %q: want a new random UUID in upper case", got.Nonce)
		}
		nonces[got.Nonce] = true
		want := got
		want.Iss, want.Aud, want.Bid = "1234123412", "AppleDownloadVerification-v1", "com.example.mytestapp"
		want.Dtype = map[bool]string{false: "download", true: "redownload"}[c.Redownload]
		want.Iid, want.Vid, want.Iat, want.Exp = "10737747186", "2000004563", 1623085200, 1623085200+1200
		if got != want {
			t.Fatalf("claims %s, want %+v", claims, want)
		}
	}
	s.Life = time.Hour
	s.Rand = bytes.NewReader(make([]byte, 32))
	one, err1 := s.Sign(sampleInstall)
	two, err2 := s.Sign(sampleInstall)
	if err1 != nil || err2 != nil || one != two {
		t.Errorf("the same nonce at the same time made two tokens (%v, %v): signing is not deterministic", err1, err2)
	}
	if _, err := s.Sign(sampleInstall); err == nil {
		t.Error("Sign with randomness used up: no error")
	}
}

func TestInstallRefused(t *testing.T) {
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name   string
		change func(*token.InstallSigner, *token.InstallClaims)
		want   string
	}{
		{"no key", func(s *token.InstallSigner, _ *token.InstallClaims) { s.Key = nil }, "P-256"},
		{"a key on another curve", func(s *token.InstallSigner, _ *token.InstallClaims) { s.Key = p384 }, "P-256"},
		{"no issuer", func(s *token.InstallSigner, _ *token.InstallClaims) { s.Issuer = "" }, "issuer"},
		{"an issuer that is no number", func(s *token.InstallSigner, _ *token.InstallClaims) { s.Issuer = "example.com" }, "issuer"},
		{"an issuer with a leading zero", func(s *token.InstallSigner, _ *token.InstallClaims) { s.Issuer = "0123" }, "issuer"},
		{"no key id", func(s *token.InstallSigner, _ *token.InstallClaims) { s.KeyID = "" }, "key id"},
		{"a negative life", func(s *token.InstallSigner, _ *token.InstallClaims) { s.Life = -1 }, "life"},
		{"no bundle id", func(_ *token.InstallSigner, c *token.InstallClaims) { c.BundleID = "" }, "bundle id"},
		{"a quote in the bundle id", func(_ *token.InstallSigner, c *token.InstallClaims) { c.BundleID = `a","x":"` }, "bundle id"},
		{"another alphabet in the bundle id", func(_ *token.InstallSigner, c *token.InstallClaims) { c.BundleID = "com.exаmple" }, "bundle id"},
		{"a long bundle id", func(_ *token.InstallSigner, c *token.InstallClaims) { c.BundleID = strings.Repeat("a", 156) }, "bundle id"},
		{"no item", func(_ *token.InstallSigner, c *token.InstallClaims) { c.Item = 0 }, "ids begin at 1"},
		{"no version", func(_ *token.InstallSigner, c *token.InstallClaims) { c.Version = 0 }, "ids begin at 1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, claims := installSigner(t), sampleInstall
			c.change(s, &claims)
			got, err := s.Append([]byte("x"), claims)
			if err == nil || !strings.Contains(err.Error(), c.want) || string(got) != "x" {
				t.Errorf("Append = %q, %v, want x and an error with %q", got, err, c.want)
			}
		})
	}
}

// RFC 6979 §A.2.5, P-256 with SHA-256.
func TestSignES256Vectors(t *testing.T) {
	d, _ := hex.DecodeString("c9afa9d845ba75166b5c215767b1d6934e50c3db36e89b127b8a622b120f6721")
	key, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), d)
	if err != nil {
		t.Fatal(err)
	}
	for msg, want := range map[string]string{
		"sample": "efd48b2aacb6a8fd1140dd9cd45e81d69d2c877b56aaf991c34d0ea84eaf3716f7cb1c942d657c41d436c7a1b6e29f65f3e900dbb9aff4064dc4ab2f843acda8",
		"test":   "f1abb023518351cd71d881567b1ea663ed3efcf6c5132b354f28d3b0b7d38367019f4113742a2b14bd25926b49c649155f267e60d3814b4c0cc84250e46f0083",
	} {
		sig, err := token.SignES256(key, []byte(msg))
		if got := hex.EncodeToString(sig[:]); err != nil || got != want {
			t.Errorf("signature of %q = %s, %v, want %s", msg, got, err, want)
		}
	}
}

// RFC 7515 §A.3: what verifies our tokens above also verifies the standard's.
func TestVerifierOnRFC7515(t *testing.T) {
	const jws = "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q"
	x, _ := base64.RawURLEncoding.DecodeString("f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU")
	y, _ := base64.RawURLEncoding.DecodeString("x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0")
	pub, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), append(append([]byte{4}, x...), y...))
	if err != nil {
		t.Fatal(err)
	}
	if !verifyES256(pub, jws) {
		t.Error("the JWS of RFC 7515 §A.3 does not verify")
	}
	if verifyES256(pub, jws[:len(jws)-2]+"1R") || verifyES256(pub, strings.Replace(jws, "I", "J", 1)) {
		t.Error("a changed JWS verifies")
	}
}

func TestRawSignature(t *testing.T) {
	ff := strings.Repeat("ff", 31)
	for _, c := range []struct{ name, der, want string }{
		{"short numbers are padded", "3006020101020102", strings.Repeat("00", 31) + "01" + strings.Repeat("00", 31) + "02"},
		{"the sign byte goes", "3026" + "022100" + "ff" + ff + "020105", "ff" + ff + strings.Repeat("00", 31) + "05"},
		{"empty", "", ""},
		{"not a sequence", "3106020101020102", ""},
		{"a wrong length", "3007020101020102", ""},
		{"trailing bytes inside", "300702010102010200", ""},
		{"one number", "3003020101", ""},
		{"an empty number", "300502000201ff", ""},
		{"a number beyond the end", "3006020101020902", ""},
		{"a number too long", "3027" + "022101ff" + ff + "02020105", ""},
	} {
		der, err := hex.DecodeString(c.der)
		if err != nil {
			t.Fatal(err)
		}
		sig, err := token.RawSignature(der)
		switch {
		case c.want == "" && err == nil:
			t.Errorf("%s: no error", c.name)
		case c.want != "" && (err != nil || hex.EncodeToString(sig[:]) != c.want):
			t.Errorf("%s: %x, %v, want %s", c.name, sig, err, c.want)
		}
	}
}

func FuzzInstallInput(f *testing.F) {
	f.Add("com.example.app", "kid", uint64(1), uint64(2))
	f.Add("a\",\"x\":\"\\\x00\x1f\u2028\xff", "", uint64(0), uint64(2))
	f.Fuzz(func(t *testing.T, bid, kid string, item, version uint64) {
		in := token.InstallInput(kid, "1", "n", 1, 2, token.InstallClaims{BundleID: bid, Item: item, Version: version})
		for i, part := range strings.Split(in, ".") {
			raw, err := base64.RawURLEncoding.DecodeString(part)
			if err != nil {
				t.Fatal(err)
			}
			var got map[string]any
			if err := json.Unmarshal(raw, &got); err != nil {
				t.Fatalf("part %d is %s: %v", i, raw, err)
			}
			want := map[int][]string{0: {"kid", kid}, 1: {"bid", bid}}[i]
			if utf8.ValidString(want[1]) && got[want[0]] != want[1] {
				t.Fatalf("%s = %q, want %q", want[0], got[want[0]], want[1])
			}
		}
	})
}

func TestParseInstallKey(t *testing.T) {
	key := p256(t)
	encode := func(kind string, der []byte, err error) string {
		if err != nil {
			t.Fatal(err)
		}
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
	}
	sec1, err := x509.MarshalECPrivateKey(key)
	sec1PEM := encode("EC PRIVATE KEY", sec1, err)
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	pkcs8PEM := encode("PRIVATE KEY", pkcs8, err)
	public, err := token.PublicPEM(key)
	if err != nil {
		t.Fatal(err)
	}
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p384DER, err := x509.MarshalPKCS8PrivateKey(p384)
	p384PEM := encode("PRIVATE KEY", p384DER, err)
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	rsaDER, err := x509.MarshalPKCS8PrivateKey(rsaKey)
	rsaPEM := encode("PRIVATE KEY", rsaDER, err)
	params := "-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"

	for name, text := range map[string]string{
		"PKCS#8":                       pkcs8PEM,
		"SEC 1":                        sec1PEM,
		"SEC 1 with parameters":        params + sec1PEM,
		"text in front and CRLF":       "Bag Attributes\r\n" + strings.ReplaceAll(pkcs8PEM, "\n", "\r\n"),
		"a public key after the other": pkcs8PEM + string(public),
	} {
		got, err := token.ParseInstallKey([]byte(text))
		if err != nil || !got.Equal(key) {
			t.Errorf("%s: ParseInstallKey = %v, want the key", name, err)
		}
	}
	for _, c := range []struct{ name, text, want string }{
		{"empty", "", "no private key"},
		{"not PEM", "hello", "no private key"},
		{"only parameters", params, "no private key"},
		{"the public half", string(public), `"PUBLIC KEY"`},
		{"another curve", p384PEM, "P-384"},
		{"RSA", rsaPEM, "rsa"},
		{"encrypted PKCS#8", encode("ENCRYPTED PRIVATE KEY", pkcs8, nil), "encrypted"},
		{"encrypted SEC 1", strings.Replace(sec1PEM, "KEY-----\n", "KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\n", 1), "encrypted"},
		{"damaged PKCS#8", encode("PRIVATE KEY", pkcs8[:40], nil), "install key"},
		{"damaged SEC 1", encode("EC PRIVATE KEY", sec1[:40], nil), "install key"},
	} {
		_, err := token.ParseInstallKey([]byte(c.text))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: ParseInstallKey = %v, want an error with %q", c.name, err, c.want)
		}
	}

	block, _ := pem.Decode(public)
	if block == nil || block.Type != "PUBLIC KEY" {
		t.Fatalf("PublicPEM = %s", public)
	}
	pub, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil || !key.PublicKey.Equal(pub) {
		t.Errorf("PublicPEM holds another key: %v", err)
	}
}

func BenchmarkInstallSign(b *testing.B) {
	s := installSigner(b)
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		var err error
		if buf, err = s.Append(buf[:0], sampleInstall); err != nil {
			b.Fatal(err)
		}
	}
}
