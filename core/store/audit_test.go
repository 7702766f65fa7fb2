package store_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"sync"
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

func (a *audited) client(t *testing.T, id string, change func(*store.Client)) {
	t.Helper()
	a.clock.advance(time.Second)
	if _, err := a.UpdateClient(byAdmin, id, func(c *store.Client) (bool, error) { change(c); return true, nil }); err != nil {
		t.Fatal(err)
	}
}

func TestClientChangesAreWrittenDown(t *testing.T) {
	a := openAudited(t)
	c := aClient("app")
	c.Kind, c.Secret = store.ConfidentialClient, [32]byte{0xab, 0xcd, 0xef}
	register := func() {
		t.Helper()
		a.clock.advance(time.Second)
		if _, err := a.CreateClient(byAdmin, c); err != nil {
			t.Fatal(err)
		}
	}
	register()
	if _, err := a.CreateClient(byAdmin, c); !errors.Is(err, store.ErrClientExists) { // nothing happens, so no entry
		t.Errorf("CreateClient again = %v", err)
	}
	a.client(t, "app", func(*store.Client) {})
	a.client(t, "app", func(c *store.Client) {
		c.Name, c.RedirectURIs = "Other", []string{"com.example.app:/new", "com.example.app:/back"}
	})
	a.client(t, "app", func(c *store.Client) { c.RedirectURIs = c.RedirectURIs[:1] })
	a.client(t, "app", func(c *store.Client) { c.Secret = [32]byte{0xfe, 0xdc, 0xba} })
	a.client(t, "app", func(c *store.Client) { c.Market, c.Scope = true, 0x1f })
	a.client(t, "app", func(c *store.Client) { c.State = store.ClientDisabled; c.Market = false })
	a.client(t, "app", func(c *store.Client) { c.State = store.ClientActive })
	a.clock.advance(time.Second)
	if err := a.RemoveClient(byAdmin, "app"); err != nil {
		t.Fatal(err)
	}
	register()
	type detail = map[string]string
	want := []audit.Entry{
		{Kind: audit.ClientRegistered, Added: []string{"com.example.app:/back"}, Detail: detail{"kind": "confidential", "name": "App", "market": "false"}},
		{Kind: audit.ClientChanged, Added: []string{"com.example.app:/new"}, Detail: detail{"old_name": "App", "name": "Other", "unchanged_since": "2"}},
		{Kind: audit.ClientChanged, Removed: []string{"com.example.app:/back"}, Detail: detail{"unchanged_since": "3"}},
		{Kind: audit.ClientSecretRotated, Detail: detail{"unchanged_since": "4"}},
		{Kind: audit.ClientChanged, Epoch: 1, Detail: detail{"market": "true", "scope": "1f", "unchanged_since": "5"}},
		{Kind: audit.ClientChanged, Epoch: 2, Detail: detail{"market": "false", "unchanged_since": "6"}},
		{Kind: audit.ClientDisabled, Epoch: 2, Detail: detail{"unchanged_since": "6"}},
		{Kind: audit.ClientEnabled, Epoch: 2, Detail: detail{"unchanged_since": "7"}},
		{Kind: audit.ClientRemoved, Epoch: 3, Detail: detail{"unchanged_since": "8"}},
		{Kind: audit.ClientRegistered, Epoch: 3, Added: []string{"com.example.app:/back"}, Detail: detail{"kind": "confidential", "name": "App", "market": "false", "unchanged_since": "9"}},
	}
	for i, e := range a.newest(t, 0, len(want)) {
		want := want[i]
		want.Detail["client"] = "app"
		if n := want.Detail["unchanged_since"]; n != "" { // in seconds
			want.Detail["unchanged_since"] = "2030-01-02T03:04:" + fmt.Sprintf("%02d", 5+int(n[0]-'0')) + "Z"
		}
		want.Seq, want.Time, want.At, want.Hash, want.Actor, want.Address = e.Seq, e.Time, e.At, e.Hash, audit.Admin, "192.0.2.7"
		if !reflect.DeepEqual(e, want) {
			t.Errorf("entry %d is %+v, want %+v", i, e, want)
		}
	}
	segments, err := os.ReadDir(a.log.Dir())
	if err != nil || len(segments) == 0 {
		t.Fatal(segments, err)
	}
	for _, one := range segments { // not even what is kept of a secret
		b, err := os.ReadFile(a.log.Dir() + "/" + one.Name())
		if err != nil || strings.Contains(string(b), "abcdef") || strings.Contains(string(b), "fedcba") || strings.Contains(string(b), "\xab\xcd\xef") {
			t.Errorf("a secret stands in the log, %v", err)
		}
	}
}

