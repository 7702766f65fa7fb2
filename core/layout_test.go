package core_test

import (
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/souk-market/souk"

// floors says which packages of the module each package may know. Arrows point
// down; a package that is not in the table has no place yet.
var floors = map[string][]string{
	"sdk":                          {},
	"sdk/abi":                      {},
	"sdk/abi/gen":                  {},
	"sdk/go":                       {"sdk/abi"},
	"sdk/go/value":                 {},
	"sdk/go/entitle":               {"sdk/abi", "sdk/go"},
	"sdk/go/selectversion":         {"sdk/abi", "sdk/go"},
	"sdk/go/signin":                {"sdk/abi", "sdk/go"},
	"sdk/go/exchange":              {"sdk/abi", "sdk/go"},
	"core/unit":                    {},
	"core/prefetch":                {},
	"core/plugin/meter":            {},
	"core/plugin":                  {"core/plugin/meter", "core/unit", "sdk/abi"},
	"core/plugin/cases":            {"core/plugin", "sdk/abi"},
	"core/plugin/bench":            {"core/plugin", "core/plugin/cases", "core/plugin/meter", "sdk/abi"},
	"core/plugin/replay":           {"core/plugin", "sdk/abi"},
	"core/token":                   {},
	"core/store/audit":             {},
	"core/store":                   {"core/prefetch", "core/store/audit"},
	"core/store/badger":            {"core/store"},
	"core/store/crashtest":         {"core/store"},
	"core/store/enginetest":        {"core/store"},
	"core/store/enginetest/faulty": {"core/store"},
	"core/store/powercut":          {},
	"core/store/backup":            {"core/store"},
	"core/catalog":                 {"core/prefetch", "core/store", "core/store/audit", "sdk/abi"},
	"core/oauth":                   {"core/plugin", "core/store", "core/store/audit", "core/token", "core/unit", "sdk/abi"},
	"core/oauth/modeltest":         {},
	"core/market":                  {"core/catalog", "core/plugin", "core/store", "core/token", "core/unit", "sdk/abi"},
	"core/server":                  {"core/catalog", "core/market", "core/oauth", "core/token", "core/unit"},
	"core/admin":                   {"core/catalog", "core/market", "core/oauth", "core/plugin", "core/store", "core/store/audit", "core/store/backup", "core/token", "core/unit"},
	"core": {
		"core/admin", "core/catalog", "core/market", "core/oauth", "core/plugin", "core/plugin/cases", "core/plugin/replay",
		"core/server", "core/store",
		"core/store/audit", "core/store/backup", "core/store/badger", "core/token", "core/unit",
	},
	"core/store/badger/plain":   {}, // what the engine is measured beside
	"sdk/conformance":           {},
	"sdk/toolchain":             {},
	"sdk/toolchain/build":       {"sdk/toolchain"},
	"sdk/examples":              {},
	"sdk/examples/go":           {"sdk/abi", "sdk/go", "sdk/go/selectversion"},
	"sdk/templates/entitle-go":  {"sdk/abi", "sdk/go/entitle"},
	"sdk/templates/sign_in-go":  {"sdk/abi", "sdk/go", "sdk/go/signin"},
	"sdk/templates/exchange-go": {"sdk/abi", "sdk/go", "sdk/go/exchange"},
	"sdk/conformance/go":        {"sdk/go", "sdk/go/entitle", "sdk/go/exchange", "sdk/go/selectversion", "sdk/go/signin", "sdk/conformance/go/policy"},
	"sdk/conformance/go/policy": {"sdk/abi", "sdk/go"},
	"plugins":                   {},
}

// above may know the whole core: they use it as anybody would.
var above = []string{"cmd/", "examples/", "core/coretest/"}

// guests are compiled to WebAssembly and know the SDK and their own policy.
const guests = "plugins/"

// only says who may import a library that belongs to one place. "*" is anybody.
var only = map[string][]string{
	"github.com/valyala/fasthttp":             {"core/server", "core/admin", "cmd/souk/sim", "cmd/souk/bench"},
	"github.com/tetratelabs/wazero":           {"core/plugin"},
	"github.com/dgraph-io/badger/v4":          {"core/store/badger"},
	"github.com/hanwen/go-fuse/v2":            {"core/store/powercut"},
	"github.com/jackc/pgx/v5":                 {"core/store/postgres"},
	"github.com/BurntSushi/toml":              {"core", "core/catalog", "core/plugin/cases", "cmd/souk"},
	"github.com/alecthomas/kong":              {"cmd/souk"},
	"golang.org/x/crypto":                     {"core/plugin"},
	"github.com/go-jose/go-jose/v4":           {"plugins/oidc"},
	"github.com/microcosm-cc/bluemonday":      {"core/server"},
	"golang.org/x/term":                       {"cmd/souk"},
	"github.com/schollz/progressbar/v3":       {"cmd/souk"},
	"github.com/HdrHistogram":                 {"cmd/souk/sim"},
	"github.com/prometheus":                   {"core/admin"},
	"github.com/jedisct1/go-minisign":         {"core/plugin"},
	"github.com/anishathalye/porcupine":       {"core/oauth/modeltest"},
	"github.com/HdrHistogram/hdrhistogram-go": {"cmd/souk/sim"},
	"net/http": {"core/plugin", "core/oauth", "core/server", "core/admin", "core/coretest", "cmd/", "examples/"},
}

// sources returns the imports of each package, without its tests.
func sources(t *testing.T) map[string]map[string]bool {
	t.Helper()
	root := ".."
	all := map[string]map[string]bool{}
	err := filepath.WalkDir(root, func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		if d.IsDir() {
			if file != root && (strings.HasPrefix(name, ".") || name == "testdata") {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, filepath.Dir(file))
		if err != nil {
			return err
		}
		pkg := filepath.ToSlash(rel)
		if all[pkg] == nil {
			all[pkg] = map[string]bool{}
		}
		for _, i := range f.Imports {
			p, err := strconv.Unquote(i.Path.Value)
			if err != nil {
				return err
			}
			all[pkg][p] = true
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < 10 {
		t.Fatalf("found %d packages: is this the repository?", len(all))
	}
	return all
}

func hasPrefix(pkg string, prefixes []string) bool {
	return slices.ContainsFunc(prefixes, func(p string) bool {
		return pkg == strings.TrimSuffix(p, "/") || strings.HasPrefix(pkg, strings.TrimSuffix(p, "/")+"/")
	})
}

func TestLayoutArrowsPointDown(t *testing.T) {
	for pkg, imports := range sources(t) {
		if hasPrefix(pkg, above) {
			continue
		}
		allowed, ok := floors[pkg]
		if !ok && strings.HasPrefix(pkg, guests) {
			allowed = []string{"sdk/abi", "sdk/go", "sdk/go/value", "sdk/go/entitle", "sdk/go/selectversion", "sdk/go/signin", "sdk/go/exchange", pkg + "/policy"}
		} else if !ok {
			t.Errorf("package %s has no place in the table of this test", pkg)
			continue
		}
		for i := range imports {
			if inner, ok := strings.CutPrefix(i, module+"/"); ok && !slices.Contains(allowed, inner) {
				t.Errorf("package %s may not know %s: arrows point down, see floors in this test", pkg, inner)
			}
		}
	}
}

func TestLayoutLibrariesStayInTheirPlace(t *testing.T) {
	for pkg, imports := range sources(t) {
		for i := range imports {
			for lib, places := range only {
				if i != lib && !strings.HasPrefix(i, lib+"/") {
					continue
				}
				if !hasPrefix(pkg, places) {
					t.Errorf("package %s may not import %s: it belongs to %s", pkg, i, strings.Join(places, ", "))
				}
			}
		}
	}
}

func TestLayoutPluginsAreEmbeddedForProgramsOnly(t *testing.T) {
	for pkg, imports := range sources(t) {
		if imports[module+"/plugins"] && pkg != "core/coretest" && !hasPrefix(pkg, above) {
			t.Errorf("package %s may not import plugins: only cmd, coretest and examples do", pkg)
		}
	}
}

func TestLayoutPackagesAreNounsOfTheField(t *testing.T) {
	for _, pkg := range slices.Sorted(maps.Keys(sources(t))) {
		for _, bag := range []string{"util", "utils", "internal", "common", "types", "helper", "helpers", "misc"} {
			if slices.Contains(strings.Split(pkg, "/"), bag) {
				t.Errorf("package %s: %s says nothing; the code belongs to whoever uses it", pkg, bag)
			}
		}
	}
}

func TestLayoutTopLevel(t *testing.T) {
	known := []string{
		"core", "plugins", "sdk", "cmd", "examples", "config.toml", "go.mod", "go.sum", "README.md",
		"RATIONALE.md", "CHANGELOG.md", "LICENSE",
	}
	entries, err := os.ReadDir("..")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if name := e.Name(); !strings.HasPrefix(name, ".") && !slices.Contains(known, name) {
			t.Errorf("%s does not belong at the top level: it is the first page", name)
		}
	}
	for _, name := range []string{"core", "plugins", "sdk", "cmd", "config.toml", "README.md", "LICENSE", ".ci/run"} {
		if _, err := os.Stat(path.Join("..", name)); err != nil {
			t.Errorf("%s is missing at the top level", name)
		}
	}
}
