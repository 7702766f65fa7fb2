package coretest_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
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

// operator sends requests to the admin API that are not JSON.
type operator struct {
	testing.TB
	at, token string
}

func operatorOf(t testing.TB, s *coretest.Server) operator {
	return operator{t, s.AdminURL(), s.AdminToken}
}

func (o operator) send(method, path string, body io.Reader, header ...string) answer {
	o.Helper()
	req, err := http.NewRequest(method, o.at+path, body)
	if err != nil {
		o.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+o.token)
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	return send(o.TB, req)
}

const wasmType = "application/wasm"

// upload puts a module in the place of a plugin's.
func (o operator) upload(name string, wasm []byte, header ...string) answer {
	o.Helper()
	return o.send(http.MethodPut, "/api/plugins/"+name+"/module", bytes.NewReader(wasm), append([]string{"Content-Type", wasmType}, header...)...)
}

// declines checks that the admin API refused with one sentence.
func (a answer) declines(t testing.TB, what string, status int, words string) {
	t.Helper()
	sentence, _ := a.object(t)["error"].(string)
	if a.status != status || !strings.Contains(sentence, words) || strings.Contains(sentence, "\n") {
		t.Errorf("%s: answered %d %q, want %d and one sentence with %q", what, a.status, a.body, status, words)
	}
}

func sum(b []byte) string {
	s := sha256.Sum256(b)
	return hex.EncodeToString(s[:])
}

// says answers every update check of n apps with one decision and one choice.
func says(decision abi.Decision, choice abi.Choice, n int) handmade {
	var e abi.EntitleVerdict
	var v abi.SelectVersionVerdict
	for range n {
		e.Items = append(e.Items, abi.EntitleDecision{Decision: decision})
		v.Items = append(v.Items, abi.VersionChoice{Choice: choice})
	}
	return handmade{entitle: e.Append(nil), selects: v.Append(nil)}
}

// policySpec is a plugin of a module that the test made.
func policySpec(name string, wasm []byte) plugin.Spec {
	s := plugin.DefaultSpec()
	s.Name, s.Wasm = name, wasm
	s.Deadline *= 50 // as the shipped ones have it here
	s.StartDeadline *= 30
	return s
}

// with is a server of the accounts plugin and one more.
func with(spec plugin.Spec) func(*core.Config) {
	return func(c *core.Config) {
		quick(c)
		c.Plugin = append(coretest.Plugins()[:1], spec)
	}
}

func pluginsOf(t testing.TB, s *coretest.Server) map[string]plugin.Info {
	t.Helper()
	var list struct {
		Plugins []plugin.Info `json:"plugins"`
	}
	if err := json.Unmarshal(s.Must(t, http.MethodGet, "/api/plugins", nil), &list); err != nil {
		t.Fatal(err)
	}
	byName := map[string]plugin.Info{}
	for _, p := range list.Plugins {
		byName[p.Name] = p
	}
	return byName
}

func TestAModuleIsSwapped(t *testing.T) {
	t.Parallel()
	allows, denies := says(abi.Allow, 0, 1).wasm(), says(abi.Deny, 0, 1).wasm()
	s := coretest.Start(t, with(policySpec("policy", allows)))
	o := operatorOf(t, s)
	access := deviceOf(t, s, coretest.Alice).access
	offered := func(what string, want ...app) {
		t.Helper()
		updates(t, s, access, deviceOS, notesOld).gives(t, what, want)
	}
	offered("before", notesNew)

	live := o.send(http.MethodGet, "/api/plugins/policy/module", nil)
	if !bytes.Equal(live.body, allows) || live.header.Get("ETag") != `"`+sum(allows)+`"` || live.header.Get("Content-Type") != wasmType {
		t.Errorf("the module is answered with %d bytes, ETag %s, type %s", len(live.body), live.header.Get("ETag"), live.header.Get("Content-Type"))
	}
	done := o.upload("policy", denies, "If-Match", live.header.Get("ETag"))
	if got := done.object(t); done.status != 200 || got["before"] != sum(allows) || got["after"] != sum(denies) || got["generation"] != 2.0 ||
		got["name"] != "policy" || got["uploaded"] != true || !strings.Contains(fmt.Sprint(got["note"]), "a restart and a reload load the file") {
		t.Errorf("the upload is answered %d %s", done.status, done.body)
	}
	offered("after the swap")
	o.upload("policy", allows, "If-Match", live.header.Get("ETag")).declines(t, "an upload in the place of what was replaced", 412, sum(denies))
	offered("after the upload that came too late")

	back := o.send(http.MethodPost, "/api/plugins/policy/return", nil)
	if got := back.object(t); back.status != 200 || got["before"] != sum(denies) || got["after"] != sum(allows) || got["note"] != nil {
		t.Errorf("the return is answered %d %s", back.status, back.body)
	}
	offered("after the return", notesNew)
	o.send(http.MethodPost, "/api/plugins/policy/return", nil, "If-Match", `"`+sum(denies)+`"`).declines(t, "a return that somebody else did", 412, sum(allows))
	if p := pluginsOf(t, s)["policy"]; p.Swaps != 1 || p.Returns != 1 || p.Uploaded || p.Previous != sum(denies) {
		t.Errorf("the plugin is %+v, want one swap and one return", p)
	}
	for _, want := range []string{
		"msg=audit actor=admin action=plugin.swap", "plugin=policy old=" + sum(allows) + " new=" + sum(denies) + " generation=2",
		"msg=audit actor=admin action=plugin.return", "plugin=policy old=" + sum(denies) + " new=" + sum(allows) + " generation=1",
	} {
		if n := strings.Count(s.Log.String(), want); n != 1 {
			t.Errorf("the log has %q %d times, want once", want, n)
		}
	}

	// An upload ends with the process.
	o.upload("policy", denies)
	s.Restart(t)
	if p := pluginsOf(t, s)["policy"]; p.SHA256 != sum(allows) || p.Uploaded {
		t.Errorf("after a restart the plugin is %+v, want the configuration's module", p)
	}
}

