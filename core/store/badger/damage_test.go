package badger_test

import (
	"bytes"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	bdb "github.com/dgraph-io/badger/v4"

	"github.com/souk-market/souk/core/store"
	"github.com/souk-market/souk/core/store/badger"
)

// An image has so many commits, each of which writes the same number into three
// records, so that half of one is seen; and so many records beside them.
const (
	commits = 40
	ballast = 3000
)

func commit(e store.Engine, n int) error {
	var ops []store.Op
	for i := range 3 {
		ops = append(ops, store.Op{Key: store.Key{Table: 'P', Part: "image", Sub: fmt.Sprint(i)}, Value: fmt.Appendf(nil, "%d %s", n, strings.Repeat("x", 50*i))})
	}
	return e.Apply(ctx, ops...)
}

// last returns the commit that the records are of.
func last(t *testing.T, e store.Engine) (n int) {
	t.Helper()
	items, err := e.Scan(ctx, 'P', "image", "", 10)
	if err != nil {
		t.Fatalf("Scan = %v", err)
	}
	if len(items) == 0 {
		return 0
	}
	for i, it := range items {
		var one int
		if _, err := fmt.Sscan(string(it.Value), &one); err != nil || i > 0 && one != n || len(items) != 3 {
			t.Fatalf("the records are half of a commit: %+v", items)
		}
		n = one
	}
	return n
}

// images are made once: the one that was closed, and the one as a crash leaves it.
var images [2]struct {
	once  sync.Once
	files map[string][]byte
}

// image is the directory of a store of its own.
func image(t *testing.T, crashed bool) string {
	t.Helper()
	i := &images[0]
	if crashed {
		i = &images[1]
	}
	i.once.Do(func() { i.files = contents(t, makeImage(t, crashed)) })
	dir := t.TempDir()
	lay(t, dir, i.files)
	return dir
}

func makeImage(t *testing.T, crashed bool) string {
	t.Helper()
	dir := t.TempDir()
	e := open(t, badger.Options{Dir: dir, Sync: true})
	for i := 0; i < ballast; i += 100 { // several blocks of a table
		var ops []store.Op
		for j := range 100 {
			ops = append(ops, store.Op{Key: store.Key{Table: 'Q', Part: "ballast", Sub: fmt.Sprint(i + j)}, Value: bytes.Repeat([]byte{byte(i)}, 40)})
		}
		if err := e.Apply(ctx, ops...); err != nil {
			t.Fatal(err)
		}
	}
	if crashed { // the ballast in a table, the commits in a log
		shut(t, e)
		e = open(t, badger.Options{Dir: dir, Sync: true})
	}
	for n := range commits {
		if err := commit(e, n+1); err != nil {
			t.Fatal(err)
		}
	}
	if crashed {
		dir = clone(t, dir) // all is acknowledged, and so in the files
	}
	shut(t, e)
	return dir
}

// clone copies a directory.
func clone(t *testing.T, dir string) string {
	t.Helper()
	to := t.TempDir()
	lay(t, to, contents(t, dir))
	return to
}

func lay(t *testing.T, dir string, files map[string][]byte) {
	t.Helper()
	for name, b := range files {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// contents reads the files of a directory; zeros at the end of a log are left out, and
// made again by Badger.
func contents(t *testing.T, dir string) map[string][]byte {
	t.Helper()
	all := map[string][]byte{}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.Name() == "LOCK" {
			continue
		}
		b, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		if ext := filepath.Ext(e.Name()); ext == ".mem" || ext == ".vlog" {
			b = b[:min(len(b), len(bytes.TrimRight(b, "\x00"))+64)]
		}
		all[e.Name()] = b
	}
	return all
}

// digest tells one state of a directory from another.
func digest(t *testing.T, dir string) uint64 {
	t.Helper()
	h := fnv.New64()
	all := contents(t, dir)
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		_, _ = io.WriteString(h, e.Name())
		_, _ = h.Write(all[e.Name()])
	}
	return h.Sum64()
}

