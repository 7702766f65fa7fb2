package plugin_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/souk-market/souk/core/plugin"
	"github.com/souk-market/souk/core/unit"
	"github.com/souk-market/souk/sdk/abi"
)

// choosy is a guest that answers select_version always the same, for one app.
func choosy(c abi.Choice, reason string) []byte {
	g := newGuest()
	v := abi.SelectVersionVerdict{Items: []abi.VersionChoice{{Choice: c, Reason: reason}}}
	return g.hook("select_version", g.put(1024, v.Append(nil))).wasm()
}

// decisive is a guest that answers entitle always the same, for one app.
func decisive(d abi.Decision, reason string) []byte {
	g := newGuest()
	v := abi.EntitleVerdict{Items: []abi.EntitleDecision{{Decision: d, Reason: reason}}}
	return g.hook("entitle", g.put(1024, v.Append(nil))).wasm()
}

func shadow(name, insteadOf string, wasm []byte) plugin.Spec {
	s := spec(name, wasm)
	s.Shadow, s.InsteadOf = true, insteadOf
	return s
}

// device asks both questions of an update check for an account.
func device(t testing.TB, h *plugin.Host, account string) (abi.Decision, abi.Choice) {
	t.Helper()
	c := h.Acquire()
	defer c.Release()
	fillCall(c)
	c.Entitle.Account, c.Entitle.BucketKey = account, account
	c.SelectVersion.Account, c.SelectVersion.BucketKey = account, account
	return c.AskEntitle(t.Context())[0].Decision, c.AskSelectVersion(t.Context())[0].Choice
}

// info is what the operator sees of a plugin, when all is looked at.
func info(t testing.TB, h *plugin.Host, name string) plugin.Info {
	t.Helper()
	plugin.Looked(h)
	for _, i := range h.Plugins() {
		if i.Name == name {
			return i
		}
	}
	t.Fatalf("there is no plugin %s", name)
	return plugin.Info{}
}

// A shadow changes nothing and says what it would have changed.
func TestShadow(t *testing.T) {
	for _, test := range []struct {
		name       string
		live       []plugin.Spec
		shadow     plugin.Spec
		hook       string
		from, to   string
		reason     string // of the change; "" = it agrees
		wantChoice abi.Choice
		wantAllow  abi.Decision
	}{
		{"in the place of another", []plugin.Spec{spec("live", choosy(1, "open"))}, shadow("next", "live", choosy(abi.Hold, "bucket 71 is not below 50")),
			"select_version", "offer", "hold", "next: bucket # is not below #", 1, abi.DecisionPass},
		{"in the place of another, and agrees", []plugin.Spec{spec("live", choosy(1, "open"))}, shadow("next", "live", choosy(1, "other words")),
			"select_version", "", "", "", 1, abi.DecisionPass},
		{"behind one that decides", []plugin.Spec{spec("live", choosy(1, "open"))}, shadow("next", "", choosy(abi.Hold, "held")),
			"select_version", "", "", "", 1, abi.DecisionPass},
		{"another version", []plugin.Spec{spec("live", choosy(1, "open"))}, shadow("next", "live", choosy(0, "open")),
			"select_version", "offer", "offer", "next: open", 1, abi.DecisionPass},
		{"one more that denies", []plugin.Spec{spec("live", decisive(allow, "yes"))}, shadow("next", "", decisive(deny, "no")),
			"entitle", "allow", "deny", "next: no", abi.ChoicePass, allow},
		{"in the place of one that denied, so that the next decides", []plugin.Spec{spec("live", decisive(deny, "no")), spec("second", decisive(allow, "yes"))},
			shadow("next", "live", decisive(abi.DecisionPass, "")), "entitle", "deny", "allow", "second: yes", abi.ChoicePass, deny},
		{"alone", nil, shadow("next", "", decisive(deny, "no")), "entitle", "open", "deny", "next: no", abi.ChoicePass, abi.DecisionPass},
		{"that fails", []plugin.Spec{spec("live", decisive(allow, "yes"))}, shadow("next", "live", newGuest().hook("entitle", "unreachable").wasm()),
			"entitle", "allow", "deny", "next: the plugin failed", abi.ChoicePass, allow},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := openSpecs(t, append(test.live, test.shadow)...)
			const n = 7
			for i := range n {
				d, c := device(t, h, fmt.Sprintf("person-%d", i))
				if d != test.wantAllow || c != test.wantChoice {
					t.Fatalf("the device got %v and %v, want %v and %v", d, c, test.wantAllow, test.wantChoice)
				}
			}
			i := info(t, h, "next")
			s := i.Shadow
			if s == nil || s.Questions != n || s.Agreed+s.Differed != n || s.Missed != 0 {
				t.Fatalf("the shadow is %+v, want %d questions", s, n)
			}
			if hook := i.Hooks[0]; hook.Hook != test.hook || hook.Calls != n || hook.Fuel == 0 || hook.Latency.Count != n {
				t.Errorf("the shadow's hook is %+v, want its fuel and time in %d calls", hook, n)
			}
			if test.reason == "" {
				if s.Differed != 0 || len(s.Changes) > 0 || len(s.Last) > 0 {
					t.Errorf("the shadow is %+v, want that it agrees", s)
				}
				return
			}
			want := plugin.Change{Hook: test.hook, From: test.from, To: test.to, Reason: test.reason, Count: n}
			if len(s.Changes) != 1 || s.Changes[0] != want {
				t.Errorf("the changes are %+v, want %+v", s.Changes, want)
			}
			if len(s.Last) != n {
				t.Fatalf("the last differences are %d, want %d", len(s.Last), n)
			}
			d := s.Last[0]
			if d.Key != fmt.Sprintf("person-%d", n-1) || d.Item != 1000001 || d.Purpose != "update" || d.Client != "device" || d.At.IsZero() || d.Live.Result != test.from || d.Shadow.Result != test.to {
				t.Errorf("the last difference is %+v", d)
			}
		})
	}
}

