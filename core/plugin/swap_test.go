package plugin_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/souk-market/souk/core/plugin"
	"github.com/souk-market/souk/sdk/abi"
)

// marked is a guest whose answers to both hooks of an update check carry a mark.
func marked(mark string) []byte {
	g := newGuest()
	e := abi.EntitleVerdict{Items: []abi.EntitleDecision{{Decision: abi.Allow, Reason: mark}}}
	v := abi.SelectVersionVerdict{Items: []abi.VersionChoice{{Choice: 1, Reason: mark}}}
	g.hook("entitle", g.put(1024, e.Append(nil)))
	return g.hook("select_version", g.put(2048, v.Append(nil))).wasm()
}

// check is one update check; it returns the marks of its two answers.
func check(h *plugin.Host) (entitled, selected string, err error) {
	c := h.Acquire()
	defer c.Release()
	fillCall(c)
	e := c.AskEntitle(context.Background())[0]
	entitled = strings.Clone(e.Reason)
	runtime.Gosched() // a swap may come between
	s := c.AskSelectVersion(context.Background())[0]
	selected = strings.Clone(s.Reason)
	if e.Failed || s.Failed || e.Decision != allow || s.Choice != 1 {
		err = fmt.Errorf("answered %+v and %+v", e, s)
	}
	return entitled, selected, err
}

// crowd checks for updates from many goroutines until it is told to stop.
type crowd struct {
	stop           atomic.Bool
	wg             sync.WaitGroup
	checks, failed atomic.Int64
	mixed          atomic.Int64
	seen           sync.Map // marks
}

func newCrowd(h *plugin.Host, n int) *crowd {
	c := &crowd{}
	for range n {
		c.wg.Go(func() {
			for !c.stop.Load() {
				a, b, err := check(h)
				c.checks.Add(1)
				c.seen.Store(a, true)
				if err != nil {
					c.failed.Add(1)
				} else if a != b {
					c.mixed.Add(1)
				}
			}
		})
	}
	return c
}

func (c *crowd) end(t *testing.T) {
	t.Helper()
	c.stop.Store(true)
	c.wg.Wait()
	if f, m := c.failed.Load(), c.mixed.Load(); f > 0 || m > 0 {
		t.Errorf("of %d checks %d failed and %d mixed generations, want none", c.checks.Load(), f, m)
	}
}

// held is what the process keeps after a collection.
func held() (heap, system uint64) {
	runtime.GC()
	runtime.GC() // the pools have two generations
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc, m.Sys
}

func swap(t testing.TB, h *plugin.Host, name string, wasm []byte) {
	t.Helper()
	if _, err := h.Swap(t.Context(), name, plugin.Module{Wasm: wasm}); err != nil {
		t.Fatalf("Swap: %v", err)
	}
}

// TestSwapsUnderLoad is the promise: no request fails, none sees two generations,
// and nothing is kept. SOUK_SWAPS=20s swaps every 200 ms for so long and logs a
// line for a table.
func TestSwapsUnderLoad(t *testing.T) {
	every, rounds := time.Duration(0), 200
	if long := os.Getenv("SOUK_SWAPS"); long != "" {
		d, err := time.ParseDuration(long)
		if err != nil {
			t.Fatal(err)
		}
		every, rounds = 200*time.Millisecond, int(d/(200*time.Millisecond))
	} else if raceDetector || testing.Short() {
		rounds = 40
	}
	s := spec("marked", marked("generation 0"))
	h := open(t, plugin.Options{Specs: []plugin.Spec{s}, Cache: t.TempDir()})
	c := newCrowd(h, 16)
	turn := func(i int) {
		began := time.Now()
		swap(t, h, "marked", marked(fmt.Sprint("generation ", i%7)))
		if every > 0 {
			<-time.After(every - time.Since(began))
		}
	}
	for i := range 20 { // all that is kept once is there
		turn(i)
	}
	heap, system := held()
	began := time.Now()
	for i := range rounds {
		turn(i)
	}
	took := time.Since(began)
	heapAfter, systemAfter := held()
	c.end(t)
	if heapAfter > heap+8<<20 {
		t.Errorf("the heap grew from %d to %d KiB over %d swaps", heap>>10, heapAfter>>10, rounds)
	}
	p := h.Plugins()[0]
	if p.Generation != 21+rounds || p.Draining > 1 {
		t.Errorf("generation %d with %d draining, want %d and at most one", p.Generation, p.Draining, 21+rounds)
	}
	if n := plugin.Living(h, "marked"); n > 2+p.Draining+1 {
		t.Errorf("%d generations are kept, want the one that is asked and the one before", n)
	}
	t.Logf("%d swaps in %v beside %d checks: %d failed, %d mixed; heap %d → %d KiB, memory of the system %d → %d KiB",
		rounds, took.Round(time.Millisecond), c.checks.Load(), c.failed.Load(), c.mixed.Load(), heap>>10, heapAfter>>10, system>>10, systemAfter>>10)
}

