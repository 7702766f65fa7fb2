package token_test

import (
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/souk-market/souk/core/token"
)

func sampleAccess() token.Access {
	a := token.Access{
		KID: 2, Audience: 3, Flags: 0x81,
		IssuedAt: token.Seconds(start), Expires: token.Seconds(start.Add(72 * time.Hour)),
		Family: [16]byte{15: 9}, Client: token.ClientID("D4C1C937-D9B4-4BB6-BCD3-5E0850143EF5"),
		Scope: 0xdeadbeef, Epoch: 0xfffffffe,
	}
	copy(a.Subject[:], "alice@example.co")
	return a
}

func TestAccessRoundTrip(t *testing.T) {
	r := testRing(t)
	want := sampleAccess()
	tok := r.AppendAccess([]byte("Bearer "), &want)[len("Bearer "):]
	if token.AccessLen != 112 || len(tok) != token.AccessLen || !unreserved.Match(tok) {
		t.Fatalf("token %q: want 112 unreserved characters", tok)
	}
	got, err := r.VerifyAccess(tok, start)
	if err != nil || got != want {
		t.Fatalf("VerifyAccess = %+v, %v, want %+v", got, err, want)
	}
	if again := r.AppendAccess(nil, &want); string(again) != string(tok) {
		t.Errorf("the same claims made another token: %s, then %s", tok, again)
	}
	// Computed apart from this code. Tokens outlive a deployment: the layout and the labels
	// of the subkeys may not drift.
	const vector = "AQIDgWmkKkBpqB7AYWxpY2VAZXhhbXBsZS5jbwAAAAAAAAAAAAAAAAAAAAlfHAgiAnlnkzUU1Xvg0fho3q2-7_____5s0xTZCV1_YFb5ogY7nMDw"
	if string(tok) != vector {
		t.Errorf("AppendAccess = %s, want %s", tok, vector)
	}
}

func TestAccessRefused(t *testing.T) {
	r := testRing(t)
	a := sampleAccess()
	tok := string(r.AppendAccess(nil, &a))
	respell(tok, func(what, changed string) {
		got, err := r.VerifyAccess([]byte(changed), start)
		if err == nil || got != (token.Access{}) {
			t.Errorf("%s: VerifyAccess(%q) = %+v, %v, want a refusal", what, changed, got, err)
		}
		wrongShape := len(changed) != len(tok) || !unreserved.MatchString(changed)
		if wrongShape && !errors.Is(err, token.ErrMalformed) {
			t.Errorf("%s: VerifyAccess(%q) = %v, want ErrMalformed", what, changed, err)
		}
	})
	refresh := r.AppendRefresh(nil, token.Refresh{Family: a.Family})
	if _, err := r.VerifyAccess(refresh, start); !errors.Is(err, token.ErrMalformed) {
		t.Errorf("VerifyAccess(refresh token) = %v, want ErrMalformed", err)
	}
}

func TestAccessExpiry(t *testing.T) {
	r := testRing(t)
	a := sampleAccess()
	tok := r.AppendAccess(nil, &a)
	end := time.Unix(int64(a.Expires), 0)
	for _, c := range []struct {
		name string
		now  time.Time
		want error
	}{
		{"before it was issued, by a node whose clock is late", start.Add(-time.Minute), nil},
		{"last nanosecond", end.Add(-1), nil},
		{"the second it names", end, token.ErrExpired},
		{"long after", end.Add(1000 * time.Hour), token.ErrExpired},
	} {
		got, err := r.VerifyAccess(tok, c.now)
		if !errors.Is(err, c.want) || got != a {
			t.Errorf("%s: VerifyAccess = %+v, %v, want the claims and %v", c.name, got, err, c.want)
		}
	}
}

func TestAccessConcurrently(t *testing.T) {
	r := testRing(t)
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			a := sampleAccess()
			var buf []byte
			for i := range 500 {
				a.KID, a.Epoch, a.Subject[0] = byte(1+i%2), uint32(i), byte(g)
				buf = r.AppendAccess(buf[:0], &a)
				if got, err := r.VerifyAccess(buf, start); err != nil || got != a {
					t.Errorf("goroutine %d: VerifyAccess = %+v, %v", g, got, err)
					return
				}
			}
		})
	}
	wg.Wait()
}

func TestAccessDoesNotAllocate(t *testing.T) {
	if raceEnabled {
		t.Skip("allocations are only counted without the race detector")
	}
	r := testRing(t)
	a := sampleAccess()
	buf := r.AppendAccess(nil, &a)
	long := append([]byte("A"), buf...)
	forged := append([]byte(nil), buf...)
	forged[50] ^= 1
	ref := r.AppendRefresh(nil, token.Refresh{})
	for name, f := range map[string]func(){
		"AppendAccess":           func() { buf = r.AppendAccess(buf[:0], &a) },
		"VerifyAccess":           func() { _, _ = r.VerifyAccess(buf, start) },
		"VerifyAccess, forgery":  func() { _, _ = r.VerifyAccess(forged, start) },
		"VerifyAccess, too long": func() { _, _ = r.VerifyAccess(long, start) },
		"AppendRefresh":          func() { ref = r.AppendRefresh(ref[:0], token.Refresh{Generation: 1}) },
		"ParseRefresh":           func() { _, _ = r.ParseRefresh(ref) },
	} {
		if n := testing.AllocsPerRun(1000, f); n != 0 {
			t.Errorf("%s allocates %v times a call, want 0", name, n)
		}
	}
}

func FuzzVerifyAccess(f *testing.F) {
	r := testRing(f)
	a := sampleAccess()
	good := r.AppendAccess(nil, &a)
	f.Add(good)
	f.Add(good[:111])
	f.Add([]byte(""))
	f.Add(r.AppendRefresh(nil, token.Refresh{}))
	f.Fuzz(func(t *testing.T, tok []byte) {
		got, err := r.VerifyAccess(tok, start)
		if err != nil && !errors.Is(err, token.ErrExpired) {
			if got != (token.Access{}) {
				t.Errorf("VerifyAccess(%q) = %+v with %v", tok, got, err)
			}
			return
		}
		if again := r.AppendAccess(nil, &got); string(again) != string(tok) {
			t.Errorf("%q verifies, but %q is what its claims make", tok, again)
		}
	})
}

func BenchmarkVerifyAccess(b *testing.B) {
	r := testRing(b)
	a := sampleAccess()
	tok := r.AppendAccess(nil, &a)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := r.VerifyAccess(tok, start); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkVerifyAccessParallel(b *testing.B) {
	r := testRing(b)
	a := sampleAccess()
	tok := r.AppendAccess(nil, &a)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := r.VerifyAccess(tok, start); err != nil {
				b.Error(err)
			}
		}
	})
}

func BenchmarkVerifyAccessForged(b *testing.B) {
	r := testRing(b)
	a := sampleAccess()
	tok := r.AppendAccess(nil, &a)
	tok[60] ^= 1
	b.ReportAllocs()
	for b.Loop() {
		_, _ = r.VerifyAccess(tok, start)
	}
}

func BenchmarkAppendAccess(b *testing.B) {
	r := testRing(b)
	a := sampleAccess()
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		buf = r.AppendAccess(buf[:0], &a)
	}
}
