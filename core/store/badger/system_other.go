//go:build !linux && !darwin && !freebsd && !windows

package badger

import (
	"errors"
	"runtime"
)

// Badger's other systems sync mapped files by msync too.
const syncSurvivesPowerCut = true

func diskFree(string) (int64, error) {
	return 0, errors.New("not to be had on " + runtime.GOOS + "; set min_free to 0")
}

// locks says that lockDirectory does.
const locks = false

// lockDirectory leaves the lock to Badger.
func lockDirectory(string) (unlock func() error, err error) {
	return func() error { return nil }, nil
}
