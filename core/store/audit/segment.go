package audit

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
)

// maxFile is more than any segment grows to: a batch beyond the largest that Options
// can ask for.
const maxFile = maxSegment + 8*maxBatchBytes

// segment is a file as its name tells.
type segment struct {
	name    string
	number  uint64
	created time.Time
	size    int64
}

const nameTime = "20060102T150405Z"

func segmentName(number uint64, created time.Time) string {
	return fmt.Sprintf("%06d-%s.log", number, created.UTC().Format(nameTime))
}

// parseName reads what segmentName made; other files are none of ours.
func parseName(name string) (s segment, ok bool) {
	digits, rest, ok1 := strings.Cut(name, "-")
	stamp, ok2 := strings.CutSuffix(rest, ".log")
	number, err1 := strconv.ParseUint(digits, 10, 64)
	created, err2 := time.Parse(nameTime, stamp)
	if !ok1 || !ok2 || err1 != nil || err2 != nil || number == 0 || segmentName(number, created) != name {
		return segment{}, false
	}
	return segment{name: name, number: number, created: created}, true
}

// segments lists the segments of a directory, oldest first. A directory that is
// not there has none.
func segments(dir string) ([]segment, error) {
	files, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, fmt.Errorf("audit: read the directory: %w", err)
	}
	var all []segment
	for _, file := range files {
		s, ok := parseName(file.Name())
		if !ok || !file.Type().IsRegular() {
			continue
		}
		info, err := file.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue // dropped meanwhile
		} else if err != nil {
			return nil, fmt.Errorf("audit: read the directory: %w", err)
		}
		s.size = info.Size()
		all = append(all, s)
	}
	slices.SortFunc(all, func(a, b segment) int {
		if a.number != b.number {
			return int(min(max(int64(a.number-b.number), -1), 1))
		}
		return strings.Compare(a.name, b.name)
	})
	for i := 1; i < len(all); i++ {
		if all[i].number == all[i-1].number {
			return nil, fmt.Errorf("audit: the segments %s and %s have the same number: move the one that does not belong there out of %s", all[i-1].name, all[i].name, dir)
		}
	}
	return all, nil
}

// load reads a segment whole; one that was dropped meanwhile is fs.ErrNotExist.
func (s *segment) load(dir string) ([]byte, error) {
	if s.size > maxFile {
		return nil, &DamageError{s.name, 0, fmt.Sprintf("the file has %d bytes: no segment grows to that", s.size)}
	}
	b, err := os.ReadFile(filepath.Join(dir, s.name))
	if err != nil {
		return nil, fmt.Errorf("audit: read a segment: %w", err)
	}
	return b, nil
}

// Copy copies the segments of a directory into a new one, as they are, and brings
// them to the disk. What else is there is none of the log's.
func Copy(from, to string) error {
	all, err := segments(from)
	if err != nil {
		return err
	}
	if err := os.Mkdir(to, 0o700); err != nil {
		return fmt.Errorf("audit: make the directory: %w", err)
	}
	for _, s := range all {
		if err := s.copy(from, to); err != nil {
			return fmt.Errorf("audit: copy a segment: %w", err)
		}
	}
	if err := syncDir(to, (*os.File).Sync); err != nil {
		return fmt.Errorf("audit: sync: %w", err)
	}
	return nil
}

func (s *segment) copy(from, to string) error {
	in, err := os.Open(filepath.Join(from, s.name))
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(filepath.Join(to, s.name), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	if err == nil {
		err = out.Sync()
	}
	return errors.Join(err, out.Close())
}

// syncDir makes names durable. Windows can't sync a directory, and does not need to.
func syncDir(dir string, sync func(*os.File) error) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(sync(d), d.Close())
}
