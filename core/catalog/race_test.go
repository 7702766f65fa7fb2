//go:build race

package catalog_test

// raceEnabled: the race detector allocates on its own, so that counting allocations
// says nothing.
const raceEnabled = true
