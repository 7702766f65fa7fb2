package plugin

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/tetratelabs/wazero/api"

	"github.com/souk-market/souk/core/plugin/meter"
	"github.com/souk-market/souk/core/unit"
	"github.com/souk-market/souk/sdk/abi"
)

// signature is a function type with one letter a value: i = i32, I = i64.
type signature struct{ params, results string }

func (s signature) String() string {
	words := func(letters string) string {
		var w []string
		for _, l := range letters {
			w = append(w, letterNames[l])
		}
		return "(" + strings.Join(w, ", ") + ")"
	}
	return words(s.params) + " -> " + words(s.results)
}

var letterNames = map[rune]string{'i': "i32", 'I': "i64", 'f': "f32", 'F': "f64", 'v': "v128", 'r': "reference"}

func letters(types []api.ValueType) string {
	var b strings.Builder
	for _, t := range types {
		switch t {
		case api.ValueTypeI32:
			b.WriteByte('i')
		case api.ValueTypeI64:
			b.WriteByte('I')
		case api.ValueTypeF32:
			b.WriteByte('f')
		case api.ValueTypeF64:
			b.WriteByte('F')
		case 0x7b:
			b.WriteByte('v')
		default:
			b.WriteByte('r')
		}
	}
	return b.String()
}

// exports are the functions that a guest may export, but for the marker of a
// newer minor version. Hooks are among them.
var exports = func() map[string]signature {
	m := map[string]signature{
		abi.ExportMarker:     {"", ""},
		abi.ExportBuffer:     {"i", "i"},
		abi.ExportInitialize: {"", ""},
		abi.ExportConfigure:  {"i", "I"},
	}
	for _, h := range abi.Hooks {
		m[h.String()] = signature{"i", "I"}
	}
	return m
}()

// check says what is wrong with a module before any of it runs, and otherwise
// which hooks are asked.
func check(s *Spec, m *meter.Module) ([]abi.Hook, error) {
	exported, err := checkExports(m)
	if err != nil {
		return nil, err
	}
	if err := checkImports(s, m); err != nil {
		return nil, err
	}
	if need := int64(m.MemoryMin) * page; need > int64(s.Memory) {
		return nil, fmt.Errorf("the module starts with %v of memory, but memory = %q: raise it, or build the module with less",
			unit.Size(need), s.Memory)
	}
	hooks := exported
	if s.Shadow {
		hooks = slices.DeleteFunc(slices.Clone(exported), func(h abi.Hook) bool { return !slices.Contains(watchable, h) })
		if len(hooks) == 0 {
			return nil, fmt.Errorf("a shadow is asked %s only, and the module exports %s: remove shadow = true", hookList(watchable), hookList(exported))
		}
	}
	if len(s.Hooks) > 0 {
		hooks = nil
		for _, name := range s.Hooks {
			h, _ := abi.ParseHook(name)
			if !slices.Contains(exported, h) {
				return nil, fmt.Errorf("hooks names %s, which the module doesn't export: it exports %s", name, hookList(exported))
			}
			hooks = append(hooks, h)
		}
	}
	for _, h := range hooks {
		if err := s.checkOnError(h); err != nil {
			return nil, err
		}
	}
	return hooks, nil
}

func hookList(hooks []abi.Hook) string { return list(hookNamesOf(hooks)) }

func hookNamesOf(hooks []abi.Hook) (names []string) {
	for _, h := range hooks {
		names = append(names, h.String())
	}
	return names
}

func checkExports(m *meter.Module) ([]abi.Hook, error) {
	var hooks []abi.Hook
	var memory, marker, buffer bool
	for _, e := range m.Exports {
		if e.Name == abi.ExportMemory && e.Kind == api.ExternTypeMemory {
			memory = true
			continue
		}
		minor, needs := strings.CutPrefix(e.Name, abi.ExportNeedsMinor)
		major, marks := strings.CutPrefix(e.Name, "souk_abi_")
		want, known := exports[e.Name]
		switch {
		case known:
		case needs:
			n, err := strconv.ParseUint(minor, 10, 16)
			if err != nil {
				return nil, fmt.Errorf("the module exports %q: a number has to follow %s", e.Name, abi.ExportNeedsMinor)
			}
			if n > abi.Minor {
				return nil, fmt.Errorf("the module needs minor version %d of the contract and this host has %d: use a newer host", n, abi.Minor)
			}
		case marks && major != "" && strings.Trim(major, "0123456789") == "":
			return nil, fmt.Errorf("the module speaks version %s of the contract and this host speaks 1: export %s", major, abi.ExportMarker)
		case strings.HasPrefix(e.Name, "souk_"):
			return nil, fmt.Errorf("the module exports %q, which the contract doesn't know: names that begin with souk_ are the contract's", e.Name)
		default:
			continue // the guest's own affair
		}
		if err := checkFunction(e, want); err != nil {
			return nil, err
		}
		switch e.Name {
		case abi.ExportMarker:
			marker = true
		case abi.ExportBuffer:
			buffer = true
		}
		if h, ok := abi.ParseHook(e.Name); ok {
			hooks = append(hooks, h)
		}
	}
	switch {
	case !marker:
		return nil, fmt.Errorf("the module doesn't export %s: it was not built as a plugin", abi.ExportMarker)
	case !memory:
		return nil, errors.New("the module doesn't export its memory as \"memory\"")
	case !buffer:
		return nil, fmt.Errorf("the module doesn't export %s %v", abi.ExportBuffer, exports[abi.ExportBuffer])
	case len(hooks) == 0:
		return nil, fmt.Errorf("the module exports no hook: it has to answer one of %s", list(hookNames()))
	}
	slices.Sort(hooks)
	return hooks, nil
}

func checkFunction(e meter.Export, want signature) error {
	if e.Kind != api.ExternTypeFunc {
		return fmt.Errorf("the module exports %q as a %s: it has to be a function %v", e.Name, api.ExternTypeName(e.Kind), want)
	}
	if have := (signature{letters(e.Params), letters(e.Results)}); have != want {
		return fmt.Errorf("the module exports %q as %v: it has to be %v", e.Name, have, want)
	}
	return nil
}

func checkImports(s *Spec, m *meter.Module) error {
	for _, i := range m.Imports {
		f, ok := hostFunctions[importName{i.Module, i.Name}]
		switch {
		case i.Module != abi.ImportModule && i.Module != wasiModule:
			return fmt.Errorf("the module imports %q.%q: there is no such module here, only %s and %s", i.Module, i.Name, abi.ImportModule, wasiModule)
		case !ok && i.Module == wasiModule:
			return fmt.Errorf("the module imports %q.%q, which this host doesn't answer", i.Module, i.Name)
		case !ok:
			return fmt.Errorf("the module imports %q.%q, which the contract doesn't know: build it against this version, or use a newer host", i.Module, i.Name)
		case i.Kind != api.ExternTypeFunc:
			return fmt.Errorf("the module imports %q.%q as a %s: it is a function", i.Module, i.Name, api.ExternTypeName(i.Kind))
		}
		if have := (signature{letters(i.Params), letters(i.Results)}); have != f.signature {
			return fmt.Errorf("the module imports %q.%q as %v: it is %v", i.Module, i.Name, have, f.signature)
		}
		if f.group != "always" && !slices.Contains(s.Allow, f.group) {
			return fmt.Errorf("the module imports %q.%q: add %q to its allow list if it may", i.Module, i.Name, f.group)
		}
	}
	return nil
}