func TestARequestKeepsItsGeneration(t *testing.T) {
	h := openSpecs(t, spec("marked", marked("one")))
	c := h.Acquire()
	fillCall(c)
	if got := c.AskEntitle(t.Context())[0]; got.Reason != "one" {
		t.Fatalf("AskEntitle = %+v, want the mark one", got)
	}
	swap(t, h, "marked", marked("two"))
	swap(t, h, "marked", marked("three"))
	if got := c.AskSelectVersion(t.Context())[0]; got.Reason != "one" || got.Failed {
		t.Errorf("after two swaps the same request is answered %+v, want by the mark one", got)
	}
	if a, b, err := check(h); a != "three" || b != "three" || err != nil {
		t.Errorf("a new request is answered %q, %q, %v, want by the mark three", a, b, err)
	}
	if p := h.Plugins()[0]; p.Draining < 1 {
		t.Error("no generation drains while the request goes on")
	}
	c.Release()
	plugin.Settle(h)
	if n := plugin.Living(h, "marked"); n != 2 {
		t.Errorf("%d generations are kept after the last request, want the one that is asked and the one before", n)
	}
}

// TestASwapWaitsForNobody: a request that hangs keeps its own generation and
// nothing else.
func TestASwapWaitsForNobody(t *testing.T) {
	h, kv := blocked(t)
	var wg sync.WaitGroup
	wg.Go(func() {
		if got := entitle(t, h, 1, abi.Head{})[0]; got.Failed || int32(got.Code) != int32(abi.CodeNotFound) {
			t.Errorf("a question before the swap: %+v, want it to be answered", got)
		}
	})
	<-kv.waiting
	swap(t, h, "probe", constantAll(decisions(deny)))
	if got := entitle(t, h, 1, abi.Head{})[0]; got.Decision != deny || got.Failed {
		t.Errorf("a question after the swap: %+v, want the new module's denial", got)
	}
	kv.release <- struct{}{}
	wg.Wait()
	plugin.Settle(h)
}

// constantAll answers all hooks that probe has with one verdict.
func constantAll(verdict []byte) []byte {
	g := newGuest()
	code := g.put(1024, verdict)
	for _, hook := range abi.Hooks {
		g.hook(hook.String(), code)
	}
	return g.wasm()
}

