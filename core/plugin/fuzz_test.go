package plugin_test

import (
	"context"
	"reflect"
	"runtime/metrics"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"

	"github.com/souk-market/souk/core/plugin"
	"github.com/souk-market/souk/core/plugin/meter"
	"github.com/souk-market/souk/core/unit"
	"github.com/souk-market/souk/sdk/abi"
)

// contract is what sdk/abi says of the functions that a guest exports.
var contract = map[string]string{
	"souk_abi_1": "() -> ()", "souk_needs_minor_0": "() -> ()", "_initialize": "() -> ()",
	"souk_buffer": "(i32) -> (i32)", "configure": "(i32) -> (i64)",
	"entitle": "(i32) -> (i64)", "select_version": "(i32) -> (i64)", "sign_in": "(i32) -> (i64)", "exchange": "(i32) -> (i64)",
}

// typeOf is the type of a function as the engine sees it.
func typeOf(f api.FunctionDefinition) string {
	words := func(types []api.ValueType) string {
		var w []string
		for _, t := range types {
			w = append(w, api.ValueTypeName(t))
		}
		return "(" + strings.Join(w, ", ") + ")"
	}
	return words(f.ParamTypes()) + " -> " + words(f.ResultTypes())
}

// offered is what a plugin that may use these groups can import, by its type.
func offered(groups []string) map[string]string {
	words := func(letters string) string {
		var w []string
		for _, l := range letters {
			w = append(w, map[rune]string{'i': "i32", 'I': "i64"}[l])
		}
		return "(" + strings.Join(w, ", ") + ")"
	}
	all := map[string]string{}
	for _, i := range abi.Imports {
		if i.Group == "always" || slices.Contains(groups, i.Group) {
			all["souk."+i.Name] = words(i.Params) + " -> " + words(i.Results)
		}
	}
	for _, c := range callees() {
		if c.module == "wasi_snapshot_preview1" {
			all[c.module+"."+c.name] = words(c.params) + " -> " + words(c.results)
		}
	}
	return all
}

// FuzzModule holds what is said of a module before it is rewritten against the
// engine's own view of it.
func FuzzModule(f *testing.F) {
	add := func(wasm []byte) {
		f.Add(byte(0), wasm)
		f.Add(byte(255), wasm)
	}
	for _, g := range hostile {
		add(g.wasm())
	}
	for _, i := range abi.Imports {
		add(probe(i.Name, "i32.const 0"))
	}
	all := allowing().fn("_initialize", "", "", "", "").fn("configure", "i", "I", "", "i64.const 0").fn("souk_needs_minor_0", "", "", "", "")
	for _, h := range abi.Hooks {
		all.hook(h.String(), "i64.const 0")
	}
	add(all.wasm())
	add(all.imported("wasi_snapshot_preview1", "path_open", "iiiiiIIii", "i").wasm())
	for _, wasm := range [][]byte{
		{}, []byte("#!/bin/sh"), []byte("\x00asm\x01\x00\x00\x00"), []byte("\x00asm\x0d\x00\x01\x00"), allowing().wasm()[:100],
		allowing().fn("souk_abi_2", "", "", "", "").wasm(), allowing().fn("souk_abi_\n", "", "", "", "").wasm(), allowing().fn("souk_needs_minor_7", "", "", "", "").wasm(),
		allowing().fn("souk_needs_minor_x", "", "", "", "").wasm(), allowing().fn("souk_magic", "", "", "", "").wasm(),
		allowing().fn("entitle", "ii", "i", "", "i32.const 1").wasm(), allowing().without("souk_buffer").wasm(), newGuest().wasm(),
		allowing().imported("souk", "launch", "", "").wasm(), allowing().imported("env", "abort", "", "").wasm(), allowing().imported("souk_meter", "refill", "", "").wasm(),
		func() []byte { g := allowing(); g.min = -1; return g.wasm() }(),
		func() []byte { g := allowing(); g.min, g.max = 300, 400; return g.wasm() }(),
	} {
		add(wasm)
	}
	ctx := context.Background()
	engine := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigInterpreter().WithCoreFeatures(api.CoreFeaturesV2))
	f.Cleanup(func() { engine.Close(ctx) })
	f.Fuzz(func(t *testing.T, groups byte, wasm []byte) {
		s := spec("fuzz", wasm)
		for i, group := range everything {
			if groups>>i&1 == 1 {
				s.Allow = append(s.Allow, group)
			}
		}
		hooks, err := plugin.Inspect(&s, wasm)
		if err != nil {
			if text := err.Error(); text == "" || strings.ContainsAny(text, "\r\n") || len(hooks) > 0 {
				t.Errorf("refused with %q and the hooks %v, want one line and none", text, hooks)
			}
			return
		}
		stripped, err := meter.Strip(wasm)
		if err != nil {
			return // no part of what is inspected
		}
		seen, err := engine.CompileModule(ctx, stripped)
		if err != nil {
			return // load refuses it in a later step
		}
		defer seen.Close(ctx)
		agreeOnExports(t, &s, hooks, seen)
		may := offered(s.Allow)
		for _, i := range seen.ImportedFunctions() {
			module, name, _ := i.Import()
			if want, ok := may[module+"."+name]; !ok || typeOf(i) != want {
				t.Errorf("the import %q.%q %s is taken of a plugin that may use %v, want %s", module, name, typeOf(i), s.Allow, want)
			}
		}
		if n := len(seen.ImportedMemories()); n > 0 {
			t.Errorf("%d imported memories are taken", n)
		}
	})
}

