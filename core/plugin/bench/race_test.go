//go:build race

package bench_test

// raceDetector says that compiling takes very long.
const raceDetector = true