func TestAModuleIsRefused(t *testing.T) {
	t.Parallel()
	good := says(abi.Allow, 0, 1).wasm()
	s := coretest.Start(t, func(c *core.Config) {
		with(policySpec("policy", good))(c)
		c.Plugins.MaxModule = 32 << 20 // of accounts, and not much more
	})
	o := operatorOf(t, s)
	access := deviceOf(t, s, coretest.Alice).access
	o.upload("nobody", good).declines(t, "an unknown plugin", 404, `there is no plugin "nobody"`)
	o.send(http.MethodGet, "/api/plugins/nobody/module", nil).declines(t, "an unknown plugin", 404, `there is no plugin "nobody"`)
	o.send(http.MethodPost, "/api/plugins/nobody/return", nil).declines(t, "an unknown plugin", 404, `there is no plugin "nobody"`)
	o.send(http.MethodPost, "/api/plugins/policy/return", nil).declines(t, "nothing to return to", 409, "no earlier module of policy")
	o.send(http.MethodPost, "/api/plugins/reload", nil).declines(t, "nothing to read again", 422, "restart it")
	o.upload("policy", good, "Content-Type", "application/json").declines(t, "another type", 415, wasmType)
	for _, match := range []string{"abc", sum(good), `"` + sum(good)[1:] + `"`, `W/"` + sum(good) + `"`} {
		o.upload("policy", good, "If-Match", match).declines(t, "If-Match: "+match, 400, "If-Match")
	}
	for _, refused := range refusals(o, 200<<20) {
		refused()
	}
	if p := pluginsOf(t, s)["policy"]; p.Generation != 1 || p.SHA256 != sum(good) || p.Uploaded {
		t.Errorf("after what was refused the plugin is %+v, want it as it was", p)
	}
	if n := strings.Count(s.Log.String(), `level=WARN msg="module refused" plugin=policy`); n != len(hostileModules()) {
		t.Errorf("the log says of %d modules that they were refused, want %d", n, len(hostileModules()))
	}
	updates(t, s, access, deviceOS, notesOld).gives(t, "after all that", []app{notesNew})
}

// hostileModules are those that no plugin of the tests may become, with the words
// that say why.
func hostileModules() map[string]string {
	text := strings.Repeat("this is no module\n", 100)
	return map[string]string{
		text:                            "the file is no WebAssembly module",
		"":                              "the file is no WebAssembly module",
		string(handmade{}.wasm()[:100]): "the module is damaged",
		string(handmade{without: abi.ExportBuffer}.wasm()):               "the module doesn't export souk_buffer",
		string(handmade{without: abi.HookSelectVersion.String()}.wasm()): "the module doesn't export select_version, which this plugin is asked",
		string(handmade{imports: "kv_get"}.wasm()):                       `the module imports "souk"."kv_get": add "kv" to its allow list`,
		string(handmade{imports: "system"}.wasm()):                       `the module imports "souk"."system", which the contract doesn't know`,
		string(handmade{pages: 1024}.wasm()):                             "the module starts with 64MiB of memory",
		string(handmade{spins: true}.wasm()):                             "its start section: fuel: its fuel is used up",
	}
}

// zeros is a body of so many bytes that nobody has to hold.
func zeros(n int64) io.Reader { return io.LimitReader(zero{}, n) }

type zero struct{}

func (zero) Read(b []byte) (int, error) {
	clear(b)
	return len(b), nil
}

