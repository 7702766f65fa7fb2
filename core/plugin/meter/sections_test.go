package meter_test

import (
	"bytes"
	"context"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/souk-market/souk/core/plugin/meter"
	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
)

func TestInspect(t *testing.T) {
	p := newProgram()
	p.imported("env", "log", ops(i32, i64), ops(i32))
	p.imports = append(p.imports, join(name("env"), name("g"), ops(3, i64, 0)))
	p.memories = [][]byte{join(ops(1), u32(3), u32(300))}
	p.funcs = append(p.funcs, u32(p.signature(nil, ops(f64))), u32(p.signature(nil, nil)))
	p.bodies = append(p.bodies, ops(3, 0, unreachable, end), ops(2, 0, end))
	p.export("half", 0, 1)
	p.export("memory", 2, 0)
	p.start = 2
	p.segment([]byte("four"))
	p.segment([]byte("and seven"))
	wasm := p.wasm()
	got, err := meter.Inspect(wasm)
	if err != nil {
		t.Fatal(err)
	}
	for i := range wasm {
		wasm[i] = 0 // what was found out must not change with it
	}
	want := &meter.Module{
		Imports: []meter.Import{
			{Module: "env", Name: "log", Params: []api.ValueType{i32, i64}, Results: []api.ValueType{i32}},
			{Module: "env", Name: "g", Kind: api.ExternTypeGlobal},
		},
		Exports: []meter.Export{
			{Name: "half", Params: []api.ValueType{}, Results: []api.ValueType{f64}},
			{Name: "memory", Kind: api.ExternTypeMemory},
		},
		HasMemory: true, HasMax: true, MemoryMin: 3, MemoryMax: 300, HasStart: true,
		Functions: 2, CodeBytes: 8, DataBytes: 13,
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("Inspect = %+v, want %+v", got, want)
	}
}

func TestMaximaAreClamped(t *testing.T) {
	tests := []struct {
		name              string
		memory, table     []byte
		wantMax, wantSize uint32
	}{
		{"absent", ops(0, 1), ops(funcref, 0, 1), 10, 100},
		{"smaller", ops(1, 1, 5), ops(funcref, 1, 1, 50), 5, 50},
		{"larger", ops(1, 1, 20), join(ops(funcref, 1, 1), u32(1000)), 10, 100},
		{"as large as can be", join(ops(1, 1), u32(65536)), join(ops(externref, 1, 1), u32(1<<32-1)), 10, 100},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := newProgram()
			p.memories, p.tables = [][]byte{tt.memory}, [][]byte{tt.table}
			p.function("memory", ops(i32), ops(i32), ops(localGet, 0, memoryGrow, 0))
			p.function("table", ops(i32), ops(i32), ops(refNull, tt.table[0], localGet, 0, 0xfc, 15, 0))
			out, _, err := meter.Rewrite(p.wasm(), meter.Limits{MemoryPages: 10, TableSize: 100})
			if err != nil {
				t.Fatal(err)
			}
			mod, err := instance(t, &host{slice: 1 << 40}, out)
			if err != nil {
				t.Fatal(err)
			}
			for what, most := range map[string]uint32{"memory": tt.wantMax, "table": tt.wantSize} {
				f := mod.ExportedFunction(what)
				if got, err := f.Call(t.Context(), uint64(most)); err != nil || int32(got[0]) != -1 {
					t.Errorf("%s grows from 1 to %d: %v, %v, want -1", what, most+1, got, err)
				}
				if got, err := f.Call(t.Context(), uint64(most-1)); err != nil || got[0] != 1 {
					t.Errorf("%s does not grow from 1 to %d: %v, %v", what, most, got, err)
				}
			}
			if m, err := meter.Inspect(out); err != nil || m.MemoryMax != tt.wantMax {
				t.Errorf("maximum is %d, want %d (%v)", m.MemoryMax, tt.wantMax, err)
			}
		})
	}
}

