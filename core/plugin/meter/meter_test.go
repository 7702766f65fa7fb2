package meter_test

import (
	"errors"
	"testing"

	"github.com/souk-market/souk/core/plugin/meter"
	"github.com/tetratelabs/wazero/api"
)

// countdown is a loop that turns as often as its parameter says.
var countdown = join(ops(loop, void, localGet, 0), number(1), ops(i32Sub, localTee, 0, brIf, 0, end))

// lending is a call through a table, after something was done to the program.
func lending(change func(p *program)) func(p *program) {
	return func(p *program) {
		p.imported("env", "f", nil, nil)
		g := p.function("", nil, nil)
		p.tables = [][]byte{{funcref, 0, 2}}
		p.elements = [][]byte{{0, i32Const, 0, end, 1, byte(g)}}
		p.function("f", nil, nil, number(0), ops(callIndirect, 0, 0))
		if change != nil {
			change(p)
		}
	}
}

func TestFuelIsExact(t *testing.T) {
	tests := []struct {
		name string
		make func(p *program)
		args []uint64
		want int64
	}{
		{"a call costs one", func(p *program) { p.function("f", nil, nil) }, nil, 1},
		{"fifteen instructions and the end cost one more", func(p *program) {
			p.function("f", nil, nil, repeated(15, nop))
		}, nil, 2},
		{"fourteen do not", func(p *program) { p.function("f", nil, nil, repeated(14, nop)) }, nil, 1},
		{"locals, parameters and results count as instructions", func(p *program) {
			p.functionWith("f", ops(i32, i32), ops(i32), [][]byte{{10, i32}, {2, f64}}, ops(localGet, 0))
		}, []uint64{1, 2}, 2}, // 2+1+12, local.get and end are 17
		{"a turn of a loop costs one", func(p *program) { p.function("f", ops(i32), nil, countdown) }, []uint64{100}, 101},
		{"a turn pays for what is in it", func(p *program) {
			p.function("f", ops(i32), nil, ops(loop, void), repeated(64, nop), ops(localGet, 0), number(1),
				ops(i32Sub, localTee, 0, brIf, 0, end))
		}, []uint64{10}, 1 + 10*(1+70/16)},
		{"a loop that is left by a branch", func(p *program) {
			p.function("f", ops(i32), nil, ops(block, void, loop, void, block, void, localGet, 0, brIf, 0, br, 2, end, localGet, 0),
				number(1), ops(i32Sub, localSet, 0, br, 0, end, end))
		}, []uint64{10}, 1 + 11},
		{"a loop that is left by a table", func(p *program) {
			p.function("f", ops(i32), nil, ops(block, void, block, void, loop, void, localGet, 0),
				number(1), ops(i32Sub, localTee, 0, brTable, 2, 2, 1, 0, end, end, end))
		}, []uint64{10}, 1 + 9},
		{"a loop that ends with a value, within one that isn't quiet", func(p *program) {
			g := p.function("", nil, nil)
			p.functionWith("f", ops(i32), nil, [][]byte{{1, i32}}, ops(loop, void, call), u32(g), number(3), ops(localSet, 1, loop, i32, localGet, 1),
				number(1), ops(i32Sub, localTee, 1, brIf, 0, localGet, 1, end, drop, localGet, 0),
				number(1), ops(i32Sub, localTee, 0, brIf, 0, end))
		}, []uint64{5}, 1 + 5*(1+1+3)},
		{"a loop that returns", func(p *program) {
			p.function("f", ops(i32), nil, ops(loop, void, localGet, 0), number(1), ops(i32Sub, localTee, 0, 0x45, if_, void, return_, end, br, 0, end))
		}, []uint64{10}, 1 + 10},
		{"both branches are paid", func(p *program) {
			p.function("f", ops(i32), nil, ops(localGet, 0, if_, void), repeated(50, nop), ops(else_), repeated(50, nop),
				ops(end))
		}, []uint64{1}, 1 + (1+2+50+1+50+1+1)/16},
		{"a call pays for itself", func(p *program) {
			g := p.function("", nil, nil, repeated(31, nop))
			p.function("f", nil, nil, ops(call), u32(g), ops(call), u32(g))
		}, nil, 1 + 2*3},
		{"long code pays piece by piece", func(p *program) {
			p.function("f", nil, nil, repeated(128+128+43, nop))
		}, nil, 9 + 9 + 1 + 44/16},
		{"what is jumped over is not paid, beyond a piece", func(p *program) {
			p.function("f", nil, nil, ops(block, void, br, 0), repeated(10_000, nop), ops(end))
		}, nil, 9},
		{"a call out of the guest counts as 512", func(p *program) {
			f := p.imported("env", "f", nil, nil)
			p.function("f", nil, nil, ops(call), u32(f))
		}, nil, 9 + 1 + 513/16},
		{"a call through a table", lending(nil), nil, 1 + 1},
		{"a call through a table that an imported function is in", lending(func(p *program) {
			p.elements = append(p.elements, []byte{0, i32Const, 1, end, 1, 0})
		}), nil, 9 + 1 + 514/16 + 1},
		{"likewise by an expression", lending(func(p *program) {
			p.elements = append(p.elements, []byte{4, i32Const, 1, end, 1, refFunc, 0, end})
		}), nil, 9 + 1 + 514/16 + 1},
		{"likewise by a global", lending(func(p *program) {
			p.globals = [][]byte{{funcref, 0, refFunc, 0, end}}
		}), nil, 9 + 1 + 514/16 + 1},
		{"likewise by an export", lending(func(p *program) { p.export("g", 0, 0) }), nil, 9 + 1 + 514/16 + 1},
		{"memory.fill of 1000 bytes", func(p *program) {
			p.memory(1)
			p.function("f", nil, nil, number(0), number(7), number(1000), ops(0xfc, 11, 0))
		}, nil, 1 + 1 + 1000/64},
		{"memory.copy of 1 MiB and a byte", func(p *program) {
			p.memory(64)
			p.function("f", nil, nil, number(0), number(1<<20), number(1<<20+1), ops(0xfc, 10, 0, 0))
		}, nil, 1 + 16*1025 + 1},
		{"memory.fill up to the end", func(p *program) {
			p.memory(4)
			p.function("f", nil, nil, number(0), number(7), number(4<<16), ops(0xfc, 11, 0))
		}, nil, 1 + 4*1025},
		{"memory.init of all there is, up to the end", func(p *program) {
			p.memory(3)
			p.segment(make([]byte, 2<<16))
			p.function("f", nil, nil, number(1<<16), number(0), number(2<<16), ops(0xfc, 8, 0, 0))
		}, nil, 1 + 2*1025},
		{"memory.grow", func(p *program) {
			p.memory(1)
			p.function("f", nil, nil, number(1), ops(memoryGrow, 0, drop))
		}, nil, 9 + 1 + 514/16 + 1024},
		{"table.fill of 80 elements", func(p *program) {
			p.tables = [][]byte{{funcref, 0, 100}}
			p.function("f", nil, nil, number(0), ops(refNull, funcref), number(80), ops(0xfc, 17, 0))
		}, nil, 1 + 1 + 10},
		{"table.grow by more than any table has pays for the limit", func(p *program) {
			p.tables = [][]byte{{funcref, 0, 100}}
			p.function("f", nil, nil, ops(refNull, funcref), number(-1), ops(0xfc, 15, 0, drop))
		}, nil, 9 + 1 + 514/16 + 1 + 65536/8},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := newProgram()
			tt.make(p)
			for _, slice := range []int64{1, 7, 1_000_000} { // how the fuel is handed out makes no difference
				h := &host{slice: slice}
				mod := start(t, h, p)
				for call := int64(1); call <= 2; call++ {
					if _, err := mod.ExportedFunction("f").Call(t.Context(), tt.args...); err != nil {
						t.Fatal(err)
					}
					if got := h.used(mod); got != call*tt.want {
						t.Errorf("after call %d with slices of %d: used %d, want %d", call, slice, got, call*tt.want)
					}
				}
			}
		})
	}
}

