// Package conformance holds the same guest in five languages, as source and as
// the module that is built from it, and one suite over all of them. Change one,
// change five: what they say is in go/policy.
package conformance

//go:generate go run ../toolchain/build sdk/conformance
