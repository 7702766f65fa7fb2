package store_test

import (
	"testing"
	"time"

	"github.com/souk-market/souk/core/store"
)

func TestSessionsAreThoseOfTheSubject(t *testing.T) {
	s, _, _ := openStore(t)
	alice, bob := store.SubjectID("alice"), store.SubjectID("bob")
	for i, subject := range [][16]byte{alice, bob, alice} {
		f := aFamily()
		f.Subject = subject
		if _, _, err := s.CreateFamily(ctx, [16]byte{byte(i + 1)}, f, start.Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
	}
	burnt := aFamily()
	burnt.Subject, burnt.State = alice, store.Revoked
	if _, _, err := s.CreateFamily(ctx, [16]byte{9}, burnt, start.Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	got, err := s.Sessions(ctx, alice)
	if err != nil || len(got) != 2 || got[0].ID != [16]byte{1} || got[1].ID != [16]byte{3} || got[0].Family.Subject != alice {
		t.Errorf("Sessions of alice = %v, %v, want the families 1 and 3: a burnt code is no sign-in", got, err)
	}
}

// TestSessionsAreClearedUp: entries of families that are gone don't pile up.
func TestSessionsAreClearedUp(t *testing.T) {
	s, e, c := openStore(t)
	create := func(n byte, life time.Duration) {
		t.Helper()
		if _, _, err := s.CreateFamily(ctx, [16]byte{n}, aFamily(), c.now().Add(life)); err != nil {
			t.Fatal(err)
		}
	}
	for n := range byte(40) {
		create(n+1, time.Minute)
	}
	create(100, 48*time.Hour)
	c.advance(2 * time.Hour) // the forty have expired
	create(101, time.Hour)
	entries := 0
	subject := aFamily().Subject
	if err := e.Dump(ctx, func(it store.Item) error {
		if it.Key.Table == 'S' && it.Key.Part == string(subject[:]) {
			entries++
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if got, err := s.Sessions(ctx, subject); err != nil || len(got) != 2 {
		t.Errorf("Sessions = %d of them, %v, want the 2 that live", len(got), err)
	}
	if entries > 12 { // 33 are looked at in one go
		t.Errorf("%d entries are left of 42, want those that one sign-in does not look at, and 2", entries)
	}
}