// one is the only file of a kind.
func one(t *testing.T, dir, pattern string) string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dir, pattern))
	if err != nil || len(found) != 1 {
		t.Fatalf("the files %s are %v, %v, want one", pattern, found, err)
	}
	return found[0]
}

func edit(t *testing.T, file string, change func([]byte) []byte) {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, change(b), 0o600); err != nil {
		t.Fatal(err)
	}
}

func flip(at int) func([]byte) []byte {
	return func(b []byte) []byte { b[at] ^= 0x40; return b }
}

// thin is how far apart the places are that a test damages: under the race detector a
// start takes long, and is the same at each.
func thin(step int) int {
	step = max(1, step)
	if badger.RaceEnabled {
		return 7 * step
	}
	return step
}

func cutAt(at int) func([]byte) []byte { return func(b []byte) []byte { return b[:at] } }

func size(t *testing.T, file string) int {
	t.Helper()
	info, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	return int(info.Size())
}

// refused checks that a damaged directory is not opened, that the error says which
// file it is and what to do, and that nothing was changed.
func refused(t *testing.T, dir, file, what string) {
	t.Helper()
	before := digest(t, dir)
	e, err := badger.Open(badger.Options{Dir: dir, Sync: true, Verify: true})
	if err == nil {
		_ = e.Close() // the test has failed
		t.Errorf("%s: the directory was opened", what)
		return
	}
	if !errors.Is(err, store.ErrDamaged) || !strings.Contains(err.Error(), file) || !strings.Contains(err.Error(), "souk recover") || strings.Contains(err.Error(), "\n") {
		t.Errorf("%s: Open = %q, want one sentence with %s and what to do", what, err, file)
	}
	if digest(t, dir) != before {
		t.Errorf("%s: the directory was changed", what)
	}
}

// whole opens a directory and checks that nothing is missing.
func whole(t *testing.T, dir, what string) {
	t.Helper()
	e, err := badger.Open(badger.Options{Dir: dir, Verify: true})
	if err != nil {
		t.Errorf("%s: Open = %v", what, err)
		return
	}
	if n := last(t, e); n != commits {
		t.Errorf("%s: the last commit is %d, want %d", what, n, commits)
	}
	if items, err := e.Scan(ctx, 'Q', "ballast", "", 5000); err != nil || len(items) != ballast {
		t.Errorf("%s: %d of %d records are there, %v", what, len(items), ballast, err)
	}
	shut(t, e)
}

