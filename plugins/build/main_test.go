package main

import (
	"bytes"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// shipped returns the toolchain and the names of the shipped plugins.
func shipped(t *testing.T) (*toolchain, []string) {
	t.Helper()
	tool, err := readToolchain("../TOOLCHAINS")
	if err != nil {
		t.Fatal(err)
	}
	names, err := plugins("..")
	if err != nil || len(names) < 3 {
		t.Fatalf("plugins: %v, %v", names, err)
	}
	return tool, names
}

// TestModulesAreReproducible rebuilds each module, here and from a copy of the
// source in another directory, and compares it with the committed one.
func TestModulesAreReproducible(t *testing.T) {
	if testing.Short() {
		t.Skip("builds every plugin twice")
	}
	tool, names := shipped(t)
	if err := tool.check(); err != nil {
		t.Fatal(err)
	}
	elsewhere := filepath.Join(t.TempDir(), "another", "checkout")
	copySource(t, elsewhere)
	for _, name := range names {
		want, err := os.ReadFile(filepath.Join("..", name, name+".wasm"))
		if err != nil {
			t.Errorf("%v: run go generate ./plugins", err)
			continue
		}
		for where, dir := range map[string]string{"here": filepath.Join("..", name), "elsewhere": filepath.Join(elsewhere, "plugins", name)} {
			out := filepath.Join(t.TempDir(), name+".wasm")
			if err := tool.build(dir, out); err != nil {
				t.Fatal(err)
			}
			got, err := os.ReadFile(out)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, want) {
				t.Errorf("%s built %s has other bytes than the committed module: run go generate ./plugins and commit", name, where)
			}
		}
	}
}

// copySource copies what the plugins are built from: the module's file, the
// SDK and the plugins.
func copySource(t *testing.T, to string) {
	t.Helper()
	for _, part := range []string{"go.mod", "go.sum", "sdk", "plugins"} {
		err := filepath.WalkDir(filepath.Join("../..", part), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || filepath.Ext(path) == ".wasm" {
				return err
			}
			rel, err := filepath.Rel("../..", path)
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
}

// TestModulesNameNoMachine looks for the paths of the machine that built them.
func TestModulesNameNoMachine(t *testing.T) {
	_, names := shipped(t)
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("go", "env", "GOROOT", "GOMODCACHE", "GOCACHE").Output()
	if err != nil {
		t.Fatal(err)
	}
	paths := append(strings.Fields(string(out)), root, os.TempDir()+"/", "/home/", "/root/", "/Users/", "/usr/local/")
	for _, name := range names {
		module, err := os.ReadFile(filepath.Join("..", name, name+".wasm"))
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range paths {
			if at := bytes.Index(module, []byte(p)); at >= 0 {
				t.Errorf("%s.wasm holds the path %q: …%q…", name, p, module[max(at-20, 0):min(at+60, len(module))])
			}
		}
	}
}

// TestModulesAreLean bounds what an operator loads and the server compiles.
func TestModulesAreLean(t *testing.T) {
	const limit = 2_700_000 // crypto/sha1, for one-time codes, is a fifteenth of it
	_, names := shipped(t)
	for _, name := range names {
		info, err := os.Stat(filepath.Join("..", name, name+".wasm"))
		if err != nil {
			t.Fatal(err)
		}
		if info.Size() > limit {
			t.Errorf("%s.wasm has %d bytes, the limit is %d: which import did it?", name, info.Size(), limit)
		}
	}
}

// TestToolchainIsTheModules holds go.mod and TOOLCHAINS together.
func TestToolchainIsTheModules(t *testing.T) {
	tool, _ := shipped(t)
	mod, err := os.ReadFile("../../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(mod), "\ntoolchain "+tool.version+"\n") {
		t.Errorf("go.mod has another toolchain than plugins/TOOLCHAINS, which says %s", tool.version)
	}
}
