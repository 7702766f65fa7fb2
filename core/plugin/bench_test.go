package plugin_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"

	"github.com/souk-market/souk/core/plugin"
	"github.com/souk-market/souk/sdk/abi"
	"github.com/souk-market/souk/sdk/examples"
)

// candidates are those of one app in an update check.
var candidates = []abi.Candidate{
	{Version: 30, MinOS: abi.OS(18, 0, 0), Rollout: 5000, Salt: "30", Short: "3.0", Build: "300"},
	{Version: 20, MinOS: abi.OS(17, 4, 0), Rollout: 10000, Salt: "20", Short: "2.0", Build: "200"},
}

// fillCall is a device's update check for one app.
func fillCall(c *plugin.Call) {
	c.SelectVersion.Head = abi.Head{
		NowMS: 1_790_000_000_000, Purpose: abi.PurposeUpdate, Account: "account-000001", Client: "device",
		Platform: abi.PlatformIOS, OS: abi.OS(17, 6, 1), Territory: "AUT", BucketKey: "account-000001",
	}
	c.SelectVersion.Apps = append(c.SelectVersion.Apps, abi.SelectVersionApp{
		Item: 1000001, Installed: 10, BundleID: "com.example.app", Candidates: candidates,
	})
	c.Entitle.Head = c.SelectVersion.Head
	c.Entitle.Apps = append(c.Entitle.Apps, abi.EntitleApp{Item: 1000001, BundleID: "com.example.app"})
}

// handMade is the smallest guest: its answers are always the same.
func handMade() []byte {
	g := newGuest()
	g.hook("entitle", g.put(1024, decisions(allow)))
	return g.hook("select_version", g.put(2048, choices(1))).wasm()
}

func TestNoAllocations(t *testing.T) {
	if raceDetector {
		t.Skip("the race detector's pools allocate")
	}
	ctx := context.Background()
	for name, wasm := range map[string][]byte{"hand-made": handMade(), "plain": goGuest(t, plainGuest)} {
		h := openSpecs(t, spec(name, wasm))
		each := func() {
			c := h.Acquire()
			fillCall(c)
			c.AskEntitle(ctx)
			c.AskSelectVersion(ctx)
			c.Release()
		}
		for range 100 {
			each()
		}
		// A collection empties the pools: less than one in ten is none.
		if n := testing.AllocsPerRun(1000, each); n > 0.1 {
			t.Errorf("%s guest: %v allocations an update check, want none", name, n)
		}
	}
}

// bare is the same module without anything of ours: no meter, no pool, no check.
type bare struct {
	hook  api.Function
	stack [1]uint64
}

func newBare(b *testing.B, wasm, request []byte) *bare {
	ctx := b.Context()
	rt := wazero.NewRuntime(ctx)
	b.Cleanup(func() { rt.Close(context.Background()) })
	wasi_snapshot_preview1.MustInstantiate(ctx, rt)
	bucket := func(context.Context, uint32, uint32, uint32, uint32) uint32 { panic("nobody's share needs no bucket") }
	if _, err := rt.NewHostModuleBuilder(abi.ImportModule).NewFunctionBuilder().WithFunc(bucket).Export("bucket").Instantiate(ctx); err != nil {
		b.Fatal(err)
	}
	mod, err := rt.InstantiateWithConfig(ctx, wasm, wazero.NewModuleConfig().WithStartFunctions("_initialize"))
	if err != nil {
		b.Fatal(err)
	}
	at, err := mod.ExportedFunction("souk_buffer").Call(ctx, abi.BufferSize)
	if err != nil || !mod.Memory().Write(uint32(at[0]), request) {
		b.Fatalf("souk_buffer = %v, %v", at, err)
	}
	return &bare{hook: mod.ExportedFunction("select_version"), stack: [1]uint64{uint64(len(request))}}
}

