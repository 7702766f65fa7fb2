package plugin_test

import (
	"context"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/souk-market/souk/core/plugin"
	"github.com/souk-market/souk/sdk/abi"
)

// hostile are guests that would cost more than their own question if they
// could, and the failures that they count as. A name says what they do.
var hostile = []struct {
	name  string
	kinds []plugin.Kind
	wasm  func() []byte
}{
	{"loop", []plugin.Kind{plugin.KindFuel, plugin.KindDeadline}, func() []byte {
		return newGuest().hook("entitle", "loop br 0 end unreachable").wasm()
	}},
	{"recursion", []plugin.Kind{plugin.KindFuel, plugin.KindDeadline, plugin.KindTrap}, func() []byte {
		return newGuest().fn("$even", "", "", "IIII", "call $odd").fn("$odd", "", "", "", "call $even call $even").
			hook("entitle", "call $even i64.const 0").wasm()
	}},
	{"growth", []plugin.Kind{plugin.KindFuel, plugin.KindDeadline}, func() []byte {
		return newGuest().hook("entitle", "loop i32.const 1 memory.grow drop br 0 end unreachable").wasm()
	}},
	{"write", []plugin.Kind{plugin.KindTrap}, func() []byte {
		return newGuest().hook("entitle", "i32.const 0x7ffffff0 i32.const 1 i32.store i64.const 0").wasm()
	}},
	{"copies", []plugin.Kind{plugin.KindFuel, plugin.KindDeadline}, func() []byte {
		g := newGuest().hook("entitle", "loop i32.const 0 i32.const 8 i32.const 0x800000 memory.copy br 0 end unreachable")
		g.min = 200
		return g.wasm()
	}},
	{"fills", []plugin.Kind{plugin.KindFuel, plugin.KindDeadline}, func() []byte {
		g := newGuest().hook("entitle", "loop i32.const 0 i32.const 8 i32.const 0xc00000 memory.fill br 0 end unreachable")
		g.min = 200
		return g.wasm()
	}},
	{"calls", []plugin.Kind{plugin.KindFuel, plugin.KindDeadline}, func() []byte {
		return newGuest().imported("souk", "bucket", "iiii", "i").
			hook("entitle", "loop i32.const 0 i32.const 30000 i32.const 0 i32.const 30000 call bucket drop br 0 end unreachable").wasm()
	}},
	{"random", []plugin.Kind{plugin.KindFuel, plugin.KindDeadline}, func() []byte {
		return newGuest().imported("wasi_snapshot_preview1", "random_get", "ii", "i").
			hook("entitle", "loop i32.const 0 i32.const 0x100000 call random_get drop br 0 end unreachable").wasm()
	}},
	{"log", []plugin.Kind{plugin.KindFuel, plugin.KindDeadline}, func() []byte {
		return newGuest().imported("souk", "log", "iii", "").
			hook("entitle", "loop i32.const 3 i32.const 0 i32.const 60000 call log br 0 end unreachable").wasm()
	}},
	{"nonsense", []plugin.Kind{plugin.KindNonsense}, func() []byte {
		return newGuest().hook("entitle", "i64.const -1").wasm()
	}},
	{"exit", []plugin.Kind{plugin.KindTrap}, func() []byte {
		return newGuest().imported("wasi_snapshot_preview1", "proc_exit", "i", "").
			hook("entitle", "i32.const 1 call proc_exit i64.const 0").wasm()
	}},
}

func TestHostileGuestsCostOnlyTheirOwnQuestion(t *testing.T) {
	good := openSpecs(t, spec("plain", goGuest(t, plainGuest)))
	var asked, failed atomic.Int64
	done := make(chan struct{})
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				c := good.Acquire()
				c.Entitle.Grants = []string{"pro"}
				c.Entitle.Apps = append(c.Entitle.Apps, make([]abi.EntitleApp, 3)...)
				for _, e := range c.AskEntitle(context.Background()) {
					if e.Decision != allow || e.Plugin != "plain" {
						failed.Add(1)
					}
				}
				c.Release()
				asked.Add(1)
			}
		})
	}
	for _, g := range hostile {
		t.Run(g.name, func(t *testing.T) {
			s := spec(g.name, g.wasm())
			s.Allow = []string{"log"}
			h := openSpecs(t, s)
			const questions = 6
			before := asked.Load()
			for range questions {
				if got := entitle(t, h, 1, abi.Head{})[0]; got.Decision != deny || !got.Failed {
					t.Errorf("AskEntitle = %+v, want a denial because it failed", got)
				}
			}
			var counted uint64
			failures := failuresOf(h, g.name, "entitle")
			for _, k := range g.kinds {
				counted += failures[k.String()]
			}
			if counted != questions {
				t.Errorf("failures = %v, want %d of %v", failures, questions, g.kinds)
			}
			for asked.Load() == before { // the good one goes on
				runtime.Gosched()
			}
		})
	}
	close(done)
	wg.Wait()
	if n := failed.Load(); n > 0 || len(failuresOf(good, "plain", "entitle")) > 0 {
		t.Errorf("%d of %d questions to the good plugin failed: %v", n, asked.Load(), failuresOf(good, "plain", "entitle"))
	}
}

