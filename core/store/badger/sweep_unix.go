//go:build linux || darwin || freebsd

package badger

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// sweep removes log files of no length. Badger makes a log in two steps, the file
// and its size, and unmakes it in two, and it refuses to open a directory in which a
// crash has left one in between. Nothing is in such a file: the new one was not
// written to, and of the old one everything is in a table.
//
// It holds Badger's own lock meanwhile: a log of no length may be one that another
// process is about to write to.
func sweep(dir string) error {
	unlock, err := lockDirectory(dir)
	if err != nil {
		return err
	}
	return errors.Join(removeEmptyLogs(dir), unlock())
}

func removeEmptyLogs(dir string) error {
	files, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("store: look for empty logs: %w", err)
	}
	for _, f := range files {
		if ext := filepath.Ext(f.Name()); ext != ".mem" && ext != ".vlog" {
			continue
		}
		info, err := f.Info()
		if err == nil && info.Size() == 0 {
			err = os.Remove(filepath.Join(dir, f.Name()))
		}
		if err != nil {
			return fmt.Errorf("store: remove an empty log: %w", err)
		}
	}
	return nil
}

// lockDirectory takes the lock that Badger holds while it has a directory open.
func lockDirectory(dir string) (unlock func() error, err error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("store: lock the directory: %w", err)
	}
	err = syscall.Flock(int(d.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	switch {
	case errors.Is(err, syscall.EWOULDBLOCK):
		return nil, errors.Join(heldBy(dir), d.Close())
	case err != nil:
		return nil, errors.Join(fmt.Errorf("store: lock the directory %s: %w", dir, err), d.Close())
	}
	return d.Close, nil
}
