package meter

import "fmt"

const (
	// covered is the most ordinary instructions that one check pays for: a path with more meets another check. Fewer
	// would mean more checks, more would be paid and jumped over.
	covered = 128
	// kept is how much of that is still good when control comes back from a call or a loop. What was paid and not yet
	// used in all the callers is work that a deep recursion can do on its way back without a check.
	kept = 64
	// perUnit is how many instructions cost one unit.
	perUnit = 16
	// outside is what an instruction counts that leaves compiled code.
	outside = 512
)

// body reads one function and notes where its code has to change. The instructions themselves are copied.
//
// Loops divide a function into regions: the code outside of loops, and each loop without the loops within. Inside a
// region control only moves forward, so one pass through it meets each instruction at most once. The check at a
// region's beginning pays for instructions ahead, its credit. Where a path could have used up its credit, another check
// is inserted. Branches make paths of different lengths meet; the least credit of any of them goes on from there.
type body struct {
	*rewriter
	reader
	locals            uint32 // parameters included
	entry             int    // weight of the locals, parameters and results
	runs              int    // of declared locals: their number ends at counted, they themselves at declared
	counted, declared int
	turned            bool // some loop has a second around it, so there is one more local
	blocks            int
	frames            []frame
	regions           []region
	checks            []check
	edits             []edit
}

// frame is a block that is open.
type frame struct {
	op     byte // opBlock for the function's own
	region int  // that the block stands in, or for a loop the one that it makes
	start  int  // credit before the first branch of an if
	least  int  // credit of the branches out of the block
}

// region is a region whose end was not seen yet. Only the last of them is being read; the credit of those around it
// waits.
type region struct {
	check  int // its last one
	credit int
	weight int  // of all its instructions so far
	before int  // for a loop, the edit in front of it
	frame  int  // and its frame
	quiet  bool // nobody else pays in it: no call, no loop within
}

// check is a check whose price waits for the region's end: it pays for most instructions, or for as many as there are
// behind it.
type check struct {
	edit   int
	most   int
	before int // weight of the region in front of it
	last   int // check of the region before it, or -1
}

// edit changes the bytes between from and to.
type edit struct {
	from, to int
	arg      uint32 // of an instruction its index, of a check its units, of a label its number
	kind     editKind
	op       byte // of an instruction; the type of the loop that editBefore is in front of
	turned   bool // the loop is quiet
}

type editKind byte

const (
	editInstruction editKind = iota // instead of what is there
	editCheck
	editBefore // this and the next two: see quiet.go
	editLabel
	editBehind
)

// read goes through the function whose content without the size is b.
func (f *body) read(function int, b []byte) error {
	f.reader = reader{buf: b}
	f.blocks = 0
	f.frames, f.regions, f.checks, f.edits = f.frames[:0], f.regions[:0], f.checks[:0], f.edits[:0]
	f.turned = false

	signature := f.types[f.funcs[function]]
	declared := f.readLocals()
	f.locals = uint32(len(signature.params) + declared)
	f.entry = declared + signature.values()
	f.enter(opBlock)
	for len(f.frames) > 0 && f.err == nil {
		f.instruction()
	}
	return f.done()
}

func (f *body) readLocals() int {
	declared := 0
	f.runs = f.count("runs of locals", 2, len(f.buf))
	f.counted = f.pos
	for range f.runs {
		n := f.u32()
		f.valueType()
		if uint64(declared)+uint64(n) > uint64(f.bounds.Locals) {
			f.failf("more than %d locals", f.bounds.Locals)
			return 0
		}
		declared += int(n)
	}
	if f.allLocals += declared; f.allLocals > f.bounds.AllLocals {
		f.failf("more than %d locals in all functions", f.bounds.AllLocals)
	}
	f.declared = f.pos
	return declared
}

// enter begins a region with a check here.
func (f *body) enter(op byte) {
	f.regions = append(f.regions, region{check: -1})
	f.frames = append(f.frames, frame{op: op, region: len(f.regions) - 1, least: covered})
	f.insert(f.pos, covered)
}

// leave ends the last region, when it is known what its checks have to pay for.
func (f *body) leave() {
	r := f.regions[len(f.regions)-1]
	f.regions = f.regions[:len(f.regions)-1]
	for i := r.check; i >= 0; i = f.checks[i].last {
		c := f.checks[i]
		weight := min(c.most, r.weight-c.before)
		if c.edit == 0 {
			weight += f.entry
		}
		f.edits[c.edit].arg = uint32(1 + weight/perUnit)
	}
	if r.quiet && f.checks[r.check].last < 0 {
		f.turn(r)
	}
}

