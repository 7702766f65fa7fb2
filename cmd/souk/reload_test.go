//go:build !windows

package main

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/souk-market/souk/plugins"
)

// TestHangupReloads: SIGHUP reads the configuration again, and says what came of
// it; a bad one changes nothing and ends nothing.
func TestHangupReloads(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	const config = "[server]\nlisten = \"127.0.0.1:0\"\n[admin]\nlisten = \"127.0.0.1:0\"\n[store]\nmin_free = \"0\"\n" +
		"[[plugin]]\nname = \"rollout\"\nfile = \"rollout.wasm\"\nallow = [\"log\"]\n"
	write("config.toml", config)
	write("rollout.wasm", string(plugins.Rollout))
	cmd := exec.Command("souk", "serve", "--config", filepath.Join(dir, "config.toml"), "--ready-file", filepath.Join(dir, "ready.json"))
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	late := time.AfterFunc(bound, func() { _ = cmd.Process.Kill() })
	defer late.Stop()

	// The server says on the one where it listens, and then takes signals.
	out, log := bufio.NewScanner(stdout), bufio.NewScanner(stderr)
	says := func(in *bufio.Scanner, words string) string {
		t.Helper()
		for in.Scan() {
			if strings.Contains(in.Text(), words) {
				return in.Text()
			}
		}
		t.Fatalf("the server ended without having said %q", words)
		return ""
	}
	says(out, "install.pem")
	awaitFile(t, filepath.Join(dir, "ready.json"))
	hangup := func() {
		t.Helper()
		if err := cmd.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
	}
	hangup()
	if line := says(log, "configuration reloaded"); !strings.Contains(line, "changed=[]") || !strings.Contains(line, "unchanged=[rollout]") {
		t.Errorf("a reload of the same says %s", line)
	}
	write("config.toml", config+"fule = 1\n")
	hangup()
	if line := says(log, "was not reloaded, and nothing has changed"); !strings.Contains(line, "level=ERROR") || !strings.Contains(line, "plugin.fule: there is no such key") {
		t.Errorf("a reload of a bad configuration says %s", line)
	}
	write("config.toml", config)
	write("rollout.wasm", "nonsense")
	hangup()
	if line := says(log, "was not reloaded, and nothing has changed"); !strings.Contains(line, "plugin[0] rollout: the file is no WebAssembly module") {
		t.Errorf("a reload of a bad module says %s", line)
	}
	write("rollout.wasm", string(plugins.Rollout)+"\x00\x02\x01x")
	write("config.toml", strings.Replace(config, "[store]", "[market]\nname = \"Another\"\n[store]", 1))
	hangup()
	if line := says(log, "configuration reloaded"); !strings.Contains(line, "changed=[rollout]") {
		t.Errorf("a reload of another module says %s", line)
	}
	if line := says(log, "only a restart takes over"); !strings.Contains(line, "keys=[market.name]") {
		t.Errorf("a reload of another name says %s", line)
	}
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	for log.Scan() {
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("the server ended with %v", err)
	}
}

// awaitFile waits until a file is there.
func awaitFile(t *testing.T, file string) {
	t.Helper()
	look := time.NewTicker(5 * time.Millisecond)
	defer look.Stop()
	for end := time.Now().Add(bound); ; <-look.C {
		if _, err := os.Stat(file); err == nil {
			return
		} else if time.Now().After(end) {
			t.Fatalf("%s is not there after %v", file, bound)
		}
	}
}
