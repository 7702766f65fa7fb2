package core_test

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/souk-market/souk/core"
	"github.com/souk-market/souk/core/store"
	"github.com/souk-market/souk/core/store/audit"
	"github.com/souk-market/souk/core/store/backup"
	"github.com/souk-market/souk/core/store/badger"
	"github.com/souk-market/souk/core/token"
)

// lost is a store that is about to be lost, with its audit.
type lost struct {
	*testing.T
	dir    string
	engine *badger.Engine
	store  *store.Store
	log    *audit.Log
	at     time.Time // what all clocks show
}

func (l *lost) now() time.Time { return l.at }

func newLost(t *testing.T) *lost {
	t.Helper()
	l := &lost{T: t, dir: t.TempDir(), at: time.Now().Add(-time.Hour).Truncate(time.Second)}
	var err error
	if l.engine, err = badger.Open(badger.Options{InMemory: true}); err != nil {
		t.Fatal(err)
	}
	if l.store, err = store.Open(t.Context(), l.engine, store.Config{}); err != nil {
		t.Fatal(err)
	}
	if l.log, err = audit.Open(audit.Options{Dir: l.audit(), Now: l.now}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(l.log.Close(), l.store.Close()); err != nil {
			t.Error(err)
		}
	})
	return l
}

func (l *lost) audit() string { return filepath.Join(l.dir, "audit") }

func (l *lost) must(err error) {
	l.Helper()
	if err != nil {
		l.Fatal(err)
	}
}

// write writes an entry down, a minute after the one before.
func (l *lost) write(e audit.Entry) {
	l.Helper()
	l.at = l.at.Add(time.Minute)
	e.Actor = audit.Admin
	l.must(l.log.Append(l.Context(), e))
}

func (l *lost) family(id byte, account string, epoch uint32) [16]byte {
	l.Helper()
	f := store.Family{State: store.Active, Subject: store.SubjectID(account), Epoch: epoch, Created: l.at, RotatedAt: l.at}
	_, _, err := l.store.CreateFamily(l.Context(), [16]byte{id}, f, time.Now().Add(time.Hour*24*90))
	l.must(err)
	return [16]byte{id}
}

// backup makes a full one.
func (l *lost) backup() string {
	l.Helper()
	name := filepath.Join(l.dir, "full")
	_, err := backup.Save(name, true, func(w io.Writer) error {
		_, err := backup.Write(l.Context(), w, l.store, backup.Options{Now: l.now})
		return err
	})
	l.must(err)
	return name
}

