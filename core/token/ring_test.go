package token_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/souk-market/souk/core/token"
)

func TestNewRingRefuses(t *testing.T) {
	k := testKey(t, 1, start)
	retired := k
	retired.Retired = start
	noID, noSecret := k, k
	noID.ID = 0
	noSecret.Secret = [32]byte{}
	for _, c := range []struct {
		name string
		keys []token.Key
		want string
	}{
		{"no key", nil, "no key"},
		{"only retired keys", []token.Key{retired}, "no key"},
		{"id 0", []token.Key{noID}, "reserved"},
		{"an id twice", []token.Key{k, k}, "twice"},
		{"an id twice, once retired", []token.Key{k, retired}, "twice"},
		{"an empty secret", []token.Key{noSecret}, "no secret"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := token.NewRing(c.keys)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("NewRing = %v, want an error with %q", err, c.want)
			}
		})
	}
	if _, err := token.NewKey(nil, 0, start); err == nil {
		t.Error("NewKey(id 0): no error")
	}
	if _, err := token.NewKey(strings.NewReader("short"), 1, start); err == nil {
		t.Error("NewKey with a reader that ends early: no error")
	}
}

func TestCurrent(t *testing.T) {
	old, now, next := testKey(t, 9, start.Add(-time.Hour)), testKey(t, 2, start), testKey(t, 5, start.Add(time.Hour))
	gone := testKey(t, 7, start.Add(2*time.Hour))
	gone.Retired = start.Add(100 * time.Hour)
	r := testRing(t, next, old, gone, now)
	if got := r.Current(); got != 5 {
		t.Errorf("Current() = %d, want the newest that is not retired, 5", got)
	}
	for _, c := range []struct {
		name string
		at   time.Time
		want byte
	}{
		{"before any key", start.Add(-2 * time.Hour), 9},
		{"the moment a key begins", start, 2},
		{"just before the next begins", start.Add(time.Hour - 1), 2},
		{"after the next began", start.Add(time.Hour), 5},
	} {
		if got := r.CurrentAt(c.at); got != c.want {
			t.Errorf("CurrentAt(%s) = %d, want %d", c.name, got, c.want)
		}
	}
	if r.Has(7) || r.Has(0) || r.Has(100) || !r.Has(9) {
		t.Error("Has: want 9, and neither 7 (retired) nor 0 nor 100 (unknown)")
	}
	same := testRing(t, testKey(t, 3, start), testKey(t, 4, start))
	if same.Current() != 4 || testRing(t, testKey(t, 4, start), testKey(t, 3, start)).Current() != 4 {
		t.Error("Current() depends on the order of keys that are equally old")
	}
}

func TestKeyBinding(t *testing.T) {
	one, two := testKey(t, 1, start), testKey(t, 2, start.Add(time.Hour))
	both := testRing(t, one, two)
	onlyOne := testRing(t, one)
	renamed := one
	renamed.ID = 2
	impostor := testRing(t, renamed)

	a := sampleAccess()
	a.KID = 2
	tok := both.AppendAccess(nil, &a)
	ref := both.AppendRefresh(nil, token.Refresh{KID: 2, Generation: 3})
	blob, err := both.Seal(nil, token.PurposeCode, []byte("x"))
	if err != nil {
		t.Fatal(err)
	}
	retired := two
	retired.Retired = start // long before the tokens were made, or after: it makes no difference
	later := two
	later.Retired = start.Add(1000 * time.Hour)
	for name, r := range map[string]*token.Ring{
		"key unknown":                  onlyOne,
		"key retired":                  testRing(t, one, retired),
		"key retired at a later time":  testRing(t, one, later),
		"another secret under this id": impostor,
	} {
		if _, err := r.VerifyAccess(tok, start); !errors.Is(err, token.ErrForged) {
			t.Errorf("%s: VerifyAccess = %v, want ErrForged", name, err)
		}
		if _, err := r.ParseRefresh(ref); !errors.Is(err, token.ErrForged) {
			t.Errorf("%s: ParseRefresh = %v, want ErrForged", name, err)
		}
		if _, err := r.Open(token.PurposeCode, blob); !errors.Is(err, token.ErrForged) {
			t.Errorf("%s: Open = %v, want ErrForged", name, err)
		}
	}

	a.KID = 1
	if got, err := both.VerifyAccess(both.AppendAccess(nil, &a), start); err != nil || got.KID != 1 {
		t.Errorf("access token under the older key: key %d, %v", got.KID, err)
	}
	for _, kid := range []byte{0, 77} {
		a.KID = kid
		got, err := both.VerifyAccess(both.AppendAccess(nil, &a), start)
		if err != nil || got.KID != 2 {
			t.Errorf("AppendAccess with key %d: token under key %d, %v; want the current, 2", kid, got.KID, err)
		}
		if a.KID != kid {
			t.Errorf("AppendAccess changed its argument")
		}
		ref, err := both.ParseRefresh(both.AppendRefresh(nil, token.Refresh{KID: kid}))
		if err != nil || ref.KID != 2 {
			t.Errorf("AppendRefresh with key %d: token under key %d, %v; want the current, 2", kid, ref.KID, err)
		}
	}
}

func TestFreeID(t *testing.T) {
	full := make([]token.Key, 0, 255)
	for id := 1; id <= 255; id++ {
		full = append(full, testKey(t, byte(id), start))
	}
	for _, c := range []struct {
		name string
		keys []token.Key
		want byte
	}{
		{"first", nil, 1},
		{"after the newest", []token.Key{testKey(t, 9, start), testKey(t, 3, start.Add(time.Minute))}, 4},
		{"not one that is taken", []token.Key{testKey(t, 4, start), testKey(t, 3, start.Add(time.Hour))}, 5},
		{"never 0", []token.Key{testKey(t, 255, start)}, 1},
		{"the last hole", append(full[:99:99], full[100:]...), 100},
	} {
		if got, err := token.FreeID(c.keys); err != nil || got != c.want {
			t.Errorf("%s: FreeID = %d, %v, want %d", c.name, got, err, c.want)
		}
	}
	if _, err := token.FreeID(full); err == nil {
		t.Error("FreeID with all taken: no error")
	}
}
