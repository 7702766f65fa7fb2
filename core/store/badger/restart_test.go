package badger_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/souk-market/souk/core/store"
	"github.com/souk-market/souk/core/store/badger"
)

var ctx = context.Background()

func open(t *testing.T, o badger.Options) *badger.Engine {
	t.Helper()
	e, err := badger.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Errorf("Close() = %v", err)
		}
	})
	return e
}

func shut(t *testing.T, e *badger.Engine) {
	t.Helper()
	if err := e.Close(); err != nil {
		t.Fatalf("Close() = %v", err)
	}
}

func put(t *testing.T, e *badger.Engine, k store.Key, value string) store.Item {
	t.Helper()
	it, err := e.Update(ctx, k, func(*store.Item) (*store.Write, error) {
		return &store.Write{Value: []byte(value)}, nil
	})
	if err != nil {
		t.Fatalf("Update(%q) = %v", k, err)
	}
	return it
}

func TestRestartKeepsRecordsAndVersions(t *testing.T) {
	for _, sync := range []bool{true, false} {
		dir := t.TempDir()
		var items []store.Item
		e := open(t, badger.Options{Dir: dir, Sync: sync})
		for i := range 100 {
			items = append(items, put(t, e, store.Key{Table: 'P', Part: fmt.Sprint(i)}, fmt.Sprint("value ", i)))
		}
		shut(t, e)
		e = open(t, badger.Options{Dir: dir, Sync: sync})
		for _, want := range items {
			got, err := e.Get(ctx, want.Key)
			if err != nil || string(got.Value) != string(want.Value) || got.Version != want.Version {
				t.Fatalf("Get(%q) = %+v, %v, want %+v", want.Key, got, err, want)
			}
		}
		if err := e.Apply(ctx, store.Op{Key: items[0].Key, Guard: true, If: items[0].Version, Delete: true}); err != nil {
			t.Errorf("Apply with the version of before the restart = %v", err)
		}
		shut(t, e)
	}
}

// A delete leaves nothing in the files once it is compacted. Its timestamp, and
// those of the writes it took with it, must not come again.
func TestVersionsNeverComeAgain(t *testing.T) {
	dir := t.TempDir()
	k := store.Key{Table: 'P', Part: "phoenix"}
	seen := map[store.Version]bool{}
	for round := range 4 {
		e := open(t, badger.Options{Dir: dir})
		for i := range 10 {
			v := put(t, e, k, fmt.Sprint(round, i)).Version
			if seen[v] {
				t.Fatalf("version %d came again", v)
			}
			seen[v] = true
		}
		if err := e.Apply(ctx, store.Op{Key: k, Delete: true}); err != nil {
			t.Fatal(err)
		}
		shut(t, e)
	}
}

// A crash leaves logs, and the next start may be one with less memory. Each of them is
// larger than a memtable is then; cut to what is in it, as a start leaves it that crashed
// too, it does not tell by how much.
func TestStartWithLessMemoryAfterCrash(t *testing.T) {
	before := t.TempDir()
	e := open(t, badger.SmallTables(badger.Options{Dir: before, Sync: true}, 8<<20))
	const parts, each = 60, 100
	for part := range parts {
		var ops []store.Op
		for i := range each {
			ops = append(ops, store.Op{Key: store.Key{Table: 'P', Part: fmt.Sprint(part), Sub: fmt.Sprint(i)}, Value: make([]byte, 1000)})
		}
		if err := e.Apply(ctx, ops...); err != nil {
			t.Fatal(err)
		}
	}
	crashed := filepath.Join(t.TempDir(), "crashed")
	if err := os.CopyFS(crashed, os.DirFS(before)); err != nil {
		t.Fatal(err)
	}
	for what, dir := range map[string]string{"as it was": crashed, "cut": clone(t, before)} {
		small := open(t, badger.SmallTables(badger.Options{Dir: dir, Sync: true}, smallTables))
		n := 0
		if err := small.Dump(ctx, func(store.Item) error { n++; return nil }); err != nil || n != parts*each {
			t.Errorf("the log %s: %d records of %d, %v", what, n, parts*each, err)
		}
		shut(t, small)
	}
}

func TestSecondProcessIsLockedOut(t *testing.T) {
	dir := t.TempDir()
	open(t, badger.Options{Dir: dir})
	_, err := badger.Open(badger.Options{Dir: dir})
	if !errors.Is(err, store.ErrLocked) || !strings.Contains(err.Error(), filepath.Join(dir, "LOCK")+", process "+fmt.Sprint(os.Getpid())) || !strings.Contains(err.Error(), "stop it first") {
		t.Errorf("Open of a directory in use = %v, want ErrLocked with the lock, who has it and what to do", err)
	}
}

