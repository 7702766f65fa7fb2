package toolchain_test

import (
	"bytes"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/souk-market/souk/sdk/toolchain"
)

const root = "../.."

// trees are where the repository has modules.
var trees = []string{"sdk/conformance", "sdk/examples", "plugins", "core/plugin/bench", "core/coretest/guests", "examples/extism"}

func chains(t *testing.T) []*toolchain.Toolchain {
	t.Helper()
	all, err := toolchain.Read(root)
	if err != nil || len(all) != 6 {
		t.Fatalf("Read: %v, %d of 6 languages", err, len(all))
	}
	return all
}

func modules(t *testing.T, c *toolchain.Toolchain) []toolchain.Module {
	t.Helper()
	var all []toolchain.Module
	for _, tree := range trees {
		found, err := c.Modules(root, tree)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, found...)
	}
	return all
}

// TestEveryModuleHasASource looks for modules that no toolchain builds.
func TestEveryModuleHasASource(t *testing.T) {
	built := map[string]bool{}
	for _, c := range chains(t) {
		for _, m := range modules(t, c) {
			if built[m.Wasm] {
				t.Errorf("%s has two sources", m.Wasm)
			}
			built[m.Wasm] = true
		}
	}
	for _, tree := range trees {
		committed, err := filepath.Glob(filepath.Join(root, tree, "*", "*.wasm"))
		if err != nil || len(committed) == 0 {
			t.Fatalf("the modules of %s are %v, %v", tree, committed, err)
		}
		for _, file := range committed {
			rel, err := filepath.Rel(root, file)
			if err != nil || !built[filepath.ToSlash(rel)] {
				t.Errorf("nothing builds %s: its source is main or guest with the ending of a language", rel)
			}
		}
	}
}

// TestModulesAreReproducible rebuilds each module, here and from a copy of the
// source in another directory, and compares it with the committed one.
func TestModulesAreReproducible(t *testing.T) {
	if testing.Short() {
		t.Skip("builds every module twice")
	}
	elsewhere := filepath.Join(t.TempDir(), "another", "checkout")
	copySource(t, elsewhere)
	for _, c := range chains(t) {
		t.Run(c.Language, func(t *testing.T) {
			if err := c.Check(root); err != nil {
				if os.Getenv("SOUK_CI") != "" {
					t.Fatal(err)
				}
				t.Skip(err)
			}
			for _, m := range modules(t, c) {
				want, err := os.ReadFile(filepath.Join(root, m.Wasm))
				if err != nil {
					t.Errorf("%v: run go generate ./sdk/... ./plugins ./core/...", err)
					continue
				}
				for _, where := range []string{root, elsewhere} {
					out := filepath.Join(t.TempDir(), "module.wasm")
					if err := c.Build(where, m.Source, out); err != nil {
						t.Fatal(err)
					}
					if got, err := os.ReadFile(out); err != nil || !bytes.Equal(got, want) {
						t.Errorf("%s built in %s has other bytes than the committed module: run go generate ./sdk/... ./plugins ./core/... and commit (%v)", m.Source, where, err)
					}
				}
			}
		})
	}
}

// copySource copies what the modules are built from.
func copySource(t *testing.T, to string) {
	t.Helper()
	for _, part := range []string{"go.mod", "go.sum", "sdk", "plugins", "core/plugin/bench", "core/coretest/guests", "examples/extism"} {
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
	// The compilers that npm installs are used where it has put them.
	for _, compiler := range []string{"sdk/assemblyscript/node_modules", "sdk/javascript/node_modules"} {
		from, err := filepath.Abs(filepath.Join(root, compiler))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(from, filepath.Join(to, compiler)); err != nil {
			t.Fatal(err)
		}
	}
}

// TestModulesNameNoMachine looks for the paths of the machine that built them.
func TestModulesNameNoMachine(t *testing.T) {
	here, err := filepath.Abs(root)
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("go", "env", "GOROOT", "GOMODCACHE", "GOCACHE").Output()
	if err != nil {
		t.Fatal(err)
	}
	paths := append(strings.Fields(string(out)), here, os.TempDir()+"/", "/home/", "/root/", "/Users/", "/usr/")
	for _, c := range chains(t) {
		for _, m := range modules(t, c) {
			module, err := os.ReadFile(filepath.Join(root, m.Wasm))
			if err != nil {
				t.Fatal(err)
			}
			for _, p := range paths {
				if at := bytes.Index(module, []byte(p)); at >= 0 {
					t.Errorf("%s holds the path %q: …%q…", m.Wasm, p, module[max(at-20, 0):min(at+60, len(module))])
				}
			}
		}
	}
}

// TestModulesAreLean bounds what an operator loads and the server compiles, and
// what each language makes of the same example.
func TestModulesAreLean(t *testing.T) {
	for tree, limits := range map[string]map[string]int64{
		"sdk/examples": {"go": 2_500_000, "rust": 20_000, "assemblyscript": 20_000, "c": 10_000, "javascript": 620_000, "wat": 600},
		"plugins":      {"go": 2_700_000, "rust": 30_000, "assemblyscript": 60_000, "c": 25_000, "javascript": 650_000, "wat": 600}, // crypto/sha1, for one-time codes, is a fifteenth of Go's
	} {
		for _, c := range chains(t) {
			found, err := c.Modules(root, tree)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range found {
				info, err := os.Stat(filepath.Join(root, m.Wasm))
				if err != nil {
					t.Fatal(err)
				}
				limit := limits[c.Language]
				if m.Wasm == "plugins/oidc/oidc.wasm" {
					limit = 6_800_000 // crypto/x509 and reflection, which the library for tokens brings along
				}
				if info.Size() > limit {
					t.Errorf("%s has %d bytes, the limit is %d: which import did it?", m.Wasm, info.Size(), limit)
				}
			}
		}
	}
}

// TestGoIsTheRepositorys holds go.mod and the list together.
func TestGoIsTheRepositorys(t *testing.T) {
	mod, err := os.ReadFile(filepath.Join(root, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	if c := chains(t)[0]; c.Language != "go" || !strings.Contains(string(mod), "\ntoolchain "+c.Answers+"\n") {
		t.Errorf("go.mod has another toolchain than %s, which says %s for %s", toolchain.List, c.Answers, c.Language)
	}
}
