package token_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/souk-market/souk/core/token"
)

var allPurposes = []token.Purpose{
	token.PurposeCode, token.PurposeSignIn, token.PurposePage, token.PurposeLink, token.PurposeState,
	token.PurposeConsent, token.PurposeSession, token.PurposeCSRF,
}

func TestSealRoundTrip(t *testing.T) {
	r := testRing(t)
	for _, p := range allPurposes {
		for _, size := range []int{0, 1, 2, 3, 100, 4096, token.MaxSealed} {
			plain := bytes.Repeat([]byte{0xa5}, size)
			sealed, err := r.Seal(nil, p, plain)
			if err != nil {
				t.Fatalf("Seal(%s, %d bytes): %v", p, size, err)
			}
			if !unreserved.MatchString(sealed) {
				t.Errorf("Seal(%s) = %q, want only unreserved characters", p, sealed)
			}
			got, err := r.Open(p, sealed)
			if err != nil || !bytes.Equal(got, plain) {
				t.Errorf("Open(%s, %d bytes) = %x, %v", p, size, got, err)
			}
			for _, other := range allPurposes {
				if other == p {
					continue
				}
				if _, err := r.Open(other, sealed); !errors.Is(err, token.ErrForged) {
					t.Errorf("a blob for %s opened for %s: %v, want ErrForged", p, other, err)
				}
			}
		}
	}
	one, _ := r.Seal(nil, token.PurposeCode, []byte("same"))
	two, _ := r.Seal(nil, token.PurposeCode, []byte("same"))
	if one == two {
		t.Error("the same plaintext was sealed to the same blob twice: the nonce is not random")
	}
}

func TestSealRefused(t *testing.T) {
	r := testRing(t)
	for _, plain := range []string{"", "a", "ab", "abc"} { // the lengths that leave 0, 2 and 4 spare bits
		sealed, err := r.Seal(nil, token.PurposeCode, []byte(plain))
		if err != nil {
			t.Fatal(err)
		}
		respell(sealed, func(what, changed string) {
			got, err := r.Open(token.PurposeCode, changed)
			if !errors.Is(err, token.ErrMalformed) && !errors.Is(err, token.ErrForged) || got != nil {
				t.Errorf("%s: Open(%q) = %q, %v, want a refusal", what, changed, got, err)
			}
		})
	}
	if _, err := r.Seal(nil, token.PurposeCode, make([]byte, token.MaxSealed+1)); err == nil {
		t.Error("Seal of too much: no error")
	}
	if _, err := r.Open(token.PurposeCode, strings.Repeat("A", 1<<20)); !errors.Is(err, token.ErrMalformed) {
		t.Errorf("Open of a megabyte = %v, want ErrMalformed", err)
	}
	if _, err := r.Seal(strings.NewReader("short"), token.PurposeCode, nil); err == nil {
		t.Error("Seal with a reader that ends early: no error")
	}
	if _, err := r.Seal(nil, "lunch", nil); err == nil {
		t.Error("Seal for an unknown purpose: no error")
	}
	if _, err := r.Open("lunch", "AAAA"); err == nil {
		t.Error("Open for an unknown purpose: no error")
	}
}

func FuzzOpen(f *testing.F) {
	r := testRing(f)
	for _, plain := range []string{"", "a", "ab", "a longer state"} {
		sealed, err := r.Seal(bytes.NewReader(make([]byte, 12)), token.PurposeState, []byte(plain))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(sealed)
	}
	f.Add("")
	f.Add("AQEAAAAA")
	f.Fuzz(func(t *testing.T, sealed string) {
		plain, err := r.Open(token.PurposeState, sealed)
		if err == nil && len(sealed) != (2+12+len(plain)+16)*8/6+min(1, (2+12+len(plain)+16)%3) {
			t.Errorf("%q opens to %d bytes, which have another length", sealed, len(plain))
		}
	})
}

func TestSealKeysRoundTrip(t *testing.T) {
	master := [32]byte{31: 1}
	old := testKey(t, 1, start)
	old.Retired = start.Add(7)
	want := []token.Key{old, testKey(t, 255, start)}
	want[0].Retired = want[0].Retired.Truncate(1e6)
	sealed, err := token.SealKeys(master, nil, want)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(sealed, want[0].Secret[:4]) {
		t.Error("the sealed ring shows a secret")
	}
	got, err := token.OpenKeys(master, sealed)
	if err != nil || len(got) != 2 || got[0] != want[0] || got[1] != want[1] {
		t.Fatalf("OpenKeys = %+v, %v, want %+v", got, err, want)
	}
	for i := range sealed {
		for bit := range 8 {
			sealed[i] ^= 1 << bit
			if _, err := token.OpenKeys(master, sealed); !errors.Is(err, token.ErrForged) && !errors.Is(err, token.ErrMalformed) {
				t.Errorf("OpenKeys with bit %d of byte %d flipped = %v, want a refusal", bit, i, err)
			}
			sealed[i] ^= 1 << bit
		}
	}
	for n := range sealed {
		if _, err := token.OpenKeys(master, sealed[:n]); err == nil {
			t.Errorf("OpenKeys of the first %d bytes: no error", n)
		}
	}
	if _, err := token.OpenKeys([32]byte{1}, sealed); !errors.Is(err, token.ErrForged) {
		t.Errorf("OpenKeys with another master key = %v, want ErrForged", err)
	}
}

func TestSealKeysRefuses(t *testing.T) {
	if _, err := token.SealKeys([32]byte{}, nil, []token.Key{testKey(t, 1, start)}); err == nil {
		t.Error("SealKeys under an empty master key: no error")
	}
	if _, err := token.SealKeys([32]byte{1}, nil, nil); err == nil {
		t.Error("SealKeys of no keys: no error")
	}
}

func FuzzOpenKeys(f *testing.F) {
	master := [32]byte{1}
	good, err := token.SealKeys(master, nil, []token.Key{testKey(f, 1, start)})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add(make([]byte, 49))
	f.Add(make([]byte, 98))
	f.Fuzz(func(t *testing.T, b []byte) {
		// As a stored record, which hardly ever passes the AEAD, and as what stands inside one.
		_, _ = token.OpenKeys(master, b)
		keys, err := token.OpenKeys(master, token.SealPlainKeys(master, b))
		if err != nil {
			return
		}
		if len(keys) != len(b)/49 {
			t.Errorf("OpenKeys of %d bytes gave %d keys", len(b), len(keys))
		}
		_, _ = token.NewRing(keys)
	})
}

func BenchmarkSeal(b *testing.B) {
	r := testRing(b)
	plain := make([]byte, 150)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := r.Seal(nil, token.PurposeCode, plain); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkOpen(b *testing.B) {
	r := testRing(b)
	sealed, err := r.Seal(nil, token.PurposeCode, make([]byte, 150))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := r.Open(token.PurposeCode, sealed); err != nil {
			b.Fatal(err)
		}
	}
}
