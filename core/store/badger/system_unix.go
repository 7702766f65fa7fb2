//go:build linux || darwin || freebsd

package badger

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

// syncSurvivesPowerCut says whether Badger's sync of a mapped file reaches the
// disk on this system.
const syncSurvivesPowerCut = true

// diskFree is what is left for an ordinary user.
func diskFree(dir string) (int64, error) {
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil {
		return 0, err
	}
	return int64(st.Bavail) * int64(st.Bsize), nil
}

// lostSector are the errors of a disk that does not give back what was written.
var lostSector = [...]error{syscall.EIO}

// locks says that lockDirectory does.
const locks = true

// lockDirectory takes the lock that Badger takes.
func lockDirectory(dir string) (unlock func() error, err error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		if errors.Is(err, syscall.EWOULDBLOCK) {
			err = errHeld
		}
		return nil, errors.Join(fmt.Errorf("lock: %w", err), f.Close())
	}
	return f.Close, nil
}

// syncDirectory keeps the names in a directory over a power cut.
func syncDirectory(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("sync the directory: %w", err)
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return fmt.Errorf("sync the directory %s: %w", dir, err)
	}
	return nil
}

// allocated is what a file takes on the disk: a log is as long as it may become,
// and has holes.
func allocated(info fs.FileInfo) int64 {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return int64(st.Blocks) * 512
	}
	return info.Size()
}
