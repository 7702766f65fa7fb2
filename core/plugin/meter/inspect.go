package meter

import (
	"bytes"

	"github.com/tetratelabs/wazero/api"
)

// Module is what the host may know of a module before anything runs.
type Module struct {
	Imports []Import
	Exports []Export

	HasMemory bool // a memory of its own or an imported one; the fields below are about the first
	HasMax    bool
	MemoryMin uint32 // in pages of 64 KiB
	MemoryMax uint32 // zero without HasMax

	HasStart  bool
	Functions int // defined, without the imported ones
	CodeBytes int // of the code section
	DataBytes int // of all data segments
}

// Import is what a module asks for. Params and Results are set for functions, and shared between those
// of one type: they are to be read.
type Import struct {
	Module, Name    string
	Kind            api.ExternType
	Params, Results []api.ValueType
}

// Export is what a module offers. Params and Results are set for functions.
type Export struct {
	Name            string
	Kind            api.ExternType
	Params, Results []api.ValueType
}

// Inspect reads what a module declares, within the default limits, and not what its functions do. It says nothing
// about whether Rewrite would refuse the module. The result shares no bytes with wasm.
func Inspect(wasm []byte) (*Module, error) {
	m, err := parse(wasm, Limits{}.withDefaults())
	if err != nil {
		return nil, err
	}
	mod := &Module{
		HasStart:  m.start >= 0,
		Functions: len(m.bodies),
		CodeBytes: len(m.raw[sectionCode]),
	}
	types := make(map[uint32]funcType) // a type is copied once, however many functions have it
	signature := func(index uint32) (params, results []api.ValueType) {
		t, ok := types[index]
		if !ok {
			t = funcType{bytes.Clone(m.types[index].params), bytes.Clone(m.types[index].results)}
			types[index] = t
		}
		return t.params, t.results
	}
	for _, e := range m.imports {
		i := Import{Module: e.module, Name: e.name, Kind: e.kind}
		if e.kind == api.ExternTypeFunc {
			i.Params, i.Results = signature(e.index)
		}
		mod.Imports = append(mod.Imports, i)
	}
	for _, e := range m.exports {
		x := Export{Name: e.name, Kind: e.kind}
		if e.kind == api.ExternTypeFunc {
			x.Params, x.Results = signature(m.funcs[e.index])
		}
		mod.Exports = append(mod.Exports, x)
	}
	if len(m.memories) > 0 {
		mem := m.memories[0]
		mod.HasMemory, mod.HasMax, mod.MemoryMin, mod.MemoryMax = true, mem.hasMax, mem.min, mem.max
	}
	for _, n := range m.data {
		mod.DataBytes += int(n)
	}
	return mod, nil
}