func TestRefillCanEndIt(t *testing.T) {
	const mib8 = 8 << 20
	tests := []struct {
		name string
		make func(p *program)
		most int64 // fuel between two refills
	}{
		{"a loop", func(p *program) { p.function("f", nil, nil, ops(loop, void, br, 0, end)) }, 2},
		{"a loop without a body but a condition", func(p *program) {
			p.function("f", nil, nil, ops(loop, void), number(1), ops(brIf, 0, end))
		}, 2},
		{"a loop with values", func(p *program) {
			two := p.signature(ops(i32, i64), ops(i32, i64))
			p.function("f", nil, nil, number(1), ops(i64Const, 2, loop), u32(two), ops(br, 0, end, drop, drop))
		}, 2},
		{"mutual recursion that doubles", func(p *program) {
			n := uint32(len(p.funcs))
			deeper := ops(localGet, 0, if_, void, localGet, 0, i32Const, 1, i32Sub)
			p.function("", ops(i32), nil, deeper, ops(localTee, 0, call), u32(n+1), ops(localGet, 0, call), u32(n+1), ops(end))
			p.function("", ops(i32), nil, deeper, ops(localTee, 0, call), u32(n), ops(localGet, 0, call), u32(n), ops(end))
			p.function("f", nil, nil, number(60), ops(call), u32(n))
		}, 3},
		{"recursion through a table", func(p *program) {
			p.tables = [][]byte{{funcref, 0, 1}}
			p.elements = [][]byte{{0, i32Const, 0, end, 1, 0}}
			p.function("f", nil, nil, ops(loop, void), number(0), ops(callIndirect, 0, 0, br, 0, end))
		}, 3},
		{"a huge br_table in a loop", func(p *program) {
			p.function("f", nil, nil, ops(loop, void, block, void, block, void), number(1<<20),
				ops(brTable), u32(10_000), repeated(10_000, 0), ops(1, end, br, 1, end, br, 0, end))
		}, 9},
		{"straight code", func(p *program) { p.function("f", nil, nil, repeated(200_000, nop)) }, 9},
		{"straight code in unused blocks", func(p *program) {
			p.function("f", nil, nil, repeated(6000, block, void, nop, br, 0, nop, end))
		}, 9},
		{"calls out of the guest", func(p *program) {
			f := p.imported("env", "f", nil, nil)
			p.function("f", nil, nil, repeated(2000, call, byte(f)))
		}, 41},
		{"memory.fill of 8 MiB", func(p *program) {
			p.memory(256)
			p.function("f", nil, nil, number(100), number(7), number(mib8), ops(0xfc, 11, 0))
		}, 1030},
		{"memory.copy of 8 MiB upwards", func(p *program) {
			p.memory(256)
			p.function("f", nil, nil, number(100), number(7), number(mib8), ops(0xfc, 10, 0, 0))
		}, 1030},
		{"memory.copy of 8 MiB downwards", func(p *program) {
			p.memory(256)
			p.function("f", nil, nil, number(7), number(100), number(mib8), ops(0xfc, 10, 0, 0))
		}, 1030},
		{"memory.init of 8 MiB", func(p *program) {
			p.memory(256)
			p.segment(make([]byte, mib8))
			p.function("f", nil, nil, number(7), number(0), number(mib8), ops(0xfc, 8, 0, 0))
		}, 1030},
		{"small memory.fill without a loop", func(p *program) {
			p.memory(2)
			p.function("f", nil, nil, repeated(500, join(number(0), number(0), number(100), ops(0xfc, 11, 0))...))
		}, 30},
		{"memory.grow without a loop", func(p *program) {
			p.memory(1)
			p.function("f", nil, nil, repeated(1000, i32Const, 0, memoryGrow, 0, drop))
		}, 1050},
		{"table.fill without a loop", func(p *program) {
			p.tables = [][]byte{join(ops(funcref, 0), u32(8000))}
			p.function("f", nil, nil, repeated(200, join(number(0), ops(refNull, funcref), number(8000), ops(0xfc, 17, 0))...))
		}, 1030},
		{"table.copy without a loop", func(p *program) {
			p.tables = [][]byte{join(ops(funcref, 0), u32(8000))}
			p.function("f", nil, nil, repeated(200, join(number(0), number(0), number(8000), ops(0xfc, 14, 0, 0))...))
		}, 1030},
		{"table.init without a loop", func(p *program) {
			p.tables = [][]byte{join(ops(funcref, 0), u32(8000))}
			f := p.function("", nil, nil)
			p.elements = [][]byte{join(ops(1, 0), u32(8000), repeated(8000, byte(f)))}
			p.function("f", nil, nil, repeated(200, join(number(0), number(0), number(8000), ops(0xfc, 12, 0, 0))...))
		}, 1030},
		{"table.grow without a loop", func(p *program) {
			p.tables = [][]byte{join(ops(funcref, 0), u32(8))}
			p.function("f", nil, nil, repeated(200, join(ops(refNull, funcref), number(1), ops(0xfc, 15, 0, drop))...))
		}, 41},
		{"ref.func without a loop", func(p *program) {
			p.function("f", nil, nil, repeated(1000, refFunc, 0, drop))
		}, 41},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := newProgram()
			tt.make(p)
			// Without a slice every check calls refill, and what it finds was paid since the last.
			h := &host{stopAt: 100}
			h.watch = func(mod api.Module) {
				paid := -int64(mod.ExportedGlobal(meter.FuelGlobal).Get())
				if paid <= 0 || paid > tt.most {
					t.Errorf("refill %d: %d units since the last, want 1 to %d", h.refills, paid, tt.most)
				}
			}
			mod := start(t, h, p)
			_, err := mod.ExportedFunction("f").Call(t.Context())
			if !errors.Is(err, errStopped) || h.refills != 100 {
				t.Errorf("after %d refills: error %v, want %v after 100", h.refills, err, errStopped)
			}
		})
	}
}

func TestStartFunctionIsMetered(t *testing.T) {
	p := newProgram()
	p.start = int(p.function("", nil, nil, ops(loop, void, br, 0, end)))
	h := &host{slice: 1000, stopAt: 5}
	_, err := instance(t, h, rewrite(t, p.wasm(), meter.Limits{}))
	if !errors.Is(err, errStopped) || h.refills != 5 {
		t.Errorf("instantiation after %d refills: error %v, want %v after 5", h.refills, err, errStopped)
	}
	if h.given != 4000 {
		t.Errorf("the counter began with fuel: %d were given before the end, want 4000", h.given)
	}
}
