//go:build !wasip1

// Package javascript_test runs the tests of the JavaScript SDK.
package javascript_test

import (
	"context"
	"log/slog"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/souk-market/souk/core/plugin"
	"github.com/souk-market/souk/sdk/abi"
)

// tools skips a test where there is no Node or what npm ci installs.
func tools(t *testing.T) {
	t.Helper()
	missing := t.Skip
	if os.Getenv("SOUK_CI") != "" {
		missing = t.Fatal
	}
	if _, err := exec.LookPath("node"); err != nil {
		missing("there is no node")
	}
	if _, err := os.Stat("node_modules/quickjs-wasi"); err != nil {
		missing("there is no engine: run npm ci in sdk/javascript")
	}
}

func TestJavaScript(t *testing.T) {
	tools(t)
	if out, err := exec.Command("node", "--test", "tests/").CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestScriptsInTheHost runs tests/hostile.js in the real host: each script is a
// failure of the kind that it should be, says why in the log, and the next question
// is answered.
func TestScriptsInTheHost(t *testing.T) {
	tools(t)
	module := filepath.Join(t.TempDir(), "hostile.wasm")
	if out, err := exec.Command("node", "build.js", "tests/hostile.js", "-o", module).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	s := plugin.DefaultSpec()
	var err error
	if s.Wasm, err = os.ReadFile(module); err != nil {
		t.Fatal(err)
	}
	s.Name, s.Breaker, s.Instances, s.Deadline = "hostile", 0, 1, 20*s.Deadline // fuel decides, also under -race
	var log strings.Builder
	h, err := plugin.Open(t.Context(), plugin.Options{Specs: []plugin.Spec{s}, Log: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close(context.Background())
	ask := func(account string) plugin.Entitlement {
		c := h.Acquire()
		defer c.Release()
		c.Entitle.Account, c.Entitle.Apps = account, make([]abi.EntitleApp, 2)
		return c.AskEntitle(t.Context())[1]
	}
	stopped := []plugin.Kind{plugin.KindFuel, plugin.KindDeadline}
	thrown := []plugin.Kind{plugin.KindErrorCode}
	either := append(stopped, thrown...)
	for _, script := range []struct {
		account, says string
		kinds         []plugin.Kind
	}{
		{"loop", "", stopped},
		{"eval", "", stopped},
		{"regexp", "", stopped},
		{"jobs", "", stopped},
		{"sort", "", stopped},
		{"recursion", "RangeError: Maximum call stack size exceeded", thrown},
		{"getters", "RangeError: Maximum call stack size exceeded", thrown},
		{"memory", "", either},
		{"strings", "", either},
		{"bigints", "", either},
		{"buffer", "InternalError: out of memory", thrown},
		{"nested", "", either},
		{"written", "", either},
		{"proxy", "TypeError: entitle returns an array of 1099511627776, not an array of 2 answers", thrown},
		{"answers", "TypeError: reason is an object, not a string", thrown},
		{"unknown", "TypeError: not a function", thrown},
	} {
		log.Reset()
		before := maps.Clone(h.Plugins()[0].Hooks[0].Failures)
		got := ask(script.account)
		after := h.Plugins()[0].Hooks[0].Failures
		expected := slices.ContainsFunc(script.kinds, func(k plugin.Kind) bool { return after[k.String()] > before[k.String()] })
		if !got.Failed || !expected || !strings.Contains(log.String(), script.says) {
			t.Errorf("%s: %+v, failures %v, want one of %v that says %q; the log is\n%s", script.account, got, after, script.kinds, script.says, log.String())
		}
		if next := ask("fine"); next.Failed || next.Decision != abi.Allow {
			t.Errorf("after %s: %+v", script.account, next)
		}
	}
}
