package audit_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"testing"

	"github.com/souk-market/souk/core/store/audit"
)

// written makes a log of n entries and returns its only segment and the entries.
func written(t testing.TB, n int) (name string, bytes []byte, entries []audit.Entry) {
	t.Helper()
	dir := t.TempDir()
	l, err := audit.Open(audit.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	for i := range n {
		if err := l.Append(t.Context(), audit.Entry{Kind: audit.SignedIn, Actor: audit.Device, Account: fmt.Sprintf("person-%d@example.com", i), Family: audit.ID{byte(i + 1)}}); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	for e, err := range audit.Read(dir) {
		if err != nil {
			t.Fatal(err)
		}
		entries = append(entries, e)
	}
	name = entries[0].At.Segment
	if bytes, err = os.ReadFile(filepath.Join(dir, name)); err != nil {
		t.Fatal(err)
	}
	return name, bytes, entries
}

// lay makes a directory of one segment.
func lay(t testing.TB, dir, name string, b []byte) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
		t.Fatal(err)
	}
}

func same(a, b audit.Entry) bool { return fmt.Sprintf("%+v", a) == fmt.Sprintf("%+v", b) }

func TestEveryTruncationYieldsWhatWasWholeAndNothingElse(t *testing.T) {
	name, whole, entries := written(t, 4)
	for n := range len(whole) + 1 {
		want := 0
		for want < len(entries) && end(entries, want, len(whole)) <= int64(n) {
			want++
		}
		var got []audit.Entry
		for e, err := range audit.ReadSegment(name, whole[:n]) {
			if err != nil {
				t.Fatalf("cut off after %d bytes: %v", n, err)
			}
			got = append(got, e)
		}
		if len(got) != want {
			t.Fatalf("cut off after %d bytes: %d entries, want %d", n, len(got), want)
		}
		for i, e := range got {
			if !same(e, entries[i]) {
				t.Fatalf("cut off after %d bytes: entry %d is %+v, want %+v", n, i, e, entries[i])
			}
		}
	}
}

// end is where an entry ends in its segment.
func end(entries []audit.Entry, i, size int) int64 {
	if i+1 < len(entries) {
		return entries[i+1].At.Offset
	}
	return int64(size)
}

