package store_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/souk-market/souk/core/store"
	"github.com/souk-market/souk/core/store/enginetest/faulty"
)

// sick is a store over an engine that fails, and can be opened again.
type sick struct {
	*store.Store
	engine *faulty.Engine
	clock  *clock
}

func openSick(t *testing.T) *sick {
	t.Helper()
	s := &sick{clock: newClock()}
	s.engine = faulty.New(openEngine(t, s.clock))
	s.restart(t)
	return s
}

// restart has what was in memory forgotten.
func (s *sick) restart(t *testing.T) {
	t.Helper()
	err := s.engine.Restart()
	if err == nil {
		s.Store, err = store.Open(ctx, s.engine, store.Config{Now: s.clock.now})
	}
	if err != nil {
		t.Fatal(err)
	}
}

// told is what a caller may be told of a write that met a fault.
var told = map[faulty.Fault]error{
	faulty.Full: store.ErrFull, faulty.Lost: store.ErrUnknown, faulty.Kept: store.ErrUnknown,
	faulty.StopLost: store.ErrUnknown, faulty.StopKept: store.ErrUnknown,
}

// A write that met a fault is never taken for done, and done again it has happened
// once.
func TestRepeatedAfterAFaultItHasHappenedOnce(t *testing.T) {
	const name = "alice@example.com"
	subject := store.SubjectID(name)
	id, hash := [16]byte{1}, [32]byte{2}
	family := store.Family{State: store.Active, Subject: subject, Created: start, RotatedAt: start}
	kv := func(s *sick) *store.KV {
		kv, err := s.PluginKV("plugin", store.KVQuota{Keys: 2})
		if err != nil {
			t.Fatal(err)
		}
		return kv
	}
	rules := []struct {
		rule   string
		table  byte // of the write that meets the fault
		before func(s *sick) error
		do     func(s *sick) error
		once   func(s *sick) error // nil = it has happened once
	}{
		{
			"a code is redeemed", 'F', nil,
			func(s *sick) error {
				_, existing, err := s.CreateFamily(ctx, id, family, time.Time{})
				if err == nil && existing != (store.Family{}) && existing != family {
					return fmt.Errorf("found the family %+v", existing)
				}
				return err
			},
			func(s *sick) error {
				all, err := s.Sessions(ctx, subject)
				if len(all) != 1 || all[0].Family != family {
					return fmt.Errorf("the sign-ins are %+v, %w", all, err)
				}
				// Whoever comes later finds it there.
				created, existing, err := s.CreateFamily(ctx, id, store.Family{State: store.Active, Subject: subject, Scope: 7}, time.Time{})
				if created || existing != family {
					return fmt.Errorf("a second redemption = %v, %+v, %w", created, existing, err)
				}
				return nil
			},
		},
		{
			"a sign-in is listed", 'S', nil,
			func(s *sick) error { _, _, err := s.CreateFamily(ctx, id, family, time.Time{}); return err },
			func(s *sick) error {
				all, err := s.Sessions(ctx, subject)
				if len(all) != 1 {
					return fmt.Errorf("the sign-ins are %+v, %w", all, err)
				}
				return nil
			},
		},
		{
			"a refresh rotates", 'F',
			func(s *sick) error { _, _, err := s.CreateFamily(ctx, id, family, time.Time{}); return err },
			func(s *sick) error { // with the token of generation 0, as the rule of refreshes has it
				_, err := s.UpdateFamily(ctx, id, func(f store.Family) (store.Family, time.Time, bool, error) {
					if f.Generation == 1 {
						return f, time.Time{}, false, nil
					}
					f.Generation++
					return f, time.Time{}, true, nil
				})
				return err
			},
			func(s *sick) error {
				if f, err := s.Family(ctx, id); err != nil || f.Generation != 1 {
					return fmt.Errorf("the family is %+v, %w", f, err)
				}
				return nil
			},
		},
		{
			"a subject token is bound", 'T',
			func(s *sick) error {
				return s.PutSubjectToken(ctx, hash, store.SubjectToken{Account: name}, start.Add(time.Hour))
			},
			func(s *sick) error { _, err := s.BindSubjectToken(ctx, hash, "first"); return err },
			func(s *sick) error {
				if _, err := s.BindSubjectToken(ctx, hash, "second"); !errors.Is(err, store.ErrBound) {
					return fmt.Errorf("another client = %w", err)
				}
				return nil
			},
		},
		{
			"a foreign token is claimed", 'T', nil,
			func(s *sick) error {
				_, err := s.ClaimSubjectToken(ctx, hash, store.SubjectToken{Account: name, Client: "first", Foreign: true}, start.Add(time.Hour))
				return err
			},
			func(s *sick) error {
				_, err := s.ClaimSubjectToken(ctx, hash, store.SubjectToken{Account: name, Client: "second", Foreign: true}, start.Add(time.Hour))
				if !errors.Is(err, store.ErrBound) {
					return fmt.Errorf("another client = %w", err)
				}
				return nil
			},
		},
		{
			"a grant is given", 'U', nil,
			func(s *sick) error { return give(s.Store, name, "gold") },
			func(s *sick) error { return wantGrants(s.Store, name, "gold") },
		},
		{
			"a new account is listed", 'I', nil,
			func(s *sick) error { return give(s.Store, name, "gold") },
			func(s *sick) error {
				if all, err := s.Accounts(ctx, "", 10); err != nil || len(all) != 1 {
					return fmt.Errorf("the accounts are %+v, %w", all, err)
				}
				return nil
			},
		},
		{
			"a sign-in is revoked", 'X', nil,
			func(s *sick) error { return s.Revoke(ctx, id, start.Add(time.Hour)) },
			func(s *sick) error {
				if all, err := s.Revocations(ctx); err != nil || len(all) != 1 || !s.RevocationSet().Contains(id) {
					return fmt.Errorf("the revocations are %+v, %w", all, err)
				}
				return nil
			},
		},
		{
			"a value is put", 'P', nil,
			func(s *sick) error { return kv(s).Put(ctx, []byte("key"), []byte("value"), 0) },
			func(s *sick) error { return wantRoomForOneMore(s, kv(s)) },
		},
		{
			"a value is swapped", 'P',
			func(s *sick) error { return kv(s).Put(ctx, []byte("key"), []byte("old"), 0) },
			func(s *sick) error { // who finds the new value there has made it
				err := kv(s).Swap(ctx, []byte("key"), []byte("old"), []byte("new"))
				if !errors.Is(err, store.ErrConflict) {
					return err
				}
				if val, err := kv(s).Get(ctx, []byte("key")); err != nil || string(val) != "new" {
					return fmt.Errorf("the value is %q, %w", val, err)
				}
				return nil
			},
			func(s *sick) error {
				if val, err := kv(s).Get(ctx, []byte("key")); err != nil || string(val) != "new" {
					return fmt.Errorf("the value is %q, %w", val, err)
				}
				return wantRoomForOneMore(s, kv(s))
			},
		},
		{
			"a value is deleted", 'P',
			func(s *sick) error { return kv(s).Put(ctx, []byte("gone"), []byte("value"), 0) },
			func(s *sick) error { return kv(s).Delete(ctx, []byte("gone")) },
			func(s *sick) error {
				s.clock.advance(time.Minute) // what was lost is counted again when there is no room
				if err := kv(s).Put(ctx, []byte("key"), nil, 0); err != nil {
					return err
				}
				return wantRoomForOneMore(s, kv(s))
			},
		},
		{
			"the key ring is changed", 'K', nil,
			func(s *sick) error {
				_, err := s.UpdateKeyRing(ctx, func([]byte) ([]byte, error) { return []byte("ring"), nil })
				return err
			},
			func(s *sick) error {
				if ring, err := s.KeyRing(ctx); err != nil || string(ring) != "ring" {
					return fmt.Errorf("the ring is %q, %w", ring, err)
				}
				return nil
			},
		},
		{
			"an app is put", 'A', nil,
			func(s *sick) error { return s.PutCatalogItem(ctx, 1, []byte("app")) },
			func(s *sick) error {
				if app, err := s.CatalogItem(ctx, 1); err != nil || string(app) != "app" {
					return fmt.Errorf("the app is %q, %w", app, err)
				}
				return nil
			},
		},
	}
	for _, r := range rules {
		for _, fault := range []faulty.Fault{faulty.Full, faulty.Lost, faulty.Kept, faulty.StopLost, faulty.StopKept} {
			t.Run(fmt.Sprint(r.rule, ", ", fault), func(t *testing.T) {
				t.Parallel()
				s := openSick(t)
				if r.before != nil {
					if err := r.before(s); err != nil {
						t.Fatal(err)
					}
				}
				s.engine.Next(r.table, fault)
				if err := r.do(s); !errors.Is(err, told[fault]) || s.engine.Met(fault) != 1 {
					t.Fatalf("the write = %v after %d faults, want %v", err, s.engine.Met(fault), told[fault])
				}
				if fault == faulty.StopLost || fault == faulty.StopKept {
					if err := r.do(s); !errors.Is(err, store.ErrStopped) {
						t.Errorf("again = %v, want ErrStopped", err)
					}
					s.restart(t)
				}
				for range 2 { // the second time it finds that it is done
					if err := r.do(s); err != nil {
						t.Fatalf("again = %v", err)
					}
				}
				if err := r.once(s); err != nil {
					t.Error(err)
				}
				s.restart(t)
				if err := r.once(s); err != nil {
					t.Errorf("after a restart: %v", err)
				}
			})
		}
	}
}

