package coretest_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/souk-market/souk/core"
	"github.com/souk-market/souk/core/coretest"
	"github.com/souk-market/souk/core/market"
	"github.com/souk-market/souk/core/oauth"
	"github.com/souk-market/souk/core/plugin"
	"github.com/souk-market/souk/core/store"
	"github.com/souk-market/souk/sdk/abi"
)

// explain asks the admin API why somebody gets what he gets.
func explain(t testing.TB, s *coretest.Server, body map[string]any) *market.Explanation {
	t.Helper()
	var x market.Explanation
	if err := json.Unmarshal(s.Must(t, http.MethodPost, "/api/explain", body), &x); err != nil {
		t.Fatal(err)
	}
	return &x
}

func explained(item, installed string) []map[string]string {
	return []map[string]string{{"item": item, "installed": installed}}
}

// share opens a version of the app Notes to a share of people.
func share(t testing.TB, s *coretest.Server, version string, share uint32) {
	t.Helper()
	s.Must(t, http.MethodPut, "/api/apps/"+coretest.NotesItem+"/versions/"+version+"/rollout", map[string]any{"share": share, "salt": version})
}

// A device that is held is told by whom, and in which bucket it is.
func TestExplainHeld(t *testing.T) {
	t.Parallel()
	s := coretest.Start(t, quick)
	access := deviceOf(t, s, coretest.Alice).access
	bucket := abi.Bucket(coretest.Alice, coretest.NotesNew)
	share(t, s, coretest.NotesNew, bucket)
	updates(t, s, access, deviceOS, notesOld).gives(t, "the device", nil)

	body := map[string]any{"account": coretest.Alice, "os": deviceOS, "apps": explained(coretest.NotesItem, coretest.NotesOld)}
	x := explain(t, s, body)
	a := x.Apps[0]
	reason := fmt.Sprintf("bucket %d is not below %d", bucket, bucket)
	if a.Result != market.ResultHeld || !strings.Contains(a.Sentence, "held by rollout") || !strings.Contains(a.Sentence, reason) {
		t.Errorf("the app is %s: %q, want held by rollout: %s", a.Result, a.Sentence, reason)
	}
	if v := a.Versions[0]; v.Why != "" || v.Bucket == nil || *v.Bucket != bucket || v.Share != bucket || v.Salt != coretest.NotesNew || v.Open {
		t.Errorf("the newest version is %+v, want a candidate with bucket and share %d that is not open", v, bucket)
	}
	if v := a.Versions[1]; v.Why != "is installed" {
		t.Errorf("the installed version is %q, want that it is installed", v.Why)
	}
	want := []market.ExplainedAnswer{{Hook: "entitle", Plugin: "allowlist", Answer: "allow", Code: 1}, {Hook: "select_version", Plugin: "rollout", Answer: "hold", Code: 26}}
	for i, w := range want {
		got := a.Answers[i]
		if got.Reason == "" {
			t.Errorf("answer %d has no reason", i)
		}
		if got.Reason = ""; got != w {
			t.Errorf("answer %d is %+v, want %+v", i, got, w)
		}
	}
	for _, q := range x.Questions {
		if q.Fuel == 0 || q.Failure != "" {
			t.Errorf("%s was asked for %d units of fuel and failed with %q", q.Plugin, q.Fuel, q.Failure)
		}
	}

	share(t, s, coretest.NotesNew, bucket+1)
	updates(t, s, access, deviceOS, notesOld).gives(t, "the device, one bucket on", []app{notesNew})
	if a := explain(t, s, body).Apps[0]; a.Result != market.ResultOffered || fmt.Sprint(a.Version) != coretest.NotesNew || !a.Versions[0].Open {
		t.Errorf("one bucket on, the app is %s %d: %s", a.Result, a.Version, a.Sentence)
	}
}