func TestOpenSaysWhatIsWrong(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := badger.Open(badger.Options{}); err == nil {
		t.Error("Open without a directory succeeded")
	}
	below := filepath.Join(file, "below")
	if _, err := badger.Open(badger.Options{Dir: below}); err == nil || !strings.Contains(err.Error(), below) {
		t.Errorf("Open below a file = %v, want a sentence with the directory", err)
	}
	readOnly := filepath.Join(t.TempDir(), "read-only")
	if err := os.Mkdir(readOnly, 0o500); err != nil {
		t.Fatal(err)
	}
	if probe, err := os.Create(filepath.Join(readOnly, "probe")); err == nil {
		probe.Close()
		t.Skip("this user may write to read-only directories")
	}
	if _, err := badger.Open(badger.Options{Dir: readOnly}); err == nil || !strings.Contains(err.Error(), "can't be written to") {
		t.Errorf("Open of a read-only directory = %v, want a sentence", err)
	}
}

func TestMemoryLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	e := open(t, badger.Options{InMemory: true, Dir: dir, Sync: true, MinFree: 1 << 60})
	put(t, e, store.Key{Table: 'P'}, "value")
	shut(t, e)
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("files in the directory: %v, %v", left, err)
	}
}

func TestCloseLeavesNoGoroutine(t *testing.T) {
	before := goroutines() // an engine that a test before has left is not this one's
	e := open(t, badger.Options{Dir: t.TempDir()})
	watching, stop := context.WithCancel(ctx)
	defer stop()
	if _, err := e.Watch(watching, 'P'); err != nil {
		t.Fatal(err)
	}
	put(t, e, store.Key{Table: 'P'}, "value")
	if maps.Equal(goroutines(), before) {
		t.Fatal("an open engine has no goroutine that is seen here")
	}
	shut(t, e)
	// One that has said its last word may still be about to end.
	for end := time.Now().Add(10 * time.Second); ; runtime.Gosched() {
		left := goroutines()
		maps.DeleteFunc(left, func(id, _ string) bool { return before[id] != "" })
		if len(left) == 0 {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("goroutines of a closed engine: %v", left)
		}
	}
}

// goroutines are those of engines: their stacks, by their names.
func goroutines() map[string]string {
	all := make([]byte, 4<<20)
	all = all[:runtime.Stack(all, true)]
	found := map[string]string{}
	for stack := range strings.SplitSeq(string(all), "\n\n") {
		if name, _, _ := strings.Cut(stack, " ["); strings.Contains(stack, "(*Engine)") {
			found[name] = stack
		}
	}
	return found
}

func TestStats(t *testing.T) {
	dir := t.TempDir()
	e := open(t, badger.Options{Dir: dir, MinFree: 1})
	if s := e.Stats(); s.Ops != 0 || s.Free <= 0 || s.Stopped {
		t.Errorf("Stats() = %+v at the start", s)
	}
	put(t, e, store.Key{Table: 'P'}, "value")
	s := e.Stats()
	if s.Batches != 1 || s.Ops != 1 || s.Bytes == 0 || s.Queue != 0 {
		t.Errorf("Stats() = %+v after one write", s)
	}
	if s.Commit.Count() != 1 || s.Commit.Sum == 0 || s.Batch.Count() != 1 || s.Batch.Sum != 1 {
		t.Errorf("Stats() = %+v after one write, want one commit of one write", s)
	}
	if u := e.Usage(); u.Memtables != 1 || u.Log == 0 || u.Memory == 0 || u.Memory >= u.Budget || len(u.Levels) == 0 {
		t.Errorf("Usage() = %+v after one write", u)
	}
	shut(t, e) // the log becomes a table
	if u := e.Usage(); len(u.Levels) != 0 || e.Size() != 0 {
		t.Errorf("Usage() = %+v and Size() = %d of a closed engine", u, e.Size())
	}
	e = open(t, badger.Options{Dir: dir})
	tables := 0
	for _, l := range e.Usage().Levels {
		tables += l.Tables
	}
	if tables == 0 || e.Size() == 0 {
		t.Errorf("Usage() knows %d tables and Size() is %d after a restart", tables, e.Size())
	}
	memory := open(t, badger.Options{InMemory: true, Now: func() time.Time { return time.Time{} }})
	if s := memory.Stats(); s.Free != -1 || s.Full {
		t.Errorf("Stats() = %+v in memory, where no disk is watched", s)
	}
}
