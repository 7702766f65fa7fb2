package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/souk-market/souk/core"
	"github.com/souk-market/souk/core/coretest"
	"github.com/souk-market/souk/core/plugin"
	"github.com/souk-market/souk/core/plugin/replay"
	"github.com/souk-market/souk/plugins"
	"github.com/souk-market/souk/sdk/abi"
)

// checkUpdates is a device of an account that asks for updates of the app Notes;
// it returns the version that it is offered.
func checkUpdates(t *testing.T, s *coretest.Server, account string) string {
	t.Helper()
	const subject, access = "urn:ietf:params:oauth:token-type:access_token", "urn:ietf:params:oauth:token-type:access_token"
	res, err := http.PostForm(s.PublicURL()+"/oauth/token", url.Values{
		"grant_type": {"urn:ietf:params:oauth:grant-type:token-exchange"}, "issued_token_type": {access}, "subject_token": {s.SubjectToken(t, account)},
		"subject_token_type": {subject}, "client_id": {"device-of-" + account},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var token struct {
		Access string `json:"access_token"`
	}
	if err := json.NewDecoder(res.Body).Decode(&token); err != nil || token.Access == "" {
		t.Fatalf("exchange for %s: %d, %v", account, res.StatusCode, err)
	}
	body := `{"apps":[{"appleItemId":"` + coretest.NotesItem + `","appleVersionId":"1"}],"platform":"iOS","osVersion":"26.1"}`
	req, err := http.NewRequest(http.MethodPost, s.PublicURL()+"/updates", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token.Access)
	req.Header.Set("Content-Type", "application/json")
	answer, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	var offered struct {
		Updates []struct {
			Version string `json:"appleVersionId"`
		} `json:"updates"`
	}
	if err := json.NewDecoder(answer.Body).Decode(&offered); err != nil || answer.StatusCode != 200 || len(offered.Updates) != 1 {
		t.Fatalf("updates of %s: %d, %+v, %v", account, answer.StatusCode, offered, err)
	}
	return offered.Updates[0].Version
}

// recorded waits until a server has recorded so many questions.
func recorded(t *testing.T, s *coretest.Server, n uint64) {
	t.Helper()
	var list struct{ Recording plugin.Recording }
	for end := time.Now().Add(bound); list.Recording.Recorded < n; time.Sleep(5 * time.Millisecond) { // between looks
		if err := json.Unmarshal(s.Must(t, http.MethodGet, "/api/plugins", nil), &list); err != nil {
			t.Fatal(err)
		}
		if time.Now().After(end) {
			t.Fatalf("the recording stays %+v", list.Recording)
		}
	}
}

// exits runs a command line in this process.
func exits(t *testing.T, code int, args ...string) (out string) {
	t.Helper()
	got, stdout, stderr := souk(t, args...)
	if got != code {
		t.Fatalf("souk %s: exit code %d, want %d\n%s%s", strings.Join(args, " "), got, code, stdout, stderr)
	}
	return stdout + stderr
}

// A server records what devices ask, and a policy that is to be changed is tried
// over it: the devices that would get something else are named.
func TestReplayNamesTheDevices(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "decisions.jsonl")
	s := coretest.Start(t, func(c *core.Config) {
		c.Store.Durability = core.DurabilityProcess
		c.Plugins.Record = file
	})
	const half = abi.Buckets / 2
	s.Must(t, http.MethodPut, "/api/apps/"+coretest.NotesItem+"/versions/"+coretest.NotesNew+"/rollout", map[string]any{"share": half, "salt": "autumn"})
	var losers, others []string
	for i := range 20 {
		who := fmt.Sprintf("person-%d@example.com", i)
		want := coretest.NotesNew
		if abi.Bucket(who, "autumn") < half {
			others = append(others, who)
		} else {
			losers, want = append(losers, who), coretest.NotesOld
		}
		if got := checkUpdates(t, s, who); got != want {
			t.Fatalf("%s is offered %s, want %s", who, got, want)
		}
		recorded(t, s, uint64(2*(i+1)))
	}
	slices.Sort(losers)
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the recording has mode %v, %v; want it for its owner alone", info.Mode(), err)
	}

	module := filepath.Join(dir, "rollout.wasm")
	config := func(name, keys string) string {
		path := filepath.Join(dir, name)
		text := "[[plugin]]\nname = \"rollout\"\nfile = \"rollout.wasm\"\nallow = [\"log\"]\n[plugin.config]\n" + keys + "\n"
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	if err := os.WriteFile(module, plugins.Rollout, 0o600); err != nil {
		t.Fatal(err)
	}
	out := exits(t, 0, "plugin", "test", module, "--replay", file, "--config", config("same.toml", ""), "--name", "rollout")
	for _, words := range []string{"20 decisions of 20 devices", "the module is the one that was recorded as rollout", "0 change, for 0 devices; 20 stay"} {
		if !strings.Contains(out, words) {
			t.Errorf("the same policy: %s\nwant %q", out, words)
		}
	}
	other := config("other.toml", `while_held = "nothing"`)
	out = exits(t, exitFailed, "plugin", "test", module, "--replay", file, "--config", other, "--name", "rollout")
	for _, words := range []string{
		fmt.Sprintf("%d change, for %d devices; %d stay", len(losers), len(losers), len(others)), "rollout: bucket # is not below #", "offer " + coretest.NotesOld,
	} {
		if !strings.Contains(out, words) {
			t.Errorf("the other policy: %s\nwant %q", out, words)
		}
	}
	for _, who := range losers {
		if !strings.Contains(out, "\n"+who+" ") {
			t.Errorf("%s is not named: %s", who, out)
		}
	}
	for _, who := range others {
		if strings.Contains(out, "\n"+who+" ") {
			t.Errorf("%s is named: %s", who, out)
		}
	}
	var report struct{ Replay replay.Report }
	if err := json.Unmarshal([]byte(exits(t, exitFailed, "plugin", "test", module, "--replay", file, "--config", other, "--name", "rollout", "--json")), &report); err != nil {
		t.Fatal(err)
	}
	var named []string
	for _, d := range report.Replay.List {
		named = append(named, d.Key)
		if d.Before.String() != "offer "+coretest.NotesOld || d.After.String() != "hold" || fmt.Sprint(d.Item) != coretest.NotesItem {
			t.Errorf("a difference is %+v", d)
		}
	}
	if !slices.Equal(named, losers) {
		t.Errorf("named are %v, want %v", named, losers)
	}
	if out := exits(t, exitFailed, "plugin", "test", module, "--replay", file, "--config", other, "--name", "rollout", "--limit", "1"); !strings.Contains(out, fmt.Sprintf("and %d more", len(losers)-1)) {
		t.Errorf("with a limit of 1: %s", out)
	}

	// Without a configuration the module has none, and --name says whose place it takes.
	if out := exits(t, 0, "plugin", "test", module, "--replay", file, "--name", "rollout"); !strings.Contains(out, "0 change") {
		t.Errorf("without a configuration: %s", out)
	}
	if out := exits(t, exitFailed, "plugin", "test", module, "--replay", file, "--name", "quota"); !strings.Contains(out, `the recording has no plugin "quota": it has ["accounts" "allowlist" "rollout"]`) {
		t.Errorf("as a plugin that was not recorded: %s", out)
	}
	if out := exits(t, exitFailed, "plugin", "test", "../../plugins/quota/quota.wasm", "--replay", file); !strings.Contains(out, "say with --name whose place the module takes") {
		t.Errorf("as nobody: %s", out)
	}
	if out := exits(t, exitFailed, "plugin", "test", module, "--replay", file, "--name", "allowlist"); !strings.Contains(out, `the module answers nothing that plugin "allowlist" was asked`) {
		t.Errorf("as a plugin that was asked something else: %s", out)
	}
	if out := exits(t, exitFailed, "plugin", "test", module, "--replay", module); !strings.Contains(out, "is no recording") {
		t.Errorf("a replay of a module: %s", out)
	}
	if out := exits(t, exitFailed, "plugin", "test", module, "--replay", filepath.Join(dir, "missing")); !strings.Contains(out, "--replay: open") {
		t.Errorf("a replay of nothing: %s", out)
	}
}

// What a shadow would change is shown, and why for one device.
func TestShadowIsShown(t *testing.T) {
	s := coretest.Start(t, func(c *core.Config) {
		c.Store.Durability = core.DurabilityProcess
		at := slices.IndexFunc(c.Plugin, func(s plugin.Spec) bool { return s.Name == "rollout" })
		next := c.Plugin[at]
		next.Name, next.Shadow, next.InsteadOf, next.Config = "next", true, "rollout", map[string]any{"while_held": "nothing"}
		c.Plugin = append(c.Plugin, next)
	})
	t.Setenv("SOUK_ADMIN_TOKEN", s.AdminToken)
	s.Must(t, http.MethodPut, "/api/apps/"+coretest.NotesItem+"/versions/"+coretest.NotesNew+"/rollout", map[string]any{"share": 0})
	checkUpdates(t, s, coretest.Alice)
	var out string
	for end := time.Now().Add(bound); !strings.Contains(out, coretest.Alice); time.Sleep(5 * time.Millisecond) { // between looks
		out = exits(t, 0, "plugin", "show", "next", "--admin", s.AdminURL())
		if time.Now().After(end) {
			t.Fatalf("the shadow shows %s", out)
		}
	}
	for _, words := range []string{
		"a shadow, in the place of rollout: of 1 decisions in 1 questions 1 would be others; 0 questions came too fast",
		"next: open to nobody", "offer " + coretest.NotesOld + "  hold",
	} {
		if !strings.Contains(out, words) {
			t.Errorf("the shadow shows %s\nwant %q", out, words)
		}
	}
	if out := exits(t, 0, "plugin", "list", "--admin", s.AdminURL()); !strings.Contains(out, "select_version (shadow)") {
		t.Errorf("the list shows %s", out)
	}
	out = exits(t, 0, "explain", "--admin", s.AdminURL(), "--account", coretest.Alice, "--item", coretest.NotesItem+":1", "--os", "26.1")
	for _, words := range []string{"offered version 3.1 (" + coretest.NotesOld + ") by rollout: open; newer: open to nobody", "next (shadow)", "would change it to hold"} {
		if !strings.Contains(out, words) {
			t.Errorf("the explanation is %s\nwant %q", out, words)
		}
	}
}
