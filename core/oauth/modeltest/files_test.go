package modeltest

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
)

// copyFiles copies a directory of files as they stand. The engine maps files of 128 MiB
// of which it has used little, so holes stay holes.
func copyFiles(to, from string) error {
	if err := os.MkdirAll(to, 0o700); err != nil {
		return err
	}
	files, err := os.ReadDir(from)
	if err != nil {
		return err
	}
	for _, f := range files {
		if err := copyFile(filepath.Join(to, f.Name()), filepath.Join(from, f.Name())); err != nil {
			return err
		}
	}
	return nil
}

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
