//go:build linux || darwin || freebsd

package badger

import (
	"errors"
	"fmt"
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
