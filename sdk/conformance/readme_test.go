//go:build !wasip1

package conformance_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

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
		places := strings.NewReplacer("./$DIR", ".", "$SRC", "guest"+ending, "$OUT", "plugin.wasm", "$TMP/", "", " sdk/", " souk/sdk/", "=sdk/", "=souk/sdk/")
		if key == "run" && !strings.Contains(page, places.Replace(value)+"\n") {
			t.Errorf("sdk/README.md does not have the command\n%s", places.Replace(value))
		}
	}
}
