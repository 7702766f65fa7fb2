package plugin_test

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// module is a guest written by hand. Types have one letter a value: i = i32,
// I = i64. Code is a list of instructions and their immediates, with functions
// by name.
type module struct {
	min, max int // pages of memory; max 0 = none, min < 0 = no memory
	imports  []function
	funcs    []function
	data     []segment
	start    string
	custom   []byte // further sections
}

type function struct {
	module, name    string // a name that begins with $ is not exported
	params, results string
	locals, code    string
}

type segment struct {
	at    int
	bytes []byte
}

// bufferAt is where newGuest has its buffer, of 1 MiB; below it is free.
const bufferAt = 64 << 10

// newGuest is all of a guest but its hooks.
func newGuest() *module {
	g := &module{min: 18}
	g.fn("souk_abi_1", "", "", "", "")
	g.fn("souk_buffer", "i", "i", "", fmt.Sprintf("i32.const %d", bufferAt))
	return g
}

func (g *module) imported(module, name, params, results string) *module {
	g.imports = append(g.imports, function{module: module, name: name, params: params, results: results})
	return g
}

func (g *module) fn(name, params, results, locals, code string) *module {
	g.funcs = slices.DeleteFunc(g.funcs, func(f function) bool { return f.name == name })
	g.funcs = append(g.funcs, function{name: name, params: params, results: results, locals: locals, code: code})
	return g
}

func (g *module) without(name string) *module {
	g.funcs = slices.DeleteFunc(g.funcs, func(f function) bool { return f.name == name })
	return g
}

// hook adds a hook.
func (g *module) hook(name, code string) *module { return g.fn(name, "i", "I", "", code) }

// put places bytes and returns the code that answers with them.
func (g *module) put(at int, b []byte) string {
	g.data = append(g.data, segment{at, b})
	return result(at, len(b))
}

// result is the code that answers with n bytes at an address.
func result(at, n int) string { return fmt.Sprintf("i64.const %d", int64(at)<<32|int64(n)) }

func leb(v uint64) []byte { return binary.AppendUvarint(nil, v) }

func sleb(v int64) []byte {
	var b []byte
	for v < -0x40 || v > 0x3f {
		b = append(b, byte(v)|0x80)
		v >>= 7
	}
	return append(b, byte(v)&0x7f)
}

func sized(b []byte) []byte { return append(leb(uint64(len(b))), b...) }

func vector(items [][]byte) []byte {
	return append(leb(uint64(len(items))), slices.Concat(items...)...)
}

func types(letters string) []byte {
	b := make([]byte, len(letters))
	for i := range letters {
		b[i] = map[byte]byte{'i': 0x7f, 'I': 0x7e, 'f': 0x7d, 'F': 0x7c}[letters[i]]
	}
	return b
}

func (g *module) wasm() []byte {
	var typeItems, importItems, funcItems, exportItems, bodies, data, names [][]byte
	index := map[string]int{}
	for i, f := range slices.Concat(g.imports, g.funcs) {
		t := leb(uint64(len(typeItems)))
		typeItems = append(typeItems, slices.Concat([]byte{0x60}, sized(types(f.params)), sized(types(f.results))))
		index[f.name] = i
		plain := strings.TrimPrefix(f.name, "$")
		names = append(names, append(leb(uint64(i)), sized([]byte(plain))...))
		if f.module != "" {
			importItems = append(importItems, slices.Concat(sized([]byte(f.module)), sized([]byte(f.name)), []byte{0}, t))
			continue
		}
		funcItems = append(funcItems, t)
		if plain == f.name {
			exportItems = append(exportItems, slices.Concat(sized([]byte(f.name)), []byte{0}, leb(uint64(i))))
		}
	}
	for _, f := range g.funcs {
		var locals [][]byte
		for _, l := range types(f.locals) {
			locals = append(locals, []byte{1, l})
		}
		bodies = append(bodies, sized(slices.Concat(vector(locals), assemble(f.code, index), []byte{0x0b})))
	}
	for _, s := range g.data {
		data = append(data, slices.Concat([]byte{0, 0x41}, sleb(int64(s.at)), []byte{0x0b}, sized(s.bytes)))
	}

	b := []byte("\x00asm\x01\x00\x00\x00")
	section := func(id byte, content []byte) { b = append(append(b, id), sized(content)...) }
	section(1, vector(typeItems))
	section(2, vector(importItems))
	section(3, vector(funcItems))
	if g.min >= 0 {
		limits := append([]byte{0}, leb(uint64(g.min))...)
		if g.max > 0 {
			limits = slices.Concat([]byte{1}, leb(uint64(g.min)), leb(uint64(g.max)))
		}
		section(5, vector([][]byte{limits}))
		exportItems = append(exportItems, append(sized([]byte("memory")), 2, 0))
	}
	section(7, vector(exportItems))
	if g.start != "" {
		section(8, leb(uint64(index[g.start])))
	}
	section(10, vector(bodies))
	section(11, vector(data))
	section(0, slices.Concat(sized([]byte("name")), []byte{1}, sized(vector(names))))
	return append(b, g.custom...)
}

