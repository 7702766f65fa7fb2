// Package meter rewrites a WebAssembly module so that it meters itself. A guest that runs for ever cannot be stopped
// from outside at a price we would pay: the engine's own way makes loops several times slower and does not see
// recursion, and without any a spinning guest holds up the garbage collector and with it the whole process. So code
// that counts is inserted before the module is compiled. The count depends on nothing but the module and its input:
// the same call costs the same fuel on every machine.
//
// The package knows bytes and the binary format. It does not know the engine, deadlines or plugins, and it never runs
// a guest. What it does not know it refuses: an instruction copied without being understood could hide a loop.
//
// # How
//
// The module gets a mutable i64 global, exported as [FuelGlobal], and imports [ImportModule].[ImportRefill]. A check
// subtracts its price from the global and calls refill when that leaves it below zero. The host then adds a slice, enough
// to bring it back to zero at least, or panics, which ends the call. It has to add and not to set: what a check took below
// zero was used.
//
// There is a check at the entry of every function, at the head of every loop and, so that long straight code has no
// stretch without one, wherever a path may have met 128 instructions since the last. The counter starts at zero, so the
// first check of a new instance calls refill, also when that check is in the start function.
//
// # The unit of fuel
//
// A check costs one unit and one more for each sixteen instructions that it covers: the next 128 of its function or
// loop, or as many as are left. Loops within are not counted, they have checks of their own; branches not taken are.
// At an entry a declared local, a parameter and a result count as an instruction, and at a block the values that it
// takes and leaves. An instruction that leaves compiled code, above all a call of an imported function, counts as 512.
// Beyond that
//   - memory.fill, memory.copy and memory.init cost one unit and one per 64 bytes, paid before they run, and above
//     64 KiB they run and pay in pieces of that size;
//   - table.fill, table.copy, table.init and table.grow cost one unit and one per 8 elements, paid before they run;
//   - memory.grow costs 1024 more, whatever it adds: memory can grow only up to the limit, and only once.
//
// A unit takes a nanosecond or a few.
package meter

import (
	"errors"
)

const (
	// FuelGlobal is the name under which the rewritten module exports its counter, a mutable i64.
	FuelGlobal = "souk_meter_fuel"
	// ImportModule is the module from which the rewritten module imports refill.
	ImportModule = "souk_meter"
	// ImportRefill is a function without parameters or results, called when the counter went below zero.
	ImportRefill = "refill"
)

var (
	// ErrNotWasm says that the bytes do not begin as a WebAssembly module does.
	ErrNotWasm = errors.New("header: not a WebAssembly module")
	// ErrComponent says that the bytes are a component, which has to be lowered to a core module by its toolchain.
	ErrComponent = errors.New("header: a component, not a core module")
)

// Limits bound what a module may declare, so that neither this package nor the engine after it has to set aside much
// for a few hostile bytes. A field that is zero means its default.
type Limits struct {
	MemoryPages uint32 // of 64 KiB: a larger minimum is refused, the maximum becomes this if larger or absent; 256
	TableSize   uint32 // elements of one table, likewise; 65536
	Tables      int    // 16
	Types       int    // 100000
	Values      int    // parameters of one function type, and its results; 100
	Imports     int    // 10000
	Functions   int    // imported ones included; 500000
	Globals     int    // imported ones included; 100000
	Exports     int    // 100000
	Segments    int    // of data, and of elements; 100000
	Elements    int    // of all element segments together; 1000000
	Locals      int    // declared in one function; 50000
	AllLocals   int    // declared in all functions together; 1000000
	Blocks      int    // in one function, whose square the engine's compiler takes in time; 10000
}

func (l Limits) withDefaults() Limits {
	return Limits{
		MemoryPages: min(or(l.MemoryPages, 256), maxPages),
		TableSize:   or(l.TableSize, 1<<16),
		Tables:      or(l.Tables, 16),
		Types:       or(l.Types, 100_000),
		Values:      or(l.Values, 100),
		Imports:     or(l.Imports, 10_000),
		Functions:   or(l.Functions, 500_000),
		Globals:     or(l.Globals, 100_000),
		Exports:     or(l.Exports, 100_000),
		Segments:    or(l.Segments, 100_000),
		Elements:    or(l.Elements, 1_000_000),
		Locals:      or(l.Locals, 50_000),
		AllLocals:   or(l.AllLocals, 1_000_000),
		Blocks:      or(l.Blocks, 10_000),
	}
}

func or[T comparable](v, otherwise T) T {
	var zero T
	if v == zero {
		return otherwise
	}
	return v
}

// Stats says what Rewrite did.
type Stats struct {
	Functions int // defined by the module
	Loops     int
	Checks    int // inserted, at entries and loop heads and within long straight code; helpers not counted
	Helpers   int // functions appended, which meter bulk operations
}

// Rewrite returns the module with metering inserted; wasm itself is left alone. The instructions it knows are those of
// WebAssembly 2.0, which wazero calls api.CoreFeaturesV2.
//
// Rewrite checks what metering depends on, structure and indices, but not types: an invalid module is refused, or comes
// out as invalid as it was. To have the original validated as well, call Rewrite first and give the engine what Strip
// returns: an engine may set aside whatever a few hostile bytes claim to need.
func Rewrite(wasm []byte, limits Limits) (out []byte, stats Stats, err error) {
	limits = limits.withDefaults()
	m, err := parse(wasm, limits)
	if err != nil {
		return nil, Stats{}, err
	}
	if err := m.permit(limits); err != nil {
		return nil, Stats{}, err
	}
	w := &rewriter{module: m, bounds: limits}
	if err := w.rewrite(); err != nil {
		return nil, Stats{}, err
	}
	return w.assemble(), w.stats, nil
}
