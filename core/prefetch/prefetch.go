//go:build amd64 || arm64

// Package prefetch tells the processor what memory will be read soon. It then comes into
// the cache while the program goes on, where a load would be waited for: a processor
// works ahead of a load that misses the cache for some hundred instructions and no more.
// Nothing is read as far as the program can tell, and any address will do.
package prefetch

import "unsafe"

// Line asks for the 64 bytes that p lies in.
//
//go:noescape
func Line(p unsafe.Pointer)

// Lines asks for the 256 bytes from the line on that p lies in.
//
//go:noescape
func Lines(p unsafe.Pointer)
