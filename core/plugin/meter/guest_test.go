package meter_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/souk-market/souk/core/plugin/meter"
	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"
)

// guestSource does a little of everything that guests do: strings, maps, sorting, and recursion.
const guestSource = `package main

import (
	"sort"
	"strconv"
	"strings"
)

type offer struct {
	version string
	price   int
}

//go:wasmexport work
func work(n int32) int64 {
	var offers []offer
	byVersion := make(map[string]int)
	for i := range int(n) {
		version := strconv.Itoa(i%7) + "." + strconv.Itoa(i) + strings.Repeat("x", i%50)
		offers = append(offers, offer{version, i * i % 101})
		byVersion[version] += i
	}
	sort.Slice(offers, func(i, j int) bool { return offers[i].price < offers[j].price })
	sum := int64(fibonacci(int(n) % 20))
	for i, o := range offers {
		major, rest, _ := strings.Cut(o.version, ".")
		m, err := strconv.Atoi(major)
		if err != nil {
			panic(err)
		}
		sum = sum*31 + int64(o.price*i+len(rest)+m+byVersion[o.version])
	}
	return sum
}

//go:wasmexport sum
func sum(n int32) int32 {
	s := int32(0)
	for i := range n {
		s += i * i
	}
	return s
}

var b, c []byte

//go:wasmexport fill
func fill(n int32) int32 {
	if int(n) > len(b) {
		b, c = make([]byte, n), make([]byte, n)
	}
	for i := range b {
		b[i] = byte(i)
	}
	copy(c, b)
	clear(b)
	return int32(c[n-1]) + int32(b[n-1])
}

func fibonacci(n int) int {
	if n < 2 {
		return n
	}
	return fibonacci(n-1) + fibonacci(n-2)
}

func main() {}
`

// goGuest builds a guest with the Go toolchain that runs the tests.
var goGuest = sync.OnceValues(func() ([]byte, error) {
	dir, err := os.MkdirTemp("", "guest")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	for file, content := range map[string]string{"main.go": guestSource, "go.mod": "module guest\n\ngo 1.26\n"} {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(content), 0o600); err != nil {
			return nil, err
		}
	}
	build := exec.Command("go", "build", "-buildmode=c-shared", "-o", "guest.wasm", ".")
	build.Dir = dir
	build.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "GOFLAGS=", "GOWORK=off")
	if out, err := build.CombinedOutput(); err != nil {
		return out, err
	}
	return os.ReadFile(filepath.Join(dir, "guest.wasm"))
})

func builtGuest(t testing.TB) []byte {
	t.Helper()
	wasm, err := goGuest()
	if err != nil {
		t.Fatalf("build the guest: %v\n%s", err, wasm)
	}
	return wasm
}

