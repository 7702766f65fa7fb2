package store_test

import (
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/souk-market/souk/core/store"
)

func aFamily() store.Family {
	return store.Family{
		State: store.Active, KID: 3, Class: 1, Audience: 2,
		RotatedAt: start.Add(7 * time.Millisecond), Created: start,
		Subject: store.SubjectID("alice"), Client: [16]byte{1, 2, 3},
		Scope: 5, Epoch: 6, Late: [2]uint32{8, 9},
	}
}

func TestFamilyReadsBack(t *testing.T) {
	s, _, _ := openStore(t)
	id := [16]byte{1}
	_, err := s.Family(ctx, id)
	wantIs(t, "Family of an absent one", err, store.ErrNotFound)
	want := aFamily()
	created, _, err := s.CreateFamily(ctx, id, want, time.Time{})
	if err != nil || !created {
		t.Fatalf("CreateFamily = %v, %v", created, err)
	}
	if got, err := s.Family(ctx, id); err != nil || got != want {
		t.Errorf("Family = %+v, %v, want %+v", got, err, want)
	}
}

func TestCodeIsRedeemedOnce(t *testing.T) {
	s, _, _ := openStore(t)
	for round := range 20 {
		id := [16]byte{byte(round)}
		var winners atomic.Int64
		var won atomic.Uint32
		seen := make([]store.Family, 16)
		together(len(seen), func(i int) {
			f := aFamily()
			f.Scope = uint32(i)
			created, existing, err := s.CreateFamily(ctx, id, f, start.Add(time.Hour))
			switch {
			case err != nil:
				t.Errorf("CreateFamily = %v", err)
			case created:
				winners.Add(1)
				won.Store(f.Scope)
				existing = f
			}
			seen[i] = existing
		})
		if winners.Load() != 1 {
			t.Fatalf("%d of 16 created one family", winners.Load())
		}
		for i, f := range seen {
			if f.Scope != won.Load() {
				t.Errorf("caller %d was shown the family of %d, the winner is %d", i, f.Scope, won.Load())
			}
		}
	}
}

func TestUpdateFamily(t *testing.T) {
	s, e, c := openStore(t)
	id := [16]byte{1}
	key := store.Key{Table: 'F', Part: string(id[:])}
	rotate := func(cur store.Family) (store.Family, time.Time, bool, error) {
		cur.Generation++
		return cur, c.now().Add(time.Hour), true, nil
	}
	_, err := s.UpdateFamily(ctx, id, rotate)
	wantIs(t, "UpdateFamily of an absent one", err, store.ErrNotFound)
	if _, _, err := s.CreateFamily(ctx, id, aFamily(), start.Add(time.Minute)); err != nil {
		t.Fatal(err)
	}

	t.Run("a refresh moves the expiry", func(t *testing.T) {
		f, err := s.UpdateFamily(ctx, id, rotate)
		if err != nil || f.Generation != 1 {
			t.Fatalf("UpdateFamily = %+v, %v", f, err)
		}
		if it, _ := e.Get(ctx, key); !it.Expires.Equal(start.Add(time.Hour)) {
			t.Errorf("the family expires at %v, want an hour from now", it.Expires)
		}
	})
	t.Run("no expiry keeps the present one", func(t *testing.T) {
		f, err := s.UpdateFamily(ctx, id, func(cur store.Family) (store.Family, time.Time, bool, error) {
			cur.State = store.Revoked
			return cur, time.Time{}, true, nil
		})
		if err != nil || f.State != store.Revoked {
			t.Fatalf("UpdateFamily = %+v, %v", f, err)
		}
		if it, _ := e.Get(ctx, key); !it.Expires.Equal(start.Add(time.Hour)) {
			t.Errorf("the family expires at %v, want it kept", it.Expires)
		}
	})
	t.Run("no change writes nothing", func(t *testing.T) {
		before, _ := e.Get(ctx, key)
		f, err := s.UpdateFamily(ctx, id, func(cur store.Family) (store.Family, time.Time, bool, error) {
			cur.Generation = 99
			return cur, time.Time{}, false, nil
		})
		if after, _ := e.Get(ctx, key); err != nil || f.Generation != 1 || after.Version != before.Version {
			t.Errorf("UpdateFamily = %+v, %v, want the family as it was", f, err)
		}
	})
	t.Run("an error comes back as it is", func(t *testing.T) {
		reuse := errors.New("reuse")
		_, err := s.UpdateFamily(ctx, id, func(cur store.Family) (store.Family, time.Time, bool, error) {
			cur.Generation = 99
			return cur, time.Time{}, true, reuse
		})
		if f, _ := s.Family(ctx, id); err != reuse || f.Generation != 1 {
			t.Errorf("UpdateFamily = %v, generation %d", err, f.Generation)
		}
	})
	t.Run("a state that is none is refused", func(t *testing.T) {
		_, err := s.UpdateFamily(ctx, id, func(store.Family) (store.Family, time.Time, bool, error) {
			return store.Family{}, time.Time{}, true, nil
		})
		if err == nil {
			t.Error("UpdateFamily stored a family without a state")
		}
		if _, _, err := s.CreateFamily(ctx, [16]byte{9}, store.Family{}, time.Time{}); err == nil {
			t.Error("CreateFamily stored a family without a state")
		}
	})
	t.Run("an expired family is absent", func(t *testing.T) {
		c.advance(time.Hour)
		_, err := s.UpdateFamily(ctx, id, rotate)
		wantIs(t, "UpdateFamily", err, store.ErrNotFound)
		_, err = s.Family(ctx, id)
		wantIs(t, "Family", err, store.ErrNotFound)
	})
}
