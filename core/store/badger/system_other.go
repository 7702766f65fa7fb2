//go:build !linux && !darwin && !freebsd && !windows

package badger

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"syscall"
)

// Badger's other systems sync mapped files by msync too.
const syncSurvivesPowerCut = true

func diskFree(string) (int64, error) {
	return 0, errors.New("not to be had on " + runtime.GOOS + "; set min_free to 0")
}

// lostSector are the errors of a disk that does not give back what was written.
var lostSector = [...]error{syscall.EIO}

// locks says that lockDirectory does.
const locks = false

// lockDirectory leaves the lock to Badger.
func lockDirectory(string) (unlock func() error, err error) {
	return func() error { return nil }, nil
}

// syncDirectory keeps the names in a directory over a power cut.
func syncDirectory(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("sync the directory: %w", err)
	}
	return errors.Join(d.Sync(), d.Close())
}

// allocated is the length of a file: what it takes is not to be had here.
func allocated(info fs.FileInfo) int64 { return info.Size() }
