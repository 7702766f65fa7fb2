//go:build wasip1

package souk

import (
	"unsafe"

	"github.com/souk-market/souk/sdk/abi"
)

var (
	buffer    []uint64                // uint64 so that it is 8-aligned
	answer    = make([]byte, 0, 1024) // a verdict of usual length
	configure func(config []byte) error
)

// marker says which major version of the contract this is; it is never called.
//
//go:wasmexport souk_abi_1
func marker() {}

//go:wasmexport souk_buffer
func giveBuffer(min uint32) uint32 {
	if min > abi.MaxRequest {
		return 0
	}
	if words := int(min+7) / 8; words > len(buffer) {
		buffer = make([]uint64, words)
	}
	return uint32(uintptr(unsafe.Pointer(unsafe.SliceData(buffer))))
}

//go:wasmexport configure
func runConfigure(length uint32) uint64 {
	config := Message(length)
	if configure == nil {
		if string(config) == "{}" {
			return 0
		}
		return Text("this plugin takes no configuration: remove its [plugin.config]")
	}
	// The buffer is used again for the next message; a plugin may keep the text.
	if err := configure(append([]byte(nil), config...)); err != nil {
		return Text(err.Error())
	}
	return 0
}

// Configure registers the function that gets the [plugin.config] table as JSON
// text, once per instance and before any question. Its error stops the load of
// the plugin and is what the operator reads.
func Configure(f func(config []byte) error) { configure = f }

// Message returns the message that the host has put into the buffer.
func Message(length uint32) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(buffer))), length)
}

// Answer writes a verdict and returns where it lies, as a hook returns it.
func Answer(v interface{ Append([]byte) []byte }) uint64 {
	return Keep(v.Append(answer[:0]))
}

// Space is where an answer is written; what was written there before is lost.
func Space() []byte { return answer }

// Keep keeps what was written to Space, or to a larger one, and returns where it lies.
func Keep(b []byte) uint64 {
	answer = b
	return place(b)
}

// Text returns where a text lies.
func Text(s string) uint64 {
	return Keep(append(answer[:0], s...))
}

func place(b []byte) uint64 {
	return uint64(uintptr(unsafe.Pointer(unsafe.SliceData(b))))<<32 | uint64(len(b))
}

// Fail says why a question could not be answered and returns the error code of
// a hook: the operator's on_error decides.
func Fail(err error) uint64 {
	println(err.Error()) // standard error goes to the plugin's log
	return 1
}
