package meter_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/souk-market/souk/core/plugin/meter"
)

// guest is a program with one of everything: function 0 is imported, 1 is defined, and so on.
func guest() *program {
	p := newProgram()
	p.imported("env", "f", nil, nil)
	p.memory(1)
	p.tables = [][]byte{{funcref, 0, 1}}
	p.globals = [][]byte{{i32, 1, i32Const, 0, end}}
	p.elements = [][]byte{{1, 0, 1, 1}}
	p.segment([]byte("x"))
	p.function("f", nil, nil)
	return p
}

// TestRefused has what would reach the counter, refill or a helper, or would make the package or the engine go wrong.
func TestRefused(t *testing.T) {
	body := func(code ...byte) func(p *program) {
		return func(p *program) { p.functionWith("", nil, nil, [][]byte{{1, i32}}, code) }
	}
	tests := []struct {
		name string
		make func(p *program)
		want string
	}{
		{"reading the counter", body(globalGet, 1, drop), "code: function 2: global 1 does not exist"},
		{"writing the counter", body(i64Const, 0, globalSet, 1), "code: function 2: global 1 does not exist"},
		{"exporting the counter", func(p *program) { p.export("g", 3, 1) }, `export: "g": global 1 does not exist`},
		{"a constant from the counter", func(p *program) {
			p.globals = append(p.globals, []byte{i64, 1, globalGet, 1, end})
		}, "global: imported global 1 does not exist"},
		{"a constant from a global that is not imported", func(p *program) {
			p.globals = append(p.globals, []byte{i32, 1, globalGet, 0, end})
		}, "global: imported global 0 does not exist"},
		{"an offset from a global that is not imported", func(p *program) {
			p.data = [][]byte{{0, globalGet, 0, end, 0}}
		}, "data: segment 0: imported global 0 does not exist"},
		{"arithmetic in a constant", func(p *program) {
			p.globals = append(p.globals, []byte{i32, 1, i32Const, 0, i32Const, 0, i32Add, end})
		}, "global: a constant of more than one instruction: extended constant expressions are not enabled"},
		{"arithmetic alone in a constant", func(p *program) {
			p.globals = append(p.globals, []byte{i32, 1, i32Add, end})
		}, "global: opcode 0x6a: extended constant expressions are not enabled"},

		{"a global under the counter's name", func(p *program) { p.export(meter.FuelGlobal, 3, 0) },
			`export: "souk_meter_fuel": the name is reserved for metering`},
		{"a function under the counter's name", func(p *program) { p.export(meter.FuelGlobal, 0, 0) },
			`export: "souk_meter_fuel": the name is reserved for metering`},
		{"importing refill", func(p *program) {
			p.imports = append(p.imports, join(name(meter.ImportModule), name(meter.ImportRefill), ops(0, 0)))
		}, `import: "souk_meter"."refill": the module is reserved for metering`},
		{"importing a global from metering", func(p *program) {
			p.imports = append(p.imports, join(name(meter.ImportModule), name(meter.FuelGlobal), ops(3, i64, 1)))
		}, `import: "souk_meter"."souk_meter_fuel": the module is reserved for metering`},

		{"calling a helper", body(call, 3), "code: function 2: function 3 does not exist"},
		{"taking a reference to a helper", body(refFunc, 4, drop), "code: function 2: function 4 does not exist"},
		{"exporting a helper", func(p *program) { p.export("h", 0, 2) }, `export: "h": function 2 does not exist`},
		{"starting a helper", func(p *program) { p.start = 2 }, "start: function 2 does not exist"},
		{"a helper in a table", func(p *program) { p.elements = [][]byte{{0, i32Const, 0, end, 1, 2}} },
			"element: segment 0: function 2 does not exist"},
		{"a helper in a table, by expression", func(p *program) {
			p.elements = [][]byte{{4, i32Const, 0, end, 1, refFunc, 2, end}}
		}, "element: segment 0: function 2 does not exist"},
		{"a helper in a global", func(p *program) { p.globals = append(p.globals, []byte{funcref, 0, refFunc, 2, end}) },
			"global: function 2 does not exist"},
		{"a type of metering, for a function", func(p *program) {
			p.funcs = append(p.funcs, []byte{1})
			p.bodies = append(p.bodies, []byte{2, 0, end})
		}, "function: type 1 does not exist"},
		{"a type of metering, for an import", func(p *program) {
			p.imports = append(p.imports, join(name("env"), name("g"), ops(0, 1)))
		}, `import: "env"."g": type 1 does not exist`},
		{"a type of metering, for a block", body(block, 1, end), "code: function 2: type 1 does not exist"},
		{"a type of metering, for a call", body(i32Const, 0, callIndirect, 1, 0), "code: function 2: type 1 does not exist"},

		{"a local that does not exist", body(localGet, 1, drop), "code: function 2: local 1 does not exist"},
		{"setting a local that does not exist", body(i32Const, 0, localSet, 1), "code: function 2: local 1 does not exist"},
		{"a label that does not exist", body(br, 1), "code: function 2: label 1 does not exist"},
		{"a label that does not exist, in a table", body(i32Const, 0, brTable, 1, 1, 0),
			"code: function 2: label 1 does not exist"},
		{"a table that does not exist", body(i32Const, 0, 0x25, 1, drop), "code: function 2: table 1 does not exist"},
		{"a table that does not exist, to grow", body(refNull, funcref, i32Const, 0, 0xfc, 15, 1, drop),
			"code: function 2: table 1 does not exist"},
		{"a memory that does not exist", body(memorySize, 1, drop), "code: function 2: memory is 0x1, want 0"},
		{"a data segment that does not exist", body(0xfc, 9, 1), "code: function 2: data segment 1 does not exist"},
		{"an element segment that does not exist", body(0xfc, 13, 1), "code: function 2: element segment 1 does not exist"},
		{"a data segment without a data count", func(p *program) {
			p.dataCount = false
			body(0xfc, 9, 0)(p)
		}, "code: function 2: data segment 0 does not exist"},

		{"code behind the end", body(end, nop), "code: function 2: 2 bytes too many"},
		{"code without the end", body(block, void), "code: function 2: truncated"},
		{"else without if", body(block, void, else_, end), "code: function 2: else without if"},
		{"a block type of two bytes", body(block, 0xc0, 0x7f, end), "code: function 2: block type c0 7f is unknown"},
		{"a block of a reference that is not known", body(block, 0x69, unreachable, end),
			"code: function 2: block type 69 is unknown"},
		{"another memory in an access", body(i32Const, 0, 0x28, 0x42, 0, 0, drop), "code: function 2: alignment 66 is unknown"},
		{"select of two types", body(unreachable, 0x1c, 2, i32, i32), "code: function 2: select of 2 types"},
		{"a number of six bytes", body(i32Const, 0x80, 0x80, 0x80, 0x80, 0x80, 0, drop),
			"code: function 2: integer of more than 32 bits"},
		{"a number with bits too many", body(i32Const, 0xff, 0xff, 0xff, 0xff, 0x4f, drop),
			"code: function 2: integer of more than 32 bits"},
		{"an index of six bytes", body(localGet, 0x80, 0x80, 0x80, 0x80, 0x80, 0, drop),
			"code: function 2: integer of more than 32 bits"},
		{"a long number of eleven bytes", body(join(ops(i64Const), repeated(10, 0x80), ops(0, drop))...),
			"code: function 2: integer of more than 64 bits"},
		{"too many locals", func(p *program) { p.functionWith("", nil, nil, [][]byte{join(u32(50_001), ops(i32))}) },
			"code: function 2: more than 50000 locals"},
		{"too many locals in runs", func(p *program) {
			run := join(u32(1<<32-1), ops(i32))
			p.functionWith("", nil, nil, [][]byte{run, run})
		}, "code: function 2: more than 50000 locals"},

		{"importing memory", func(p *program) {
			p.memories, p.exports = nil, nil
			p.imports = append(p.imports, join(name("env"), name("m"), ops(2, 0, 1)))
		}, `import: "env"."m": a guest owns its memory and tables`},
		{"importing a table", func(p *program) {
			p.imports = append(p.imports, join(name("env"), name("t"), ops(1, funcref, 0, 1)))
		}, `import: "env"."t": a guest owns its memory and tables`},
		{"importing a tag", func(p *program) {
			p.imports = append(p.imports, join(name("env"), name("t"), ops(4, 0, 0)))
		}, `import: "env"."t": a tag: exception handling is not enabled`},
		{"two memories", func(p *program) { p.memories = append(p.memories, ops(0, 1)) },
			"memory: 2 of them, a guest has one"},
		{"too much memory", func(p *program) { p.memories = [][]byte{join(ops(0), u32(257))} },
			"memory: 257 pages at the start, the limit is 256"},
		{"more memory than there is", func(p *program) { p.memories = [][]byte{join(ops(1, 1), u32(65537))} },
			"memory: more than 65536 pages"},
		{"a maximum below the minimum", func(p *program) { p.memories = [][]byte{{1, 2, 1}} },
			"memory: maximum 1 is below minimum 2"},
		{"shared memory", func(p *program) { p.memories = [][]byte{{3, 1, 2}} },
			"memory: shared memory: threads are not enabled"},
		{"a memory of 64 bits", func(p *program) { p.memories = [][]byte{{4, 1}} }, "memory: limits 0x4 are unknown"},
		{"too large a table", func(p *program) { p.tables = append(p.tables, join(ops(funcref, 0), u32(65537))) },
			"table: table 1: 65537 elements at the start, the limit is 65536"},
		{"too many tables", func(p *program) {
			for range 16 {
				p.tables = append(p.tables, ops(funcref, 0, 1))
			}
		}, "table: 17 of them, the limit is 16"},
		{"a table with an initial value", func(p *program) {
			p.tables = [][]byte{{0x40, 0, funcref, 0, 1, refNull, funcref, end}}
		}, "table: an initial value: typed function references are not enabled"},
		{"a table of integers", func(p *program) { p.tables = [][]byte{{i32, 0, 1}} },
			"table: reference type 0x7f is unknown"},

		{"a reference to a type", func(p *program) { p.types = append(p.types, ops(0x60, 1, 0x63, 0, 0)) },
			"type: type 1: value type 0x63 is unknown"},
		{"a recursive type", func(p *program) { p.types = append(p.types, ops(0x4e, 1, 0x60, 0, 0)) },
			"type: type 1: form 0x4e is not a function type"},
		{"a name twice", func(p *program) { p.export("f", 0, 0) }, `export: "f": the name is taken`},
		{"a name that is not UTF-8", func(p *program) { p.export("\xff", 0, 0) }, "export: \"\": a name is not UTF-8"},
		{"fewer bodies than functions", func(p *program) { p.funcs = append(p.funcs, ops(0)) },
			"code: 1 bodies for 2 functions"},
		{"more bodies than functions", func(p *program) { p.bodies = append(p.bodies, ops(2, 0, end)) },
			"code: 2 bodies, the limit is 1"},
		{"a data segment for a memory that does not exist", func(p *program) {
			p.data = [][]byte{{2, 1, i32Const, 0, end, 0}}
		}, "data: segment 0: memory 1 does not exist"},
		{"a segment that starts at a reference", func(p *program) {
			p.data = [][]byte{{0, refFunc, 0, end, 0}}
		}, "data: segment 0: opcode 0xd2 is not an offset"},
		{"a kind of element segment that does not exist", func(p *program) { p.elements = [][]byte{{8, 0, 0}} },
			"element: segment 0: kind 8 is unknown"},
		{"elements for a table that does not exist", func(p *program) {
			p.elements = [][]byte{{2, 1, i32Const, 0, end, 0, 0}}
		}, "element: segment 0: table 1 does not exist"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := guest()
			tt.make(p)
			_, _, err := meter.Rewrite(p.wasm(), meter.Limits{})
			if err == nil || !strings.HasPrefix(err.Error(), tt.want) {
				t.Errorf("error %v, want %s", err, tt.want)
			}
		})
	}
}

