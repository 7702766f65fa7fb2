package meter

import "fmt"

// Value types. WebAssembly 2.0 §5.3.
const (
	typeI32       = 0x7f
	typeI64       = 0x7e
	typeF32       = 0x7d
	typeF64       = 0x7c
	typeV128      = 0x7b
	typeFuncref   = 0x70
	typeExternref = 0x6f
)

func isValueType(t byte) bool {
	return t >= typeV128 && t <= typeI32 || t == typeFuncref || t == typeExternref
}

// The instructions that are looked at or written one by one. WebAssembly 2.0 §5.4.
const (
	opBlock        = 0x02
	opLoop         = 0x03
	opIf           = 0x04
	opElse         = 0x05
	opEnd          = 0x0b
	opBr           = 0x0c
	opBrIf         = 0x0d
	opReturn       = 0x0f
	opCall         = 0x10
	opSelect       = 0x1b
	opLocalGet     = 0x20
	opLocalSet     = 0x21
	opLocalTee     = 0x22
	opGlobalGet    = 0x23
	opGlobalSet    = 0x24
	opMemorySize   = 0x3f
	opMemoryGrow   = 0x40
	opI32Const     = 0x41
	opI64Const     = 0x42
	opF32Const     = 0x43
	opF64Const     = 0x44
	opI32LtU       = 0x49
	opI32GtU       = 0x4b
	opI32LeU       = 0x4d
	opI64LtS       = 0x53
	opI64GtU       = 0x56
	opI32Add       = 0x6a
	opI32Sub       = 0x6b
	opI32Or        = 0x72
	opI64Add       = 0x7c
	opI64Sub       = 0x7d
	opI64Shl       = 0x86
	opI64ShrU      = 0x88
	opI64ExtendI32 = 0xad // unsigned
	opRefNull      = 0xd0
	opRefFunc      = 0xd2
	opMisc         = 0xfc // prefix
	opVector       = 0xfd // prefix

	miscMemoryInit = 8
	miscDataDrop   = 9
	miscMemoryCopy = 10
	miscMemoryFill = 11
	miscTableInit  = 12
	miscElemDrop   = 13
	miscTableCopy  = 14
	miscTableGrow  = 15
	miscTableSize  = 16
	miscTableFill  = 17

	vectorConst = 12

	blockEmpty = 0x40 // block type
)

// immediate says what follows an instruction's opcode.
type immediate byte

const (
	immUnknown    immediate = iota // not an instruction that we know
	immNone                        //
	immBlock                       // block type: block, loop, if
	immElse                        // none, but it matters
	immEnd                         // likewise
	immLabel                       // br, br_if
	immLabels                      // br_table
	immFunction                    // call, ref.func
	immIndirect                    // type, table: call_indirect
	immTypes                       // select with a type
	immLocal                       //
	immGlobal                      //
	immTable                       //
	immMemory                      // a reserved zero: memory.size, memory.grow
	immAccess                      // alignment and offset
	immI32                         //
	immI64                         //
	imm4                           // so many bytes
	imm8                           //
	imm16                          //
	immLane                        // one byte
	immAccessLane                  //
	immRef                         // reference type
	immMisc                        // another opcode
	immVector                      // another opcode
)

// immediates holds the instructions of one byte.
var immediates = func() (t [256]immediate) {
	set := func(imm immediate, from, to byte) {
		for op := int(from); op <= int(to); op++ {
			t[op] = imm
		}
	}
	set(immNone, 0x00, 0x01) // unreachable, nop
	set(immBlock, opBlock, opIf)
	t[opElse] = immElse
	t[opEnd] = immEnd
	set(immLabel, opBr, opBrIf)
	t[0x0e] = immLabels
	t[opReturn] = immNone
	t[opCall] = immFunction
	t[0x11] = immIndirect
	set(immNone, 0x1a, opSelect) // drop, select
	t[0x1c] = immTypes
	set(immLocal, opLocalGet, opLocalTee)
	set(immGlobal, opGlobalGet, opGlobalSet)
	set(immTable, 0x25, 0x26) // table.get, table.set
	set(immAccess, 0x28, 0x3e)
	set(immMemory, opMemorySize, opMemoryGrow)
	t[opI32Const], t[opI64Const], t[opF32Const], t[opF64Const] = immI32, immI64, imm4, imm8
	set(immNone, 0x45, 0xc4) // arithmetic, up to the sign extensions
	t[opRefNull], t[0xd1], t[opRefFunc] = immRef, immNone, immFunction
	t[opMisc], t[opVector] = immMisc, immVector
	return t
}()

// vectors holds the instructions behind the vector prefix.
var vectors = func() (t [256]immediate) {
	for op := range t {
		t[op] = immNone
	}
	for op := 0; op <= 11; op++ { // loads and store
		t[op] = immAccess
	}
	t[vectorConst], t[13] = imm16, imm16 // v128.const, i8x16.shuffle
	for op := 21; op <= 34; op++ {       // extract and replace
		t[op] = immLane
	}
	for op := 84; op <= 91; op++ { // loads and stores of a lane
		t[op] = immAccessLane
	}
	t[92], t[93] = immAccess, immAccess // loads that fill up with zeros
	for _, hole := range []byte{
		0x9a, 0xa2, 0xa5, 0xa6, 0xaf, 0xb0, 0xb2, 0xb3, 0xb4, 0xbb, 0xc2, 0xc5, 0xc6,
		0xcf, 0xd0, 0xd2, 0xd3, 0xd4, 0xe2, 0xee,
	} {
		t[hole] = immUnknown
	}
	return t
}()

// errUnknown names an opcode that is not one of WebAssembly 2.0, and the feature that it belongs to.
func errUnknown(op byte) error {
	switch {
	case op == 0x06, op == 0x07, op == 0x08, op == 0x09, op == 0x0a, op == 0x18, op == 0x19, op == 0x1f:
		return fmt.Errorf("unknown opcode %#x: exception handling is not enabled", op)
	case op == 0x12, op == 0x13:
		return fmt.Errorf("unknown opcode %#x: tail calls are not enabled", op)
	case op == 0x14, op == 0x15, op >= 0xd3 && op <= 0xd6:
		return fmt.Errorf("unknown opcode %#x: typed function references are not enabled", op)
	case op == 0xfb:
		return fmt.Errorf("unknown opcode %#x: garbage collection is not enabled", op)
	case op == 0xfe:
		return fmt.Errorf("unknown opcode %#x: threads are not enabled", op)
	}
	return fmt.Errorf("unknown opcode %#x", op)
}

// errUnknownVector does the same behind the vector prefix.
func errUnknownVector(op uint32) error {
	if op >= 0x100 && op <= 0x12f {
		return fmt.Errorf("unknown opcode %#x %#x: relaxed SIMD is not enabled", opVector, op)
	}
	return fmt.Errorf("unknown opcode %#x %#x", opVector, op)
}

// vectorOpcode reads the opcode after the vector prefix. The engine reads one byte and takes the second, which is 1
// for all opcodes from 0x80, for a nop. A longer way to write the same number would mean something else to it, so
// only the shortest is allowed.
func (r *reader) vectorOpcode() byte {
	at := r.pos
	op := r.u32()
	switch long := op >= 0x80; {
	case op > 0xff || r.err == nil && vectors[op] == immUnknown:
		r.fail(errUnknownVector(op))
	case long && r.pos-at != 2, !long && r.pos-at != 1:
		r.failf("opcode %#x %#x is not written in the shortest way", opVector, op)
	}
	return byte(op)
}
