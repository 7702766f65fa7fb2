package report_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
)

// TestLibraryIsThePackages compares the files that the program carries with those of
// the package that the lock file pins by its hash.
func TestLibraryIsThePackages(t *testing.T) {
	const dir = "uplot/node_modules/uplot"
	if _, err := os.Stat(dir); err != nil {
		if os.Getenv("SOUK_CI") != "" {
			t.Fatalf("SOUK_CI is set, but %v: run npm ci in cmd/souk/sim/report/uplot", err)
		}
		t.Skip("needs what npm ci installs in cmd/souk/sim/report/uplot")
	}
	for file, theirs := range map[string]string{"uPlot.iife.min.js": "dist/uPlot.iife.min.js", "uPlot.min.css": "dist/uPlot.min.css", "LICENSE": "LICENSE"} {
		got, err := os.ReadFile(filepath.Join("uplot", file))
		if err != nil {
			t.Fatal(err)
		}
		want, err := os.ReadFile(filepath.Join(dir, theirs))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("uplot/%s is not the package's %s: copy that here", file, theirs)
		}
	}
	type versioned struct {
		Version  string
		Packages map[string]struct{ Version, Integrity string }
	}
	read := func(file string) (v versioned) {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(b, &v); err != nil {
			t.Fatalf("read %s: %v", file, err)
		}
		return v
	}
	pinned, installed := read("uplot/package-lock.json").Packages["node_modules/uplot"], read(dir+"/package.json")
	if pinned.Version == "" || pinned.Integrity == "" || pinned.Version != installed.Version {
		t.Errorf("the lock file pins %q with hash %q, installed is %q", pinned.Version, pinned.Integrity, installed.Version)
	}
}