func TestRefusedBytes(t *testing.T) {
	header := "\x00asm\x01\x00\x00\x00"
	tests := []struct {
		name, wasm, want string
	}{
		{"nothing", "", "header: not a WebAssembly module"},
		{"a script", "#!/bin/sh", "header: not a WebAssembly module"},
		{"half a header", "\x00asm\x01\x00", "header: truncated"},
		{"a component", "\x00asm\x0d\x00\x01\x00", "header: a component, not a core module"},
		{"another version", "\x00asm\x02\x00\x00\x00", "header: version 02 00 00 00, want 01 00 00 00"},
		{"a section without its size", header + "\x01", "section 1: truncated"},
		{"a section longer than the module", header + "\x01\x05\x00", "section 1: 5 bytes cannot be in 1 bytes"},
		{"an empty section", header + "\x01\x00", "type: truncated"},
		{"a section of four billion items", header + "\x01\x05\xff\xff\xff\xff\x0f",
			"type: 4294967295 types cannot be in 0 bytes"},
		{"a size of six bytes", header + "\x01\x80\x80\x80\x80\x80\x00", "section 1: integer of more than 32 bits"},
		{"a section twice", header + "\x01\x01\x00\x01\x01\x00", "type: section is out of order or repeated"},
		{"sections out of order", header + "\x03\x01\x00\x01\x01\x00", "type: section is out of order or repeated"},
		{"the data count behind the code", header + "\x0a\x01\x00\x0c\x01\x00",
			"data count: section is out of order or repeated"},
		{"a section of tags", header + "\x0d\x01\x00", "tag section: exception handling is not enabled"},
		{"an unknown section", header + "\x0e\x01\x00", "section 14: unknown"},
		{"a section not used up", header + "\x01\x02\x00\x00", "type: 1 bytes too many"},
		{"a wrong data count", header + "\x0c\x01\x01", "data count: 1 announced, 0 present"},
		{"a custom section without a name", header + "\x00\x00", "custom section: truncated"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, _, err := meter.Rewrite([]byte(tt.wasm), meter.Limits{}); err == nil || err.Error() != tt.want {
				t.Errorf("Rewrite: error %v, want %s", err, tt.want)
			}
			if _, err := meter.Inspect([]byte(tt.wasm)); err == nil || err.Error() != tt.want {
				t.Errorf("Inspect: error %v, want %s", err, tt.want)
			}
		})
	}
	if _, err := meter.Inspect(nil); !errors.Is(err, meter.ErrNotWasm) {
		t.Errorf("nothing at all: error %v, want %v", err, meter.ErrNotWasm)
	}
	if _, err := meter.Inspect([]byte("\x00asm\x0d\x00\x01\x00")); !errors.Is(err, meter.ErrComponent) {
		t.Errorf("a component: error %v, want %v", err, meter.ErrComponent)
	}
}
