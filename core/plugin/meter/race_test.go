//go:build race

package meter_test

// raceDetector is whether the tests run under it.
const raceDetector = true