func TestABadModuleChangesNothing(t *testing.T) {
	s := spec("marked", marked("good"))
	s.Allow, s.StartFuel, s.Memory = []string{"log"}, 1_000_000, 2<<20
	s.Config = nil
	h := open(t, plugin.Options{Specs: []plugin.Spec{s}, MaxModule: 64 << 10})
	c := newCrowd(h, 4)
	full := func() *module {
		g := newGuest()
		g.hook("entitle", g.put(1024, decisions(allow)))
		return g.hook("select_version", g.put(2048, choices(1)))
	}
	large := full()
	large.min = 64
	spins := full().fn("$spin", "", "", "", "loop br 0 end")
	spins.start = "$spin"
	for _, bad := range []struct {
		rule string
		wasm []byte
		want string
	}{
		{"text", []byte("hello"), "the file is no WebAssembly module"},
		{"nothing", nil, "the file is no WebAssembly module"},
		{"a truncated module", marked("bad")[:100], "the module is damaged: "},
		{"no buffer", full().without("souk_buffer").wasm(), "the module doesn't export souk_buffer"},
		{"a hook less", full().without("select_version").wasm(),
			"the module doesn't export select_version, which this plugin is asked: it exports entitle; change hooks in the configuration if that is meant"},
		{"an import that isn't allowed", full().imported("souk", "kv_get", "iiii", "i").wasm(), `add "kv" to its allow list`},
		{"more memory than allowed", large.wasm(), `the module starts with 4MiB of memory, but memory = "2MiB"`},
		{"a start function that spins", spins.wasm(), "its start section: fuel: its fuel is used up: 1000000"},
		{"a module that is too large", make([]byte, 65<<10), "the module is larger than 64KiB: build it smaller"},
		{"a configure that refuses", full().fn("configure", "i", "I", "", "i64.const 9").wasm(), "configure refused with code 9"},
		{"code of the wrong type", full().hook("entitle", "i32.const 1").wasm(), "the module is invalid: "},
	} {
		_, err := h.Swap(t.Context(), "marked", plugin.Module{Wasm: bad.wasm})
		if refused, ok := errors.AsType[*plugin.BadModule](err); !ok {
			t.Errorf("Swap of %s: %v is no %T", bad.rule, err, refused)
		}
		if err == nil || !strings.Contains(err.Error(), bad.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("Swap of %s: %v, want one line with %q", bad.rule, err, bad.want)
		}
	}
	c.end(t)
	c.seen.Range(func(mark, _ any) bool {
		if mark != "good" {
			t.Errorf("somebody was answered by %v", mark)
		}
		return true
	})
	if p := h.Plugins()[0]; p.Generation != 1 || p.Uploaded || p.Previous != "" {
		t.Errorf("after bad modules only the plugin is %+v, want the first generation", p)
	}
	if n := plugin.Living(h, "marked"); n != 1 {
		t.Errorf("%d generations are kept, want one", n)
	}
	if _, err := h.Swap(t.Context(), "other", plugin.Module{Wasm: marked("a")}); !errors.Is(err, plugin.ErrNoPlugin) {
		t.Errorf("Swap of a plugin that isn't there: %v, want %v", err, plugin.ErrNoPlugin)
	}
	if _, err := h.Return(t.Context(), "marked", ""); !errors.Is(err, plugin.ErrNoPrevious) {
		t.Errorf("Return without a generation before: %v, want %v", err, plugin.ErrNoPrevious)
	}
}

// TestASwapWidensNothing: what only the configuration may say stays.
func TestASwapWidensNothing(t *testing.T) {
	h := openSpecs(t, spec("a", constant("entitle", decisions(allow))))
	swap(t, h, "a", constantAll(decisions(deny)))
	if h.Has(abi.HookSignIn) || h.Has(abi.HookExchange) || h.Has(abi.HookSelectVersion) || !h.Has(abi.HookEntitle) {
		t.Error("an uploaded module is asked other questions than the one before")
	}
	pinned := spec("b", marked("pinned"))
	pinned.SHA256 = openSpecs(t, spec("b", marked("pinned"))).Plugins()[0].SHA256
	b := openSpecs(t, pinned)
	if _, err := b.Swap(t.Context(), "b", plugin.Module{Wasm: marked("other")}); err == nil || !strings.Contains(err.Error(), "sha256 is pinned to ") {
		t.Errorf("Swap of a pinned plugin: %v, want a refusal", err)
	}
}