// A shadow is seen by the host alone: no question of a request waits for it, and
// it writes nothing.
func TestShadowLeavesNoTrace(t *testing.T) {
	next := shadow("next", "live", restless())
	live := spec("live", restless())
	next.Allow, live.Allow = []string{"kv", "log", "metric"}, []string{"kv", "log", "metric"}
	kv, j := &store{}, &journal{}
	h := open(t, plugin.Options{Specs: []plugin.Spec{live, next}, KV: kv.open, Log: j.logger()})
	for i := range 5 {
		if e := entitle(t, h, 1, abi.Head{Purpose: abi.PurposeInstallToken})[0]; e.Code != uint32(2*i+2) {
			t.Errorf("question %d: the counter came to %d, want %d", i, e.Code, 2*i+2)
		}
		plugin.Looked(h)
	}
	i := info(t, h, "next")
	if i.Shadow.Questions != 5 || i.Shadow.Differed != 0 || len(i.Metrics) > 0 || i.Hooks[0].Calls != 5 {
		t.Errorf("the shadow is %+v of %+v", i.Shadow, i)
	}
	if n := strings.Count(j.String(), "text=value"); n != 5 {
		t.Errorf("the log has %d lines, want the 5 of the plugin in earnest", n)
	}
	if got := kv.values["counter"][0]; got != 10 {
		t.Errorf("the counter is %d, want the 10 of the plugin in earnest", got)
	}
}

// A shadow that fails again and again is left alone for a while, and what is
// asked in earnest doesn't notice.
func TestShadowBreaker(t *testing.T) {
	next := shadow("next", "", newGuest().hook("entitle", "unreachable").wasm())
	next.Breaker = 3
	h := openSpecs(t, spec("live", decisive(allow, "yes")), next)
	for range 10 {
		entitle(t, h, 1, abi.Head{})
		plugin.Looked(h)
	}
	i := info(t, h, "next")
	if got, want := i.Hooks[0].Failures, map[string]uint64{"trap": 3, "breaker open": 7}; !maps.Equal(got, want) || i.Hooks[0].Breaker.State != "open" {
		t.Errorf("the shadow's failures are %v, %s; want %v", got, i.Hooks[0].Breaker.State, want)
	}
	if f := failuresOf(h, "live", "entitle"); len(f) > 0 {
		t.Errorf("the plugin in earnest has failures: %v", f)
	}
}

// A share of the devices is asked about, and always the same.
func TestShadowShare(t *testing.T) {
	h := open(t, plugin.Options{
		Specs:       []plugin.Spec{spec("live", decisive(allow, "yes")), shadow("next", "", decisive(deny, "no"))},
		ShadowShare: 2500,
	})
	const n, times = 40, 3
	seen := map[string]int{}
	for i := range n * times {
		account := fmt.Sprintf("person-%d", i%n)
		before := info(t, h, "next").Shadow.Differed
		device(t, h, account)
		if s := info(t, h, "next").Shadow; s.Differed > before {
			seen[s.Last[0].Key]++
		}
	}
	if len(seen) < 3 || len(seen) > 20 {
		t.Errorf("the shadow was asked about %d devices of %d, want about a quarter", len(seen), n)
	}
	for account, k := range seen {
		if k != times {
			t.Errorf("the shadow was asked %d times about %s, want %d", k, account, times)
		}
	}
}