func agreeOnExports(t *testing.T, s *plugin.Spec, hooks []abi.Hook, seen wazero.CompiledModule) {
	t.Helper()
	exported := seen.ExportedFunctions()
	for name, f := range exported {
		if want, ok := contract[name]; ok && typeOf(f) != want {
			t.Errorf("the export %q %s is taken, want %s", name, typeOf(f), want)
		} else if !ok && strings.HasPrefix(name, "souk_") && !strings.HasPrefix(name, "souk_needs_minor_0") {
			t.Errorf("the export %q is taken, which no contract has", name)
		}
	}
	for _, name := range []string{"souk_abi_1", "souk_buffer"} {
		if exported[name] == nil {
			t.Errorf("a module without %s is taken", name)
		}
	}
	if memory := seen.ExportedMemories()["memory"]; memory == nil {
		t.Error("a module without an exported memory is taken")
	} else if need := unit.Size(memory.Min()) * 64 << 10; need > s.Memory {
		t.Errorf("a module that starts with %v is taken, its limit is %v", need, s.Memory)
	}
	var want []abi.Hook
	for _, h := range abi.Hooks {
		if exported[h.String()] != nil {
			want = append(want, h)
		}
	}
	if len(hooks) == 0 || !slices.Equal(hooks, want) {
		t.Errorf("the hooks are %v, the engine finds %v", hooks, want)
	}
}

// allocated is how many bytes the program allocated so far.
func allocated() uint64 {
	sample := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}

