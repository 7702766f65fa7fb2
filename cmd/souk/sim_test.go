package main

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// TestSim runs "souk sim" with the operator's own configuration, and a server in a
// process of its own.
func TestSim(t *testing.T) {
	dir := t.TempDir()
	config := filepath.Join(dir, "config.toml")
	if err := os.WriteFile(config, []byte(`
[limits]
apps = 200
[[plugin]]
name = "rollout"
file = "builtin:rollout"
hooks = ["select_version"]
`), 0o600); err != nil {
		t.Fatal(err)
	}
	var out, errs bytes.Buffer
	cmd := exec.Command("souk", "sim", "--devices", "1000", "--speed", "14400", "--duration", "8h", "--max-lag", "1h", "--patience", "50",
		"--config", config, "--report", filepath.Join(dir, "out.html"), "--json")
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		t.Fatalf("souk sim: %v\n%s\n%s", err, &errs, &out)
	}
	var result struct {
		Verdict  string
		Answered uint64
		Checks   []struct {
			Name           string
			Looked, Failed uint64
		}
	}
	if err := json.Unmarshal(out.Bytes(), &result); err != nil || result.Verdict != "holds" || result.Answered < 100 || len(result.Checks) < 8 {
		t.Errorf("souk sim --json: %v, %+v", err, result)
	}
	if page, err := os.Stat(filepath.Join(dir, "out.html")); err != nil || page.Size() < 10_000 {
		t.Errorf("the page: %v, %v", page, err)
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 2 {
		t.Errorf("souk sim leaves %v behind, %v", left, err)
	}
}
