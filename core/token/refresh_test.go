package token_test

import (
	"errors"
	"testing"

	"github.com/souk-market/souk/core/token"
)

var sampleRefresh = token.Refresh{KID: 1, Family: [16]byte{1, 2, 3, 15: 0xff}, Generation: 1<<32 - 1}

func TestRefreshRoundTrip(t *testing.T) {
	r := testRing(t)
	tok := r.AppendRefresh([]byte("x"), sampleRefresh)[1:]
	if token.RefreshLen != 56 || len(tok) != token.RefreshLen || !unreserved.Match(tok) {
		t.Fatalf("token %q: want 56 unreserved characters", tok)
	}
	got, err := r.ParseRefresh(tok)
	if err != nil || got != sampleRefresh {
		t.Fatalf("ParseRefresh = %+v, %v, want %+v", got, err, sampleRefresh)
	}
	// Computed apart from this code. Refresh tokens live for months: the layout and the
	// labels of the subkeys may not drift.
	const vector = "AQEBAgMAAAAAAAAAAAAAAAD______3mv6F0emlEgNGoeEQlqqUKcG9Op"
	if string(tok) != vector {
		t.Errorf("AppendRefresh = %s, want %s", tok, vector)
	}
	next := sampleRefresh
	next.Generation--
	if string(r.AppendRefresh(nil, next)) == string(tok) {
		t.Error("two generations have the same token")
	}
}

func TestRefreshRefused(t *testing.T) {
	r := testRing(t)
	tok := string(r.AppendRefresh(nil, sampleRefresh))
	respell(tok, func(what, changed string) {
		got, err := r.ParseRefresh([]byte(changed))
		if err == nil || got != (token.Refresh{}) {
			t.Errorf("%s: ParseRefresh(%q) = %+v, %v, want a refusal", what, changed, got, err)
		}
		wrongShape := len(changed) != len(tok) || !unreserved.MatchString(changed)
		if wrongShape && !errors.Is(err, token.ErrMalformed) {
			t.Errorf("%s: ParseRefresh(%q) = %v, want ErrMalformed", what, changed, err)
		}
	})
}

func FuzzParseRefresh(f *testing.F) {
	r := testRing(f)
	f.Add(r.AppendRefresh(nil, sampleRefresh))
	f.Add(r.AppendRefresh(nil, token.Refresh{})[:55])
	f.Add([]byte("82u9fehjiofasbkr3290")) // of the web distribution document
	f.Fuzz(func(t *testing.T, tok []byte) {
		got, err := r.ParseRefresh(tok)
		if err != nil {
			if got != (token.Refresh{}) {
				t.Errorf("ParseRefresh(%q) = %+v with %v", tok, got, err)
			}
			return
		}
		if again := r.AppendRefresh(nil, got); string(again) != string(tok) {
			t.Errorf("%q parses, but %q is what it says", tok, again)
		}
	})
}

func BenchmarkParseRefresh(b *testing.B) {
	r := testRing(b)
	tok := r.AppendRefresh(nil, sampleRefresh)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := r.ParseRefresh(tok); err != nil {
			b.Fatal(err)
		}
	}
}
