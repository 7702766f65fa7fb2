package meter_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/souk-market/souk/core/plugin/meter"
	"github.com/tetratelabs/wazero/api"
)

// twister makes up functions of one type, whose loops go on and are left in all
// ways that there are: most of them are quiet.
type twister struct {
	*rand.Rand
	labels []byte // types of what the open blocks' labels take, the function's own first; void or i64
	callee uint32 // 0 = nobody is called
	pair   uint32 // the type () -> (i64, i64)
	round  uint32 // the type (i64) -> (i64)
}

// The locals of its functions: a number that all work changes, how often loops may
// still turn, one more of each.
const (
	twisted = iota
	turns
	spareWide
	spare
	twistLocals
)

var twistDeclared = [][]byte{{1, i32}, {1, i64}, {1, i32}} // the first local is the parameter

// mix is work: x = x * 1103515245 + n.
func (w *twister) mix() []byte {
	return join(ops(localGet, twisted, i64Const), s32(1103515245), ops(0x7e, i64Const), s32(w.Int32N(1<<20)), ops(i64Add, localSet, twisted))
}

// maybe pushes 1 once in n times.
func (w *twister) maybe(n int32) []byte {
	return join(ops(localGet, twisted, i64Const, 33, 0x88, 0xa7), number(n), ops(0x70, 0x45)) // i32.rem_u
}

// value pushes an i64.
func (w *twister) value(depth int) []byte {
	switch n := w.IntN(10); {
	case n == 0:
		return ops(globalGet, 0)
	case n == 1:
		return join(ops(localGet, twisted, 0xa7), number(0x7fff), ops(0x71, 0x29, 0, 0)) // i64.load
	case n == 2 && depth > 0:
		return w.block(ops(block), i64, i64, depth)
	case n == 3 && depth > 0:
		return w.block(ops(loop), i64, void, depth)
	case n == 4 && depth > 0:
		w.labels = append(w.labels, i64)
		b := join(w.maybe(2), ops(if_, i64), w.code(depth-1), w.value(0), ops(else_), w.code(depth-1), w.value(0), ops(end))
		w.labels = w.labels[:len(w.labels)-1]
		return b
	case n == 5 && depth > 0: // a loop with a parameter, which is no quiet one
		w.labels = append(w.labels, i64)
		b := join(w.value(0), ops(loop), u32(w.round), ops(localSet, spareWide), w.head(), w.code(depth-1), w.value(0),
			w.maybe(3), ops(brIf, 0, end))
		w.labels = w.labels[:len(w.labels)-1]
		return b
	case n == 6 && depth > 0: // with two results
		w.labels = append(w.labels, void)
		b := join(ops(loop), u32(w.pair), w.head(), w.code(depth-1), w.maybe(3), ops(brIf, 0), w.value(0), w.value(0), ops(end, 0x85))
		w.labels = w.labels[:len(w.labels)-1]
		return b
	}
	return ops(localGet, twisted)
}

// head takes a turn from those that are left, without which the function is over.
func (w *twister) head() []byte {
	return join(ops(localGet, turns), number(1), ops(i32Sub, localTee, turns, 0x45, if_, void, localGet, twisted, return_, end))
}

// block is a block or loop with a result, and a label that takes something.
func (w *twister) block(opening []byte, result, label byte, depth int) []byte {
	w.labels = append(w.labels, label)
	defer func() { w.labels = w.labels[:len(w.labels)-1] }()
	b := append(opening, result)
	if opening[0] == loop {
		b = append(b, w.head()...)
	}
	b = append(b, w.code(depth-1)...)
	if opening[0] == loop && w.IntN(4) > 0 {
		b = join(b, w.maybe(1+w.Int32N(6)), ops(0x45, brIf, 0)) // most turn a few times
	}
	if result == i64 {
		b = append(b, w.value(0)...)
	}
	return append(b, end)
}

// leave is a branch to any label.
func (w *twister) leave(op byte) []byte {
	to := w.IntN(len(w.labels))
	takes := w.labels[len(w.labels)-1-to]
	var b []byte
	if takes == i64 {
		b = w.value(0)
	}
	switch op {
	case brIf:
		b = join(b, w.maybe(4), ops(brIf), u32(uint32(to)))
		if takes == i64 {
			b = append(b, localSet, twisted)
		}
	case brTable:
		var same [][]byte
		for i := range w.labels {
			if w.labels[len(w.labels)-1-i] == takes {
				same = append(same, u32(uint32(i)))
			}
		}
		w.Shuffle(len(same), func(i, j int) { same[i], same[j] = same[j], same[i] })
		b = join(b, ops(localGet, twisted, i64Const, 35, 0x88, 0xa7), number(7), ops(0x71, brTable), vector(same), u32(uint32(to)))
	default:
		b = join(b, ops(br), u32(uint32(to)))
	}
	return b
}

// perhaps does something that control doesn't come back from, once in a while, and
// may have code behind it that nobody comes to.
func (w *twister) perhaps(b []byte) []byte {
	if w.IntN(2) == 0 {
		b = join(b, w.mix())
	}
	return join(w.maybe(4), ops(if_, void), b, ops(end))
}