func give(s *store.Store, account, grant string) error {
	_, err := s.UpdateAccount(ctx, account, func(a *store.Account) (bool, error) {
		if a.HasGrant(grant) {
			return false, nil
		}
		a.Grants = append(slices.Clone(a.Grants), grant)
		return true, nil
	})
	return err
}

func wantGrants(s *store.Store, account string, grants ...string) error {
	cached := func(ctx context.Context, subject [16]byte) (store.Account, error) {
		a, err := s.CachedAccount(ctx, subject)
		if err != nil {
			return store.Account{}, err
		}
		return *a, nil
	}
	for _, read := range []func(context.Context, [16]byte) (store.Account, error){s.Account, cached} {
		if a, err := read(ctx, store.SubjectID(account)); err != nil || !slices.Equal(a.Grants, grants) {
			return fmt.Errorf("the account is %+v, %w", a, err)
		}
	}
	return nil
}

// wantRoomForOneMore: of two keys that a plugin may have it has one.
func wantRoomForOneMore(s *sick, kv *store.KV) error {
	s.clock.advance(time.Minute)
	if err := kv.Put(ctx, []byte("one more"), nil, 0); err != nil {
		return fmt.Errorf("one more = %w", err)
	}
	if err := kv.Put(ctx, []byte("two more"), nil, 0); !errors.Is(err, store.ErrQuota) {
		return fmt.Errorf("two more = %w, want ErrQuota", err)
	}
	return kv.Delete(ctx, []byte("one more"))
}

