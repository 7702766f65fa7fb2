package market_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/souk-market/souk/core/catalog"
	"github.com/souk-market/souk/core/market"
	"github.com/souk-market/souk/core/plugin"
	"github.com/souk-market/souk/core/store"
	"github.com/souk-market/souk/core/store/badger"
	"github.com/souk-market/souk/core/token"
)

const (
	alice   = "alice@example.com"
	item    = 1000002
	version = 2000022
)

// meddled is an engine in which something happens before an account is written.
type meddled struct {
	store.Engine
	before func(*store.Store)
	store  *store.Store
	busy   atomic.Bool
}

func (e *meddled) Update(ctx context.Context, k store.Key, f store.UpdateFunc) (store.Item, error) {
	if k.Table == 'U' && e.before != nil && e.busy.CompareAndSwap(false, true) {
		e.before(e.store)
		e.busy.Store(false)
	}
	return e.Engine.Update(ctx, k, f)
}

// openMarket is a market with one app and without plugins, and a device that is
// signed in.
func openMarket(t testing.TB) (*market.Market, *meddled, *token.Access) {
	t.Helper()
	engine, err := badger.Open(badger.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	e := &meddled{Engine: engine}
	if e.store, err = store.Open(t.Context(), e, store.Config{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = e.store.Close() })
	c, err := catalog.Open(t.Context(), e.store, catalog.Options{PublicURL: "http://127.0.0.1:8080/", Rules: catalog.Rules{LoopbackHTTP: true}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	_, err = c.Put(t.Context(), catalog.Item{
		ID: item, BundleID: "com.example.notes", Name: "Notes", SignIn: catalog.SignInRequired,
		Versions: []catalog.Version{{ID: version, Short: "1.0", Build: "1", MinOS: map[string]string{"ios": "17.4"}, Rollout: catalog.Rollout{Share: catalog.FullShare}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	h, err := plugin.Open(t.Context(), plugin.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = h.Close(context.WithoutCancel(t.Context())) })
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	m := &market.Market{
		Config: market.DefaultConfig(), Catalog: c, Store: e.store, Plugins: h, Now: time.Now, Rand: rand.Reader,
		Signer: &token.InstallSigner{Issuer: "1", KeyID: "k", Key: key},
		Client: func(dst []byte, _ [16]byte) []byte { return dst }, Device: func(client, _ [16]byte) [16]byte { return client },
	}
	access := &token.Access{Subject: store.SubjectID(alice), Client: [16]byte{1}, Family: [16]byte{2}}
	signIn(t, e.store, access)
	return m, e, access
}

func signIn(t testing.TB, s *store.Store, a *token.Access) {
	t.Helper()
	if _, err := s.UpdateAccount(t.Context(), alice, func(*store.Account) (bool, error) { return true, nil }); err != nil {
		t.Fatal(err)
	}
	f := store.Family{State: store.Active, Subject: a.Subject, Client: a.Client}
	if _, _, err := s.CreateFamily(t.Context(), a.Family, f, time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
}

// install asks for an install token, and says what the device holds afterwards.
func install(t *testing.T, m *market.Market, a *token.Access) (offers int, held bool, err error) {
	t.Helper()
	q := market.Request{Apps: []market.App{{Item: item}}, Platform: catalog.IOS, OS: 26 << 16, Access: a}
	var answer market.Answer
	err = m.InstallTokens(t.Context(), &q, &answer)
	account, e := m.Store.Account(t.Context(), a.Subject)
	if e != nil {
		t.Fatal(e)
	}
	return len(answer.Offers), account.Holds(a.Client, item), err
}

func update(t *testing.T, s *store.Store, f func(*store.Account)) {
	t.Helper()
	if _, err := s.UpdateAccount(t.Context(), alice, func(a *store.Account) (bool, error) { f(a); return true, nil }); err != nil {
		t.Error(err)
	}
}

// Nothing is given over counts that others have changed meanwhile: it is decided
// anew, and not for ever.
func TestChangedCountsAreDecidedAnew(t *testing.T) {
	m, e, access := openMarket(t)
	meddled := byte(0)
	meddle := func(s *store.Store) {
		meddled++
		update(t, s, func(a *store.Account) { a.Give([16]byte{100 + meddled}, item) })
	}
	e.before = meddle
	if offers, held, err := install(t, m, access); offers != 0 || held || err == nil || !strings.Contains(err.Error(), "changed meanwhile") {
		t.Errorf("a device that is always too late got %d offers, %v, and holds the app: %v; want an error and nothing", offers, err, held)
	}
	if meddled != 8 {
		t.Errorf("it was decided %d times, want 8", meddled)
	}
	tries := 0
	e.before = func(s *store.Store) {
		if tries++; tries < 4 {
			meddle(s)
		}
	}
	if offers, held, err := install(t, m, access); offers != 1 || !held || err != nil || tries != 4 {
		t.Errorf("a device that is too late three times got %d offers, %v, and holds the app: %v, after %d tries; want one of the fourth", offers, err, held, tries)
	}
}

// Who is decided anew has waited for his turn: the time at which the request came is over.
func TestWhoIsDecidedAnewHasALaterTime(t *testing.T) {
	m, e, access := openMarket(t)
	came := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	later := came.Add(9 * time.Second)
	looks := 0
	m.Now = func() time.Time { looks++; return later }
	q := market.Request{Apps: []market.App{{Item: item}}, Platform: catalog.IOS, OS: 26 << 16, Access: access, Now: came}
	for again, want := range map[bool]time.Time{false: came, true: later} {
		if asked, pool, err := m.TimeOf(t.Context(), &q, again); err != nil || !asked.Equal(want) || !pool.Equal(want) {
			t.Errorf("again = %v: policy is asked at %v and the pool at %v, %v, want %v", again, asked, pool, err, want)
		}
	}
	for moved, want := range map[bool]int{true: 1, false: 0} {
		one := *access
		one.Client = [16]byte{2}
		if !moved {
			one.Client = [16]byte{3}
		}
		q.Access, looks = &one, 0
		e.before = func(s *store.Store) {
			if moved {
				moved = false
				update(t, s, func(a *store.Account) { a.Give([16]byte{100}, item) })
			}
		}
		var answer market.Answer
		if err := m.InstallTokens(t.Context(), &q, &answer); err != nil || len(answer.Offers) != 1 || looks != want {
			t.Errorf("%d offers, %v, after %d looks at the clock: want one after %d", len(answer.Offers), err, looks, want)
		}
	}
}

// A device is in the way of another once: the second time is its turn, however many
// come meanwhile.
func TestTheSecondTimeIsTheDevicesTurn(t *testing.T) {
	m, _, access := openMarket(t)
	const workers, each = 8, 25
	var decided [workers * each]atomic.Int64
	m.Client = func(dst []byte, key [16]byte) []byte {
		decided[key[1]].Add(1)
		return dst
	}
	var all sync.WaitGroup
	for w := range workers {
		all.Go(func() {
			for i := range each {
				device := byte(w*each + i)
				one := *access
				one.Client = [16]byte{1, device}
				q := market.Request{Apps: []market.App{{Item: item}}, Platform: catalog.IOS, OS: 26 << 16, Access: &one}
				var a market.Answer
				if err := m.InstallTokens(t.Context(), &q, &a); err != nil || len(a.Offers) != 1 {
					t.Errorf("device %d got %d offers, %v, want one", device, len(a.Offers), err)
				}
			}
		})
	}
	all.Wait()
	for device := range decided {
		if n := decided[device].Load(); n > 2 {
			t.Errorf("it was decided %d times for device %d, want two at most", n, device)
		}
	}
}

// A sign-in that ends between the decision and the write gets nothing and leaves
// nothing.
func TestInstallWhileTheSignInEnds(t *testing.T) {
	until := time.Now().Add(time.Hour)
	for name, end := range map[string]func(t *testing.T, s *store.Store, a *token.Access){
		"the account is signed out": func(t *testing.T, s *store.Store, a *token.Access) {
			update(t, s, func(a *store.Account) { a.Epoch++ })
		},
		"the sign-in is revoked": func(t *testing.T, s *store.Store, a *token.Access) {
			if err := s.Revoke(t.Context(), a.Family, until); err != nil {
				t.Error(err)
			}
			_, err := s.UpdateFamily(t.Context(), a.Family, func(f store.Family) (store.Family, time.Time, bool, error) {
				f.State = store.Revoked
				return f, time.Time{}, true, nil
			})
			if err != nil {
				t.Error(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			m, e, access := openMarket(t)
			done := false
			e.before = func(s *store.Store) {
				if !done {
					done = true
					end(t, s, access)
				}
			}
			if offers, held, err := install(t, m, access); !errors.Is(err, market.ErrNoAccount) || offers != 0 || held {
				t.Errorf("the device got %d offers, %v, and holds the app: %v; want ErrNoAccount and nothing", offers, err, held)
			}
		})
	}
}

// What has its place already is not written again.
func TestNothingIsWrittenTwice(t *testing.T) {
	m, e, access := openMarket(t)
	writes := 0
	e.before = func(*store.Store) { writes++ }
	for i := range 3 {
		if offers, held, err := install(t, m, access); offers != 1 || !held || err != nil || writes != 1 {
			t.Errorf("install token %d: %d offers, %v, holds the app: %v, after %d writes; want one offer and one write in all", i, offers, err, held, writes)
		}
	}
	q := market.Request{Apps: []market.App{{Item: item, Version: 1}}, Platform: catalog.IOS, OS: 26 << 16, Access: &token.Access{Subject: access.Subject, Client: [16]byte{9}}}
	var a market.Answer
	if err := m.Restore(t.Context(), &q, &a); err != nil || len(a.Offers) != 1 || writes != 1 {
		t.Errorf("a restore gave %d offers, %v, after %d writes; want one and no write", len(a.Offers), err, writes)
	}
	a.Reset()
	if err := m.Updates(t.Context(), &q, &a); err != nil || len(a.Offers) != 1 || writes != 1 {
		t.Errorf("an update check gave %d offers, %v, after %d writes; want one and no write", len(a.Offers), err, writes)
	}
}
