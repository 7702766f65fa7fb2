package modeltest

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
)

// copyFiles copies a directory as it stands at one moment. The engine makes and removes
// files in the background, so it is copied again if its names have changed meanwhile.
func copyFiles(to, from string) error {
	for {
		before, err := names(from)
		if err != nil {
			return err
		}
		if err := os.MkdirAll(to, 0o700); err != nil {
			return err
		}
		for _, name := range before {
			if err = copyFile(filepath.Join(to, name), filepath.Join(from, name)); err != nil {
				break
			}
		}
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		after, err2 := names(from)
		if err2 != nil || err == nil && slices.Equal(before, after) {
			return err2
		}
		if err := os.RemoveAll(to); err != nil {
			return err
		}
	}
}

func names(dir string) (all []string, err error) {
	files, err := os.ReadDir(dir)
	for _, f := range files {
		all = append(all, f.Name())
	}
	return all, err
}

// copyFile copies a file. The engine maps files of 128 MiB of which it has used
// little, so holes stay holes.
func copyFile(to, from string) (err error) {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	info, err := in.Stat()
	if err != nil {
		return err
	}
	if err := out.Truncate(info.Size()); err != nil {
		return err
	}
	const seekData = 3 // lseek(2) of Linux
	block := make([]byte, 64<<10)
	zero := make([]byte, len(block))
	for at := int64(0); at < info.Size(); {
		if runtime.GOOS == "linux" {
			next, err := in.Seek(at, seekData)
			if err != nil { // no data any more
				return nil
			}
			at = next
		}
		n, err := in.ReadAt(block, at)
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		if !bytes.Equal(block[:n], zero[:n]) {
			if _, err := out.WriteAt(block[:n], at); err != nil {
				return err
			}
		}
		if at += int64(n); n == 0 {
			return nil
		}
	}
	return nil
}