func TestReturn(t *testing.T) {
	h := openSpecs(t, spec("marked", marked("one")))
	first := h.Plugins()[0].SHA256
	swap(t, h, "marked", marked("two"))
	p := h.Plugins()[0]
	if p.Previous != first || !p.Uploaded || p.Generation != 2 {
		t.Errorf("after a swap: %+v, want the second generation, uploaded, with the first before it", p)
	}
	c := newCrowd(h, 4)
	for i := range 10 {
		if _, err := h.Return(t.Context(), "marked", ""); err != nil {
			t.Fatalf("Return: %v", err)
		}
		if got, _, _ := check(h); got != []string{"one", "two"}[i%2] {
			t.Errorf("after %d returns: the mark is %q", i+1, got)
		}
	}
	c.end(t)
	var calls uint64
	for _, hook := range h.Plugins()[0].Hooks {
		calls += hook.Calls
	}
	if want := uint64(2 * (c.checks.Load() + 10)); calls != want {
		t.Errorf("%d calls are counted over all generations, want %d", calls, want)
	}
}

// TestTwoOperators: who has not seen what is live replaces nothing.
func TestTwoOperators(t *testing.T) {
	h := openSpecs(t, spec("marked", marked("one")))
	wasm, first, err := h.Module("marked")
	if err != nil || !bytes.Equal(wasm, marked("one")) {
		t.Errorf("Module = %d bytes, %v, want those that were loaded", len(wasm), err)
	}
	done, err := h.Swap(t.Context(), "marked", plugin.Module{Wasm: marked("two"), Expect: strings.ToUpper(first)})
	if err != nil {
		t.Fatalf("Swap of what is expected: %v", err)
	}
	_, second, _ := h.Module("marked")
	if want := (plugin.Swapped{Name: "marked", Before: first, After: second, Generation: 2, Uploaded: true}); done != want {
		t.Errorf("Swap = %+v, want %+v", done, want)
	}
	if _, err := h.Swap(t.Context(), "marked", plugin.Module{Wasm: marked("three"), Expect: first}); !errors.Is(err, plugin.ErrReplaced) || !strings.Contains(err.Error(), second) {
		t.Errorf("Swap of what was replaced: %v, want %v and what there is", err, plugin.ErrReplaced)
	}
	if _, err := h.Return(t.Context(), "marked", first); !errors.Is(err, plugin.ErrReplaced) {
		t.Errorf("Return from what was replaced: %v, want %v", err, plugin.ErrReplaced)
	}
	done, err = h.Return(t.Context(), "marked", second)
	if want := (plugin.Swapped{Name: "marked", Before: second, After: first, Generation: 1}); err != nil || done != want {
		t.Errorf("Return = %+v, %v, want %+v", done, err, want)
	}
	if p := h.Plugins()[0]; p.Swaps != 1 || p.Returns != 1 || p.SentBack != 0 {
		t.Errorf("%d swaps, %d returns and %d sent back are counted, want 1, 1 and 0", p.Swaps, p.Returns, p.SentBack)
	}
	if _, _, err := h.Module("other"); !errors.Is(err, plugin.ErrNoPlugin) {
		t.Errorf("Module of a plugin that isn't there: %v, want %v", err, plugin.ErrNoPlugin)
	}
}

// TestASwapThatRunsOutOfTime is not the module's fault.
func TestASwapThatRunsOutOfTime(t *testing.T) {
	h := openSpecs(t, spec("marked", marked("one")))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := h.Swap(ctx, "marked", plugin.Module{Wasm: marked("two")})
	if _, bad := errors.AsType[*plugin.BadModule](err); bad || !errors.Is(err, context.Canceled) {
		t.Errorf("Swap without time: %v, want %v and no blame for the module", err, context.Canceled)
	}
}

