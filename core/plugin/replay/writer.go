package replay

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/souk-market/souk/core/plugin"
)

// Writer writes a recording. It implements plugin.Recorder, and like all that does
// it is for one goroutine.
//
// When the file has its size, it becomes FILE.1 in the place of an older one, and
// another begins: so the last decisions are always there, in twice the size at
// most. A file of an earlier start goes on.
type Writer struct {
	EntitleDefault string
	Now            func() time.Time

	path    string
	most    int64
	file    *os.File
	size    int64
	torn    bool // its last line has no end
	headed  bool // it says whom the next line is of
	plugins []plugin.RecordedPlugin
}

// Create opens a recording of at most so many bytes. It is readable by its owner
// alone, for it holds accounts.
func Create(path string, most int64) (*Writer, error) {
	w := &Writer{Now: time.Now, path: path, most: most}
	return w, w.open()
}

func (w *Writer) open() error {
	f, err := os.OpenFile(w.path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is no file", w.path)
	}
	if err == nil {
		err = f.Chmod(0o600)
	}
	if err != nil {
		return errors.Join(err, f.Close())
	}
	w.file, w.size, w.torn, w.headed = f, info.Size(), false, false
	if w.size == 0 {
		return nil
	}
	var last [1]byte
	_, err = f.ReadAt(last[:], w.size-1)
	w.torn = last[0] != '\n' // a crash cut it off
	return err
}

// Plugins implements plugin.Recorder.
func (w *Writer) Plugins(plugins []plugin.RecordedPlugin) error {
	w.plugins, w.headed = plugins, false
	return w.header()
}

func (w *Writer) header() error {
	return w.line(&Header{Version: Version, At: w.Now(), EntitleDefault: w.EntitleDefault, Plugins: w.plugins})
}

// Record implements plugin.Recorder.
func (w *Writer) Record(d *plugin.Decision) error { return w.line(newRecord(d)) }

// line writes a line, to the next file if it doesn't fit into this one.
func (w *Writer) line(v any) error {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return err
	}
	if b.Len() > maxLine {
		return fmt.Errorf("a decision of %d bytes: at most %d are recorded", b.Len(), maxLine)
	}
	if w.size > 0 && w.size+int64(b.Len()) > w.most {
		if err := w.rotate(); err != nil {
			return err
		}
	}
	_, header := v.(*Header)
	if !header && !w.headed {
		if err := w.header(); err != nil {
			return err
		}
	}
	err := w.append(b.Bytes())
	w.headed = w.headed || header && err == nil
	return err
}

// append writes a line. One that didn't fit on the disk is ended by the next, so
// that it takes no other with it.
func (w *Writer) append(line []byte) error {
	if w.torn {
		line = append([]byte("\n"), line...)
	}
	n, err := w.file.Write(line)
	w.size += int64(n)
	if n > 0 {
		w.torn = line[n-1] != '\n'
	}
	return err
}

func (w *Writer) rotate() error {
	if err := w.file.Close(); err != nil && !errors.Is(err, fs.ErrClosed) {
		return err
	}
	if err := os.Rename(w.path, w.path+".1"); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return w.open()
}

// Close closes the file.
func (w *Writer) Close() error { return w.file.Close() }