// What is kept of differences is bounded.
func TestShadowKeepsFew(t *testing.T) {
	g := newGuest()
	v := abi.EntitleVerdict{Items: []abi.EntitleDecision{{Decision: deny, Reason: strings.Repeat("x", 40)}}}
	code := g.put(1024, v.Append(nil)) // the reason becomes the account
	at := 1024 + abi.SizeEntitleVerdict + abi.SizeEntitleDecision
	g.hook("entitle", fmt.Sprintf("i32.const %d i32.const %d i32.load i32.const %d i32.add i32.const 40 memory.copy %s", at, bufferAt+32, bufferAt, code))
	h := openSpecs(t, spec("live", decisive(allow, "yes")), shadow("next", "", g.wasm()))
	for i := range 100 {
		account := strings.Repeat(string(rune('a'+i/26)), 20) + strings.Repeat(string(rune('a'+i%26)), 20)
		device(t, h, account)
		plugin.Looked(h)
	}
	s := info(t, h, "next").Shadow
	if len(s.Changes) != 65 || s.Changes[0].Reason != "other reasons" || s.Changes[0].Count != 36 || len(s.Last) != 50 || s.Differed != 100 {
		t.Errorf("of 100 differences %d changes (%+v) and %d last ones are kept, want 65 and 50", len(s.Changes), s.Changes[0], len(s.Last))
	}
}

// Shadows come, change and go while devices ask; nothing of it holds up a swap or
// the end.
func TestShadowIsSwapped(t *testing.T) {
	live := spec("live", marked("live"))
	h := openSpecs(t, live)
	c := newCrowd(h, 4)
	reload := func(specs ...plugin.Spec) {
		t.Helper()
		if _, err := h.Reload(t.Context(), specs, nil); err != nil {
			t.Fatal(err)
		}
	}
	for range 5 {
		reload(live, shadow("next", "live", decisive(deny, "one")))
		swap(t, h, "next", decisive(deny, "two"))
		if _, err := h.Return(t.Context(), "next", ""); err != nil {
			t.Fatal(err)
		}
		reload(live, shadow("next", "", decisive(deny, "three")))
		reload(live)
	}
	reload(live, shadow("next", "live", decisive(deny, "one")))
	c.end(t)
	plugin.Looked(h)
	device(t, h, "alice")
	swap(t, h, "next", decisive(allow, "two"))
	before := info(t, h, "next")
	device(t, h, "alice")
	after := info(t, h, "next")
	if before.Shadow.Questions != 0 || after.Shadow.Questions != 1 || after.Shadow.Agreed != 1 {
		t.Errorf("after a swap the shadow is %+v and then %+v, want that it counts anew", before.Shadow, after.Shadow)
	}
	device(t, h, "alice")
	if _, err := h.Return(t.Context(), "next", ""); err != nil {
		t.Fatal(err)
	}
	if s := info(t, h, "next").Shadow; s.Questions != 0 || len(s.Changes) > 0 || len(s.Last) > 0 {
		t.Errorf("after a return the shadow is %+v, want that it counts anew", s)
	}
	plugin.Settle(h)
	if n := plugin.Held(h); n != 0 {
		t.Errorf("%d still hold on to the set", n)
	}
	if err := h.Close(context.Background()); err != nil {
		t.Errorf("Close: %v", err)
	}
}

// The end waits for nobody who leaves something meanwhile.
func TestShadowCloses(t *testing.T) {
	for range 20 {
		h, err := plugin.Open(t.Context(), plugin.Options{Specs: []plugin.Spec{spec("live", marked("a")), shadow("next", "live", marked("b"))}})
		if err != nil {
			t.Fatal(err)
		}
		c := newCrowd(h, 4)
		for c.checks.Load() < 50 {
			plugin.Looked(h)
		}
		if err := h.Close(context.Background()); err != nil {
			t.Errorf("Close: %v", err)
		}
		c.stop.Store(true)
		c.wg.Wait()
		if err := h.Close(context.Background()); err != nil {
			t.Errorf("Close again: %v", err)
		}
	}
}

func TestShadowRefused(t *testing.T) {
	for _, test := range []struct {
		name  string
		specs []plugin.Spec
		words string
	}{
		{"a module that only signs in", []plugin.Spec{shadow("s", "", constant("sign_in", nil))}, "a shadow is asked entitle and select_version only, and the module exports sign_in"},
		{"instead of nobody", []plugin.Spec{shadow("s", "other", marked("a"))}, `plugin[0].instead_of: there is no plugin "other"`},
		{"instead of a shadow", []plugin.Spec{shadow("s", "", marked("a")), shadow("r", "s", marked("a"))}, `plugin[1].instead_of: "s" is a shadow too`},
		{"instead of itself", []plugin.Spec{shadow("s", "s", marked("a"))}, `"s" is a shadow too`},
	} {
		_, err := plugin.Open(t.Context(), plugin.Options{Specs: test.specs})
		if err == nil || !strings.Contains(err.Error(), test.words) {
			t.Errorf("%s: %v, want %q", test.name, err, test.words)
		}
	}
	s := shadow("s", "", marked("a"))
	s.Hooks = []string{"entitle", "exchange"}
	if err := s.Validate("plugin[0]"); err == nil || !strings.HasPrefix(err.Error(), "plugin[0].hooks: a shadow is never asked exchange") {
		t.Errorf("Validate = %v, want that exchange has no shadow", err)
	}
}