func (c *bare) call(b *testing.B, size int) {
	c.stack[0] = uint64(size)
	if err := c.hook.CallWithStack(context.Background(), c.stack[:]); err != nil || c.stack[0] == 0 {
		b.Fatalf("select_version = %d, %v", c.stack[0], err)
	}
}

// BenchmarkAskSelectVersion compares a whole question (encode, take an instance,
// call, check, read, give back) with the engine's bare call of the same guest.
func BenchmarkAskSelectVersion(b *testing.B) {
	for _, g := range []struct {
		name string
		wasm []byte
	}{{"hand-made", handMade()}, {"plain", goGuest(b, plainGuest)}} {
		b.Run(g.name, func(b *testing.B) {
			h := openSpecs(b, spec(g.name, g.wasm))
			ctx := context.Background()
			c := h.Acquire()
			fillCall(c)
			request := c.SelectVersion.Append(nil)
			c.Release()
			raw := newBare(b, g.wasm, request)

			beside(b, raw, len(request), func() {
				c := h.Acquire()
				fillCall(c)
				if c.AskSelectVersion(ctx)[0].Choice != 1 {
					b.Fatal("the guest didn't choose candidate 1")
				}
				c.Release()
			})
		})
	}
}

// beside measures questions beside as many bare calls with a message of so many bytes, in
// turns.
func beside(b *testing.B, raw *bare, size int, ask func()) {
	const batch = 1000
	var ours, theirs time.Duration
	rounds := 0
	for b.Loop() {
		began := time.Now()
		for range batch {
			raw.call(b, size)
		}
		between := time.Now()
		for range batch {
			ask()
		}
		theirs, ours = theirs+between.Sub(began), ours+time.Since(between)
		rounds++
	}
	per := float64(rounds * batch)
	b.ReportMetric(float64(ours)/per, "ns/question")
	b.ReportMetric(float64(theirs)/per, "ns/bare")
	b.ReportMetric(float64(ours)/float64(theirs), "×bare")
}

// heldBack is an update check about five apps, each with a candidate that is nobody's yet.
func heldBack() *abi.SelectVersionRequest {
	r := &abi.SelectVersionRequest{Head: abi.Head{
		NowMS: 1_790_000_000_000, Purpose: abi.PurposeUpdate, Seed: 5, Account: "person-123@example.com", BucketKey: "person-123@example.com",
		Client: "0123456789abcdef0123456789abcdef", Platform: abi.PlatformIOS, OS: abi.OS(26, 0, 0),
	}}
	for i := range 5 {
		r.Apps = append(r.Apps, abi.SelectVersionApp{
			Item: uint64(1500000000 + i), Installed: 800000000, BundleID: fmt.Sprintf("com.example.app%d", 1000+i*37),
			Candidates: []abi.Candidate{{Version: 800000001, ReleasedMS: 5, MinOS: abi.OS(17, 4, 0), Flags: 1, Salt: "1500000000/800000001", Short: "3.0", Build: "103"}},
		})
	}
	return r
}

// BenchmarkAskVersions is the same for what a catalogue asks, whose candidates are
// packed: of a guest that does nothing, which leaves what the host spends, and of the
// example in C and in Go.
func BenchmarkAskVersions(b *testing.B) {
	constant := newGuest()
	guests := []examples.Example{{Language: "hand-made", Wasm: constant.hook("select_version", constant.put(2048, choices(-1, -1, -1, -1, -1))).wasm()}}
	for _, e := range examples.All() {
		if e.Language == "c" || e.Language == "go" {
			guests = append(guests, e)
		}
	}
	for _, g := range guests {
		b.Run(g.Language, func(b *testing.B) {
			h := openSpecs(b, spec(g.Language, g.Wasm))
			ctx := context.Background()
			r := heldBack()
			request := r.Append(nil)
			raw := newBare(b, g.Wasm, request)
			packed := make([]abi.PackedCandidate, len(r.Apps))
			for i := range packed {
				packed[i] = r.Apps[i].Candidates[0].Pack()
			}

			beside(b, raw, len(request), func() {
				c := h.Acquire()
				w := c.Versions(&r.Head, len(r.Apps))
				for i := range r.Apps {
					a := &r.Apps[i]
					w.App(a.Item, a.Installed, a.BundleID, a.Channel, 1)
					w.Candidate(packed[i], a.Candidates[0].MinOS, a.Candidates[0].Flags)
				}
				if answers := c.AskVersions(ctx); len(answers) != len(r.Apps) || answers[0].Choice != abi.Hold || answers[0].Failed {
					b.Fatalf("answers %v, want all held", answers)
				}
				c.Release()
			})
		})
	}
}

