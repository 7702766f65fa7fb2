// Package author is what `souk plugin` does for somebody who writes a plugin: it
// lays out a project, builds it with the compiler that is there, and looks into the
// module. What a plugin answers is for core/plugin/cases to test, and how a server
// takes it for core/plugin to say.
package author

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/souk-market/souk/sdk"
	"github.com/souk-market/souk/sdk/toolchain"
)

// language is one that a project can be written in.
type language struct {
	name   string
	title  string
	source string   // of the project
	files  []string // of its SDK, below sdk; a folder is meant whole
	first  string   // what has to be done once before the first build; "" = nothing
	find   func(p *Project, list *toolchain.Toolchain) (compiler string, err error)
}

var languages = []language{
	{"go", "Go", "guest.go", []string{"abi", "go"}, "", findGo},
	{"rust", "Rust", "guest.rs", []string{"rust"}, "", findRust},
	{"assemblyscript", "AssemblyScript", "guest.ts", []string{"assemblyscript"}, "npm install", findAssemblyScript},
	{"javascript", "JavaScript", "guest.js", []string{"javascript"}, "npm install", findJavaScript},
	{"c", "C", "guest.c", []string{"c"}, "", findC},
	{"wat", "WebAssembly text", "guest.wat", nil, "", findWat},
}

// Languages are the names of the languages that there are templates in.
func Languages() []string {
	var names []string
	for _, l := range languages {
		names = append(names, l.name)
	}
	return names
}

func languageOf(name string) (*language, error) {
	for i := range languages {
		if languages[i].name == name {
			return &languages[i], nil
		}
	}
	return nil, fmt.Errorf("lang: %q is none of %s", name, strings.Join(Languages(), ", "))
}

// template is the source of a project that answers a hook.
func (l *language) template(hook string) ([]byte, error) {
	place := path.Join("templates", hook+"-"+l.name, l.source)
	if hook == defaultHook {
		place = path.Join("examples", l.name, l.source)
	}
	text, err := fs.ReadFile(sdk.Files, place)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("there is no template of %s in %s: take another language, or begin with %s and change it", hook, l.name, defaultHook)
	}
	return []byte(strings.NewReplacer(`"../../assemblyscript/`, `"./souk/sdk/assemblyscript/`, `"../../javascript/`, `"./souk/sdk/javascript/`).Replace(string(text))), err
}

// What a compiler that is missing means for somebody who has none.
const (
	needsGo   = "there is no Go here: install Go 1.26 or newer (https://go.dev/dl)"
	needsRust = "no rustc here has the target wasm32-unknown-unknown: run \"rustup target add wasm32-unknown-unknown\", or install Debian's with \"apt install rustc libstd-rust-dev-wasm32 lld\""
	needsNode = "there is no Node.js here: install version 20 or newer, with npm (apt install nodejs npm)"
	needsNpm  = "%s is not in node_modules: run \"npm install\" in %s once"
	needsC    = "there is no clang here that builds WebAssembly: install one with \"apt install clang-19 lld-19\" (or \"brew install llvm lld\"); a compiler of another name is set with compiler = in souk-plugin.toml"
	needsWat  = "there is no wat2wasm here: install it with \"apt install wabt\" (or \"brew install wabt\")"
)

func findGo(*Project, *toolchain.Toolchain) (string, error) {
	return firstOf([]string{"go"}, needsGo, func(string) string { return "" })
}

func findRust(_ *Project, list *toolchain.Toolchain) (string, error) {
	names := []string{list.Compiler(), "rustc"}
	if home, err := os.UserHomeDir(); err == nil {
		names = append(names, filepath.Join(home, ".cargo", "bin", "rustc"))
	}
	return firstOf(names, needsRust, func(rustc string) string {
		dir, err := exec.Command(rustc, "--print", "target-libdir", "--target", "wasm32-unknown-unknown").Output()
		if err != nil {
			return needsRust
		}
		if found, err := filepath.Glob(filepath.Join(strings.TrimSpace(string(dir)), "libcore-*")); err != nil || len(found) == 0 {
			return needsRust
		}
		return ""
	})
}

func findAssemblyScript(p *Project, list *toolchain.Toolchain) (string, error) {
	return findNode(p, list, "assemblyscript")
}

func findJavaScript(p *Project, list *toolchain.Toolchain) (string, error) {
	return findNode(p, list, "quickjs-wasi", "esbuild", "binaryen")
}

// findNode looks for Node.js, and for the packages that npm install brings.
func findNode(p *Project, list *toolchain.Toolchain, packages ...string) (string, error) {
	node, err := firstOf([]string{list.Compiler()}, needsNode, func(string) string { return "" })
	if err != nil {
		return "", err
	}
	for _, name := range packages {
		if _, err := os.Stat(filepath.Join(p.Dir, "node_modules", name, "package.json")); err != nil {
			return "", &lacking{fmt.Sprintf(needsNpm, name, p.Dir)}
		}
	}
	return node, nil
}

func findC(_ *Project, list *toolchain.Toolchain) (string, error) {
	names := []string{list.Compiler(), "clang"}
	for version := 22; version >= 14; version-- {
		names = append(names, fmt.Sprintf("clang-%d", version))
	}
	names = append(names, "/opt/homebrew/opt/llvm/bin/clang", "/usr/local/opt/llvm/bin/clang")
	return firstOf(names, needsC, func(clang string) string {
		targets, err := exec.Command(clang, "--print-targets").Output()
		if err != nil || !strings.Contains(string(targets), "wasm32") {
			return needsC
		}
		linker, err := exec.Command(clang, "--target=wasm32", "-print-prog-name=wasm-ld").Output()
		if err == nil {
			_, err = exec.LookPath(strings.TrimSpace(string(linker)))
		}
		if err != nil {
			_, version, _ := strings.Cut(filepath.Base(clang), "clang")
			return fmt.Sprintf("%s has no wasm-ld to link with: install it with \"apt install lld%s\" (or \"brew install lld\")", filepath.Base(clang), version)
		}
		return ""
	})
}

func findWat(_ *Project, list *toolchain.Toolchain) (string, error) {
	return firstOf([]string{list.Compiler()}, needsWat, func(string) string { return "" })
}

// firstOf returns the first program that is there and that wrong finds nothing
// against. Otherwise the error is what it had against the first, or missing.
func firstOf(names []string, missing string, wrong func(program string) string) (string, error) {
	sentence := missing
	for i, name := range names {
		if slices.Contains(names[:i], name) {
			continue
		}
		program, err := exec.LookPath(name)
		if err != nil {
			continue
		}
		objection := wrong(program)
		if objection == "" {
			return name, nil
		}
		if sentence == missing {
			sentence = objection
		}
	}
	return "", &lacking{sentence}
}

// ErrNoCompiler says that what builds a language is not on this machine.
var ErrNoCompiler = errors.New("author: no compiler")

type lacking struct{ sentence string }

func (l *lacking) Error() string { return l.sentence }
func (l *lacking) Unwrap() error { return ErrNoCompiler }