// opened is what a recovery has made.
func opened(t *testing.T, data string) *store.Store {
	t.Helper()
	e, err := badger.Open(badger.Options{Dir: filepath.Join(data, "store")})
	if err != nil {
		t.Fatal(err)
	}
	s, err := store.Open(t.Context(), e, store.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func state(t *testing.T, s *store.Store, id [16]byte) store.FamilyState {
	t.Helper()
	f, err := s.Family(t.Context(), id)
	if err != nil {
		t.Errorf("family %d = %v", id[0], err)
	}
	return f.State
}

func TestRecoverReplaysWhatEndedSignIns(t *testing.T) {
	l := newLost(t)
	const alice, bob, carol = "alice@example.com", "bob@example.com", "carol@example.com"
	for _, name := range []string{alice, bob} {
		_, err := l.store.UpdateAccount(t.Context(), name, func(a *store.Account) (bool, error) { a.Epoch = 3; return true, nil })
		l.must(err)
	}
	before, ended, kept := l.family(1, alice, 3), l.family(2, alice, 3), l.family(3, alice, 3)
	out := l.family(4, bob, 3)
	until := time.Now().Add(72 * time.Hour)
	// Written down just before the backup, and done after it.
	l.write(audit.Entry{Kind: audit.FamilyRevoked, Family: before, Until: until})
	l.at = l.at.Add(time.Second)
	full := l.backup()
	begun := l.at
	l.write(audit.Entry{Kind: audit.FamilyRevoked, Family: ended, Until: until})
	unknown := [16]byte{9} // begun and ended since
	l.write(audit.Entry{Kind: audit.SignedIn, Family: unknown, Subject: store.SubjectID(carol)})
	l.write(audit.Entry{Kind: audit.FamilyRevoked, Family: unknown, Until: until})
	l.write(audit.Entry{Kind: audit.SignedOut, Account: bob, Subject: store.SubjectID(bob), Epoch: 4}) // and the server died
	l.write(audit.Entry{Kind: audit.SignedOut, Account: carol, Subject: store.SubjectID(carol), Epoch: 2})
	l.write(audit.Entry{Kind: audit.GrantsChanged, Account: alice, Added: []string{"sub:plus"}})

	data := filepath.Join(l.dir, "new", "data")
	done, err := core.Recover(t.Context(), core.RecoverOptions{From: []string{full}, Data: data, Audit: l.audit()})
	l.must(err)
	if done.Ended != 3 || done.Audit.SignIns != 1 || done.Audit.Entries != 6 || len(done.Audit.Changes) != 1 || done.Checked || !done.Begun.Equal(begun) || !done.Audit.Last.Equal(l.at) {
		t.Errorf("Recover = %+v", done)
	}
	s := opened(t, data)
	for id, want := range map[[16]byte]store.FamilyState{before: store.Revoked, ended: store.Revoked, kept: store.Active, out: store.Revoked} {
		if got := state(t, s, id); got != want {
			t.Errorf("family %d has the state %d, want %d", id[0], got, want)
		}
	}
	for _, id := range [][16]byte{before, ended, out, unknown} {
		if !s.RevocationSet().Contains(id) {
			t.Errorf("the access tokens of family %d are good", id[0])
		}
	}
	for name, want := range map[string]uint32{alice: 3, bob: 4, carol: 2} {
		if a, err := s.Account(t.Context(), store.SubjectID(name)); err != nil || a.Epoch != want {
			t.Errorf("%s has the epoch %d, %v, want %d", name, a.Epoch, err, want)
		}
	}
	if r := s.Recovery(); !r.At.Equal(store.Millis(done.At)) || !r.Ended.IsZero() {
		t.Errorf("Recovery() = %+v, want %v and nothing ended", r, done.At)
	}
	// The audit goes on in the new directory, and says what happened.
	var last audit.Entry
	n := 0
	for e, err := range audit.Read(filepath.Join(data, "audit")) {
		l.must(err)
		last = e
		n++
	}
	if n != 8 || last.Kind != audit.Recovered || last.Detail["backup"] != done.Files[0].Ref.ID.String() {
		t.Errorf("the new audit has %d entries and ends with %+v, want 8 and the recovery", n, last)
	}
	if report, err := audit.Verify(filepath.Join(data, "audit")); err != nil {
		t.Errorf("the new audit is damaged: %v %+v", err, report)
	}
}

// What is whole behind a damaged place is replayed, and the place is told.
func TestRecoverReadsADamagedAudit(t *testing.T) {
	l := newLost(t)
	families := [][16]byte{l.family(1, "a", 0), l.family(2, "a", 0), l.family(3, "a", 0)}
	full := l.backup()
	for _, id := range families {
		l.write(audit.Entry{Kind: audit.FamilyRevoked, Family: id, Until: time.Now().Add(time.Hour)})
	}
	segments, err := filepath.Glob(filepath.Join(l.audit(), "*"))
	if err != nil || len(segments) != 1 {
		t.Fatalf("segments = %v, %v", segments, err)
	}
	b, err := os.ReadFile(segments[0])
	l.must(err)
	at := strings.Index(string(b), "02000000000000000000000000000000") // in the second entry
	if at < 0 {
		t.Fatal("the second entry is not found")
	}
	b[at] ^= 1
	hurt := t.TempDir()
	l.must(os.WriteFile(filepath.Join(hurt, filepath.Base(segments[0])), b, 0o600))
	data := filepath.Join(l.dir, "data")
	done, err := core.Recover(t.Context(), core.RecoverOptions{From: []string{full}, Data: data, Audit: hurt})
	l.must(err)
	if len(done.Audit.Damage) == 0 {
		t.Error("nothing is said of the damage")
	}
	s := opened(t, data)
	if state(t, s, families[0]) != store.Revoked || state(t, s, families[1]) != store.Active {
		t.Error("the entry before the damage is not replayed, or the damaged one is")
	}
}

// A key that was retired since the backup must not come back.
func TestRecoverRetiresKeysAgain(t *testing.T) {
	master := [32]byte{1}
	const text = "0100000000000000000000000000000000000000000000000000000000000000"
	for _, c := range []struct {
		retired []string
		want    []bool // by key: retired
	}{
		{[]string{"1"}, []bool{true, false}},
		{[]string{"1", "2"}, []bool{true, true, false}}, // there is a new one
	} {
		l := newLost(t)
		var keys []token.Key
		for id := byte(1); id <= 2; id++ {
			key, err := token.NewKey(nil, id, l.at.Add(time.Duration(id)*time.Minute))
			l.must(err)
			keys = append(keys, key)
		}
		sealed, err := token.SealKeys(master, nil, keys)
		l.must(err)
		_, err = l.store.UpdateKeyRing(t.Context(), func([]byte) ([]byte, error) { return sealed, nil })
		l.must(err)
		full := l.backup()
		for _, key := range c.retired {
			l.write(audit.Entry{Kind: audit.KeyRetired, Detail: map[string]string{"key": key}})
		}
		l.write(audit.Entry{Kind: audit.KeyRotated, Detail: map[string]string{"key": "3"}})
		data := filepath.Join(l.dir, "data")
		o := core.RecoverOptions{From: []string{full}, Data: data, Audit: l.audit()}
		if _, err := core.Recover(t.Context(), o); err == nil || !strings.Contains(err.Error(), "--key-file") {
			t.Errorf("a recovery that would bring a retired key back = %v, want that it needs the key", err)
		}
		if _, err := os.Stat(data); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("it left something: %v", err)
		}
		o.Key = text
		done, err := core.Recover(t.Context(), o)
		l.must(err)
		if !done.Checked || len(done.Retired) != len(c.retired) || !slices.Equal(done.Audit.Rotated, []string{"3"}) {
			t.Errorf("Recover = %+v", done)
		}
		sealed, err = opened(t, data).KeyRing(t.Context())
		l.must(err)
		keys, err = token.OpenKeys(master, sealed)
		l.must(err)
		var got []bool
		for _, k := range keys {
			got = append(got, !k.Retired.IsZero())
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("after %v were retired the keys are retired: %v, want %v", c.retired, got, c.want)
		}
	}
}

func TestRecoverTakesBackWhatItBegan(t *testing.T) {
	l := newLost(t)
	l.family(1, "a", 0)
	full := l.backup()
	l.write(audit.Entry{Kind: audit.Started})
	empty := t.TempDir()
	for _, data := range []string{empty, filepath.Join(l.dir, "data")} {
		ctx, cancel := context.WithCancel(t.Context())
		o := core.RecoverOptions{From: []string{full}, Data: data, Audit: l.audit(), Progress: func(what string, _ int64) io.WriteCloser {
			if what == "restoring" {
				if _, err := os.Stat(filepath.Join(data, "recovering", "store")); err != nil {
					t.Errorf("nothing was begun when it is cut off: %v", err)
				}
				cancel()
			}
			return discard{io.Discard}
		}}
		if _, err := core.Recover(ctx, o); !errors.Is(err, context.Canceled) {
			t.Errorf("Recover that is cut off = %v, want context.Canceled", err)
		}
		switch entries, err := os.ReadDir(data); {
		case data == empty && (err != nil || len(entries) > 0):
			t.Errorf("it left %v in a directory that was there, %v", entries, err)
		case data != empty && !errors.Is(err, os.ErrNotExist):
			t.Errorf("it left a directory that was not there: %v", err)
		}
		o.Progress = nil
		if _, err := core.Recover(t.Context(), o); err != nil {
			t.Errorf("Recover again = %v", err)
		}
	}
	o := core.RecoverOptions{From: []string{full}, Data: filepath.Join(l.dir, "data2"), Now: func() time.Time { return l.at.Add(-2 * time.Hour) }}
	if _, err := core.Recover(t.Context(), o); err == nil || !strings.Contains(err.Error(), "the clock of this machine is behind") {
		t.Errorf("Recover with a clock that is behind = %v", err)
	}
}

// Somebody else who has come into the directory while the files were read keeps what
// he has there.
func TestRecoverLeavesWhatAnotherHasBegun(t *testing.T) {
	l := newLost(t)
	l.family(1, "a", 0)
	full := l.backup()
	for _, there := range []string{"recovering", "store"} {
		data := filepath.Join(l.dir, "data "+there)
		theirs := filepath.Join(data, there, "MANIFEST")
		o := core.RecoverOptions{From: []string{full}, Data: data, Progress: func(what string, _ int64) io.WriteCloser {
			if strings.HasPrefix(what, "checking") {
				l.must(os.MkdirAll(filepath.Dir(theirs), 0o700))
				l.must(os.WriteFile(theirs, []byte("theirs"), 0o600))
			}
			return discard{io.Discard}
		}}
		if _, err := core.Recover(t.Context(), o); err == nil || !strings.Contains(err.Error(), "not empty") {
			t.Errorf("Recover beside %s = %v, want that the directory is not empty", there, err)
		}
		if b, err := os.ReadFile(theirs); err != nil || string(b) != "theirs" {
			t.Errorf("what was in %s is %q, %v", there, b, err)
		}
		if entries, err := os.ReadDir(data); err != nil || len(entries) != 1 {
			t.Errorf("beside %s there is %v, %v", there, entries, err)
		}
	}
}

func TestRecoverLeavesALinkThatLeadsNowhere(t *testing.T) {
	l := newLost(t)
	full := l.backup()
	data := filepath.Join(l.dir, "data")
	if err := os.Symlink(filepath.Join(l.dir, "unmounted"), data); err != nil {
		t.Skip(err) // Windows asks for a privilege
	}
	if _, err := core.Recover(t.Context(), core.RecoverOptions{From: []string{full}, Data: data}); err == nil || !strings.Contains(err.Error(), "--data: ") {
		t.Errorf("Recover = %v, want --data refused", err)
	}
	if _, err := os.Lstat(data); err != nil {
		t.Errorf("the link is gone: %v", err)
	}
}

// Nobody has to wait until gigabytes are read.
func TestRecoverCanBeStoppedWhileItReads(t *testing.T) {
	l := newLost(t)
	l.family(1, "a", 0)
	full := l.backup()
	l.write(audit.Entry{Kind: audit.Started})
	ctx, cancel := context.WithCancel(t.Context())
	o := core.RecoverOptions{From: []string{full}, Data: filepath.Join(l.dir, "data"), Audit: l.audit(), Progress: func(what string, _ int64) io.WriteCloser {
		if !strings.HasPrefix(what, "checking") {
			t.Errorf("it went on to %q", what)
		}
		cancel()
		return discard{io.Discard}
	}}
	if _, err := core.Recover(ctx, o); !errors.Is(err, context.Canceled) {
		t.Errorf("Recover = %v, want context.Canceled", err)
	}
}

// Of the audit's folder only the log is taken: not the new directory itself, which may
// be in it, and not what a link leads to.
func TestRecoverTakesOnlyTheLogOfTheAudit(t *testing.T) {
	l := newLost(t)
	full := l.backup()
	l.write(audit.Entry{Kind: audit.Started})
	outside := filepath.Join(l.dir, "outside")
	l.must(os.WriteFile(outside, nil, 0o644))
	if err := os.Symlink(outside, filepath.Join(l.audit(), "latest")); err != nil {
		t.Skip(err) // Windows asks for a privilege
	}
	data := filepath.Join(l.audit(), "new")
	_, err := core.Recover(t.Context(), core.RecoverOptions{From: []string{full}, Data: data, Audit: l.audit()})
	l.must(err)
	if files, err := os.ReadDir(filepath.Join(data, "audit")); err != nil || len(files) != 1 {
		t.Errorf("the new audit is %v, %v, want the one segment", files, err)
	}
	if info, err := os.Stat(outside); err != nil || info.Mode().Perm() != 0o644 {
		t.Errorf("a file outside is %v, %v", info.Mode(), err)
	}
	if r, err := audit.Verify(filepath.Join(data, "audit")); err != nil || r.Entries != 2 {
		t.Errorf("Verify = %+v, %v", r, err)
	}
}

// What an earlier recovery has ended because it may have been stolen is not good
// again when the same backup is taken once more.
func TestRecoverEndsWhatAnEarlierRecoveryHasEnded(t *testing.T) {
	l := newLost(t)
	first := l.family(1, "a", 0)
	l.write(audit.Entry{Kind: audit.Started})
	stolen := l.at
	second := l.family(2, "a", 0)
	l.at = l.at.Add(time.Minute)
	full := l.backup()
	l.write(audit.Entry{Kind: audit.Started})
	dir, from := filepath.Join(l.dir, "one"), l.audit()
	for _, o := range []core.RecoverOptions{{EndSince: stolen}, {}} {
		o.From, o.Data, o.Audit = []string{full}, dir, from
		done, err := core.Recover(t.Context(), o)
		l.must(err)
		if done.Since != 1 {
			t.Errorf("%s: %d sign-ins of that time ended, want 1", dir, done.Since)
		}
		s := opened(t, dir)
		if state(t, s, first) != store.Active || state(t, s, second) != store.Revoked || s.Recovery().Ended.Before(stolen) {
			t.Errorf("%s: the sign-ins are %d and %d, access tokens are refused until %v", dir, state(t, s, first), state(t, s, second), s.Recovery().Ended)
		}
		from, dir = filepath.Join(dir, "audit"), filepath.Join(l.dir, "two")
	}
}

type discard struct{ io.Writer }

func (discard) Close() error { return nil }

// unpack makes a directory of an archive of files.
func unpack(t *testing.T, archive, dir string) {
	t.Helper()
	f, err := os.Open(archive)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err = errors.Join(err, os.Mkdir(dir, 0o700)); err != nil {
		t.Fatal(err)
	}
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Typeflag != tar.TypeReg {
			continue
		}
		b, err := io.ReadAll(r)
		if err = errors.Join(err, os.WriteFile(filepath.Join(dir, filepath.Base(h.Name)), b, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
}

// A backup of a directory that an older program wrote is migrated on its way.
func TestRecoverMigratesAnOlderStore(t *testing.T) {
	dir := t.TempDir()
	old := filepath.Join(dir, "old")
	unpack(t, "store/testdata/format1.tar.gz", old)
	e, err := badger.Open(badger.Options{Dir: old})
	if err != nil {
		t.Fatal(err)
	}
	format, err := store.FormatOf(t.Context(), e)
	if err != nil || format != 1 {
		t.Fatalf("FormatOf = %d, %v, want 1", format, err)
	}
	full := filepath.Join(dir, "full")
	f, err := backup.Save(full, false, func(w io.Writer) error {
		_, err := backup.Write(t.Context(), w, e, backup.Options{Format: format})
		return err
	})
	if err = errors.Join(err, e.Close()); err != nil || f.Header.Format != 1 {
		t.Fatalf("Save = %+v, %v", f.Header, err)
	}
	data := filepath.Join(dir, "data")
	if _, err := core.Recover(t.Context(), core.RecoverOptions{From: []string{full}, Data: data}); err != nil {
		t.Fatal(err)
	}
	s := opened(t, data)
	for i := range 8 {
		name := fmt.Sprintf("person%d@example.com", i)
		if list, err := s.Sessions(t.Context(), store.SubjectID(name)); err != nil || len(list) != 4 {
			t.Errorf("%s has %d sign-ins, %v, want 4", name, len(list), err)
		}
	}
}

// What a store has written down of clients and licences is done again; what it gave
// is named, and not given.
func TestRecoverReplaysClientsAndLicences(t *testing.T) {
	l := newLost(t)
	s, err := store.Open(t.Context(), l.engine, store.Config{Now: l.now, Audit: l.log})
	l.must(err)
	ctx := audit.By(t.Context(), audit.Origin{Actor: audit.Admin})
	change := func(id string, f func(*store.Client)) {
		t.Helper()
		l.at = l.at.Add(time.Minute)
		_, err := s.UpdateClient(ctx, id, func(c *store.Client) (bool, error) { f(c); return true, nil })
		l.must(err)
	}
	register := func(id string) {
		t.Helper()
		l.at = l.at.Add(time.Minute)
		_, err := s.CreateClient(ctx, store.Client{ID: id, Kind: store.ConfidentialClient, Secret: [32]byte{1}, RedirectURIs: []string{"com.example.app:/back"}})
		l.must(err)
	}
	alice, bob := store.SubjectID("alice@example.com"), store.SubjectID("bob@example.com")
	for i, subject := range [][16]byte{alice, alice, bob} {
		_, err := s.IssueLicense(ctx, subject, store.License{ID: uint64(i + 1), Item: 1000001, Device: [16]byte{byte(i)}, Expires: time.Now().Add(24 * time.Hour)}, 0)
		l.must(err)
	}
	for _, id := range []string{"disabled", "kept", "removed", "rotated"} {
		register(id)
	}
	change("kept", func(c *store.Client) { c.State = store.ClientDisabled }) // and back, just before the backup
	change("kept", func(c *store.Client) { c.State, c.Secret = store.ClientActive, [32]byte{2} })
	l.at = l.at.Add(time.Second)
	full := l.backup()
	change("rotated", func(c *store.Client) { c.Secret = [32]byte{3} })
	change("disabled", func(c *store.Client) { c.State = store.ClientDisabled })
	change("disabled", func(c *store.Client) { c.State = store.ClientActive })
	change("removed", func(c *store.Client) { c.State, c.Secret = store.ClientRemoved, [32]byte{} })
	register("removed")
	register("new")
	l.must(s.RevokeLicense(ctx, 2))
	_, err = s.RevokeItem(ctx, 1000001)
	l.must(err)

	data := filepath.Join(l.dir, "data")
	done, err := core.Recover(t.Context(), core.RecoverOptions{From: []string{full}, Data: data, Audit: l.audit()})
	l.must(err)
	var again []audit.Kind
	for _, e := range done.Audit.Changes {
		again = append(again, e.Kind)
	}
	if !slices.Equal(done.Clients, []string{"disabled", "removed", "rotated"}) || !slices.Equal(done.Secrets, []string{"rotated"}) || done.Licenses != 3 ||
		!slices.Equal(again, []audit.Kind{audit.ClientEnabled, audit.ClientRegistered, audit.ClientRegistered}) {
		t.Errorf("Recover = %+v", done)
	}
	s = opened(t, data)
	clients, err := s.Clients(t.Context())
	l.must(err)
	for _, c := range clients {
		if c.ID == "rotated" && (c.Secret == [32]byte{1} || c.Secret == [32]byte{3} || c.Secret == [32]byte{}) {
			t.Errorf("the secret of the client that got another is %x", c.Secret)
		}
	}
	if len(clients) != 4 || clients[0].State != store.ClientDisabled || clients[0].Epoch != 1 ||
		clients[1].State != store.ClientActive || clients[1].Epoch != 1 || clients[1].Secret != [32]byte{2} ||
		clients[2].State != store.ClientRemoved || clients[2].Epoch != 1 || clients[3].State != store.ClientActive {
		t.Errorf("the clients are %+v", clients)
	}
	for id := uint64(1); id <= 3; id++ {
		if _, one, err := s.License(t.Context(), id); err != nil || !one.Revoked {
			t.Errorf("the licence %d is %+v, %v, want it revoked", id, one, err)
		}
	}
}
