package backup

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
)

// Partial is what the name of a file ends with while it is not whole.
const Partial = ".partial"

// Save writes a file under its name with Partial behind it, until it is whole and on
// the disk: a file of that name itself is never half a backup. What write writes is
// read and checked on its way; if it fails, or its end is missing, nothing is left.
// Unless it may replace a file it takes the place of none.
func Save(name string, replace bool, write func(io.Writer) error) (File, error) {
	if _, err := os.Lstat(name); err == nil && !replace {
		return File{}, fmt.Errorf("%s: %w", name, fs.ErrExist)
	}
	partial := name + Partial
	if replace {
		if err := os.Remove(partial); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return File{}, err
		}
	}
	// One at a time: two that write there at once would both be told that all is well.
	f, err := os.OpenFile(partial, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return File{}, fmt.Errorf("%s: %w: another backup writes there, or was killed while it did", partial, fs.ErrExist)
	} else if err != nil {
		return File{}, err
	}
	saved, err := save(f, write)
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(partial, name)
	}
	if err != nil {
		return File{}, errors.Join(err, os.Remove(partial))
	}
	saved.Name = name
	return saved, syncDir(filepath.Dir(name))
}

// save writes, and reads what is written at the same time.
func save(f *os.File, write func(io.Writer) error) (saved File, err error) {
	out, in := io.Pipe()
	checked := make(chan error, 1)
	go func() {
		r, err := NewReader(out)
		if err == nil {
			saved, err = check(r, nil)
		}
		out.CloseWithError(err) // whoever writes is told
		checked <- err
	}()
	err = write(io.MultiWriter(f, in))
	in.Close()
	if wrong := <-checked; err == nil {
		err = wrong
	}
	if err == nil {
		err = f.Sync()
	}
	return saved, err
}

// syncDir makes a new name survive a power loss.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	if err := d.Sync(); err != nil && runtime.GOOS != "windows" { // which has no such thing
		return errors.Join(err, d.Close())
	}
	return d.Close()
}
