package plugin_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/souk-market/souk/core/plugin"
	"github.com/souk-market/souk/sdk/abi"
)

func allowing() *module {
	g := newGuest()
	return g.hook("entitle", g.put(1024, decisions(abi.Allow)))
}

func TestLoadRefuses(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "large.wasm"), make([]byte, 17<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	configured := func(code string) *module {
		g := allowing()
		g.put(2048, []byte("config: limit: must be a number"))
		return g.fn("configure", "i", "I", "", code)
	}
	for _, c := range []struct {
		rule string
		wasm []byte
		set  func(*plugin.Spec)
		want string
	}{
		{"a file that is missing", nil, func(s *plugin.Spec) { s.File = "none.wasm" },
			"plugin[1] bad: file " + dir + "/none.wasm doesn't exist: name the plugin's .wasm file"},
		{"a file that is too large", nil, func(s *plugin.Spec) { s.File = "large.wasm" },
			"plugin[1] bad: the module is larger than 16MiB: build it smaller"},
		{"an embedded module that is too large", make([]byte, 17<<20), nil,
			"plugin[1] bad: the module is larger than 16MiB: build it smaller"},
		{"another hash than the pinned one", allowing().wasm(), func(s *plugin.Spec) { s.SHA256 = strings.Repeat("ab", 32) },
			"sha256 is pinned to abab"},
		{"text", []byte("#!/bin/sh"), nil, "plugin[1] bad: the file is no WebAssembly module"},
		{"nothing", []byte{}, nil, "plugin[1] bad: the file is no WebAssembly module"},
		{"a component", []byte("\x00asm\x0d\x00\x01\x00"), nil, "plugin[1] bad: the file is a component: build it as a core module"},
		{"a truncated module", allowing().wasm()[:100], nil, "plugin[1] bad: the module is damaged: "},
		{"code of the wrong type", allowing().hook("entitle", "i32.const 1").wasm(), nil, "plugin[1] bad: the module is invalid: "},
		{"no marker", allowing().without("souk_abi_1").wasm(), nil,
			"plugin[1] bad: the module doesn't export souk_abi_1: it was not built as a plugin"},
		{"another major version", allowing().without("souk_abi_1").fn("souk_abi_2", "", "", "", "").wasm(), nil,
			"plugin[1] bad: the module speaks version 2 of the contract and this host speaks 1: export souk_abi_1"},
		{"a major version that is no number", allowing().fn("souk_abi_2\n", "", "", "", "").wasm(), nil,
			`plugin[1] bad: the module exports "souk_abi_2\n", which the contract doesn't know`},
		{"a marker of another type", allowing().fn("souk_abi_1", "", "i", "", "i32.const 1").wasm(), nil,
			`plugin[1] bad: the module exports "souk_abi_1" as () -> (i32): it has to be () -> ()`},
		{"a newer minor version", allowing().fn("souk_needs_minor_7", "", "", "", "").wasm(), nil,
			"plugin[1] bad: the module needs minor version 7 of the contract and this host has 0: use a newer host"},
		{"a minor version that is no number", allowing().fn("souk_needs_minor_x", "", "", "", "").wasm(), nil,
			`the module exports "souk_needs_minor_x": a number has to follow souk_needs_minor_`},
		{"an unknown export of the contract's", allowing().fn("souk_magic", "", "", "", "").wasm(), nil,
			`the module exports "souk_magic", which the contract doesn't know`},
		{"no buffer", allowing().without("souk_buffer").wasm(), nil, "the module doesn't export souk_buffer (i32) -> (i32)"},
		{"no memory", func() []byte { g := newGuest().hook("entitle", "i64.const 0"); g.min = -1; return g.wasm() }(), nil,
			"the module doesn't export its memory"},
		{"no hook", newGuest().wasm(), nil,
			"the module exports no hook: it has to answer one of entitle, select_version, sign_in and exchange"},
		{"a hook of the wrong type", newGuest().fn("entitle", "ii", "i", "", "i32.const 1").wasm(), nil,
			`the module exports "entitle" as (i32, i32) -> (i32): it has to be (i32) -> (i64)`},
		{"a configured hook that isn't there", allowing().wasm(), func(s *plugin.Spec) { s.Hooks = []string{"sign_in"} },
			"hooks names sign_in, which the module doesn't export: it exports entitle"},
		{"an unknown function of the host", allowing().imported("souk", "launch", "", "").wasm(), nil,
			`the module imports "souk"."launch", which the contract doesn't know`},
		{"a group that isn't allowed", allowing().imported("souk", "kv_get", "iiii", "i").wasm(), func(s *plugin.Spec) { s.Allow = []string{"log"} },
			`the module imports "souk"."kv_get": add "kv" to its allow list if it may`},
		{"an import of the wrong type", allowing().imported("souk", "log", "ii", "").wasm(), func(s *plugin.Spec) { s.Allow = []string{"log"} },
			`the module imports "souk"."log" as (i32, i32) -> (): it is (i32, i32, i32) -> ()`},
		{"an unknown function of WASI", allowing().imported("wasi_snapshot_preview1", "fd_launch", "i", "i").wasm(), nil,
			`the module imports "wasi_snapshot_preview1"."fd_launch", which this host doesn't answer`},
		{"another module", allowing().imported("env", "abort", "", "").wasm(), nil,
			`the module imports "env"."abort": there is no such module here, only souk and wasi_snapshot_preview1`},
		{"the meter's own import", allowing().imported("souk_meter", "refill", "", "").wasm(), nil,
			`the module imports "souk_meter"."refill": there is no such module here`},
		{"more memory than allowed", allowing().wasm(), func(s *plugin.Spec) { s.Memory = 1 << 20 },
			`the module starts with 1152KiB of memory, but memory = "1MiB": raise it, or build the module with less`},
		{"allow for a hook that lets someone in", newGuest().hook("sign_in", "i64.const 0").wasm(), func(s *plugin.Spec) { s.OnError = "allow" },
			"plugin[1] bad: on_error: allow is not possible with sign_in, only with entitle: use deny"},
		{"abstain for an exchange", newGuest().hook("exchange", "i64.const 0").wasm(), func(s *plugin.Spec) { s.OnError = "abstain" },
			"plugin[1] bad: on_error: abstain is not possible with exchange, only with entitle and select_version: use deny"},
		{"a start function that spins", func() []byte {
			g := allowing().fn("$spin", "", "", "", "loop br 0 end")
			g.start = "$spin"
			return g.wasm()
		}(), func(s *plugin.Spec) { s.StartFuel = 1_000_000 }, "plugin[1] bad: its start section: fuel: its fuel is used up: 1000000"},
		{"a start function that outlives its deadline", func() []byte {
			g := allowing().fn("$spin", "", "", "", "loop br 0 end")
			g.start = "$spin"
			return g.wasm()
		}(), func(s *plugin.Spec) { s.StartFuel, s.StartDeadline = 1<<40, 1_000_000 }, "plugin[1] bad: its start section: deadline: its deadline is over: 1ms: do less, or raise start_deadline"},
		{"an _initialize that traps", allowing().fn("_initialize", "", "", "", "unreachable").wasm(), nil,
			"plugin[1] bad: _initialize: trap: unreachable in _initialize"},
		{"an _initialize whose name and last words are for a terminal", func() []byte {
			g := allowing().imported("wasi_snapshot_preview1", "fd_write", "iiii", "i")
			g.put(1024, []byte("\x00\x08\x00\x00\x06\x00\x00\x00")) // 6 bytes at 2048
			g.put(2048, []byte("a\x1b[2Jb"))
			return g.fn("$\x1b[2J", "", "", "", "unreachable").
				fn("_initialize", "", "", "", "i32.const 2 i32.const 1024 i32.const 1 i32.const 4096 call fd_write drop call $\x1b[2J").wasm()
		}(), nil, `plugin[1] bad: _initialize: trap: unreachable in \x1b[2J < _initialize: a\x1b[2Jb`},
		{"a buffer that is refused", allowing().fn("souk_buffer", "i", "i", "", "i32.const 0").wasm(), nil,
			"plugin[1] bad: souk_buffer: memory: the guest has no space for a message of 65536 bytes"},
		{"a buffer outside of the memory", allowing().fn("souk_buffer", "i", "i", "", "i32.const -65536").wasm(), nil,
			"plugin[1] bad: souk_buffer: memory: "},
		{"a configuration that the guest refuses", configured(result(2048, 31)).wasm(), nil,
			"plugin[1] bad: config: limit: must be a number"},
		{"a configuration that fails with a code", configured("i64.const 9").wasm(), nil,
			"plugin[1] bad: configure refused with code 9"},
		{"a configure that answers nonsense", configured("i64.const -1").wasm(), nil,
			"plugin[1] bad: configure answered an address outside of the memory"},
		{"a configuration for a guest without one", allowing().wasm(), func(s *plugin.Spec) { s.Config = map[string]any{"a": 1} },
			"plugin[1] bad: the module takes no configuration: remove its [plugin.config]"},
		{"a kv without a store", allowing().imported("souk", "kv_get", "iiii", "i").wasm(), func(s *plugin.Spec) { s.Allow = []string{"kv"} },
			"plugin[1] bad: allow names kv, but there is no store here: remove it"},
	} {
		t.Run(c.rule, func(t *testing.T) {
			s := spec("bad", c.wasm)
			if c.set != nil {
				c.set(&s)
			}
			h, err := plugin.Open(t.Context(), plugin.Options{Specs: []plugin.Spec{spec("good", allowing().wasm()), s}, Dir: dir})
			if err == nil {
				h.Close(t.Context())
				t.Fatalf("Open loads it, want %q", c.want)
			}
			if !strings.Contains(err.Error(), c.want) || strings.ContainsAny(err.Error(), "\n\x1b") {
				t.Errorf("Open: %q\nwant one line with %q", err, c.want)
			}
		})
	}
}

