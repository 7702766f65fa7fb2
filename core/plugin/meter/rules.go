package meter

import (
	"fmt"

	"github.com/tetratelabs/wazero/api"
)

// permit refuses what is well formed and still not for guests.
func (m *module) permit(l Limits) error {
	for _, e := range m.imports {
		switch {
		case e.module == ImportModule:
			return fmt.Errorf("import: %q.%q: the module is reserved for metering", e.module, e.name)
		case e.kind == api.ExternTypeTable, e.kind == api.ExternTypeMemory:
			return fmt.Errorf("import: %q.%q: a guest owns its memory and tables", e.module, e.name)
		}
	}
	for _, e := range m.exports {
		if e.name == FuelGlobal {
			return fmt.Errorf("export: %q: the name is reserved for metering", e.name)
		}
	}
	if len(m.memories) > 1 {
		return fmt.Errorf("memory: %d of them, a guest has one", len(m.memories))
	}
	for _, mem := range m.memories {
		if mem.min > l.MemoryPages {
			return fmt.Errorf("memory: %d pages at the start, the limit is %d", mem.min, l.MemoryPages)
		}
	}
	if len(m.tables) > l.Tables {
		return fmt.Errorf("table: %d of them, the limit is %d", len(m.tables), l.Tables)
	}
	for i, t := range m.tables {
		if t.min > l.TableSize {
			return fmt.Errorf("table: table %d: %d elements at the start, the limit is %d", i, t.min, l.TableSize)
		}
	}
	return nil
}

func (r *reader) table() extent {
	form := r.byte()
	switch {
	case form == 0x40:
		r.failf("an initial value: typed function references are not enabled")
	case r.err == nil && form != typeFuncref && form != typeExternref:
		r.failf("reference type %#x is unknown", form)
	}
	t := r.extent()
	t.reference = form
	return t
}

func (r *reader) memory() extent {
	m := r.extent()
	if m.min > maxPages || m.max > maxPages {
		r.failf("more than %d pages", maxPages)
	}
	return m
}

func (r *reader) extent() extent {
	var e extent
	switch flags := r.byte(); flags {
	case 0:
		e.min = r.u32()
	case 1:
		e.min, e.max, e.hasMax = r.u32(), r.u32(), true
		if r.err == nil && e.max < e.min {
			r.failf("maximum %d is below minimum %d", e.max, e.min)
		}
	case 2, 3:
		r.failf("shared memory: threads are not enabled")
	default:
		r.failf("limits %#x are unknown", flags)
	}
	return e
}

// append writes the extent with its maximum clamped, or added.
func (e extent) append(b []byte, most uint32) []byte {
	if e.hasMax {
		most = min(most, e.max)
	}
	return appendU32(appendU32(append(b, 1), e.min), most)
}

func (r *reader) globalType() {
	r.valueType()
	if mutable := r.byte(); mutable > 1 {
		r.failf("mutability %#x is unknown", mutable)
	}
}

// constant is a constant expression: one instruction and its end.
type constant struct {
	op       byte
	raw      []byte // without the end
	function uint32 // of ref.func
}

// constant reads a constant expression. The expressions with arithmetic, which came after WebAssembly 2.0, would also
// open the globals that are not imported, and the counter is one of these.
func (m *module) constant(r *reader) constant {
	at := r.pos
	c := constant{op: r.byte()}
	switch c.op {
	case opI32Const:
		r.signed(32)
	case opI64Const:
		r.signed(64)
	case opF32Const:
		r.bytes(4)
	case opF64Const:
		r.bytes(8)
	case opVector:
		if op := r.vectorOpcode(); r.err == nil && op != vectorConst {
			r.failf("opcode %#x %#x is not constant", opVector, op)
		}
		r.bytes(16)
	case opGlobalGet:
		r.index("imported global", m.importedGlobals)
	case opRefNull:
		r.referenceType()
	case opRefFunc:
		c.function = r.index("function", len(m.funcs))
	case opI32Add, opI32Sub, 0x6c, opI64Add, opI64Sub, 0x7e:
		r.failf("opcode %#x: extended constant expressions are not enabled", c.op)
	default:
		r.failf("opcode %#x is not constant", c.op)
	}
	if r.err != nil {
		return constant{}
	}
	c.raw = r.buf[at:r.pos]
	if end := r.byte(); r.err == nil && end != opEnd {
		r.failf("a constant of more than one instruction: extended constant expressions are not enabled")
	}
	return c
}

// offset reads where an active segment goes.
func (m *module) offset(r *reader) constant {
	c := m.constant(r)
	if r.err == nil && c.op != opI32Const && c.op != opGlobalGet {
		r.failf("opcode %#x is not an offset", c.op)
	}
	return c
}