// TestAFailingModuleGoesBack needs no breaker.
func TestAFailingModuleGoesBack(t *testing.T) {
	var clock clock
	var j journal
	opened := clock.now()
	h := open(t, plugin.Options{Specs: []plugin.Spec{spec("a", constant("entitle", decisions(allow)))}, Log: j.logger(), Now: clock.now})
	if since := h.Plugins()[0].Since; !since.Equal(opened) {
		t.Errorf("the first generation is there since %v, want %v", since, opened)
	}
	bad := newGuest().hook("entitle", "unreachable").wasm()
	clock.add(time.Second)
	swap(t, h, "a", bad)
	if since := h.Plugins()[0].Since; !since.Equal(opened.Add(time.Second)) {
		t.Errorf("the second generation is there since %v, want a second later than %v", since, opened)
	}
	failing := h.Plugins()[0].SHA256
	for i := range 3 {
		if got := entitle(t, h, 1, abi.Head{})[0]; got.Decision != deny || !got.Failed {
			t.Errorf("question %d: %+v, want a denial because it failed", i, got)
		}
	}
	plugin.Settle(h)
	if got := entitle(t, h, 1, abi.Head{})[0]; got.Decision != allow {
		t.Errorf("after three failures: %+v, want the generation before to be back", got)
	}
	p := h.Plugins()[0]
	if p.SentBack != 1 || p.Returned == nil || p.Returned.SHA256 != failing || !strings.Contains(p.Returned.Reason, "unreachable") || p.Previous != "" {
		t.Errorf("the plugin is %+v, want it to say what was undone and why", p)
	}
	if !strings.Contains(j.String(), "plugin failed in its first minute: the generation before it is back") {
		t.Errorf("the log doesn't say it: %s", j.String())
	}

	// What works for a minute stays.
	swap(t, h, "a", bad)
	clock.add(time.Minute + time.Second)
	for range 5 {
		entitle(t, h, 1, abi.Head{})
	}
	plugin.Settle(h)
	if p := h.Plugins()[0]; p.SHA256 != failing {
		t.Errorf("a module that failed after its first minute was sent back: %+v", p)
	}
}

// TestFailuresOfAFewDoNotGoBack: one client that makes a guest trap must not undo
// a swap that works for the others.
func TestFailuresOfAFewDoNotGoBack(t *testing.T) {
	h := openSpecs(t, spec("a", trapsForX(decisions(allow))))
	swap(t, h, "a", trapsForX(decisions(deny)))
	for range 20 {
		entitle(t, h, 1, abi.Head{Account: "x"})
		for range 3 {
			entitle(t, h, 1, abi.Head{Account: "somebody"})
		}
	}
	plugin.Settle(h)
	if p := h.Plugins()[0]; p.Returned != nil || p.Generation != 2 {
		t.Errorf("the swap was undone: %+v", p)
	}
}

// trapsForX answers with a verdict, but traps where the account has one letter.
func trapsForX(verdict []byte) []byte {
	g := newGuest()
	code := g.put(1024, verdict)
	return g.hook("entitle", fmt.Sprintf("i32.const %d i32.load i32.const 1 i32.eq if unreachable end %s", bufferAt+36, code)).wasm()
}

// clock is a time that tests move.
type clock struct{ ns atomic.Int64 }

func (c *clock) now() time.Time      { return time.Unix(1_790_000_000, c.ns.Load()) }
func (c *clock) add(d time.Duration) { c.ns.Add(int64(d)) }