func TestGarbageCollectionIsNotHeldUp(t *testing.T) {
	s := spec("loop", newGuest().hook("entitle", "loop br 0 end unreachable").wasm())
	s.Fuel, s.Deadline = 1<<40, 1<<62
	h := openSpecs(t, s)
	ctx, cancel := context.WithCancel(t.Context())
	spinning, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		c := h.Acquire()
		defer c.Release()
		c.Entitle.Apps = make([]abi.EntitleApp, 1)
		close(spinning)
		c.AskEntitle(ctx)
	}()
	<-spinning
	for range 5 {
		runtime.GC()
	}
	select {
	case <-ended:
		t.Error("the guest ended, want it to spin until its caller gives up")
	default:
	}
	cancel()
	<-ended
	wantFailure(t, h, "loop", "entitle", plugin.KindDeadline, 1)
}

func TestDeadline(t *testing.T) {
	s := spec("loop", newGuest().hook("entitle", "loop br 0 end unreachable").wasm())
	s.Fuel, s.Deadline = 1<<40, 1_000_000 // 1 ms
	h := openSpecs(t, s)
	entitle(t, h, 1, abi.Head{})
	wantFailure(t, h, "loop", "entitle", plugin.KindDeadline, 1)
	if have, want := h.Plugins()[0].LastFailure, "plugin loop: entitle: deadline: its deadline is over: 1ms"; have != want {
		t.Errorf("the last failure is %q, want %q", have, want)
	}
}

func TestMemoryEndsAtTheLimit(t *testing.T) {
	// Grows until it is refused, and answers with the size as its error code.
	g := newGuest().hook("entitle", `
		loop
			i32.const 1 memory.grow i32.const -1 i32.eq i32.eqz br_if 0
		end
		memory.size i64.extend_i32_u`)
	s := spec("growth", g.wasm())
	s.Memory = 3 << 20
	h := openSpecs(t, s)
	entitle(t, h, 1, abi.Head{})
	if have, want := h.Plugins()[0].LastFailure, "the guest answered code 48"; !strings.Contains(have, want) {
		t.Errorf("the last failure is %q, want %q", have, want)
	}
}

func TestFuelIsAHardLimit(t *testing.T) {
	// Counts to n; each turn costs the same.
	guest := func(n string) []byte {
		return newGuest().fn("entitle", "i", "I", "i",
			"loop local.get 1 i32.const 1 i32.add local.tee 1 i32.const "+n+" i32.lt_u br_if 0 end i64.const 0").wasm()
	}
	used := func(n string, fuel uint64) (uint64, map[string]uint64) {
		s := spec("count", guest(n))
		s.Fuel = fuel
		h := open(t, plugin.Options{Specs: []plugin.Spec{s}, Timeless: true})
		c := h.Acquire()
		defer c.Release()
		c.Entitle.Apps = make([]abi.EntitleApp, 1)
		c.AskEntitle(t.Context())
		return c.Fuel(), failuresOf(h, "count", "entitle")
	}
	for _, n := range []string{"1", "1000", "100000"} {
		need, _ := used(n, 1<<40)
		if have, failures := used(n, need); have != need || len(failures) > 0 {
			t.Errorf("to %s with the fuel it needs: %d of %d used, failures %v", n, have, need, failures)
		}
		if have, failures := used(n, need-1); have < need-1 || failures["fuel"] != 1 {
			t.Errorf("to %s with one unit less: %d of %d used, failures %v, want it to fail", n, have, need, failures)
		}
	}
}

// Two hosts that are asked the same in the same order, from their start.
func TestAnswersAndFuelAreReproducible(t *testing.T) {
	var fuels []uint64
	var reasons []string
	for range 2 {
		s := fullSpec(t)
		s.Instances = 1
		h := open(t, plugin.Options{Specs: []plugin.Spec{s}, KV: (&store{}).open, Timeless: true})
		for _, account := range []string{"random", "time", "bucket", "kv:get", "log"} {
			c := h.Acquire()
			c.Entitle.Head = abi.Head{Account: account, NowMS: uint64(time.Hour.Milliseconds()), Seed: 99, BucketKey: "key"}
			c.Entitle.Apps = make([]abi.EntitleApp, 1)
			e := c.AskEntitle(t.Context())[0]
			fuels, reasons = append(fuels, c.Fuel()), append(reasons, strings.Clone(e.Reason))
			c.Release()
		}
	}
	for i := range len(fuels) / 2 {
		j := i + len(fuels)/2
		if fuels[i] != fuels[j] || reasons[i] != reasons[j] {
			t.Errorf("question %d: fuel %d, then %d; reason %q, then %q", i, fuels[i], fuels[j], reasons[i], reasons[j])
		}
	}
}
