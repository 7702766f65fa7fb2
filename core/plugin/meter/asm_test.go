package meter_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"slices"
	"testing"

	"github.com/souk-market/souk/core/plugin/meter"
	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
)

// Value types and instructions, for the modules below.
const (
	i32, i64, f64, v128  = 0x7f, 0x7e, 0x7c, 0x7b
	funcref, externref   = 0x70, 0x6f
	void                 = 0x40
	unreachable, nop     = 0x00, 0x01
	block, loop          = 0x02, 0x03
	if_, else_, end      = 0x04, 0x05, 0x0b
	br, brIf, brTable    = 0x0c, 0x0d, 0x0e
	return_, call        = 0x0f, 0x10
	callIndirect, drop   = 0x11, 0x1a
	localGet, localSet   = 0x20, 0x21
	localTee             = 0x22
	globalGet, globalSet = 0x23, 0x24
	memorySize           = 0x3f
	memoryGrow           = 0x40
	i32Const, i64Const   = 0x41, 0x42
	i64Add               = 0x7c
	i32Add, i32Sub       = 0x6a, 0x6b
	refNull, refFunc     = 0xd0, 0xd2
)

func u32(v uint32) []byte { return binary.AppendUvarint(nil, uint64(v)) }

func s32(v int32) []byte {
	var b []byte
	for v < -0x40 || v > 0x3f {
		b = append(b, byte(v)|0x80)
		v >>= 7
	}
	return append(b, byte(v)&0x7f)
}

func join(parts ...[]byte) []byte { return slices.Concat(parts...) }

func ops(b ...byte) []byte { return b }

// number is i32.const.
func number(v int32) []byte { return join(ops(i32Const), s32(v)) }

func name(s string) []byte { return append(u32(uint32(len(s))), s...) }

func vector(items [][]byte) []byte { return append(u32(uint32(len(items))), join(items...)...) }

func sized(b []byte) []byte { return append(u32(uint32(len(b))), b...) }

func repeated(n int, b ...byte) []byte { return bytes.Repeat(b, n) }

// program assembles a module. Items stand as the binary format wants them, without the count before them.
type program struct {
	types, imports, funcs, tables, memories, globals, exports, elements, bodies, data [][]byte

	start     int // -1 is none
	dataCount bool
	custom    [][]byte // whole sections, behind the others
}

func newProgram() *program { return &program{start: -1} }

// signature adds a function type.
func (p *program) signature(params, results []byte) uint32 {
	t := join(ops(0x60), sized(params), sized(results))
	if i := slices.IndexFunc(p.types, func(b []byte) bool { return bytes.Equal(b, t) }); i >= 0 {
		return uint32(i)
	}
	p.types = append(p.types, t)
	return uint32(len(p.types) - 1)
}

// imported adds an imported function, which must come before all others.
func (p *program) imported(module, field string, params, results []byte) uint32 {
	t := p.signature(params, results)
	p.imports = append(p.imports, join(name(module), name(field), ops(0), u32(t)))
	return uint32(len(p.imports) - 1)
}

// function adds a function without its last end, exported if it has a name.
func (p *program) function(export string, params, results []byte, code ...[]byte) uint32 {
	return p.functionWith(export, params, results, nil, code...)
}

// functionWith adds a function with locals, which are runs of a count and a type.
func (p *program) functionWith(export string, params, results []byte, locals [][]byte, code ...[]byte) uint32 {
	p.funcs = append(p.funcs, u32(p.signature(params, results)))
	p.bodies = append(p.bodies, sized(join(vector(locals), join(code...), ops(end))))
	i := uint32(len(p.imports) + len(p.funcs) - 1)
	if export != "" {
		p.export(export, 0, i)
	}
	return i
}

func (p *program) export(field string, kind byte, index uint32) {
	p.exports = append(p.exports, join(name(field), ops(kind), u32(index)))
}

func (p *program) memory(pages uint32) {
	p.memories = append(p.memories, join(ops(0), u32(pages)))
	p.export("memory", 2, 0)
}