func TestReload(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, wasm []byte) {
		t.Helper()
		if err := os.WriteFile(dir+"/"+name+".wasm", wasm, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	file := func(name string) plugin.Spec {
		s := spec(name, nil)
		s.File = name + ".wasm"
		return s
	}
	write("a", marked("a1"))
	write("b", constant("entitle", decisions(allow)))
	h := open(t, plugin.Options{Specs: []plugin.Spec{file("a"), file("b")}, Dir: dir})
	c := newCrowd(h, 4)
	reload := func(want string, specs ...plugin.Spec) {
		t.Helper()
		r, err := h.Reload(t.Context(), specs, nil)
		if err != nil {
			t.Fatalf("Reload: %v", err)
		}
		if got := fmt.Sprint("added ", r.Added, " changed ", r.Changed, " removed ", r.Removed, " unchanged ", r.Unchanged); got != want {
			t.Errorf("Reload: %s, want %s", got, want)
		}
	}
	reload("added [] changed [] removed [] unchanged [a b]", file("a"), file("b"))
	write("a", marked("a2"))
	reload("added [] changed [a] removed [] unchanged [b]", file("a"), file("b"))
	if got, _, _ := check(h); got != "a2" {
		t.Errorf("after a reload the mark is %q, want a2", got)
	}
	if p := h.Plugins()[0]; p.Generation != 2 || p.Uploaded {
		t.Errorf("the plugin is %+v, want the second generation, from its file", p)
	}
	swap(t, h, "a", marked("uploaded"))
	reload("added [] changed [a] removed [] unchanged [b]", file("a"), file("b"))
	if got, _, _ := check(h); got != "a2" {
		t.Errorf("a reload puts the mark %q in the place of an uploaded module, want a2", got)
	}
	limited := file("b")
	limited.Fuel = 1_000_000
	write("c", constant("sign_in", nil))
	reload("added [c] changed [b] removed [] unchanged [a]", file("c"), file("a"), limited)
	if got := []string{h.Plugins()[0].Name, h.Plugins()[1].Name, h.Plugins()[2].Name}; fmt.Sprint(got) != "[c a b]" {
		t.Errorf("the order is %v, want that of the configuration", got)
	}
	if !h.Has(abi.HookSignIn) {
		t.Error("the plugin that was added isn't asked")
	}

	// One that can't be loaded: all stay as they are.
	before := fmt.Sprint(h.Plugins()[1].SHA256, h.Plugins()[2].SHA256)
	write("a", marked("a3"))
	write("b", []byte("nonsense"))
	if _, err := h.Reload(t.Context(), []plugin.Spec{file("a"), limited}, nil); err == nil || err.Error() != "plugin[1] b: the file is no WebAssembly module" {
		t.Errorf("Reload of a bad file: %v", err)
	}
	if after := fmt.Sprint(h.Plugins()[1].SHA256, h.Plugins()[2].SHA256); after != before || len(h.Plugins()) != 3 {
		t.Error("a reload that failed changed something")
	}
	if _, err := h.Reload(t.Context(), []plugin.Spec{file("a"), file("a")}, nil); err == nil || !strings.HasPrefix(err.Error(), "plugin[1].name: ") {
		t.Errorf("Reload with a name twice: %v", err)
	}
	write("b", constant("entitle", decisions(allow)))
	reload("added [] changed [a] removed [c] unchanged [b]", file("a"), limited)
	c.end(t)
	plugin.Settle(h)
	if n := plugin.Living(h, "a"); n != 2 {
		t.Errorf("%d generations of a are kept, want two", n)
	}
	if h.Has(abi.HookSignIn) {
		t.Error("the plugin that was removed is asked")
	}
}

// What is asked something else after a reload doesn't go back: the generation
// before would leave a question to nobody, and so to the market's default.
func TestWhatIsAskedNowDoesNotGoBack(t *testing.T) {
	live := spec("live", constant("entitle", decisions(deny)))
	trap := newGuest().hook("entitle", "unreachable").hook("select_version", "unreachable").wasm()
	versions := constant("select_version", choices(abi.Hold))
	earnest := spec("next", trap)
	for name, before := range map[string][]plugin.Spec{
		"a shadow, now in earnest": {live, shadow("next", "live", constant("entitle", decisions(deny)))},
		"one more question":        {live, spec("next", versions)},
	} {
		h := openSpecs(t, before...)
		if _, err := h.Reload(t.Context(), []plugin.Spec{earnest}, nil); err != nil {
			t.Fatal(err)
		}
		for i := range 5 {
			if e := entitle(t, h, 1, abi.Head{})[0]; e.Decision != deny || !e.Failed {
				t.Errorf("%s: question %d: %+v, want a denial because it failed", name, i, e)
			}
			plugin.Settle(h)
		}
		p := h.Plugins()[0]
		if p.Previous != "" || p.SentBack != 0 || p.Shadow != nil || !h.Has(abi.HookEntitle) {
			t.Errorf("%s: the plugin is %+v, want that it stays", name, p)
		}
		if _, err := h.Return(t.Context(), "next", ""); !errors.Is(err, plugin.ErrNoPrevious) {
			t.Errorf("%s: Return = %v, want %v", name, err, plugin.ErrNoPrevious)
		}
		plugin.Settle(h)
		if n := plugin.Living(h, "next"); n != 1 {
			t.Errorf("%s: %d generations are kept, want one", name, n)
		}
	}

	// One that is asked the same goes back, as after a swap, unless others changed
	// with it: the rules that it has lost may be theirs now.
	for _, test := range []struct {
		with []plugin.Spec
		back bool
	}{
		{[]plugin.Spec{spec("other", decisive(deny, "before"))}, true},
		{[]plugin.Spec{spec("other", decisive(allow, "after"))}, false},
		{nil, false},
	} {
		h := openSpecs(t, spec("live", decisive(allow, "before")), spec("other", decisive(deny, "before")))
		failing := spec("live", newGuest().hook("entitle", "unreachable").wasm())
		if _, err := h.Reload(t.Context(), append([]plugin.Spec{failing}, test.with...), nil); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			entitle(t, h, 1, abi.Head{})
		}
		plugin.Settle(h)
		e := entitle(t, h, 1, abi.Head{})[0]
		if p := h.Plugins()[0]; e.Decision != deny || e.Failed == test.back || (p.SentBack == 1) != test.back {
			t.Errorf("beside %d others, after three failures: %+v of %+v, want the generation before to be back: %v", len(test.with), e, p, test.back)
		}
		if _, err := h.Return(t.Context(), "live", ""); errors.Is(err, plugin.ErrNoPrevious) != test.back {
			t.Errorf("beside %d others: Return = %v", len(test.with), err)
		}
	}
}