// What a module exports besides isn't asked of a shadow, and it is no answer to
// whether anybody is asked.
func TestShadowIsNoPlugin(t *testing.T) {
	g := newGuest()
	e := g.put(1024, decisions(deny))
	g.hook("entitle", e).hook("sign_in", "unreachable")
	h := openSpecs(t, shadow("s", "", g.wasm()))
	if h.Has(abi.HookEntitle) || h.Has(abi.HookSignIn) {
		t.Error("a host with a shadow alone has plugins that are asked")
	}
	c := h.Acquire()
	if !c.Asks(abi.HookEntitle) || c.Asks(abi.HookSelectVersion) {
		t.Error("a Call asks what no shadow answers, or not what one does")
	}
	c.Release()
	var hooks []string
	for _, i := range info(t, h, "s").Hooks {
		hooks = append(hooks, i.Hook)
	}
	if !slices.Equal(hooks, []string{"entitle"}) {
		t.Errorf("the shadow is asked %v, want entitle", hooks)
	}
}

// A dry question says what a shadow would change.
func TestDryAsksShadows(t *testing.T) {
	h := openSpecs(t, spec("live", decisive(allow, "yes")), shadow("next", "live", decisive(deny, "no")))
	d, e := dryEntitle(t, h, abi.Head{})
	s := d.Inquiries[0].Shadows
	if e.Decision != allow || len(s) != 1 || s[0].Plugin != "next" || s[0].Fuel == 0 || s[0].Outcomes[0].Result != plugin.ResultDeny || d.Inquiries[0].Outcomes[0].Result != plugin.ResultAllow {
		t.Errorf("dry: %+v and shadows %+v", e, s)
	}
	if i := info(t, h, "next"); i.Shadow.Questions != 0 || i.Hooks[0].Calls != 0 {
		t.Errorf("a dry question was counted: %+v", i)
	}
}

// reader is a shadow that waits for its kv as long as the store wants.
func reader(kv *store) plugin.Spec {
	g := newGuest()
	g.imported("souk", "kv_get", "iiii", "i")
	g.data = append(g.data, segment{16, []byte("key")})
	s := shadow("next", "", g.hook("entitle", "i32.const 16 i32.const 3 i32.const 32 i32.const 8 call kv_get drop "+g.put(1024, decisions(deny))).wasm())
	s.Allow, s.HostDeadline = []string{"kv"}, unit.Duration(time.Minute)
	kv.waiting, kv.release = make(chan struct{}, 1000), make(chan struct{})
	return s
}

// A shadow that is slow holds nobody up: what comes too fast isn't looked at, and
// is counted.
func TestShadowIsLate(t *testing.T) {
	kv := &store{}
	h := open(t, plugin.Options{Specs: []plugin.Spec{spec("live", decisive(allow, "yes")), reader(kv)}, KV: kv.open})
	ask := func(n int) {
		for range n {
			if e := entitle(t, h, 1, abi.Head{})[0]; e.Decision != allow {
				t.Fatalf("answered %+v while the shadow is late", e)
			}
		}
	}
	ask(1)
	<-kv.waiting // the worker has it
	const more = 44
	ask(plugin.MaxJobs + more)
	close(kv.release)
	if s := info(t, h, "next").Shadow; s.Missed != more || s.Questions != 1+plugin.MaxJobs || s.Differed != s.Questions {
		t.Errorf("the shadow is %+v, want %d questions and %d missed", s, 1+plugin.MaxJobs, more)
	}
	if n := plugin.Held(h); n != 0 {
		t.Errorf("%d still hold on to the set", n)
	}
}

// Nor does it hold up a swap of what it is beside, or the end.
func TestShadowEndsInTheMiddle(t *testing.T) {
	kv := &store{}
	h, err := plugin.Open(t.Context(), plugin.Options{Specs: []plugin.Spec{spec("live", decisive(allow, "yes")), reader(kv)}, KV: kv.open})
	if err != nil {
		t.Fatal(err)
	}
	for range 10 {
		entitle(t, h, 1, abi.Head{})
	}
	<-kv.waiting
	swap(t, h, "live", decisive(deny, "no"))
	if e := entitle(t, h, 1, abi.Head{})[0]; e.Decision != deny {
		t.Errorf("after a swap: %+v", e)
	}
	if err := h.Close(context.Background()); err != nil {
		t.Errorf("Close: %v", err)
	}
}
