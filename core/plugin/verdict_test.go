package plugin_test

import (
	"encoding/binary"
	"strings"
	"testing"

	"github.com/souk-market/souk/core/plugin"
	"github.com/souk-market/souk/sdk/abi"
)

// changed returns b with a number written over it.
func changed(b []byte, at int, v uint32) []byte {
	c := append([]byte{}, b...)
	binary.LittleEndian.PutUint32(c[at:], v)
	return c
}

// Offsets of a verdict with items: the list, then the first item.
const (
	listAt = abi.SizeVerdictHead
	itemAt = abi.SizeEntitleVerdict
)

func TestNonsenseIsAFailure(t *testing.T) {
	good := decisions(allow)
	end := uint32(18 * 64 << 10)
	for _, c := range []struct {
		rule    string
		verdict []byte
		code    string // instead of a verdict
		kind    plugin.Kind
		want    string
	}{
		{"too few items", decisions(), "", plugin.KindNonsense, "0 items, the question has 1"},
		{"too many items", decisions(allow, allow), "", plugin.KindNonsense, "2 items, the question has 1"},
		{"a decision that doesn't exist", decisions(3), "", plugin.KindNonsense, "item 0: there is no decision 3"},
		{"a size that isn't", changed(good, 0, 8), "", plugin.KindNonsense, "abi: not a record"},
		{"a list outside of the message", changed(good, listAt, 1<<30), "", plugin.KindNonsense, "outside the message"},
		{"a list that is endless", changed(good, listAt+4, 1<<31), "", plugin.KindNonsense, "abi: not a record"},
		{"a list without a stride", changed(good, listAt+8, 0), "", plugin.KindNonsense, "abi: not a record"},
		{"a reason outside of the message", changed(good, itemAt+8, 1<<20), "", plugin.KindNonsense, "outside the message"},
		{"a reason that isn't UTF-8", append(good[:len(good)-1:len(good)-1], 0xff), "", plugin.KindNonsense, "not UTF-8"},
		{"a verdict behind the memory", nil, result(int(end), 64), plugin.KindNonsense, "outside of the memory"},
		{"a verdict across the end of the memory", nil, result(int(end-8), 64), plugin.KindNonsense, "outside of the memory"},
		{"a verdict of negative length and address", nil, "i64.const -1", plugin.KindNonsense, "at most 65536 are possible"},
		{"a verdict that is too long", nil, result(1024, abi.MaxVerdict+1), plugin.KindNonsense, "at most 65536 are possible"},
		{"a verdict of no bytes", nil, result(1024, 0), plugin.KindNonsense, "abi: not a record"},
		{"zeros", nil, result(4096, 64), plugin.KindNonsense, "abi: not a record"},
		{"an error code", nil, "i64.const 42", plugin.KindErrorCode, "the guest answered code 42"},
		{"a trap", nil, "call $inner", plugin.KindTrap, "unreachable in inner < entitle"},
		{"an access outside of the memory", nil, "i32.const -4 i32.load drop i64.const 0", plugin.KindTrap, "out of bounds memory access in entitle"},
	} {
		t.Run(c.rule, func(t *testing.T) {
			var j journal
			g := newGuest().fn("$inner", "", "I", "", "unreachable")
			code := c.code
			if code == "" {
				code = g.put(1024, c.verdict)
			}
			h := open(t, plugin.Options{Specs: []plugin.Spec{spec("odd", g.hook("entitle", code).wasm())}, Log: j.logger()})
			if got := entitle(t, h, 1, abi.Head{})[0]; got.Decision != deny || !got.Failed || got.Plugin != "odd" {
				t.Errorf("AskEntitle = %+v, want a denial because odd failed", got)
			}
			wantFailure(t, h, "odd", "entitle", c.kind, 1)
			if log := j.String(); !strings.Contains(log, c.want) || !strings.Contains(log, "hook=entitle") ||
				!strings.Contains(log, c.kind.String()) || strings.Count(log, "\n") != 1 {
				t.Errorf("log:\n%swant one line with %q", log, c.want)
			}
			if h.Plugins()[0].Instances != 0 {
				t.Error("the instance is still there, want it thrown away")
			}
		})
	}
}

func TestOverlappingListsAreNonsense(t *testing.T) {
	// 500 items that all lie at one place, 4 bytes apart.
	v := decisions(allow)
	v = changed(changed(v, listAt+4, 500), listAt+8, 4)
	v = append(v, make([]byte, 2000)...)
	v = changed(v, 0, uint32(len(v)))
	h := openSpecs(t, spec("odd", constant("entitle", v)))
	entitle(t, h, 500, abi.Head{})
	wantFailure(t, h, "odd", "entitle", plugin.KindNonsense, 1)
}

func TestChoiceOutOfRangeIsNonsense(t *testing.T) {
	for _, choice := range []abi.Choice{2, 1 << 30, -4, -1 << 31} {
		h := openSpecs(t, policy("odd", "select_version", choices(choice), ""))
		if got := selectVersion(t, h, 2)[0]; got.Choice != hold || !got.Failed {
			t.Errorf("choice %d of 2: %+v, want a hold because the plugin failed", choice, got)
		}
		wantFailure(t, h, "odd", "select_version", plugin.KindNonsense, 1)
	}
}

