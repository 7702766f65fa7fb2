//go:build race

package author_test

// raceDetector says that compiling takes very long.
const raceDetector = true