// segment adds a passive data segment.
func (p *program) segment(content []byte) uint32 {
	p.data = append(p.data, join(ops(1), sized(content)))
	p.dataCount = true
	return uint32(len(p.data) - 1)
}

func (p *program) wasm() []byte {
	b := []byte("\x00asm\x01\x00\x00\x00")
	section := func(id byte, content []byte) { b = append(append(b, id), sized(content)...) }
	items := func(id byte, list [][]byte) {
		if list != nil {
			section(id, vector(list))
		}
	}
	items(1, p.types)
	items(2, p.imports)
	items(3, p.funcs)
	items(4, p.tables)
	items(5, p.memories)
	items(6, p.globals)
	items(7, p.exports)
	if p.start >= 0 {
		section(8, u32(uint32(p.start)))
	}
	items(9, p.elements)
	if p.dataCount {
		section(12, u32(uint32(len(p.data))))
	}
	items(10, p.bodies)
	items(11, p.data)
	for _, c := range p.custom {
		section(0, c)
	}
	return b
}

var errStopped = errors.New("stopped by the host")

// host answers refill: with slices, until the counter is not below zero, or with an end to it.
type host struct {
	slice   int64                // 0 is just what is owed
	stopAt  int                  // the refill that panics; 0 is none
	watch   func(mod api.Module) // called in each refill
	refills int
	given   int64
}

func (h *host) refill(_ context.Context, mod api.Module, _ []uint64) {
	h.refills++
	if h.watch != nil {
		h.watch(mod)
	}
	if h.refills == h.stopAt {
		panic(errStopped)
	}
	fuel := mod.ExportedGlobal(meter.FuelGlobal).(api.MutableGlobal)
	owed := -int64(fuel.Get())
	give := owed
	if h.slice > 0 {
		give = max(1, (owed+h.slice-1)/h.slice) * h.slice
	}
	fuel.Set(uint64(give - owed))
	h.given += give
}

// used is the fuel that an instance took so far.
func (h *host) used(mod api.Module) int64 {
	return h.given - int64(mod.ExportedGlobal(meter.FuelGlobal).Get())
}

// rewrite validates a module and meters it.
func rewrite(t testing.TB, wasm []byte, l meter.Limits) []byte {
	t.Helper()
	r := wazero.NewRuntime(t.Context())
	defer r.Close(context.Background())
	if _, err := r.CompileModule(t.Context(), wasm); err != nil {
		t.Fatalf("the test's module is invalid: %v", err)
	}
	out, _, err := meter.Rewrite(wasm, l)
	if err != nil {
		t.Fatalf("Rewrite: %v", err)
	}
	return out
}

// instance instantiates a metered module. The host module "env" has a function "f" without parameters and results.
func instance(t testing.TB, h *host, metered []byte) (api.Module, error) {
	t.Helper()
	ctx := context.Background()
	r := wazero.NewRuntime(ctx)
	t.Cleanup(func() { r.Close(ctx) })
	_, err := r.NewHostModuleBuilder(meter.ImportModule).NewFunctionBuilder().
		WithGoModuleFunction(api.GoModuleFunc(h.refill), nil, nil).Export(meter.ImportRefill).Instantiate(ctx)
	if err != nil {
		t.Fatal(err)
	}
	_, err = r.NewHostModuleBuilder("env").NewFunctionBuilder().
		WithGoFunction(api.GoFunc(func(context.Context, []uint64) {}), nil, nil).Export("f").Instantiate(ctx)
	if err != nil {
		t.Fatal(err)
	}
	c, err := r.CompileModule(ctx, metered)
	if err != nil {
		t.Fatalf("the metered module is invalid: %v", err)
	}
	return r.InstantiateModule(ctx, c, wazero.NewModuleConfig().WithStartFunctions())
}

// start meters a program and instantiates it.
func start(t testing.TB, h *host, p *program) api.Module {
	t.Helper()
	mod, err := instance(t, h, rewrite(t, p.wasm(), meter.Limits{}))
	if err != nil {
		t.Fatal(err)
	}
	return mod
}