// A revocation whose write failed holds on this node all the same: in doubt a token
// is refused.
func TestRevocationHoldsBeforeItIsKept(t *testing.T) {
	s := openSick(t)
	for i, fault := range []faulty.Fault{faulty.Full, faulty.Lost, faulty.StopLost} {
		id := [16]byte{byte(i)}
		s.engine.Next('X', fault)
		if err := s.Revoke(ctx, id, start.Add(time.Hour)); err == nil {
			t.Errorf("%v: Revoke says that it is kept", fault)
		}
		if !s.RevocationSet().Contains(id) {
			t.Errorf("%v: the token is good", fault)
		}
	}
}

// A caller that gives up while the disk is slow does not leave the account of
// before in memory.
func TestSlowWriteDoesNotLeaveTheOldAccountInMemory(t *testing.T) {
	const name = "alice@example.com"
	s := openSick(t)
	if err := give(s.Store, name, "gold"); err != nil {
		t.Fatal(err)
	}
	release := s.engine.Hold()
	hurried, cancel := context.WithCancel(ctx)
	running := make(chan struct{})
	result := make(chan error, 1)
	go func() {
		close(running)
		_, err := s.UpdateAccount(hurried, name, func(a *store.Account) (bool, error) {
			a.Grants = nil
			return true, nil
		})
		result <- err
	}()
	<-running
	if err := wantGrants(s.Store, name, "gold"); err != nil { // reads go on, and fill the cache
		t.Error(err)
	}
	cancel()
	if err := <-result; !errors.Is(err, store.ErrUnknown) && !errors.Is(err, context.Canceled) {
		t.Errorf("UpdateAccount = %v", err)
	} else if errors.Is(err, store.ErrUnknown) {
		defer eventually(t, "the account in memory follows", func() bool {
			a, err := s.CachedAccount(ctx, store.SubjectID(name))
			return err == nil && len(a.Grants) == 0
		})
	}
	release()
}

