package coretest_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/souk-market/souk/core"
	"github.com/souk-market/souk/core/coretest"
	"github.com/souk-market/souk/core/plugin"
	"github.com/souk-market/souk/sdk/abi"
)

// beside puts a shadow of a shipped plugin, with another configuration, into a
// server's configuration.
func beside(name, insteadOf string, config map[string]any) func(*core.Config) {
	return func(c *core.Config) {
		quick(c)
		at := slices.IndexFunc(c.Plugin, func(s plugin.Spec) bool { return s.Name == insteadOf })
		s := c.Plugin[at]
		s.Name, s.Shadow, s.InsteadOf, s.Config = name, true, insteadOf, config
		c.Plugin = append(c.Plugin, s)
	}
}

// pluginInfo asks the admin API about a plugin until it is as it should be.
func pluginInfo(t testing.TB, s *coretest.Server, name string, until func(plugin.Info) bool) plugin.Info {
	t.Helper()
	for end := time.Now().Add(time.Minute); ; {
		var all struct{ Plugins []plugin.Info }
		if err := json.Unmarshal(s.Must(t, http.MethodGet, "/api/plugins", nil), &all); err != nil {
			t.Fatal(err)
		}
		at := slices.IndexFunc(all.Plugins, func(i plugin.Info) bool { return i.Name == name })
		if at < 0 {
			t.Fatalf("there is no plugin %s", name)
		}
		if until(all.Plugins[at]) {
			return all.Plugins[at]
		}
		if time.Now().After(end) {
			t.Fatalf("plugin %s stays %+v", name, all.Plugins[at].Shadow)
		}
		time.Sleep(5 * time.Millisecond) // between looks, not instead of them
	}
}

// crowdOf signs devices of so many people in; who is below a share is known from
// their buckets.
func crowdOf(t testing.TB, s *coretest.Server, n int) (people []string, access map[string]string) {
	t.Helper()
	access = map[string]string{}
	for i := range n {
		who := fmt.Sprintf("person-%d@example.com", i)
		people = append(people, who)
		access[who] = deviceOf(t, s, who).access
	}
	return people, access
}

// A policy that is to be changed is tried beside the one that decides: the
// devices that would lose their update are named, and lose nothing.
func TestShadowOfARollout(t *testing.T) {
	t.Parallel()
	s := coretest.Start(t, beside("rollout-next", "rollout", map[string]any{"while_held": "nothing"}))
	const half = abi.Buckets / 2
	share(t, s, coretest.NotesNew, half)
	people, access := crowdOf(t, s, 20)
	old := app{coretest.NotesItem, "1"}
	var losers []string
	for _, who := range people {
		want := notesNew
		if abi.Bucket(who, coretest.NotesNew) >= half {
			want = notesOld
			losers = append(losers, who)
		}
		updates(t, s, access[who], deviceOS, old).gives(t, who, []app{want})
	}
	if len(losers) == 0 || len(losers) == len(people) {
		t.Fatalf("%d of %d are not in the rollout: choose others", len(losers), len(people))
	}
	i := pluginInfo(t, s, "rollout-next", func(i plugin.Info) bool { return i.Shadow != nil && i.Shadow.Questions >= uint64(len(people)) })
	if i.Shadow.Agreed != uint64(len(people)-len(losers)) || i.Shadow.Differed != uint64(len(losers)) || i.Shadow.InsteadOf != "rollout" {
		t.Errorf("the shadow agrees %d and differs %d times, want %d and %d", i.Shadow.Agreed, i.Shadow.Differed, len(people)-len(losers), len(losers))
	}
	var named []string
	for _, d := range i.Shadow.Last {
		named = append(named, d.Key)
		if fmt.Sprint(d.Item) != coretest.NotesItem || d.Live.String() != "offer "+coretest.NotesOld || d.Shadow.String() != "hold" || d.Purpose != "update" {
			t.Errorf("a difference is %+v", d)
		}
	}
	slices.Sort(named)
	slices.Sort(losers)
	if !slices.Equal(named, losers) {
		t.Errorf("the shadow names %v, want %v", named, losers)
	}
	if c := i.Shadow.Changes; len(c) != 1 || c[0].Reason != "rollout-next: bucket # is not below #" || c[0].Count != uint64(len(losers)) {
		t.Errorf("the changes are %+v, want one about buckets", c)
	}
	if h := i.Hooks[0]; h.Calls != uint64(len(people)) || h.Fuel == 0 || h.Latency.Count != h.Calls {
		t.Errorf("what it cost is %+v", h)
	}
	m := scrape(t, s)
	m.is(t, float64(len(losers)), "souk_plugin_shadow_decisions_total", "plugin=rollout-next", "same=false")
	m.is(t, float64(len(people)-len(losers)), "souk_plugin_shadow_decisions_total", "plugin=rollout-next", "same=true")
	m.is(t, 0, "souk_plugin_shadow_missed_total", "plugin=rollout-next")
	m.is(t, float64(len(people)), "souk_plugin_calls_total", "plugin=rollout-next")
	// And why, for one of them.
	a := explain(t, s, map[string]any{"account": losers[0], "os": deviceOS, "apps": explained(coretest.NotesItem, "1")}).Apps[0]
	if len(a.Shadows) != 1 || !a.Shadows[0].Changes || a.Shadows[0].Outcome != "hold" || a.Shadows[0].Plugin != "rollout-next" {
		t.Errorf("the explanation has the shadows %+v", a.Shadows)
	}
}