func TestDamagedTable(t *testing.T) {
	t.Parallel()
	dir := image(t, false)
	whole(t, clone(t, dir), "as it was")
	table := one(t, dir, "*.sst")
	right, err := os.ReadFile(table)
	if err != nil {
		t.Fatal(err)
	}
	n := len(right)
	put := func(b []byte) {
		if err := os.WriteFile(table, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for at := 0; at < n; at += thin(n / 150) {
		put(flip(at)(bytes.Clone(right)))
		refused(t, dir, table, fmt.Sprintf("byte %d of %d", at, n))
	}
	for at := n - 24; at < n; at += thin(1) { // where the lengths are
		put(flip(at)(bytes.Clone(right)))
		refused(t, dir, table, fmt.Sprintf("byte %d of %d", at, n))
	}
	for _, at := range []int{0, 1, 3, 4, 7, 8, 100, n / 2, n - 5, n - 4, n - 1} {
		put(right[:at])
		refused(t, dir, table, fmt.Sprintf("cut off at %d of %d", at, n))
	}
	put(append(bytes.Clone(right), 0))
	refused(t, dir, table, "with a byte more")
	if err := os.Remove(table); err != nil {
		t.Fatal(err)
	}
	refused(t, dir, table, "missing")
	put(right)
	whole(t, dir, "put right again")
}

// What breaks while the engine runs is found by who reads the tables again, and not taken
// for damage is what is merged away meanwhile.
func TestDamageWhileItRuns(t *testing.T) {
	t.Parallel()
	dir := image(t, false)
	log := &lines{}
	e := open(t, badger.Patrol(badger.SmallTables(badger.Options{Dir: dir, Log: slog.New(slog.NewTextHandler(log, nil))}, smallTables), time.Millisecond))
	defer shut(t, e)
	for i := range 300 { // tables come and go
		var ops []store.Op
		for j := range 50 {
			ops = append(ops, store.Op{Key: store.Key{Table: 'R', Part: "turned over", Sub: fmt.Sprint(j)}, Value: bytes.Repeat([]byte{byte(i)}, 200)})
		}
		if err := e.Apply(ctx, ops...); err != nil {
			t.Fatal(err)
		}
	}
	if err := e.Stats().Damage; err != nil {
		t.Fatalf("Damage = %v of files that are whole", err)
	}
	var at string
	for end := time.Now().Add(30 * time.Second); e.Stats().Damage == nil; runtime.Gosched() {
		if time.Now().After(end) {
			t.Fatalf("%s was changed, and nobody has noticed", at)
		}
		tables, err := filepath.Glob(filepath.Join(dir, "*.sst"))
		if err != nil {
			t.Fatal(err)
		}
		for _, at = range tables { // all that are there now, whichever will stay
			spoilValue(t, at)
		}
	}
	err := e.Stats().Damage
	if !errors.Is(err, store.ErrDamaged) || !strings.Contains(err.Error(), ".sst") || !strings.Contains(err.Error(), "souk recover") {
		t.Errorf("Damage = %v, want ErrDamaged, the table and what to do", err)
	}
	if text := log.String(); strings.Count(text, "what is read from it may be wrong") != 1 || !strings.Contains(text, ".sst") {
		t.Errorf("the log says %q, want the table, once", text)
	}
}

// spoilValue changes a byte of a value, which Badger does not read itself; a table that is
// gone stays so.
func spoilValue(t *testing.T, table string) {
	t.Helper()
	f, err := os.OpenFile(table, os.O_RDWR, 0)
	if errors.Is(err, os.ErrNotExist) {
		return
	} else if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b, err := io.ReadAll(f)
	if err != nil {
		t.Fatal(err)
	}
	const run = 30 // of equal bytes: no key has that
	for at := 0; at+run <= len(b); at++ {
		if bytes.Count(b[at:at+run], b[at:at+1]) == run && b[at] != 0 {
			if _, err := f.WriteAt([]byte{b[at] ^ 0x55}, int64(at+run/2)); err != nil {
				t.Fatal(err)
			}
			return
		}
	}
}

// lines is a log that can be read while it is written.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// Without Verify a start does not read the blocks, but a table that would end the
// process is refused all the same.
func TestDamagedTableWithoutVerify(t *testing.T) {
	t.Parallel()
	dir := image(t, false)
	table := one(t, dir, "*.sst")
	n := size(t, table)
	for what, change := range map[string]func([]byte) []byte{"the index": flip(n - 40), "the end": cutAt(n - 1), "all": cutAt(0)} {
		copied := clone(t, dir)
		edit(t, filepath.Join(copied, filepath.Base(table)), change)
		_, err := badger.Open(badger.Options{Dir: copied})
		if !errors.Is(err, store.ErrDamaged) || !strings.Contains(err.Error(), filepath.Base(table)) {
			t.Errorf("%s: Open = %v, want ErrDamaged with the table", what, err)
		}
	}
}

// Whatever is wrong with the MANIFEST, either all is there or it is said. Badger
// deletes the tables that it does not name.
func TestDamagedManifest(t *testing.T) {
	t.Parallel()
	for name, crashed := range map[string]bool{"closed": false, "crashed": true} {
		t.Run(name, func(t *testing.T) {
			dir := image(t, crashed)
			file := filepath.Join(dir, "MANIFEST")
			n := size(t, file)
			tried, opened := 0, 0
			try := func(what string, change func([]byte) []byte) {
				tried++
				copied := clone(t, dir)
				edit(t, filepath.Join(copied, "MANIFEST"), change)
				before := digest(t, copied)
				e, err := badger.Open(badger.Options{Dir: copied, Sync: true, Verify: true})
				if err == nil {
					opened++
					shut(t, e)
					whole(t, copied, what)
					return
				}
				if !strings.Contains(err.Error(), "MANIFEST") || strings.Contains(err.Error(), "\n") {
					t.Errorf("%s: Open = %q, want one sentence with MANIFEST", what, err)
				}
				if digest(t, copied) != before {
					t.Errorf("%s: the directory was changed", what)
				}
			}
			for at := 0; at < n; at += thin(1) {
				try(fmt.Sprintf("byte %d of %d", at, n), flip(at))
			}
			for at := 0; at < n; at += thin(1) {
				try(fmt.Sprintf("cut off at %d of %d", at, n), cutAt(at))
			}
			copied := clone(t, dir) // a crash within a write leaves the beginning of a record
			edit(t, filepath.Join(copied, "MANIFEST"), func(b []byte) []byte { return append(b, 0, 0, 0, 9, 1) })
			whole(t, copied, "with the beginning of a record")
			t.Logf("of %d damaged MANIFESTs %d were taken, with all that was there", tried, opened)
			if err := os.Remove(file); err != nil {
				t.Fatal(err)
			}
			refused(t, dir, file, "missing")
		})
	}
}

func TestDamagedKeyRegistry(t *testing.T) {
	t.Parallel()
	dir := image(t, true)
	file := filepath.Join(dir, "KEYREGISTRY")
	for what, change := range map[string]func([]byte) []byte{"another text": flip(20), "cut off": cutAt(10), "empty": cutAt(0), "longer": func(b []byte) []byte { return append(b, 0xff, 0xff, 0xff, 0xff) }} {
		copied := clone(t, dir)
		path := filepath.Join(copied, "KEYREGISTRY")
		edit(t, path, change)
		_, err := badger.Open(badger.Options{Dir: copied})
		if !errors.Is(err, store.ErrDamaged) || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "remove it") {
			t.Errorf("%s: Open = %v, want that it may be removed", what, err)
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		whole(t, copied, "without it")
	}
	edit(t, file, flip(3)) // random bytes are as good as others
	whole(t, dir, "another vector")
}

// A log that is cut off anywhere has what was written before, and never half of a
// commit.
func TestCutOffLog(t *testing.T) {
	t.Parallel()
	dir := image(t, true)
	log := filepath.Base(one(t, dir, "*.mem"))
	n := len(bytes.TrimRight(contents(t, dir)[log], "\x00"))
	before := 0
	for at, step := 0, thin(n/20); at <= n; at = max(at+1, min(at+step, n)) { // and n itself
		copied := clone(t, dir)
		edit(t, filepath.Join(copied, log), cutAt(at))
		e, err := badger.Open(badger.Options{Dir: copied, Sync: true, Verify: true})
		if err != nil {
			t.Errorf("cut off at %d of %d: Open = %v", at, n, err)
			continue
		}
		got := last(t, e)
		if got < before || got > commits || got < commits*(at-20)/n-1 {
			t.Errorf("cut off at %d of %d: the last commit is %d, and was %d with less", at, n, got, before)
		}
		before = got
		if err := commit(e, got+1); err != nil {
			t.Errorf("cut off at %d: writing on = %v", at, err)
		}
		shut(t, e)
	}
	if before < commits-2 {
		t.Errorf("the longest log has %d of %d commits", before, commits)
	}
}

func TestDamagedLog(t *testing.T) {
	t.Parallel()
	dir := image(t, true)
	log := one(t, dir, "*.mem")
	n := len(bytes.TrimRight(contents(t, dir)[filepath.Base(log)], "\x00"))
	right, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	put := func(at int) {
		if err := os.WriteFile(log, flip(at)(bytes.Clone(right)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	end := n - 2*n/commits // behind it is the last commit
	for at := 0; at < end; at += thin(end / 60) {
		if 8 <= at && at < 20 {
			continue // a vector that nobody uses
		}
		put(at)
		refused(t, dir, log, fmt.Sprintf("byte %d of %d", at, n))
	}
	// Of the commit before the last only its end is hit: it looks as one under way does,
	// and is told apart by the next one's version alone.
	marker := []byte("!badger!txn")
	before := bytes.LastIndex(right[:bytes.LastIndex(right, marker)], marker)
	for at := before - 5; at < before+len(marker)+8; at += thin(1) { // the key, with what stands in front of it
		put(at)
		refused(t, dir, log, fmt.Sprintf("byte %d of %d, at the end of the commit before the last", at, n))
	}
	hole := bytes.Clone(right)
	clear(hole[bytes.LastIndex(right[:before], marker)+40 : before+20]) // from within its first entry
	if err := os.WriteFile(log, hole, 0o600); err != nil {
		t.Fatal(err)
	}
	refused(t, dir, log, "without the commit before the last")
	// The last commit may have been under way: the same bytes are what a power loss
	// leaves of one that nobody was told of.
	put(n - 3)
	copied := clone(t, dir)
	e := open(t, badger.Options{Dir: copied, Sync: true, Verify: true})
	if got := last(t, e); got != commits-1 {
		t.Errorf("without its last commit the log has %d of %d", got, commits)
	}
	shut(t, e)
	// Where a power loss may take what it likes, a hole is put up with, and said.
	put(n / 2)
	var said bytes.Buffer
	e, err = badger.Open(badger.Options{Dir: clone(t, dir), Verify: true, Log: slog.New(slog.NewTextHandler(&said, nil))})
	if err != nil {
		t.Fatal(err)
	}
	if got := last(t, e); got < commits/2-2 || got >= commits || !strings.Contains(said.String(), "a log is damaged") {
		t.Errorf("with a hole the log has %d of %d commits, and it is said: %s", got, commits, said.String())
	}
	shut(t, e)
	// A log that another one follows was whole.
	put(n - 3)
	if err := os.WriteFile(filepath.Join(dir, "00099.mem"), make([]byte, 1000), 0o600); err != nil {
		t.Fatal(err)
	}
	refused(t, dir, log, "with another log behind it")
}

// A crash between making a file and giving it its size leaves an empty one.
func TestEmptyFilesOfACrash(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		t.Skip("on Windows nobody can tell whether another process is about to write to the file")
	}
	for _, name := range []string{"00077.mem", "000077.vlog"} {
		dir := image(t, true)
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		whole(t, dir, name)
	}
}

func TestForeignDirectory(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	db, err := bdb.Open(bdb.DefaultOptions(dir).WithLogger(nil))
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(txn *bdb.Txn) error { return txn.Set([]byte("another"), []byte("program")) })
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	if _, err := badger.Open(badger.Options{Dir: dir}); err == nil || !strings.Contains(err.Error(), "database of another program") {
		t.Errorf("Open of another program's database = %v", err)
	}
	dir = t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "MANIFEST"), []byte("Manifest-Version: 1.0\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := badger.Open(badger.Options{Dir: dir}); !errors.Is(err, store.ErrDamaged) || !strings.Contains(err.Error(), filepath.Join(dir, "MANIFEST")) {
		t.Errorf("Open with a MANIFEST of something else = %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "MANIFEST"), []byte("Bdgr\x00\x00\x00\x09"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := badger.Open(badger.Options{Dir: dir}); err == nil || !strings.Contains(err.Error(), "another version of Badger") {
		t.Errorf("Open with a MANIFEST of a newer version = %v", err)
	}
}
