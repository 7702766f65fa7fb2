package badger_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/souk-market/souk/core/store"
	"github.com/souk-market/souk/core/store/badger"
)

// needRoot skips a test that can't be played by an ordinary user.
func needRoot(t *testing.T) {
	t.Helper()
	if os.Getuid() == 0 {
		return
	}
	if os.Getenv("SOUK_CI") != "" {
		t.Fatal("SOUK_CI is set, but this is not root")
	}
	t.Skip("needs root")
}

// asAnother runs f as a user that owns nothing.
func asAnother(t *testing.T, f func()) {
	t.Helper()
	var all sync.WaitGroup
	all.Go(func() {
		runtime.LockOSThread() // for good: the thread ends with the goroutine
		if _, _, errno := syscall.RawSyscall(syscall.SYS_SETFSUID, 65534, 0, 0); errno != 0 {
			t.Errorf("setfsuid: %v", errno)
			return
		}
		f()
	})
	all.Wait()
}

func TestDirectoryOfAnotherUser(t *testing.T) {
	needRoot(t)
	dir := image(t, false)
	for parent := dir; parent != "/"; parent = filepath.Dir(parent) {
		if err := os.Chmod(parent, 0o755); err != nil && parent != os.TempDir() {
			break // not ours, and open anyway
		}
	}
	before := digest(t, dir)
	wants := func(what, says string) {
		t.Helper()
		asAnother(t, func() {
			e, err := badger.Open(badger.Options{Dir: dir})
			if err == nil {
				_ = e.Close() // the test has failed
				t.Errorf("%s was opened", what)
			} else if !strings.Contains(err.Error(), says) || !strings.Contains(err.Error(), dir) || !errors.Is(err, os.ErrPermission) || strings.Contains(err.Error(), "\n") {
				t.Errorf("%s: Open = %q, want one sentence with %q", what, err, says)
			}
		})
		if digest(t, dir) != before {
			t.Errorf("%s: the directory was changed", what)
		}
	}
	wants("a directory of another user", "can't be written to")
	// Somebody ran a command as root: the directory is open, a file in it is not.
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	wants("a file of another user", "have to belong to the user who runs the server")
	whole(t, dir, "its owner's own")
}

// A sync that really fails: a hole in the mapping of the log makes msync fail with
// ENOMEM. Badger hands that to the commit.
func TestFailedSyncStopsWrites(t *testing.T) {
	dir := t.TempDir()
	e, err := badger.Open(badger.Options{Dir: dir, Sync: true})
	if err != nil {
		t.Fatal(err)
	}
	k := store.Key{Table: 'P', Part: "sync"}
	put(t, e, k, "before")
	unmapEnd(t, one(t, dir, "*.mem"))
	_, err = e.Update(ctx, k, func(*store.Item) (*store.Write, error) { return &store.Write{Value: []byte("after")}, nil })
	if !errors.Is(err, store.ErrUnknown) || !errors.Is(err, syscall.ENOMEM) && !strings.Contains(err.Error(), syscall.ENOMEM.Error()) {
		t.Errorf("Update whose sync fails = %v, want ErrUnknown with the cause", err)
	}
	if err := e.Apply(ctx, store.Op{Key: k, Delete: true}); !errors.Is(err, store.ErrStopped) {
		t.Errorf("Apply afterwards = %v, want ErrStopped", err)
	}
	for range 2 {
		if it, err := e.Get(ctx, k); err != nil || string(it.Value) != "before" {
			t.Errorf("Get afterwards = %q, %v, want what was there before", it.Value, err)
		}
	}
	if !e.Stats().Stopped {
		t.Error("Stats don't say that writes have stopped")
	}
	_ = e.Close() // of files in that state anything may be said
	e = open(t, badger.Options{Dir: dir, Sync: true})
	if it, err := e.Get(ctx, k); err != nil || string(it.Value) != "before" && string(it.Value) != "after" {
		t.Errorf("after a restart Get = %q, %v, want one of the two", it.Value, err)
	}
	put(t, e, k, "again")
}

// unmapEnd takes the last page of a file's mapping away.
func unmapEnd(t *testing.T, file string) {
	t.Helper()
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		t.Fatal(err)
	}
	for lines := bufio.NewScanner(bytes.NewReader(maps)); lines.Scan(); {
		if !strings.HasSuffix(lines.Text(), file) {
			continue
		}
		_, rest, _ := strings.Cut(lines.Text(), "-")
		address, _, _ := strings.Cut(rest, " ")
		end, err := strconv.ParseUint(address, 16, 64)
		if err != nil {
			t.Fatal(err)
		}
		page := uint64(os.Getpagesize())
		if _, _, errno := syscall.Syscall(syscall.SYS_MUNMAP, uintptr(end-page), uintptr(page), 0); errno != 0 {
			t.Fatal(errno)
		}
		return
	}
	t.Fatalf("%s is not mapped", file)
}

