//go:build !wasip1

package abi

import (
	"encoding/binary"
	"unicode/utf8"
	"unsafe"
)

// checked says whether a reader looks at what texts are made of, and at what they
// are together.
const checked = true

// isText says whether the text at w, which is in the message b, is UTF-8.
func isText(b []byte, w uint64) bool { return utf8.Valid(b[uint32(w):][:w>>32]) }

func load16(p unsafe.Pointer, at uintptr) uint16 {
	return binary.LittleEndian.Uint16((*[2]byte)(unsafe.Add(p, at))[:])
}

func load32(p unsafe.Pointer, at uintptr) uint32 {
	return binary.LittleEndian.Uint32((*[4]byte)(unsafe.Add(p, at))[:])
}

func load64(p unsafe.Pointer, at uintptr) uint64 {
	return binary.LittleEndian.Uint64((*[8]byte)(unsafe.Add(p, at))[:])
}

func store64(p unsafe.Pointer, at uintptr, n uint64) {
	binary.LittleEndian.PutUint64((*[8]byte)(unsafe.Add(p, at))[:], n)
}
