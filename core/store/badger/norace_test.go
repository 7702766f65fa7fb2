//go:build !race

package badger

// RaceEnabled says that the race detector looks on: tests that do the same many times
// then do it fewer times, and those that measure memory are left out. .ci/run has a step
// for all of it.
const RaceEnabled = false