// instructions by name; what follows is their immediates: s = signed number,
// n = number, f = function, m = alignment and offset, b = no result, others as
// they stand.
var instructions = map[string]struct {
	code       []byte
	immediates string
}{
	"unreachable": {[]byte{0x00}, ""}, "nop": {[]byte{0x01}, ""},
	"block": {[]byte{0x02, 0x40}, ""}, "loop": {[]byte{0x03, 0x40}, ""}, "if": {[]byte{0x04, 0x40}, ""},
	"else": {[]byte{0x05}, ""}, "end": {[]byte{0x0b}, ""}, "return": {[]byte{0x0f}, ""},
	"br": {[]byte{0x0c}, "n"}, "br_if": {[]byte{0x0d}, "n"}, "call": {[]byte{0x10}, "f"}, "drop": {[]byte{0x1a}, ""},
	"local.get": {[]byte{0x20}, "n"}, "local.set": {[]byte{0x21}, "n"}, "local.tee": {[]byte{0x22}, "n"},
	"i32.load": {[]byte{0x28, 2, 0}, ""}, "i64.load": {[]byte{0x29, 3, 0}, ""},
	"i32.store": {[]byte{0x36, 2, 0}, ""}, "i64.store": {[]byte{0x37, 3, 0}, ""},
	"memory.size": {[]byte{0x3f, 0}, ""}, "memory.grow": {[]byte{0x40, 0}, ""},
	"i32.const": {[]byte{0x41}, "s"}, "i64.const": {[]byte{0x42}, "s"},
	"i32.eqz": {[]byte{0x45}, ""}, "i32.eq": {[]byte{0x46}, ""}, "i32.lt_u": {[]byte{0x49}, ""},
	"i32.add": {[]byte{0x6a}, ""}, "i32.sub": {[]byte{0x6b}, ""}, "i32.mul": {[]byte{0x6c}, ""},
	"i64.add": {[]byte{0x7c}, ""}, "i64.or": {[]byte{0x84}, ""}, "i64.shl": {[]byte{0x86}, ""},
	"i32.wrap_i64": {[]byte{0xa7}, ""}, "i64.extend_i32_u": {[]byte{0xad}, ""},
	"memory.copy": {[]byte{0xfc, 10, 0, 0}, ""}, "memory.fill": {[]byte{0xfc, 11, 0}, ""},
}

func assemble(code string, index map[string]int) []byte {
	var b []byte
	words := strings.Fields(code)
	for len(words) > 0 {
		op, ok := instructions[words[0]]
		if !ok {
			panic("no instruction " + words[0])
		}
		words = words[1:]
		b = append(b, op.code...)
		for _, kind := range op.immediates {
			word := words[0]
			words = words[1:]
			switch kind {
			case 'f':
				i, ok := index[word]
				if !ok {
					panic("no function " + word)
				}
				b = append(b, leb(uint64(i))...)
			default:
				n, err := strconv.ParseInt(word, 0, 64)
				if err != nil {
					panic(err)
				}
				if kind == 's' {
					b = append(b, sleb(n)...)
				} else {
					b = append(b, leb(uint64(n))...)
				}
			}
		}
	}
	return b
}
