package meter

import "github.com/tetratelabs/wazero/api"

// The types that metering adds, counted from the first one.
const (
	typeRefill   = iota // () -> ()
	typeBulk            // (i32, i32, i32) -> (), as memory.fill, memory.copy and memory.init
	typeQuantity        // (i32) -> (i32), which it passes through
)

var addedTypes = []byte{
	0x60, 0, 0,
	0x60, 3, typeI32, typeI32, typeI32, 0,
	0x60, 1, typeI32, 1, typeI32,
}

// assemble writes the module. Nothing in it can fail any more.
func (w *rewriter) assemble() []byte {
	size := 0
	for _, raw := range w.raw {
		size += len(raw)
	}
	out := make([]byte, 0, size+len(w.code)-len(w.raw[sectionCode])+len(w.names)+1024)
	out = append(out, "\x00asm\x01\x00\x00\x00"...)
	for _, id := range sectionOrder {
		if content := w.content(id); content != nil {
			out = appendSized(append(out, id), content)
		}
	}
	if names := w.writeNames(); names != nil {
		out = appendSized(append(out, sectionCustom), append(appendName(nil, "name"), names...))
	}
	return out
}

// content is a section anew, or nil when there is none.
func (w *rewriter) content(id byte) []byte {
	switch id {
	case sectionType:
		return w.extended(id, len(w.types)+3, addedTypes)
	case sectionImport:
		b := appendName(appendName(nil, ImportModule), ImportRefill)
		b = append(b, api.ExternTypeFunc)
		return w.extended(id, len(w.imports)+1, appendU32(b, w.added(typeRefill)))
	case sectionFunction:
		if w.raw[id] == nil {
			return nil
		}
		var b []byte
		for _, h := range w.helpers {
			b = appendU32(b, w.added(h.signature()))
		}
		return w.extended(id, len(w.bodies)+len(w.helpers), b)
	case sectionTable:
		if w.raw[id] == nil {
			return nil
		}
		b := appendU32(nil, uint32(len(w.tables)))
		for _, t := range w.tables {
			b = t.append(append(b, t.reference), w.bounds.TableSize)
		}
		return b
	case sectionMemory:
		if w.raw[id] == nil {
			return nil
		}
		b := appendU32(nil, uint32(len(w.memories)))
		for _, m := range w.memories {
			b = m.append(b, w.bounds.MemoryPages)
		}
		return b
	case sectionGlobal:
		return w.writeGlobals()
	case sectionExport:
		return w.writeExports()
	case sectionStart:
		if w.start < 0 {
			return nil
		}
		return appendU32(nil, w.shift(uint32(w.start)))
	case sectionElement:
		return w.element
	case sectionCode:
		if w.raw[id] == nil {
			return nil
		}
		b := appendU32(make([]byte, 0, len(w.code)+256*len(w.helpers)+8), uint32(len(w.bodies)+len(w.helpers)))
		b = append(b, w.code...)
		for _, h := range w.helpers {
			b = appendSized(b, w.helperBody(h))
		}
		return b
	}
	return w.raw[id] // the data and its count
}

// added is the index of a type that metering adds.
func (w *rewriter) added(t int) uint32 { return uint32(len(w.types) + t) }

// extended is a vector of the original with items appended.
func (w *rewriter) extended(id byte, count int, items []byte) []byte {
	r := &reader{buf: w.raw[id]}
	if w.raw[id] != nil {
		r.u32()
	}
	b := make([]byte, 0, len(r.buf)+len(items)+8)
	b = append(appendU32(b, uint32(count)), r.buf[r.pos:]...)
	return append(b, items...)
}

func (w *rewriter) writeGlobals() []byte {
	r := &reader{buf: w.raw[sectionGlobal]}
	n := uint32(0)
	if r.buf != nil {
		n = r.u32()
	}
	b := appendU32(make([]byte, 0, len(r.buf)+64), n+1)
	for range n {
		at := r.pos
		r.globalType()
		b = append(b, r.buf[at:r.pos]...)
		b = w.appendConstant(b, w.constant(r))
	}
	return append(b, typeI64, 1, opI64Const, 0, opEnd)
}

func (w *rewriter) writeExports() []byte {
	b := appendU32(make([]byte, 0, len(w.raw[sectionExport])+64), uint32(len(w.exports)+1))
	for _, e := range w.exports {
		if e.kind == api.ExternTypeFunc {
			e.index = w.shift(e.index)
		}
		b = appendU32(append(appendName(b, e.name), e.kind), e.index)
	}
	return appendU32(append(appendName(b, FuelGlobal), api.ExternTypeGlobal), w.fuel())
}