// TestCloseBesideSwaps: a swap that comes too late changes nothing.
func TestCloseBesideSwaps(t *testing.T) {
	for range 5 {
		h, err := plugin.Open(t.Context(), plugin.Options{Specs: []plugin.Spec{spec("marked", marked("one"))}})
		if err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		began := make(chan struct{}, 16)
		for i := range 3 {
			wg.Go(func() {
				began <- struct{}{}
				_, _ = h.Swap(context.Background(), "marked", plugin.Module{Wasm: marked(fmt.Sprint(i))})
				_, _ = h.Return(context.Background(), "marked", "")
			})
			wg.Go(func() {
				for range 50 {
					_, _, _ = check(h)
				}
			})
		}
		<-began
		if err := h.Close(context.Background()); err != nil {
			t.Errorf("Close: %v", err)
		}
		wg.Wait()
		if _, err := h.Swap(t.Context(), "marked", plugin.Module{Wasm: marked("late")}); err == nil {
			t.Error("a closed host swaps")
		}
	}
}

// TestTheSlowLane: an update check doesn't wait for sign-ins that do.
func TestTheSlowLane(t *testing.T) {
	kv := &store{waiting: make(chan struct{}), release: make(chan struct{})}
	g := newGuest().imported("souk", "kv_get", "iiii", "i")
	g.hook("sign_in", "i32.const 8192 i32.const 3 i32.const 16384 i32.const 100 call kv_get drop i64.const 0")
	g.hook("exchange", "i32.const 8192 i32.const 3 i32.const 16384 i32.const 100 call kv_get drop i64.const 0")
	g.hook("entitle", g.put(1024, decisions(allow)))
	g.hook("select_version", g.put(2048, choices(1)))
	s := spec("slow", g.wasm())
	s.Allow, s.Instances, s.HostDeadline = []string{"kv"}, 1, 1<<40
	h := open(t, plugin.Options{Specs: []plugin.Spec{s}, KV: kv.open})
	var wg sync.WaitGroup
	for _, hook := range []abi.Hook{abi.HookSignIn, abi.HookExchange, abi.HookSignIn} {
		wg.Go(func() {
			c := h.Acquire()
			defer c.Release()
			var err error
			if hook == abi.HookSignIn {
				_, _, err = c.AskSignIn(context.Background(), "")
			} else {
				_, _, err = c.AskExchange(context.Background())
			}
			if !errors.Is(err, plugin.ErrAbstained) {
				t.Errorf("%s: %v, want an abstention", hook, err)
			}
		})
	}
	<-kv.waiting // one waits for the host, the others for its instance
	for plugin.Waiting(h, abi.HookSignIn) < 2 {
		runtime.Gosched()
	}
	for range 100 {
		if _, _, err := check(h); err != nil {
			t.Fatalf("an update check beside waiting sign-ins: %v", err)
		}
	}
	for i := range 3 {
		kv.release <- struct{}{}
		if i < 2 {
			<-kv.waiting
		}
	}
	wg.Wait()
	var waits uint64
	for _, hook := range h.Plugins()[0].Hooks {
		if hook.Hook == "entitle" || hook.Hook == "select_version" {
			if hook.Waits != 0 {
				t.Errorf("%s waited %d times, want never", hook.Hook, hook.Waits)
			}
			continue
		}
		waits += hook.Waits
	}
	if waits != 2 {
		t.Errorf("%d sign-ins and exchanges waited for an instance, want two", waits)
	}
	if p := h.Plugins()[0]; p.Slots != 2 {
		t.Errorf("%d slots, want one in each lane", p.Slots)
	}
}