// wasiRuntime has what a Go guest needs, and refill.
func wasiRuntime(t testing.TB, h *host) wazero.Runtime {
	t.Helper()
	ctx := context.Background()
	r := wazero.NewRuntime(ctx)
	t.Cleanup(func() { r.Close(ctx) })
	wasi_snapshot_preview1.MustInstantiate(ctx, r)
	_, err := r.NewHostModuleBuilder(meter.ImportModule).NewFunctionBuilder().
		WithGoModuleFunction(api.GoModuleFunc(h.refill), nil, nil).Export(meter.ImportRefill).Instantiate(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func compiled(t testing.TB, r wazero.Runtime, wasm []byte) wazero.CompiledModule {
	t.Helper()
	c, err := r.CompileModule(context.Background(), wasm)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func started(t testing.TB, r wazero.Runtime, c wazero.CompiledModule) api.Module {
	t.Helper()
	mod, err := r.InstantiateModule(context.Background(), c, wazero.NewModuleConfig().WithName("").
		WithStartFunctions("_initialize"))
	if err != nil {
		t.Fatal(err)
	}
	return mod
}

func TestGoGuest(t *testing.T) {
	t.Parallel()
	wasm := builtGuest(t)
	h := &host{slice: 20_000}
	r := wasiRuntime(t, h)
	out, stats, err := meter.Rewrite(wasm, meter.Limits{MemoryPages: 1024})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d bytes become %d, %+v", len(wasm), len(out), stats)
	original := started(t, r, compiled(t, r, wasm))
	metered := compiled(t, r, out)
	calls := []struct {
		function string
		arg      uint64
	}{{"work", 100}, {"work", 1}, {"sum", 100_000}, {"fill", 1 << 20}, {"work", 333}}
	var first int64
	for run := range 2 {
		h.given = 0
		mod := started(t, r, metered)
		begun := h.used(mod)
		for _, c := range calls {
			want, err := original.ExportedFunction(c.function).Call(t.Context(), c.arg)
			if err != nil {
				t.Fatal(err)
			}
			before := h.used(mod)
			got, err := mod.ExportedFunction(c.function).Call(t.Context(), c.arg)
			if err != nil || got[0] != want[0] {
				t.Errorf("%s(%d) = %v, %v, want %d", c.function, c.arg, got, err, want[0])
			}
			if run == 0 {
				t.Logf("%s(%d) uses %d", c.function, c.arg, h.used(mod)-before)
			}
		}
		if run == 0 {
			first = h.used(mod)
			t.Logf("starting uses %d", begun)
		} else if got := h.used(mod); got != first {
			t.Errorf("a fresh instance used %d units, the one before it %d", got, first)
		}
	}
	mod := started(t, r, metered)
	h.refills, h.stopAt = 0, 3
	_, err = mod.ExportedFunction("sum").Call(t.Context(), 1<<30)
	if !errors.Is(err, errStopped) {
		t.Errorf("a long loop: error %v, want %v", err, errStopped)
	}
}

func BenchmarkRewrite(b *testing.B) {
	wasm := builtGuest(b)
	b.SetBytes(int64(len(wasm)))
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := meter.Rewrite(wasm, meter.Limits{MemoryPages: 1024}); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkLoop has the least that a loop can do, and the least that a bulk operation can.
func BenchmarkLoop(b *testing.B) {
	p := newProgram()
	p.memory(1)
	p.function("loop", ops(i32), nil, countdown)
	p.function("fill", ops(i32), nil, ops(loop, void), number(0), number(1), number(16), ops(0xfc, 11, 0, localGet, 0),
		number(1), ops(i32Sub, localTee, 0, brIf, 0, end))
	original, metered := plain(b, p.wasm()), start(b, &host{slice: 20_000}, p)
	for _, export := range []string{"loop", "fill"} {
		for what, mod := range map[string]api.Module{"plain": original, "metered": metered} {
			b.Run(export+"/"+what, func(b *testing.B) {
				f := mod.ExportedFunction(export)
				for b.Loop() {
					f.Call(b.Context(), 10_000)
				}
			})
		}
	}
}

// BenchmarkCall has the same calls of a Go guest without and with metering, and says what a unit takes.
func BenchmarkCall(b *testing.B) {
	wasm := builtGuest(b)
	out, _, err := meter.Rewrite(wasm, meter.Limits{MemoryPages: 1024})
	if err != nil {
		b.Fatal(err)
	}
	h := &host{slice: 20_000}
	r := wasiRuntime(b, h)
	original, metered := compiled(b, r, wasm), compiled(b, r, out)
	for _, call := range []struct {
		function string
		arg      uint64
	}{{"work", 20}, {"sum", 10_000}, {"fill", 100_000}} {
		b.Run(call.function+"/plain", func(b *testing.B) {
			f := started(b, r, original).ExportedFunction(call.function)
			for b.Loop() {
				if _, err := f.Call(b.Context(), call.arg); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(call.function+"/metered", func(b *testing.B) {
			h.given = 0
			mod := started(b, r, metered)
			f := mod.ExportedFunction(call.function)
			before := h.used(mod)
			for b.Loop() {
				if _, err := f.Call(b.Context(), call.arg); err != nil {
					b.Fatal(err)
				}
			}
			used := float64(h.used(mod) - before)
			b.ReportMetric(used/float64(b.N), "units/op")
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/used, "ns/unit")
		})
	}
}
