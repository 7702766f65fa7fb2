package meter

import (
	"fmt"
	"math"

	"github.com/tetratelabs/wazero/api"
)

const maxPages = 1 << 16

// Sections by their number in the binary format. WebAssembly 2.0 §5.5.2.
const (
	sectionCustom = iota
	sectionType
	sectionImport
	sectionFunction
	sectionTable
	sectionMemory
	sectionGlobal
	sectionExport
	sectionStart
	sectionElement
	sectionCode
	sectionData
	sectionDataCount
	sections
)

var sectionNames = [sections]string{
	"custom", "type", "import", "function", "table", "memory", "global", "export", "start", "element", "code", "data",
	"data count",
}

// sectionOrder is the order in which sections must come; the data count was added late, before the code.
var sectionOrder = [...]byte{
	sectionType, sectionImport, sectionFunction, sectionTable, sectionMemory, sectionGlobal, sectionExport,
	sectionStart, sectionElement, sectionDataCount, sectionCode, sectionData,
}

// module is a module taken apart as far as its indices go. Byte slices are the original's.
type module struct {
	raw     [sections][]byte // contents; nil is absent
	names   []byte           // contents of the name section, after its name
	types   []funcType
	imports []external
	exports []external

	funcs           []uint32 // type of each function, the imported ones first
	importedFuncs   int
	importedTables  int
	importedMems    int
	importedGlobals int
	tables          []extent // imported ones first
	memories        []extent // likewise
	globals         int      // how many, imported ones included
	start           int      // -1 is none
	elements        int      // element segments
	dataCount       int      // -1 is none
	data            []uint32 // lengths of the data segments
	bodies          [][]byte
}

type funcType struct{ params, results []byte }

func (t funcType) values() int { return len(t.params) + len(t.results) }

// external is an import or an export.
type external struct {
	module, name string
	kind         api.ExternType
	index        uint32
}

// extent is how large a table or a memory may be.
type extent struct {
	reference byte // type, of a table
	min, max  uint32
	hasMax    bool
}

// parse reads everything but what is in functions, element segments and the name section.
func parse(wasm []byte, l Limits) (*module, error) {
	if len(wasm) < 4 || string(wasm[:4]) != "\x00asm" {
		return nil, ErrNotWasm
	}
	switch {
	case len(wasm) < 8:
		return nil, fmt.Errorf("header: %w", errTruncated)
	case string(wasm[4:8]) == "\x0d\x00\x01\x00":
		return nil, ErrComponent
	case string(wasm[4:8]) != "\x01\x00\x00\x00":
		return nil, fmt.Errorf("header: version % x, want 01 00 00 00", wasm[4:8])
	}
	m := &module{start: -1, dataCount: -1}
	r := &reader{buf: wasm, pos: 8}
	next := 0 // in sectionOrder
	for r.more() {
		id := r.byte()
		content := r.bytes(r.count("bytes", 1, len(wasm)))
		if r.err != nil {
			return nil, fmt.Errorf("section %d: %w", id, r.err)
		}
		if id == sectionCustom {
			if err := m.custom(content); err != nil {
				return nil, fmt.Errorf("custom section: %w", err)
			}
			continue
		}
		at := place(id)
		switch {
		case id == 13:
			return nil, fmt.Errorf("tag section: exception handling is not enabled")
		case at < 0:
			return nil, fmt.Errorf("section %d: unknown", id)
		case at < next:
			return nil, fmt.Errorf("%s: section is out of order or repeated", sectionNames[id])
		}
		next = at + 1
		m.raw[id] = content
		if err := m.section(id, &reader{buf: content}, l); err != nil {
			return nil, fmt.Errorf("%s: %w", sectionNames[id], err)
		}
	}
	if len(m.bodies) != len(m.funcs)-m.importedFuncs {
		return nil, fmt.Errorf("code: %d bodies for %d functions", len(m.bodies), len(m.funcs)-m.importedFuncs)
	}
	if m.dataCount >= 0 && m.dataCount != len(m.data) {
		return nil, fmt.Errorf("data count: %d announced, %d present", m.dataCount, len(m.data))
	}
	return m, nil
}

func place(id byte) int {
	for i, s := range sectionOrder {
		if s == id {
			return i
		}
	}
	return -1
}

// custom keeps the first name section and forgets the others: what they say about code positions will be wrong.
func (m *module) custom(content []byte) error {
	r := &reader{buf: content}
	if r.name() == "name" && m.names == nil {
		m.names = content[r.pos:]
	}
	return r.err
}

