//go:build !wasip1

package conformance_test

import (
	"math"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/souk-market/souk/core/plugin"
	"github.com/souk-market/souk/core/plugin/bench"
	"github.com/souk-market/souk/core/plugin/cases"
	"github.com/souk-market/souk/sdk/examples"
)

// TestReadmeFuel holds the table of sdk/README.md to what a question takes.
func TestReadmeFuel(t *testing.T) {
	page, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	var written []float64
	for _, row := range regexp.MustCompile(`(?m)^\|.*B \| ([0-9 ]+) \| [0-9.]+ \|$`).FindAllSubmatch(page, -1) {
		n, err := strconv.ParseFloat(strings.ReplaceAll(string(row[1]), " ", ""), 64)
		if err != nil {
			t.Fatal(err)
		}
		written = append(written, n)
	}
	all := examples.All()
	if len(written) != len(all) {
		t.Fatalf("the table says %v, want one number for each of %d languages", written, len(all))
	}
	for i, e := range all {
		s := plugin.DefaultSpec()
		s.Name, s.Wasm = "guest", e.Wasm
		p, err := bench.MeasurePlugin(t.Context(), bench.Options{Fuel: true}, e.Language, s)
		if err != nil {
			t.Fatal(err)
		}
		last := p.Questions[len(p.Questions)-1]
		if fuel := float64(last.Fuel); last.Question != "5 apps" || math.Abs(fuel-written[i]) > fuel/20 {
			t.Errorf("%s: %s takes %.0f fuel, the table says %.0f", e.Language, last.Question, fuel, written[i])
		}
	}
}

// TestReadmeCases asks the examples what the page shows as cases.
func TestReadmeCases(t *testing.T) {
	page, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, text, _ := strings.Cut(string(page), "```toml\n[defaults]")
	text, _, ok := strings.Cut(text, "```")
	if !ok {
		t.Fatal("sdk/README.md shows no cases")
	}
	suite, err := cases.Parse("sdk/README.md", []byte("[defaults]"+text))
	if err != nil {
		t.Fatal(err)
	}
	for _, language := range append([]string{"wat"}, languages...) {
		t.Run(language, func(t *testing.T) {
			s := plugin.DefaultSpec()
			s.Name, s.Wasm = "newest", module(t, "../examples/"+language)
			results, err := suite.Try(t.Context(), plugin.Options{Specs: []plugin.Spec{s}, Cache: cache})
			if err != nil || len(results) != 3 {
				t.Fatalf("%d cases, %v", len(results), err)
			}
			if err := cases.Failed(results); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestReadme holds sdk/README.md to the examples, which are built and asked, and
// to the commands that they are built with.
func TestReadme(t *testing.T) {
	read := func(name string) string {
		b, err := os.ReadFile(filepath.FromSlash(name))
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	page := read("../README.md")
	for _, s := range [][2]string{{"go", "go"}, {"rust", "rs"}, {"assemblyscript", "ts"}, {"c", "c"}, {"javascript", "js"}, {"wat", "wat"}} {
		fence := s[1]
		if fence == "rs" {
			fence = "rust"
		}
		if source := read("../examples/" + s[0] + "/guest." + s[1]); !strings.Contains(page, "```"+fence+"\n"+source+"```\n") {
			t.Errorf("sdk/README.md does not show examples/%s as it is", s[0])
		}
	}
	if n := strings.Count(read("../examples/wat/guest.wat"), "\n"); n >= 60 {
		t.Errorf("the example by hand has %d lines, want fewer than 60", n)
	}
	ending := ""
	for line := range strings.Lines(read("../TOOLCHAINS")) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		value = strings.TrimSpace(value)
		if key == "source" {
			ending = value
		}
		places := strings.NewReplacer("./$DIR", ".", "$SRC", "guest"+ending, "$OUT", "plugin.wasm", "$TMP/", "", " sdk/assemblyscript/node_modules/", " node_modules/", " sdk/", " souk/sdk/", "=sdk/", "=souk/sdk/")
		if key == "run" && !strings.Contains(page, places.Replace(value)+"\n") {
			t.Errorf("sdk/README.md does not have the command\n%s", places.Replace(value))
		}
	}
}
