package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/souk-market/souk/core/plugin/bench"
	"github.com/souk-market/souk/sdk/examples"
)

// modules writes the examples of the SDKs to a directory.
func modules(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	for _, e := range examples.All() {
		if err := os.WriteFile(filepath.Join(dir, e.Language+".wasm"), e.Wasm, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestPluginBench(t *testing.T) {
	dir := modules(t)
	c, wat := filepath.Join(dir, "c.wasm"), filepath.Join(dir, "wat.wasm")
	config := filepath.Join(dir, "config.json")
	if err := os.WriteFile(config, []byte(`{"a": 1}`), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		args string
		code int
		out  []string
		err  string
	}{
		{args: c + " " + wat, out: []string{"c.wasm", "wat.wasm", "select_version", "5 apps", "c.wasm: fits the default limits of 2000000 fuel and 20ms"}},
		{args: c + " --against " + c + " --fail-above 0%", out: []string{"fuel before", "+0.0 %"}},
		{args: wat + " --against " + c + " --fail-above 10%", out: []string{"-7"}},
		{args: c + " --against " + wat + " --fail-above 10%", code: 1, out: []string{"+"}, err: "more fuel than before: at most 10 % are allowed"},
		{args: c + " --config " + config, code: 1, err: "takes no configuration"},
		{args: config, code: 1, err: "no WebAssembly module"},
		{args: "--against " + c, code: 2, err: "name one file"},
		{args: c + " --fail-above 10%", code: 2, err: "add --against"},
		{args: c + " --rounds 0", code: 2, err: "--rounds"},
	} {
		var out, errs bytes.Buffer
		args := append([]string{"plugin", "bench"}, strings.Fields(step.args)...)
		if step.code != 2 && !strings.Contains(step.args, "--rounds") {
			args = append(args, "--rounds", "1")
		}
		if code := run(args, &streams{out: &out, err: &errs}); code != step.code {
			t.Errorf("%s: exit code %d, want %d\n%s%s", step.args, code, step.code, &out, &errs)
		}
		for _, want := range step.out {
			if !strings.Contains(out.String(), want) {
				t.Errorf("%s prints\n%s\nwant %q", step.args, &out, want)
			}
		}
		if !strings.Contains(errs.String(), step.err) {
			t.Errorf("%s: %q, want %q", step.args, &errs, step.err)
		}
	}

	var out, errs bytes.Buffer
	if code := run([]string{"plugin", "bench", c, "--rounds", "1", "--json"}, &streams{out: &out, err: &errs}); code != 0 {
		t.Fatalf("exit code %d: %s", code, &errs)
	}
	var report struct{ Plugins []bench.Plugin }
	if err := json.Unmarshal(out.Bytes(), &report); err != nil || len(report.Plugins) != 1 || len(report.Plugins[0].Questions) != 2 || !report.Plugins[0].Fits {
		t.Errorf("as JSON: %v\n%s", err, &out)
	}
}
