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

// isText says whether the text at w, which is in the message b, is UTF-8. Most texts are
// short and ASCII.
func isText(b []byte, w uint64) bool {
	s := b[uint32(w):][:w>>32]
	return ascii(s) || utf8.Valid(s)
}

func ascii(s []byte) bool {
	var all uint64
	if n := len(s); n >= 8 {
		for i := 0; i < n-8; i += 8 {
			all |= binary.LittleEndian.Uint64(s[i:])
		}
		all |= binary.LittleEndian.Uint64(s[n-8:])
	} else {
		for _, c := range s {
			all |= uint64(c)
		}
	}
	return all&0x8080808080808080 == 0
}

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
