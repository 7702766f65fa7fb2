package store_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/souk-market/souk/core/store"
	"github.com/souk-market/souk/core/store/audit"
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

func TestReplayOfAClientTakesAndNeverGives(t *testing.T) {
	const id = "app"
	since := store.Millis(start) // when the client in the backup was written
	entry := func(kind audit.Kind, epoch uint32, after time.Duration, detail ...string) audit.Entry {
		e := audit.Entry{Kind: kind, Epoch: epoch, Detail: map[string]string{"client": id, "unchanged_since": since.Add(after).Format(time.RFC3339Nano)}}
		for i := 0; i < len(detail); i += 2 {
			e.Detail[detail[i]] = detail[i+1]
		}
		return e
	}
	redirects := func(e audit.Entry, added, removed []string) audit.Entry {
		e.Added, e.Removed = added, removed
		return e
	}
	first := entry(audit.ClientRegistered, 0, 0)
	delete(first.Detail, "unchanged_since")
	back, next := "com.example.app:/back", "com.example.app:/next"
	tests := []struct {
		what    string
		absent  bool
		entries []audit.Entry
		want    func(c *store.Client) // of what was there
		secret  bool
	}{
		{what: "its own registration", entries: []audit.Entry{first}},
		{what: "what it has already", entries: []audit.Entry{
			entry(audit.ClientRemoved, 9, -time.Second), entry(audit.ClientSecretRotated, 0, -time.Millisecond), entry(audit.ClientRegistered, 9, -time.Hour),
		}},
		{what: "disabled", entries: []audit.Entry{entry(audit.ClientDisabled, 5, 0)}, want: func(c *store.Client) { c.State, c.Epoch = store.ClientDisabled, 5 }},
		{
			what: "disabled and enabled", entries: []audit.Entry{entry(audit.ClientDisabled, 5, 0), entry(audit.ClientEnabled, 5, time.Second)},
			want: func(c *store.Client) { c.State, c.Epoch = store.ClientDisabled, 5 },
		},
		{what: "enabled, where the end is lost", entries: []audit.Entry{entry(audit.ClientEnabled, 5, time.Second)}, want: func(c *store.Client) { c.Epoch = 5 }},
		{
			what: "removed, registered anew and enabled", entries: []audit.Entry{
				entry(audit.ClientRemoved, 5, 0), entry(audit.ClientRegistered, 5, time.Second, "market", "true"), entry(audit.ClientSecretRotated, 5, time.Minute),
				entry(audit.ClientDisabled, 6, time.Hour), entry(audit.ClientEnabled, 6, 2*time.Hour),
			},
			want: func(c *store.Client) {
				c.State, c.Epoch, c.Secret, c.Name, c.RedirectURIs = store.ClientRemoved, 6, [32]byte{}, "", nil
			},
		},
		{
			what: "registered anew, where the removal is lost", entries: []audit.Entry{entry(audit.ClientRegistered, 5, time.Second)},
			want: func(c *store.Client) {
				c.State, c.Epoch, c.Secret, c.Name, c.RedirectURIs = store.ClientRemoved, 5, [32]byte{}, "", nil
			},
		},
		{what: "off the market", entries: []audit.Entry{entry(audit.ClientChanged, 5, 0, "market", "false")}, want: func(c *store.Client) { c.Market, c.Epoch = false, 5 }},
		{
			what: "off the market and back", entries: []audit.Entry{entry(audit.ClientChanged, 5, 0, "market", "false"), entry(audit.ClientChanged, 6, 1, "market", "true")},
			want: func(c *store.Client) { c.Market, c.Epoch = false, 6 },
		},
		{what: "another scope", entries: []audit.Entry{entry(audit.ClientChanged, 4, 0, "scope", "e")}, want: func(c *store.Client) { c.Scope = 2 }},
		{what: "another name", entries: []audit.Entry{entry(audit.ClientChanged, 4, 0, "old_name", "App", "name", "Other")}},
		{
			what: "another redirect beside", entries: []audit.Entry{redirects(entry(audit.ClientChanged, 4, 0), []string{"com.example.app:/more"}, []string{back})},
			want: func(c *store.Client) { c.RedirectURIs = []string{next} },
		},
		{
			what: "other redirects alone", entries: []audit.Entry{redirects(entry(audit.ClientChanged, 4, 0), []string{"com.example.app:/more"}, []string{back, next})},
			want: func(c *store.Client) { c.RedirectURIs = nil },
		},
		{what: "another secret", entries: []audit.Entry{entry(audit.ClientSecretRotated, 4, 0)}, secret: true},
		{what: "one that was never there and never ended", absent: true, entries: []audit.Entry{first, entry(audit.ClientChanged, 0, 0, "name", "x")}},
		{
			what: "one that was never there and ended", absent: true,
			entries: []audit.Entry{first, entry(audit.ClientDisabled, 1, 0), entry(audit.ClientEnabled, 1, time.Second), entry(audit.ClientRemoved, 2, time.Minute)},
			want: func(c *store.Client) {
				*c = store.Client{ID: id, State: store.ClientRemoved, Kind: store.NativeClient, Epoch: 2, Created: since, Changed: since}
			},
		},
	}
	for _, test := range tests {
		s, e, _ := openStore(t)
		var want []store.Client
		if !test.absent {
			made, err := s.CreateClient(ctx, store.Client{
				ID: id, Kind: store.ConfidentialClient, Scope: 3, Secret: [32]byte{1}, Name: "App", RedirectURIs: []string{back, next}, Market: true,
			})
			if err != nil {
				t.Fatal(err)
			}
			// It has the epoch 4, as if it had ended before.
			it, err := e.Get(ctx, store.Key{Table: 'R', Part: "client", Sub: id})
			if err != nil {
				t.Fatal(err)
			}
			it.Value[11], made.Epoch = 4, 4 // after the format, state, kind, market and scope, and of four bytes the last
			if err := e.Apply(ctx, store.Op{Key: it.Key, Value: it.Value}); err != nil {
				t.Fatal(err)
			}
			want = []store.Client{made}
		}
		if test.want != nil {
			if test.absent {
				want = []store.Client{{}}
			}
			test.want(&want[0])
		}
		for round := range 2 { // a second recovery finds the same entries
			changed, secret := false, false
			for _, one := range test.entries {
				r, err := s.ReplayClient(ctx, one)
				if err != nil || r.Client != id {
					t.Errorf("%s: ReplayClient = %+v, %v", test.what, r, err)
				}
				changed, secret = changed || r.Changed, secret || r.Secret
			}
			got, err := s.Clients(ctx)
			if err != nil {
				t.Fatal(err)
			}
			if test.secret && len(got) == 1 && got[0].Secret != ([32]byte{1}) && got[0].Secret != ([32]byte{}) {
				want[0].Secret = got[0].Secret // nobody knows what it is the hash of
			}
			if !reflect.DeepEqual(got, want) {
				t.Errorf("%s, round %d: the clients are %+v, want %+v", test.what, round+1, got, want)
			}
			if would := test.want != nil && round == 0 || test.secret; changed != would || secret != test.secret {
				t.Errorf("%s, round %d: changed is %v, want %v, and a secret is needed: %v, want %v", test.what, round+1, changed, would, secret, test.secret)
			}
		}
	}
}