func TestSignInVerdicts(t *testing.T) {
	field := abi.FormField{Name: "n", Kind: "text"}
	for _, c := range []struct {
		rule   string
		answer []abi.SignInAnswer
		want   string // "" = it is good
	}{
		{"a page", []abi.SignInAnswer{{Outcome: abi.SignInPage, Fields: []abi.FormField{field}}}, ""},
		{"a page of 200 KiB", []abi.SignInAnswer{{Outcome: abi.SignInPage, HTML: strings.Repeat("x", 200<<10)}}, ""},
		{"a page of 300 KiB", []abi.SignInAnswer{{Outcome: abi.SignInPage, HTML: strings.Repeat("x", 300<<10)}}, "at most 262144 are possible"},
		{"two answers", []abi.SignInAnswer{{Outcome: abi.SignInPage}, {Outcome: abi.SignInPage}}, "2 items, the question has 1"},
		{"no such outcome", []abi.SignInAnswer{{Outcome: 5}}, "there is no outcome 5"},
		{"no such kind of field", []abi.SignInAnswer{{Outcome: abi.SignInPage, Fields: []abi.FormField{field, {Kind: "file"}}}}, `field 1: there is no kind "file"`},
		{"32 fields", []abi.SignInAnswer{{Outcome: abi.SignInPage, Fields: slicesRepeat(field, 32)}}, ""},
		{"33 fields", []abi.SignInAnswer{{Outcome: abi.SignInPage, Fields: slicesRepeat(field, 33)}}, "33 fields: at most 32"},
		{"a state of 4 KiB", []abi.SignInAnswer{{Outcome: abi.SignInPage, State: strings.Repeat("s", 4<<10)}}, ""},
		{"a longer state", []abi.SignInAnswer{{Outcome: abi.SignInPage, State: strings.Repeat("s", 4<<10+1)}}, "a state of 4097 bytes"},
		{"signed in", []abi.SignInAnswer{{Outcome: abi.SignInDone, Account: "a", Grants: []string{"pro"}}}, ""},
		{"signed in as nobody", []abi.SignInAnswer{{Outcome: abi.SignInDone}}, "signed in without an account"},
		{"a redirect to a listed host", []abi.SignInAnswer{{Outcome: abi.SignInRedirect, Location: "https://id.example.com/a?b=c"}}, ""},
		{"a redirect to another host", []abi.SignInAnswer{{Outcome: abi.SignInRedirect, Location: "https://evil.example.com/"}}, "not on its list of hosts"},
		{"a redirect to a host with a listed name in front", []abi.SignInAnswer{{Outcome: abi.SignInRedirect, Location: "https://id.example.com@evil.example.com/"}}, "which is no address"},
		{"a redirect without TLS", []abi.SignInAnswer{{Outcome: abi.SignInRedirect, Location: "http://id.example.com/"}}, "only https is possible"},
		{"a redirect to a script", []abi.SignInAnswer{{Outcome: abi.SignInRedirect, Location: "javascript:alert(1)"}}, "which is no address"},
		{"a redirect to the same machine", []abi.SignInAnswer{{Outcome: abi.SignInRedirect, Location: "http://localhost:9000/"}}, ""},
	} {
		t.Run(c.rule, func(t *testing.T) {
			v := abi.SignInVerdict{Items: c.answer}
			s := spec("page", constant("sign_in", v.Append(nil)))
			if len(v.Append(nil)) > 60<<10 {
				g := newGuest()
				s.Wasm = g.hook("sign_in", g.put(bufferAt+64<<10, v.Append(nil))).wasm()
			}
			s.Hosts = []string{"id.example.com", "localhost:9000"}
			call := openSpecs(t, s).Acquire()
			defer call.Release()
			_, _, err := call.AskSignIn(t.Context(), "")
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("AskSignIn: %v, want %q", err, c.want)
			}
		})
	}
}

func slicesRepeat[T any](v T, n int) []T {
	list := make([]T, n)
	for i := range list {
		list[i] = v
	}
	return list
}

func TestExchangeVerdicts(t *testing.T) {
	for _, c := range []struct {
		answer abi.ExchangeAnswer
		want   string
	}{
		{abi.ExchangeAnswer{Outcome: abi.ExchangeAccepted, Account: "a"}, ""},
		{abi.ExchangeAnswer{Outcome: abi.ExchangeAccepted}, "accepted without an account"},
		{abi.ExchangeAnswer{Outcome: 3}, "there is no outcome 3"},
	} {
		v := abi.ExchangeVerdict{Items: []abi.ExchangeAnswer{c.answer}}
		call := openSpecs(t, spec("x", constant("exchange", v.Append(nil)))).Acquire()
		_, _, err := call.AskExchange(t.Context())
		call.Release()
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%+v: %v, want %q", c.answer, err, c.want)
		}
	}
}

func TestLargeQuestions(t *testing.T) {
	g := newGuest()
	h := openSpecs(t, spec("a", g.hook("entitle", g.put(1024, decisions(allow))).wasm()),
		spec("small", newGuest().fn("souk_buffer", "i", "i", "", "i32.const 0 i32.const 65536 local.get 0 i32.const 65537 i32.lt_u br_if 0 drop").
			hook("select_version", "i64.const 0").wasm()))
	if got := entitle(t, h, 1, abi.Head{Account: strings.Repeat("a", 500<<10)})[0]; got.Decision != allow {
		t.Errorf("a question of 500 KiB: %+v, want an allowance", got)
	}
	if got := entitle(t, h, 1, abi.Head{Account: strings.Repeat("a", 1<<20)})[0]; !got.Failed {
		t.Errorf("a question of more than 1 MiB: %+v, want a failure", got)
	}
	wantFailure(t, h, "a", "entitle", plugin.KindMemory, 1)
	c := h.Acquire()
	defer c.Release()
	c.SelectVersion.Account = strings.Repeat("a", 100<<10)
	c.SelectVersion.Apps = make([]abi.SelectVersionApp, 1)
	if got := c.AskSelectVersion(t.Context())[0]; !got.Failed {
		t.Errorf("a buffer that is refused: %+v, want a failure", got)
	}
	wantFailure(t, h, "small", "select_version", plugin.KindMemory, 1)
}
