package store_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/souk-market/souk/core/store"
	"github.com/souk-market/souk/core/store/audit"
	"github.com/souk-market/souk/core/store/badger"
)

var errSync = errors.New("the disk is broken")

// audited is a store with a log whose syncs can be made to fail.
type audited struct {
	*store.Store
	clock  *clock
	log    *audit.Log
	broken atomic.Bool
}

func openAudited(t *testing.T) *audited {
	t.Helper()
	a := &audited{clock: newClock()}
	var err error
	a.log, err = audit.Open(audit.Options{Dir: t.TempDir(), Now: a.clock.now, Sync: func(f *os.File) error {
		if a.broken.Load() {
			return errSync
		}
		return f.Sync()
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = a.log.Close() })
	a.Store, err = store.Open(ctx, openEngine(t, a.clock), store.Config{Now: a.clock.now, Audit: a.log})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func (a *audited) entries(t *testing.T) (all []audit.Entry) {
	t.Helper()
	for e, err := range audit.Read(a.log.Dir()) {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, e)
	}
	return all
}

// newest wants exactly so many entries more than before, and returns them.
func (a *audited) newest(t *testing.T, before, n int) []audit.Entry {
	t.Helper()
	all := a.entries(t)
	if len(all) != before+n {
		t.Fatalf("%d entries after %d, want %d more: %+v", len(all), before, n, all[min(before, len(all)):])
	}
	return all[before:]
}

var byAdmin = audit.By(ctx, audit.Origin{Actor: audit.Admin, Address: "192.0.2.7"})

func (a *audited) account(t *testing.T, name string, change func(*store.Account)) {
	t.Helper()
	_, err := a.UpdateAccount(byAdmin, name, func(r *store.Account) (bool, error) {
		change(r)
		return true, nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestAccountChangesAreWrittenDown(t *testing.T) {
	a := openAudited(t)
	a.account(t, "alice", func(r *store.Account) { r.DisplayName = "Alice" })
	a.newest(t, 0, 0)
	a.account(t, "alice", func(r *store.Account) { r.Grants = []string{"b", "a", "b"} })
	a.account(t, "alice", func(r *store.Account) { r.Grants = []string{"c", "b"} })
	a.account(t, "alice", func(r *store.Account) { r.Territory = "AUT" })
	a.account(t, "alice", func(r *store.Account) { r.AddHistory(7) })
	a.account(t, "alice", func(r *store.Account) { r.Epoch, r.Territory = r.Epoch+1, "DEU" })
	got := a.newest(t, 0, 5)
	for i, want := range []audit.Entry{
		{Kind: audit.GrantsChanged, Added: []string{"a", "b"}},
		{Kind: audit.GrantsChanged, Added: []string{"c"}, Removed: []string{"a"}},
		{Kind: audit.TerritoryChanged, Detail: map[string]string{"old": "", "new": "AUT"}},
		{Kind: audit.SignedOut, Epoch: 1},
		{Kind: audit.TerritoryChanged, Detail: map[string]string{"old": "AUT", "new": "DEU"}},
	} {
		want.Seq, want.Time, want.At, want.Hash = uint64(i+1), start, got[i].At, got[i].Hash
		want.Actor, want.Address, want.Account, want.Subject = audit.Admin, "192.0.2.7", "alice", store.SubjectID("alice")
		if fmt.Sprintf("%+v", got[i]) != fmt.Sprintf("%+v", want) {
			t.Errorf("entry %d is %+v, want %+v", i, got[i], want)
		}
	}
}

// Whoever changes an account at the same moment changes what the entry was about: then
// it is written anew, so that the newest entry before a change is that of the change.
func TestEachAccountChangeHasItsOwnEntry(t *testing.T) {
	a := openAudited(t)
	const callers = 24
	together(callers, func(i int) {
		a.account(t, "alice", func(r *store.Account) { r.Grants = append(slices.Clone(r.Grants), fmt.Sprint("g", i)) })
		a.account(t, "alice", func(r *store.Account) { r.Epoch++ })
	})
	r, err := a.Account(ctx, store.SubjectID("alice"))
	if err != nil || len(r.Grants) != callers || r.Epoch != callers {
		t.Fatalf("Account = %+v, %v", r, err)
	}
	epochs, grants := map[uint32]bool{}, map[string]bool{}
	for _, e := range a.entries(t) {
		switch e.Kind {
		case audit.SignedOut:
			epochs[e.Epoch] = true
		case audit.GrantsChanged:
			if len(e.Added) != 1 || len(e.Removed) != 0 {
				t.Errorf("entry %+v, want one grant more", e)
			}
			grants[e.Added[0]] = true
		}
	}
	if len(epochs) != callers || len(grants) != callers || !epochs[callers] {
		t.Errorf("epochs %v and grants %v are written down, want %d of each", epochs, grants, callers)
	}
}

func TestSignInsAndTheirEndAreWrittenDownOnce(t *testing.T) {
	a := openAudited(t)
	a.account(t, "alice", func(r *store.Account) { r.Epoch = 6 })
	id := [16]byte{9}
	before := len(a.entries(t))
	for range 3 { // a code that comes again is no sign-in
		if _, _, err := a.CreateFamily(ctx, id, aFamily(), time.Time{}); err != nil {
			t.Fatal(err)
		}
	}
	e := a.newest(t, before, 1)[0]
	if e.Kind != audit.SignedIn || e.Family != id || e.Client != aFamily().Client || e.Account != "alice" || e.Epoch != 6 || e.Actor != audit.System {
		t.Errorf("a sign-in is written down as %+v", e)
	}
	until := start.Add(time.Hour)
	for range 3 {
		f, err := a.RevokeFamily(byAdmin, id, store.Ending{Why: "a test", Until: until})
		if err != nil || f.State != store.Revoked {
			t.Fatalf("RevokeFamily = %+v, %v", f, err)
		}
	}
	e = a.newest(t, before+1, 1)[0]
	if e.Kind != audit.FamilyRevoked || e.Family != id || e.Account != "alice" || !e.Until.Equal(until) || e.Detail["why"] != "a test" || e.Actor != audit.Admin {
		t.Errorf("the end of a sign-in is written down as %+v", e)
	}
	if !a.RevocationSet().Contains(id) {
		t.Error("the access tokens of the family are still good")
	}
	// A burned code.
	burned := aFamily()
	burned.State = store.Revoked
	if _, _, err := a.CreateFamily(ctx, [16]byte{10}, burned, time.Time{}); err != nil {
		t.Fatal(err)
	}
	if e := a.newest(t, before+2, 1)[0]; e.Kind != audit.CodeBurned || e.Family != (audit.ID{10}) {
		t.Errorf("a burned code is written down as %+v", e)
	}
}

func TestFamilyCannotEndUnnoticed(t *testing.T) {
	a := openAudited(t)
	id := [16]byte{9}
	if _, _, err := a.CreateFamily(ctx, id, aFamily(), time.Time{}); err != nil {
		t.Fatal(err)
	}
	update := func(change func(*store.Family)) {
		t.Helper()
		_, err := a.UpdateFamily(ctx, id, func(f store.Family) (store.Family, time.Time, bool, error) {
			change(&f)
			return f, time.Time{}, true, nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	update(func(f *store.Family) { f.Generation++ })
	a.newest(t, 1, 0) // a refresh is none of its business
	update(func(f *store.Family) { f.State = store.Revoked })
	if e := a.newest(t, 1, 1)[0]; e.Kind != audit.FamilyRevoked || e.Family != id {
		t.Errorf("the end of a family is written down as %+v", e)
	}
}

// What can't be written down is not done, and what needs no entry goes on.
func TestNothingChangesWithoutItsEntry(t *testing.T) {
	a := openAudited(t)
	a.account(t, "alice", func(r *store.Account) { r.Grants = []string{"a"} })
	id := [16]byte{9}
	if _, _, err := a.CreateFamily(ctx, id, aFamily(), time.Time{}); err != nil {
		t.Fatal(err)
	}
	kept := len(a.entries(t))
	a.broken.Store(true)
	alice := store.SubjectID("alice")
	for what, change := range map[string]func() error{
		"grants": func() error {
			_, err := a.UpdateAccount(ctx, "alice", func(r *store.Account) (bool, error) { r.Grants = nil; return true, nil })
			return err
		},
		"a sign-out": func() error {
			_, err := a.UpdateAccount(ctx, "alice", func(r *store.Account) (bool, error) { r.Epoch++; return true, nil })
			return err
		},
		"a new account with a territory": func() error {
			_, err := a.UpdateAccount(ctx, "bob", func(r *store.Account) (bool, error) { r.Territory = "AUT"; return true, nil })
			return err
		},
		"a sign-in": func() error {
			_, _, err := a.CreateFamily(ctx, [16]byte{1}, aFamily(), time.Time{})
			return err
		},
		"the end of a sign-in": func() error {
			_, err := a.RevokeFamily(ctx, id, store.Ending{Why: "a test", Until: start.Add(time.Hour)})
			return err
		},
		"the end of a sign-in in an update": func() error {
			_, err := a.UpdateFamily(ctx, id, func(f store.Family) (store.Family, time.Time, bool, error) {
				f.State = store.Revoked
				return f, time.Time{}, true, nil
			})
			return err
		},
		"a subject token": func() error {
			return a.PutSubjectToken(ctx, [32]byte{1}, store.SubjectToken{Account: "alice"}, start.Add(time.Hour))
		},
	} {
		if err := change(); !errors.Is(err, store.ErrStopped) {
			t.Errorf("%s with a broken log: %v, want ErrStopped", what, err)
		}
		a.broken.Store(false) // the disk seems to be well again: that proves nothing
	}
	r, err := a.Account(ctx, alice)
	if err != nil || !slices.Equal(r.Grants, []string{"a"}) || r.Epoch != 0 {
		t.Errorf("the account is now %+v, %v", r, err)
	}
	if cached, err := a.CachedAccount(ctx, alice); err != nil || cached.Epoch != 0 {
		t.Errorf("the account in memory is now %+v, %v", cached, err)
	}
	_, err = a.Account(ctx, store.SubjectID("bob"))
	wantIs(t, "Account of one that was not made", err, store.ErrNotFound)
	_, err = a.Family(ctx, [16]byte{1})
	wantIs(t, "Family that was not made", err, store.ErrNotFound)
	_, err = a.SubjectToken(ctx, [32]byte{1})
	wantIs(t, "SubjectToken that was not made", err, store.ErrNotFound)
	if f, err := a.Family(ctx, id); err != nil || f.State != store.Active || a.RevocationSet().Contains(id) {
		t.Errorf("the family is now %+v, %v", f, err)
	}
	// A refresh and a download go on.
	if _, err := a.UpdateFamily(ctx, id, func(f store.Family) (store.Family, time.Time, bool, error) {
		f.Generation++
		return f, time.Time{}, true, nil
	}); err != nil {
		t.Errorf("a refresh with a broken log: %v", err)
	}
	if _, err := a.UpdateAccount(ctx, "alice", func(r *store.Account) (bool, error) { return r.AddHistory(7), nil }); err != nil {
		t.Errorf("a download with a broken log: %v", err)
	}
	a.newest(t, kept, 0)
}

// The other way round is possible: what fails behind its entry leaves an entry alone.
func TestEntryMayStandWithoutItsChange(t *testing.T) {
	a := openAudited(t)
	engine := openEngine(t, a.clock)
	s, err := store.Open(ctx, &failing{Engine: engine}, store.Config{Now: a.clock.now, Audit: a.log})
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.UpdateAccount(ctx, "alice", func(r *store.Account) (bool, error) { r.Grants = []string{"a"}; return true, nil })
	wantIs(t, "UpdateAccount on a full disk", err, store.ErrFull)
	if e := a.newest(t, 0, 1)[0]; e.Kind != audit.GrantsChanged || e.Account != "alice" {
		t.Errorf("the entry is %+v", e)
	}
	_, err = s.Account(ctx, store.SubjectID("alice"))
	wantIs(t, "Account", err, store.ErrNotFound)
}

// failing is an engine that has become full: it writes no accounts.
type failing struct{ store.Engine }

func (e *failing) Update(ctx context.Context, k store.Key, f store.UpdateFunc) (store.Item, error) {
	return e.Engine.Update(ctx, k, func(cur *store.Item) (*store.Write, error) {
		w, err := f(cur)
		if err == nil && w != nil && k.Table == 'U' {
			return nil, store.ErrFull
		}
		return w, err
	})
}

func TestFullDiskIsToldAsTheEngineTellsIt(t *testing.T) {
	log, err := audit.Open(audit.Options{Dir: t.TempDir(), Room: badger.Room(t.TempDir(), 1<<62)})
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	c := newClock()
	s, err := store.Open(ctx, openEngine(t, c), store.Config{Now: c.now, Audit: log})
	if err != nil {
		t.Fatal(err)
	}
	_, _, err = s.CreateFamily(ctx, [16]byte{1}, aFamily(), time.Time{})
	wantIs(t, "CreateFamily on a full disk", err, store.ErrFull)
}