// insert puts a check at a place in the last region, which pays for that many instructions behind it.
func (f *body) insert(at, most int) {
	r := &f.regions[len(f.regions)-1]
	f.checks = append(f.checks, check{edit: len(f.edits), most: most, before: r.weight, last: r.check})
	f.edits = append(f.edits, edit{from: at, to: at, kind: editCheck})
	r.check, r.credit = len(f.checks)-1, most
	f.stats.Checks++
}

// spend counts an instruction that begins at the given place.
func (f *body) spend(at, weight int) {
	r := &f.regions[len(f.regions)-1]
	if r.credit < weight {
		f.insert(at, covered+weight-1)
	}
	r.credit -= weight
	r.weight += weight
}

// resume counts what may have happened since the region's last check in a call or a loop.
func (f *body) resume() {
	r := &f.regions[len(f.regions)-1]
	r.credit = min(r.credit, kept)
}

// replace notes that the bytes from there to here become an instruction with an index.
func (f *body) replace(from int, op byte, index uint32) {
	f.edits = append(f.edits, edit{from: from, to: f.pos, op: op, arg: index})
}

// open begins a block.
func (f *body) open(at int, op byte) {
	f.spend(at, 1+f.blockType())
	if f.blocks++; f.blocks > f.bounds.Blocks {
		f.failf("more than %d blocks", f.bounds.Blocks)
		return
	}
	if f.err != nil {
		return
	}
	if op == opLoop {
		f.disturb()
		kind := f.buf[at+1] // of one byte, and no index of a type: a loop without parameters
		f.edits = append(f.edits, edit{from: at, to: at, kind: editBefore, op: kind})
		f.enter(op)
		r := &f.regions[len(f.regions)-1]
		r.before, r.frame = len(f.edits)-2, len(f.frames)-1
		r.quiet = f.pos == at+2 && kind&0x40 != 0 && int(f.locals) < f.bounds.Locals && f.blocks <= turning
		f.stats.Loops++
		return
	}
	here := len(f.regions) - 1
	credit := f.regions[here].credit
	f.frames = append(f.frames, frame{op: op, region: here, start: credit, least: covered})
}

// orElse goes from the first branch of an if to the second.
func (f *body) orElse(at int) {
	f.spend(at, 1)
	b := &f.frames[len(f.frames)-1]
	if b.op != opIf {
		f.failf("else without if")
		return
	}
	r := &f.regions[b.region]
	b.op = opElse
	b.least = min(b.least, r.credit)
	r.credit = b.start
}

// close ends a block. Branches to it arrive behind its end, branches to a loop have met its check again.
func (f *body) close(at int) {
	f.spend(at, 1)
	b := f.frames[len(f.frames)-1]
	f.frames = f.frames[:len(f.frames)-1]
	r := &f.regions[b.region]
	switch {
	case b.op == opLoop:
		f.leave()
		f.resume()
	case len(f.frames) == 0:
		f.leave()
	case b.op == opIf:
		r.credit = min(r.credit, b.least, b.start)
	default:
		r.credit = min(r.credit, b.least)
	}
}

// label reads the target of a branch.
func (f *body) label() {
	at := f.pos
	n := f.index("label", len(f.frames))
	if f.err != nil {
		return
	}
	target := len(f.frames) - 1 - int(n)
	if r := &f.regions[len(f.regions)-1]; r.quiet && target < r.frame {
		f.edits = append(f.edits, edit{from: at, to: f.pos, arg: n, kind: editLabel})
	}
	b := &f.frames[target]
	if b.op == opLoop {
		return
	}
	b.least = min(b.least, f.regions[b.region].credit)
	if b.region != len(f.regions)-1 { // out of a loop
		b.least = min(b.least, kept)
	}
}

// blockType returns how many values a block takes and leaves: a branch has to move them.
func (f *body) blockType() int {
	at := f.pos
	switch t := f.signed(33); {
	case t >= int64(len(f.types)):
		f.failf("type %d does not exist", t)
	case t >= 0:
		return f.types[t].values()
	case f.err == nil && (f.pos-at != 1 || t != -64 && !isValueType(byte(t)&0x7f)):
		f.failf("block type % x is unknown", f.buf[at:f.pos])
	case t != -64:
		return 1
	}
	return 0
}

