package badger

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// makeDirectory is os.MkdirAll that keeps the names of what it makes over a power
// cut.
func makeDirectory(dir string) error {
	if info, err := os.Stat(dir); err == nil && info.IsDir() {
		return nil
	}
	above := filepath.Dir(dir)
	if above != dir {
		if err := makeDirectory(above); err != nil {
			return err
		}
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return syncDirectory(above)
}

// logNames watches for Badger's next write-ahead log. Badger syncs what is in it and
// not that it is there. Most filesystems keep the name of a file that is synced; to
// rely on it would be to know which. So a commit that began a new log syncs the
// directory before anybody hears of it.
type logNames struct {
	dir  string
	next int // number of the log that comes next
	log  *slog.Logger
}

func newLogNames(dir string, log *slog.Logger) (*logNames, error) {
	files, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("store: look for logs: %w", err)
	}
	l := &logNames{dir: dir, log: log}
	for _, f := range files {
		number, isLog := strings.CutSuffix(f.Name(), ".mem")
		if n, err := strconv.Atoi(number); isLog && err == nil {
			l.next = max(l.next, n+1)
		}
	}
	l.advise()
	return l, syncDirectory(dir)
}

// advise makes syncs cheaper. Without it they are as good.
func (l *logNames) advise() {
	if err := adviseLogs(l.dir); err != nil {
		l.log.Warn("store: the kernel was not told how its logs are written: each sync may write more than it has to", "error", err)
	}
}

// sync is called after each commit; it costs a stat that finds nothing.
func (l *logNames) sync() error {
	begun := false
	for {
		_, err := os.Stat(filepath.Join(l.dir, fmt.Sprintf("%05d.mem", l.next)))
		if errors.Is(err, fs.ErrNotExist) {
			break
		}
		if err != nil {
			return fmt.Errorf("look for the next log: %w", err)
		}
		begun = true
		l.next++
	}
	if !begun {
		return nil
	}
	l.advise()
	return syncDirectory(l.dir)
}
