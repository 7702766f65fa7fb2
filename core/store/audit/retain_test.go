package audit_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/souk-market/souk/core/store/audit"
)

// clock is a time that a test moves.
type clock struct{ at atomic.Int64 }

func newClock() *clock {
	c := new(clock)
	c.at.Store(time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC).UnixNano())
	return c
}

func (c *clock) now() time.Time          { return time.Unix(0, c.at.Load()) }
func (c *clock) advance(d time.Duration) { c.at.Add(int64(d)) }

func TestSegmentBeginsWithEachDay(t *testing.T) {
	dir, c := t.TempDir(), newClock()
	l := open(t, audit.Options{Dir: dir, Now: c.now})
	for range 3 {
		appendOne(t, l, audit.Entry{})
		appendOne(t, l, audit.Entry{})
		c.advance(24 * time.Hour)
	}
	want := []string{"000001-20261128T120000Z.log", "000002-20261129T120000Z.log", "000003-20261130T120000Z.log"}
	if names := segmentNames(t, dir); !slices.Equal(names, want) {
		t.Errorf("segments %v, want %v", names, want)
	}
}

func TestOldSegmentsAreDroppedAndTheRestStillVerifies(t *testing.T) {
	dir, c := t.TempDir(), newClock()
	o := audit.Options{Dir: dir, Now: c.now, Keep: 5 * 24 * time.Hour}
	l := open(t, o)
	for range 20 {
		appendOne(t, l, audit.Entry{})
		c.advance(24 * time.Hour)
	}
	all := read(t, dir)
	if oldest := c.now().Sub(all[0].Time); oldest > 8*24*time.Hour || oldest < 5*24*time.Hour {
		t.Errorf("the oldest entry is of %v ago, want those of 5 days, and no more than whole segments beside them", oldest)
	}
	r, err := audit.Verify(dir)
	if err != nil || r.From == (audit.Hash{}) || r.First != all[0].Seq || r.Last != all[len(all)-1].Seq {
		t.Errorf("Verify = %+v, %v", r, err)
	}
	dropped := uint64(0)
	for _, e := range all {
		if e.Kind == audit.SegmentsDropped {
			last, err := strconv.ParseUint(e.Detail["last"], 10, 64)
			if err != nil || len(e.Detail["head"]) != 64 {
				t.Errorf("dropping was written down as %+v", e)
			}
			dropped = last
		}
	}
	if first, _, _ := cutName(segmentNames(t, dir)[0]); first != dropped+1 {
		t.Errorf("the oldest segment is %d, and the newest entry says that those up to %d were dropped", first, dropped)
	}
	if s := l.Stats(); s.Segments != len(segmentNames(t, dir)) || s.Bytes != bytesOf(t, dir) {
		t.Errorf("Stats = %+v, and there are %d segments of %d bytes", s, len(segmentNames(t, dir)), bytesOf(t, dir))
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l = open(t, o)
	appendOne(t, l, audit.Entry{})
	if r, err := audit.Verify(dir); err != nil || r.Last <= all[len(all)-1].Seq {
		t.Errorf("after a restart: Verify = %+v, %v", r, err)
	}
}

// A head that was kept elsewhere says that all of then is still there.
func TestVerifyLooksForHeadsThatWereKept(t *testing.T) {
	dir, c := t.TempDir(), newClock()
	l := open(t, audit.Options{Dir: dir, Now: c.now})
	var heads []audit.Hash
	for range 3 {
		for range 2 {
			appendOne(t, l, audit.Entry{})
			heads = append(heads, l.Stats().Head)
		}
		c.advance(24 * time.Hour)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if r, err := audit.Verify(dir, heads...); err != nil || r.Missing != nil || r.Head != heads[5] {
		t.Errorf("Verify with all heads of the log = %+v, %v", r, err)
	}
	names := segmentNames(t, dir)
	newest := filepath.Join(dir, names[2])
	b, err := os.ReadFile(newest)
	if err != nil {
		t.Fatal(err)
	}
	entries := slices.Collect(func(yield func(audit.Position) bool) {
		for e := range audit.ReadSegment(names[2], b) {
			yield(e.At)
		}
	})
	lay(t, dir, names[2], b[:entries[1].Offset]) // the last entry is cut off, as no torn write does
	if r, err := audit.Verify(dir); err != nil || r.Torn != 0 {
		t.Errorf("Verify of what is left = %+v, %v: nothing inside tells", r, err)
	}
	if r, err := audit.Verify(dir, heads...); !errors.Is(err, audit.ErrDamaged) || !slices.Equal(r.Missing, heads[5:]) {
		t.Errorf("Verify with the heads of before = %+v, %v, want the last one missing", r, err)
	}
}

func TestLogStaysBelowItsSize(t *testing.T) {
	dir := t.TempDir()
	l := open(t, audit.Options{Dir: dir, Segment: 2 << 10, Size: 10 << 10})
	for range 200 {
		appendOne(t, l, audit.Entry{Account: "somebody@example.com"})
		if n := bytesOf(t, dir); n > 13<<10 {
			t.Fatalf("the log has %d bytes, want 10 KiB and a segment at most", n)
		}
	}
	if r, err := audit.Verify(dir); err != nil || r.Entries < 20 {
		t.Errorf("Verify = %+v, %v", r, err)
	}
}

func cutName(name string) (number uint64, rest string, err error) {
	number, err = strconv.ParseUint(name[:6], 10, 64)
	return number, name[6:], err
}

func bytesOf(t *testing.T, dir string) (sum int64) {
	t.Helper()
	for _, name := range segmentNames(t, dir) {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		sum += info.Size()
	}
	return sum
}

var errDisk = errors.New("the disk is broken")

// After a sync that failed nobody knows what the disk holds, and a later one that
// succeeds proves nothing.
func TestFailedSyncStopsTheLogUntilARestart(t *testing.T) {
	dir := t.TempDir()
	var broken atomic.Bool
	o := audit.Options{Dir: dir, Sync: func(f *os.File) error {
		if broken.Load() {
			return errDisk
		}
		return f.Sync()
	}}
	l := open(t, o)
	appendOne(t, l, audit.Entry{Account: "kept"})
	_, head, _ := l.Last()
	broken.Store(true)
	lost := audit.Entry{Kind: audit.Started, Actor: audit.System, Account: "lost"}
	if err := l.Append(t.Context(), lost); !errors.Is(err, audit.ErrStopped) || !errors.Is(err, errDisk) {
		t.Errorf("Append with a failing sync: %v", err)
	}
	broken.Store(false)
	if err := l.Append(t.Context(), lost); !errors.Is(err, audit.ErrStopped) {
		t.Errorf("Append after a failed sync: %v, want that it stays stopped", err)
	}
	if s := l.Stats(); !s.Stopped || s.Failed != 2 || s.Seq != 1 || s.Head != head {
		t.Errorf("Stats = %+v", s)
	}
	if all := read(t, dir); len(all) != 1 || all[0].Account != "kept" {
		t.Errorf("read %+v, want the one that was acknowledged", all)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l = open(t, o)
	appendOne(t, l, audit.Entry{Account: "again"})
	if r, err := audit.Verify(dir); err != nil || r.Entries != 2 {
		t.Errorf("after a restart: Verify = %+v, %v", r, err)
	}
}

func TestFailedWriteStopsTheLog(t *testing.T) {
	dir := t.TempDir()
	l := open(t, audit.Options{Dir: dir})
	appendOne(t, l, audit.Entry{})
	l.Unplug()
	for range 2 {
		if err := l.Append(t.Context(), audit.Entry{Kind: audit.Started, Actor: audit.System}); !errors.Is(err, audit.ErrStopped) {
			t.Errorf("Append to a file that can't be written: %v", err)
		}
	}
}

func TestWantOfRoomIsNoFailure(t *testing.T) {
	errFull := errors.New("full")
	var full atomic.Bool
	l := open(t, audit.Options{Dir: t.TempDir(), Room: func() error {
		if full.Load() {
			return errFull
		}
		return nil
	}})
	appendOne(t, l, audit.Entry{})
	full.Store(true)
	if err := l.Append(t.Context(), audit.Entry{Kind: audit.Started, Actor: audit.System}); !errors.Is(err, errFull) || errors.Is(err, audit.ErrStopped) {
		t.Errorf("Append without room: %v", err)
	}
	full.Store(false)
	appendOne(t, l, audit.Entry{})
	if s := l.Stats(); s.Seq != 2 || s.Failed != 1 || s.Stopped {
		t.Errorf("Stats = %+v", s)
	}
}

func TestReadersMayComeWhileTheLogIsWritten(t *testing.T) {
	dir := t.TempDir()
	l := open(t, audit.Options{Dir: dir, Segment: 4 << 10, Size: 32 << 10})
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				last := uint64(0)
				for e, err := range audit.Read(dir) {
					if err != nil {
						t.Errorf("while it is written: %v", err)
						return
					}
					if last != 0 && e.Seq <= last {
						t.Errorf("entry %d comes behind entry %d", e.Seq, last)
						return
					}
					last = e.Seq
				}
				if _, damage, err := audit.Search(t.Context(), dir, audit.Query{Limit: 10}); err != nil || len(damage) > 0 {
					t.Errorf("Search while it is written: %v, %v", damage, err)
					return
				}
			}
		})
	}
	for range 400 {
		appendOne(t, l, audit.Entry{Account: "somebody@example.com"})
	}
	close(stop)
	wg.Wait()
}

