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

// guestSource does a little of everything that guests do: strings, maps, sorting, JSON, and recursion.
const guestSource = `package main

import (
	"encoding/json"
	"fmt"
	"sort"
	"strings"
)

type offer struct {
	Version string            ` + "`json:\"version\"`" + `
	Price   int               ` + "`json:\"price\"`" + `
	Labels  map[string]string ` + "`json:\"labels\"`" + `
}

//go:wasmexport work
func work(n int32) int64 {
	var offers []offer
	for i := range int(n) {
		offers = append(offers, offer{fmt.Sprintf("%d.%d", i%7, i), i * i % 101, map[string]string{"a": strings.Repeat("x", i%50)}})
	}
	sort.Slice(offers, func(i, j int) bool { return offers[i].Price < offers[j].Price })
	b, err := json.Marshal(offers)
	if err != nil {
		panic(err)
	}
	var back []offer
	if err := json.Unmarshal(b, &back); err != nil {
		panic(err)
	}
	sum := int64(fibonacci(int(n) % 20))
	for i, o := range back {
		sum = sum*31 + int64(o.Price*i+len(o.Labels["a"])) + int64(o.Version[0])
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

//go:wasmexport fill
func fill(n int32) int32 {
	b := make([]byte, n)
	c := make([]byte, n)
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

// BenchmarkCall has the same calls of a Go guest without and with metering, and says what a unit takes.
func BenchmarkCall(b *testing.B) {
	wasm := builtGuest(b)
	out, _, err := meter.Rewrite(wasm, meter.Limits{MemoryPages: 1024})
	if err != nil {
		b.Fatal(err)
	}
	h := &host{slice: 20_000}
	r := wasiRuntime(b, h)
	original, metered := started(b, r, compiled(b, r, wasm)), started(b, r, compiled(b, r, out))
	for _, call := range []struct {
		function string
		arg      uint64
	}{{"work", 20}, {"sum", 10_000}, {"fill", 100_000}} {
		b.Run(call.function+"/plain", func(b *testing.B) {
			f := original.ExportedFunction(call.function)
			for b.Loop() {
				f.Call(b.Context(), call.arg)
			}
		})
		b.Run(call.function+"/metered", func(b *testing.B) {
			f := metered.ExportedFunction(call.function)
			before := h.used(metered)
			for b.Loop() {
				f.Call(b.Context(), call.arg)
			}
			used := float64(h.used(metered) - before)
			b.ReportMetric(used/float64(b.N), "units/op")
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/used, "ns/unit")
		})
	}
}