// TestFunctionsKeepTheirMeaning has every way to refer to a function, with an imported one before the others.
func TestFunctionsKeepTheirMeaning(t *testing.T) {
	p := newProgram()
	p.imported("env", "f", nil, nil)
	answer := p.signature(nil, ops(i32))
	p.tables = [][]byte{{funcref, 0, 20}, {funcref, 0, 20}}
	for i := range byte(10) {
		p.function("", nil, ops(i32), number(int32(100+i)))
	}
	p.globals = [][]byte{{funcref, 0, refFunc, 3, end}}
	p.elements = [][]byte{
		{0, i32Const, 0, end, 1, 1},
		{1, 0, 2, 1, 2},
		{2, 1, i32Const, 0, end, 0, 1, 4},
		{3, 0, 1, 5},
		{4, i32Const, 1, end, 1, refFunc, 6, end},
		{5, funcref, 2, refFunc, 7, end, refNull, funcref, end},
		{6, 1, i32Const, 1, end, funcref, 1, refFunc, 8, end},
		{7, funcref, 1, refFunc, 9, end},
	}
	p.export("direct", 0, 10)
	through := func(export string, table, at byte, before ...byte) {
		p.function(export, nil, ops(i32), before, number(int32(at)), ops(callIndirect, byte(answer), table))
	}
	through("active", 0, 0)
	through("passive", 0, 2, 0x41, 2, 0x41, 0, 0x41, 2, 0xfc, 12, 1, 0)
	through("passive, second", 0, 4, 0x41, 3, 0x41, 0, 0x41, 2, 0xfc, 12, 1, 0)
	through("active in a table", 1, 0)
	through("declared", 0, 5, 0x41, 5, refFunc, 5, 0x26, 0)
	through("active expressions", 0, 1)
	through("passive expressions", 0, 6, 0x41, 6, 0x41, 0, 0x41, 1, 0xfc, 12, 5, 0)
	through("active expressions in a table", 1, 1)
	through("declared expressions", 0, 7, 0x41, 7, refFunc, 9, 0x26, 0)
	through("global", 0, 8, 0x41, 8, globalGet, 0, 0x26, 0)
	p.function("call", nil, ops(i32), ops(call, 10))
	mod := start(t, &host{slice: 1 << 40}, p)
	for export, want := range map[string]uint64{
		"direct": 109, "active": 100, "passive": 100, "passive, second": 101, "active in a table": 103, "declared": 104,
		"active expressions": 105, "passive expressions": 106, "active expressions in a table": 107,
		"declared expressions": 108, "global": 102, "call": 109,
	} {
		if got, err := mod.ExportedFunction(export).Call(t.Context()); err != nil || got[0] != want {
			t.Errorf("%s = %v, %v, want %d", export, got, err, want)
		}
	}
}

// nameSection is the content of a name section with its subsections.
func nameSection(subsections ...[]byte) []byte { return join(name("name"), join(subsections...)) }

func subsection(id byte, content []byte) []byte { return join(ops(id), sized(content)) }

func named(index byte, s string) []byte { return join(ops(index), name(s)) }

