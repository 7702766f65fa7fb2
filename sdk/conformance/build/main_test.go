package main

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const root = "../../.."

func chains(t *testing.T) []*toolchain {
	t.Helper()
	all, err := readToolchains(filepath.Join(root, list))
	if err != nil || len(all) != 5 {
		t.Fatalf("readToolchains: %v, %d of 5 languages", err, len(all))
	}
	return all
}

// TestModulesAreReproducible rebuilds each module, here and from a copy of the
// source in another directory, and compares it with the committed one.
func TestModulesAreReproducible(t *testing.T) {
	if testing.Short() {
		t.Skip("builds every guest twice")
	}
	elsewhere := filepath.Join(t.TempDir(), "another", "checkout")
	copySource(t, elsewhere)
	for _, c := range chains(t) {
		t.Run(c.language, func(t *testing.T) {
			if err := c.check(root); err != nil {
				if os.Getenv("SOUK_CI") != "" {
					t.Fatal(err)
				}
				t.Skip(err)
			}
			for _, dir := range c.folders(root) {
				want, err := os.ReadFile(filepath.Join(root, dir, "guest.wasm"))
				if err != nil {
					t.Errorf("%v: run go generate ./sdk/conformance", err)
					continue
				}
				for _, where := range []string{root, elsewhere} {
					out := filepath.Join(t.TempDir(), "guest.wasm")
					if err := c.build(where, dir, out); err != nil {
						t.Fatal(err)
					}
					if got, err := os.ReadFile(out); err != nil || !bytes.Equal(got, want) {
						t.Errorf("%s built in %s has other bytes than the committed module: run go generate ./sdk/conformance and commit (%v)", dir, where, err)
					}
				}
			}
		})
	}
}

// copySource copies what the guests are built from.
func copySource(t *testing.T, to string) {
	t.Helper()
	for _, part := range []string{"go.mod", "go.sum", "sdk"} {
		err := filepath.WalkDir(filepath.Join(root, part), func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() && d.Name() == "node_modules" {
				return filepath.SkipDir
			}
			if err != nil || d.IsDir() || filepath.Ext(path) == ".wasm" {
				return err
			}
			rel, err := filepath.Rel(root, path)
			if err != nil {
				return err
			}
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			dst := filepath.Join(to, rel)
			if err := os.MkdirAll(filepath.Dir(dst), 0o755); err != nil {
				return err
			}
			return os.WriteFile(dst, b, 0o644)
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	// The compiler of AssemblyScript is used where npm has put it.
	const compiler = "sdk/assemblyscript/node_modules"
	from, err := filepath.Abs(filepath.Join(root, compiler))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(from, filepath.Join(to, compiler)); err != nil {
		t.Fatal(err)
	}
}

// TestModulesNameNoMachine looks for the paths of the machine that built them.
func TestModulesNameNoMachine(t *testing.T) {
	here, err := filepath.Abs(root)
	if err != nil {
		t.Fatal(err)
	}
	paths := []string{here, os.TempDir() + "/", "/home/", "/root/", "/Users/", "/usr/"}
	for _, c := range chains(t) {
		for _, dir := range c.folders(root) {
			module, err := os.ReadFile(filepath.Join(root, dir, "guest.wasm"))
			if err != nil {
				t.Fatal(err)
			}
			for _, p := range paths {
				if at := bytes.Index(module, []byte(p)); at >= 0 {
					t.Errorf("%s holds the path %q: …%q…", dir, p, module[max(at-20, 0):min(at+60, len(module))])
				}
			}
		}
	}
}

// TestModulesAreLean bounds what each language makes of the same example.
func TestModulesAreLean(t *testing.T) {
	limits := map[string]int64{"go": 2_500_000, "rust": 20_000, "assemblyscript": 20_000, "c": 10_000, "wat": 600}
	for _, c := range chains(t) {
		info, err := os.Stat(filepath.Join(root, "sdk/examples", c.language, "guest.wasm"))
		if err != nil {
			t.Fatal(err)
		}
		if info.Size() > limits[c.language] {
			t.Errorf("the example in %s has %d bytes, the limit is %d", c.language, info.Size(), limits[c.language])
		}
	}
}

// TestGoIsTheShippedPluginsGo holds the two lists of toolchains together.
func TestGoIsTheShippedPluginsGo(t *testing.T) {
	b, err := os.ReadFile(filepath.Join(root, "plugins/TOOLCHAINS"))
	if err != nil {
		t.Fatal(err)
	}
	var line string
	for l := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(l, "go "); ok {
			line = strings.TrimSpace(rest)
		}
	}
	if c := chains(t)[0]; c.language != "go" || c.answers != line {
		t.Errorf("%s is built with %s, plugins/TOOLCHAINS says %s", c.language, c.answers, line)
	}
}
