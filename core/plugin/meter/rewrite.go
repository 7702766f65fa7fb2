package meter

import (
	"fmt"

	"github.com/tetratelabs/wazero/api"
)

// rewriter writes a module anew. What is added comes after everything that was there, so that no index of the original
// moves. There is one exception: refill has to be imported, and imported functions come before all others.
type rewriter struct {
	*module
	bounds Limits
	stats  Stats

	allLocals   int  // declared so far
	importsLent bool // an imported function can be reached by call_indirect
	helpers     []helper
	helperIndex map[helper]uint32

	element []byte // the section anew
	code    []byte // likewise, but for the helpers and the count
}

// shift is where a function of the original went.
func (w *rewriter) shift(function uint32) uint32 {
	if int(function) >= w.importedFuncs {
		return function + 1
	}
	return function
}

func (w *rewriter) refill() uint32 { return uint32(w.importedFuncs) }

func (w *rewriter) fuel() uint32 { return uint32(w.globals) }

// help returns the index of a helper, which it adds when it is new.
func (w *rewriter) help(h helper) uint32 {
	i, ok := w.helperIndex[h]
	if !ok {
		if w.helperIndex == nil {
			w.helperIndex = make(map[helper]uint32)
		}
		i = uint32(len(w.funcs) + 1 + len(w.helpers))
		w.helperIndex[h] = i
		w.helpers = append(w.helpers, h)
	}
	return i
}

// rewrite does what can fail.
func (w *rewriter) rewrite() error {
	for _, e := range w.exports {
		if e.kind == api.ExternTypeFunc {
			w.lend(e.index)
		}
	}
	if raw := w.raw[sectionGlobal]; raw != nil {
		r := &reader{buf: raw}
		for range r.u32() {
			r.globalType()
			w.lendConstant(w.constant(r))
		}
	}
	if raw := w.raw[sectionElement]; raw != nil {
		r := &reader{buf: raw}
		w.writeElements(r)
		if err := r.done(); err != nil {
			return fmt.Errorf("element: %w", err)
		}
	}
	w.code = make([]byte, 0, len(w.raw[sectionCode])*5/4)
	f := &body{rewriter: w}
	var scratch []byte
	for i, b := range w.bodies {
		if err := f.read(w.importedFuncs+i, b); err != nil {
			return fmt.Errorf("code: function %d: %w", w.importedFuncs+i, err)
		}
		scratch = f.append(scratch[:0])
		w.code = appendSized(w.code, scratch)
	}
	w.stats.Functions = len(w.bodies)
	w.stats.Helpers = len(w.helpers)
	return nil
}

// lend notes that there is a reference to a function, which may end in a table.
func (w *rewriter) lend(function uint32) {
	if int(function) < w.importedFuncs {
		w.importsLent = true
	}
}

func (w *rewriter) lendConstant(c constant) {
	if c.op == opRefFunc {
		w.lend(c.function)
	}
}

// append writes the function with its edits made.
func (f *body) append(b []byte) []byte {
	at := 0
	if f.turned {
		b = append(appendU32(b, uint32(f.runs+1)), f.buf[f.counted:f.declared]...)
		b = append(b, 1, typeI64)
		at = f.declared
	}
	for _, e := range f.edits {
		b = append(b, f.buf[at:e.from]...)
		at = e.to
		switch {
		case e.kind == editInstruction:
			b = appendU32(append(b, e.op), e.arg)
		case e.kind == editLabel && e.turned:
			b = appendU32(b, e.arg+1)
		case e.kind == editLabel:
			b = appendU32(b, e.arg)
		case e.kind == editCheck && e.turned:
			b = f.appendTurn(b, e.arg)
		case e.kind == editCheck:
			b = f.appendCheck(b, e.arg)
		case e.kind == editBefore && e.turned:
			b = f.appendBefore(b, e.op, e.arg)
		case e.kind == editBehind:
			b = append(b, opEnd)
		}
	}
	return append(b, f.buf[at:]...)
}

// appendCheck writes a check. It leaves the operand stack as it was, so it may stand before any instruction.
func (w *rewriter) appendCheck(b []byte, units uint32) []byte {
	b = appendU32(append(b, opGlobalGet), w.fuel())
	b = appendS64(append(b, opI64Const), int64(units))
	return w.appendPay(b)
}

// appendPay writes the rest of a check, behind the counter and the price on the operand stack.
func (w *rewriter) appendPay(b []byte) []byte {
	b = appendU32(append(b, opI64Sub, opGlobalSet), w.fuel())
	b = appendU32(append(b, opGlobalGet), w.fuel())
	b = append(b, opI64Const, 0, opI64LtS, opIf, blockEmpty)
	b = appendU32(append(b, opCall), w.refill())
	return append(b, opEnd)
}

// writeElements reads the element segments, which come in eight forms, and writes them again.
func (w *rewriter) writeElements(r *reader) {
	n := r.count("element segments", 3, w.bounds.Segments)
	b := appendU32(make([]byte, 0, len(r.buf)*5/4), uint32(n))
	total := 0
	for i := 0; i < n && r.err == nil; i++ {
		// Bit 0: not active. Bit 1: with a table if active, else declared only. Bit 2: expressions, not indices.
		form := r.u32()
		if form > 7 {
			r.failf("kind %d is unknown", form)
		}
		b = appendU32(b, form)
		if form&1 == 0 {
			if form&2 != 0 {
				b = appendU32(b, r.index("table", len(w.tables)))
			} else if len(w.tables) == 0 {
				r.failf("table 0 does not exist")
			}
			b = w.appendConstant(b, w.offset(r))
		}
		switch {
		case form&3 == 0:
		case form&4 != 0:
			b = append(b, r.referenceType())
		default:
			r.zero("element kind")
			b = append(b, 0)
		}
		count := r.count("elements", 1, w.bounds.Elements-total)
		total += count
		b = appendU32(b, uint32(count))
		for j := 0; j < count && r.err == nil; j++ {
			if form&4 != 0 {
				c := w.constant(r)
				w.lendConstant(c)
				b = w.appendConstant(b, c)
				continue
			}
			f := r.index("function", len(w.funcs))
			w.lend(f)
			b = appendU32(b, w.shift(f))
		}
		if r.err != nil {
			r.err = fmt.Errorf("segment %d: %w", i, r.err)
		}
	}
	w.element = b
}

func (w *rewriter) appendConstant(b []byte, c constant) []byte {
	if c.op == opRefFunc {
		b = appendU32(append(b, opRefFunc), w.shift(c.function))
	} else {
		b = append(b, c.raw...)
	}
	return append(b, opEnd)
}