// refusals are requests with what is no module for a server. Each checks that it is
// refused with one sentence, which the client hears even while it is still sending.
func refusals(o operator, large int64) []func() {
	var all []func()
	for module, words := range hostileModules() {
		all = append(all, func() { o.upload("policy", []byte(module)).declines(o.TB, words, 422, words) })
	}
	put := func(length int64, header ...string) answer {
		req, err := http.NewRequest(http.MethodPut, o.at+"/api/plugins/policy/module", zeros(large))
		if err != nil {
			o.Fatal(err)
		}
		req.ContentLength = length
		for i := 0; i+1 < len(header); i += 2 {
			req.Header.Set(header[i], header[i+1])
		}
		req.Header.Set("Authorization", "Bearer "+o.token)
		req.Header.Set("Content-Type", wasmType)
		return send(o.TB, req)
	}
	return append(all,
		func() { put(large).declines(o.TB, "200 MB", 413, "raise plugins.max_module") },
		func() {
			put(large, "Expect", "100-continue").declines(o.TB, "200 MB, if they may", 413, "raise plugins.max_module")
		},
		func() { put(-1).declines(o.TB, "200 MB in chunks", 413, "larger than it may be") })
}

// TestAReload reads the configuration again.
func TestAReload(t *testing.T) {
	t.Parallel()
	var next func() (core.Config, error)
	var dir string
	write := func(name string, wasm []byte) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), wasm, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	file := policySpec("policy", nil)
	file.File = "policy.wasm"
	var config core.Config
	s := coretest.Start(t, func(c *core.Config) {
		dir = c.Dir
		write("policy.wasm", says(abi.Allow, 0, 1).wasm())
		with(file)(c)
		c.Again = func() (core.Config, error) { return next() }
		config = *c
	})
	o := operatorOf(t, s)
	access := deviceOf(t, s, coretest.Alice).access
	reload := func(change func(*core.Config)) answer {
		t.Helper()
		next = func() (core.Config, error) {
			c := config
			c.Plugin = append([]plugin.Spec{}, config.Plugin...)
			if change != nil {
				change(&c)
			}
			return c, nil
		}
		return o.send(http.MethodPost, "/api/plugins/reload", nil)
	}
	is := func(a answer, want string) {
		t.Helper()
		if a.status != 200 || string(a.body) != want {
			t.Errorf("the reload is answered %d %s, want %s", a.status, a.body, want)
		}
	}
	is(reload(nil), `{"added":[],"changed":[],"removed":[],"unchanged":["accounts","policy"],"restart":[]}`)
	write("policy.wasm", says(abi.Deny, 0, 1).wasm())
	is(reload(nil), `{"added":[],"changed":["policy"],"removed":[],"unchanged":["accounts"],"restart":[]}`)
	updates(t, s, access, deviceOS, notesOld).gives(t, "after a reload", nil)
	is(reload(func(c *core.Config) {
		c.Plugin = append(c.Plugin, policySpec("second", says(abi.DecisionPass, abi.ChoicePass, 1).wasm()))
		c.Server.Listen, c.Token.Grace, c.Token.KeyFile, c.Market.AnnounceOAuth, c.Limits.Apps = "127.0.0.1:1", c.Token.Grace+1, "other.key", true, 7
	}), `{"added":["second"],"changed":[],"removed":[],"unchanged":["accounts","policy"],`+
		`"restart":["server.listen","market.announce_oauth","token.grace","token.key_file","limits.apps"]}`)
	if !strings.Contains(s.Log.String(), `level=WARN msg="keys have changed that only a restart takes over"`) {
		t.Error("the log doesn't name the keys that need a restart")
	}

	// What is wrong changes nothing, and says what it is.
	before := fmt.Sprint(s.Plugins.Plugins()[1].SHA256, len(s.Plugins.Plugins()))
	write("policy.wasm", []byte("nonsense"))
	reload(nil).declines(t, "a bad file", 422, "plugin[1] policy: the file is no WebAssembly module")
	reload(func(c *core.Config) { c.Limits.Apps = -1 }).declines(t, "a bad configuration", 422, "limits.apps: ")
	reload(func(c *core.Config) { c.Dir = "/elsewhere" }).declines(t, "another directory", 422, `"/elsewhere"`)
	next = func() (core.Config, error) { return core.Config{}, errors.New("config.toml: line 3: nonsense") }
	o.send(http.MethodPost, "/api/plugins/reload", nil).declines(t, "a file that can't be read", 422, "config.toml: line 3: nonsense")
	if after := fmt.Sprint(s.Plugins.Plugins()[1].SHA256, len(s.Plugins.Plugins())); after != before {
		t.Error("a reload that failed changed something")
	}
	if n := strings.Count(s.Log.String(), "action=plugin.reload"); n != 3 {
		t.Errorf("the log has %d reloads, want the three that worked", n)
	}
}