// The same for who may have an app at all.
func TestShadowOfAnAllowlist(t *testing.T) {
	t.Parallel()
	s := coretest.Start(t, func(c *core.Config) {
		beside("stricter", "allowlist", map[string]any{
			"default": "allow", "items": map[string]any{coretest.SkyItem: map[string]any{"any_grant": []string{coretest.PlusGrant}}},
		})(c)
		c.Plugins.Record = "decisions.jsonl"
	})
	people, access := crowdOf(t, s, 4)
	s.Grant(t, people[0], coretest.PlusGrant)
	old := app{coretest.SkyItem, "1"}
	for _, who := range people {
		updates(t, s, access[who], deviceOS, old).gives(t, who, []app{skyApp})
	}
	i := pluginInfo(t, s, "stricter", func(i plugin.Info) bool { return i.Shadow != nil && i.Shadow.Questions >= 4 })
	if i.Shadow.Agreed != 1 || i.Shadow.Differed != 3 {
		t.Errorf("the shadow agrees %d and differs %d times, want 1 and 3", i.Shadow.Agreed, i.Shadow.Differed)
	}
	// What is recorded is what devices got.
	const questions = 2 * 4
	for end := time.Now().Add(time.Minute); scrape(t, s).find("souk_decisions_recorded_total", "outcome=recorded").GetCounter().GetValue() < questions; {
		if time.Now().After(end) {
			t.Fatal("the decisions are not recorded")
		}
		time.Sleep(5 * time.Millisecond) // between looks, not instead of them
	}
	text, err := os.ReadFile(filepath.Join(s.Dir, "decisions.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(text), `"result":"allow"`); n != 4 || strings.Contains(string(text), "stricter") || strings.Count(string(text), "\n") != 1+questions {
		t.Errorf("%d of 4 allowed apps are recorded, or the shadow is: %s", n, text)
	}
	if c := i.Shadow.Changes; len(c) != 1 || c[0].From != "allow" || c[0].To != "deny" || c[0].Reason != "stricter: holds none of sub:plus" {
		t.Errorf("the changes are %+v", c)
	}
}

// The first plugin that answers entitle is tried where none does yet: with it,
// what all abstain from would be denied.
func TestShadowOfTheFirstPlugin(t *testing.T) {
	t.Parallel()
	s := coretest.Start(t, func(c *core.Config) {
		beside("first", "allowlist", map[string]any{"default": "abstain"})(c)
		c.Plugin = slices.DeleteFunc(c.Plugin, func(s plugin.Spec) bool { return s.Name == "allowlist" })
		c.Plugin[len(c.Plugin)-1].InsteadOf = ""
	})
	access := deviceOf(t, s, coretest.Alice).access
	updates(t, s, access, deviceOS, app{coretest.SkyItem, "1"}).gives(t, "the device", []app{skyApp})
	i := pluginInfo(t, s, "first", func(i plugin.Info) bool { return i.Shadow.Questions > 0 })
	if c := i.Shadow.Changes; len(c) != 1 || c[0].From != "allow" || c[0].To != "deny" {
		t.Errorf("the changes are %+v, want that the default would deny", c)
	}
}

// A shadow sees what it writes, and the store doesn't.
func TestShadowWritesNothing(t *testing.T) {
	t.Parallel()
	s := coretest.Start(t, func(c *core.Config) {
		quick(c)
		shadow := writer(t)
		shadow.Shadow = true
		c.Plugin = append(c.Plugin, shadow)
	})
	people := []string{"kv_put", "kv_add", "kv_swap", "kv_delete", "log"}
	for _, who := range people {
		s.Grant(t, who, coretest.PlusGrant)
		access := deviceOf(t, s, who).access
		if a := ask(t, s, "/install-token", access, appsBody("iOS", deviceOS, app{coretest.SkyItem, coretest.SkyVersion})); a.status != 200 {
			t.Fatalf("install token for %s: %d %s", who, a.status, a.body)
		}
	}
	i := pluginInfo(t, s, "writer", func(i plugin.Info) bool { return i.Shadow.Questions >= uint64(len(people)) })
	if len(i.Hooks[0].Failures) > 0 || i.Shadow.Differed > 0 || len(i.Metrics) > 0 {
		t.Errorf("the shadow is %+v of %+v", i.Shadow, i)
	}
	if after := kept(t, s, "writer"); after != "[]" {
		t.Errorf("the kv is %s after a shadow's questions, want nothing", after)
	}
}

// A shadow has to hold its cases like any other: there it is asked in earnest.
func TestShadowHoldsItsCases(t *testing.T) {
	t.Parallel()
	config := coretest.Config(t.TempDir())
	beside("next", "rollout", nil)(&config)
	cases, err := filepath.Abs("../../plugins/rollout/cases.toml")
	if err != nil {
		t.Fatal(err)
	}
	next := &config.Plugin[len(config.Plugin)-1]
	next.Cases = cases
	if r, problems := core.Check(t.Context(), config); len(problems) > 0 || r.Plugins[3].Shadow == nil {
		t.Errorf("a shadow that holds its cases: %v", problems)
	}
	next.Config = map[string]any{"while_held": "nothing"}
	if _, problems := core.Check(t.Context(), config); len(problems) != 1 || !strings.Contains(problems[0].Error(), "plugin[3] next: "+cases+": case ") {
		t.Errorf("a shadow that doesn't: %v, want the first case that fails", problems)
	}
}
