package meter_test

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/metrics"
	"strings"
	"testing"

	"github.com/souk-market/souk/core/plugin/meter"
	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
)

// allocated is how many bytes the program allocated so far.
func allocated() uint64 {
	sample := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}

// seeds are small programs of our own and what lies in the engine's module.
func seeds(f *testing.F) {
	bulk := bulkProgram(2, []byte("some data"))
	bulk.function("g", nil, nil, countdown[:0], ops(loop, void, br, 0, end))
	all := guest()
	all.functionWith("g", ops(i32), nil, [][]byte{{2, v128}}, ops(block, void), countdown, ops(localGet, 0, brTable, 1, 0, 0,
		end, 0x0f), ops(0xfd, 12), repeated(16, 1), ops(0xfd, 0x80, 1, localSet, 1))
	all.start = 1
	all.custom = [][]byte{nameSection(subsection(1, vector([][]byte{named(0, "a"), named(1, "b")})))}
	for _, p := range []*program{newProgram(), bulk, all} {
		f.Add(p.wasm())
	}
	kinds := map[string]int{}
	err := filepath.WalkDir(wazeroDir(f), func(path string, d fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".wasm") {
			return err
		}
		info, err := d.Info()
		if err != nil || info.Size() > 4096 {
			return err
		}
		kind, _, _ := strings.Cut(path, ".wasm")
		kind = strings.TrimRight(kind, "0123456789.")
		if kinds[kind]++; kinds[kind] > 2 { // of the specification's modules, two of each file
			return nil
		}
		b, err := os.ReadFile(path)
		f.Add(b)
		return err
	})
	if err != nil {
		f.Fatal(err)
	}
}

func FuzzRewrite(f *testing.F) {
	seeds(f)
	c := newChecker(f)
	f.Fuzz(func(t *testing.T, wasm []byte) { c.check(t, wasm) })
}

// FuzzCode makes up the body of one function in a module that has one of everything.
func FuzzCode(f *testing.F) {
	for _, code := range [][]byte{
		countdown,
		ops(block, void, localGet, 0, brTable, 1, 0, 1, end),
		ops(localGet, 0, if_, i32, i32Const, 1, else_, i32Const, 2, end, drop),
		ops(i32Const, 0, i32Const, 0, i32Const, 1, 0xfc, 11, 0, i32Const, 1, memoryGrow, 0, drop),
		ops(i32Const, 0, i32Const, 0, i32Const, 1, 0xfc, 8, 0, 0, 0xfc, 9, 0, 0xfc, 13, 0),
		ops(refFunc, 1, i32Const, 1, 0xfc, 15, 0, drop, i32Const, 0, callIndirect, 0, 0, call, 0),
		join(ops(0xfd, 12), repeated(16, 1), ops(0xfd, 0x80, 1, drop), ops(i32Const, 0, 0xfd, 0, 0, 0, drop)),
		ops(unreachable, 0x1c, 1, i32, drop, refNull, funcref, 0xd1, drop, globalGet, 0, globalSet, 0),
		ops(block, i32, loop, i64, localGet, 0, localGet, 0, brIf, 1, brTable, 1, 1, 2, end, drop, localGet, 0, end, drop, loop, void, return_, end),
		ops(i64Const, 0x80, 0x80, 0x80, 0, drop, 0x43, 1, 2, 3, 4, drop, 0x44, 1, 2, 3, 4, 5, 6, 7, 8, drop),
	} {
		f.Add(code)
	}
	c := newChecker(f)
	f.Fuzz(func(t *testing.T, code []byte) {
		p := guest()
		p.imports = nil
		p.exports, p.bodies, p.funcs = p.exports[:1], nil, nil
		p.function("f", nil, nil)
		p.export("g", 0, 1)
		p.functionWith("", ops(i32), nil, [][]byte{{1, v128}}, code)
		c.check(t, p.wasm())
	})
}

// checker holds a module that was metered against what has to be true of all of them.
type checker struct {
	runtime wazero.Runtime
	host    host
}

func newChecker(f *testing.F) *checker {
	ctx := context.Background()
	config := wazero.NewRuntimeConfigInterpreter().WithCoreFeatures(api.CoreFeaturesV2).WithMemoryLimitPages(64)
	c := &checker{runtime: wazero.NewRuntimeWithConfig(ctx, config)}
	f.Cleanup(func() { c.runtime.Close(ctx) })
	refill := api.GoModuleFunc(func(ctx context.Context, mod api.Module, stack []uint64) { c.host.refill(ctx, mod, stack) })
	_, err := c.runtime.NewHostModuleBuilder(meter.ImportModule).NewFunctionBuilder().
		WithGoModuleFunction(refill, nil, nil).Export(meter.ImportRefill).Instantiate(ctx)
	if err != nil {
		f.Fatal(err)
	}
	return c
}

func (c *checker) check(t *testing.T, wasm []byte) {
	ctx := context.Background()
	before := allocated()
	out, _, err := meter.Rewrite(wasm, meter.Limits{MemoryPages: 16, TableSize: 1000})
	if used, most := allocated()-before, uint64(4<<20+512*len(wasm)); used > most {
		t.Errorf("%d bytes allocated for a module of %d", used, len(wasm))
	}
	inspected, inspectErr := meter.Inspect(wasm)
	if err != nil {
		if len(out) > 0 || err.Error() == "" {
			t.Errorf("refused with %q and %d bytes", err, len(out))
		}
		return
	}
	if inspectErr != nil {
		t.Fatalf("Rewrite takes what Inspect refuses: %v", inspectErr)
	}
	stripped, err := meter.Strip(wasm)
	if err != nil {
		t.Fatalf("Rewrite takes what Strip refuses: %v", err)
	}
	original, invalid := c.runtime.CompileModule(ctx, stripped)
	metered, refused := c.runtime.CompileModule(ctx, out)
	if invalid == nil {
		original.Close(ctx)
	}
	if (invalid == nil) != (refused == nil) {
		t.Fatalf("to the engine the original is %v, metered it is %v", invalid, refused)
	}
	if refused != nil {
		return
	}
	defer metered.Close(ctx)
	if _, _, err := meter.Rewrite(out, meter.Limits{}); err == nil {
		t.Error("metering twice is not refused")
	}
	if len(inspected.Imports) == 0 {
		c.run(metered, inspected)
	}
}

// run calls what the module exports: if that comes back, it could be stopped.
func (c *checker) run(metered wazero.CompiledModule, inspected *meter.Module) {
	ctx := context.Background()
	c.host = host{slice: 1000, stopAt: 50}
	mod, err := c.runtime.InstantiateModule(ctx, metered, wazero.NewModuleConfig().WithName("").WithStartFunctions())
	if err != nil {
		return
	}
	defer mod.Close(ctx)
	for _, e := range inspected.Exports[:min(5, len(inspected.Exports))] {
		if e.Kind != api.ExternTypeFunc {
			continue
		}
		c.host = host{slice: 1000, stopAt: 50}
		_ = mod.ExportedFunction(e.Name).CallWithStack(ctx, make([]uint64, 2*(len(e.Params)+len(e.Results))))
	}
}
