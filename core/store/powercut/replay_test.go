package powercut

import (
	"bytes"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
)

const images = 300

// lines is a log in the making.
type lines []Event

func (l *lines) link(inode uint64, name string) {
	*l = append(*l, Event{Kind: Link, Dir: root, Name: name, Inode: inode})
}

func (l *lines) write(inode uint64, offset int64, data []byte) {
	*l = append(*l, Event{Kind: Write, Inode: inode, Offset: offset, Data: data})
}

func (l *lines) resize(inode uint64, size int64) {
	*l = append(*l, Event{Kind: Resize, Inode: inode, Size: size})
}

func (l *lines) sync(inode uint64) { *l = append(*l, Event{Kind: Sync, Inode: inode}) }

func (l *lines) syncDir() { *l = append(*l, Event{Kind: SyncDir, Inode: root}) }

// bytesOf returns a file of an image, and false if it has no such file.
func bytesOf(m *Image, name string) ([]byte, bool) {
	c, ok := m.files[name]
	b := make([]byte, c.size)
	c.read(0, b)
	return b, ok
}

// count makes images behind the last event and counts those in which something is so.
func count(model Model, l lines, so func(m *Image) bool) (n int) {
	r := NewReplay(model, l)
	r.Advance(len(l), func([]byte) {})
	random := rand.New(rand.NewPCG(1, uint64(model)))
	for range images {
		if so(r.Image(random)) {
			n++
		}
	}
	return n
}

func always(t *testing.T, model Model, l lines, what string, so func(m *Image) bool) {
	t.Helper()
	if n := count(model, l, so); n != images {
		t.Errorf("%v: %s in %d of %d images, want all", model, what, n, images)
	}
}

func sometimes(t *testing.T, model Model, l lines, what string, so func(m *Image) bool) {
	t.Helper()
	if n := count(model, l, so); n == 0 || n == images {
		t.Errorf("%v: %s in %d of %d images, want some", model, what, n, images)
	}
}

func never(t *testing.T, model Model, l lines, what string, so func(m *Image) bool) {
	t.Helper()
	if n := count(model, l, so); n != 0 {
		t.Errorf("%v: %s in %d of %d images, want none", model, what, n, images)
	}
}

func has(name string, data []byte) func(*Image) bool {
	return func(m *Image) bool {
		b, ok := bytesOf(m, name)
		return ok && bytes.Equal(b, data)
	}
}

func exists(name string) func(*Image) bool {
	return func(m *Image) bool { _, ok := bytesOf(m, name); return ok }
}

var (
	before = bytes.Repeat([]byte("b"), 3*page)
	after  = bytes.Repeat([]byte("a"), 3*page)
)

func TestWhatWasSyncedIsThere(t *testing.T) {
	var l lines
	l.link(5, "f")
	l.write(5, 0, before)
	l.sync(5)
	for _, model := range []Model{Ordered, Named} {
		always(t, model, l, "a synced file", has("f", before))
	}
	sometimes(t, Strict, l, "the name of a file whose directory was not synced", exists("f"))
	l.syncDir()
	always(t, Strict, l, "a synced file in a synced directory", has("f", before))
}

func TestWhatWasNotSyncedMayBeTorn(t *testing.T) {
	var l lines
	l.link(5, "f")
	l.write(5, 0, before)
	l.sync(5)
	l.syncDir()
	l.write(5, 0, after)
	for _, model := range []Model{Ordered, Named, Strict} {
		sometimes(t, model, l, "an unsynced write", has("f", after))
		sometimes(t, model, l, "no trace of it", has("f", before))
		torn := func(unit int) func(m *Image) bool {
			return func(m *Image) bool {
				b, _ := bytesOf(m, "f")
				for at := 0; at+unit <= len(b); at += unit {
					if b[at] != b[0] {
						return true
					}
				}
				return false
			}
		}
		sometimes(t, model, l, "a write that is torn into pages", torn(page))
		sometimes(t, model, l, "a page that is torn into sectors", func(m *Image) bool {
			b, _ := bytesOf(m, "f")
			return torn(sector)(&Image{files: map[string]content{"f": {page, map[int64][]byte{0: b[:page]}}}})
		})
		never(t, model, l, "a torn sector", func(m *Image) bool {
			b, _ := bytesOf(m, "f")
			for at := 0; at < len(b); at += sector {
				if s := b[at : at+sector]; !bytes.Equal(s, after[:sector]) && !bytes.Equal(s, before[:sector]) {
					return true
				}
			}
			return false
		})
	}
}

