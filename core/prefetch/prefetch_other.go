//go:build !amd64 && !arm64

package prefetch

import "unsafe"

// Line does nothing: this processor is not told.
func Line(unsafe.Pointer) {}

// Lines does nothing: this processor is not told.
func Lines(unsafe.Pointer) {}