func TestLoadAccepts(t *testing.T) {
	for _, c := range []struct {
		rule string
		wasm []byte
		set  func(*plugin.Spec)
	}{
		{"exports of the guest's own", allowing().fn("organizations", "", "", "", "").fn("_start", "", "", "", "unreachable").wasm(), nil},
		{"a minor version that is there", allowing().fn("souk_needs_minor_0", "", "", "", "").wasm(), nil},
		{"a function imported twice", allowing().imported("souk", "bucket", "iiii", "i").imported("souk", "bucket", "iiii", "i").wasm(), nil},
		{"functions of WASI", allowing().imported("wasi_snapshot_preview1", "path_open", "iiiiiIIii", "i").wasm(), nil},
		{"a maximum of memory beyond the limit", func() []byte { g := allowing(); g.max = 1 << 16; return g.wasm() }(), nil},
		{"allow on error for entitle", allowing().wasm(), func(s *plugin.Spec) { s.OnError = "allow" }},
		{"abstain when only such hooks are asked", allowing().hook("sign_in", "i64.const 0").wasm(), func(s *plugin.Spec) {
			s.OnError, s.Hooks = "abstain", []string{"entitle"}
		}},
	} {
		t.Run(c.rule, func(t *testing.T) {
			s := spec("good", c.wasm)
			if c.set != nil {
				c.set(&s)
			}
			h := openSpecs(t, s)
			if !h.Has(abi.HookEntitle) || h.Has(abi.HookSignIn) {
				t.Errorf("Has(entitle) = %v, Has(sign_in) = %v, want true and false", h.Has(abi.HookEntitle), h.Has(abi.HookSignIn))
			}
			if got := entitle(t, h, 1, abi.Head{})[0]; got.Decision != abi.Allow || got.Plugin != "good" {
				t.Errorf("AskEntitle = %+v, want an allowance by good", got)
			}
		})
	}
}

