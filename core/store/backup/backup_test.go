package backup_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/souk-market/souk/core/store"
	"github.com/souk-market/souk/core/store/backup"
	"github.com/souk-market/souk/core/store/badger"
)

var ctx = context.Background()

var start = time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)

func now() time.Time { return start }

func openEngine(t testing.TB) store.Engine {
	t.Helper()
	e, err := badger.Open(badger.Options{InMemory: true, Now: now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	return e
}

func key(part, sub string) store.Key { return store.Key{Table: 'P', Part: part, Sub: sub} }

func put(t testing.TB, e store.Engine, ops ...store.Op) {
	t.Helper()
	if err := e.Apply(ctx, ops...); err != nil {
		t.Fatal(err)
	}
}

// records are all that an engine holds, with their expiry.
func records(t testing.TB, e store.Engine) map[store.Key]string {
	t.Helper()
	all := map[store.Key]string{}
	if err := e.Dump(ctx, func(it store.Item) error { all[it.Key] = string(it.Value) + it.Expires.String(); return nil }); err != nil {
		t.Fatal(err)
	}
	return all
}

// write makes a backup in a directory; before = "" makes a full one.
func write(t testing.TB, e backup.Source, name, before string) backup.File {
	t.Helper()
	o := backup.Options{Now: now}
	if before != "" {
		h, ref, err := last(before)
		if err != nil {
			t.Fatal(err)
		}
		o.Since, o.SinceBegun = &ref, h.Begun
	}
	f, err := backup.Save(name, false, func(w io.Writer) error {
		_, err := backup.Write(ctx, w, e, o)
		return err
	})
	if err != nil {
		t.Fatalf("Save(%s) = %v", name, err)
	}
	return f
}

func last(name string) (h backup.Header, ref backup.Ref, err error) {
	f, err := os.Open(name)
	if err != nil {
		return h, ref, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return h, ref, err
	}
	return backup.Last(f, info.Size())
}

// check reads files and puts them in a chain.
func check(names ...string) ([]backup.File, error) {
	var files []backup.File
	for _, name := range names {
		f, err := backup.Check(ctx, name, nil, nil)
		if err != nil {
			return nil, err
		}
		files = append(files, f)
	}
	return files, backup.Chain(files)
}

func restored(t *testing.T, names ...string) map[store.Key]string {
	t.Helper()
	files, err := check(names...)
	if err != nil {
		t.Fatal(err)
	}
	e := openEngine(t)
	if err := backup.Restore(ctx, e, files, nil); err != nil {
		t.Fatalf("Restore = %v", err)
	}
	return records(t, e)
}

func TestAChainMakesTheStoreAgain(t *testing.T) {
	e, dir := openEngine(t), t.TempDir()
	for i := range 5000 {
		op := store.Op{Key: store.Key{Table: "AFPU"[i%4], Part: fmt.Sprint(i % 100), Sub: fmt.Sprint(i)}, Value: fmt.Append(nil, "value ", i)}
		if i%3 == 0 {
			op.Expires = start.Add(time.Hour)
		}
		put(t, e, op)
	}
	put(t, e, store.Op{Key: key("", ""), Value: []byte{}}, store.Op{Key: key("", "large"), Value: bytes.Repeat([]byte{7}, store.MaxValue)})
	full, one, two := filepath.Join(dir, "full"), filepath.Join(dir, "one"), filepath.Join(dir, "two")
	f := write(t, e, full, "")
	if f.Records != 5002 || f.Gone != 0 || f.Tables['F'] != 1250 || f.Header.Since != nil || !f.Header.Base || f.Header.Format != store.Format || !f.Header.Begun.Equal(start) {
		t.Errorf("the full backup says %+v", f)
	}
	if got, want := restored(t, full), records(t, e); !maps.Equal(got, want) {
		t.Errorf("a full backup makes %d records, want %d, or others", len(got), len(want))
	}
	put(t, e, store.Op{Key: key("", "large"), Delete: true}, store.Op{Key: key("", "new"), Value: []byte("x")})
	put(t, e, store.Op{Key: key("", ""), Value: []byte("short"), Expires: start}) // it expires as it is written
	f = write(t, e, one, full)
	if f.Records > 10 || f.Gone != 2 || f.Header.Since == nil || !f.Header.SinceBegun.Equal(start) {
		t.Errorf("the next backup says %+v", f)
	}
	put(t, e, store.Op{Key: key("", "large"), Value: []byte("again")}, store.Op{Key: key("", "new"), Delete: true})
	write(t, e, two, one)
	if got, want := restored(t, full, one, two), records(t, e); !maps.Equal(got, want) {
		t.Errorf("a chain of three makes %d records, want %d, or others", len(got), len(want))
	}
	// Another branch off the same file is a chain too.
	other := filepath.Join(dir, "other")
	write(t, e, other, full)
	if got, want := restored(t, full, other), records(t, e); !maps.Equal(got, want) {
		t.Errorf("another chain makes %d records, want %d, or others", len(got), len(want))
	}
	for _, wrong := range [][]string{{one}, {full, two}, {full, two, one}, {full, one, one}, {full, full}, {full, other, two}, {full, one, other}} {
		if _, err := check(wrong...); !errors.Is(err, backup.ErrChain) {
			t.Errorf("the chain %v = %v, want ErrChain", wrong, err)
		}
	}
	// A file of another store.
	stranger := filepath.Join(dir, "stranger")
	write(t, openEngine(t), stranger, "")
	if _, err := check(stranger, one); !errors.Is(err, backup.ErrChain) {
		t.Errorf("a backup on another store's = %v, want ErrChain", err)
	}
	if _, err := backup.Write(ctx, io.Discard, openEngine(t), backup.Options{Since: &f.Ref}); !errors.Is(err, backup.ErrNoBase) {
		t.Errorf("a backup that builds on another store's = %v, want ErrNoBase", err)
	}
	// The same backup, but another file: one that was made later from the same start.
	files, err := check(full, one)
	if err != nil {
		t.Fatal(err)
	}
	files[1].Header.Since.Sum[0]++
	if err := backup.Chain(files); !errors.Is(err, backup.ErrChain) || !strings.Contains(err.Error(), "another file of the same backup") {
		t.Errorf("another file of the same backup = %v", err)
	}
}

// Each writer keeps two records alike; a backup that is not of one moment tears them.
func TestBackupsWhileManyWriteAreOfOneMoment(t *testing.T) {
	e, dir := openEngine(t), t.TempDir()
	stop := make(chan struct{})
	var all sync.WaitGroup
	for i := range 64 {
		all.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				a, b := key(fmt.Sprint(i), fmt.Sprint("a", n%5)), key(fmt.Sprint(i), fmt.Sprint("b", n%5))
				ops := []store.Op{{Key: a, Value: fmt.Append(nil, n)}, {Key: b, Value: fmt.Append(nil, n)}}
				if n%7 == 3 {
					ops = []store.Op{{Key: a, Delete: true}, {Key: b, Delete: true}}
				}
				if err := e.Apply(ctx, ops...); err != nil {
					t.Errorf("Apply = %v", err)
					return
				}
			}
		})
	}
	var names []string
	before := ""
	for n := range 5 {
		name := filepath.Join(dir, fmt.Sprint(n))
		write(t, e, name, before)
		before, names = name, append(names, name)
	}
	close(stop)
	all.Wait()
	for n := range names {
		got := restored(t, names[:n+1]...)
		for k, v := range got {
			if twin, ok := got[key(k.Part, string("ba"[k.Sub[0]-'a'])+k.Sub[1:])]; !ok || twin != v {
				t.Errorf("backup %d: %q is %q and its twin %q", n, k, v, twin)
			}
		}
	}
	name := filepath.Join(dir, "last")
	write(t, e, name, before)
	if got, want := restored(t, append(names, name)...), records(t, e); !maps.Equal(got, want) {
		t.Errorf("six backups make %d records, want %d, or others", len(got), len(want))
	}
}