func TestLogGoesOnFromEveryTruncation(t *testing.T) {
	name, whole, entries := written(t, 2)
	for n := 0; n <= len(whole); n += 7 {
		dir := t.TempDir()
		lay(t, dir, name, whole[:n])
		l, err := audit.Open(audit.Options{Dir: dir})
		if err != nil {
			t.Fatalf("cut off after %d bytes: %v", n, err)
		}
		if err := l.Append(t.Context(), audit.Entry{Kind: audit.Started, Actor: audit.System}); err != nil {
			t.Fatal(err)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		kept := uint64(0)
		for i := range entries {
			if end(entries, i, len(whole)) <= int64(n) {
				kept++
			}
		}
		if r, err := audit.Verify(dir); err != nil || r.Entries != kept+1 || r.Last != kept+1 || r.Torn != 0 || r.Breaks != 0 {
			t.Fatalf("cut off after %d bytes and gone on: %+v, %v, want %d entries", n, r, err, kept+1)
		}
	}
}

func TestEveryFlippedBitIsFoundWhereItIs(t *testing.T) {
	name, whole, entries := written(t, 3)
	for at := range whole {
		for bit := range 8 {
			b := bytes.Clone(whole)
			b[at] ^= 1 << bit
			hit := -1 // the header
			for i, e := range entries {
				if e.At.Offset <= int64(at) {
					hit = i
				}
			}
			place := int64(0)
			if hit >= 0 {
				place = entries[hit].At.Offset
			}
			var damage []*audit.DamageError
			next := 0
			for e, err := range audit.ReadSegment(name, b) {
				if d, ok := errors.AsType[*audit.DamageError](err); ok {
					damage = append(damage, d)
					continue
				} else if err != nil {
					t.Fatal(err)
				}
				if next == hit {
					next++
				}
				if next >= len(entries) || !same(e, entries[next]) {
					t.Fatalf("byte %d, bit %d flipped: read %+v, which was never written there", at, bit, e)
				}
				next++
			}
			if next == hit {
				next++
			}
			if next != len(entries) {
				t.Fatalf("byte %d, bit %d flipped: only %d entries beside the damaged one", at, bit, next)
			}
			if len(damage) != 1 || damage[0].Segment != name || damage[0].Offset != place {
				t.Fatalf("byte %d, bit %d flipped: %v, want one place at byte %d", at, bit, damage, place)
			}
		}
	}
}

func TestDamageIsLeftAndANewChainBegins(t *testing.T) {
	name, whole, entries := written(t, 3)
	for _, c := range []struct {
		what string
		at   int64
		last uint64 // that is known when the log goes on
	}{
		{"the header", 40, 3},
		{"an entry in the middle", entries[1].At.Offset + 60, 3},
		{"the newest entry", entries[2].At.Offset + 60, 2},
		{"the length of the newest entry", entries[2].At.Offset + 5, 2},
	} {
		dir := t.TempDir()
		b := bytes.Clone(whole)
		b[c.at] ^= 4
		lay(t, dir, name, b)
		var said bytes.Buffer
		l := open(t, audit.Options{Dir: dir, Log: slog.New(slog.NewTextHandler(&said, nil))})
		if !l.Stats().Broken {
			t.Errorf("%s: the log does not say that it is broken", c.what)
		}
		appendOne(t, l, audit.Entry{Account: "after"})
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		if now, err := os.ReadFile(filepath.Join(dir, name)); err != nil || !bytes.Equal(now, b) {
			t.Errorf("%s: the damaged segment was changed, %v", c.what, err)
		}
		if !bytes.Contains(said.Bytes(), []byte("level=ERROR")) || !bytes.Contains(said.Bytes(), []byte(name)) {
			t.Errorf("%s: the log line says %q", c.what, &said)
		}
		r, err := audit.Verify(dir)
		if !errors.Is(err, audit.ErrDamaged) || r.Damaged != 1 || r.Breaks != 1 || r.Last != c.last+2 {
			t.Errorf("%s: Verify = %+v, %v, want one damaged place, one break and entry %d", c.what, r, err, c.last+2)
		}
		var broken audit.Entry
		for e, err := range audit.Read(dir) {
			if err == nil && e.Kind == audit.ChainBroken {
				broken = e
			}
		}
		if broken.Seq != c.last+1 || broken.Detail["segment"] != name || broken.Detail["offset"] != strconv.FormatInt(r.Damage[0].Offset, 10) {
			t.Errorf("%s: the new chain begins with %+v", c.what, broken)
		}
		// The next start finds nothing new to complain about.
		l = open(t, audit.Options{Dir: dir})
		if s := l.Stats(); s.Broken || s.Seq != r.Last {
			t.Errorf("%s: the start after has %+v", c.what, s)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// Sectors of one write reach the disk in any order: one that is missing makes the
// write unfinished, also where something behind it is whole.
func TestWriteWithAMissingSectorIsCutOff(t *testing.T) {
	dir := t.TempDir()
	begun, hold := make(chan struct{}), make(chan struct{})
	first := true
	l := open(t, audit.Options{Dir: dir, Sync: func(f *os.File) error {
		if filepath.Ext(f.Name()) == ".log" && fileSize(t, f) > 72 && first {
			first = false
			close(begun)
			<-hold
		}
		return f.Sync()
	}})
	done := make(chan error)
	send := func(account string) {
		go func() {
			done <- l.Append(t.Context(), audit.Entry{Kind: audit.Started, Actor: audit.System, Account: account})
		}()
	}
	send("alone")
	<-begun
	for range 8 { // they wait together, and are written together
		send("together")
	}
	for queued := 0; queued < 8; queued = l.Queued() {
		runtime.Gosched()
	}
	close(hold)
	for range 9 {
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	all := read(t, dir)
	name := filepath.Join(dir, all[0].At.Segment)
	whole, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	gone := (all[1].At.Offset/512 + 1) * 512 // the second sector of what was written together
	clear(whole[gone : gone+512])
	if err := os.WriteFile(name, whole, 0o600); err != nil {
		t.Fatal(err)
	}
	l = open(t, audit.Options{Dir: dir})
	s := l.Stats()
	if s.Broken || s.Seq == 0 || s.Seq >= 9 || all[s.Seq-1].At.Offset >= gone {
		t.Errorf("after the loss of a sector the log goes on from %+v", s)
	}
	// The same loss in what had been synced before is damage.
	appendOne(t, l, audit.Entry{Account: "more"})
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	whole, err = os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	clear(whole[all[0].At.Offset+100 : all[0].At.Offset+130])
	if err := os.WriteFile(name, whole, 0o600); err != nil {
		t.Fatal(err)
	}
	if r, err := audit.Verify(dir); !errors.Is(err, audit.ErrDamaged) || r.Damage[0].Offset != all[0].At.Offset {
		t.Errorf("zeros in the first entry: Verify = %+v, %v", r, err)
	}
}

func fileSize(t *testing.T, f *os.File) int64 {
	t.Helper()
	info, err := f.Stat()
	if err != nil {
		t.Error(err)
		return 0
	}
	return info.Size()
}

func TestSegmentsThatAreMissingRenamedOrSwappedAreFound(t *testing.T) {
	dir := t.TempDir()
	l := open(t, audit.Options{Dir: dir, Segment: 600})
	for range 12 {
		appendOne(t, l, audit.Entry{Account: "somebody with a name that fills the segment soon"})
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	names := segmentNames(t, dir)
	if len(names) < 4 {
		t.Fatalf("%d segments, want 4 or more", len(names))
	}
	copied := func() string {
		to := t.TempDir()
		if err := os.CopyFS(to, os.DirFS(dir)); err != nil {
			t.Fatal(err)
		}
		return to
	}
	expect := func(what, dir string, damaged bool) {
		t.Helper()
		if r, err := audit.Verify(dir); errors.Is(err, audit.ErrDamaged) != damaged {
			t.Errorf("%s: Verify = %+v, %v, want damage %v", what, r, err, damaged)
		}
	}
	expect("untouched", dir, false)

	oldest := copied()
	if err := os.Remove(filepath.Join(oldest, names[0])); err != nil {
		t.Fatal(err)
	}
	expect("the oldest is missing, and was never dropped", oldest, true)

	middle := copied()
	if err := os.Remove(filepath.Join(middle, names[1])); err != nil {
		t.Fatal(err)
	}
	expect("one in the middle is missing", middle, true)

	swapped := copied()
	for i, name := range []string{names[2], names[1]} {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		lay(t, swapped, names[1+i], b)
	}
	expect("two have each other's names", swapped, true)
}

// What somebody has changed and given the right checksums is still not what the chain
// says.
func TestForgedEntryIsNotYielded(t *testing.T) {
	name, whole, entries := written(t, 3)
	dir := t.TempDir()
	lay(t, dir, name, audit.Forge(whole, entries[1].At.Offset, "person-1", "nobody-1"))
	var accounts []string
	var damage []error
	for e, err := range audit.Read(dir) {
		if err != nil {
			damage = append(damage, err)
			continue
		}
		accounts = append(accounts, e.Account)
	}
	if len(damage) != 1 || !errors.Is(damage[0], audit.ErrDamaged) || fmt.Sprint(accounts) != "[person-0@example.com person-2@example.com]" {
		t.Errorf("read %v, %v, want the two others and where the forged one stands", accounts, damage)
	}
}

func TestNewerFormatIsRefused(t *testing.T) {
	name, whole, _ := written(t, 1)
	dir := t.TempDir()
	b := bytes.Clone(whole)
	b[9] = 2
	b[71] ^= 0xFF // its checksum is another too
	lay(t, dir, name, b)
	if _, err := audit.Open(audit.Options{Dir: dir}); err == nil || !bytes.Contains([]byte(err.Error()), []byte("newer version")) {
		t.Errorf("Open of a newer format: %v", err)
	}
}

func TestSearchTellsOfDamageBesideWhatIsWhole(t *testing.T) {
	name, whole, entries := written(t, 3)
	dir := t.TempDir()
	b := bytes.Clone(whole)
	b[entries[1].At.Offset+70] ^= 1
	lay(t, dir, name, b)
	found, damage, err := audit.Search(t.Context(), dir, audit.Query{Limit: 10})
	if err != nil || len(found) != 2 || found[0].Seq != 3 || found[1].Seq != 1 || len(damage) != 1 || damage[0].Offset != entries[1].At.Offset {
		t.Errorf("Search = %+v, %v, %v", found, damage, err)
	}
}

// The name of a segment may reach the disk, and its size, before what is in it.
func TestSegmentThatWasNeverBegunIsRemoved(t *testing.T) {
	_, whole, entries := written(t, 2)
	for _, size := range []int{0, 10, 72, 600} {
		dir := t.TempDir()
		lay(t, dir, entries[0].At.Segment, whole)
		lay(t, dir, "000002-20991231T000000Z.log", make([]byte, size))
		if r, err := audit.Verify(dir); err != nil || r.Entries != 2 || r.Torn != size {
			t.Errorf("%d zeros: Verify = %+v, %v", size, r, err)
		}
		l := open(t, audit.Options{Dir: dir})
		appendOne(t, l, audit.Entry{})
		if r, err := audit.Verify(dir); err != nil || r.Entries != 3 || r.Torn != 0 || r.Segments != 1 {
			t.Errorf("%d zeros, gone on: Verify = %+v, %v", size, r, err)
		}
	}
}

func FuzzRead(f *testing.F) {
	name, whole, entries := written(f, 3)
	seedDamage(f, whole)
	f.Fuzz(func(t *testing.T, b []byte) {
		n, seq := 0, uint64(0)
		for e, err := range audit.ReadSegment(name, b) {
			if err != nil {
				if !errors.Is(err, audit.ErrDamaged) {
					t.Fatal(err)
				}
				continue
			}
			if e.Seq <= seq {
				t.Fatalf("entry %d comes behind entry %d", e.Seq, seq)
			}
			n, seq = n+1, e.Seq
		}
		if bytes.Equal(b, whole) && n != len(entries) {
			t.Fatalf("read %d entries, want %d", n, len(entries))
		}
	})
}

func FuzzOpen(f *testing.F) {
	name, whole, _ := written(f, 3)
	seedDamage(f, whole)
	f.Fuzz(func(t *testing.T, b []byte) {
		dir := t.TempDir()
		lay(t, dir, name, b)
		l, err := audit.Open(audit.Options{Dir: dir, Sync: func(*os.File) error { return nil }})
		if err != nil {
			return // of a newer format
		}
		before, _, _ := l.Last()
		if err := l.Append(t.Context(), audit.Entry{Kind: audit.Started, Actor: audit.System}); err != nil {
			t.Fatal(err)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		if r, err := audit.Verify(dir); r.Last != before+1 || err != nil && !errors.Is(err, audit.ErrDamaged) {
			t.Fatalf("gone on: %+v, %v", r, err)
		}
	})
}

func seedDamage(f *testing.F, whole []byte) {
	f.Add(whole)
	f.Add(whole[:len(whole)-3])
	f.Add(append(bytes.Clone(whole), whole[72:]...))
	f.Add([]byte{})
	f.Add(make([]byte, 600))
	flipped := bytes.Clone(whole)
	flipped[100] ^= 1
	f.Add(flipped)
}
