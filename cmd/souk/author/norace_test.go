//go:build !race

package author_test

const raceDetector = false
