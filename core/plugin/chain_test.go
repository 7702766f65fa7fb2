package plugin_test

import (
	"errors"
	"testing"

	"github.com/souk-market/souk/core/plugin"
	"github.com/souk-market/souk/sdk/abi"
)

const (
	allow   = abi.Allow
	deny    = abi.Deny
	pass    = abi.DecisionPass
	hold    = abi.Hold
	skip    = abi.ChoicePass
	missing = abi.Unavailable
)

// policy is a plugin with a constant verdict; nil abstains, "trap" traps.
func policy(name, hook string, verdict []byte, onError string) plugin.Spec {
	var s plugin.Spec
	switch {
	case verdict == nil:
		s = spec(name, newGuest().hook(hook, "i64.const 0").wasm())
	case string(verdict) == "trap":
		s = spec(name, newGuest().hook(hook, "unreachable").wasm())
	default:
		s = spec(name, constant(hook, verdict))
	}
	if onError != "" {
		s.OnError = onError
	}
	return s
}

func TestEntitleChain(t *testing.T) {
	trap := []byte("trap")
	type want struct {
		decision abi.Decision
		plugin   string
		failed   bool
	}
	for _, c := range []struct {
		rule  string
		specs []plugin.Spec
		want  []want // an app each
	}{
		{"no plugin: the market's default", nil, []want{{pass, "", false}}},
		{"one decides, app by app", []plugin.Spec{policy("a", "entitle", decisions(allow, deny, pass), "")},
			[]want{{allow, "a", false}, {deny, "a", false}, {pass, "", false}}},
		{"all abstain", []plugin.Spec{policy("a", "entitle", nil, ""), policy("b", "entitle", decisions(pass), "")}, []want{{pass, "", false}}},
		{"the first denial wins", []plugin.Spec{
			policy("a", "entitle", decisions(allow, deny, pass), ""), policy("b", "entitle", decisions(deny, allow, deny), ""),
			policy("c", "entitle", decisions(deny, deny, deny), "")},
			[]want{{deny, "b", false}, {deny, "a", false}, {deny, "b", false}}},
		{"the first allowance is named", []plugin.Spec{
			policy("a", "entitle", nil, ""), policy("b", "entitle", decisions(allow), ""), policy("c", "entitle", decisions(allow), "")},
			[]want{{allow, "b", false}}},
		{"a failure denies", []plugin.Spec{policy("a", "entitle", decisions(allow), ""), policy("b", "entitle", trap, "deny")}, []want{{deny, "b", true}}},
		{"a failure after a denial changes nothing", []plugin.Spec{policy("a", "entitle", decisions(deny), ""), policy("b", "entitle", trap, "deny")},
			[]want{{deny, "a", false}}},
		{"a failure may allow", []plugin.Spec{policy("a", "entitle", trap, "allow")}, []want{{allow, "a", true}}},
		{"a later denial wins over a failure that allows", []plugin.Spec{policy("a", "entitle", trap, "allow"), policy("b", "entitle", decisions(deny), "")},
			[]want{{deny, "b", false}}},
		{"a failure may abstain", []plugin.Spec{policy("a", "entitle", trap, "abstain"), policy("b", "entitle", decisions(allow), "")}, []want{{allow, "b", false}}},
		{"a failure that abstains alone leaves the default", []plugin.Spec{policy("a", "entitle", trap, "abstain")}, []want{{pass, "", false}}},
	} {
		t.Run(c.rule, func(t *testing.T) {
			got := entitle(t, openSpecs(t, c.specs...), len(c.want), abi.Head{})
			for i, g := range got {
				if w := c.want[i]; g.Decision != w.decision || g.Plugin != w.plugin || g.Failed != w.failed {
					t.Errorf("app %d: %+v, want %+v", i, g, w)
				}
				if !g.Failed && g.Plugin != "" && (g.Code != 7 || g.Reason != "because") {
					t.Errorf("app %d: code %d and reason %q, want the plugin's", i, g.Code, g.Reason)
				}
			}
		})
	}
}