// Whoever finds another record than the one that its entry is about writes another
// entry: each change has one that names the very record before it.
func TestEachClientChangeHasItsOwnEntry(t *testing.T) {
	a := openAudited(t)
	if _, err := a.CreateClient(ctx, aClient("app")); err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	made := map[string]string{} // what each change found
	together(24, func(i int) {
		c, err := a.UpdateClient(ctx, "app", func(c *store.Client) (bool, error) { c.Name = fmt.Sprint(i); return true, nil })
		if err != nil || c.Name != fmt.Sprint(i) {
			t.Errorf("UpdateClient = %+v, %v", c, err)
		}
		mu.Lock()
		defer mu.Unlock()
		made[c.Name] = c.Changed.Add(-time.Millisecond).Format(time.RFC3339Nano) // the clock stands still
	})
	told := map[string]string{} // the last entry of each
	for _, e := range a.entries(t) {
		if e.Kind == audit.ClientChanged {
			told[e.Detail["name"]] = e.Detail["unchanged_since"]
		}
	}
	if len(made) != 24 || !reflect.DeepEqual(made, told) {
		t.Errorf("entries are about the records of %v, want %v", told, made)
	}
}

// The end of a licence is written down, and its beginning is not.
func TestTheEndOfLicencesIsWrittenDown(t *testing.T) {
	a := openAudited(t)
	a.account(t, "alice", func(r *store.Account) { r.DisplayName = "Alice" })
	alice, bob := store.SubjectID("alice"), store.SubjectID("bob")
	for i, l := range []struct {
		subject [16]byte
		item    uint64
	}{{alice, notes}, {alice, notes}, {alice, sky}, {bob, notes}, {bob, sky}} {
		mustIssue(t, a.Store, l.subject, license(uint64(i+1), l.item, i+1, week), 0)
		if _, err := a.RenewLicense(ctx, uint64(i+1), start.Add(2*week), 0); err != nil {
			t.Fatal(err)
		}
	}
	a.newest(t, 0, 0)
	for range 2 { // the second time nothing ends
		if err := a.RevokeLicense(byAdmin, 2); err != nil {
			t.Fatal(err)
		}
		if _, err := a.RevokeLicenses(byAdmin, alice, nil); err != nil {
			t.Fatal(err)
		}
		if _, err := a.RevokeItem(byAdmin, notes); err != nil {
			t.Fatal(err)
		}
	}
	for i, e := range a.newest(t, 0, 4) {
		want := []audit.Entry{
			{Item: notes, Account: "alice", Subject: alice, Removed: []string{"2"}},
			{Item: notes, Account: "alice", Subject: alice, Removed: []string{"1"}},
			{Item: sky, Account: "alice", Subject: alice, Removed: []string{"3"}},
			{Item: notes},
		}[i]
		want.Kind, want.Actor, want.Address = audit.LicenseRevoked, audit.Admin, "192.0.2.7"
		want.Seq, want.Time, want.At, want.Hash = e.Seq, e.Time, e.At, e.Hash
		if !reflect.DeepEqual(e, want) {
			t.Errorf("entry %d is %+v, want %+v", i, e, want)
		}
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
	client, err := a.CreateClient(ctx, aClient("app"))
	if err != nil {
		t.Fatal(err)
	}
	alice := store.SubjectID("alice")
	licence := mustIssue(t, a.Store, alice, license(1, notes, 1, week), 1)
	kept := len(a.entries(t))
	a.broken.Store(true)
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
		"a client": func() error {
			_, err := a.CreateClient(ctx, aClient("new"))
			return err
		},
		"another name of a client": func() error {
			_, err := a.UpdateClient(ctx, "app", func(c *store.Client) (bool, error) { c.Name = "Other"; return true, nil })
			return err
		},
		"the end of a client":  func() error { return a.RemoveClient(ctx, "app") },
		"the end of a licence": func() error { return a.RevokeLicense(ctx, 1) },
		"the end of an account's licences": func() error {
			_, err := a.RevokeLicenses(ctx, alice, nil)
			return err
		},
		"the end of an item's licences": func() error {
			_, err := a.RevokeItem(ctx, notes)
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
	if all, err := a.Clients(ctx); err != nil || !reflect.DeepEqual(all, []store.Client{client}) {
		t.Errorf("the clients are now %+v, %v", all, err)
	}
	if _, l, err := a.License(ctx, 1); err != nil || l != licence {
		t.Errorf("the licence is now %+v, %v", l, err)
	}
	// A refresh, a download and a licence go on.
	if _, err := a.RenewLicense(ctx, 1, start.Add(2*week), 1); err != nil {
		t.Errorf("a renewal with a broken log: %v", err)
	}
	mustIssue(t, a.Store, alice, license(2, sky, 1, week), 1)
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
