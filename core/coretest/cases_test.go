package coretest_test

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/souk-market/souk/core"
	"github.com/souk-market/souk/core/coretest"
	"github.com/souk-market/souk/core/plugin"
	"github.com/souk-market/souk/sdk/abi"
)

const policyCases = `
[[case]]
name = "everybody may have the app"
hook = "entitle"
apps = [{ item = 1 }]
expect = "allow"

[[case]]
name = "the newest version is offered"
hook = "select_version"
apps = [{ candidates = ["3.1.0", "3.0.0"] }]
expect = "3.1.0"
`

// TestCasesHoldAModule: what a plugin's own cases say is held by whatever takes its
// place, at a start, a swap and a reload.
func TestCasesHoldAModule(t *testing.T) {
	t.Parallel()
	good, better := says(abi.Allow, 0, 1), says(abi.Allow, 0, 1)
	better.padding = 7
	denies, older, both := says(abi.Deny, 0, 1).wasm(), says(abi.Allow, 1, 1).wasm(), says(abi.Deny, 1, 1).wasm()
	const (
		denied = `policy.cases.toml: case "everybody may have the app": `
		held   = `policy.cases.toml: case "the newest version is offered": `
	)
	dir := t.TempDir()
	write := func(name string, content []byte) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	spec := policySpec("policy", nil)
	spec.File, spec.Cases = "policy.wasm", "policy.cases.toml"
	config := coretest.Config(dir)
	with(spec)(&config)
	config.Again = func() (core.Config, error) { return config, nil }

	// 1. At a start, and in a check.
	write("policy.wasm", denies)
	refused := func(what, want string) {
		t.Helper()
		host, err := core.Open(t.Context(), config)
		if err == nil {
			_ = host.Close()
		}
		if err == nil || !strings.HasPrefix(err.Error(), "plugin[1] policy: "+want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("a start with %s: %v, want one line with %q", what, err, want)
		}
		if _, problems := core.Check(t.Context(), config); len(problems) != 1 || !strings.Contains(problems[0].Error(), want) {
			t.Errorf("a check with %s: %v, want %q", what, problems, want)
		}
	}
	refused("no cases", "cases can't be read: ")
	write("policy.cases.toml", []byte("[[case]]\nname = 1\n"))
	refused("cases that are none", "cases can't be read: policy.cases.toml: line ")
	write("policy.cases.toml", []byte(policyCases))
	refused("a module that denies", denied)
	write("policy.wasm", both)
	refused("a module that fails both", denied)
	config.Plugin[1].Shadow = true
	refused("a shadow that fails both", denied)
	config.Plugin[1].Shadow = false
	write("policy.wasm", good.wasm())

	// 2. A swap and a reload.
	s := coretest.Start(t, func(c *core.Config) { *c = config })
	o := operatorOf(t, s)
	access := deviceOf(t, s, coretest.Alice).access
	live := func(what string, wasm []byte) {
		t.Helper()
		if p := pluginsOf(t, s)["policy"]; p.SHA256 != sum(wasm) || p.LastFailure != "" {
			t.Errorf("%s the plugin is %+v, want the module %s", what, p, sum(wasm))
		}
		updates(t, s, access, deviceOS, notesOld).gives(t, what, []app{notesNew})
	}
	live("after the start", good.wasm())
	o.upload("policy", denies).declines(t, "a module that denies", 422, denied)
	o.upload("policy", older).declines(t, "a module that offers another version", 422, held)
	o.upload("policy", both).declines(t, "a module that fails both", 422, "(and 1 case more)")
	live("after what was refused", good.wasm())
	if p := pluginsOf(t, s)["policy"]; p.Hooks[0].Calls == 0 || p.Hooks[0].Calls > 4 {
		t.Errorf("%d calls are counted, want those of the update checks alone", p.Hooks[0].Calls)
	}
	if a := o.upload("policy", better.wasm()); a.status != 200 {
		t.Errorf("a module that answers as it should is refused: %d %s", a.status, a.body)
	}
	live("after the swap", better.wasm())
	write("policy.wasm", older)
	o.send(http.MethodPost, "/api/plugins/reload", nil).declines(t, "a reload of a module that fails", 422, "plugin[1] policy: "+held)
	live("after the reload", better.wasm())
}

// TestCasesOfTheShipped: each shipped plugin holds its own cases as part of a
// server too.
func TestCasesOfTheShipped(t *testing.T) {
	t.Parallel()
	config := coretest.Config(t.TempDir())
	quick(&config)
	config.Plugin = []plugin.Spec{config.Plugin[2]}
	cases, err := filepath.Abs("../../plugins/rollout/cases.toml")
	if err != nil {
		t.Fatal(err)
	}
	config.Plugin[0].Cases = cases
	if _, problems := core.Check(t.Context(), config); len(problems) > 0 {
		t.Errorf("the shipped plugin fails its cases: %v", problems)
	}
}
