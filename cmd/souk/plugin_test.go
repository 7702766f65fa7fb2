package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/souk-market/souk/cmd/souk/author"
	"github.com/souk-market/souk/core"
	"github.com/souk-market/souk/sdk/abi"
)

// souk carries out a command line, and returns its exit code and what it printed.
func souk(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, err bytes.Buffer
	code = run(args, &streams{strings.NewReader(""), &out, &err})
	return code, out.String(), err.String()
}

// TestNewcomersWalk goes the way of the README in each language: new, build, test,
// and a server that asks the plugin about an update check.
func TestNewcomersWalk(t *testing.T) {
	sdk, err := filepath.Abs("../../sdk")
	if err != nil {
		t.Fatal(err)
	}
	for _, lang := range author.Languages() {
		t.Run(lang, func(t *testing.T) {
			t.Chdir(t.TempDir())
			// 1. new
			code, out, errs := souk(t, "plugin", "new", "--lang", lang, "mine")
			if code != 0 || !strings.Contains(out, "cd mine\n") || !strings.Contains(out, "souk plugin build\n  souk plugin test\n  souk plugin serve\n") {
				t.Fatalf("new: %d\n%s%s", code, out, errs)
			}
			t.Chdir("mine")
			if lang == "assemblyscript" || lang == "javascript" { // its README's npm install
				if err := os.Symlink(filepath.Join(sdk, lang, "node_modules"), "node_modules"); err != nil {
					t.Fatal(err)
				}
			}
			// 2. build
			code, out, errs = souk(t, "plugin", "build")
			if code != 0 && os.Getenv("SOUK_CI") == "" && (strings.Contains(errs, "install") || strings.Contains(errs, "npm")) {
				t.Skip(errs)
			}
			if code != 0 {
				t.Fatalf("build: %d\n%s%s", code, out, errs)
			}
			_, block, ok := strings.Cut(out, "For config.toml:\n\n")
			if !ok {
				t.Fatalf("build prints no block:\n%s", out)
			}
			// 3. test
			if code, out, errs := souk(t, "plugin", "test"); code != 0 || !strings.HasSuffix(out, "5 passed, 0 failed\n") || errs != "" {
				t.Fatalf("test: %d\n%s%s", code, out, errs)
			}
			// 4. a server with the block as it was printed
			if got := offered(t, block); got != "1.0" {
				t.Errorf("the update check offers %q, want what the plugin chooses, 1.0", got)
			}
		})
	}
}

