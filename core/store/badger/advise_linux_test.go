package badger_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/souk-market/souk/core/store"
	"github.com/souk-market/souk/core/store/badger"
)

// TestLogsAreNotReadAhead looks at what the kernel was told of each log, also of one
// that came while the engine was open and of one that a start has found.
func TestLogsAreNotReadAhead(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	o := badger.SmallTables(badger.Options{Dir: dir, Sync: true}, 1<<20)
	e := open(t, o)
	seen := map[string]bool{}
	look := func() {
		for name, flags := range logFlags(t, dir) {
			if seen[name] = true; !slices.Contains(flags, "rr") {
				t.Errorf("%s is read ahead: its flags are %v", name, flags)
			}
		}
	}
	look()
	for i := 0; len(seen) < 4; i++ {
		if i == 1000 {
			t.Fatalf("%d writes of 30 KB began only %d logs", i, len(seen))
		}
		put(t, e, store.Key{Table: 'P', Part: fmt.Sprint(i)}, strings.Repeat("x", 30_000))
		look()
	}
	shut(t, e)
	clear(seen)
	open(t, o)
	if look(); len(seen) == 0 {
		t.Error("an open directory has no log")
	}
}

// logFlags are the flags of the mappings of a directory's logs (proc_pid_smaps(5)).
func logFlags(t *testing.T, dir string) map[string][]string {
	t.Helper()
	text, err := os.ReadFile("/proc/self/smaps")
	if err != nil {
		t.Fatal(err)
	}
	all, name := map[string][]string{}, ""
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if flags, ok := strings.CutPrefix(line, "VmFlags:"); ok {
			if name != "" {
				all[name] = strings.Fields(flags)
			}
			name = ""
		} else if at := strings.IndexByte(line, '/'); at >= 0 && filepath.Dir(line[at:]) == dir && strings.HasSuffix(line, ".mem") {
			name = filepath.Base(line)
		}
	}
	return all
}
