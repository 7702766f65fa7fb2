package badger

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	bdb "github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/table"

	"github.com/souk-market/souk/core/store"
)

// Badger trusts its files. A table that is cut off ends the process from a goroutine
// of its own; tables that its MANIFEST does not name are deleted, all of them if the
// MANIFEST is gone; a log is cut at the first entry that does not fit, and what was
// acknowledged behind it is gone without a word. So everything is looked over before
// Badger sees it, and nothing is changed where something is wrong.

// damagedError says which file is not what was written, why, and what to do.
type damagedError struct{ file, what, remedy string }

func (e damagedError) Error() string {
	return fmt.Sprintf("store: %s is damaged: %s: %s", e.file, e.what, e.remedy)
}

func (damagedError) Is(target error) bool { return target == store.ErrDamaged }

func damaged(file, format string, args ...any) error {
	return damagedError{file, fmt.Sprintf(format, args...), `restore a backup with "souk recover"`}
}

// files are those of a directory that matter.
type files struct {
	dir    string
	tables map[uint64]bool // by id
	logs   []uint64        // of memtables, in the order in which they were written
	empty  []string        // files that a crash left behind when they had just been made
	torn   string          // the log that ends within a commit, from tornAt on
	tornAt int64
	all    []string
}

func (f *files) table(id uint64) string { return table.NewFilename(id, f.dir) }
func (f *files) log(id uint64) string   { return filepath.Join(f.dir, fmt.Sprintf("%05d.mem", id)) }

// inspect looks over a directory that nobody has open. With all it compares the
// checksum of every block, which reads the tables whole, otherwise those of the
// indexes alone. sync says that the logs were written with it.
func inspect(o bdb.Options, sync, all bool, log *slog.Logger) error {
	f, err := list(o.Dir)
	if err != nil {
		return err
	}
	if err := f.open(); err != nil {
		return err
	}
	if err := f.registry(); err != nil {
		return err
	}
	named, err := f.manifest(o)
	if err != nil {
		return err
	}
	highest, err := f.readTables(named, all)
	if err != nil {
		return err
	}
	begins, err := f.readLogs(sync, log)
	if err != nil {
		return err
	}
	if err := f.leftovers(named, highest, begins); err != nil {
		return err
	}
	if !locks { // an empty log may be one that another process is about to write to
		return nil
	}
	for _, file := range f.empty { // Badger takes it for one that it is about to make
		log.Info("store: an empty file of an interrupted start is removed", "file", file)
		if err := os.Remove(file); err != nil {
			return fmt.Errorf("store: %w", err)
		}
	}
	return f.clearTail()
}

func list(dir string) (*files, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("store: list %s: %w", dir, err)
	}
	f := &files{dir: dir, tables: map[uint64]bool{}}
	for _, e := range entries {
		name, ext := e.Name(), filepath.Ext(e.Name())
		path := filepath.Join(dir, name)
		known := name == bdb.ManifestFilename || name == bdb.KeyRegistryFileName || name == "DISCARD"
		if ext == ".sst" || ext == ".mem" || ext == ".vlog" {
			id, err := strconv.ParseUint(strings.TrimSuffix(name, ext), 10, 64)
			if err != nil {
				return nil, fmt.Errorf("store: %s is no file of the store: take it out of the directory", path)
			}
			info, err := e.Info()
			switch {
			case err != nil:
				return nil, fmt.Errorf("store: %w", err)
			case ext == ".sst":
				f.tables[id] = true
			case info.Size() == 0:
				f.empty = append(f.empty, path)
			case ext == ".mem":
				f.logs = append(f.logs, id)
			}
			known = true
		}
		if known {
			f.all = append(f.all, path)
		}
	}
	slices.Sort(f.logs)
	return f, nil
}

// open tries the permissions of each file: one command as another user leaves files
// that the server can't open.
func (f *files) open() error {
	for _, path := range f.all {
		file, err := os.OpenFile(path, os.O_RDWR, 0)
		switch {
		case errors.Is(err, fs.ErrPermission):
			return fmt.Errorf("store: %w: all files of the store have to belong to the user who runs the server", err)
		case err != nil:
			return fmt.Errorf("store: %w", err)
		}
		if err := file.Close(); err != nil {
			return fmt.Errorf("store: %w", err)
		}
	}
	return nil
}

// registry checks the file of Badger's own encryption, which is not used: there is
// nothing in it but a text that says so.
func (f *files) registry() error {
	const iv, text = 16, "Hello Badger"
	path := filepath.Join(f.dir, bdb.KeyRegistryFileName)
	b, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("store: %w", err)
	case len(b) != iv+len(text) || string(b[iv:]) != text:
		return damagedError{path, "it is not what was written", "it holds nothing that is needed, so remove it and start again"}
	}
	return nil
}

// manifest returns the tables that are in use.
func (f *files) manifest(o bdb.Options) (map[uint64]bdb.TableManifest, error) {
	path := filepath.Join(f.dir, bdb.ManifestFilename)
	file, err := os.Open(path)
	switch {
	case errors.Is(err, fs.ErrNotExist) && len(f.tables)+len(f.logs) > 0:
		return nil, damaged(path, "it is missing, and with it what the other files mean")
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("store: %w", err)
	}
	defer file.Close()
	m, _, err := bdb.ReplayManifestFile(file, o.ExternalMagicVersion, o)
	switch {
	case err == nil:
		return m.Tables, nil
	case strings.Contains(err.Error(), "unsupported version") || strings.Contains(err.Error(), "magic number doesn't match"):
		return nil, fmt.Errorf("store: %s was written by another version of Badger, or by another program: %s", path, firstLine(err))
	}
	return nil, damaged(path, "%s", firstLine(err))
}

func firstLine(err error) string {
	line, _, _ := strings.Cut(err.Error(), "\n")
	return strings.TrimRight(line, ".")
}

// leftovers refuses tables that nobody names, unless a crash explains them: that of a
// memtable whose log is still there, or of tables that are named themselves. Without
// it they are data whose names are lost, and Badger would delete them.
func (f *files) leftovers(named map[uint64]bdb.TableManifest, highest uint64, begins []uint64) error {
	var r tableReader
	for id := range f.tables {
		if _, ok := named[id]; ok {
			continue
		}
		version, err := r.read(context.Background(), f.table(id), false)
		var unfinished contentError
		switch {
		case errors.As(err, &unfinished):
			continue
		case err != nil:
			return fmt.Errorf("store: %w", err)
		}
		again := slices.ContainsFunc(begins, func(begin uint64) bool { return begin <= version })
		if version > highest && !again {
			return damaged(filepath.Join(f.dir, bdb.ManifestFilename), "it does not name %s, which has newer records than all that it names", filepath.Base(f.table(id)))
		}
	}
	return nil
}
