package plugin

import (
	"slices"
	"strconv"
	"strings"

	"github.com/souk-market/souk/core/plugin/meter"
	"github.com/souk-market/souk/core/unit"
	"github.com/souk-market/souk/sdk/abi"
)

// Outline is what a module says of itself, before anything of it runs.
type Outline struct {
	Hooks     []abi.Hook // that it exports
	Minor     int        // the least minor version of the contract that it works with
	Imports   []string   // host functions of the contract
	WASI      []string   // what its language's runtime imports
	Groups    []string   // for its allow list
	MemoryMin unit.Size  // at the start
	MemoryMax unit.Size  // that it declares; 0 = none
	Configure bool       // it takes a configuration
}

// OutlineOf reads a module. The error is one sentence: what a load would say of
// the same module with all that a plugin can be allowed.
func OutlineOf(wasm []byte) (Outline, error) {
	s := DefaultSpec()
	s.Allow, s.Memory = groups(), maxMemory
	hooks, err := inspect(&s, wasm)
	if err != nil {
		return Outline{}, err
	}
	m, err := meter.Inspect(wasm)
	if err != nil {
		return Outline{}, err
	}
	o := Outline{Hooks: hooks, MemoryMin: unit.Size(m.MemoryMin) * page, MemoryMax: unit.Size(m.MemoryMax) * page}
	for _, e := range m.Exports {
		if minor, ok := strings.CutPrefix(e.Name, abi.ExportNeedsMinor); ok {
			n, _ := strconv.Atoi(minor) // inspect has read it
			o.Minor = max(o.Minor, n)
		}
		o.Configure = o.Configure || e.Name == abi.ExportConfigure
	}
	for _, i := range m.Imports {
		if i.Module == wasiModule {
			o.WASI = append(o.WASI, i.Name)
			continue
		}
		o.Imports = append(o.Imports, i.Name)
		if g := hostFunctions[importName{i.Module, i.Name}].group; g != "always" && !slices.Contains(o.Groups, g) {
			o.Groups = append(o.Groups, g)
		}
	}
	return o, nil
}
