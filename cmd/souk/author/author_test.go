package author_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/souk-market/souk/cmd/souk/author"
	"github.com/souk-market/souk/core/coretest"
	"github.com/souk-market/souk/core/plugin"
	"github.com/souk-market/souk/core/plugin/cases"
)

// create makes a project whose compiler is there, or skips the test by the name of
// what is missing.
func create(t *testing.T, lang, hook string) *author.Project {
	t.Helper()
	p, err := author.Create(filepath.Join(t.TempDir(), "mine"), lang, hook)
	if err != nil {
		t.Fatal(err)
	}
	if lang == "assemblyscript" || lang == "javascript" { // what npm install would bring
		modules, err := filepath.Abs("../../../sdk/" + lang + "/node_modules")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(modules, filepath.Join(p.Dir, "node_modules")); err != nil {
			t.Fatal(err)
		}
	}
	return p
}

func build(t *testing.T, p *author.Project) string {
	t.Helper()
	with, err := p.Make()
	if errors.Is(err, author.ErrNoCompiler) && os.Getenv("SOUK_CI") == "" {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return with
}

// TestTemplates builds each template and asks it its own cases.
func TestTemplates(t *testing.T) {
	for _, hook := range []string{"select_version", "entitle", "sign_in", "exchange"} {
		for _, lang := range author.Languages() {
			if lang == "wat" && (hook == "sign_in" || hook == "exchange") {
				continue
			}
			t.Run(hook+" in "+lang, func(t *testing.T) {
				if lang == "go" && (testing.Short() || raceDetector && hook != "entitle") {
					t.Skip("the modules of Go are large, and take minutes to compile with the race detector")
				}
				t.Parallel()
				p := create(t, lang, hook)
				if with := build(t, p); with == "" {
					t.Error("Make doesn't say with what")
				}
				target, err := author.TargetOf(p.Dir)
				if err != nil {
					t.Fatal(err)
				}
				if lang != "go" && lang != "javascript" || hook == "select_version" { // they take long to compile
					check(t, target, hook)
				}
				suite, err := target.Suite(target.Cases[0])
				if err != nil {
					t.Fatal(err)
				}
				results, err := suite.Try(t.Context(), plugin.Options{Specs: []plugin.Spec{target.Spec}, Dir: target.Dir, Cache: coretest.Cache()})
				if err != nil || len(results) < 3 {
					t.Fatalf("%d cases, %v", len(results), err)
				}
				if err := cases.Failed(results); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

func check(t *testing.T, target *author.Target, hook string) {
	t.Helper()
	r, err := author.Check(t.Context(), target, 16<<20)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Hooks) != 1 || r.Hooks[0] != hook || len(r.Fuel) != 1 || r.Fuel[0].Typical == 0 {
		t.Errorf("the check finds %+v", r)
	}
	if len(r.Warnings) > 0 {
		t.Errorf("the check warns of a template: %q", r.Warnings)
	}
	for _, group := range r.Allow {
		if !slices.Contains(target.Spec.Allow, group) {
			t.Errorf("it imports from the group %s, and its allow is %q", group, target.Spec.Allow)
		}
	}
}

func TestCreateRefuses(t *testing.T) {
	dir := t.TempDir()
	full := filepath.Join(dir, "full")
	if err := os.MkdirAll(full, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(full, "mine.txt"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ dir, lang, hook, want string }{
		{full, "c", "select_version", "is not empty: choose another name"},
		{filepath.Join(full, "mine.txt"), "c", "select_version", `"mine.txt" is no name: write 1 to 64 lower-case letters`},
		{filepath.Join(dir, "Caps"), "c", "select_version", `"Caps" is no name`},
		{filepath.Join(dir, "a"), "cobol", "select_version", `--lang: "cobol" is none of go, rust, assemblyscript, javascript, c, wat`},
		{filepath.Join(dir, "a"), "c", "grant", `--hook: "grant" is no hook: use entitle, select_version, sign_in, exchange`},
		{filepath.Join(dir, "a"), "wat", "sign_in", "there is no template of sign_in in wat"},
	} {
		_, err := author.Create(test.dir, test.lang, test.hook)
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("Create(%s, %s, %s): %v, want %s", test.dir, test.lang, test.hook, err, test.want)
		}
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
		t.Errorf("what was refused has left %v, %v", entries, err)
	}
	if err := os.Mkdir(filepath.Join(dir, "empty"), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := author.Create(filepath.Join(dir, "empty"), "wat", "select_version"); err != nil {
		t.Errorf("an empty folder: %v", err)
	}
}

// TestCompilersThatAreMissing: the sentence says what to install.
func TestCompilersThatAreMissing(t *testing.T) {
	for lang, want := range map[string]string{
		"go": "install Go", "rust": "lld", "assemblyscript": "install version 20 or newer", "javascript": "install version 20 or newer",
		"c": "apt install clang-19 lld-19", "wat": "apt install wabt",
	} {
		t.Run(lang, func(t *testing.T) {
			p := create(t, lang, "select_version")
			t.Setenv("PATH", t.TempDir())
			t.Setenv("HOME", t.TempDir())
			_, err := p.Make()
			if !errors.Is(err, author.ErrNoCompiler) || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("without a compiler: %v, want a sentence with %q", err, want)
			}
		})
	}
}

// TestCompilersThatLackTheTarget puts programs into the path that are compilers,
// but not for WebAssembly.
func TestCompilersThatLackTheTarget(t *testing.T) {
	bin := t.TempDir()
	program := func(name, script string) {
		if err := os.WriteFile(filepath.Join(bin, name), []byte("#!/bin/sh\n"+script), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", bin)
	p := create(t, "c", "select_version")
	program("clang-19", "echo x86-64")
	if _, err := p.Make(); err == nil || !strings.Contains(err.Error(), "no clang here that builds WebAssembly") {
		t.Errorf("a clang without the target: %v", err)
	}
	program("clang-19", `[ "$1" = --print-targets ] && echo wasm32 || echo wasm-ld`)
	if _, err := p.Make(); err == nil || !strings.Contains(err.Error(), `clang-19 has no wasm-ld to link with: install it with "apt install lld-19"`) {
		t.Errorf("a clang without a linker: %v", err)
	}
	p = create(t, "assemblyscript", "select_version")
	program("node", "exit 0")
	if err := os.Remove(filepath.Join(p.Dir, "node_modules")); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Make(); err == nil || !strings.Contains(err.Error(), `assemblyscript is not in node_modules: run "npm install" in `+p.Dir+" once") {
		t.Errorf("without npm install: %v", err)
	}
}

func TestMakeSaysWhatTheCompilerSays(t *testing.T) {
	p := create(t, "c", "select_version")
	build(t, p)
	source := filepath.Join(p.Dir, p.Source)
	if err := os.WriteFile(source, []byte("#include \"souk.h\"\nint choose(void) { return nothing; }\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := p.Make()
	if err == nil || !strings.Contains(err.Error(), "guest.c is not built, the compiler says:\n") || !strings.Contains(err.Error(), "undeclared identifier 'nothing'") {
		t.Errorf("a source with a mistake: %v", err)
	}
	if err := os.Remove(source); err != nil {
		t.Fatal(err)
	}
	if _, err = p.Make(); err == nil || !strings.Contains(err.Error(), "guest.c doesn't exist: name what is built with source =") {
		t.Errorf("without a source: %v", err)
	}
}

func TestReplaceSDK(t *testing.T) {
	for _, lang := range []string{"go", "c"} {
		p := create(t, lang, "select_version")
		before := tree(t, p.SDK())
		if len(before) < 5 {
			t.Fatalf("the SDK in %s has the files %v", lang, before)
		}
		if err := os.RemoveAll(p.SDK()); err != nil {
			t.Fatal(err)
		}
		if _, err := p.Make(); err == nil || !strings.Contains(err.Error(), `has no copy of the SDK: run "souk plugin sdk" there`) {
			t.Errorf("a build without the SDK: %v", err)
		}
		if err := os.MkdirAll(filepath.Join(p.SDK(), "old"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := p.ReplaceSDK(); err != nil {
			t.Fatal(err)
		}
		if after := tree(t, p.SDK()); !slices.Equal(before, after) {
			t.Errorf("the SDK in %s has the files %v, had %v", lang, after, before)
		}
		if entries, err := filepath.Glob(filepath.Join(p.Dir, ".souk-*")); err != nil || len(entries) > 0 {
			t.Errorf("ReplaceSDK leaves %v, %v", entries, err)
		}
	}
}

// tree are the files below a folder.
func tree(t *testing.T, dir string) (files []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(file string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			files = append(files, file)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func TestOpenRefuses(t *testing.T) {
	for _, test := range []struct{ text, want string }{
		{"lang = \"c\"\nnmae = \"x\"\n", "nmae: there is no such key: beside lang, source"},
		{"lang = \"c\"\n", `name: "" is no name`},
		{"lang = \"cobol\"\nname = \"x\"\n", `lang: "cobol" is none of go, rust`},
		{"lang = \"c\"\nname = \"x\"\nallow = [\"everything\"]\n", `allow: "everything" is no group of host functions`},
		{"lang = c\n", "line 1: "},
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, author.File), []byte(test.text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := author.Open(dir)
		if err == nil || !strings.HasPrefix(err.Error(), filepath.Join(dir, author.File)+": ") || !strings.Contains(err.Error(), test.want) {
			t.Errorf("Open of %q: %v, want %s", test.text, err, test.want)
		}
	}
	if _, err := author.Open(t.TempDir()); !errors.Is(err, author.ErrNoProject) || !strings.Contains(err.Error(), "souk plugin new") {
		t.Errorf("Open of an empty folder: %v", err)
	}
}

// TestOwnCommands builds with what the project's file names.
func TestOwnCommands(t *testing.T) {
	p := create(t, "wat", "select_version")
	module, err := os.ReadFile("../../../sdk/examples/wat/guest.wasm")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(p.Dir, "made.wasm"), module, 0o600); err != nil {
		t.Fatal(err)
	}
	p.Build = []string{"cp made.wasm plugin.wasm"}
	if _, err := p.Make(); err != nil {
		t.Error(err)
	}
	p.Build = []string{"cp missing.wasm plugin.wasm"}
	if _, err := p.Make(); err == nil || !strings.HasPrefix(err.Error(), "cp missing.wasm plugin.wasm: ") {
		t.Errorf("a command that fails: %v", err)
	}
	p.Build, p.Spec.File = []string{"true"}, "other.wasm"
	if _, err := p.Make(); err == nil || !strings.Contains(err.Error(), "made no "+filepath.Join(p.Dir, "other.wasm")) {
		t.Errorf("commands that make nothing: %v", err)
	}
}