// offered runs a server with a [[plugin]] block and returns the version that its
// answer to an update check offers. The log has to say that the plugin chose it: 2.0 is
// in a rollout, whose salt would put those in who have no key, and they are in none.
func offered(t *testing.T, block string) string {
	t.Helper()
	salt := 0
	for abi.Bucket("", fmt.Sprint(salt)) >= 1000 {
		salt++
	}
	dir := t.TempDir()
	files := map[string]string{
		"config.toml": "[server]\nlisten = \"127.0.0.1:0\"\n[admin]\nlisten = \"127.0.0.1:0\"\n[store]\nmin_free = \"0\"\ndurability = \"process\"\n" +
			"[catalog]\nfile = \"apps.toml\"\n\n" + block,
		"apps.toml": fmt.Sprintf(`
[[items]]
id = "1000004"
bundle_id = "com.example.sky"
sign_in = "none"
[[items.versions]]
id = "3"
short = "2.0"
build = "20"
min_os = { ios = "17.4" }
rollout = { share = 1000, salt = "%d" }
[[items.versions]]
id = "2"
short = "1.0"
build = "10"
min_os = { ios = "17.4" }
`, salt),
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	config, err := load(filepath.Join(dir, "config.toml"))
	if err != nil {
		t.Fatal(err)
	}
	var log syncedBuffer
	config.Log = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	host, err := core.Open(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- host.Serve(ctx) }()
	defer func() {
		stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
		if err := host.Close(); err != nil {
			t.Error(err)
		}
	}()
	got := updates(t, host.PublicURL(), &log)
	if !strings.Contains(log.String(), "plugin=mine") {
		t.Errorf("the log doesn't say that plugin mine decided:\n%s", log.String())
	}
	return got
}

// updates is the update check of a device that nobody is signed in on: the version
// that it is offered.
func updates(t *testing.T, public string, log *syncedBuffer) string {
	t.Helper()
	body := `{"apps": [{"appleItemId": "1000004", "appleVersionId": "1"}], "platform": "iOS", "osVersion": "26.1"}`
	res, err := http.Post(public+"/updates", "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	var answer struct {
		Updates []struct {
			Short string `json:"shortVersionString"`
		} `json:"updates"`
	}
	if err := json.Unmarshal(text, &answer); err != nil || res.StatusCode != 200 || len(answer.Updates) != 1 {
		t.Fatalf("the update check: %d %s, %v\n%s", res.StatusCode, text, err, log.String())
	}
	return answer.Updates[0].Short
}

// TestServe tries a module out as its author does.
func TestServe(t *testing.T) {
	example, err := filepath.Abs("../../sdk/examples/c/guest.wasm")
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	t.Setenv("TMPDIR", t.TempDir())
	for _, test := range []struct{ file, hook, says string }{
		{example, "select_version", "plugin=guest"},
		{"../../plugins/accounts/accounts.wasm", "sign_in", ""},
	} {
		var out, log syncedBuffer
		ctx, stop := context.WithCancel(t.Context())
		c := pluginServe{Path: test.file, Listen: "127.0.0.1:0", Admin: "127.0.0.1:0"}
		ready, ended := make(chan string, 1), make(chan error, 1)
		go func() { ended <- c.serve(ctx, &streams{nil, &out, &log}, func(public string) { ready <- public }) }()
		select {
		case err := <-ended:
			t.Fatal(err)
		case public := <-ready:
			if !strings.Contains(out.String(), "which asks the plugin ("+test.hook+")") || !strings.Contains(out.String(), public) {
				t.Errorf("serve doesn't say how to ask:\n%s", out.String())
			}
			if test.hook == "sign_in" {
				_, at, _ := strings.Cut(out.String(), "open\n\n  ")
				res, err := http.Get(strings.TrimSpace(at))
				if err != nil {
					t.Fatal(err)
				}
				page, err := io.ReadAll(res.Body)
				res.Body.Close()
				if err != nil || res.StatusCode != 200 || !bytes.Contains(page, []byte("field_password")) {
					t.Errorf("the page that serve names: %d %.300s", res.StatusCode, page)
				}
			} else if got := updates(t, public, &log); got != "3.0.0" {
				t.Errorf("the update check offers %q, want the version that is open to everyone", got)
			}
			if !strings.Contains(log.String(), test.says) || strings.Contains(log.String(), "WARN") {
				t.Errorf("the log is\n%s\nwant a decision of the plugin, and no warnings", log.String())
			}
		}
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
	if left, err := os.ReadDir(os.Getenv("TMPDIR")); err != nil || len(left) > 0 {
		t.Errorf("serve leaves %v, %v", left, err)
	}
	c := pluginServe{Path: t.TempDir()}
	if err := c.Run(&streams{}); err == nil || !strings.Contains(err.Error(), "souk plugin new") {
		t.Errorf("serve of an empty folder: %v", err)
	}
}

type syncedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncedBuffer) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(b)
}