func TestReplayRefusesWhatItCannotRead(t *testing.T) {
	s, _, _ := openStore(t)
	if _, err := s.CreateClient(ctx, aClient("app")); err != nil {
		t.Fatal(err)
	}
	for what, detail := range map[string]map[string]string{
		"no client": nil, "no time": {"client": "app", "unchanged_since": "yesterday"},
		"no scope":  {"client": "app", "scope": "all", "unchanged_since": "2040-01-01T00:00:00Z"},
		"a long id": {"client": strings.Repeat("x", 256)},
	} {
		if r, err := s.ReplayClient(ctx, audit.Entry{Kind: audit.ClientChanged, Epoch: 1, Detail: detail}); err == nil || r.Changed {
			t.Errorf("an entry with %s: ReplayClient = %+v, %v, want an error", what, r, err)
		}
	}
}

// snapshot is what a backup has, and how many entries were written until then.
type snapshot struct {
	client  store.Client
	records []store.Op
	entries int
}

// onlyClient is the client of a store that has one at most; none is one that was
// removed.
func onlyClient(t *testing.T, s *store.Store) store.Client {
	t.Helper()
	all, err := s.Clients(ctx)
	if err != nil || len(all) > 1 {
		t.Fatalf("Clients = %+v, %v", all, err)
	}
	if len(all) == 0 {
		return store.Client{State: store.ClientRemoved}
	}
	return all[0]
}

