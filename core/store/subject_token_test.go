package store_test

import (
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/souk-market/souk/core/store"
)

func TestSubjectTokenIsBoundToItsFirstClient(t *testing.T) {
	s, _, c := openStore(t)
	hash := [32]byte{1}
	_, err := s.BindSubjectToken(ctx, hash, "first")
	wantIs(t, "Bind of an unknown token", err, store.ErrNotFound)
	issued := store.SubjectToken{Account: "alice"}
	if err := s.PutSubjectToken(ctx, hash, issued, start.Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		got, err := s.BindSubjectToken(ctx, hash, "first")
		if want := (store.SubjectToken{Account: "alice", Client: "first"}); err != nil || got != want {
			t.Fatalf("Bind = %+v, %v, want %+v", got, err, want)
		}
	}
	_, err = s.BindSubjectToken(ctx, hash, "second")
	wantIs(t, "Bind by another client", err, store.ErrBound)
	_, err = s.ClaimSubjectToken(ctx, hash, store.SubjectToken{Account: "alice", Client: "second", Foreign: true}, start.Add(time.Minute))
	wantIs(t, "Claim by another client", err, store.ErrBound)
	if err := s.PutSubjectToken(ctx, hash, issued, start.Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	if got, err := s.SubjectToken(ctx, hash); err != nil || got.Client != "first" {
		t.Errorf("SubjectToken = %+v, %v: a second Put must not unbind it", got, err)
	}
	c.advance(time.Minute)
	_, err = s.BindSubjectToken(ctx, hash, "first")
	wantIs(t, "Bind of an expired token", err, store.ErrNotFound)
}

func TestForeignTokenIsClaimedOnce(t *testing.T) {
	s, _, c := openStore(t)
	hash := [32]byte{2}
	var winners atomic.Int64
	together(16, func(i int) {
		client := fmt.Sprint("client ", i)
		got, err := s.ClaimSubjectToken(ctx, hash, store.SubjectToken{Account: "bob", Client: client, Foreign: true}, start.Add(time.Minute))
		switch {
		case err == nil:
			winners.Add(1)
			if want := (store.SubjectToken{Account: "bob", Client: client, Foreign: true}); got != want {
				t.Errorf("Claim = %+v, want %+v", got, want)
			}
			if again, err := s.ClaimSubjectToken(ctx, hash, store.SubjectToken{Account: "bob", Client: client, Foreign: true}, start.Add(time.Hour)); err != nil || again != got {
				t.Errorf("the same client's second claim = %+v, %v", again, err)
			}
		case !errors.Is(err, store.ErrBound):
			t.Errorf("Claim = %v, want ErrBound", err)
		}
	})
	if winners.Load() != 1 {
		t.Errorf("%d of 16 clients claimed one token", winners.Load())
	}
	c.advance(time.Minute)
	_, err := s.SubjectToken(ctx, hash)
	wantIs(t, "SubjectToken after its time", err, store.ErrNotFound)
}

func TestSubjectTokenRefusals(t *testing.T) {
	s, _, _ := openStore(t)
	long := strings.Repeat("x", 256)
	if _, err := s.BindSubjectToken(ctx, [32]byte{}, ""); err == nil {
		t.Error("Bind to no client succeeded")
	}
	_, err := s.BindSubjectToken(ctx, [32]byte{}, long)
	wantIs(t, "Bind to a long name", err, store.ErrLimit)
	_, err = s.ClaimSubjectToken(ctx, [32]byte{}, store.SubjectToken{Account: long, Client: "client", Foreign: true}, start)
	wantIs(t, "Claim for a long name", err, store.ErrLimit)
	err = s.PutSubjectToken(ctx, [32]byte{}, store.SubjectToken{Account: long}, start)
	wantIs(t, "Put of a long name", err, store.ErrLimit)
}