func (s *syncedBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// wasm writes a module by hand: what a compiler wouldn't make.
type wasm struct {
	imports []string // functions of module souk, of type () -> () but for kv_get
	exports []string // beside memory
	pages   byte
	start   bool   // a start function that never ends
	entitle []byte // its code; nil = it abstains
}

func (w wasm) bytes() []byte {
	section := func(id byte, entries ...[]byte) []byte {
		body := append([]byte{byte(len(entries))}, bytes.Join(entries, nil)...)
		return append([]byte{id, byte(len(body))}, body...)
	}
	name := func(s string) []byte { return append([]byte{byte(len(s))}, s...) }
	if w.entitle == nil {
		w.entitle = []byte{0, 0x42, 0, 0x0b} // i64.const 0
	}
	types := map[string]byte{"souk_abi_1": 0, "souk_buffer": 1, "entitle": 2, "select_version": 2}
	bodies := [][]byte{{0, 0x0b}, {0, 0x41, 0x08, 0x0b}, w.entitle, {0, 0x03, 0x40, 0x0c, 0, 0x0b, 0x0b}} // end; i32.const 8; …; loop
	var imports, functions, exports, code [][]byte
	for _, i := range w.imports {
		kind := byte(0)
		if i == "kv_get" {
			kind = 3
		}
		imports = append(imports, append(append(name("souk"), name(i)...), 0, kind))
	}
	exports = append(exports, append(name("memory"), 2, 0))
	for i, e := range w.exports {
		functions = append(functions, []byte{types[e]})
		code = append(code, append([]byte{byte(len(bodies[types[e]]))}, bodies[types[e]]...))
		exports = append(exports, append(name(e), 0, byte(len(imports)+i)))
	}
	functions = append(functions, []byte{0})
	code = append(code, append([]byte{byte(len(bodies[3]))}, bodies[3]...))
	b := []byte("\x00asm\x01\x00\x00\x00")
	b = append(b, section(1, []byte{0x60, 0, 0}, []byte{0x60, 1, 0x7f, 1, 0x7f}, []byte{0x60, 1, 0x7f, 1, 0x7e}, []byte{0x60, 4, 0x7f, 0x7f, 0x7f, 0x7f, 1, 0x7f})...)
	if len(imports) > 0 {
		b = append(b, section(2, imports...)...)
	}
	b = append(b, section(3, functions...)...)
	b = append(b, section(5, append([]byte{0}, leb(uint(w.pages))...))...)
	b = append(b, section(7, exports...)...)
	if w.start {
		at := byte(len(imports) + len(w.exports))
		b = append(b, 8, 1, at)
	}
	return append(b, section(10, code...)...)
}

func leb(n uint) []byte {
	var b []byte
	for ; n > 0x7f; n >>= 7 {
		b = append(b, byte(n)|0x80)
	}
	return append(b, byte(n))
}

// TestCheckRefuses: one sentence that names the file and the fix, and exit code 1.
func TestCheckRefuses(t *testing.T) {
	t.Chdir(t.TempDir())
	whole := []string{"souk_abi_1", "souk_buffer", "entitle"}
	huge, err := os.Create("huge.wasm")
	if err != nil {
		t.Fatal(err)
	}
	if err := huge.Truncate(200 << 20); err != nil {
		t.Fatal(err)
	}
	huge.Close()
	for _, test := range []struct {
		file  string
		bytes []byte
		args  []string
		want  string
	}{
		{"missing.wasm", nil, nil, `missing.wasm doesn't exist: build it with "souk plugin build"`},
		{"huge.wasm", nil, nil, `huge.wasm is larger than 16MiB: build it smaller`},
		{"text.wasm", []byte("a text"), nil, `text.wasm: the file is no WebAssembly module`},
		{"empty.wasm", []byte{}, nil, `empty.wasm: the file is no WebAssembly module`},
		{"component.wasm", []byte("\x00asm\x0d\x00\x01\x00"), nil, `component.wasm: the file is a component: build it as a core module`},
		{"cut.wasm", wasm{exports: whole, pages: 1}.bytes()[:60], nil, `cut.wasm: the module is damaged: `},
		{"marker.wasm", wasm{exports: whole[1:], pages: 1}.bytes(), nil, `marker.wasm: the module doesn't export souk_abi_1: it was not built as a plugin`},
		{"hook.wasm", wasm{exports: whole[:2], pages: 1}.bytes(), nil, `hook.wasm: the module exports no hook: it has to answer one of entitle, select_version, sign_in and exchange`},
		{"import.wasm", wasm{exports: whole, imports: []string{"open_file"}, pages: 1}.bytes(), nil, `import.wasm: the module imports "souk"."open_file", which the contract doesn't know`},
		{"memory.wasm", wasm{exports: whole, pages: 2}.bytes(), nil, ""},
		{"large.wasm", wasm{exports: whole, pages: 120}.bytes(), []string{"--config", "config.toml", "--name", "small"}, `large.wasm: the module starts with 7680KiB of memory, but memory = "1MiB": raise it`},
		{"spin.wasm", wasm{exports: whole, pages: 1, start: true}.bytes(), nil, `spin.wasm: its start section: fuel: its fuel is used up: 100000000: do less, or raise start_fuel`},
		{"memory.wasm", nil, []string{"--allow", "everything"}, `memory.wasm: allow: "everything" is no group of host functions`},
		{"memory.wasm", nil, []string{"--config", "config.toml"}, `config.toml: no plugin has the file memory.wasm: say with --name which one is meant, of small, next`},
		{"memory.wasm", nil, []string{"--config", "config.toml", "--name", "other"}, `config.toml: there is no plugin "other": it has small, next`},
		{"next.wasm", wasm{exports: whole, pages: 2}.bytes(), []string{"--config", "config.toml", "--name", "next"}, ""}, // a shadow, without the one that it is to replace
		{"memory.wasm", nil, []string{"--name", "other"}, `--name: is of no use without --config`},
	} {
		if test.bytes != nil {
			if err := os.WriteFile(test.file, test.bytes, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		config := "[[plugin]]\nname = \"small\"\nfile = \"other.wasm\"\nmemory = \"1MiB\"\n" +
			"[[plugin]]\nname = \"next\"\nfile = \"third.wasm\"\nshadow = true\ninstead_of = \"small\"\n"
		if err := os.WriteFile("config.toml", []byte(config), 0o600); err != nil {
			t.Fatal(err)
		}
		code, out, errs := souk(t, append([]string{"plugin", "check", test.file}, test.args...)...)
		if test.want == "" {
			if code != 0 || errs != "" {
				t.Errorf("%s: %d %s", test.file, code, errs)
			}
			continue
		}
		if code != 1 || out != "" || !strings.HasPrefix(errs, "souk: "+test.want) || strings.Count(errs, "\n") != 1 {
			t.Errorf("%s %v: exit code %d\n%s%s\nwant souk: %s", test.file, test.args, code, out, errs, test.want)
		}
	}
}

// TestCheckKnowsTheHost looks at what the check says of plugins that are known.
func TestCheckKnowsTheHost(t *testing.T) {
	code, out, errs := souk(t, "plugin", "check", "../../plugins/quota/quota.wasm", "--json")
	var r author.Report
	if err := json.Unmarshal([]byte(out), &r); err != nil || code != 0 {
		t.Fatalf("check: %d %s, %v", code, errs, err)
	}
	if len(r.Hooks) != 1 || r.Hooks[0] != "entitle" || len(r.Imports) != 0 || len(r.SHA256) != 64 || r.Fuel[0].Typical <= r.Fuel[0].Empty || len(r.Warnings) > 0 {
		t.Errorf("the report is %s", out)
	}
	code, out, errs = souk(t, "plugin", "check", "../../plugins/accounts/accounts.wasm", "--allow", "log")
	if code != 1 || out != "" || !strings.Contains(errs, `accounts.wasm: the module imports "souk"."kv_get": add "kv" to its allow list if it may`) {
		t.Errorf("a module that imports what it may not: %d %s%s", code, out, errs)
	}
}

func TestCheckWarns(t *testing.T) {
	t.Chdir(t.TempDir())
	whole := []string{"souk_abi_1", "souk_buffer", "entitle"}
	spec := "[[plugin]]\nname = \"frugal\"\nfile = \"other.wasm\"\nallow = [\"kv\"]\nfuel = 1500\n"
	if err := os.WriteFile("config.toml", []byte(spec), 0o600); err != nil {
		t.Fatal(err)
	}
	kvGet := []byte{0, 0x41, 8, 0x41, 1, 0x41, 8, 0x41, 0, 0x10, 0, 0x1a, 0x42, 0, 0x0b} // four i32.const, call, drop, i64.const 0
	for _, test := range []struct {
		name, want string
		module     wasm
		args       []string
	}{
		{"a read of the kv", "entitle reads the kv (3 times for these questions)", wasm{entitle: kvGet, imports: []string{"kv_get"}}, nil},
		{"fuel near the limit", "entitle takes 1 0", wasm{entitle: kvGet, imports: []string{"kv_get"}}, []string{"--config", "config.toml", "--name", "frugal"}},
		{"an endless loop", "entitle fails on an ordinary question: fuel: its fuel is used up: 2000000", wasm{entitle: []byte{0, 0x03, 0x40, 0x0c, 0, 0x0b, 0x42, 0, 0x0b}}, nil},
		{"a trap", "entitle fails on an ordinary question: trap: unreachable", wasm{entitle: []byte{0, 0x00, 0x0b}}, nil},
	} {
		test.module.exports, test.module.pages = whole, 2
		if err := os.WriteFile("mine.wasm", test.module.bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
		code, out, errs := souk(t, append([]string{"plugin", "check", "mine.wasm"}, test.args...)...)
		if code != 0 || errs != "" || !strings.Contains(out, "\nwarning   "+test.want) {
			t.Errorf("%s: %d %s\n%s\nwant a warning: %s", test.name, code, errs, out, test.want)
		}
	}
}