// small is a file of some hundred bytes.
func small(t testing.TB) []byte {
	t.Helper()
	e := openEngine(t)
	put(t, e, store.Op{Key: key("a", "one"), Value: []byte("first")}, store.Op{Key: key("a", "two"), Value: []byte("second"), Expires: start.Add(time.Hour)})
	var b bytes.Buffer
	if _, err := backup.Write(ctx, &b, e, backup.Options{Now: now, Rand: bytes.NewReader(make([]byte, 16))}); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// drain reads a file to its end.
func drain(b []byte) (n int, err error) {
	r, err := backup.NewReader(bytes.NewReader(b))
	for ; err == nil; n++ {
		_, _, err = r.Next()
	}
	if errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return n - 1, nil
	}
	return n, err
}

func TestEachTruncationIsFoundOut(t *testing.T) {
	whole := small(t)
	if n, err := drain(whole); n != 2 || err != nil {
		t.Fatalf("the whole file = %d records, %v", n, err)
	}
	for n := range whole {
		if _, err := drain(whole[:n]); !errors.Is(err, backup.ErrCut) {
			t.Errorf("the first %d of %d bytes = %v, want ErrCut", n, len(whole), err)
		}
		_, _, err := backup.Last(bytes.NewReader(whole), int64(n))
		if !errors.Is(err, backup.ErrCut) {
			t.Errorf("Last of the first %d of %d bytes = %v, want ErrCut", n, len(whole), err)
		}
	}
}

