// Package sdk carries the SDKs as they are in this version of the program, and the
// examples: `souk plugin new` copies them into a project of its own, because an SDK
// has to fit the contract and nothing is published. It holds files and no code.
package sdk

import "embed"

// Files are those below sdk that a plugin's author needs. The tests of the Go
// packages are among them only because a pattern can't leave them out.
//
//go:embed TOOLCHAINS ABI.md
//go:embed abi/*.go abi/testdata/vectors.json go/*.go go/*/*.go
//go:embed rust/Cargo.toml rust/src
//go:embed assemblyscript/assembly assemblyscript/native.js assemblyscript/package.json
//go:embed javascript/*.js javascript/*.d.ts javascript/engine.wat javascript/package.json
//go:embed c/*.h
//go:embed examples/*/guest.go examples/*/guest.rs examples/*/guest.ts examples/*/guest.c examples/*/guest.js examples/*/guest.wat
//go:embed templates/*/guest.go templates/*/guest.rs templates/*/guest.ts templates/*/guest.c templates/*/guest.js templates/*/guest.wat
var Files embed.FS