// BenchmarkParallel asks from 1 and from 64 goroutines.
func BenchmarkParallel(b *testing.B) {
	for _, g := range []struct {
		name string
		wasm []byte
	}{{"hand-made", handMade()}, {"plain", goGuest(b, plainGuest)}} {
		for _, n := range []int{1, 2, 64} {
			b.Run(g.name+"/"+map[int]string{1: "1", 2: "2", 64: "64"}[n], func(b *testing.B) {
				h := openSpecs(b, spec(g.name, g.wasm))
				ask := func() {
					c := h.Acquire()
					fillCall(c)
					c.AskSelectVersion(context.Background())
					c.Release()
				}
				var wg sync.WaitGroup
				for range 64 { // start all instances
					wg.Go(func() {
						for range 100 {
							ask()
						}
					})
				}
				wg.Wait()
				b.ReportAllocs()
				b.ResetTimer()
				if n == 1 {
					for b.Loop() {
						ask()
					}
				} else {
					b.SetParallelism(n / 2) // of GOMAXPROCS
					b.RunParallel(func(pb *testing.PB) {
						for pb.Next() {
							ask()
						}
					})
				}
				if f := failuresOf(h, g.name, "select_version"); len(f) > 0 {
					b.Errorf("failures: %v", f)
				}
			})
		}
	}
}

// BenchmarkOpen loads a Go guest without and with compiled code.
func BenchmarkOpen(b *testing.B) {
	for _, c := range []struct{ name, dir string }{{"cold", ""}, {"cached", scratch + "/cache"}} {
		b.Run(c.name, func(b *testing.B) {
			s := spec("plain", goGuest(b, plainGuest))
			for b.Loop() {
				h, err := plugin.Open(b.Context(), plugin.Options{Specs: []plugin.Spec{s}, Cache: c.dir})
				if err != nil {
					b.Fatal(err)
				}
				h.Close(b.Context())
			}
		})
	}
}

// BenchmarkStart throws the instance away each time.
func BenchmarkStart(b *testing.B) {
	s := spec("full", goGuest(b, fullGuest))
	s.Allow = everything
	h := open(b, plugin.Options{Specs: []plugin.Spec{s}, KV: (&store{}).open})
	for b.Loop() {
		entitle(b, h, 1, abi.Head{Account: "exit"})
	}
}

// BenchmarkWatched is what a question costs the request that asks it when somebody
// looks at it besides: the worker has the other cores.
func BenchmarkWatched(b *testing.B) {
	live := spec("live", handMade())
	beside := live
	beside.Name, beside.Shadow, beside.InsteadOf = "next", true, "live"
	for _, c := range []struct {
		name string
		o    plugin.Options
	}{
		{"by nobody", plugin.Options{Specs: []plugin.Spec{live}}},
		{"by a shadow", plugin.Options{Specs: []plugin.Spec{live, beside}}},
		{"by a shadow of other devices", plugin.Options{Specs: []plugin.Spec{live, beside}, ShadowShare: 1}},
	} {
		b.Run(c.name, func(b *testing.B) {
			h := open(b, c.o)
			b.ReportAllocs()
			for b.Loop() {
				c := h.Acquire()
				fillCall(c)
				c.AskSelectVersion(context.Background())
				c.Release()
			}
		})
	}
}
