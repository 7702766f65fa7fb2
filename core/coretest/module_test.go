package coretest_test

import (
	"encoding/binary"
	"slices"

	"github.com/souk-market/souk/sdk/abi"
)

// handmade is a guest without a language: it answers both questions of an update
// check with what it was given, whatever is asked. Its zero value says nothing
// and is a good plugin.
type handmade struct {
	entitle, selects []byte // verdicts; nil = it abstains
	without          string // an export that it lacks
	imports          string // of souk, a function of type (i32, i32, i32, i32) -> i32
	counts           string // what entitle counts, with metric_add
	pages            int    // of memory; 0 = two
	spins            bool   // its start section never ends
	padding          int    // bytes that mean nothing
}

// wasm writes the module. See the WebAssembly specification §5.5.
func (g handmade) wasm() []byte {
	const (
		entitleAt, selectAt = 1 << 10, 32 << 10 // verdicts; the buffer is the second page
		bufferAt            = 64 << 10
		nameAt              = 63 << 10
	)
	u := func(n int) []byte { return binary.AppendUvarint(nil, uint64(n)) }
	sized := func(b []byte) []byte { return append(u(len(b)), b...) }
	name := func(s string) []byte { return sized([]byte(s)) }
	vector := func(items ...[]byte) []byte { return append(u(len(items)), slices.Concat(items...)...) }
	// All numbers here are positive: bit 6 of the last byte has to be 0.
	s := func(n uint64) (b []byte) {
		for n > 0x3f {
			b = append(b, byte(n)|0x80)
			n >>= 7
		}
		return append(b, byte(n))
	}
	body := func(code ...byte) []byte { return sized(slices.Concat([]byte{0}, code, []byte{0x0b})) }
	verdict := func(at int, v []byte) []byte {
		if v == nil {
			return body(0x42, 0) // i64.const 0: it abstains
		}
		return body(append([]byte{0x42}, s(uint64(at)<<32|uint64(len(v)))...)...)
	}

	var imports [][]byte
	if g.imports != "" {
		imports = append(imports, slices.Concat(name(abi.ImportModule), name(g.imports), []byte{0, 3}))
	}
	entitle := verdict(entitleAt, g.entitle)
	if g.counts != "" {
		imports = append(imports, slices.Concat(name(abi.ImportModule), name("metric_add"), []byte{0, 4}))
		// i32.const name, i32.const length, i64.const 1, call, drop
		call := slices.Concat([]byte{0x41}, s(nameAt), []byte{0x41}, s(uint64(len(g.counts))), []byte{0x42, 1, 0x10}, u(len(imports)-1), []byte{0x1a})
		entitle = body(slices.Concat(call, []byte{0x42}, s(entitleAt<<32|uint64(len(g.entitle))))...)
	}
	functions := []struct {
		name string
		kind byte // of the types below
		body []byte
	}{
		{abi.ExportMarker, 0, body()},
		{abi.ExportBuffer, 1, body(append([]byte{0x41}, s(bufferAt)...)...)},
		{abi.HookEntitle.String(), 2, entitle},
		{abi.HookSelectVersion.String(), 2, verdict(selectAt, g.selects)},
		{"spin", 0, body(0x03, 0x40, 0x0c, 0, 0x0b)}, // loop br 0 end
	}
	var kinds, exports, bodies [][]byte
	for i, f := range functions {
		kinds, bodies = append(kinds, []byte{f.kind}), append(bodies, f.body)
		if f.name != g.without {
			exports = append(exports, slices.Concat(name(f.name), []byte{0}, u(len(imports)+i)))
		}
	}
	if g.without != abi.ExportMemory {
		exports = append(exports, slices.Concat(name(abi.ExportMemory), []byte{2, 0}))
	}
	pages := max(g.pages, 2)
	data := func(at int, b []byte) []byte {
		return slices.Concat([]byte{0, 0x41}, s(uint64(at)), []byte{0x0b}, sized(b))
	}

	m := []byte("\x00asm\x01\x00\x00\x00")
	section := func(id byte, content []byte) { m = append(append(m, id), sized(content)...) }
	section(1, vector([]byte{0x60, 0, 0}, []byte{0x60, 1, 0x7f, 1, 0x7f}, []byte{0x60, 1, 0x7f, 1, 0x7e},
		[]byte{0x60, 4, 0x7f, 0x7f, 0x7f, 0x7f, 1, 0x7f}, []byte{0x60, 3, 0x7f, 0x7f, 0x7e, 1, 0x7f}))
	section(2, vector(imports...))
	section(3, vector(kinds...))
	section(5, vector(append([]byte{0}, u(pages)...)))
	section(7, vector(exports...))
	if g.spins {
		section(8, u(len(imports)+len(functions)-1))
	}
	section(10, vector(bodies...))
	section(11, vector(data(entitleAt, g.entitle), data(selectAt, g.selects), data(nameAt, []byte(g.counts))))
	section(0, append(name("padding"), make([]byte, g.padding)...))
	return m
}