// The name of a file has whole seconds, and an entry milliseconds.
func TestSearchSinceATimeWithinASecond(t *testing.T) {
	dir, c := t.TempDir(), newClock()
	l := open(t, audit.Options{Dir: dir, Now: c.now, Segment: 72})
	for range 4 { // each in a segment of its own
		appendOne(t, l, audit.Entry{})
		c.advance(200 * time.Millisecond)
	}
	found, _, err := audit.Search(t.Context(), dir, audit.Query{Since: c.now().Add(-600 * time.Millisecond), Limit: 10})
	if err != nil || len(found) != 3 {
		t.Errorf("Search = %d entries, %v, want the 3 of that time", len(found), err)
	}
}

func TestSearchFindsTheNewestFirst(t *testing.T) {
	dir, c := t.TempDir(), newClock()
	l := open(t, audit.Options{Dir: dir, Now: c.now, Segment: 1 << 10})
	begun := c.now()
	for i := range 40 {
		e := audit.Entry{Kind: audit.SignedIn, Account: "alice@example.com", Family: audit.ID{byte(i % 2), 1}}
		if i%4 == 0 {
			e = audit.Entry{Kind: audit.FamilyRevoked, Subject: audit.ID{7}, Family: audit.ID{9}}
		}
		appendOne(t, l, e)
		c.advance(time.Minute)
	}
	for _, q := range []struct {
		what  string
		query audit.Query
		want  []uint64
	}{
		{"all", audit.Query{Limit: 3}, []uint64{40, 39, 38}},
		{"of a kind", audit.Query{Kind: audit.FamilyRevoked, Limit: 2}, []uint64{37, 33}},
		{"of an account", audit.Query{Account: "alice@example.com", Limit: 3, Before: 38}, []uint64{36, 35, 34}},
		{"of a subject", audit.Query{Account: "nobody", Subject: audit.ID{7}, Limit: 2, Before: 30}, []uint64{29, 25}},
		{"of a family", audit.Query{Family: audit.ID{1, 1}, Limit: 2}, []uint64{40, 38}},
		{"since", audit.Query{Since: begun.Add(37 * time.Minute), Limit: 10}, []uint64{40, 39, 38}},
		{"the oldest", audit.Query{Before: 3, Limit: 10}, []uint64{2, 1}},
		{"none", audit.Query{Kind: audit.KeyRotated, Limit: 10}, nil},
	} {
		found, damage, err := audit.Search(t.Context(), dir, q.query)
		if err != nil || len(damage) > 0 {
			t.Fatalf("%s: %v, %v", q.what, damage, err)
		}
		var got []uint64
		for _, e := range found {
			got = append(got, e.Seq)
		}
		if !slices.Equal(got, q.want) {
			t.Errorf("%s: entries %v, want %v", q.what, got, q.want)
		}
	}
}

// An entry that can't be written down is refused by itself: it stops nobody else's.
func TestEntryOfAnImpossibleTimeIsRefused(t *testing.T) {
	l := open(t, audit.Options{Dir: t.TempDir()})
	err := l.Append(t.Context(), audit.Entry{Kind: audit.FamilyRevoked, Actor: audit.System, Until: time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)})
	if err == nil || errors.Is(err, audit.ErrStopped) {
		t.Errorf("Append = %v, want it refused", err)
	}
	appendOne(t, l, audit.Entry{})
}

func TestEntryThatIsTooLongIsRefused(t *testing.T) {
	l := open(t, audit.Options{Dir: t.TempDir()})
	long := string(make([]byte, 200<<10))
	if err := l.Append(t.Context(), audit.Entry{Kind: audit.Started, Actor: audit.System, Account: long}); err == nil {
		t.Error("an entry of 200 KiB was taken")
	}
	if err := l.Append(t.Context(), audit.Entry{Actor: audit.System}); err == nil {
		t.Error("an entry without a kind was taken")
	}
	// What is taken fits, whatever it is made of.
	appendOne(t, l, audit.Entry{Account: long[:150<<10]})
}
