package token_test

import (
	"bytes"
	"encoding/hex"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/souk-market/souk/core/token"
)

var (
	start      = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	unreserved = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)
)

const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

// testKey returns a key that is the same in each run.
func testKey(t testing.TB, id byte, created time.Time) token.Key {
	t.Helper()
	k, err := token.NewKey(bytes.NewReader(bytes.Repeat([]byte{id}, 32)), id, created)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func testRing(t testing.TB, keys ...token.Key) *token.Ring {
	t.Helper()
	if len(keys) == 0 {
		keys = []token.Key{testKey(t, 1, start.Add(-time.Hour)), testKey(t, 2, start)}
	}
	r, err := token.NewRing(keys)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// respell calls f with every string that differs from tok in one character, which
// includes every flip of a single bit, and with some that were only spelled otherwise.
func respell(tok string, f func(what, changed string)) {
	for i := range tok {
		for _, c := range alphabet {
			if byte(c) != tok[i] {
				f("changed character", tok[:i]+string(c)+tok[i+1:])
			}
		}
	}
	mid := len(tok) / 2
	for _, c := range []string{"\n", "\r", " ", "=", "+", "/", ".", "~", "\x00", "é"} {
		f("inserted "+c, tok[:mid]+c+tok[mid:])
		f("foreign character "+c, tok[:mid]+c+tok[mid+len(c):])
		f("trailing "+c, tok+c)
		f("last character "+c, tok[:len(tok)-len(c)]+c)
	}
	for n := range tok {
		f("cut short", tok[:n])
	}
	f("longer", tok+"A")
	f("longer by a group", tok+"AAAA")
	f("twice", tok+tok)
}

func TestSeconds(t *testing.T) {
	for _, c := range []struct {
		at   time.Time
		want uint32
	}{
		{time.Unix(1623085200, 999), 1623085200},
		{time.Unix(-5, 0), 0},
		{time.Unix(1<<40, 0), 1<<32 - 1},
	} {
		if got := token.Seconds(c.at); got != c.want {
			t.Errorf("Seconds(%v) = %d, want %d", c.at, got, c.want)
		}
	}
}

func TestOpaque(t *testing.T) {
	seen := map[string]bool{}
	for range 1000 {
		tok, err := token.NewOpaque(nil)
		if err != nil {
			t.Fatal(err)
		}
		if len(tok) != token.OpaqueLen || !unreserved.MatchString(tok) {
			t.Fatalf("NewOpaque() = %q, want %d unreserved characters", tok, token.OpaqueLen)
		}
		if seen[tok] {
			t.Fatalf("NewOpaque() = %q for the second time", tok)
		}
		seen[tok] = true
	}
	if _, err := token.NewOpaque(strings.NewReader("too short")); err == nil {
		t.Error("NewOpaque with a reader that ends early: no error")
	}
	sum := token.Hash("abc") // FIPS 180-4, SHA-256 of one block
	if got := hex.EncodeToString(sum[:]); got != "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" {
		t.Errorf("Hash(abc) = %s", got)
	}
}

func TestClientID(t *testing.T) {
	spellings := []string{
		"D4C1C937-D9B4-4BB6-BCD3-5E0850143EF5",
		"d4c1c937-d9b4-4bb6-bcd3-5e0850143ef5",
		"d4c1c937d9b44bb6bcd35e0850143ef5",
		"appdirect-49", "29352915982374239857", "", strings.Repeat("x", 255), strings.Repeat("x", 256),
	}
	seen := map[[16]byte]string{}
	for _, s := range spellings {
		id := token.ClientID(s)
		if id != token.ClientID(s) {
			t.Errorf("ClientID(%q) differs from call to call", s)
		}
		if other, ok := seen[id]; ok {
			t.Errorf("ClientID(%q) = ClientID(%q)", s, other)
		}
		seen[id] = s
	}
	// Stored tokens carry this value: it may never change.
	id := token.ClientID("appdirect-49")
	if got := hex.EncodeToString(id[:]); got != "31cfef3388954046798f2426648c2d9f" {
		t.Errorf("ClientID(appdirect-49) = %s", got)
	}
}
