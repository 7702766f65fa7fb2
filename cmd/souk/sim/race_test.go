//go:build race

package sim

// raced says whether the race detector is on.
const raced = true