// A device that is denied an app is told by whom and why.
func TestExplainDenied(t *testing.T) {
	t.Parallel()
	s := coretest.Start(t, quick)
	access := deviceOf(t, s, coretest.Bob).access
	plus := app{coretest.PlusItem, "1"}
	updates(t, s, access, deviceOS, plus).gives(t, "the device", nil)
	body := map[string]any{"account": coretest.Bob, "os": deviceOS, "apps": explained(coretest.PlusItem, "1")}
	a := explain(t, s, body).Apps[0]
	if a.Result != market.ResultDenied || a.Sentence != "denied by allowlist: holds none of sub:plus" {
		t.Errorf("the app is %s: %q, want denied by allowlist", a.Result, a.Sentence)
	}
	if len(a.Answers) != 1 || a.Answers[0].Answer != "deny" || a.Answers[0].Code != 5 {
		t.Errorf("the answers are %+v, want one denial", a.Answers)
	}
	s.Grant(t, coretest.Bob, coretest.PlusGrant)
	x := explain(t, s, body)
	if a := x.Apps[0]; a.Result != market.ResultOffered || a.Sentence != "offered version 2.0 (2000031) by rollout: open" {
		t.Errorf("with the grant the app is %s: %q, want offered", a.Result, a.Sentence)
	}
	if len(x.Grants) != 1 || x.Grants[0] != coretest.PlusGrant || x.EntitleDefault != market.DefaultDeny {
		t.Errorf("grants %v and default %s, want the grant, and deny", x.Grants, x.EntitleDefault)
	}
}

// A restore is never held: where a plugin says so, or fails, the choice is the
// market's own.
func TestExplainNamesWhoChose(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, purpose, words string
		spec                 plugin.Spec
	}{
		{"a plugin chooses", "restore", "offered version 1.4 (2000041) by policy, code 0", policySpec("policy", says(abi.Allow, 0, 1).wasm())},
		{"a plugin holds", "restore", "offered version 1.4 (2000041) by the market's own rule", policySpec("policy", says(abi.Allow, abi.Hold, 1).wasm())},
		{"a plugin holds an install", "install-token", "offered version 1.4 (2000041) by the market's own rule", policySpec("policy", says(abi.Allow, abi.Hold, 1).wasm())},
		{"a plugin holds an update", "update", "held by policy, code 0", policySpec("policy", says(abi.Allow, abi.Hold, 1).wasm())},
		{"a plugin abstains", "update", "offered version 1.4 (2000041) by the market's own rule", policySpec("policy", says(abi.Allow, abi.ChoicePass, 1).wasm())},
		{"a plugin fails", "restore", "offered version 1.4 (2000041) by the market's own rule", fails("deny")},
		{"a plugin fails amid an update", "update", "held by fails: the plugin failed", fails("deny")},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := coretest.Empty(t, with(test.spec))
			if _, err := s.Catalog.Put(t.Context(), coretest.Catalogue()[3]); err != nil {
				t.Fatal(err)
			}
			if a := explain(t, s, map[string]any{"purpose": test.purpose, "apps": explained(coretest.SkyItem, "1")}).Apps[0]; a.Sentence != test.words {
				t.Errorf("the app is %s: %q, want %q", a.Result, a.Sentence, test.words)
			}
		})
	}
}

