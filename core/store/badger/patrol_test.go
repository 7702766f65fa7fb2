package badger_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/souk-market/souk/core/store"
	"github.com/souk-market/souk/core/store/badger"
)

// troubled is a table of which something is wrong while it is read.
type troubled struct {
	badger.TableFile
	read func(b []byte, at int64) (int, error)
}

func (f troubled) ReadAt(b []byte, at int64) (int, error) { return f.read(b, at) }

// trouble opens tables, and has the nth opening, from 1 on, go as it says.
func trouble(read func(n int64, f *os.File, b []byte, at int64) (int, error)) (open func(string) (badger.TableFile, error), opened *atomic.Int64) {
	opened = new(atomic.Int64)
	return func(path string) (badger.TableFile, error) {
		n := opened.Add(1)
		f, err := os.Open(path)
		if err != nil {
			return nil, err
		}
		return troubled{f, func(b []byte, at int64) (int, error) { return read(n, f, b, at) }}, nil
	}, opened
}

// What says nothing about a table does not count, however often it happens, and neither
// does what a second look doesn't find; what stays does.
func TestDamageIsWhatStays(t *testing.T) {
	t.Parallel()
	flipped := func(f *os.File, b []byte, at int64) (int, error) {
		n, err := f.ReadAt(b, at)
		b[0] ^= 0x40
		return n, err
	}
	for what, c := range map[string]struct {
		read   func(n int64, f *os.File, b []byte, at int64) (int, error)
		damage bool
		says   string // in the log
	}{
		"no file is left":   {read: func(int64, *os.File, []byte, int64) (int, error) { return 0, syscall.EMFILE }, says: "the next round tries it"},
		"no memory is left": {read: func(int64, *os.File, []byte, int64) (int, error) { return 0, syscall.ENOMEM }, says: "the next round tries it"},
		"one look in two is wrong": {read: func(n int64, f *os.File, b []byte, at int64) (int, error) {
			if n%2 == 1 {
				return flipped(f, b, at)
			}
			return f.ReadAt(b, at)
		}},
		"a sector is gone for one look": {read: func(n int64, f *os.File, b []byte, at int64) (int, error) {
			if n%2 == 1 {
				return 0, syscall.EIO
			}
			return f.ReadAt(b, at)
		}},
		"a bit is wrong":   {read: func(_ int64, f *os.File, b []byte, at int64) (int, error) { return flipped(f, b, at) }, damage: true, says: "may be wrong"},
		"a sector is gone": {read: func(int64, *os.File, []byte, int64) (int, error) { return 0, syscall.EIO }, damage: true, says: "it can't be read"},
		"it is cut off":    {read: func(int64, *os.File, []byte, int64) (int, error) { return 0, io.EOF }, damage: true, says: "it can't be read"},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			log := &lines{}
			reopen, opened := trouble(c.read)
			o := badger.Patrol(badger.Options{Dir: image(t, false), Log: slog.New(slog.NewTextHandler(log, nil))}, time.Millisecond)
			e := open(t, badger.Reopen(o, reopen))
			defer shut(t, e)
			for end := time.Now().Add(30 * time.Second); opened.Load() < 10; runtime.Gosched() {
				if time.Now().After(end) {
					t.Fatalf("tables were opened %d times, want 10", opened.Load())
				}
			}
			if err := e.Stats().Damage; (err != nil) != c.damage || err != nil && !errors.Is(err, store.ErrDamaged) {
				t.Errorf("Damage = %v, want some: %v", err, c.damage)
			}
			if text := log.String(); !strings.Contains(text, c.says) {
				t.Errorf("the log says %q, want %q", text, c.says)
			}
		})
	}
}

// A table is read piece by piece, into the same room, and who is stopped reads no further.
func TestTablesAreReadInPieces(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	e := open(t, badger.Options{Dir: dir})
	const records, length = 100, 60 << 10
	for i := range records {
		if err := e.Apply(ctx, store.Op{Key: store.Key{Table: 'Q', Part: "large", Sub: fmt.Sprint(i)}, Value: make([]byte, length)}); err != nil {
			t.Fatal(err)
		}
	}
	shut(t, e)
	table := one(t, dir, "*.sst")
	if n := size(t, table); n < records*length {
		t.Fatalf("the table has %d bytes, want %d", n, records*length)
	}
	most, sum := 0, 0
	reopen, _ := trouble(func(_ int64, f *os.File, b []byte, at int64) (int, error) {
		most = max(most, len(b))
		sum += len(b)
		return f.ReadAt(b, at)
	})
	if err := badger.CheckTable(ctx, table, reopen); err != nil {
		t.Fatal(err)
	}
	if most > 1<<20 || sum < size(t, table) {
		t.Errorf("of %d bytes %d were read, at most %d at once: want all, and 1 MiB", size(t, table), sum, most)
	}
	canceled, cancel := context.WithCancel(ctx)
	defer cancel()
	reads, after := 0, 0
	reopen, _ = trouble(func(_ int64, f *os.File, b []byte, at int64) (int, error) {
		if reads++; reads == 8 {
			cancel()
		} else if reads > 8 {
			after++
		}
		return f.ReadAt(b, at)
	})
	if err := badger.CheckTable(canceled, table, reopen); !errors.Is(err, context.Canceled) || errors.Is(err, store.ErrDamaged) || after > 0 {
		t.Errorf("a check that was stopped = %v, after %d more reads, want %v and none", err, after, context.Canceled)
	}
}
