package meter_test

import (
	"math/rand/v2"
	"testing"

	"github.com/souk-market/souk/core/plugin/meter"
	"github.com/tetratelabs/wazero/api"
)

// writer makes up functions that count what they execute in the global 0, so that it can be held against the fuel.
type writer struct {
	*rand.Rand
	labels   int  // open blocks, the function's own included
	nesting  int  // of loops
	straight bool // neither loops nor calls
	callees  []uint32
}

// work is a stretch of code that counts itself, eight instructions at a time.
func (w *writer) work() []byte {
	n := 1 + w.IntN(6)
	if w.IntN(6) == 0 {
		n += w.IntN(80)
	}
	return repeated(n, nop, nop, nop, nop, globalGet, 0, i64Const, 8, i64Add, globalSet, 0)
}

// chance pushes 1 once in four times, by a generator in local 0.
func (w *writer) chance() []byte {
	return join(ops(localGet, 0, i64Const), s32(1103515245), ops(0x7e, i64Const), s32(12345), ops(i64Add, localTee, 0,
		i64Const, 33, 0x88, 0xa7), number(3), ops(0x71, 0x45))
}

func (w *writer) code(depth int) []byte {
	b := w.work()
	if depth == 0 {
		return b
	}
	for range 1 + w.IntN(4) {
		switch w.IntN(8) {
		case 0, 1:
			b = append(b, w.block(depth, ops(block, void))...)
		case 2:
			b = append(b, w.block(depth, join(w.chance(), ops(if_, void)))...)
		case 3:
			w.labels++
			b = join(b, w.chance(), ops(if_, void), w.code(depth-1), ops(else_), w.code(depth-1), ops(end))
			w.labels--
		case 4:
			if !w.straight && w.nesting < 3 {
				w.nesting++
				b = append(b, w.block(depth, ops(loop, void))...)
				w.nesting--
			}
		case 5:
			b = join(b, w.chance(), ops(brIf), u32(w.target()))
		case 6:
			b = join(b, ops(block, void), w.work(), w.chance(), ops(brTable, 1), u32(w.target()+1), ops(0, end))
		case 7:
			if len(w.callees) > 0 {
				b = join(b, ops(call), u32(w.callees[w.IntN(len(w.callees))]))
			}
		}
		b = append(b, w.work()...)
	}
	return b
}

func (w *writer) block(depth int, opening []byte) []byte {
	w.labels++
	defer func() { w.labels-- }()
	return join(opening, w.code(depth-1), ops(end))
}

func (w *writer) target() uint32 { return uint32(w.IntN(w.labels)) }

func TestWorkNeverOutrunsFuel(t *testing.T) {
	for seed := range uint64(150) {
		w := &writer{Rand: rand.New(rand.NewPCG(seed, 1)), labels: 1, straight: seed%3 == 0}
		p := newProgram()
		p.globals = [][]byte{{i64, 1, i64Const, 0, end}}
		p.export("work", 3, 0)
		locals := [][]byte{{1, i64}}
		if !w.straight {
			for range 2 {
				f := p.functionWith("", nil, nil, locals, ops(i64Const), s32(w.Int32N(1<<30)), ops(localSet, 0), w.code(2))
				w.callees = append(w.callees, f)
			}
		}
		p.functionWith("f", nil, nil, locals, ops(i64Const), s32(w.Int32N(1<<30)), ops(localSet, 0), w.code(4))

		// Every check calls refill, which sees what was paid and what was done.
		done, longest := int64(0), int64(0)
		h := &host{stopAt: 20_000}
		h.watch = func(mod api.Module) {
			now := int64(mod.ExportedGlobal("work").Get())
			longest = max(longest, now-done)
			done = now
			if paid := -int64(mod.ExportedGlobal(meter.FuelGlobal).Get()); done > 16*paid {
				t.Fatalf("program %d: %d instructions done for %d units", seed, done, paid)
			}
		}
		mod := start(t, h, p)
		_, err := mod.ExportedFunction("f").Call(t.Context())
		if err == nil {
			longest = max(longest, int64(mod.ExportedGlobal("work").Get())-done)
		}
		// On the way out of three loops in each of two functions, a little is kept of what each had paid.
		most := int64(128 + 8 + 64*8)
		if w.straight {
			most = 128 + 8 // what was done counts eight at a time
		}
		if longest > most {
			t.Errorf("program %d: %d instructions without a check, want at most %d", seed, longest, most)
		}
	}
}