// What stands in the way of a version is said in words.
func TestExplainVersions(t *testing.T) {
	t.Parallel()
	s := coretest.Start(t, quick)
	deviceOf(t, s, coretest.Alice)
	version := "/api/apps/" + coretest.NotesItem + "/versions/"
	ask := func(purpose, os, platform, installed string) market.ExplainedApp {
		return explain(t, s, map[string]any{
			"account": coretest.Alice, "purpose": purpose, "os": os, "platform": platform, "apps": explained(coretest.NotesItem, installed),
		}).Apps[0]
	}
	for _, test := range []struct {
		name                        string
		change                      func()
		purpose, os, platform, from string
		newest, oldest, result      string
	}{
		{"too new a system", nil, "update", "17.6.1", "ios", "1", "needs iOS 18.0, the device has 17.6.1", "", market.ResultOffered},
		{"on an iPad", nil, "update", "17.6.1", "ipados", "1", "needs iPadOS 18.0, the device has 17.6.1", "", market.ResultOffered},
		{"any system", nil, "update", "", "ios", coretest.NotesOld, "", "is installed", market.ResultOffered},
		{"not installed", nil, "update", "18.0", "ios", "", "the app is not installed, so there is nothing to update", "the app is not installed, so there is nothing to update", market.ResultNothing},
		{"something newer is installed", nil, "update", "18.0", "ios", "2999999", "is not newer than the installed 2999999", "is not newer than the installed 2999999", market.ResultNothing},
		{"halted", func() { s.Must(t, "PUT", version+coretest.NotesNew+"/rollout", map[string]bool{"halted": true}) },
			"update", "18.0", "ios", "1", "its rollout is halted", "", market.ResultOffered},
		{"halted, as an install", nil, "install-token", "18.0", "ios", coretest.NotesNew, "its rollout is halted", "", market.ResultOffered},
		{"halted, and a backup has it", nil, "restore", "18.0", "ios", coretest.NotesNew, "", "", market.ResultOffered},
		{"halted, and no backup has it", nil, "restore", "18.0", "ios", "", "its rollout is halted, and it was not asked for", "", market.ResultOffered},
		{"withdrawn", func() { s.Must(t, "PUT", version+coretest.NotesNew+"/withdrawn", map[string]bool{"withdrawn": true}) },
			"restore", "18.0", "ios", coretest.NotesNew, "was withdrawn", "", market.ResultOffered},
		{"taken down", func() {
			s.Must(t, "PUT", "/api/apps/"+coretest.NotesItem+"/takedown", map[string]string{"reason": "court order"})
		}, "restore", "18.0", "ios", "", "the app was taken down: court order", "the app was taken down: court order", market.ResultNothing},
	} {
		if test.change != nil {
			test.change()
		}
		a := ask(test.purpose, test.os, test.platform, test.from)
		if a.Versions[0].Why != test.newest || a.Versions[1].Why != test.oldest || a.Result != test.result {
			t.Errorf("%s: %q, %q, %s; want %q, %q, %s", test.name, a.Versions[0].Why, a.Versions[1].Why, a.Result, test.newest, test.oldest, test.result)
		}
	}
	for _, test := range []struct{ account, item, result string }{
		{"", coretest.NotesItem, market.ResultSignIn}, {"", coretest.SkyItem, market.ResultOffered}, {coretest.Alice, "99", market.ResultUnknown},
	} {
		a := explain(t, s, map[string]any{"account": test.account, "apps": explained(test.item, "1")}).Apps[0]
		if a.Result != test.result {
			t.Errorf("item %s for %q is %s: %s; want %s", test.item, test.account, a.Result, a.Sentence, test.result)
		}
	}
}

func TestExplainRefuses(t *testing.T) {
	t.Parallel()
	s := shared(t)
	for _, test := range []struct {
		name   string
		body   map[string]any
		status int
		words  string
	}{
		{"no app", map[string]any{}, 400, "apps: names 0 apps"},
		{"no item", map[string]any{"apps": explained("x", "")}, 400, "apps[0].item"},
		{"no version", map[string]any{"apps": explained("1", "1.0")}, 400, "apps[0].installed"},
		{"purpose", map[string]any{"purpose": "sign-in", "apps": explained("1", "")}, 400, "purpose"},
		{"platform", map[string]any{"platform": "macos", "apps": explained("1", "")}, 400, "platform"},
		{"system", map[string]any{"os": "new", "apps": explained("1", "")}, 400, "os"},
		{"territory", map[string]any{"territory": "at", "apps": explained("1", "")}, 400, "territory"},
		{"a territory of digits", map[string]any{"territory": "040", "apps": explained("1", "")}, 400, "territory"},
		{"client", map[string]any{"client": "a b", "apps": explained("1", "")}, 400, "client"},
		{"nobody's account", map[string]any{"account": "nobody@example.com", "apps": explained("1", "")}, 404, "account: nobody has signed in"},
		{"unknown key", map[string]any{"apps": explained("1", ""), "bucket": 7}, 400, "bucket"},
	} {
		status, reply := s.Operate(t, http.MethodPost, "/api/explain", test.body)
		if status != test.status || !strings.Contains(string(reply), test.words) {
			t.Errorf("%s: %d %s, want %d and %q", test.name, status, reply, test.status, test.words)
		}
	}
}