func TestEntitleStopsWhenAllIsDenied(t *testing.T) {
	h := openSpecs(t, policy("a", "entitle", decisions(deny, deny), ""), policy("b", "entitle", decisions(allow, allow), ""))
	entitle(t, h, 2, abi.Head{})
	if calls := h.Plugins()[1].Hooks[0].Calls; calls != 0 {
		t.Errorf("the second plugin was asked %d times, want 0", calls)
	}
}

func TestSelectVersionChain(t *testing.T) {
	trap := []byte("trap")
	type want struct {
		choice abi.Choice
		plugin string
		failed bool
	}
	for _, c := range []struct {
		rule  string
		specs []plugin.Spec
		want  []want // an app each, with 2 candidates
	}{
		{"no plugin: the market's default", nil, []want{{skip, "", false}}},
		{"one decides, app by app", []plugin.Spec{policy("a", "select_version", choices(0, 1, hold, missing, skip), "")},
			[]want{{0, "a", false}, {1, "a", false}, {hold, "a", false}, {missing, "a", false}, {skip, "", false}}},
		{"the first that doesn't abstain decides", []plugin.Spec{
			policy("a", "select_version", nil, ""), policy("b", "select_version", choices(skip, hold), ""), policy("c", "select_version", choices(1, 1), "")},
			[]want{{1, "c", false}, {hold, "b", false}}},
		{"a failure holds", []plugin.Spec{policy("a", "select_version", trap, ""), policy("b", "select_version", choices(1), "")}, []want{{hold, "a", true}}},
		{"a failure holds only what is open", []plugin.Spec{policy("a", "select_version", choices(1, skip), ""), policy("b", "select_version", trap, "")},
			[]want{{1, "a", false}, {hold, "b", true}}},
		{"a failure may abstain", []plugin.Spec{policy("a", "select_version", trap, "abstain"), policy("b", "select_version", choices(1), "")}, []want{{1, "b", false}}},
	} {
		t.Run(c.rule, func(t *testing.T) {
			candidates := make([]int, len(c.want))
			for i := range candidates {
				candidates[i] = 2
			}
			for i, g := range selectVersion(t, openSpecs(t, c.specs...), candidates...) {
				if w := c.want[i]; g.Choice != w.choice || g.Plugin != w.plugin || g.Failed != w.failed {
					t.Errorf("app %d: %+v, want %+v", i, g, w)
				}
			}
		})
	}
}

func TestSelectVersionAsksNobodyElse(t *testing.T) {
	h := openSpecs(t, policy("a", "select_version", choices(0, hold), ""), policy("b", "select_version", choices(0, 0), ""))
	selectVersion(t, h, 1, 1)
	if calls := h.Plugins()[1].Hooks[0].Calls; calls != 0 {
		t.Errorf("the second plugin was asked %d times, want 0", calls)
	}
	if got := selectVersion(t, h); len(got) != 0 || h.Plugins()[0].Hooks[0].Calls != 1 {
		t.Errorf("no apps: %v and %d calls, want none and the 1 from before", got, h.Plugins()[0].Hooks[0].Calls)
	}
}

func page(title string) []byte {
	v := abi.SignInVerdict{Items: []abi.SignInAnswer{{Outcome: abi.SignInPage, Title: title, State: "s",
		Fields: []abi.FormField{{Name: "email", Kind: "email"}}}}}
	return v.Append(nil)
}

