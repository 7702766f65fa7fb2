package meter

import "unicode/utf8"

// Subsections of the name section. WebAssembly 2.0 §7.4.1, and the extended name section for labels.
const (
	namesModule    = 0
	namesFunctions = 1
	namesLocals    = 2
	namesLabels    = 3
)

// writeNames returns the name section with functions where they went, so that traps show names. A section that is
// malformed is as good as none. What names other things is dropped: the engine does not show it.
func (w *rewriter) writeNames() []byte {
	if w.names == nil {
		return nil
	}
	b := make([]byte, 0, len(w.names)+len(w.names)/16+64)
	r := &reader{buf: w.names}
	for r.more() {
		id := r.byte()
		q := &reader{buf: r.bytes(r.count("bytes", 1, len(r.buf)))}
		var sub []byte
		switch id {
		case namesModule:
			sub = append(sub, q.nameBytes()...)
		case namesFunctions:
			sub = w.functionNames(q)
		case namesLocals, namesLabels:
			sub = w.namesWithin(q)
		default:
			continue
		}
		if r.err != nil || q.done() != nil {
			return nil
		}
		b = appendSized(append(b, id), sub)
	}
	if r.err != nil {
		return nil
	}
	return b
}

// nameBytes reads a name and returns it as it stands, with its length.
func (r *reader) nameBytes() []byte {
	at := r.pos
	if name := r.bytes(r.count("characters", 1, len(r.buf))); !utf8.Valid(name) {
		r.failf("a name is not UTF-8")
	}
	return r.buf[at:r.pos]
}

// functionNames adds the helpers; the engine knows refill as what it was imported as.
func (w *rewriter) functionNames(r *reader) []byte {
	n := r.count("names", 2, len(w.funcs))
	b := appendU32(make([]byte, 0, len(r.buf)+len(r.buf)/16), uint32(n+len(w.helpers)))
	last := -1
	for range n {
		i := w.namedFunction(r, &last)
		b = append(appendU32(b, i), r.nameBytes()...)
	}
	for i, h := range w.helpers {
		b = appendU32(b, uint32(len(w.funcs)+1+i))
		b = appendName(b, ImportModule+"."+h.kind.String())
	}
	return b
}

// namesWithin are those of locals or labels, by function.
func (w *rewriter) namesWithin(r *reader) []byte {
	n := r.count("functions", 2, len(w.funcs))
	b := appendU32(make([]byte, 0, len(r.buf)+len(r.buf)/16), uint32(n))
	last := -1
	for range n {
		b = appendU32(b, w.namedFunction(r, &last))
		at := r.pos
		for range r.count("names", 2, len(r.buf)) {
			r.u32()
			r.nameBytes()
		}
		b = append(b, r.buf[at:r.pos]...)
	}
	return b
}

// namedFunction reads the index of a function, which must come after the last one.
func (w *rewriter) namedFunction(r *reader, last *int) uint32 {
	i := r.index("function", len(w.funcs))
	if r.err == nil && int(i) <= *last {
		r.failf("function %d is out of order", i)
	}
	*last = int(i)
	return w.shift(i)
}