// Hints that come late delay what other nodes see, and lose nothing.
func TestLateHintsLoseNothing(t *testing.T) {
	c := newClock()
	e := faulty.New(openEngine(t, c))
	one, err := store.Open(ctx, e, store.Config{Now: c.now, Shared: true})
	if err != nil {
		t.Fatal(err)
	}
	two, err := store.Open(ctx, e, store.Config{Now: c.now, Shared: true})
	if err != nil {
		t.Fatal(err)
	}
	release := e.HoldHints()
	for i := range byte(5) {
		if err := one.Revoke(ctx, [16]byte{i}, start.Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
	}
	release()
	for i := range byte(5) {
		eventually(t, "the other node sees the revocation", func() bool { return two.RevocationSet().Contains([16]byte{i}) })
	}
	if err := errors.Join(one.Close(), two.Close()); err != nil {
		t.Errorf("Close() = %v", err)
	}
}

// Many writes, each with a fault as the seed has it, beside a map of what they came
// to: what was acknowledged is there, what was refused is not, and what is unknown is
// one of the two.
func TestRandomFaults(t *testing.T) {
	for seed := range uint64(8) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			s := openSick(t)
			kv, err := s.PluginKV("plugin", store.KVQuota{})
			if err != nil {
				t.Fatal(err)
			}
			faults := []faulty.Fault{faulty.Full, faulty.Lost, faulty.Kept, faulty.StopLost, faulty.StopKept, faulty.Conflict}
			script := faulty.Random(seed, 30, faults...)
			s.engine.Script(script)
			r := rand.New(rand.NewPCG(seed, 1))
			known := map[string][]byte{} // nil = absent
			unknown := map[string][]byte{}
			restarts := 0
			for n := range 600 {
				key, value := fmt.Sprint(r.IntN(10)), fmt.Append(nil, n)
				switch err := kv.Swap(ctx, []byte(key), known[key], value); {
				case err == nil:
					known[key] = value
				case errors.Is(err, store.ErrUnknown):
					unknown[key] = value
				case errors.Is(err, store.ErrStopped):
					s.restart(t)
					s.engine.Script(script)
					restarts++
					if kv, err = s.PluginKV("plugin", store.KVQuota{}); err != nil {
						t.Fatal(err)
					}
				case !errors.Is(err, store.ErrFull):
					t.Fatalf("write %d = %v", n, err)
				}
				if s.engine.Stats().Stopped {
					continue // what a restart will find can't be told yet
				}
				for key, maybe := range unknown {
					got, err := kv.Get(ctx, []byte(key))
					if err != nil && !errors.Is(err, store.ErrNotFound) {
						t.Fatal(err)
					}
					if !bytes.Equal(got, maybe) && !bytes.Equal(got, known[key]) {
						t.Fatalf("after write %d key %s is %q, want %q or %q", n, key, got, known[key], maybe)
					}
					known[key] = got
					delete(unknown, key)
				}
			}
			s.restart(t)
			if kv, err = s.PluginKV("plugin", store.KVQuota{}); err != nil {
				t.Fatal(err)
			}
			for key, want := range known {
				got, err := kv.Get(ctx, []byte(key))
				if maybe, open := unknown[key]; open && bytes.Equal(got, maybe) {
					continue
				}
				if err != nil && !errors.Is(err, store.ErrNotFound) || !bytes.Equal(got, want) {
					t.Errorf("in the end key %s is %q, %v, want %q", key, got, err, want)
				}
			}
			if restarts == 0 {
				t.Error("no commit failed: the seed shows little")
			}
		})
	}
}