func TestEachFlippedBitIsFoundOut(t *testing.T) {
	whole := small(t)
	for i := range whole {
		for bit := range 8 {
			b := bytes.Clone(whole)
			b[i] ^= 1 << bit
			_, err := drain(b)
			if !errors.Is(err, backup.ErrDamaged) && !errors.Is(err, backup.ErrNotBackup) && !errors.Is(err, backup.ErrNewer) && !errors.Is(err, backup.ErrCut) {
				t.Fatalf("with bit %d of byte %d flipped = %v", bit, i, err)
			}
		}
	}
}

func TestOtherFilesAreNamedForWhatTheyAre(t *testing.T) {
	whole := small(t)
	newer := bytes.Clone(whole)
	binary.BigEndian.PutUint32(newer[12:], 2)
	header := func(old, text string) []byte { return remade(t, whole, old, text) }
	tests := []struct {
		name string
		file []byte
		want error
		says string
	}{
		{"empty", nil, backup.ErrCut, "it is empty"},
		{"something else", []byte("PK\x03\x04 and more of it"), backup.ErrNotBackup, ""},
		{"a short something else", []byte("souks"), backup.ErrNotBackup, ""},
		{"a newer layout", newer, backup.ErrNewer, "layout 2, this program knows 1"},
		{"a newer store", header(fmt.Sprintf(`"format":%d`, store.Format), fmt.Sprintf(`"format":%d`, store.Format+7)), backup.ErrNewer, fmt.Sprintf("store of format %d, this program knows %d", store.Format+7, store.Format)},
		{"a header with more in it", header(`"base":true`, `"more":true`), backup.ErrDamaged, "header"},
		{"a header that builds on a file of no time", header(`"base":true`, `"base":true,"since":{"id":"`+strings.Repeat("0", 32)+`","sha256":"`+strings.Repeat("0", 64)+`"}`), backup.ErrDamaged, "header"},
		{"a full one with a key that is gone", withGone(whole, []byte{3, 'P', 1, 'a', 0}), backup.ErrDamaged, "gone"},
		{"bytes behind the end", append(bytes.Clone(whole), 0), backup.ErrDamaged, "behind its end"},
		{"two files in one", append(bytes.Clone(whole), whole...), backup.ErrDamaged, "behind its end"},
	}
	for _, test := range tests {
		if _, err := drain(test.file); !errors.Is(err, test.want) || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s = %v, want %v with %q", test.name, err, test.want, test.says)
		}
	}
}

