//go:build race

package plugin_test

// raceDetector says that a sync.Pool drops what it is given now and then.
const raceDetector = true
