package replay_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"maps"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/souk-market/souk/core/plugin"
	"github.com/souk-market/souk/core/plugin/replay"
	"github.com/souk-market/souk/sdk/abi"
)

// heard is a recorder that keeps what it gets.
type heard struct {
	plugins   [][]plugin.RecordedPlugin
	decisions []*plugin.Decision
}

func (h *heard) Plugins(p []plugin.RecordedPlugin) error {
	h.plugins = append(h.plugins, p)
	return nil
}

func (h *heard) Record(d *plugin.Decision) error {
	h.decisions = append(h.decisions, d)
	return nil
}

// hear returns what a recorder gets when all people ask a host.
func hear(t *testing.T, s plugin.Spec) *heard {
	t.Helper()
	r := &heard{}
	h, err := plugin.Open(t.Context(), plugin.Options{Cache: cache, Specs: []plugin.Spec{s}, Record: r, Rules: rules("auto")})
	if err != nil {
		t.Fatal(err)
	}
	for _, who := range people() {
		ask(t, h, who, abi.PurposeUpdate)
	}
	if err := h.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	return r
}

// full lets no file of the process grow beyond so many bytes while f runs: also
// none of the test's own, so the process is a child.
func full(t *testing.T, most uint64, f func()) {
	t.Helper()
	signal.Ignore(syscall.SIGXFSZ)
	defer signal.Reset(syscall.SIGXFSZ)
	var before syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &before); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: most, Max: before.Max}); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &before); err != nil {
			t.Fatal(err)
		}
	}()
	f()
}

// below counts the decisions of a recording by the configuration that they stand
// below; "" = below none.
func below(t *testing.T, file string) map[string]int {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	n, config := map[string]int{}, ""
	for line := range bytes.Lines(text) {
		var header replay.Header
		switch err := json.Unmarshal(line, &header); {
		case err != nil: // there was no room for all of it
		case header.Version != 0:
			config = header.Plugins[0].ConfigSHA256
		default:
			n[config]++
		}
	}
	return n
}

// A disk that is full for a while costs what there was no room for and nothing
// else: each decision stands below the plugins that made it.
func TestAFullDisk(t *testing.T) {
	const child = "SOUK_TEST_FULL_DISK"
	if os.Getenv(child) == "" {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestAFullDisk$")
		cmd.Env = append(os.Environ(), child+"=1")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%v: %s", err, out)
		}
		return
	}
	before, after := hear(t, rollout(map[string]any{"while_held": "nothing"})), hear(t, rollout(nil))
	config := func(r *heard) string { return r.plugins[0][0].ConfigSHA256 }
	file := filepath.Join(t.TempDir(), "decisions.jsonl")
	w, err := replay.Create(file, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	all := func(r *heard) {
		t.Helper()
		for _, d := range r.decisions {
			if err := w.Record(d); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Plugins(before.plugins[0]); err != nil {
		t.Fatal(err)
	}
	all(before)

	// In the middle of a file, while others begin to be asked.
	info, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	full(t, uint64(info.Size())+50, func() {
		if err := w.Plugins(after.plugins[0]); err == nil {
			t.Error("a header was written to a full disk")
		}
	})
	if err := w.Plugins(after.plugins[0]); err != nil {
		t.Fatal(err)
	}
	all(after)
	n := len(people())
	if got, want := below(t, file), map[string]int{config(before): n, config(after): n}; !maps.Equal(got, want) {
		t.Errorf("after a full disk the decisions are %v, want %v", got, want)
	}
	if r := try(t, file, "rollout", rollout(nil)); r.Damaged != 1 || r.Questions != 2*n {
		t.Errorf("after a full disk: %+v, want one damaged line and %d questions", r, 2*n)
	}

	// Where the next file begins.
	file = filepath.Join(t.TempDir(), "next.jsonl")
	small, err := replay.Create(file, 1)
	if err != nil {
		t.Fatal(err)
	}
	if err := small.Plugins(after.plugins[0]); err != nil {
		t.Fatal(err)
	}
	full(t, 0, func() {
		if err := small.Record(after.decisions[0]); err == nil {
			t.Error("a decision was written to a full disk")
		}
	})
	if err := small.Record(after.decisions[0]); err != nil {
		t.Fatal(err)
	}
	if got, want := below(t, file), map[string]int{config(after): 1}; !maps.Equal(got, want) {
		t.Errorf("in the next file the decisions are %v, want %v", got, want)
	}
	if err := errors.Join(w.Close(), small.Close()); err != nil {
		t.Fatal(err)
	}
}