func TestSignInChain(t *testing.T) {
	abstains := abi.SignInVerdict{Items: []abi.SignInAnswer{{Outcome: abi.SignInPass}}}
	a, b, c := policy("a", "sign_in", nil, ""), policy("b", "sign_in", abstains.Append(nil), ""), policy("c", "sign_in", page("c"), "")
	d, trap := policy("d", "sign_in", page("d"), ""), policy("trap", "sign_in", []byte("trap"), "")
	for _, tt := range []struct {
		rule   string
		specs  []plugin.Spec
		owner  string
		title  string
		plugin string
		err    error
	}{
		{"the first that doesn't abstain owns it", []plugin.Spec{a, b, c, d}, "", "c", "c", nil},
		{"the owner alone is asked", []plugin.Spec{trap, c, d}, "d", "d", "d", nil},
		{"an owner that abstains has nobody after it", []plugin.Spec{a, c}, "a", "", "", plugin.ErrAbstained},
		{"an owner that is gone", []plugin.Spec{c}, "z", "", "z", plugin.ErrFailed},
		{"all abstain", []plugin.Spec{a, b}, "", "", "", plugin.ErrAbstained},
		{"nobody is there", nil, "", "", "", plugin.ErrAbstained},
		{"a failure is not passed on", []plugin.Spec{trap, c}, "", "", "trap", plugin.ErrFailed},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			c := openSpecs(t, tt.specs...).Acquire()
			defer c.Release()
			c.Random = [32]byte{1}
			answer, name, err := c.AskSignIn(t.Context(), tt.owner)
			if left := plugin.LeftOf(c); left != nil {
				t.Errorf("it is answered, and what a person typed is still known to %v", left)
			}
			if !errors.Is(err, tt.err) || name != tt.plugin {
				t.Errorf("AskSignIn answers as %q with %v, want %q with %v", name, err, tt.plugin, tt.err)
			}
			if tt.title != "" && (answer == nil || answer.Title != tt.title || len(answer.Fields) != 1) {
				t.Errorf("AskSignIn = %+v, want the page of %s", answer, tt.title)
			}
		})
	}
}

func TestExchangeChain(t *testing.T) {
	verdict := func(o abi.ExchangeOutcome) []byte {
		v := abi.ExchangeVerdict{Items: []abi.ExchangeAnswer{{Outcome: o, Account: "x"}}}
		return v.Append(nil)
	}
	for _, tt := range []struct {
		rule   string
		specs  []plugin.Spec
		plugin string
		want   abi.ExchangeOutcome
		err    error
	}{
		{"the first that doesn't abstain", []plugin.Spec{policy("a", "exchange", verdict(0), ""), policy("b", "exchange", verdict(1), "")}, "b", 1, nil},
		{"a refusal is final", []plugin.Spec{policy("a", "exchange", verdict(2), ""), policy("b", "exchange", verdict(1), "")}, "a", 2, nil},
		{"a failure is final", []plugin.Spec{policy("a", "exchange", []byte("trap"), ""), policy("b", "exchange", verdict(1), "")}, "a", 0, plugin.ErrFailed},
		{"all abstain", []plugin.Spec{policy("a", "exchange", nil, "")}, "", 0, plugin.ErrAbstained},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			c := openSpecs(t, tt.specs...).Acquire()
			defer c.Release()
			c.Exchange.SubjectToken = "token"
			answer, name, err := c.AskExchange(t.Context())
			if !errors.Is(err, tt.err) || name != tt.plugin || tt.err == nil && answer.Outcome != tt.want {
				t.Errorf("AskExchange = %+v, %q, %v, want %d, %q, %v", answer, name, err, tt.want, tt.plugin, tt.err)
			}
		})
	}
}

// Answers of several plugins and questions stay good until Release.
func TestAnswersLiveUntilRelease(t *testing.T) {
	h := openSpecs(t, policy("a", "entitle", decisions(allow, pass), ""), policy("b", "entitle", decisions(pass, allow), ""),
		policy("c", "select_version", choices(0, 0), ""))
	c := h.Acquire()
	defer c.Release()
	c.Entitle.Apps = append(c.Entitle.Apps, make([]abi.EntitleApp, 2)...)
	c.SelectVersion.Apps = append(c.SelectVersion.Apps, make([]abi.SelectVersionApp, 2)...)
	for i := range c.SelectVersion.Apps {
		c.SelectVersion.Apps[i].Candidates = make([]abi.Candidate, 1)
	}
	entitled := c.AskEntitle(t.Context())
	selected := c.AskSelectVersion(t.Context())
	for i, e := range entitled {
		if e.Reason != "because" || selected[i].Reason != "because" {
			t.Errorf("app %d: reasons %q and %q, want \"because\" twice", i, e.Reason, selected[i].Reason)
		}
	}
}