// instruction reads one instruction. Its size must be what the engine will take it for, and an index in it must have
// existed before there were a counter and helpers.
func (f *body) instruction() {
	at := f.pos
	op := f.byte()
	switch immediates[op] {
	case immNone:
	case immBlock:
		f.open(at, op)
		return
	case immElse:
		f.orElse(at)
		return
	case immEnd:
		f.close(at)
		return
	case immLabel:
		f.spend(at, 1)
		f.label()
		return
	case immLabels:
		f.spend(at, 1)
		for range f.count("labels", 1, len(f.buf)) {
			f.label()
		}
		f.label()
		return
	case immFunction:
		f.reference(at, op)
		return
	case immIndirect:
		f.index("type", len(f.types))
		f.index("table", len(f.tables))
		weight := 1
		if f.importsLent {
			weight = outside
		}
		f.spend(at, weight)
		f.resume()
		f.disturb()
		return
	case immTypes:
		if n := f.byte(); f.err == nil && n != 1 {
			f.failf("select of %d types", n)
		}
		f.valueType()
	case immLocal:
		f.index("local", int(f.locals))
	case immGlobal:
		f.index("global", f.globals)
	case immTable:
		f.index("table", len(f.tables))
	case immMemory:
		f.memory()
		if op == opMemoryGrow {
			f.spend(at, outside)
			f.meter(at, helper{kind: helpGrow})
			return
		}
	case immAccess:
		f.access()
	case immI32:
		f.signed(32)
	case immI64:
		f.signed(64)
	case imm4:
		f.bytes(4)
	case imm8:
		f.bytes(8)
	case immRef:
		f.referenceType()
	case immMisc:
		f.misc(at)
		return
	case immVector:
		f.vector()
	default:
		if f.err == nil {
			f.fail(errUnknown(op))
		}
	}
	f.spend(at, 1)
}

// reference reads call and ref.func. Defined functions make room for refill, which becomes the last imported one.
func (f *body) reference(at int, op byte) {
	i := int(f.index("function", len(f.funcs)))
	switch {
	case f.err != nil:
		return
	case op == opRefFunc:
		f.spend(at, outside)
	case i < f.importedFuncs:
		f.spend(at, outside+f.types[f.funcs[i]].values())
		f.disturb()
	default:
		f.spend(at, 1)
		f.resume()
		f.disturb()
	}
	if i >= f.importedFuncs {
		f.replace(at, op, f.shift(uint32(i)))
	}
}

func (f *body) memory() {
	f.zero("memory")
	if len(f.memories) == 0 {
		f.failf("memory 0 does not exist")
	}
}

func (f *body) access() {
	if align := f.u32(); align >= 32 {
		f.failf("alignment %d is unknown", align)
	}
	f.u32()
	if len(f.memories) == 0 {
		f.failf("memory 0 does not exist")
	}
}

func (f *body) vector() {
	op := f.vectorOpcode()
	if f.err != nil {
		return
	}
	switch vectors[op] {
	case immAccess:
		f.access()
	case immAccessLane:
		f.access()
		f.byte()
	case immLane:
		f.byte()
	case imm16:
		f.bytes(16)
	}
}

// misc reads the instructions behind the prefix 0xfc.
func (f *body) misc(at int) {
	op := f.u32()
	if f.err != nil {
		return
	}
	weight := 1
	var h helper
	switch {
	case op <= 7: // saturating truncation
	case op == miscMemoryInit:
		h = helper{kind: helpInit, segment: f.dataIndex()}
		f.memory()
	case op == miscDataDrop:
		f.dataIndex()
	case op == miscMemoryCopy:
		h.kind = helpCopy
		f.memory()
		f.memory()
	case op == miscMemoryFill:
		h.kind = helpFill
		f.memory()
	case op == miscTableInit:
		h.kind = helpTable
		f.index("element segment", f.elements)
		f.index("table", len(f.tables))
	case op == miscElemDrop:
		f.index("element segment", f.elements)
	case op == miscTableCopy:
		h.kind = helpTable
		f.index("table", len(f.tables))
		f.index("table", len(f.tables))
	case op == miscTableGrow:
		h.kind = helpTable
		weight = outside
		f.index("table", len(f.tables))
	case op == miscTableSize:
		f.index("table", len(f.tables))
	case op == miscTableFill:
		h.kind = helpTable
		f.index("table", len(f.tables))
	default:
		f.fail(fmt.Errorf("unknown opcode %#x %#x", opMisc, op))
	}
	if f.err != nil {
		return
	}
	f.spend(at, weight)
	f.meter(at, h)
}

// dataIndex reads the index of a data segment. The data count tells it before the segments come, so it is required.
func (f *body) dataIndex() uint32 { return f.index("data segment", max(f.dataCount, 0)) }

// meter puts a call of a helper before an instruction that began there, or in its place.
func (f *body) meter(at int, h helper) {
	if h.kind != helpNothing {
		f.disturb()
	}
	switch h.kind {
	case helpNothing:
	case helpGrow, helpTable:
		f.edits = append(f.edits, edit{from: at, to: at, op: opCall, arg: f.help(h)})
	default:
		f.replace(at, opCall, f.help(h))
	}
}
