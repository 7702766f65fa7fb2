//go:build race

package main

// raceDetector says that compiling takes very long.
const raceDetector = true