// writer is a guest whose account says what it writes to its kv, under the name
// of the client.
func writer(t *testing.T) plugin.Spec {
	t.Helper()
	wasm, err := os.ReadFile("../../sdk/conformance/c/guest.wasm")
	if err != nil {
		t.Fatal(err)
	}
	spec := plugin.DefaultSpec()
	spec.Name, spec.Wasm, spec.Hooks, spec.Hosts = "writer", wasm, []string{"entitle"}, []string{"localhost:9"}
	spec.Allow = []string{"log", "kv", "password", "crypto", "secret", "http", "metric"}
	spec.Deadline *= 50
	spec.StartDeadline *= 30
	return spec
}

// kept is all that a plugin has in its kv.
func kept(t *testing.T, s *coretest.Server, name string) string {
	t.Helper()
	kv, err := s.Store.PluginKV(name, store.KVQuota{Bytes: 1 << 20, Keys: 1000})
	if err != nil {
		t.Fatal(err)
	}
	list, err := kv.List(t.Context(), "", "", 100)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%q", list)
}

// An explanation sees what the plugin writes, and the store doesn't.
func TestExplainWritesNothing(t *testing.T) {
	t.Parallel()
	s := coretest.Start(t, func(c *core.Config) {
		quick(c)
		c.Plugin = append(c.Plugin, writer(t))
	})
	const client = "00112233445566778899aabbccddeeff"
	people := []string{"kv_put", "kv_add", "kv_swap", "kv_delete", "kv_get", "log"}
	for _, account := range people {
		s.Grant(t, account, "sub:plus")
	}
	before, plugins := kept(t, s, "writer"), s.Must(t, http.MethodGet, "/api/plugins", nil)
	logged := s.Log.String()
	for range 3 {
		for _, account := range people {
			x := explain(t, s, map[string]any{
				"account": account, "client": client, "purpose": "install-token", "apps": explained(coretest.SkyItem, ""),
			})
			a := x.Apps[0].Answers[1]
			want := map[string]string{"kv_put": "0 ", "kv_add": "0 -7", "kv_swap": "0", "kv_delete": "0", "kv_get": "-1 "}[account]
			if a.Plugin != "writer" || a.Answer != "allow" || strings.TrimSpace(a.Reason) != strings.TrimSpace(want) {
				t.Errorf("%s: %+v, want that the guest read %q", account, a, want)
			}
		}
	}
	if after := kept(t, s, "writer"); before != after || after != "[]" {
		t.Errorf("the kv was %s and is %s after explanations", before, after)
	}
	if after := s.Must(t, http.MethodGet, "/api/plugins", nil); string(after) != string(plugins) {
		t.Errorf("counters were %s and are %s after explanations", plugins, after)
	}
	if more := strings.TrimPrefix(s.Log.String(), logged); strings.Contains(more, "plugin log") || strings.Contains(more, "decision") {
		t.Errorf("explanations were logged: %s", more)
	}
}

// The devices of an account are counted as for the device that is meant.
func TestExplainCountsDevices(t *testing.T) {
	t.Parallel()
	s := limited(t, map[string]any{"per_item": 1})
	first, second := "device-1", "device-2"
	sky := app{coretest.SkyItem, coretest.SkyVersion}
	install(t, s, signedIn(t, s, coretest.Alice, first).access, sky).gives(t, "the first device", []app{skyApp})
	install(t, s, signedIn(t, s, coretest.Alice, second).access, sky).gives(t, "the second device", nil, sky)
	for _, test := range []struct{ client, result, words string }{
		{first, market.ResultOffered, "offered version 1.4"},
		{second, market.ResultDenied, "denied by quota: 1 other device"},
	} {
		client := (&oauth.Client{ID: test.client, Device: true}).Policy()
		x := explain(t, s, map[string]any{
			"account": coretest.Alice, "client": client, "purpose": "install-token", "os": deviceOS, "apps": explained(coretest.SkyItem, ""),
		})
		if a := x.Apps[0]; a.Result != test.result || !strings.HasPrefix(a.Sentence, test.words) || x.Client != client {
			t.Errorf("for %s the app is %s: %q, want %s: %s", test.client, a.Result, a.Sentence, test.result, test.words)
		}
	}
	if got := holding(t, s, coretest.Alice); got != coretest.SkyItem {
		t.Errorf("after explanations the devices hold %q, want the first one's app", got)
	}
}
