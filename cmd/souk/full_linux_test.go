package main

import (
	"errors"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// smallDisk mounts a file system of 2 GiB until the test ends. Nothing of it takes
// room on the machine but what is written.
func smallDisk(t *testing.T) string {
	t.Helper()
	ci := os.Getenv("SOUK_CI") != ""
	if os.Getuid() != 0 {
		if ci {
			t.Fatal("SOUK_CI is set, but this is not root")
		}
		t.Skip("needs root, to mount a file system")
	}
	image, dir := filepath.Join(t.TempDir(), "image"), t.TempDir()
	f, err := os.Create(image)
	if err == nil {
		err = errors.Join(f.Truncate(2<<30), f.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, command := range [][]string{{"mkfs.ext4", "-q", "-F", "-m", "0", image}, {"mount", "-o", "loop", image, dir}} {
		if out, err := exec.Command(command[0], command[1:]...).CombinedOutput(); err != nil {
			if ci {
				t.Fatalf("%v: %v: %s", command, err, out)
			}
			t.Skipf("no file system can be mounted: %v: %v: %s", command, err, out)
		}
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", "-l", dir).CombinedOutput(); err != nil {
			t.Errorf("umount: %v: %s", err, out)
		}
	})
	return dir
}

// fillDisk reserves room until so much is left.
func fillDisk(t *testing.T, dir string, left int64) {
	t.Helper()
	f, err := os.OpenFile(filepath.Join(dir, "filler"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil {
		t.Fatal(err)
	}
	err = syscall.ENOSPC // the file system takes some for itself
	for n := int64(st.Bavail)*st.Bsize - left; n > 0 && errors.Is(err, syscall.ENOSPC); n -= 1 << 20 {
		err = syscall.Fallocate(int(f.Fd()), 0, 0, n)
	}
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatalf("fill the disk: %v", err)
	}
}

// A disk fills up beside a running server. It turns writes away in time, with 503 and
// Retry-After, answers update checks, and goes on by itself when there is room. It
// survives a disk without a single free block, and so does what it has acknowledged;
// there it can be stopped, and is not started again before there is room.
func TestDiskFillsUpBesideAServer(t *testing.T) {
	dir := smallDisk(t)
	writeSouk(t, dir, "")
	config := filepath.Join(dir, "config.toml")
	text, err := os.ReadFile(config)
	if err == nil {
		err = os.WriteFile(config, []byte(strings.Replace(string(text), `min_free = "0"`, `min_free = "1GiB"`, 1)), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	p := startSouk(t, dir)
	client := &crashClient{http: &http.Client{Timeout: bound}, base: p.Public}
	devices := crashProvision(t, p, client)
	full := func(what string) {
		t.Helper()
		turned := 0
		for i, d := range devices {
			res, err := client.http.PostForm(client.base+"/oauth/token", refreshForm(d.Refresh))
			if err != nil {
				t.Fatalf("%s: refresh: %v\n%s", what, err, &p.log)
			}
			_ = res.Body.Close()
			switch after := res.Header.Get("Retry-After"); {
			case res.StatusCode == 503 && after != "":
				turned++
			case res.StatusCode != 200 || i > 0: // the first may come before the disk was looked at
				t.Errorf("%s: refresh %d answered %d with Retry-After %q, want 503 and a pause", what, i, res.StatusCode, after)
			}
		}
		if turned < len(devices)-1 {
			t.Errorf("%s: %d of %d refreshes were turned away", what, turned, len(devices))
		}
		req, err := http.NewRequest(http.MethodPost, client.base+"/updates", strings.NewReader(`{"apps":[],"platform":"iOS","osVersion":"26.1"}`))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Authorization", "Bearer "+devices[1].Access)
		res, err := client.http.Do(req)
		if err != nil {
			t.Fatalf("%s: update check: %v\n%s", what, err, &p.log)
		}
		if _ = res.Body.Close(); res.StatusCode != 200 {
			t.Errorf("%s: an update check answered %d, want 200", what, res.StatusCode)
		}
		if ready, err := p.admin(http.MethodGet, "/readyz", ""); err != nil || !strings.Contains(string(ready), "disk is nearly full") {
			t.Errorf("%s: /readyz says %s, %v, want that the disk is nearly full", what, ready, err)
		}
	}
	goOn := func(what string) {
		t.Helper()
		if err := os.Remove(filepath.Join(dir, "filler")); err != nil {
			t.Fatal(err)
		}
		for i, d := range devices {
			var status int
			for end := time.Now().Add(bound); status != 200 && time.Now().Before(end); {
				used := d.Refresh
				got, pair, err := client.ask(refreshForm(used))
				if status = got; err != nil || status != 200 && status != 503 {
					t.Fatalf("%s: refresh of device %d answered %d, %v\n%s", what, i, status, err, &p.log)
				}
				if status == 200 {
					if err := d.learn(used, pair); err != nil {
						t.Error(err)
					}
				}
			}
		}
	}
	fillDisk(t, dir, 900<<20)
	full("a disk that is nearly full")
	goOn("when there is room")
	fillDisk(t, dir, 0)
	full("a disk that is full")
	goOn("when there is room again")
	fillDisk(t, dir, 0)
	full("a disk that is full once more")
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	<-p.ended
	if state := p.cmd.ProcessState; state.ExitCode() != 0 || !strings.Contains(p.log.String(), "is left as the end of the process leaves it") {
		t.Errorf("on a full disk the server ended with %v, want 0:\n%s", state, &p.log)
	}
	out, err := exec.Command("souk", "serve", "--config", config).CombinedOutput()
	if err == nil || !strings.HasPrefix(string(out), "souk: store.dir: store: disk nearly full") || !strings.Contains(string(out), "make room") || strings.Count(string(out), "\n") != 1 {
		t.Errorf("a start on a full disk ended with %v and said %q, want one sentence with what to do", err, out)
	}
	if err := os.Truncate(filepath.Join(dir, "filler"), 0); err != nil {
		t.Fatal(err)
	}
	p = startSouk(t, dir)
	client.base = p.Public
	goOn("after a start where there is room")
}
