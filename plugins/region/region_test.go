//go:build !wasip1

package region_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/souk-market/souk/core/plugin"
	"github.com/souk-market/souk/core/unit"
	"github.com/souk-market/souk/plugins"
	"github.com/souk-market/souk/sdk/abi"
)

// compiled is a directory for the compiled module: many hosts are opened here.
var compiled string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "souk-region-")
	if err != nil {
		panic(err)
	}
	compiled = dir
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// open starts the plugin in the real host, with a configuration as JSON text.
func open(t testing.TB, config string) (*plugin.Host, error) {
	t.Helper()
	s := plugin.DefaultSpec()
	s.Name, s.Wasm = "region", plugins.Region
	s.Deadline, s.StartDeadline = unit.Duration(10*time.Second), unit.Duration(time.Minute) // -race, and a busy machine
	if err := json.Unmarshal([]byte(config), &s.Config); err != nil {
		t.Fatal(err)
	}
	h, err := plugin.Open(t.Context(), plugin.Options{Specs: []plugin.Spec{s}, Cache: compiled})
	if err == nil {
		t.Cleanup(func() { h.Close(context.WithoutCancel(t.Context())) })
	}
	return h, err
}

func opened(t testing.TB, config string) *plugin.Host {
	t.Helper()
	h, err := open(t, config)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// entitle puts a question to the plugin.
func entitle(t testing.TB, h *plugin.Host, head abi.Head, apps ...abi.EntitleApp) (decisions []abi.EntitleDecision) {
	t.Helper()
	call := h.Acquire()
	defer call.Release()
	call.Entitle.Head, call.Entitle.Apps = head, slices.Clone(apps)
	for _, d := range call.AskEntitle(t.Context()) {
		if d.Failed {
			t.Fatalf("the plugin fails on %+v and %+v", head, apps)
		}
		decisions = append(decisions, abi.EntitleDecision{Decision: d.Decision, Code: d.Code, Reason: strings.Clone(d.Reason)})
	}
	return decisions
}

// choose puts a question to the plugin.
func choose(t testing.TB, h *plugin.Host, head abi.Head, apps ...abi.SelectVersionApp) (choices []abi.VersionChoice) {
	t.Helper()
	call := h.Acquire()
	defer call.Release()
	if err := call.SelectVersion.Read((&abi.SelectVersionRequest{Head: head, Apps: apps}).Append(nil)); err != nil { // a copy: the call owns its lists
		t.Fatal(err)
	}
	for _, c := range call.AskSelectVersion(t.Context()) {
		if c.Failed {
			t.Fatalf("the plugin fails on %+v and %+v", head, apps)
		}
		choices = append(choices, abi.VersionChoice{Choice: c.Choice, Code: c.Code, Reason: strings.Clone(c.Reason)})
	}
	return choices
}

// The host keeps neither code nor reason of an abstention: nobody decided.

func decided(d abi.EntitleDecision) abi.EntitleDecision {
	if d.Decision == abi.DecisionPass {
		return abi.EntitleDecision{Decision: d.Decision}
	}
	return d
}

func chosen(c abi.VersionChoice) abi.VersionChoice {
	if c.Choice == abi.ChoicePass {
		return abi.VersionChoice{Choice: c.Choice}
	}
	return c
}

// device is somebody in Austria with an iPhone.
func device(purpose abi.Purpose) abi.Head {
	return abi.Head{Purpose: purpose, Platform: abi.PlatformIOS, OS: abi.OS(18, 4, 1), Territory: "AUT", Account: "alice", BucketKey: "alice"}
}

var notes = abi.EntitleApp{Item: 1000002, BundleID: "com.example.notes"}

func TestEntitle(t *testing.T) {
	const eu = `"allow_territories":["AUT","DEU"],"unknown_territory":"deny"`
	for i, test := range []struct {
		name   string
		rules  string
		who    func(*abi.Head)
		code   uint32
		reason string
	}{
		{"on the list", `{` + eu + `}`, nil, codePasses, "no rule refuses it"},
		{"not on the list", `{` + eu + `}`, func(h *abi.Head) { h.Territory = "USA" }, codeTerritory, "rule 1: the territory USA is not on the list"},
		{"on the list of those that are refused", `{"deny_territories":["AUT"],"unknown_territory":"allow"}`, nil, codeTerritory, "rule 1: the territory AUT is on the list"},
		{"not on the list of those that are refused", `{"deny_territories":["DEU"],"unknown_territory":"allow"}`, nil, codePasses, "no rule refuses it"},
		{"an unknown territory is refused", `{` + eu + `}`, func(h *abi.Head) { h.Territory = "" }, codeUnknown, "rule 1: the territory is not known"},
		{"an unknown territory is refused where some are", `{"deny_territories":["USA"],"unknown_territory":"deny"}`, func(h *abi.Head) { h.Territory = "" }, codeUnknown, "rule 1: the territory is not known"},
		{"an unknown territory passes", `{"allow_territories":["DEU"],"unknown_territory":"allow"}`, func(h *abi.Head) { h.Territory = "" }, codePasses, "no rule refuses it"},
		{"an unknown territory passes, and the system is looked at", `{"allow_territories":["DEU"],"unknown_territory":"allow","min_os":"19"}`, func(h *abi.Head) { h.Territory = "" }, codeOld, "rule 1: the system 18.4.1 is older than 19"},
		{"what no territory is", `{` + eu + `}`, func(h *abi.Head) { h.Territory = "aut" }, codeTerritory, "rule 1: the territory aut is not on the list"},
		{"the platform", `{"platforms":["ios"]}`, nil, codePasses, "no rule refuses it"},
		{"another platform", `{"platforms":["ipados"]}`, nil, codePlatform, "rule 1: not for iOS"},
		{"a platform that nobody knows", `{"platforms":["ios","ipados"]}`, func(h *abi.Head) { h.Platform = 77 }, codePlatform, "rule 1: not for platform 77"},
		{"no platform", `{"platforms":["ios","ipados"]}`, func(h *abi.Head) { h.Platform = 0 }, codePlatform, "rule 1: not for platform 0"},
		{"the lowest system", `{"min_os":"18.4.1"}`, nil, codePasses, "no rule refuses it"},
		{"a system too old", `{"min_os":"18.4.2"}`, nil, codeOld, "rule 1: the system 18.4.1 is older than 18.4.2"},
		{"the highest system", `{"max_os":"18.4"}`, nil, codePasses, "no rule refuses it"},
		{"a whole year of systems", `{"max_os":"18"}`, func(h *abi.Head) { h.OS = abi.OS(18, 9, 0) }, codePasses, "no rule refuses it"},
		{"a system too new", `{"max_os":"18.3"}`, func(h *abi.Head) { h.OS = abi.OS(18, 4, 0) }, codeNew, "rule 1: the system 18.4 is newer than 18.3"},
		{"a system that is not known", `{"min_os":"19","max_os":"20"}`, func(h *abi.Head) { h.OS = 0 }, codePasses, "no rule refuses it"},
		{"about the app, by its id", `{"items":["1000002"],"min_os":"19"}`, nil, codeOld, "rule 1: the system 18.4.1 is older than 19"},
		{"about the app, by its bundle id", `{"items":["com.example.notes"],"min_os":"19"}`, nil, codeOld, "rule 1: the system 18.4.1 is older than 19"},
		{"about another app", `{"items":["1000003","com.example.sky"],"min_os":"19"}`, nil, codePasses, "no rule refuses it"},
		{"about a version", `{"versions":["2000022"],"min_os":"19"}`, nil, codePasses, "no rule refuses it"},
		{"the first rule that refuses", `{"min_os":"18"},{"name":"Plus","items":["1000002"],"min_os":"19","code":700},{"min_os":"20"}`, nil, 700, "Plus: the system 18.4.1 is older than 19"},
		{"the first rule, if it is about all apps", `{"min_os":"20"},{"items":["1000002"],"min_os":"19"}`, nil, codeOld, "rule 1: the system 18.4.1 is older than 20"},
		{"only new ones, and it is new", `{"only_new":true,"min_os":"19"}`, nil, codeOld, "rule 1: the system 18.4.1 is older than 19"},
		{"only new ones, and it is restored", `{"only_new":true,"min_os":"19"}`, func(h *abi.Head) { h.Purpose = abi.PurposeRestore }, codePasses, "no rule refuses it"},
		{"an update", `{"min_os":"19"}`, func(h *abi.Head) { h.Purpose = abi.PurposeUpdate }, codeOld, "rule 1: the system 18.4.1 is older than 19"},
		{"who is exempt", `{` + eu + `}`, func(h *abi.Head) { h.Territory, h.Grants = "USA", []string{"a", "role:tester"} }, codeExempt, "holds role:tester"},
		{"who holds another grant", `{` + eu + `}`, func(h *abi.Head) { h.Territory, h.Grants = "USA", []string{"role:test"} }, codeTerritory, "rule 1: the territory USA is not on the list"},
	} {
		who := device(abi.PurposeInstallToken)
		if test.who != nil {
			test.who(&who)
		}
		passes, want := "allow", abi.EntitleDecision{Decision: abi.Allow, Code: test.code, Reason: test.reason}
		switch {
		case test.code >= codeTerritory:
			want.Decision = abi.Deny
		case i%2 == 0:
			passes, want.Decision = "abstain", abi.DecisionPass
		}
		h := opened(t, `{"rules":[`+test.rules+`],"exempt_grants":["role:tester"],"passes":"`+passes+`"}`)
		want = decided(want)
		if got := entitle(t, h, who, notes, notes); len(got) != 2 || got[0] != want || got[1] != want {
			t.Errorf("%s: %+v, want twice %+v", test.name, got, want)
		}
	}
}

func TestSelectVersion(t *testing.T) {
	const full = abi.Buckets
	h := opened(t, `{"unknown_territory":"deny","exempt_grants":["role:tester"],
		"rules":[{"versions":["3"],"allow_territories":["DEU"]},{"versions":["2"],"max_os":"17"},{"min_os":"19"}]}`)
	one, two, three := abi.Candidate{Version: 1, Rollout: full}, abi.Candidate{Version: 2, Rollout: full}, abi.Candidate{Version: 3, Rollout: full}
	with := func(c abi.Candidate, change func(*abi.Candidate)) abi.Candidate { change(&c); return c }
	halted := func(c *abi.Candidate) { c.Flags |= abi.FlagHalted }
	requested := func(c *abi.Candidate) { c.Flags |= abi.FlagRequested }
	closed := func(c *abi.Candidate) { c.Rollout = 0 }
	const why3, why2 = "rule 1: the territory AUT is not on the list", "rule 2: the system 18.4.1 is newer than 17"
	for _, test := range []struct {
		name       string
		who        func(*abi.Head)
		candidates []abi.Candidate
		update     abi.Choice
		restore    abi.Choice
		code       uint32 // where a version is chosen codeOther is meant
		reason     string
	}{
		{"no rule is about them", nil, []abi.Candidate{one}, abi.ChoicePass, abi.ChoicePass, codePasses, "no rule refuses a version"},
		{"no candidate", nil, nil, abi.ChoicePass, abi.ChoicePass, codePasses, "no rule refuses a version"},
		{"the rules hold", func(h *abi.Head) { h.Territory, h.OS = "DEU", abi.OS(17, 4, 0) }, []abi.Candidate{three, two, one}, abi.ChoicePass, abi.ChoicePass, codePasses, "no rule refuses a version"},
		{"the newest is refused", func(h *abi.Head) { h.OS = abi.OS(17, 4, 0) }, []abi.Candidate{three, two, one}, 1, 1, codeTerritory, why3},
		{"two are refused", nil, []abi.Candidate{three, two, one}, 2, 2, codeTerritory, why3},
		{"an older one is refused", func(h *abi.Head) { h.Territory = "DEU" }, []abi.Candidate{three, two, one}, 0, 0, codeNew, why2},
		{"all are refused", nil, []abi.Candidate{two, three}, abi.Hold, abi.Unavailable, codeNew, why2},
		{"the territory is not known", func(h *abi.Head) { h.Territory = "" }, []abi.Candidate{three}, abi.Hold, abi.Unavailable, codeUnknown, "rule 1: the territory is not known"},
		{"the other is not open", nil, []abi.Candidate{three, with(one, closed)}, abi.Hold, 1, codeTerritory, why3},
		{"the other is halted", nil, []abi.Candidate{three, with(one, halted)}, abi.Hold, 1, codeTerritory, why3},
		{"the other is of another channel", nil, []abi.Candidate{three, with(one, func(c *abi.Candidate) { c.Channel = "beta" })}, abi.Hold, 1, codeTerritory, why3},
		{"the requested one is refused", nil, []abi.Candidate{with(three, requested), one}, 1, 1, codeTerritory, why3},
		{"the requested one is not", nil, []abi.Candidate{three, one, with(with(one, halted), requested)}, 1, 2, codeTerritory, why3},
		{"who is exempt", func(h *abi.Head) { h.Grants = []string{"role:tester"} }, []abi.Candidate{three}, abi.ChoicePass, abi.ChoicePass, codeExempt, "holds role:tester"},
	} {
		for _, ask := range []struct {
			purpose abi.Purpose
			choice  abi.Choice
		}{{abi.PurposeUpdate, test.update}, {abi.PurposeRestore, test.restore}, {abi.PurposeInstallToken, test.restore}} {
			who := device(ask.purpose)
			if test.who != nil {
				test.who(&who)
			}
			want := abi.VersionChoice{Choice: ask.choice, Code: test.code, Reason: test.reason}
			if ask.choice >= 0 {
				want.Code, want.Reason = codeOther, "another version; "+test.reason
			}
			want = chosen(want)
			got := choose(t, h, who, abi.SelectVersionApp{Item: 7, Installed: 1, Candidates: test.candidates})
			if len(got) != 1 || got[0] != want {
				t.Errorf("%s, purpose %d: %+v, want %+v", test.name, ask.purpose, got, want)
			}
		}
	}
}

// some returns a few of the words.
func some(r *rand.Rand, words ...string) []string {
	var list []string
	for range 1 + r.IntN(3) {
		list = append(list, words[r.IntN(len(words))])
	}
	return list
}

// randomConfig is a configuration that is good.
func randomConfig(r *rand.Rand) string {
	config := map[string]any{"unknown_territory": []string{"deny", "allow"}[r.IntN(2)]}
	if r.IntN(2) == 0 {
		config["passes"] = []string{"allow", "abstain"}[r.IntN(2)]
	}
	if r.IntN(2) == 0 {
		config["exempt_grants"] = some(r, "a", "b", "ß")
	}
	var rules []map[string]any
	for range 1 + r.IntN(6) {
		u := map[string]any{}
		switch r.IntN(4) {
		case 0:
			u["versions"] = some(r, "1", "2", "3", "4", "9223372036854775807")
		case 1:
		default:
			u["items"] = some(r, "1", "2", "3", "com.example.a", "com.example.b", "bücher")
		}
		switch r.IntN(3) {
		case 0:
			u["allow_territories"] = some(r, "AUT", "DEU", "USA")
		case 1:
			u["deny_territories"] = some(r, "AUT", "DEU", "USA")
		}
		if (u["allow_territories"] != nil || u["deny_territories"] != nil) && r.IntN(3) == 0 {
			u["unknown_territory"] = []string{"deny", "allow"}[r.IntN(2)]
		}
		if r.IntN(3) == 0 {
			u["platforms"] = some(r, "ios", "ipados")[:1]
		}
		low := r.IntN(3)
		if low == 0 {
			u["min_os"] = some(r, "17", "17.4", "17.4.2", "18.0")[0]
		}
		if low == 1 || len(u) < 2 {
			u["max_os"] = some(r, "18", "18.3", "26.0.1")[0]
		}
		if r.IntN(4) == 0 {
			u["only_new"] = r.IntN(2) == 0
		}
		if r.IntN(3) == 0 {
			u["name"], u["code"] = some(r, "Plus", "Größe")[0], 100+r.IntN(65436)
		}
		if u["allow_territories"] == nil && u["deny_territories"] == nil && u["platforms"] == nil && u["min_os"] == nil && u["max_os"] == nil {
			u["min_os"] = "18"
		}
		rules = append(rules, u)
	}
	config["rules"] = rules
	b, err := json.Marshal(config)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// TestTheReferenceAgrees puts random requests to the plugin, under random
// configurations, and to the policy in Go: each answer has to be the same.
func TestTheReferenceAgrees(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	pick := func(s ...string) string { return s[r.IntN(len(s))] }
	seen := map[uint32]int{} // answers by code
	for range 40 {
		config := randomConfig(r)
		h, want := opened(t, config), reference(config)
		for range 100 {
			head := device(abi.Purpose(r.IntN(6)))
			head.Territory, head.Platform = pick("", "AUT", "DEU", "USA", "FRA"), abi.Platform(r.IntN(4))
			head.OS = []uint32{0, abi.OS(17, 4, 1), abi.OS(17, 4, 2), abi.OS(18, 0, 0), abi.OS(18, 3, 255), abi.OS(26, 1, 0), r.Uint32N(1 << 24)}[r.IntN(7)]
			head.BucketKey = pick("", "a", "bücher", strconv.Itoa(r.IntN(1000)))
			if r.IntN(4) == 0 {
				head.Grants = some(r, "a", "b", "c", "ß")
			}
			var apps []abi.EntitleApp
			var choices []abi.SelectVersionApp
			for range r.IntN(5) {
				id, bundle := r.Uint64N(5), pick("com.example.a", "com.example.b", "com.example.c", "bücher", "")
				apps = append(apps, abi.EntitleApp{Item: id, BundleID: bundle})
				app := abi.SelectVersionApp{Item: id, BundleID: bundle, Channel: pick("", "", "beta")}
				for range r.IntN(5) {
					app.Candidates = append(app.Candidates, abi.Candidate{
						Version: []uint64{r.Uint64N(6), 1<<63 - 1, r.Uint64()}[r.IntN(3)], Flags: abi.CandidateFlags(r.Uint32() & r.Uint32()),
						Rollout: []uint32{0, 1, 5000, 10_000, r.Uint32()}[r.IntN(5)], Salt: pick("", "1/2", "ß"), Channel: pick("", "", "beta"),
					})
				}
				choices = append(choices, app)
			}
			for i, got := range entitle(t, h, head, apps...) {
				want := want.entitle(&head, &apps[i])
				if seen[want.Code]++; got != decided(want) {
					t.Fatalf("with %s the plugin decides %+v, the reference %+v, of %+v and %+v", config, got, want, head, apps[i])
				}
			}
			for i, got := range choose(t, h, head, choices...) {
				want := want.choose(&head, &choices[i])
				if seen[want.Code]++; got != chosen(want) {
					t.Fatalf("with %s the plugin chooses %+v, the reference %+v, of %+v and %+v", config, got, want, head, choices[i])
				}
			}
		}
	}
	for _, code := range []uint32{codePasses, codeExempt, codeOther, codeTerritory, codeUnknown, codePlatform, codeOld, codeNew} {
		if seen[code] < 20 {
			t.Errorf("code %d was answered %d times: the requests are not random enough", code, seen[code])
		}
	}
}

func TestConfigureRefuses(t *testing.T) {
	in := func(rule string) string { return `{"rules":[{"min_os":"18"},{` + rule + `}]}` }
	long := strings.Repeat("x", 129)
	many := func(n int, entry string) string { return "[" + strings.Repeat(entry+",", n-1) + entry + "]" }
	for _, test := range []struct{ config, wrong string }{
		{`{}`, "rules: there are none: write at least one, or leave the plugin out"},
		{`{"rules":[]}`, "rules: there are none"},
		{`{"rules":{"min_os":"18"}}`, "rules: want a list of tables: write each as [[plugin.config.rules]]"},
		{`{"rules":["18"]}`, "rules[0]: want a table"},
		{`{"rules":` + many(65, `{"min_os":"18"}`) + `}`, "rules: there are more than 64"},
		{`{"rule":[]}`, "rule: there is no such key: there are rules, unknown_territory, exempt_grants and passes"},
		{`{"unknown_territory":"ask","rules":[{"min_os":"18"}]}`, `unknown_territory: want "deny" or "allow"`},
		{`{"unknown_territory":true,"rules":[{"min_os":"18"}]}`, `unknown_territory: want "deny" or "allow"`},
		{`{"passes":"deny","rules":[{"min_os":"18"}]}`, `passes: want "allow" or "abstain"`},
		{`{"exempt_grants":"role:tester","rules":[{"min_os":"18"}]}`, "exempt_grants: want a list of texts"},
		{`{"exempt_grants":[1],"rules":[{"min_os":"18"}]}`, "exempt_grants[0]: want a text"},
		{`{"exempt_grants":` + many(33, `"a"`) + `,"rules":[{"min_os":"18"}]}`, "exempt_grants: has more than 32 entries"},
		{in(`"allow_teritories":["AUT"]`), "rules[1].allow_teritories: there is no such key: a rule has name, items, versions, allow_territories, deny_territories,"},
		{in(`"min_os":"18","a\"b\u0000ü":1`), `rules[1].a"b\x00ü: there is no such key`}, // the host writes no NUL into an error
		{in(`"allow_territories":["AUT"]`), `rules[1].unknown_territory: say what happens where the territory is not known: "deny" or "allow", here or for all rules`},
		{in(`"deny_territories":["AUT"]`), `rules[1].unknown_territory: say what happens`},
		{in(`"allow_territories":["AUT"],"unknown_territory":""`), `rules[1].unknown_territory: want "deny" or "allow"`},
		{in(`"allow_territories":["AUT"],"deny_territories":["DEU"],"unknown_territory":"deny"`), "rules[1].deny_territories: there is another list of territories in the rule: use allow_territories or deny_territories"},
		{in(`"min_os":"18","unknown_territory":"deny"`), "rules[1].unknown_territory: the rule names no territories"},
		{in(`"allow_territories":[]`), "rules[1].allow_territories: the list is empty: name at least one, or leave the key out"},
		{in(`"allow_territories":"AUT"`), "rules[1].allow_territories: want a list of texts"},
		{in(`"allow_territories":["AUT","AT"]`), `rules[1].allow_territories[1]: "AT" is no territory: write three capital letters, like "AUT"`},
		{in(`"deny_territories":["aut"]`), `rules[1].deny_territories[0]: "aut" is no territory`},
		{in(`"deny_territories":["ÖST"]`), `rules[1].deny_territories[0]: "ÖST" is no territory`},
		{in(`"deny_territories":[""]`), "rules[1].deny_territories[0]: want 1 to 128 characters"},
		{in(`"deny_territories":[null]`), "rules[1].deny_territories[0]: want a text"},
		{in(`"deny_territories":` + many(257, `"AUT"`)), "rules[1].deny_territories: has more than 256 entries"},
		{in(`"items":["01000002"],"min_os":"18"`), `rules[1].items[0]: "01000002" is no appleItemId, and no bundle id begins with a digit`},
		{in(`"items":["1","7x"],"min_os":"18"`), `rules[1].items[1]: "7x" is no appleItemId`},
		{in(`"items":["0"],"min_os":"18"`), `rules[1].items[0]: "0" is no appleItemId`},
		{in(`"items":["18446744073709551616"],"min_os":"18"`), `rules[1].items[0]: "18446744073709551616" is no appleItemId`},
		{in(`"items":[1000002],"min_os":"18"`), "rules[1].items[0]: want a text"},
		{in(`"items":[],"min_os":"18"`), "rules[1].items: the list is empty"},
		{in(`"items":["` + long + `"],"min_os":"18"`), "rules[1].items[0]: want 1 to 128 characters"},
		{in(`"versions":["com.example.notes"],"min_os":"18"`), `rules[1].versions[0]: "com.example.notes" is no appleVersionId: write its digits`},
		{in(`"versions":["` + strings.Repeat("9", 60) + `"],"min_os":"18"`), `rules[1].versions[0]: "` + strings.Repeat("9", 40) + `…" is no appleVersionId`},
		{in(`"versions":["1"],"items":["1"],"min_os":"18"`), "rules[1].versions: a version is of one app: leave items out"},
		{in(`"platforms":["android"]`), `rules[1].platforms[0]: "android" is no platform: write "ios" or "ipados"`},
		{in(`"platforms":["iOS"]`), `rules[1].platforms[0]: "iOS" is no platform`},
		{in(`"platforms":"ios"`), "rules[1].platforms: want a list of texts"},
		{in(`"min_os":18`), `rules[1].min_os: want the version of a system as a text, like "18.0"`},
		{in(`"min_os":"18.x"`), "rules[1].min_os: want the version"},
		{in(`"min_os":"18."`), "rules[1].min_os: want the version"},
		{in(`"min_os":""`), "rules[1].min_os: want the version"},
		{in(`"min_os":"0"`), "rules[1].min_os: want the version"},
		{in(`"min_os":"256"`), "rules[1].min_os: want the version"},
		{in(`"max_os":"18.04"`), "rules[1].max_os: want the version"},
		{in(`"max_os":"1.2.3.4"`), "rules[1].max_os: want the version"},
		{in(`"min_os":"18.1","max_os":"18.0"`), `rules[1].max_os: "18.0" is below min_os "18.1"`},
		{in(`"only_new":1,"min_os":"18"`), "rules[1].only_new: want true or false"},
		{in(`"code":20,"min_os":"18"`), "rules[1].code: want a number from 100 to 65535: the plugin's own are below"},
		{in(`"code":65536,"min_os":"18"`), "rules[1].code: want a number from 100 to 65535"},
		{in(`"code":"700","min_os":"18"`), "rules[1].code: want a number from 100 to 65535"},
		{in(`"code":1e3,"min_os":"18"`), ""}, // Go writes 1000
		{in(`"name":"","min_os":"18"`), "rules[1].name: want a text of 1 to 64 characters"},
		{in(`"name":7,"min_os":"18"`), "rules[1].name: want a text of 1 to 64 characters"},
		{in(`"items":["1"],"only_new":true`), "rules[1]: refuses nothing: give it allow_territories, deny_territories, platforms, min_os or max_os"},
		{`{"rules":[{"items":` + many(256, `"1"`) + `,"min_os":"18"}],"x":` + many(16_384, "0") + `}`, "of the JSON text: there are more than 16384 values"},
		{`{"rules":[{"min_os":` + strings.Repeat("[", 70) + strings.Repeat("]", 70) + `}]}`, "of the JSON text: more than 64 lists and tables are within each other"},
	} {
		_, err := open(t, test.config)
		if test.wrong == "" && err != nil || test.wrong != "" && (err == nil || !strings.Contains(err.Error(), test.wrong)) {
			t.Errorf("with %.200s the plugin says %v, want %q", test.config, err, test.wrong)
		}
	}
}

// The largest configuration and the largest question stay far below the fuel that a
// plugin has.
func TestTheLargestQuestion(t *testing.T) {
	var rules []string
	for i := range 64 {
		var items []string
		for j := range 240 {
			items = append(items, fmt.Sprintf(`"com.example.some.rather.long.name.app%d"`, (i*240+j)%100))
		}
		rules = append(rules, `{"items":[`+strings.Join(items, ",")+`],"allow_territories":["AUT","DEU"],"min_os":"17.4","max_os":"27"}`)
	}
	h := opened(t, `{"unknown_territory":"deny","rules":[`+strings.Join(rules, ",")+`]}`)
	var apps []abi.EntitleApp
	for i := range 100 {
		apps = append(apps, abi.EntitleApp{Item: uint64(i), BundleID: fmt.Sprint("com.example.some.rather.long.name.app", i)})
	}
	for _, d := range entitle(t, h, device(abi.PurposeUpdate), apps...) {
		if d.Decision != abi.DecisionPass {
			t.Fatalf("an app is answered %+v, want that no rule refuses it", d)
		}
	}
	limit := uint64(plugin.DefaultSpec().Fuel)
	if fuel := h.Plugins()[0].Hooks[0].Fuel; fuel == 0 || fuel > limit/2 {
		t.Errorf("the question took %d of %d fuel", fuel, limit)
	}
}

// TestInAssemblyScript runs the tests that the policy has beside its language.
func TestInAssemblyScript(t *testing.T) {
	node, err := exec.LookPath("node")
	if err != nil {
		if os.Getenv("SOUK_CI") != "" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	if out, err := exec.Command(node, "--test", ".").CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

func BenchmarkEntitle(b *testing.B) {
	h := opened(b, `{"unknown_territory":"deny","rules":[{"items":["1000003"],"allow_territories":["AUT"]},{"min_os":"17.4"}]}`)
	call := h.Acquire()
	defer call.Release()
	call.Entitle.Head = device(abi.PurposeUpdate)
	for i := range uint64(5) {
		call.Entitle.Apps = append(call.Entitle.Apps, abi.EntitleApp{Item: 1000001 + i, BundleID: "com.example.app"})
	}
	b.ReportAllocs()
	for b.Loop() {
		call.AskEntitle(b.Context())
	}
}
