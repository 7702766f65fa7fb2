package store_test

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/souk-market/souk/core/store"
	"github.com/souk-market/souk/core/store/badger"
)

// oldDirectory unpacks what a program of format 1 has written, which kept no list of
// sign-ins and no epoch in a subject token: eight accounts person0 to person7 of the
// epochs 0 to 7, each with five sign-ins of which the last is revoked; the subject
// tokens "own", "bound" and "foreign"; a revocation, an app, a key ring, a plugin's
// record. Its clock stood at start.
func oldDirectory(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	f, err := os.Open("testdata/format1.tar.gz")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return dir
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Typeflag != tar.TypeReg {
			continue
		}
		b, err := io.ReadAll(r)
		if err := errors.Join(err, os.WriteFile(filepath.Join(dir, filepath.Base(h.Name)), b, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
}

func openOld(t *testing.T, dir string, c *clock) store.Engine {
	t.Helper()
	e, err := badger.Open(badger.Options{Dir: dir, Now: c.now})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// records are all that an engine holds.
func records(t *testing.T, e store.Engine) map[store.Key]string {
	t.Helper()
	all := map[store.Key]string{}
	if err := e.Dump(ctx, func(it store.Item) error { all[it.Key] = string(it.Value) + it.Expires.String(); return nil }); err != nil {
		t.Fatalf("Dump = %v", err)
	}
	return all
}

func TestOlderDirectoryIsMigrated(t *testing.T) {
	c := newClock()
	e := openOld(t, oldDirectory(t), c)
	before := records(t, e)
	var log strings.Builder
	s, err := store.Open(ctx, e, store.Config{Now: c.now, Log: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if f := formatOf(t, e); f != store.Format {
		t.Errorf("format = %d, want %d", f, store.Format)
	}
	for _, says := range []string{"migrating the directory", "from=1 to=2", "records=35", "from=2 to=3"} { // 32 sign-ins, 3 tokens
		if !strings.Contains(log.String(), says) {
			t.Errorf("the log has no %q:\n%s", says, log.String())
		}
	}
	for i := range 8 {
		name := fmt.Sprintf("person%d@example.com", i)
		sessions, err := s.Sessions(ctx, store.SubjectID(name))
		if err != nil || len(sessions) != 4 {
			t.Errorf("%s has %d sign-ins that are listed, %v, want the 4 active ones", name, len(sessions), err)
		}
		for _, x := range sessions {
			if x.Family.State != store.Active || x.Family.Epoch != uint32(i) || x.ID != ([16]byte{byte(i), byte(x.Family.Generation), 1}) {
				t.Errorf("%s has the sign-in %x %+v", name, x.ID, x.Family)
			}
		}
		a, err := s.Account(ctx, store.SubjectID(name))
		if err != nil || a.Account != name || a.DisplayName != fmt.Sprint("Person ", i) || a.Epoch != uint32(i) || len(a.History) != 2 || !a.HasGrant("sub:plus") {
			t.Errorf("account %s = %+v, %v", name, a, err)
		}
	}
	for text, want := range map[string]store.SubjectToken{
		"own":     {Account: "person3@example.com", Epoch: 3},
		"bound":   {Account: "person4@example.com", Epoch: 4, Client: "device-1"},
		"foreign": {Account: "stranger@example.com", Client: "device-2", Foreign: true},
	} {
		if got, err := s.SubjectToken(ctx, sha256.Sum256([]byte(text))); err != nil || got != want {
			t.Errorf("subject token %q = %+v, %v, want %+v", text, got, err, want)
		}
	}
	// All else is as it was.
	after := records(t, e)
	for k, v := range before {
		if k.Table != 'T' && k.Table != 'M' && after[k] != v {
			t.Errorf("record %q of table %c is not what it was", k.Sub, k.Table)
		}
	}
	if len(after) != len(before)+32 {
		t.Errorf("there are %d records, were %d, want 32 more", len(after), len(before))
	}
	// The second start finds nothing to do.
	log.Reset()
	if _, err := store.Open(ctx, e, store.Config{Now: c.now, Log: slog.New(slog.NewTextHandler(&log, nil))}); err != nil || log.Len() > 0 {
		t.Errorf("Open again = %v, and logs %q", err, log.String())
	}
	if got := records(t, e); !maps.Equal(got, after) {
		t.Error("the second start changed records")
	}
}

// dying is an engine whose process ends at a write.
type dying struct {
	store.Engine
	left atomic.Int64 // writes that still happen
	die  func() error
}

func (d *dying) Update(ctx context.Context, k store.Key, f store.UpdateFunc) (store.Item, error) {
	if d.left.Add(-1) < 0 {
		return store.Item{}, d.die()
	}
	return d.Engine.Update(ctx, k, f)
}

func (d *dying) Apply(ctx context.Context, ops ...store.Op) error {
	if d.left.Add(-1) < 0 {
		return d.die()
	}
	return d.Engine.Apply(ctx, ops...)
}

// A migration that was cut off at any of its writes goes on at the next start, and
// comes to the same.
func TestMigrationIsCutOffAtEachWrite(t *testing.T) {
	c := newClock()
	old := openOld(t, oldDirectory(t), c)
	defer old.Close()
	var items []store.Item
	if err := old.Dump(ctx, func(it store.Item) error { items = append(items, it); return nil }); err != nil {
		t.Fatal(err)
	}
	load := func() store.Engine {
		e := openEngine(t, c)
		rest := items
		err := e.Load(ctx, func() (store.Item, error) {
			if len(rest) == 0 {
				return store.Item{}, io.EOF
			}
			it := rest[0]
			rest = rest[1:]
			return it, nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	e := load()
	if _, err := store.Open(ctx, e, store.Config{Now: c.now}); err != nil {
		t.Fatal(err)
	}
	want := records(t, e)
	crash := errors.New("crash")
	for writes := int64(0); ; writes++ {
		e := load()
		d := &dying{Engine: e, die: func() error { return crash }}
		d.left.Store(writes)
		_, err := store.Open(ctx, d, store.Config{Now: c.now})
		if err == nil {
			if writes < 35 {
				t.Errorf("a migration needs only %d writes", writes)
			}
			break
		}
		if !errors.Is(err, crash) || formatOf(t, e) >= store.Format {
			t.Fatalf("cut off after %d writes: Open = %v, format %d", writes, err, formatOf(t, e))
		}
		if _, err := store.Open(ctx, e, store.Config{Now: c.now}); err != nil {
			t.Fatalf("cut off after %d writes: Open again = %v", writes, err)
		}
		if got := records(t, e); !maps.Equal(got, want) {
			t.Errorf("cut off after %d writes: the second start comes to something else", writes)
		}
	}
}

const (
	migrateDir    = "SOUK_MIGRATE_DIR"
	migrateWrites = "SOUK_MIGRATE_WRITES"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(migrateDir); dir != "" {
		fmt.Fprintln(os.Stderr, migrateAndDie(dir))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// migrateAndDie is the process that TestMigrationIsKilled starts. It kills itself at
// a write, which leaves nothing to chance.
func migrateAndDie(dir string) error {
	writes, err := strconv.ParseInt(os.Getenv(migrateWrites), 10, 64)
	if err != nil {
		return err
	}
	c := newClock()
	e, err := badger.Open(badger.Options{Dir: dir, Now: c.now})
	if err != nil {
		return err
	}
	d := &dying{Engine: e, die: func() error {
		self, err := os.FindProcess(os.Getpid())
		if err == nil {
			err = self.Kill()
		}
		if err == nil {
			select {} // the signal is on its way
		}
		return err
	}}
	d.left.Store(writes)
	_, err = store.Open(ctx, d, store.Config{Now: c.now})
	return fmt.Errorf("the migration needs no more than %d writes: %w", writes, err)
}

// A process that is killed while it migrates leaves a directory that the next one
// opens and finishes.
func TestMigrationIsKilled(t *testing.T) {
	c := newClock()
	for _, writes := range []int{1, 12, 34} {
		dir := oldDirectory(t)
		child := exec.Command(os.Args[0])
		child.Env = append(os.Environ(), migrateDir+"="+dir, migrateWrites+"="+strconv.Itoa(writes))
		if out, err := child.CombinedOutput(); err == nil || len(out) > 0 {
			t.Fatalf("the process was not killed: %v\n%s", err, out)
		}
		e := openOld(t, dir, c)
		if f := formatOf(t, e); f != 1 {
			t.Errorf("killed after %d writes, the directory has the format %d, want 1", writes, f)
		}
		s, err := store.Open(ctx, e, store.Config{Now: c.now})
		if err != nil {
			t.Fatalf("killed after %d writes: Open = %v", writes, err)
		}
		listed := 0
		for i := range 8 {
			sessions, err := s.Sessions(ctx, store.SubjectID(fmt.Sprintf("person%d@example.com", i)))
			if err != nil {
				t.Fatal(err)
			}
			listed += len(sessions)
		}
		if f := formatOf(t, e); f != store.Format || listed != 32 {
			t.Errorf("killed after %d writes: after the next start the format is %d and %d sign-ins are listed, want %d and 32", writes, f, listed, store.Format)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}