// What the server writes down is what a recovery needs: whatever an operator does to a
// client, and wherever the backup falls, nothing that was ended or taken away is good
// again, and what the backup has already is left alone.
func TestReplayOfWhatWasWrittenDown(t *testing.T) {
	for seed := range uint64(25) {
		r := rand.New(rand.NewPCG(seed, 0))
		a := openAudited(t)
		const steps = 12
		var backups []snapshot // before each step, and at the end
		look := func() store.Client {
			b := snapshot{client: onlyClient(t, a.Store), entries: len(a.entries(t))}
			if err := a.Dump(ctx, func(it store.Item) error {
				if it.Key.Table == 'R' {
					b.records = append(b.records, store.Op{Key: it.Key, Value: it.Value})
				}
				return nil
			}); err != nil {
				t.Fatal(err)
			}
			backups = append(backups, b)
			return b.client
		}
		for step := range steps {
			if r.IntN(2) == 0 { // or it is the same millisecond
				a.clock.advance(time.Second)
			}
			c := look()
			change := func(f func(*store.Client)) error {
				_, err := a.UpdateClient(ctx, "app", func(c *store.Client) (bool, error) { f(c); return true, nil })
				return err
			}
			var err error
			switch n := r.IntN(6); {
			case c.State == store.ClientRemoved:
				next := aClient("app")
				next.Kind, next.Secret = store.ConfidentialClient, [32]byte{1, byte(step)}
				_, err = a.CreateClient(ctx, next)
			case n == 0:
				err = a.RemoveClient(ctx, "app")
			case n == 1:
				err = change(func(c *store.Client) { c.State = store.ClientDisabled })
			case n == 2:
				err = change(func(c *store.Client) { c.State = store.ClientActive })
			case n == 3:
				err = change(func(c *store.Client) { c.Market = !c.Market })
			case n == 4:
				err = change(func(c *store.Client) { c.Secret = [32]byte{2, byte(step)} })
			default:
				err = change(func(c *store.Client) { c.RedirectURIs = []string{fmt.Sprint("com.example.app:/", step%3)} })
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		end := look()
		for at, backup := range backups {
			s, e, _ := openStore(t)
			if len(backup.records) > 0 {
				if err := e.Apply(ctx, backup.records...); err != nil {
					t.Fatal(err)
				}
			}
			// An entry may be older than the backup: an hour of them is read.
			for _, one := range a.entries(t)[r.IntN(backup.entries+1):] {
				if _, err := s.ReplayClient(ctx, one); err != nil {
					t.Fatal(err)
				}
			}
			got := onlyClient(t, s)
			place := fmt.Sprintf("seed %d, a backup before step %d of %d", seed, at, steps)
			if got.Epoch < end.Epoch {
				t.Errorf("%s: the epoch is %d, and was %d", place, got.Epoch, end.Epoch)
			}
			if end.Changed.Equal(backup.client.Changed) && !reflect.DeepEqual(got, end) {
				t.Errorf("%s, which has all: it is %+v, want %+v", place, got, end)
			}
			if got.State != store.ClientActive {
				continue
			}
			if end.State != store.ClientActive || got.Market && !end.Market || got.Secret != end.Secret && got.Secret == backup.client.Secret {
				t.Errorf("%s: it is %+v, and was %+v", place, got, end)
			}
			for _, uri := range got.RedirectURIs {
				if !slices.Contains(end.RedirectURIs, uri) {
					t.Errorf("%s: %s is a redirect URI again", place, uri)
				}
			}
		}
	}
}

func TestReplayOfLicences(t *testing.T) {
	s, _, c := openStore(t)
	alice, bob := store.SubjectID("alice"), store.SubjectID("bob")
	for i, subject := range [][16]byte{alice, alice, bob} {
		mustIssue(t, s, subject, license(uint64(i+1), notes, i+1, week), 0)
	}
	mustIssue(t, s, alice, license(4, sky, 1, week), 0)
	c.advance(time.Hour)
	until := c.now()
	c.advance(time.Hour)
	mustIssue(t, s, bob, license(5, notes, 5, week), 0)
	for _, step := range []struct {
		what  string
		entry audit.Entry
		ended int
		left  []uint64
	}{
		{"one, and one that is not there", audit.Entry{Item: notes, Subject: alice, Removed: []string{"2", "77"}}, 1, []uint64{1, 3, 4, 5}},
		{"one of another account", audit.Entry{Item: notes, Subject: bob, Removed: []string{"1"}}, 0, []uint64{1, 3, 4, 5}},
		{"one of nobody", audit.Entry{Item: notes, Subject: store.SubjectID("carol"), Removed: []string{"1"}}, 0, []uint64{1, 3, 4, 5}},
		{"all of an item, of then", audit.Entry{Item: notes, Time: until}, 2, []uint64{4, 5}},
	} {
		step.entry.Kind = audit.LicenseRevoked
		for round := range 2 {
			if n, err := s.ReplayLicenses(ctx, step.entry); err != nil || n != step.ended*(1-round) {
				t.Errorf("%s, time %d: ReplayLicenses = %d, %v, want %d", step.what, round+1, n, err, step.ended*(1-round))
			}
		}
		var left []uint64
		for id := uint64(1); id <= 5; id++ {
			if _, l, err := s.License(ctx, id); err != nil || !l.Revoked {
				left = append(left, id)
			}
		}
		if !slices.Equal(left, step.left) {
			t.Errorf("%s: left are %v, want %v", step.what, left, step.left)
		}
	}
}
