package prefetch_test

import (
	"testing"
	"unsafe"

	"github.com/souk-market/souk/core/prefetch"
)

// TestAnyAddressWillDo asks for what is memory and what is none; neither is changed.
func TestAnyAddressWillDo(t *testing.T) {
	var some [300]byte
	for i := range some {
		prefetch.Line(unsafe.Pointer(&some[i]))
		prefetch.Lines(unsafe.Pointer(&some[i]))
	}
	if some != [300]byte{} {
		t.Error("what is asked for is changed")
	}
	prefetch.Line(nil)
	prefetch.Lines(nil)
}
