package meter_test

import (
	"math/rand/v2"
	"testing"

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

// busy is code that counts itself, eight instructions at a time.
func busy(n int) []byte {
	return repeated(n/8, nop, nop, nop, nop, globalGet, 0, i64Const, 8, i64Add, globalSet, 0)
}

func (w *writer) work() []byte {
	n := 1 + w.IntN(6)
	if w.IntN(6) == 0 {
		n += w.IntN(80)
	}
	return busy(8 * n)
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

// stretch runs the function f of a program in which every check calls refill, and returns the most work that was done
// between two of them. What was done must always have been paid.
func stretch(t *testing.T, p *program) int64 {
	t.Helper()
	p.globals = [][]byte{{i64, 1, i64Const, 0, end}}
	p.export("work", 3, 0)
	done, longest := int64(0), int64(0)
	h := &host{stopAt: 20_000}
	h.watch = func(mod api.Module) {
		now := int64(mod.ExportedGlobal("work").Get())
		longest = max(longest, now-done)
		done = now
		if paid := h.used(mod); done > 16*paid {
			t.Errorf("%d instructions done for %d units", done, paid)
		}
	}
	mod := start(t, h, p)
	if _, err := mod.ExportedFunction("f").Call(t.Context()); err == nil {
		work := int64(mod.ExportedGlobal("work").Get())
		longest = max(longest, work-done)
		original := plain(t, p.wasm())
		if _, err := original.ExportedFunction("f").Call(t.Context()); err != nil || int64(original.ExportedGlobal("work").Get()) != work {
			t.Errorf("metered it does %d, not metered %d, %v", work, int64(original.ExportedGlobal("work").Get()), err)
		}
	}
	return longest
}

func TestWorkNeverOutrunsFuel(t *testing.T) {
	t.Parallel()
	for seed := range uint64(150) {
		w := &writer{Rand: rand.New(rand.NewPCG(seed, 1)), labels: 1, straight: seed%3 == 0}
		p := newProgram()
		locals := [][]byte{{1, i64}}
		if !w.straight {
			for range 2 {
				f := p.functionWith("", nil, nil, locals, ops(i64Const), s32(w.Int32N(1<<30)), ops(localSet, 0), w.code(2))
				w.callees = append(w.callees, f)
			}
		}
		p.functionWith("f", nil, nil, locals, ops(i64Const), s32(w.Int32N(1<<30)), ops(localSet, 0), w.code(4))
		longest := stretch(t, p)
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

// Where paths meet, what goes on is what the longest of them has left.
func TestLongPathsAreNotHiddenByShortOnes(t *testing.T) {
	tests := []struct {
		name string
		code []byte
		most int64
	}{
		{"the first branch of an if is long", join(number(1), ops(if_, void), busy(104), ops(else_), busy(8), ops(end),
			busy(112)), 128},
		{"the second branch of an if is long", join(number(0), ops(if_, void), busy(8), ops(else_), busy(104), ops(end),
			busy(112)), 128},
		{"an if is not taken and has a check", join(busy(80), number(0), ops(if_, void), busy(80), ops(end), busy(112)), 128},
		{"a branch leaves an if before its check", join(number(1), ops(if_, void), busy(104), number(1), ops(brIf, 0),
			busy(24), ops(end), busy(112)), 128},
		{"a branch leaves a block before its check", join(ops(block, void), busy(104), number(1), ops(brIf, 0), busy(24),
			ops(end), busy(112)), 128},
		{"a table leaves a block before its check", join(ops(block, void, block, void), busy(104), number(7),
			ops(brTable, 1, 0, 1, end), busy(24), ops(end), busy(112)), 128},
		{"a loop ends late", join(ops(loop, void), busy(104), ops(end), busy(112)), 128 + 64},
		{"a branch leaves a loop late", join(ops(block, void, loop, void), busy(104), number(1), ops(brIf, 1, end),
			busy(72), ops(end), busy(112)), 128 + 64},
		{"a call comes back late", join(ops(call, 1), busy(112)), 128 + 64},
		{"a call through a table comes back late", join(number(0), ops(callIndirect, 0, 0), busy(112)), 128 + 64},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := newProgram()
			p.tables = [][]byte{{funcref, 0, 1}}
			p.elements = [][]byte{{0, i32Const, 0, end, 1, 1}}
			p.function("f", nil, nil, tt.code)
			p.function("", nil, nil, busy(104))
			if longest := stretch(t, p); longest > tt.most {
				t.Errorf("%d instructions without a check, want at most %d", longest, tt.most)
			}
		})
	}
}
