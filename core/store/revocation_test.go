package store_test

import (
	"encoding/binary"
	"testing"
	"time"

	"github.com/souk-market/souk/core/store"
)

func TestRevocations(t *testing.T) {
	s, e, c := openStore(t)
	set := s.RevocationSet()
	id := [16]byte{1}
	if set.Contains(id) || set.Len() != 0 {
		t.Error("a new set is not empty")
	}
	for _, until := range []time.Duration{time.Hour, time.Minute, 2 * time.Hour} {
		if err := s.Revoke(ctx, id, start.Add(until)); err != nil {
			t.Fatal(err)
		}
		if !set.Contains(id) {
			t.Fatal("the set does not contain what was revoked")
		}
	}
	all, err := s.Revocations(ctx)
	if want := (store.Revocation{ID: id, Until: start.Add(2 * time.Hour)}); err != nil || len(all) != 1 || all[0] != want {
		t.Errorf("Revocations = %v, %v, want the longest: %v", all, err, want)
	}
	if known := s.RevocationsKnown(); !known.Equal(c.now()) {
		t.Errorf("a single node knows its revocations up to %v, want now", known)
	}

	again, err := store.Open(ctx, e, store.Config{Now: c.now})
	if err != nil {
		t.Fatal(err)
	}
	if !again.RevocationSet().Contains(id) {
		t.Error("a restart forgot a revocation")
	}
	c.advance(2 * time.Hour)
	if all, err := s.Revocations(ctx); err != nil || len(all) != 0 {
		t.Errorf("Revocations past their time = %v, %v", all, err)
	}
}

func TestManyRevocations(t *testing.T) {
	s, e, c := openStore(t)
	ids := make([][16]byte, 3000)
	for i := range ids {
		binary.BigEndian.PutUint64(ids[i][:], uint64(i)*0x9e3779b97f4a7c15)
	}
	together(len(ids), func(i int) {
		if err := s.Revoke(ctx, ids[i], start.Add(time.Minute)); err != nil {
			t.Error(err)
		}
		if !s.RevocationSet().Contains(ids[i]) {
			t.Error("the set does not contain what was revoked")
		}
	})
	again, err := store.Open(ctx, e, store.Config{Now: c.now})
	if err != nil {
		t.Fatal(err)
	}
	set := again.RevocationSet()
	if set.Len() != len(ids) {
		t.Errorf("%d revocations after a restart, want %d", set.Len(), len(ids))
	}
	if set.Contains([16]byte{0xff, 1}) {
		t.Error("the set contains what was never revoked")
	}

	// Entries go when their time is over and new ones come.
	c.advance(time.Minute)
	for i := range ids {
		ids[i][15] = 1
		if err := again.Revoke(ctx, ids[i], c.now().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
	}
	if n := set.Len(); n < len(ids) || n > 2*len(ids)-1000 {
		t.Errorf("%d entries, want those of the past mostly gone", n)
	}
	for _, id := range ids {
		if !set.Contains(id) {
			t.Fatal("a revocation in force was dropped")
		}
	}
}

func BenchmarkRevocationSet(b *testing.B) {
	s, _, _ := openStore(b)
	for i := range 1000 {
		if err := s.Revoke(ctx, [16]byte{byte(i), byte(i >> 8)}, start.Add(time.Hour)); err != nil {
			b.Fatal(err)
		}
	}
	set := s.RevocationSet()
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		id := [16]byte{1, 2, 3}
		for pb.Next() {
			id[0]++
			if set.Contains(id) {
				b.Error("contains what was not revoked")
			}
		}
	})
}