// disk mounts a file system of its own until the test ends.
func disk(t *testing.T, size int64) string {
	t.Helper()
	needRoot(t)
	image, dir := filepath.Join(t.TempDir(), "image"), t.TempDir()
	f, err := os.Create(image)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.Truncate(size), f.Close()); err != nil {
		t.Fatal(err)
	}
	for _, command := range [][]string{{"mkfs.ext4", "-q", "-F", "-m", "0", image}, {"mount", "-o", "loop", image, dir}} {
		if out, err := exec.Command(command[0], command[1:]...).CombinedOutput(); err != nil {
			if os.Getenv("SOUK_CI") != "" {
				t.Fatalf("%v: %v: %s", command, err, out)
			}
			t.Skipf("no file system can be mounted: %v: %v: %s", command, err, out)
		}
	}
	t.Cleanup(func() {
		// Whoever still has a file open there keeps it until the process ends.
		if out, err := exec.Command("umount", "-l", dir).CombinedOutput(); err != nil {
			t.Errorf("umount: %v: %s", err, out)
		}
	})
	return dir
}

// fill takes room until so much is left. It costs the machine none.
func fill(t *testing.T, dir string, left int64) {
	t.Helper()
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil {
		t.Fatal(err)
	}
	n := int64(st.Bavail)*st.Bsize - left
	f, err := os.OpenFile(filepath.Join(dir, "filler"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	// The file system takes some for itself: a second, smaller try comes closer.
	for ; n > 0; n -= 1 << 20 {
		if err = syscall.Fallocate(int(f.Fd()), 0, info.Size(), n); !errors.Is(err, syscall.ENOSPC) {
			break
		}
	}
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatalf("fill the disk: %v", err)
	}
}

func unfill(t *testing.T, dir string) {
	t.Helper()
	if err := os.Remove(filepath.Join(dir, "filler")); err != nil {
		t.Fatal(err)
	}
}

// A real disk fills up beside the engine: it stops in time, reads go on, and it goes
// on by itself when there is room. A disk that is wholly full ends neither the process
// nor what it has; only a start has to wait for room.
func TestDiskFillsUp(t *testing.T) {
	dir := disk(t, 2<<30)
	o := badger.Options{Dir: filepath.Join(dir, "store"), Sync: true, MinFree: 1 << 30, Verify: true}
	e, err := badger.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	k := func(n int) store.Key { return store.Key{Table: 'P', Part: fmt.Sprint(n)} }
	write := func(n int) error {
		_, err := e.Update(ctx, k(n), func(*store.Item) (*store.Write, error) { return &store.Write{Value: make([]byte, 1000)}, nil })
		return err
	}
	acked := 0
	// until writes on until that comes back, for as long as a minute.
	until := func(want error) {
		t.Helper()
		for end := time.Now().Add(time.Minute); ; {
			err := write(acked)
			if err == nil {
				acked++
			}
			switch {
			case errors.Is(err, want):
				return
			case err != nil && !errors.Is(err, store.ErrFull):
				t.Fatalf("a write = %v", err)
			case time.Now().After(end):
				t.Fatalf("after a minute and %d writes none was %v", acked, want)
			}
		}
	}
	reads := func(what string) {
		t.Helper()
		for n := range acked {
			if _, err := e.Get(ctx, k(n)); err != nil {
				t.Fatalf("%s: write %d of %d that were acknowledged = %v", what, n, acked, err)
			}
		}
	}
	for range 1000 {
		until(nil)
	}
	fill(t, dir, 900<<20)
	until(store.ErrFull)
	reads("on a disk that is nearly full")
	if s := e.Stats(); !s.Full || s.Stopped || s.Free > 901<<20 {
		t.Errorf("Stats() = %+v on a disk that is nearly full", s)
	}
	unfill(t, dir)
	until(nil)
	fill(t, dir, 0)
	until(store.ErrFull)
	reads("on a full disk")
	if err := e.Close(); !errors.Is(err, store.ErrFull) {
		t.Errorf("Close on a full disk = %v, want that the files are left", err)
	}
	o.Dir = filepath.Join(dir, "another")
	if _, err := badger.Open(o); !errors.Is(err, store.ErrFull) || !strings.Contains(err.Error(), "make room") {
		t.Errorf("Open on a full disk = %v, want ErrFull and what to do", err)
	}
	o.Dir = clone(t, filepath.Join(dir, "store"))
	e = open(t, o)
	reads("opened where there is room")
	t.Logf("%d writes were acknowledged, and are there", acked)
}