// FuzzVerdict reads any bytes as the answer to a question about some apps.
func FuzzVerdict(f *testing.F) {
	field := abi.FormField{Name: "n", Label: "Name", Kind: "text", Value: "v"}
	signIn := func(a abi.SignInAnswer) []byte {
		v := abi.SignInVerdict{Items: []abi.SignInAnswer{a}}
		return v.Append(nil)
	}
	exchange := func(a abi.ExchangeAnswer) []byte {
		v := abi.ExchangeVerdict{Items: []abi.ExchangeAnswer{a}}
		return v.Append(nil)
	}
	for hook, verdicts := range [...][][]byte{
		{nil, decisions(), decisions(allow), decisions(allow, deny, abi.DecisionPass), decisions(3), changed(decisions(allow), listAt+8, 4)},
		{choices(), choices(0), choices(1, -1, -2), choices(-3, -4), choices(2), changed(choices(0), listAt+4, 1<<31)},
		{
			signIn(abi.SignInAnswer{Outcome: abi.SignInPage, Title: "Hello", Message: "é", State: strings.Repeat("s", 4<<10), Fields: slicesRepeat(field, 32)}),
			signIn(abi.SignInAnswer{Outcome: abi.SignInPage, State: strings.Repeat("s", 4<<10+1)}), signIn(abi.SignInAnswer{Fields: []abi.FormField{{Kind: "file"}}}),
			signIn(abi.SignInAnswer{Outcome: abi.SignInDone, Account: "a", Grants: []string{"pro", "sub:plus"}, DisplayName: "A", Territory: "AUT"}), signIn(abi.SignInAnswer{Outcome: abi.SignInDone}),
			signIn(abi.SignInAnswer{Outcome: abi.SignInRedirect, Location: "https://id.example.com/a?b=c"}), signIn(abi.SignInAnswer{Outcome: abi.SignInRedirect, Location: "http://localhost:9000/"}),
			signIn(abi.SignInAnswer{Outcome: abi.SignInRedirect, Location: "https://id.example.com@evil.example.com/"}), signIn(abi.SignInAnswer{Outcome: 5}),
		},
		{exchange(abi.ExchangeAnswer{Outcome: abi.ExchangeAccepted, Account: "a"}), exchange(abi.ExchangeAnswer{Outcome: abi.ExchangeAccepted}), exchange(abi.ExchangeAnswer{Outcome: 3})},
	} {
		for _, v := range verdicts {
			for _, apps := range []byte{0, 1, 3} {
				f.Add(byte(hook), apps, byte(2), v)
			}
		}
	}
	s := spec("fuzz", nil)
	s.Hosts = []string{"id.example.com", "localhost:9000", "evil.example.com:8443"}
	f.Fuzz(func(t *testing.T, hook, apps, candidates byte, b []byte) {
		counts := make([]int, apps)
		for i := range counts {
			counts[i] = (int(candidates) + i) % 8
		}
		before := allocated()
		record, wrong := plugin.ReadVerdict(abi.Hooks[int(hook)%len(abi.Hooks)], b, &s, counts)
		// What the question itself takes, and the reader no more than some times the message.
		if used, most := allocated()-before, uint64(2<<20+16*len(b)); used > most {
			t.Errorf("%d bytes allocated for a verdict of %d", used, len(b))
		}
		if wrong != "" {
			if len(wrong) > 500 || strings.ContainsAny(wrong, "\r\n") {
				t.Errorf("refused with %q, want a short line", wrong)
			}
			return
		}
		total := 0
		for text := range texts(reflect.ValueOf(record)) {
			if total += len(text); !utf8.ValidString(text) {
				t.Errorf("the text %q is taken, which is not UTF-8", text)
			}
		}
		if total > abi.MaxStrings {
			t.Errorf("texts of %d bytes are taken", total)
		}
		switch v := record.(type) {
		case abi.EntitleVerdict:
			if len(v.Items) != len(counts) {
				t.Errorf("%d decisions are taken for %d apps", len(v.Items), len(counts))
			}
			for _, item := range v.Items {
				if item.Decision != allow && item.Decision != deny && item.Decision != abi.DecisionPass {
					t.Errorf("the decision %d is taken", item.Decision)
				}
			}
		case abi.SelectVersionVerdict:
			if len(v.Items) != len(counts) {
				t.Fatalf("%d choices are taken for %d apps", len(v.Items), len(counts))
			}
			for i, item := range v.Items {
				special := item.Choice == abi.Hold || item.Choice == abi.ChoicePass || item.Choice == abi.Unavailable
				if !special && (item.Choice < 0 || int(item.Choice) >= counts[i]) {
					t.Errorf("the choice %d of %d is taken", item.Choice, counts[i])
				}
			}
		case abi.SignInVerdict:
			if len(v.Items) != 1 {
				t.Fatalf("%d answers are taken", len(v.Items))
			}
			wantSignIn(t, v.Items[0])
		case abi.ExchangeVerdict:
			if len(v.Items) != 1 {
				t.Fatalf("%d answers are taken", len(v.Items))
			}
			if a := v.Items[0]; a.Outcome > abi.ExchangeRefused || a.Outcome == abi.ExchangeAccepted && a.Account == "" {
				t.Errorf("%+v is taken", a)
			}
		}
	})
}

// wantSignIn checks what was taken as one step of a sign-in.
func wantSignIn(t *testing.T, a abi.SignInAnswer) {
	t.Helper()
	if a.Outcome > abi.SignInRedirect || len(a.State) > 4<<10 || len(a.Fields) > 32 || a.Outcome == abi.SignInDone && a.Account == "" {
		t.Errorf("an answer is taken with outcome %d, account %q, a state of %d bytes and %d fields", a.Outcome, a.Account, len(a.State), len(a.Fields))
	}
	for _, field := range a.Fields {
		switch field.Kind {
		case "text", "email", "username", "password", "code", "hidden", "note":
		default:
			t.Errorf("a field of the kind %q is taken", field.Kind)
		}
	}
	if a.Outcome != abi.SignInRedirect {
		return
	}
	scheme, rest, _ := strings.Cut(a.Location, "://")
	host := rest
	if i := strings.IndexAny(rest, "/?#"); i >= 0 {
		host = rest[:i]
	}
	switch scheme = strings.ToLower(scheme); scheme + "://" + host {
	case "https://id.example.com", "https://localhost:9000", "http://localhost:9000", "https://evil.example.com:8443":
	default:
		t.Errorf("a redirect to %q is taken", a.Location)
	}
}

// texts are all strings of a record.
func texts(v reflect.Value) func(func(string) bool) {
	return func(yield func(string) bool) {
		var walk func(reflect.Value) bool
		walk = func(v reflect.Value) bool {
			switch v.Kind() {
			case reflect.String:
				return yield(v.String())
			case reflect.Slice:
				for i := range v.Len() {
					if !walk(v.Index(i)) {
						return false
					}
				}
			case reflect.Struct:
				for i := range v.NumField() {
					if !walk(v.Field(i)) {
						return false
					}
				}
			}
			return true
		}
		walk(v)
	}
}