func (w *twister) code(depth int) []byte {
	b := w.mix()
	for range w.IntN(4) {
		switch n := w.IntN(16); {
		case n < 4 && depth > 0:
			b = append(b, w.block(ops(loop), void, void, depth)...)
		case n == 4 && depth > 0:
			b = append(b, w.block(ops(block), void, void, depth)...)
		case n == 5:
			b = join(b, w.leave(brIf))
		case n == 6 || n == 7:
			op := []byte{br, brTable}[n-6]
			w.labels = append(w.labels, void)
			b = join(b, w.perhaps(w.leave(op)))
			w.labels = w.labels[:len(w.labels)-1]
		case n == 8:
			b = join(b, w.perhaps(ops(localGet, twisted, return_)))
		case n == 9 && w.IntN(8) == 0:
			b = join(b, w.perhaps(ops(unreachable)))
		case n == 10 && w.callee > 0:
			b = join(b, w.value(0), ops(call), u32(w.callee), ops(localSet, twisted))
		case n == 11:
			b = join(b, w.value(0), ops(globalSet, 0))
		case n == 12: // i64.store
			b = join(b, ops(localGet, twisted, 0xa7), number(0x7fff), ops(0x71), w.value(0), ops(0x37, 0, 0))
		case n == 13 && w.IntN(4) == 0:
			b = join(b, number(16), number(w.Int32N(200)), number(w.Int32N(3000)), ops(0xfc, 11, 0))
		case n == 14 && w.IntN(4) == 0:
			b = join(b, number(0), ops(memoryGrow, 0, localSet, spare))
		case n == 15 && w.IntN(3) == 0:
			b = append(b, busy(8*(1+w.IntN(20)))...)
		default:
			b = join(b, w.value(depth), ops(localSet, twisted))
		}
	}
	return append(b, w.mix()...)
}

// program has a function f, and one that it may call.
func (w *twister) program() *program {
	p := newProgram()
	p.memory(1)
	p.globals = [][]byte{{i64, 1, i64Const, 5, end}}
	p.export("state", 3, 0)
	w.round, w.pair = p.signature(ops(i64), ops(i64)), p.signature(nil, ops(i64, i64))
	for _, name := range []string{"", "f"} {
		w.labels = []byte{i64}
		code := w.code(4)
		w.callee = p.functionWith(name, ops(i64), ops(i64), twistDeclared, number(300), ops(localSet, turns), code, ops(localGet, twisted))
	}
	if w.IntN(2) == 0 {
		w.callee = 0
	}
	return p
}

// ended is what came of a call.
type ended struct {
	result, state uint64
	memory        string
	trapped       bool
	used          int64
	counts        []int64 // of each refill
}

func (e *ended) String() string {
	return fmt.Sprintf("result %d, state %d, trapped %v, used %d, %d refills", e.result, e.state, e.trapped, e.used, len(e.counts))
}

func (e *ended) same(other *ended) bool {
	return e.result == other.result && e.state == other.state && e.memory == other.memory && e.trapped == other.trapped
}

func endOf(t *testing.T, h *host, mod api.Module, seed uint64) *ended {
	t.Helper()
	e := &ended{}
	if h != nil {
		h.watch = func(mod api.Module) {
			if e.counts = append(e.counts, int64(mod.ExportedGlobal(meter.FuelGlobal).Get())); len(e.counts) > 100_000 {
				panic(errStopped) // it turns for ever
			}
		}
	}
	res, err := mod.ExportedFunction("f").Call(t.Context(), seed)
	if e.trapped = err != nil; !e.trapped {
		e.result = res[0]
	}
	if h != nil {
		e.used = h.used(mod)
		if h.stopAt > 0 && h.refills == h.stopAt && !errors.Is(err, errStopped) {
			t.Errorf("stopped, and the error is %v", err)
		}
	}
	e.state = mod.ExportedGlobal("state").Get()
	m := mod.Memory()
	b, _ := m.Read(0, m.Size())
	e.memory = string(b)
	return e
}

// A loop around a quiet one changes nothing of what a function does, of what it
// pays and of when.
func TestQuietLoopsChangeNothing(t *testing.T) {
	t.Parallel()
	turned, refills := 0, 0
	for seed := range uint64(120) {
		wasm := (&twister{Rand: rand.New(rand.NewPCG(seed, 2))}).program().wasm()
		with := rewrite(t, wasm, meter.Limits{})
		// There is no local left for a loop around.
		without := rewrite(t, wasm, meter.Limits{Locals: twistLocals})
		if len(with) > len(without) {
			turned++
		}
		x := seed * 0x9e3779b97f4a7c15
		want := endOf(t, nil, plain(t, wasm), x)
		for _, slice := range []int64{1, 13, 1_000_000} {
			for _, stopAt := range []int{0, 1 + int(seed%37)} {
				var got [2]*ended
				for i, metered := range [][]byte{with, without} {
					h := &host{slice: slice, stopAt: stopAt}
					mod, err := instance(t, h, metered)
					if err != nil {
						t.Fatal(err)
					}
					got[i] = endOf(t, h, mod, x)
				}
				refills += len(got[0].counts)
				if !got[0].same(got[1]) || got[0].used != got[1].used || !slices.Equal(got[0].counts, got[1].counts) {
					t.Fatalf("program %d, slices of %d, stopped at %d: %v, without the loops around %v", seed, slice, stopAt, got[0], got[1])
				}
				if stopAt == 0 && !got[0].same(want) {
					t.Fatalf("program %d: %v, not metered %v", seed, got[0], want)
				}
			}
		}
	}
	if turned < 60 || refills < 2000 {
		t.Errorf("%d programs have quiet loops, and there were %d refills: the test says little", turned, refills)
	}
}