func TestTrapsShowNames(t *testing.T) {
	p := newProgram()
	p.imported("env", "f", nil, nil)
	p.memory(1)
	p.function("f", ops(i32), nil, ops(call, 2))
	p.function("", nil, nil, number(0), number(0), number(-1), ops(0xfc, 11, 0))
	p.custom = [][]byte{
		join(name("producers"), ops(0)),
		nameSection(
			subsection(0, name("souvenirs")),
			subsection(1, vector([][]byte{named(0, "host"), named(1, "outer"), named(2, "inner")})),
			subsection(2, vector([][]byte{join(ops(1), vector([][]byte{named(0, "price")}))})),
			subsection(3, vector([][]byte{join(ops(2), vector([][]byte{named(0, "again")}))})),
			subsection(7, vector([][]byte{named(0, "global")})),
		),
	}
	mod := start(t, &host{slice: 1 << 40}, p)
	_, err := mod.ExportedFunction("f").Call(t.Context(), 1)
	if err == nil {
		t.Fatal("no trap")
	}
	lines := strings.Split(err.Error(), "\n")
	for i, want := range []string{"out of bounds", "wasm stack trace:", "souvenirs.souk_meter.fill(i32,i32,i32)",
		"souvenirs.inner()", "souvenirs.outer(i32)"} {
		if i >= len(lines) || !strings.Contains(lines[i], want) {
			t.Errorf("line %d of the trap is not %q:\n%s", i, want, err)
		}
	}
	out := rewrite(t, p.wasm(), meter.Limits{})
	if bytes.Contains(out, []byte("producers")) || bytes.Contains(out, []byte("global")) {
		t.Error("a custom section that nobody reads was kept")
	}
	r := wazero.NewRuntime(t.Context())
	defer r.Close(context.Background())
	c, err := r.CompileModule(t.Context(), out)
	if err != nil {
		t.Fatal(err)
	}
	if got := c.ExportedFunctions()["f"].ParamNames(); !reflect.DeepEqual(got, []string{"price"}) {
		t.Errorf("parameters of f are %q, want price", got)
	}
}

func TestMalformedNamesAreDropped(t *testing.T) {
	functions := func(names ...[]byte) []byte { return subsection(1, vector(names)) }
	tests := []struct {
		name    string
		section []byte
	}{
		{"a function that does not exist", nameSection(functions(named(2, "secret")))},
		{"a function twice", nameSection(functions(named(1, "secret"), named(1, "secret")))},
		{"functions out of order", nameSection(functions(named(1, "secret"), named(0, "secret")))},
		{"a name that is not UTF-8", nameSection(functions(named(1, "secret\xff")))},
		{"a name longer than its section", nameSection(functions(join(ops(1, 100), []byte("secret"))))},
		{"more names than there are", nameSection(subsection(1, join(u32(1<<32-1), named(1, "secret"))))},
		{"a subsection longer than the section", nameSection(ops(1, 100), []byte("secret"))},
		{"a subsection not used up", nameSection(subsection(1, join(vector([][]byte{named(1, "secret")}), ops(0))))},
		{"locals of a function that does not exist", nameSection(functions(named(1, "secret")),
			subsection(2, vector([][]byte{join(ops(9), vector(nil))})))},
		{"a subsection without its size", nameSection(functions(named(1, "secret")), ops(2))},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := newProgram()
			p.imported("env", "f", nil, nil)
			p.function("f", nil, nil)
			p.custom = [][]byte{tt.section}
			out, _, err := meter.Rewrite(p.wasm(), meter.Limits{})
			if err != nil {
				t.Fatal(err)
			}
			if bytes.Contains(out, []byte("secret")) {
				t.Error("the names are still there")
			}
			if _, err := instance(t, &host{slice: 1}, out); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestRewriteLeavesItsInputAlone(t *testing.T) {
	p := guest()
	p.function("g", nil, nil, repeated(1000, nop), ops(call, 1))
	wasm := p.wasm()
	before := bytes.Clone(wasm)
	first, stats, err := meter.Rewrite(wasm, meter.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	if want := (meter.Stats{Functions: 2, Checks: 9}); stats != want {
		t.Errorf("stats are %+v, want %+v", stats, want)
	}
	second, _, err := meter.Rewrite(wasm, meter.Limits{})
	if err != nil || !bytes.Equal(first, second) {
		t.Errorf("the second time it comes out otherwise (%v)", err)
	}
	if !bytes.Equal(wasm, before) {
		t.Error("Rewrite changed its input")
	}
	if _, _, err := meter.Rewrite(first, meter.Limits{}); err == nil || errors.Is(err, meter.ErrNotWasm) {
		t.Errorf("metering twice: error %v, want a refusal", err)
	}
}
