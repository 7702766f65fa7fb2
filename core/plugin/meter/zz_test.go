package meter_test

import (
	"context"
	"testing"
	"time"

	"github.com/souk-market/souk/core/plugin/meter"
	"github.com/tetratelabs/wazero"
)

func TestZZ(t *testing.T) {
	for name, unit := range map[string][]byte{
		"block br end": ops(block, void, nop, br, 0, nop, end),
		"block end": ops(block, void, end),
		"const if end": ops(i32Const, 1, if_, void, end),
		"get if end": ops(localGet, 0, if_, void, end),
		"get if incr end": ops(localGet, 0, if_, void, localGet, 0, i32Const, 1, i32Add, localSet, 0, end),
		"loop end": ops(loop, void, end),
	} {
		for _, n := range []int{5000, 10000, 20000} {
			p := newProgram()
			p.function("f", ops(i32), nil, repeated(n, unit...))
			w := p.wasm()
			out, _, err := meter.Rewrite(w, meter.Limits{})
			if err != nil {
				t.Fatal(err)
			}
			ctx := context.Background()
			r := wazero.NewRuntime(ctx)
			s := time.Now()
			r.CompileModule(ctx, w)
			a := time.Since(s)
			s = time.Now()
			r.CompileModule(ctx, out)
			t.Log(name, n, len(w), len(out), a, time.Since(s))
			r.Close(ctx)
		}
	}
}
