//go:build !linux && !darwin && !freebsd && !windows

package badger

import (
	"errors"
	"io/fs"
	"runtime"
)

// Badger's other systems sync mapped files by msync too.
const syncSurvivesPowerCut = true

func diskFree(string) (int64, error) {
	return 0, errors.New("not to be had on " + runtime.GOOS + "; set min_free to 0")
}

// allocated is the length of a file: what it takes is not to be had here.
func allocated(info fs.FileInfo) int64 { return info.Size() }
