package store_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/souk-market/souk/core/store"
)

func family(t *testing.T, s *store.Store, id byte, account string, epoch uint32, created, used time.Time) [16]byte {
	t.Helper()
	f := store.Family{State: store.Active, Subject: store.SubjectID(account), Epoch: epoch, Created: created, RotatedAt: used}
	if _, _, err := s.CreateFamily(ctx, [16]byte{id}, f, start.Add(180*24*time.Hour)); err != nil {
		t.Fatal(err)
	}
	return [16]byte{id}
}

func wantState(t *testing.T, s *store.Store, id [16]byte, want store.FamilyState) {
	t.Helper()
	if f, err := s.Family(ctx, id); err != nil || f.State != want {
		t.Errorf("family %d has the state %d, %v, want %d", id[0], f.State, err, want)
	}
}

func TestRecoveryIsKeptAndOnlyGrows(t *testing.T) {
	s, e, c := openStore(t)
	if r := s.Recovery(); !r.At.IsZero() || !r.Ended.IsZero() {
		t.Errorf("Recovery() of a fresh store = %+v", r)
	}
	steps := []struct{ set, want store.Recovery }{
		{store.Recovery{At: start}, store.Recovery{At: start}},
		{store.Recovery{At: start.Add(time.Hour), Ended: start.Add(time.Hour)}, store.Recovery{At: start.Add(time.Hour), Ended: start.Add(time.Hour)}},
		{store.Recovery{At: start.Add(2 * time.Hour)}, store.Recovery{At: start.Add(2 * time.Hour), Ended: start.Add(time.Hour)}},
		{store.Recovery{At: start}, store.Recovery{At: start.Add(2 * time.Hour), Ended: start.Add(time.Hour)}},
	}
	for _, step := range steps {
		if err := s.SetRecovery(ctx, step.set); err != nil {
			t.Fatal(err)
		}
		again, err := store.Open(ctx, e, store.Config{Now: c.now})
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range []*store.Store{s, again} {
			if got := s.Recovery(); !got.At.Equal(step.want.At) || !got.Ended.Equal(step.want.Ended) {
				t.Errorf("after SetRecovery(%+v) it is %+v, want %+v", step.set, got, step.want)
			}
		}
	}
}

func TestEndFamilyEndsWhatIsThereAndWhatIsNot(t *testing.T) {
	s, _, _ := openStore(t)
	until := start.Add(72 * time.Hour)
	here := family(t, s, 1, "alice@example.com", 0, start, start)
	for i, want := range []bool{true, false} {
		if ended, err := s.EndFamily(ctx, here, until); err != nil || ended != want {
			t.Errorf("EndFamily, time %d = %v, %v, want %v", i+1, ended, err, want)
		}
	}
	wantState(t, s, here, store.Revoked)
	absent := [16]byte{2}
	if ended, err := s.EndFamily(ctx, absent, until); err != nil || ended {
		t.Errorf("EndFamily of an absent one = %v, %v, want false", ended, err)
	}
	for _, id := range [][16]byte{here, absent} {
		if !s.RevocationSet().Contains(id) {
			t.Errorf("access tokens of family %d are good", id[0])
		}
	}
	if _, err := s.Family(ctx, absent); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("EndFamily made a family: %v", err)
	}
	// Past its time a revocation is not stored any more.
	past := [16]byte{3}
	if _, err := s.EndFamily(ctx, past, start); err != nil || s.RevocationSet().Contains(past) {
		t.Errorf("EndFamily until now = %v, and it is in the set: %v", err, s.RevocationSet().Contains(past))
	}
}

func TestEndAccountRaisesTheEpoch(t *testing.T) {
	s, _, _ := openStore(t)
	const name = "alice@example.com"
	_, err := s.UpdateAccount(ctx, name, func(a *store.Account) (bool, error) {
		a.Epoch = 2
		a.Give([16]byte{9}, 1000001)
		return true, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	old := family(t, s, 1, name, 2, start, start)
	next := family(t, s, 2, name, 3, start, start)
	if ended, err := s.EndAccount(ctx, name, 3, start.Add(time.Hour)); err != nil || ended != 1 {
		t.Errorf("EndAccount = %d, %v, want 1", ended, err)
	}
	wantState(t, s, old, store.Revoked)
	wantState(t, s, next, store.Active)
	a, err := s.Account(ctx, store.SubjectID(name))
	if err != nil || a.Epoch != 3 || len(a.Devices) != 0 || !a.HasItem(1000001) {
		t.Errorf("account = %+v, %v, want the epoch 3, no devices, its history", a, err)
	}
	// An epoch that was passed already is no news, and one of nobody begins there.
	if ended, err := s.EndAccount(ctx, name, 1, start.Add(time.Hour)); err != nil || ended != 0 {
		t.Errorf("EndAccount again = %d, %v, want 0", ended, err)
	}
	wantState(t, s, next, store.Active)
	if _, err := s.EndAccount(ctx, "bob@example.com", 7, start.Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if a, err := s.Account(ctx, store.SubjectID("bob@example.com")); err != nil || a.Epoch != 7 {
		t.Errorf("an account that was not there = %+v, %v, want the epoch 7", a, err)
	}
}

func TestEndSinceEndsWhatWasBegunOrUsed(t *testing.T) {
	s, _, _ := openStore(t)
	since := start.Add(-time.Hour)
	tests := []struct {
		created, used time.Time
		want          store.FamilyState
	}{
		{since.Add(-2 * time.Hour), since.Add(-time.Millisecond), store.Active},
		{since.Add(-2 * time.Hour), since, store.Revoked},
		{since.Add(-2 * time.Hour), start, store.Revoked},
		{since, since, store.Revoked},
		{start, start.Add(-2 * time.Hour), store.Revoked},
	}
	for i, test := range tests {
		family(t, s, byte(1+i), fmt.Sprint(i, "@example.com"), 0, test.created, test.used)
	}
	if n, err := s.EndSince(ctx, since); err != nil || n != 4 {
		t.Errorf("EndSince = %d, %v, want 4", n, err)
	}
	for i, test := range tests {
		wantState(t, s, [16]byte{byte(1 + i)}, test.want)
	}
	if n, err := s.EndSince(ctx, since); err != nil || n != 0 {
		t.Errorf("EndSince again = %d, %v, want 0", n, err)
	}
}

func TestBurnSubjectTokensLeavesThoseThatAreBound(t *testing.T) {
	s, _, _ := openStore(t)
	unseen, bound := [32]byte{1}, [32]byte{2}
	for _, hash := range [][32]byte{unseen, bound} {
		if err := s.PutSubjectToken(ctx, hash, store.SubjectToken{Account: "alice@example.com"}, start.Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.BindSubjectToken(ctx, bound, "device-1"); err != nil {
		t.Fatal(err)
	}
	if n, err := s.BurnSubjectTokens(ctx); err != nil || n != 1 {
		t.Errorf("BurnSubjectTokens = %d, %v, want 1", n, err)
	}
	if _, err := s.BindSubjectToken(ctx, unseen, "device-1"); !errors.Is(err, store.ErrBound) {
		t.Errorf("a token that was burned is bound: %v", err)
	}
	if _, err := s.BindSubjectToken(ctx, bound, "device-1"); err != nil {
		t.Errorf("a token that was bound, to its client = %v", err)
	}
}
