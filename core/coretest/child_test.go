//go:build unix

package coretest_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"runtime/pprof"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// A child process is this test program once more, with a server in it. So the
// kernel tells what a request costs the server, and the work of its clients is not
// in it.

const (
	childRole    = "SOUK_CHILD_ROLE"    // environment of a child: one of the roles
	childProfile = "SOUK_BENCH_PROFILE" // a file for the CPU profile of a child that is a whole server

	childServer = "server" // with many apps, for the benchmark
	childBare   = "bare"   // a bare fasthttp handler
	childSoak   = "soak"   // with people, and limits as an operator sets them
	childSwaps  = "swaps"  // with one plugin, which is swapped
	childSurge  = "surge"  // with one processor, and few apps
	childAll    = "all"    // the same, and it turns nothing away

	childCollects = "collect" // a line that has a child collect its garbage before it answers
)

// childAccess is what a child says when it answers.
type childAccess struct {
	Address           string
	Tokens            []string
	Refresh           []string // refresh tokens, where they are wanted
	Admin, AdminToken string
	Code              string // an authorization code
}

// childUsage is what a process has used so far, and what it holds now.
type childUsage struct {
	CPU        int64 // ns
	Mallocs    int64
	Heap       int64 // bytes in use
	RSS        int64 // bytes; 0 where there is no /proc
	Sockets    int   // 0 where there is no /proc
	Goroutines int
}

// TestChild is the child process; in a test run it has nothing to do.
func TestChild(t *testing.T) {
	role := os.Getenv(childRole)
	serve := map[string]func(*testing.T) childAccess{childServer: benchServe, childBare: benchServeBare, childSoak: soakServe, childSwaps: swapServe, childSurge: surgeServe, childAll: surgeServeAll}[role]
	if serve == nil {
		return
	}
	access := serve(t)
	out := os.NewFile(3, "answers")
	if err := json.NewEncoder(out).Encode(access); err != nil {
		t.Fatal(err)
	}
	if file := os.Getenv(childProfile); file != "" && role != childBare {
		f, err := os.Create(file)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if err := pprof.StartCPUProfile(f); err != nil {
			t.Fatal(err)
		}
		defer pprof.StopCPUProfile()
	}
	// Each line asks what this process has used; the end of the input is the end of
	// the child.
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		if in.Text() == childCollects {
			debug.FreeOSMemory() // twice: pools have two generations
			debug.FreeOSMemory()
		}
		var u syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
			t.Fatal(err)
		}
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		used := childUsage{
			CPU: u.Utime.Nano() + u.Stime.Nano(), Mallocs: int64(m.Mallocs), Heap: int64(m.HeapInuse),
			RSS: residentBytes(), Sockets: openSockets(), Goroutines: runtime.NumGoroutine(),
		}
		if err := json.NewEncoder(out).Encode(used); err != nil {
			t.Fatal(err)
		}
	}
}

// residentBytes is the memory of this process, as the kernel counts it.
func residentBytes() int64 {
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kib, _ := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			return kib << 10
		}
	}
	return 0
}

// openSockets is the number of connections and listeners of this process.
func openSockets() (n int) {
	files, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return 0
	}
	for _, f := range files {
		if to, err := os.Readlink(filepath.Join("/proc/self/fd", f.Name())); err == nil && strings.HasPrefix(to, "socket:") {
			n++
		}
	}
	return n
}

// child is a child process as its parent sees it.
type child struct {
	childAccess
	ask io.WriteCloser
	out *bufio.Reader
}

// startChild runs a child until the test ends.
func startChild(t testing.TB, role string) *child {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, "-test.run=^TestChild$", "-test.v", "-test.timeout=0")
	cmd.Env = append(os.Environ(), childRole+"="+role)
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.ExtraFiles = []*os.File{w}
	c := &child{out: bufio.NewReader(r)}
	if c.ask, err = cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	t.Cleanup(func() {
		c.ask.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("the %s ended with %v:\n%s", role, err, &said)
		}
		r.Close()
	})
	line, err := c.out.ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, &c.childAccess)
	}
	if err != nil {
		t.Fatalf("the %s did not start: %v", role, err)
	}
	return c
}

// usage is what the child has used so far.
func (c *child) usage(t testing.TB) childUsage { return c.said(t, "") }

// collected is usage after a collection of the child's garbage.
func (c *child) collected(t testing.TB) childUsage { return c.said(t, childCollects) }

func (c *child) said(t testing.TB, line string) (u childUsage) {
	t.Helper()
	if _, err := io.WriteString(c.ask, line+"\n"); err != nil {
		t.Fatal(err)
	}
	answer, err := c.out.ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(answer, &u)
	}
	if err != nil {
		t.Fatal(err)
	}
	return u
}
