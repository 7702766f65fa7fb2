// Package plugins carries the policies that are shipped with the server, as
// WebAssembly modules: what `souk demo` runs and what an operator starts from.
// They are ordinary plugins. Nothing in the core knows them, and only programs,
// examples and tests import this package.
//
// The modules are committed, so that building the server needs no second
// toolchain, and reproducible, so that anyone can see that they are what their
// source says: `go generate ./plugins` makes the same bytes again.
package plugins

import (
	_ "embed"
	"maps"
	"slices"
)

//go:generate go run ../sdk/toolchain/build plugins

var (
	// Accounts is the module of plugin accounts (hook sign_in).
	//go:embed accounts/accounts.wasm
	Accounts []byte

	// Allowlist is the module of plugin allowlist (hook entitle).
	//go:embed allowlist/allowlist.wasm
	Allowlist []byte

	// OIDC is the module of plugin oidc (hook sign_in).
	//go:embed oidc/oidc.wasm
	OIDC []byte

	// Quota is the module of plugin quota (hook entitle).
	//go:embed quota/quota.wasm
	Quota []byte

	// Region is the module of plugin region (hooks entitle and select_version).
	//go:embed region/region.wasm
	Region []byte

	// Rollout is the module of plugin rollout (hook select_version).
	//go:embed rollout/rollout.wasm
	Rollout []byte
)

// modules are those above by their names.
var modules = map[string][]byte{
	"accounts":  Accounts,
	"allowlist": Allowlist,
	"oidc":      OIDC,
	"quota":     Quota,
	"region":    Region,
	"rollout":   Rollout,
}

// ByName returns the module of a shipped plugin.
func ByName(name string) ([]byte, bool) {
	module, ok := modules[name]
	return module, ok
}

// Names returns the names of the shipped plugins, in order.
func Names() []string { return slices.Sorted(maps.Keys(modules)) }
