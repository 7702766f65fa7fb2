package meter

// Bulk operations are metered by helpers, functions of our own behind those of the guest. So the guest's functions need
// no further locals, and an index of a local that did not exist stays one that does not.

const (
	// chunk is the most bytes that one instruction moves before there is another check.
	chunk = 64 << 10
	// A unit is so many bits of bytes moved, or of table elements.
	unitBytes    = 6
	unitElements = 3
	// growth is the price of memory.grow.
	growth = chunk >> unitBytes
)

// helper is a function to append.
type helper struct {
	kind    helperKind
	segment uint32 // of helpInit
}

type helperKind byte

const (
	helpNothing helperKind = iota
	helpFill               // in place of memory.fill
	helpCopy               // in place of memory.copy
	helpInit               // in place of memory.init of one segment
	helpTable              // before a table operation: the number of elements is on top of the stack and stays there
	helpGrow               // before memory.grow
)

func (k helperKind) String() string {
	return [...]string{"nothing", "fill", "copy", "init", "table", "grow"}[k]
}

func (h helper) signature() int {
	if h.kind == helpTable || h.kind == helpGrow {
		return typeQuantity
	}
	return typeBulk
}

// The parameters of helpFill, helpCopy and helpInit, in the instruction's order.
const (
	paramTo = iota
	paramFrom
	paramLength
)

// assembler writes instructions.
type assembler []byte

func (a *assembler) op(b ...byte) { *a = append(*a, b...) }

func (a *assembler) get(local uint32) { *a = appendU32(append(*a, opLocalGet), local) }

func (a *assembler) i32(v uint32) { *a = appendS64(append(*a, opI32Const), int64(int32(v))) }

func (a *assembler) i64(v int64) { *a = appendS64(append(*a, opI64Const), v) }

// wide pushes a local as an unsigned number of 64 bits.
func (a *assembler) wide(local uint32) {
	a.get(local)
	a.op(opI64ExtendI32)
}

// helperBody is the content of a helper's entry in the code section.
func (w *rewriter) helperBody(h helper) []byte {
	a := &assembler{0} // no locals
	switch h.kind {
	case helpTable:
		// Tables are not larger than this, so an operation on more fails without doing anything.
		most := w.bounds.TableSize
		a.op(opGlobalGet)
		*a = appendU32(*a, w.fuel())
		a.get(0)
		a.i32(most)
		a.get(0)
		a.i32(most)
		a.op(opI32LtU, opSelect, opI64ExtendI32)
		a.i64(unitElements)
		a.op(opI64ShrU)
		a.i64(1)
		a.op(opI64Add)
		*a = w.appendPay(*a)
		a.get(0)
	case helpGrow:
		*a = w.appendCheck(*a, growth)
		a.get(0)
	default:
		w.bulk(a, h)
	}
	a.op(opEnd)
	return *a
}

// bulk writes the helper in place of a memory instruction, which pays and then does it, in chunks if it is long. What
// would trap is left to the instruction itself before anything was written. A dropped segment is seen by the first
// chunk, likewise.
func (w *rewriter) bulk(a *assembler, h helper) {
	a.longer()
	a.op(opIf, blockEmpty)
	w.outOfBounds(a, h)
	a.op(opIf, blockEmpty)
	a.whole(h)
	a.op(opReturn) // not reached, unless the engine allows more than we think, and then all is done
	a.op(opEnd)
	if h.kind == helpCopy {
		a.get(paramTo)
		a.get(paramFrom)
		a.op(opI32LeU)
		a.op(opIf, blockEmpty)
		w.forward(a, h)
		a.op(opElse)
		w.backward(a, h)
		a.op(opEnd)
	} else {
		w.forward(a, h)
	}
	a.op(opEnd)

	a.op(opGlobalGet)
	*a = appendU32(*a, w.fuel())
	a.wide(paramLength)
	a.i64(unitBytes)
	a.op(opI64ShrU)
	a.i64(1)
	a.op(opI64Add)
	*a = w.appendPay(*a)
	a.whole(h)
}

// longer pushes whether there is more than a chunk to do.
func (a *assembler) longer() {
	a.get(paramLength)
	a.i32(chunk)
	a.op(opI32GtU)
}

// whole does everything that is left at once.
func (a *assembler) whole(h helper) {
	a.get(paramTo)
	a.get(paramFrom)
	a.get(paramLength)
	a.instruction(h)
}

func (a *assembler) instruction(h helper) {
	a.op(opMisc)
	switch h.kind {
	case helpFill:
		a.op(miscMemoryFill, 0)
	case helpCopy:
		a.op(miscMemoryCopy, 0, 0)
	case helpInit:
		a.op(miscMemoryInit)
		*a = append(appendU32(*a, h.segment), 0)
	}
}

// outOfBounds pushes whether the instruction is going to trap.
func (w *rewriter) outOfBounds(a *assembler, h helper) {
	a.wide(paramTo)
	a.wide(paramLength)
	a.op(opI64Add)
	a.memorySize()
	a.op(opI64GtU)
	if h.kind == helpFill {
		return
	}
	a.wide(paramFrom)
	a.wide(paramLength)
	a.op(opI64Add)
	if h.kind == helpCopy {
		a.memorySize()
	} else {
		a.i64(int64(w.data[h.segment]))
	}
	a.op(opI64GtU, opI32Or)
}

// memorySize pushes the bytes of the memory.
func (a *assembler) memorySize() {
	a.op(opMemorySize, 0, opI64ExtendI32)
	a.i64(16)
	a.op(opI64Shl)
}

// forward does chunks from the low end until at most one is left.
func (w *rewriter) forward(a *assembler, h helper) {
	a.op(opLoop, blockEmpty)
	*a = w.appendCheck(*a, 1+chunk>>unitBytes)
	a.get(paramTo)
	a.get(paramFrom)
	a.i32(chunk)
	a.instruction(h)
	a.step(paramTo, opI32Add, opLocalSet)
	if h.kind != helpFill { // there it is the value
		a.step(paramFrom, opI32Add, opLocalSet)
	}
	a.step(paramLength, opI32Sub, opLocalSet)
	a.longer()
	a.op(opBrIf, 0, opEnd)
}

// backward does chunks from the high end, for a copy upwards onto itself.
func (w *rewriter) backward(a *assembler, h helper) {
	a.op(opLoop, blockEmpty)
	*a = w.appendCheck(*a, 1+chunk>>unitBytes)
	a.get(paramTo)
	a.step(paramLength, opI32Sub, opLocalTee)
	a.op(opI32Add)
	a.get(paramFrom)
	a.get(paramLength)
	a.op(opI32Add)
	a.i32(chunk)
	a.instruction(h)
	a.longer()
	a.op(opBrIf, 0, opEnd)
}

// step moves a parameter on by a chunk.
func (a *assembler) step(local byte, op, set byte) {
	a.get(uint32(local))
	a.i32(chunk)
	a.op(op, set, local)
}
