//go:build race

package token_test

// raceEnabled: the race detector makes sync.Pool drop objects at random, so that
// counting allocations says nothing.
const raceEnabled = true