// BenchmarkSwap swaps a Go guest, whose compiled code is cached.
func BenchmarkSwap(b *testing.B) {
	wasm := goGuest(b, plainGuest)
	h := openSpecs(b, spec("plain", wasm))
	other := append(append([]byte{}, wasm...), 0, 2, 1, 'x') // a custom section more
	for i := 0; b.Loop(); i++ {
		swap(b, h, "plain", [][]byte{other, wasm}[i%2])
	}
}

// TestChangesAreToldOfFirst: whoever is told of a change before it is made may stop it,
// and then nothing has changed.
func TestChangesAreToldOfFirst(t *testing.T) {
	var told []plugin.Changeover
	var refuse error
	specs := []plugin.Spec{spec("one", marked("a")), spec("two", marked("a"))}
	h := open(t, plugin.Options{Specs: specs, Changing: func(_ context.Context, c plugin.Changeover) error {
		told = append(told, c)
		return refuse
	}})
	refuse = errors.New("the disk is full")
	before := h.Plugins()[0]
	if _, err := h.Swap(t.Context(), "one", plugin.Module{Wasm: marked("b")}); !errors.Is(err, refuse) {
		t.Errorf("Swap = %v, want %v", err, refuse)
	} else if _, bad := errors.AsType[*plugin.BadModule](err); bad {
		t.Error("the module is blamed for a full disk")
	}
	if _, err := h.Reload(t.Context(), specs[:1], nil); !errors.Is(err, refuse) {
		t.Errorf("Reload = %v, want %v", err, refuse)
	}
	if after := h.Plugins(); len(after) != 2 || after[0].SHA256 != before.SHA256 || after[0].Swaps != 0 {
		t.Errorf("the plugins are now %+v", after)
	}
	refuse = nil
	swap(t, h, "one", marked("b"))
	if _, err := h.Return(t.Context(), "one", ""); err != nil {
		t.Fatal(err)
	}
	refuse = errors.New("the disk is full again")
	if _, err := h.Return(t.Context(), "one", ""); !errors.Is(err, refuse) {
		t.Errorf("Return = %v, want %v", err, refuse)
	}
	refuse = nil
	if _, err := h.Reload(t.Context(), specs[:1], nil); err != nil {
		t.Fatal(err)
	}
	var what []string
	for _, c := range told {
		what = append(what, c.What)
	}
	if got := strings.Join(what, ", "); got != "swap, reload, swap, return, return, reload" {
		t.Errorf("told of %s", got)
	}
	if last := told[len(told)-1]; strings.Join(last.Removed, " ") != "two" {
		t.Errorf("the reload is told as %+v", last)
	}
	if c := told[3]; c.Plugin != "one" || c.After != before.SHA256 || c.Before != told[2].After {
		t.Errorf("the return is told as %+v", c)
	}
}
