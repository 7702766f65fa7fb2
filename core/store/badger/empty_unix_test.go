//go:build linux || darwin || freebsd

package badger_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/souk-market/souk/core/store"
	"github.com/souk-market/souk/core/store/badger"
)

// A crash between the two steps of making or unmaking a log leaves one that is
// empty. It must not keep the store from opening.
func TestEmptyLogsAreNoObstacle(t *testing.T) {
	dir := t.TempDir()
	k := store.Key{Table: 'P', Part: "kept"}
	e := open(t, badger.Options{Dir: dir, Sync: true})
	put(t, e, k, "value")
	shut(t, e)
	for _, name := range []string{"00001.mem", "00900.mem", "000900.vlog"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	e = open(t, badger.Options{Dir: dir, Sync: true})
	it, err := e.Get(ctx, k)
	if err != nil || string(it.Value) != "value" {
		t.Errorf("Get() = %q, %v behind empty logs", it.Value, err)
	}
	// Of a directory in use nothing is removed: the log may be about to be filled.
	live := filepath.Join(dir, "00901.mem")
	if err := os.WriteFile(live, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := badger.Open(badger.Options{Dir: dir}); !errors.Is(err, store.ErrLocked) {
		t.Errorf("Open of a directory in use = %v, want ErrLocked", err)
	}
	if _, err := os.Stat(live); err != nil {
		t.Errorf("an empty log of a directory in use: %v, want it to stay", err)
	}
}