func (m *module) section(id byte, r *reader, l Limits) error {
	switch id {
	case sectionType:
		m.readTypes(r, l)
	case sectionImport:
		m.readImports(r, l)
	case sectionFunction:
		m.readFunctions(r, l)
	case sectionTable:
		// More than the limit is for permit to refuse, so that the sentence is the same with imported ones.
		for range r.count("tables", 3, math.MaxInt32) {
			m.tables = append(m.tables, r.table())
		}
	case sectionMemory:
		for range r.count("memories", 2, math.MaxInt32) {
			m.memories = append(m.memories, r.memory())
		}
	case sectionGlobal:
		n := r.count("globals", 4, l.Globals)
		for i := 0; i < n && r.err == nil; i++ {
			r.globalType()
			m.constant(r)
		}
		m.globals += n
	case sectionExport:
		m.readExports(r, l)
	case sectionStart:
		m.start = int(r.index("function", len(m.funcs)))
	case sectionElement:
		m.elements = r.count("element segments", 3, l.Segments)
		return r.err // the segments are read when they are written
	case sectionDataCount:
		m.dataCount = int(r.u32())
	case sectionCode:
		m.readBodies(r)
	case sectionData:
		m.readData(r, l)
	}
	return r.done()
}

func (m *module) readTypes(r *reader, l Limits) {
	n := r.count("types", 3, l.Types)
	m.types = make([]funcType, n)
	for i := range m.types {
		if form := r.byte(); r.err == nil && form != 0x60 {
			r.failf("form %#x is not a function type", form)
		}
		m.types[i] = funcType{params: r.valueTypes(l), results: r.valueTypes(l)}
		if r.err != nil {
			r.err = fmt.Errorf("type %d: %w", i, r.err)
			return
		}
	}
}

func (r *reader) valueTypes(l Limits) []byte {
	types := r.bytes(r.count("values", 1, l.Values))
	for _, t := range types {
		if !isValueType(t) {
			r.failf("value type %#x is unknown", t)
			return nil
		}
	}
	return types
}

func (m *module) readImports(r *reader, l Limits) {
	n := r.count("imports", 4, l.Imports)
	m.imports = make([]external, 0, n)
	for i := 0; i < n && r.err == nil; i++ {
		e := external{module: r.name(), name: r.name(), kind: r.byte()}
		switch e.kind {
		case api.ExternTypeFunc:
			e.index = r.index("type", len(m.types))
			m.funcs = append(m.funcs, e.index)
			m.importedFuncs++
		case api.ExternTypeTable:
			m.tables = append(m.tables, r.table())
			m.importedTables++
		case api.ExternTypeMemory:
			m.memories = append(m.memories, r.memory())
			m.importedMems++
		case api.ExternTypeGlobal:
			r.globalType()
			m.importedGlobals++
			m.globals++
		case 4:
			r.failf("a tag: exception handling is not enabled")
		default:
			r.failf("kind %#x is unknown", e.kind)
		}
		if r.err != nil {
			r.err = fmt.Errorf("%q.%q: %w", e.module, e.name, r.err)
		}
		m.imports = append(m.imports, e)
	}
}

func (m *module) readFunctions(r *reader, l Limits) {
	n := r.count("functions", 1, l.Functions-min(l.Functions, m.importedFuncs))
	for i := 0; i < n && r.err == nil; i++ {
		m.funcs = append(m.funcs, r.index("type", len(m.types)))
	}
}

func (m *module) readExports(r *reader, l Limits) {
	n := r.count("exports", 3, l.Exports)
	m.exports = make([]external, 0, n)
	seen := make(map[string]bool, n)
	for i := 0; i < n && r.err == nil; i++ {
		e := external{name: r.name(), kind: r.byte()}
		switch e.kind {
		case api.ExternTypeFunc:
			e.index = r.index("function", len(m.funcs))
		case api.ExternTypeTable:
			e.index = r.index("table", len(m.tables))
		case api.ExternTypeMemory:
			e.index = r.index("memory", len(m.memories))
		case api.ExternTypeGlobal:
			e.index = r.index("global", m.globals)
		case 4:
			r.failf("a tag: exception handling is not enabled")
		default:
			r.failf("kind %#x is unknown", e.kind)
		}
		if r.err == nil && seen[e.name] {
			r.failf("the name is taken")
		}
		if r.err != nil {
			r.err = fmt.Errorf("%q: %w", e.name, r.err)
		}
		seen[e.name] = true
		m.exports = append(m.exports, e)
	}
}

func (m *module) readBodies(r *reader) {
	n := r.count("bodies", 3, len(m.funcs)-m.importedFuncs)
	m.bodies = make([][]byte, n)
	for i := range m.bodies {
		m.bodies[i] = r.bytes(r.count("bytes", 1, len(r.buf)))
		if r.err != nil {
			r.err = fmt.Errorf("function %d: %w", m.importedFuncs+i, r.err)
			return
		}
	}
}

func (m *module) readData(r *reader, l Limits) {
	n := r.count("data segments", 2, l.Segments)
	m.data = make([]uint32, n)
	for i := range m.data {
		switch flags := r.u32(); flags {
		case 0, 2: // active
			memory := uint32(0)
			if flags == 2 {
				memory = r.u32()
			}
			if int64(memory) >= int64(len(m.memories)) {
				r.failf("memory %d does not exist", memory)
			}
			m.offset(r)
		case 1: // passive
		default:
			r.failf("kind %d is unknown", flags)
		}
		m.data[i] = uint32(len(r.bytes(r.count("bytes", 1, len(r.buf)))))
		if r.err != nil {
			r.err = fmt.Errorf("segment %d: %w", i, r.err)
			return
		}
	}
}