func TestSaveLeavesAWholeFileOrNone(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "file")
	left := func() (names []string) {
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			names = append(names, e.Name())
		}
		return names
	}
	whole, broken := small(t), errors.New("broken")
	writes := map[string]func(io.Writer) error{
		"an error":    func(w io.Writer) error { _, _ = w.Write(whole); return broken },
		"no end":      func(w io.Writer) error { _, err := w.Write(whole[:len(whole)-1]); return err },
		"no bytes":    func(w io.Writer) error { return nil },
		"other bytes": func(w io.Writer) error { _, err := w.Write([]byte("HTTP/1.1 500 and so on, for a while")); return err },
		"more bytes":  func(w io.Writer) error { _, err := w.Write(append(bytes.Clone(whole), whole...)); return err },
	}
	for what, write := range writes {
		if _, err := backup.Save(name, false, write); err == nil || len(left()) > 0 {
			t.Errorf("Save with %s = %v, and leaves %v", what, err, left())
		}
	}
	ok := func(w io.Writer) error { _, err := w.Write(whole); return err }
	if f, err := backup.Save(name, false, ok); err != nil || f.Size != int64(len(whole)) || len(left()) != 1 {
		t.Errorf("Save = %+v, %v, and leaves %v", f, err, left())
	}
	if _, err := backup.Save(name, false, ok); !errors.Is(err, os.ErrExist) {
		t.Errorf("Save over a file = %v, want ErrExist", err)
	}
	if _, err := backup.Save(name, true, writes["no end"]); !errors.Is(err, backup.ErrCut) {
		t.Errorf("Save of a file that is cut off = %v, want ErrCut", err)
	}
	if b, err := os.ReadFile(name); err != nil || !bytes.Equal(b, whole) {
		t.Errorf("a Save that failed has changed the file: %v", err)
	}
	if _, err := backup.Save(name, true, ok); err != nil {
		t.Errorf("Save in the place of a file = %v", err)
	}
	if err := os.WriteFile(name+backup.Partial, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := backup.Save(filepath.Join(dir, "file"), true, ok); err != nil || len(left()) != 1 {
		t.Errorf("Save with what a killed one has left = %v, and leaves %v", err, left())
	}
	other := filepath.Join(dir, "other")
	if err := os.WriteFile(other+backup.Partial, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := backup.Save(other, false, ok); !errors.Is(err, os.ErrExist) || !strings.Contains(err.Error(), "another backup writes there") {
		t.Errorf("Save while another writes = %v, want ErrExist", err)
	}
}

// full is a store that takes no writes.
type full struct{ store.Engine }

func (full) Mark(context.Context, [16]byte) error { return fmt.Errorf("mark: %w", store.ErrFull) }

func TestAFullDiskStillGetsABackup(t *testing.T) {
	e := openEngine(t)
	put(t, e, store.Op{Key: key("a", "one"), Value: []byte("first")})
	name := filepath.Join(t.TempDir(), "file")
	f := write(t, full{e}, name, "")
	if f.Header.Base || f.Records != 1 {
		t.Errorf("the backup says %+v, want one record and no base", f)
	}
	if got := restored(t, name); !maps.Equal(got, records(t, e)) {
		t.Errorf("it makes %v", got)
	}
}

// Who is asked before the first byte may say no, also to a backup that has no records.
func TestABackupThatMayNotBeginIsEmpty(t *testing.T) {
	e := openEngine(t)
	put(t, e, store.Op{Key: key("a", "one"), Value: []byte("first")})
	name := filepath.Join(t.TempDir(), "full")
	write(t, e, name, "")
	h, ref, err := last(name)
	if err != nil {
		t.Fatal(err)
	}
	no := errors.New("no")
	for what, o := range map[string]backup.Options{
		"a full one":                 {},
		"one since which is nothing": {Since: &ref, SinceBegun: h.Begun},
	} {
		asked := 0
		o.Now, o.Begin = now, func(backup.Header) error { asked++; return no }
		var file bytes.Buffer
		if _, err := backup.Write(ctx, &file, e, o); !errors.Is(err, no) || asked != 1 || file.Len() > 0 {
			t.Errorf("%s: Write = %v after %d questions, with %d bytes written: want the answer to one, and none", what, err, asked, file.Len())
		}
	}
}

// made is a store of so many records that are made as they are asked for.
type made struct{ n int }

func (made) Mark(context.Context, [16]byte) error { return nil }
func (made) DumpSince(context.Context, [16]byte, func(store.Item, bool) error) error {
	return store.ErrNoMark
}

func (m made) Dump(_ context.Context, emit func(store.Item) error) error {
	value := make([]byte, 1000)
	for i := range m.n {
		binary.BigEndian.PutUint64(value, uint64(i))
		if err := emit(store.Item{Key: key("made", fmt.Sprint(i)), Value: value}); err != nil {
			return err
		}
	}
	return nil
}

// A file of 80 MB passes through a few MB of memory.
func TestFilesAreNotHeldInMemory(t *testing.T) {
	const n, most = 80_000, 24 << 20
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	out, in := io.Pipe()
	go func() {
		_, err := backup.Write(ctx, in, made{n}, backup.Options{})
		in.CloseWithError(err)
	}()
	before := heap()
	r, err := backup.NewReader(out)
	if err != nil {
		t.Fatal(err)
	}
	read := 0
	for {
		it, _, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if binary.BigEndian.Uint64(it.Value) != uint64(read) {
			t.Fatalf("record %d is %x", read, it.Value[:8])
		}
		if read++; read%20_000 == 0 {
			if now := heap(); now > before+most {
				t.Errorf("after %d records the heap has grown by %d MB", read, (now-before)>>20)
			}
		}
	}
	if read != n {
		t.Errorf("%d records were read, want %d", read, n)
	}
}
