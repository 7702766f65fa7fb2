package store_test

import (
	"context"
	"encoding/binary"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/souk-market/souk/core/store"
)

// gated is an engine before whose updates something happens.
type gated struct {
	store.Engine
	before func(store.Key) error
}

func (g *gated) Update(ctx context.Context, k store.Key, f store.UpdateFunc) (store.Item, error) {
	if g.before != nil {
		if err := g.before(k); err != nil {
			return store.Item{}, err
		}
	}
	return g.Engine.Update(ctx, k, f)
}

func raise(s *store.Store, account string) (store.Account, error) {
	return s.UpdateAccount(ctx, account, func(a *store.Account) (bool, error) { a.Epoch++; return true, nil })
}

func wantSigningOut(t *testing.T, when string, s *store.Store, account string, want bool) {
	t.Helper()
	if got := s.SigningOut(store.SubjectID(account)); got != want {
		t.Errorf("%s: SigningOut = %v, want %v", when, got, want)
	}
}

// reopen is a process that begins over what the engine has.
func reopen(t *testing.T, e store.Engine, c *clock) *store.Store {
	t.Helper()
	s, err := store.Open(ctx, e, store.Config{Now: c.now})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestASignOutIsNotedBeforeItBegins(t *testing.T) {
	c := newClock()
	g := &gated{Engine: openEngine(t, c)}
	s := reopen(t, g, c)
	if _, err := s.UpdateAccount(ctx, alice, change(func(a *store.Account) { a.Territory = "fr" })); err != nil {
		t.Fatal(err)
	}
	wantSigningOut(t, "an account whose epoch stays", s, alice, false)

	cut := errors.New("cut off")
	g.before = func(k store.Key) error { // the note can't be written
		if k.Table == 'E' {
			return cut
		}
		return nil
	}
	_, err := raise(s, alice)
	wantIs(t, "a sign-out that can't be noted", err, cut)
	if a, err := s.Account(ctx, store.SubjectID(alice)); err != nil || a.Epoch != 0 {
		t.Errorf("the account has the epoch %d, %v, want 0: the note comes first", a.Epoch, err)
	}

	var order strings.Builder
	g.before = func(k store.Key) error { order.WriteByte(k.Table); return nil }
	if a, err := raise(s, alice); err != nil || a.Epoch != 1 {
		t.Fatalf("the epoch is %d, %v, want 1", a.Epoch, err)
	}
	if order.String() != "UEU" { // looked at, noted, changed
		t.Errorf("tables were written to in the order %q, want UEU", order.String())
	}
	g.before = nil
	wantSigningOut(t, "one that has begun", s, alice, true)
	wantSigningOut(t, "another account", s, "bob", false)
	wantSigningOut(t, "one that was cut off, after a restart", reopen(t, g, c), alice, true)

	if err := s.SignedOut(ctx, store.SubjectID(alice), 1); err != nil {
		t.Error(err)
	}
	wantSigningOut(t, "one that has come to its end", s, alice, false)
	wantSigningOut(t, "one that has come to its end, after a restart", reopen(t, g, c), alice, false)
}

// One that was cut off between its note and its epoch never began. What one before it has
// left is still to be ended.
func TestASignOutThatNeverBeganIsForgotten(t *testing.T) {
	c := newClock()
	for _, began := range []uint32{0, 1} {
		g := &gated{Engine: openEngine(t, c)}
		s := reopen(t, g, c)
		if _, err := s.UpdateAccount(ctx, alice, change(func(a *store.Account) { a.Epoch = began })); err != nil {
			t.Fatal(err)
		}
		cut := errors.New("cut off")
		looked := false
		g.before = func(k store.Key) error {
			if k.Table == 'U' {
				if looked {
					return cut
				}
				looked = true
			}
			return nil
		}
		_, err := raise(s, alice)
		wantIs(t, "a sign-out that is cut off", err, cut)
		g.before = func(store.Key) error { return store.ErrFull }
		wantSigningOut(t, "after a start that can write nothing", reopen(t, readOnly{g}, c), alice, true)
		g.before = nil
		wantSigningOut(t, "after a start", reopen(t, g, c), alice, began > 0)
		s = reopen(t, g, c)
		if err := s.SignedOut(ctx, store.SubjectID(alice), began); err != nil {
			t.Error(err)
		}
		wantSigningOut(t, "after the end of the one before", s, alice, false)
		wantSigningOut(t, "after the end of the one before, and a start", reopen(t, g, c), alice, false)
	}
}

// readOnly is an engine that takes no write but the look at the format.
type readOnly struct{ *gated }

func (r readOnly) Update(ctx context.Context, k store.Key, f store.UpdateFunc) (store.Item, error) {
	if k.Table == 'M' {
		return r.Engine.Update(ctx, k, f)
	}
	return r.gated.Update(ctx, k, f)
}

// Two sign-outs of one account: the end of the first is not the end of the second.
func TestASignOutEndsItsOwnNote(t *testing.T) {
	s, e, c := openStore(t)
	for range 2 {
		if _, err := raise(s, alice); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.SignedOut(ctx, store.SubjectID(alice), 1); err != nil {
		t.Error(err)
	}
	wantSigningOut(t, "the end of the first", s, alice, true)
	wantSigningOut(t, "the end of the first, after a restart", reopen(t, e, c), alice, true)
	if err := s.SignedOut(ctx, store.SubjectID(alice), 2); err != nil {
		t.Error(err)
	}
	wantSigningOut(t, "the end of the second", s, alice, false)
	wantSigningOut(t, "the end of the second, after a restart", reopen(t, e, c), alice, false)
}

func TestASignOutWhoseEndIsNotNoted(t *testing.T) {
	c := newClock()
	g := &gated{Engine: openEngine(t, c)}
	s := reopen(t, g, c)
	if _, err := raise(s, alice); err != nil {
		t.Fatal(err)
	}
	g.before = func(store.Key) error { return store.ErrUnknown }
	wantIs(t, "an end that may not be stored", s.SignedOut(ctx, store.SubjectID(alice), 1), store.ErrUnknown)
	g.before = nil
	wantSigningOut(t, "an end that may not be stored", s, alice, true)
}

// Each sign-out raises the epoch, ends what it finds and notes its end; in between a
// sign-in of an epoch that is over is never without a note.
func TestSignOutsAtTheSameTime(t *testing.T) {
	s, e, c := openStore(t)
	const n = 40
	together(8, func(int) {
		for range n {
			a, err := raise(s, alice)
			if err != nil {
				t.Error(err)
				return
			}
			noted := s.SigningOut(store.SubjectID(alice)) // first: a newer one may have come and gone meanwhile
			if now, err := s.Account(ctx, store.SubjectID(alice)); err != nil || now.Epoch == a.Epoch && !noted {
				t.Errorf("the epoch %d, %v has come and is not noted", now.Epoch, err)
			}
			if err := s.SignedOut(ctx, store.SubjectID(alice), a.Epoch); err != nil {
				t.Error(err)
			}
		}
	})
	if a, err := s.Account(ctx, store.SubjectID(alice)); err != nil || a.Epoch != 8*n {
		t.Errorf("the epoch is %d, %v, want %d", a.Epoch, err, 8*n)
	}
	wantSigningOut(t, "all have come to their ends", s, alice, false)
	wantSigningOut(t, "all have come to their ends, after a restart", reopen(t, e, c), alice, false)
}

func TestEndAccountComesToItsEnd(t *testing.T) {
	c := newClock()
	g := &gated{Engine: openEngine(t, c)}
	s := reopen(t, g, c)
	family(t, s, 1, alice, 0, start, start)
	cut := errors.New("cut off")
	g.before = func(k store.Key) error {
		if k.Table == 'F' {
			return cut
		}
		return nil
	}
	_, err := s.EndAccount(ctx, alice, 1, start.Add(time.Hour))
	wantIs(t, "EndAccount that is cut off", err, cut)
	wantSigningOut(t, "EndAccount that is cut off", s, alice, true)
	g.before = nil
	if ended, err := s.EndAccount(ctx, alice, 1, start.Add(time.Hour)); err != nil || ended != 1 {
		t.Errorf("EndAccount again = %d, %v, want 1", ended, err)
	}
	wantSigningOut(t, "EndAccount again", s, alice, false)
}

// With other nodes this one may not know yet.
func TestASharedStoreAlwaysLooks(t *testing.T) {
	c := newClock()
	s, err := store.Open(ctx, openEngine(t, c), store.Config{Now: c.now, Shared: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	wantSigningOut(t, "an account that nobody touches", s, alice, true)
}

// A store of format 2 had no notes: what a sign-out that was cut off has left tells.
func TestSignOutsAreNotedInAnOlderStore(t *testing.T) {
	s, e, c := openStore(t)
	const cutOff, whole, never = "cut.off@example.com", "whole@example.com", "never@example.com"
	for i, name := range []string{cutOff, whole, never} {
		if _, err := s.UpdateAccount(ctx, name, change(func(*store.Account) {})); err != nil {
			t.Fatal(err)
		}
		id := family(t, s, byte(i+1), name, 0, start, start)
		if name == never {
			continue
		}
		if _, err := raise(s, name); err != nil {
			t.Fatal(err)
		}
		if name == whole {
			if _, err := s.EndFamily(ctx, id, start.Add(time.Hour)); err != nil {
				t.Fatal(err)
			}
			family(t, s, 9, name, 1, start, start)
		}
	}
	older(t, e, cutOff, whole)
	s = reopen(t, e, c)
	if f := formatOf(t, e); f != store.Format {
		t.Errorf("format = %d, want %d", f, store.Format)
	}
	wantSigningOut(t, "a sign-out that an older version left", s, cutOff, true)
	wantSigningOut(t, "a sign-out that was whole", s, whole, false)
	wantSigningOut(t, "an account that was never signed out", s, never, false)
	wantSigningOut(t, "what an older version left, after a restart", reopen(t, e, c), cutOff, true)
}

// older takes away what a store of format 2 did not have.
func older(t *testing.T, e store.Engine, noted ...string) {
	t.Helper()
	for _, name := range noted {
		if err := e.Apply(ctx, store.Op{Key: store.Key{Table: 'E', Part: "e", Sub: string(subject(name))}, Delete: true}); err != nil {
			t.Fatal(err)
		}
	}
	format := store.Op{Key: store.Key{Table: 'M', Part: "format"}, Value: binary.BigEndian.AppendUint32([]byte{1}, 2)}
	if err := e.Apply(ctx, format); err != nil {
		t.Fatal(err)
	}
	for k := range records(t, e) {
		if k.Table == 'E' {
			t.Errorf("record %q is left", k.Sub)
		}
	}
}
