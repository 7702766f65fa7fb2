package store_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/souk-market/souk/core/store"
)

const alice = "alice@example.com"

// change makes an update function of what never fails.
func change(f func(*store.Account)) func(*store.Account) (bool, error) {
	return func(a *store.Account) (bool, error) { f(a); return true, nil }
}

func names(accounts []store.Account) []string {
	var list []string
	for _, a := range accounts {
		list = append(list, a.Account)
	}
	return list
}

func TestAccountReadsBack(t *testing.T) {
	s, _, _ := openStore(t)
	subject := store.SubjectID(alice)
	_, err := s.Account(ctx, subject)
	wantIs(t, "Account of nobody", err, store.ErrNotFound)
	got, err := s.UpdateAccount(ctx, alice, func(a *store.Account) (bool, error) {
		if a.Account != alice || a.DisplayName != "" || a.Grants != nil || a.History != nil {
			t.Errorf("f sees %+v, want nothing but the name", a)
		}
		a.DisplayName, a.Territory, a.Epoch = "Alice", "fr", 3
		a.Grants = []string{"role:editor", "gold", "gold"}
		a.History = []uint64{1000003, 1000001, 1000003}
		return true, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	read, err := s.Account(ctx, subject)
	if err != nil || fmt.Sprint(read) != fmt.Sprint(got) {
		t.Errorf("Account = %+v, %v, want %+v", read, err, got)
	}
	want := store.Account{Account: alice, DisplayName: "Alice", Territory: "fr", Epoch: 3, Grants: []string{"gold", "role:editor"}, History: []uint64{1000001, 1000003}}
	if fmt.Sprint(read) != fmt.Sprint(want) {
		t.Errorf("Account = %v, want %v", read, want)
	}
	if !read.HasGrant("gold") || read.HasGrant("silver") || !read.HasItem(1000001) || read.HasItem(1000002) {
		t.Errorf("%+v does not know its grants and items", read)
	}
}

func TestUpdateAccountThatChangesNothing(t *testing.T) {
	s, e, _ := openStore(t)
	got, err := s.UpdateAccount(ctx, alice, func(*store.Account) (bool, error) { return false, nil })
	if err != nil || got.Account != alice {
		t.Errorf("UpdateAccount = %+v, %v, want the account with its name alone", got, err)
	}
	refused := errors.New("refused")
	_, err = s.UpdateAccount(ctx, alice, func(*store.Account) (bool, error) { return true, refused })
	if err != refused {
		t.Errorf("UpdateAccount = %v, want f's own error", err)
	}
	_, err = s.Account(ctx, store.SubjectID(alice))
	wantIs(t, "Account", err, store.ErrNotFound)
	n := 0
	if err := e.Dump(ctx, func(store.Item) error { n++; return nil }); err != nil || n != 1 {
		t.Errorf("%d records, %v, want the format alone: nobody was created", n, err)
	}
}

func TestAccountLimits(t *testing.T) {
	s, e, _ := openStore(t)
	many := make([]string, 257)
	for i := range many {
		many[i] = fmt.Sprintf("grant %03d", i)
	}
	refused := map[string]func(*store.Account){
		"too many grants":     func(a *store.Account) { a.Grants = many },
		"a long grant":        func(a *store.Account) { a.Grants = []string{strings.Repeat("g", 129)} },
		"a long display name": func(a *store.Account) { a.DisplayName = strings.Repeat("n", 256) },
		"a long territory":    func(a *store.Account) { a.Territory = strings.Repeat("t", 256) },
	}
	for why, f := range refused {
		_, err := s.UpdateAccount(ctx, alice, change(f))
		wantIs(t, "UpdateAccount with "+why, err, store.ErrLimit)
	}
	_, err := s.UpdateAccount(ctx, strings.Repeat("a", 256), change(func(*store.Account) {}))
	wantIs(t, "UpdateAccount with a long name", err, store.ErrLimit)
	if _, err := s.UpdateAccount(ctx, "", change(func(*store.Account) {})); err == nil {
		t.Error("UpdateAccount without a name succeeded")
	}
	if _, err := s.UpdateAccount(ctx, alice, change(func(a *store.Account) { a.Grants = many[:256] })); err != nil {
		t.Errorf("UpdateAccount with 256 grants = %v", err)
	}

	// Somebody else's record under the id of alice.
	record, err := e.Get(ctx, store.Key{Table: 'U', Part: string(subject(alice))})
	if err != nil {
		t.Fatal(err)
	}
	op := store.Op{Key: store.Key{Table: 'U', Part: string(subject("mallory"))}, Value: record.Value}
	if err := e.Apply(ctx, op); err != nil {
		t.Fatal(err)
	}
	_, err = s.UpdateAccount(ctx, "mallory", change(func(*store.Account) {}))
	if err == nil || !strings.Contains(err.Error(), alice) {
		t.Errorf("UpdateAccount over another account's record = %v", err)
	}
}

func subject(account string) []byte {
	id := store.SubjectID(account)
	return id[:]
}

func TestHistoryIsBounded(t *testing.T) {
	s, _, _ := openStore(t)
	full := make([]uint64, store.MaxHistory)
	for i := range full {
		full[i] = uint64(i) * 1000003
	}
	a, err := s.UpdateAccount(ctx, alice, func(a *store.Account) (bool, error) {
		return a.AddHistory(full...), nil
	})
	if err != nil || !slices.Equal(a.History, full) {
		t.Fatalf("UpdateAccount = %d items, %v, want %d", len(a.History), err, len(full))
	}
	if a.AddHistory(full...) || a.AddHistory(1) {
		t.Error("AddHistory changed a full history")
	}
	a, err = s.UpdateAccount(ctx, alice, change(func(a *store.Account) { a.History = append(a.History, 1, 2, 3) }))
	if err != nil || !slices.Equal(a.History, full) {
		t.Errorf("a history grown by force has %d items, %v, want it as it was", len(a.History), err)
	}
	var short store.Account
	if !short.AddHistory(3, 1, 2, 3) || !slices.Equal(short.History, []uint64{1, 2, 3}) {
		t.Errorf("AddHistory = %v, want 1 2 3", short.History)
	}
}

// What an app in the history costs, with ids of ten digits as Apple's are.
func TestHistoryIsSmall(t *testing.T) {
	s, e, _ := openStore(t)
	random := rand.New(rand.NewPCG(1, 2))
	for _, apps := range []int{15, 500, store.MaxHistory} {
		name := fmt.Sprint("account with ", apps)
		size := func() int {
			it, err := e.Get(ctx, store.Key{Table: 'U', Part: string(subject(name))})
			if err != nil {
				t.Fatal(err)
			}
			return len(it.Value)
		}
		if _, err := s.UpdateAccount(ctx, name, change(func(a *store.Account) { a.Territory = "AUT" })); err != nil {
			t.Fatal(err)
		}
		empty := size()
		var ids []uint64
		for range apps {
			ids = append(ids, 6_440_000_000+random.Uint64N(320_000_000)) // those of three years
		}
		if _, err := s.UpdateAccount(ctx, name, change(func(a *store.Account) { a.AddHistory(ids...) })); err != nil {
			t.Fatal(err)
		}
		each := float64(size()-empty) / float64(apps)
		t.Logf("a history of %d apps: %d bytes, %.2f an app", apps, size()-empty, each)
		if each > 5 {
			t.Errorf("in a history of %d an app takes %.2f bytes, want at most 5", apps, each)
		}
	}
}

func TestAccountsListsEachOnce(t *testing.T) {
	s, e, _ := openStore(t)
	const n = 300
	together(n, func(i int) {
		for range 2 {
			if _, err := s.UpdateAccount(ctx, fmt.Sprint("account ", i), change(func(a *store.Account) { a.Epoch++ })); err != nil {
				t.Error(err)
			}
		}
	})
	// A creation that was cut short: listed, without a record.
	ghost := store.Op{
		Key:   store.Key{Table: 'I', Part: string(subject("ghost")[0] / 4), Sub: string(subject("ghost"))},
		Value: []byte("\x01\x05ghost"),
	}
	if err := e.Apply(ctx, ghost); err != nil {
		t.Fatal(err)
	}
	all, err := s.Accounts(ctx, "", n+10)
	if err != nil || len(all) != n {
		t.Fatalf("Accounts = %d, %v, want %d", len(all), err, n)
	}
	for _, a := range all {
		if a.Epoch != 2 {
			t.Errorf("account %s was updated %d times, want 2", a.Account, a.Epoch)
		}
	}
	for _, limit := range []int{1, 7, 100} {
		var paged []store.Account
		for after := ""; ; {
			page, err := s.Accounts(ctx, after, limit)
			if err != nil || len(page) > limit {
				t.Fatalf("Accounts = %d, %v, want at most %d", len(page), err, limit)
			}
			paged = append(paged, page...)
			if len(page) < limit {
				break
			}
			after = page[len(page)-1].Account
		}
		if !slices.Equal(names(paged), names(all)) {
			t.Errorf("pages of %d list %d accounts, want %d", limit, len(paged), n)
		}
	}
}

func TestCachedAccountIsNeverStale(t *testing.T) {
	s, _, _ := openStore(t)
	var written atomic.Uint32 // epochs of updates that returned
	var done atomic.Bool
	together(8, func(i int) {
		if i == 0 {
			defer done.Store(true)
			for range 500 {
				a, err := s.UpdateAccount(ctx, alice, change(func(a *store.Account) { a.Epoch++ }))
				if err != nil {
					t.Error(err)
					return
				}
				written.Store(a.Epoch)
			}
			return
		}
		for !done.Load() {
			before := written.Load()
			a, err := s.CachedAccount(ctx, store.SubjectID(alice))
			if errors.Is(err, store.ErrNotFound) && before == 0 {
				continue
			}
			if err != nil || a.Epoch < before {
				t.Errorf("CachedAccount = epoch %d, %v after the update to %d returned", a.Epoch, err, before)
				return
			}
			runtime.Gosched() // whoever reads waits for nobody, and there are more of them than cores
		}
	})
}

// slow is an engine whose updates wait, with the write still to come.
type slow struct {
	store.Engine
	waiting, goOn chan struct{}
}

func (e *slow) Update(ctx context.Context, k store.Key, f store.UpdateFunc) (store.Item, error) {
	if k.Table == 'U' && e.waiting != nil {
		e.waiting <- struct{}{}
		<-e.goOn
	}
	return e.Engine.Update(ctx, k, f)
}

// The caller of an update goes away, a reader brings the old account into the
// cache, then the write lands.
func TestCachedAccountSurvivesALostUpdate(t *testing.T) {
	c := newClock()
	e := &slow{Engine: openEngine(t, c)}
	s := store.New(e, c.now)
	if _, err := s.UpdateAccount(ctx, alice, change(func(a *store.Account) { a.DisplayName = "Al" })); err != nil {
		t.Fatal(err)
	}
	e.waiting, e.goOn = make(chan struct{}), make(chan struct{})
	leaving, leave := context.WithCancel(ctx)
	lost := make(chan error)
	go func() {
		_, err := s.UpdateAccount(leaving, alice, change(func(a *store.Account) { a.DisplayName = "Alice" }))
		lost <- err
	}()
	<-e.waiting
	leave()
	err := <-lost
	wantIs(t, "UpdateAccount whose caller left", err, store.ErrUnknown)
	wantIs(t, "UpdateAccount whose caller left", err, context.Canceled)
	if a, err := s.CachedAccount(ctx, store.SubjectID(alice)); err != nil || a.DisplayName != "Al" {
		t.Fatalf("CachedAccount = %q, %v, want Al", a.DisplayName, err)
	}
	close(e.goOn)
	eventually(t, "the cache shows the update", func() bool {
		a, err := s.CachedAccount(ctx, store.SubjectID(alice))
		return err == nil && a.DisplayName == "Alice"
	})
	_, err = s.UpdateAccount(leaving, alice, change(func(*store.Account) {}))
	if !errors.Is(err, context.Canceled) || errors.Is(err, store.ErrUnknown) {
		t.Errorf("UpdateAccount with an ended context = %v, want its error alone", err)
	}
}

func TestCachedAccountKnowsNobody(t *testing.T) {
	s, e, _ := openStore(t)
	id := store.SubjectID(alice)
	for range 2 {
		_, err := s.CachedAccount(ctx, id)
		wantIs(t, "CachedAccount of nobody", err, store.ErrNotFound)
	}
	if _, err := s.UpdateAccount(ctx, alice, change(func(*store.Account) {})); err != nil {
		t.Fatal(err)
	}
	if _, err := s.CachedAccount(ctx, id); err != nil {
		t.Errorf("CachedAccount after the creation = %v", err)
	}
	// From now on no engine is asked.
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	if a, err := s.CachedAccount(ctx, id); err != nil || a.Account != alice {
		t.Errorf("CachedAccount = %+v, %v, want it from memory", a, err)
	}
	_, err := s.CachedAccount(ctx, store.SubjectID("bob"))
	wantIs(t, "CachedAccount of who is not in memory", err, store.ErrClosed)
}
