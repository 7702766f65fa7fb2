package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestDemoEndsAtTheSecondSignal holds a request open, which the first signal lets
// finish.
func TestDemoEndsAtTheSecondSignal(t *testing.T) {
	cmd := exec.Command("souk", "demo", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0",
		"--data", filepath.Join(t.TempDir(), "data"), "--json")
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() }) // or it is gone
	lines := bufio.NewScanner(out)
	var started struct{ Public string }
	if lines.Scan(); json.Unmarshal(lines.Bytes(), &started) != nil || started.Public == "" {
		t.Fatalf("the demo began with %q, want where it listens", lines.Bytes())
	}
	conn, err := net.Dial("tcp", strings.TrimPrefix(started.Public, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte("POST /restore HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{")); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() {
		for lines.Scan() { // to the end, so that the demo is never held up
		}
		ended <- cmd.Wait()
	}()
	signals := time.NewTicker(20 * time.Millisecond)
	defer signals.Stop()
	for {
		select {
		case <-signals.C:
			_ = cmd.Process.Signal(os.Interrupt) // or it is gone
		case err := <-ended:
			exit, ok := errors.AsType[*exec.ExitError](err)
			if !ok || !exit.Sys().(syscall.WaitStatus).Signaled() {
				t.Errorf("the demo ended with %v, want an end by the second signal", err)
			}
			return
		}
	}
}