func TestLoadFromFileWithPin(t *testing.T) {
	dir, wasm := t.TempDir(), allowing().wasm()
	if err := os.WriteFile(filepath.Join(dir, "a.wasm"), wasm, 0o600); err != nil {
		t.Fatal(err)
	}
	s := spec("a", wasm)
	pin := openSpecs(t, s).Plugins()[0].SHA256
	s.Wasm, s.File, s.SHA256 = nil, "a.wasm", strings.ToUpper(pin)
	if h := open(t, plugin.Options{Specs: []plugin.Spec{s}, Dir: dir}); h.Plugins()[0].SHA256 != pin {
		t.Errorf("the hash of the file is %s, want %s", h.Plugins()[0].SHA256, pin)
	}
}

func TestConfigureRefusesInGo(t *testing.T) {
	s := spec("plain", goGuest(t, plainGuest))
	s.Config = map[string]any{"grnt": "pro"}
	_, err := plugin.Open(t.Context(), plugin.Options{Specs: []plugin.Spec{s}, Cache: scratch + "/cache"})
	if want := `plugin[0] plain: config: grnt: there is no such key`; err == nil || err.Error() != want {
		t.Errorf("Open: %v, want %s", err, want)
	}
}

func TestValidateSpec(t *testing.T) {
	for _, c := range []struct {
		set  func(*plugin.Spec)
		want string
	}{
		{func(s *plugin.Spec) {}, ""},
		{func(s *plugin.Spec) { s.Name = "" }, "plugin[3].name: "},
		{func(s *plugin.Spec) { s.Name = "../etc" }, "plugin[3].name: "},
		{func(s *plugin.Spec) { s.File = "" }, "plugin[3].file: is missing"},
		{func(s *plugin.Spec) { s.SHA256 = "abc" }, "plugin[3].sha256: "},
		{func(s *plugin.Spec) { s.Hooks = []string{"grant"} }, `plugin[3].hooks: "grant" is reserved`},
		{func(s *plugin.Spec) { s.Hooks = []string{"login"} }, `plugin[3].hooks: "login" is no hook`},
		{func(s *plugin.Spec) { s.Hooks = []string{"entitle", "entitle"} }, "plugin[3].hooks: \"entitle\" stands there twice"},
		{func(s *plugin.Spec) { s.OnError = "" }, "plugin[3].on_error: "},
		{func(s *plugin.Spec) { s.OnError, s.Hooks = "allow", []string{"select_version"} }, "plugin[3].on_error: allow is not possible with select_version"},
		{func(s *plugin.Spec) { s.Memory = 1000 }, "plugin[3].memory: 1000 is impossible"},
		{func(s *plugin.Spec) { s.Memory = 2 << 30 }, "plugin[3].memory: 2GiB is impossible"},
		{func(s *plugin.Spec) { s.Fuel = 0 }, "plugin[3].fuel: "},
		{func(s *plugin.Spec) { s.StartFuel = 1 << 62 }, "plugin[3].start_fuel: "},
		{func(s *plugin.Spec) { s.Deadline = 0 }, "plugin[3].deadline: "},
		{func(s *plugin.Spec) { s.HostDeadline = 0 }, "plugin[3].host_deadline: "},
		{func(s *plugin.Spec) { s.StartDeadline = 0 }, "plugin[3].start_deadline: "},
		{func(s *plugin.Spec) { s.Instances = -1 }, "plugin[3].instances: "},
		{func(s *plugin.Spec) { s.Allow = []string{"files"} }, `plugin[3].allow: "files" is no group of host functions: use log, kv, password, crypto, secret, http and metric`},
		{func(s *plugin.Spec) { s.Hosts = []string{"https://id.example.com/x"} }, "plugin[3].hosts: "},
		{func(s *plugin.Spec) { s.Hosts = []string{"id.example.com", "localhost:9000"} }, ""},
		{func(s *plugin.Spec) { s.Secrets = plugin.Secrets{"a": {File: "f"}} }, `plugin[3].secrets: are there, but the plugin may not read them: add "secret"`},
		{func(s *plugin.Spec) { s.Allow, s.Secrets = []string{"secret"}, plugin.Secrets{"a": {}} }, `plugin[3].secrets.a: write { file = "path" }`},
		{func(s *plugin.Spec) {
			s.Allow, s.Secrets = []string{"secret"}, plugin.Secrets{"a": {File: "f", Env: "E"}}
		}, `plugin[3].secrets.a: write { file = "path" }`},
		{func(s *plugin.Spec) { s.Allow, s.Secrets = []string{"secret"}, plugin.Secrets{"a": {Env: "A=B"}} }, `plugin[3].secrets.a: env is no name`},
		{func(s *plugin.Spec) { s.Allow, s.Secrets = []string{"secret"}, plugin.Secrets{"A b": {Env: "E"}} }, `plugin[3].secrets: "A b" is no name`},
		{func(s *plugin.Spec) { s.Allow, s.Secrets = []string{"secret"}, plugin.Secrets{"a": {File: "f"}} }, ""},
		{func(s *plugin.Spec) { s.Allow = []string{"http"} }, "plugin[3].hosts: is empty, so http_fetch reaches nobody"},
		{func(s *plugin.Spec) { s.Config = map[string]any{"f": func() {}} }, "plugin[3].config: "},
	} {
		s := plugin.DefaultSpec()
		s.Name, s.File = "name", "file.wasm"
		c.set(&s)
		err := s.Validate("plugin[3]")
		if (err == nil) != (c.want == "") || err != nil && !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("Validate: %v, want %q", err, c.want)
		}
	}
}

func TestTwoPluginsOfOneName(t *testing.T) {
	s := spec("a", allowing().wasm())
	_, err := plugin.Open(t.Context(), plugin.Options{Specs: []plugin.Spec{s, s}})
	if want := `plugin[1].name: "a" is the name of an earlier plugin: choose another`; err == nil || err.Error() != want {
		t.Errorf("Open: %v, want %s", err, want)
	}
}
