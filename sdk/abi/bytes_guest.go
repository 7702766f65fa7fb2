//go:build wasip1

package abi

import "unsafe"

// checked says whether a reader looks at what texts are made of, and at what they
// are together. A guest need not: its host wrote them, and Go's strings may hold
// anything.
const checked = false

func isText([]byte, uint64) bool { return true }

// The machine of WebAssembly is little-endian, as records are, and loads from anywhere.
func load16(p unsafe.Pointer, at uintptr) uint16 { return *(*uint16)(unsafe.Add(p, at)) }
func load32(p unsafe.Pointer, at uintptr) uint32 { return *(*uint32)(unsafe.Add(p, at)) }
func load64(p unsafe.Pointer, at uintptr) uint64 { return *(*uint64)(unsafe.Add(p, at)) }

func store64(p unsafe.Pointer, at uintptr, n uint64) { *(*uint64)(unsafe.Add(p, at)) = n }