func TestWritesAreReordered(t *testing.T) {
	var l lines
	l.link(5, "f")
	l.write(5, 0, before)
	l.sync(5)
	l.syncDir()
	l.write(5, 0, after[:page])
	l.write(5, page, after[:page])
	for _, model := range []Model{Ordered, Named, Strict} {
		sometimes(t, model, l, "the second write without the first", func(m *Image) bool {
			b, _ := bytesOf(m, "f")
			return b[page] == 'a' && b[0] == 'b'
		})
	}
}

func TestOrderedAppendsFromTheFront(t *testing.T) {
	var l lines
	l.link(5, "f")
	l.sync(5)
	l.write(5, 0, after[:page])
	l.write(5, page, after[:page])
	l.write(5, 2*page, after[:page])
	whole := func(m *Image) bool {
		b, _ := bytesOf(m, "f")
		return bytes.Equal(b, after[:len(b)])
	}
	always(t, Ordered, l, "an append without a hole", whole)
	sometimes(t, Ordered, l, "a part of the appends", func(m *Image) bool {
		b, _ := bytesOf(m, "f")
		return len(b) > 0 && len(b) < len(after)
	})
	sometimes(t, Strict, append(l[:1:1], append(lines{{Kind: SyncDir, Inode: root}}, l[1:]...)...), "an append without a hole", whole)
}

func TestOrderedKeepsTheOrderOfNames(t *testing.T) {
	var l lines
	l.link(5, "first")
	l.link(6, "second")
	l.resize(5, 10)
	for _, model := range []Model{Named, Strict} {
		sometimes(t, model, l, "the second name without the first", func(m *Image) bool { return exists("second")(m) && !exists("first")(m) })
	}
	never(t, Ordered, l, "the second name without the first", func(m *Image) bool { return exists("second")(m) && !exists("first")(m) })
	never(t, Ordered, l, "the size without the name before it", func(m *Image) bool { b, _ := bytesOf(m, "first"); return len(b) == 10 && !exists("second")(m) })
	l.sync(5) // its size came last
	always(t, Ordered, l, "all names before what was synced", func(m *Image) bool { return exists("first")(m) && exists("second")(m) })
}

func TestRenameNeverLeavesNothing(t *testing.T) {
	var l lines
	l.link(5, "f")
	l.write(5, 0, before)
	l.sync(5)
	l.syncDir()
	l.link(6, "f.new")
	l.write(6, 0, after)
	l.sync(6)
	l = append(l, Event{Kind: Rename, Dir: root, Name: "f.new", ToDir: root, To: "f"})
	for _, model := range []Model{Ordered, Named, Strict} {
		always(t, model, l, "the old file or the new one", func(m *Image) bool { return has("f", before)(m) || has("f", after)(m) })
		sometimes(t, model, l, "the new one", has("f", after))
	}
	l.syncDir()
	for _, model := range []Model{Ordered, Named, Strict} {
		always(t, model, l, "the new file behind a sync of the directory", has("f", after))
	}
}

// A log that is emptied and then removed, as Badger does it.
func TestCutBetweenTruncateAndRemove(t *testing.T) {
	var l lines
	l.link(5, "log")
	l.write(5, 0, before)
	l.sync(5)
	l.syncDir()
	l.resize(5, 0)
	l = append(l, Event{Kind: Unlink, Dir: root, Name: "log"})
	for _, model := range []Model{Ordered, Named, Strict} {
		sometimes(t, model, l, "an empty log", has("log", nil))
		sometimes(t, model, l, "a full log", has("log", before))
		sometimes(t, model, l, "no log", func(m *Image) bool { return !exists("log")(m) })
	}
}

func TestNotesComeInOrder(t *testing.T) {
	l := lines{{Kind: Note, Data: []byte("a")}, {Kind: Link, Dir: root, Name: "f", Inode: 5}, {Kind: Note, Data: []byte("b")}}
	var notes []byte
	r := NewReplay(Ordered, l)
	take := func(note []byte) { notes = append(notes, note...) }
	if r.Advance(2, take); string(notes) != "a" {
		t.Errorf("notes %q before the second, want a", notes)
	}
	if r.Advance(3, take); string(notes) != "ab" {
		t.Errorf("notes %q at the end, want ab", notes)
	}
}

func TestMaterialise(t *testing.T) {
	var l lines
	l.link(5, "f")
	l.write(5, 2*page+10, []byte("end"))
	l.sync(5)
	r := NewReplay(Ordered, l)
	r.Advance(len(l), func([]byte) {})
	dir := t.TempDir()
	if err := r.Image(rand.New(rand.NewPCG(1, 1))).Materialise(dir); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(dir, "f"))
	if err != nil || len(b) != 2*page+13 || string(b[2*page+10:]) != "end" || b[0] != 0 {
		t.Errorf("the file has %d bytes, %v, want %d that end in %q", len(b), err, 2*page+13, "end")
	}
}
