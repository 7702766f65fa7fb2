package meter_test

import (
	"context"
	"strings"
	"testing"

	"github.com/souk-market/souk/core/plugin/meter"
	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
)

// around puts an instruction into dead code, where it finds operands of any type. Zeros behind it serve as immediates,
// and those that are left over are instructions that end the reach of its results.
func around(instruction []byte) [][]byte {
	zeros := repeated(20, 0)
	return [][]byte{
		join(instruction, zeros),
		join(instruction, ops(void), zeros, ops(end)),
		join(instruction, ops(funcref), zeros),
		join(instruction, ops(1, i32), zeros),
		join(ops(if_, void), instruction, ops(end)),
		join(ops(block, void), instruction),
	}
}

func opcodeProgram(body []byte) []byte {
	p := newProgram()
	p.memory(1)
	p.tables = [][]byte{{funcref, 0, 1}}
	p.globals = [][]byte{{i32, 1, i32Const, 0, end}}
	p.elements = [][]byte{{1, 0, 1, 0}}
	p.segment([]byte("x"))
	p.functionWith("f", nil, nil, [][]byte{{1, i32}}, ops(unreachable), body)
	return p.wasm()
}

// TestEveryOpcode asks the engine which instructions it takes, and wants them to be those that Rewrite takes.
func TestEveryOpcode(t *testing.T) {
	ctx := context.Background()
	r := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigInterpreter().WithCoreFeatures(api.CoreFeaturesV2))
	defer r.Close(ctx)
	valid := func(wasm []byte) bool {
		c, err := r.CompileModule(ctx, wasm)
		if err == nil {
			c.Close(ctx)
		}
		return err == nil
	}
	count := func(prefix []byte, from, to int, encode func(op int) []byte) int {
		known := 0
		for op := from; op <= to; op++ {
			instruction := join(prefix, encode(op))
			engine, here := false, false
			var last error
			for _, body := range around(instruction) {
				wasm := opcodeProgram(body)
				out, _, err := meter.Rewrite(wasm, meter.Limits{})
				if !valid(wasm) {
					if err == nil && valid(out) {
						t.Errorf("% x is invalid, and valid when metered", body)
					}
					last = err
					continue
				}
				engine = true
				switch {
				case err != nil:
					last = err
				case !valid(out):
					t.Errorf("% x is valid, and invalid when metered", body)
				default:
					here = true
				}
			}
			switch {
			case engine != here:
				t.Errorf("% x: known to the engine: %v, here: %v (%v)", instruction, engine, here, last)
			case engine:
				known++
			case last != nil && !strings.Contains(last.Error(), "code: function 0: "):
				t.Errorf("% x: refused with %v, which does not say where", instruction, last)
			}
		}
		return known
	}
	one := func(op int) []byte { return ops(byte(op)) }
	short := func(op int) []byte { return u32(uint32(op)) }
	if got := count(nil, 0, 0xfb, one); got != 183 {
		t.Errorf("%d instructions of one byte, want 183", got)
	}
	if got := count(ops(0xfc), 0, 0x1ff, short); got != 18 {
		t.Errorf("%d instructions behind 0xfc, want 18", got)
	}
	if got := count(ops(0xfd), 0, 0xff, short); got != 236 {
		t.Errorf("%d vector instructions, want 236", got)
	}
	if got := count(ops(0xfe), 0, 0xff, short); got != 0 {
		t.Errorf("%d instructions behind 0xfe, want none", got)
	}
}

func TestUnknownOpcodesAreNamed(t *testing.T) {
	tests := []struct {
		code []byte
		want string
	}{
		{ops(0x06, void), "unknown opcode 0x6: exception handling is not enabled"},
		{ops(0x1f, void, 0), "unknown opcode 0x1f: exception handling is not enabled"},
		{ops(0x12, 0), "unknown opcode 0x12: tail calls are not enabled"},
		{ops(0x13, 0, 0), "unknown opcode 0x13: tail calls are not enabled"},
		{ops(0x14, 0), "unknown opcode 0x14: typed function references are not enabled"},
		{ops(0xd4), "unknown opcode 0xd4: typed function references are not enabled"},
		{ops(0xfb, 0), "unknown opcode 0xfb: garbage collection is not enabled"},
		{ops(0xfe, 3, 0), "unknown opcode 0xfe: threads are not enabled"},
		{ops(0xfc, 18), "unknown opcode 0xfc 0x12"},
		{ops(0xfd, 0xff, 0x03), "unknown opcode 0xfd 0x1ff"},
		{ops(0xfd, 0x80, 0x02), "unknown opcode 0xfd 0x100: relaxed SIMD is not enabled"},
		{ops(0xfd, 0x9a, 0x01), "unknown opcode 0xfd 0x9a"},
		{ops(0x27), "unknown opcode 0x27"},
		{ops(0xff), "unknown opcode 0xff"},
		// The engine would take 0x8c for a shift and the zero for unreachable.
		{join(ops(0xfd, 0x8c, 0), repeated(16, 0)), "opcode 0xfd 0xc is not written in the shortest way"},
		{join(ops(0xfd, 0x80, 0x81, 0)), "opcode 0xfd 0x80 is not written in the shortest way"},
	}
	for _, tt := range tests {
		p := newProgram()
		p.memory(1)
		p.function("f", nil, nil, ops(unreachable), tt.code)
		_, _, err := meter.Rewrite(p.wasm(), meter.Limits{})
		if want := "code: function 0: " + tt.want; err == nil || err.Error() != want {
			t.Errorf("% x: error %v, want %s", tt.code, err, want)
		}
	}
}
