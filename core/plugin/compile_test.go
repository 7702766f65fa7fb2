package plugin_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/souk-market/souk/core/plugin"
	"github.com/souk-market/souk/sdk/abi"
)

// cached opens a host with a cache of its own, asks it, and returns what it
// logged.
func cached(t *testing.T, dir string) string {
	t.Helper()
	var j journal
	h, err := plugin.Open(t.Context(), plugin.Options{
		Specs: []plugin.Spec{spec("a", constant("entitle", decisions(allow)))}, Cache: dir, Log: j.logger(),
	})
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	defer h.Close(t.Context())
	if got := entitle(t, h, 1, abi.Head{})[0]; got.Decision != allow {
		t.Errorf("AskEntitle = %+v, want an allowance", got)
	}
	return j.String()
}

// files returns the files below dir by their relative names.
func files(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			b, err := os.ReadFile(path)
			all[path] = string(b)
			return err
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestCompiledCodeIsKept(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "cache")
	cached(t, dir)
	first := files(t, dir)
	if len(first) != 2 {
		t.Fatalf("%d files, want the code and its sum", len(first))
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the directory has mode %v, want 0700", info.Mode())
	}
	if log := cached(t, dir); log != "" {
		t.Errorf("the second start logs:\n%s", log)
	}
	for path, content := range files(t, dir) {
		if first[path] != content {
			t.Errorf("%s is another after the second start", path)
		}
	}
}

func TestADamagedCacheOnlyCostsTime(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "cache")
	cached(t, dir)
	want := files(t, dir)
	var code string
	for path := range want {
		if filepath.Base(path) != "sum" {
			code = path
		}
	}
	flip := func(at int) func() error {
		return func() error {
			b := []byte(want[code])
			b[at] ^= 0x55
			return os.WriteFile(code, b, 0o600)
		}
	}
	for _, c := range []struct {
		rule   string
		damage func() error
	}{
		{"code is cut off", func() error { return os.Truncate(code, int64(len(want[code])/2)) }},
		{"code is empty", func() error { return os.Truncate(code, 0) }},
		{"code is gone", func() error { return os.Remove(code) }},
		{"code is garbage", func() error { return os.WriteFile(code, []byte(strings.Repeat("garbage", 1000)), 0o600) }},
		{"the magic is another", flip(0)},
		{"the number of functions is another", flip(20)},
		{"the place of a function is another", flip(24)},
		{"the last byte is another", flip(len(want[code]) - 1)},
		{"an instruction is another", flip(len(want[code]) / 2)},
		{"the sum is another", func() error {
			return os.WriteFile(filepath.Join(filepath.Dir(filepath.Dir(code)), "sum"), []byte("0"), 0o600)
		}},
		{"there is no sum", func() error { return os.Remove(filepath.Join(filepath.Dir(filepath.Dir(code)), "sum")) }},
		{"there is another file", func() error { return os.WriteFile(code+".tmp", []byte("x"), 0o600) }},
		{"the entry is a file", func() error {
			entry := filepath.Dir(filepath.Dir(code))
			if err := os.RemoveAll(entry); err != nil {
				return err
			}
			return os.WriteFile(entry, nil, 0o600)
		}},
	} {
		t.Run(c.rule, func(t *testing.T) {
			if err := c.damage(); err != nil {
				t.Fatal(err)
			}
			cached(t, dir)
			for path, content := range files(t, dir) {
				if want[path] != content {
					t.Errorf("%s isn't what it was before the damage", path)
				}
			}
		})
	}
}

func TestAnUnusableCacheOnlyCostsTime(t *testing.T) {
	dir := t.TempDir()
	open := filepath.Join(dir, "open")
	if err := os.Mkdir(open, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(open, 0o777); err != nil {
		t.Fatal(err)
	}
	if log := cached(t, open); !strings.Contains(log, "others may write it") || len(files(t, open)) != 0 {
		t.Errorf("a directory that others may write: log %q, want a warning and no files", log)
	}
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if log := cached(t, file); !strings.Contains(log, "no cache for compiled code") {
		t.Errorf("a file instead of a directory: log %q, want a warning", log)
	}
}
