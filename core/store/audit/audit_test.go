package audit_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/souk-market/souk/core/store/audit"
)

func open(t *testing.T, o audit.Options) *audit.Log {
	t.Helper()
	l, err := audit.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

func appendOne(t *testing.T, l *audit.Log, e audit.Entry) {
	t.Helper()
	if e.Kind == "" {
		e.Kind = audit.Started
	}
	if e.Actor == "" {
		e.Actor = audit.System
	}
	if err := l.Append(t.Context(), e); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, dir string) (all []audit.Entry) {
	t.Helper()
	for e, err := range audit.Read(dir) {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, e)
	}
	return all
}

func TestEntryReadsBackAsItWasWritten(t *testing.T) {
	dir := t.TempDir()
	now := time.Date(2026, 11, 28, 12, 15, 0, 123_456_789, time.UTC)
	l := open(t, audit.Options{Dir: dir, Now: func() time.Time { return now }})
	want := audit.Entry{
		Kind: audit.FamilyRevoked, Actor: audit.Device, Name: "n", Address: "192.0.2.1", Account: "alice@example.com",
		Subject: audit.ID{1}, Client: audit.ID{2}, Family: audit.ID{3}, Item: 1000002, Epoch: 7, Until: now.Add(time.Hour).Truncate(time.Millisecond),
		Detail: map[string]string{"why": "refresh token reused <&>"},
	}
	appendOne(t, l, want)
	appendOne(t, l, audit.Entry{Kind: audit.SignedOut, Epoch: 8})
	all := read(t, dir)
	if len(all) != 2 {
		t.Fatalf("read %d entries, want 2", len(all))
	}
	got := all[0]
	seq, head, at := l.Last()
	if seq != 2 || head != all[1].Hash || !at.Equal(all[1].Time) {
		t.Errorf("Last() = %d, %v, %v, want those of the newest entry %+v", seq, head, at, all[1])
	}
	want.Seq, want.Time, want.At, want.Hash = 1, now.Truncate(time.Millisecond), got.At, got.Hash
	if fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", want) {
		t.Errorf("read\n%+v, want\n%+v", got, want)
	}
}

func TestConcurrentAppendersShareSyncsAndKeepTheirOrder(t *testing.T) {
	const callers, each = 64, 20
	dir := t.TempDir()
	var mu sync.Mutex
	syncs := 0
	l := open(t, audit.Options{Dir: dir, Segment: 32 << 10, Sync: func(f *os.File) error {
		mu.Lock()
		defer mu.Unlock()
		syncs++
		return f.Sync()
	}})
	var wg sync.WaitGroup
	for c := range callers {
		wg.Go(func() {
			for i := range each {
				if err := l.Append(context.Background(), audit.Entry{Kind: audit.SignedIn, Actor: audit.Device, Item: uint64(i), Epoch: uint32(c)}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	next := map[uint32]uint64{}
	all := read(t, dir)
	for i, e := range all {
		if e.Seq != uint64(i+1) || e.Item != next[e.Epoch] {
			t.Fatalf("entry %d of caller %d has the number %d and stands at %d", e.Item, e.Epoch, e.Seq, i)
		}
		next[e.Epoch]++
	}
	if len(all) != callers*each {
		t.Errorf("read %d entries, want %d", len(all), callers*each)
	}
	if syncs >= callers*each/2 {
		t.Errorf("%d syncs for %d entries: neighbours don't share them", syncs, callers*each)
	}
	r, err := audit.Verify(dir)
	if err != nil || r.Segments < 2 || r.Entries != callers*each {
		t.Errorf("Verify = %+v, %v", r, err)
	}
	names := segmentNames(t, dir)
	if !slices.IsSorted(names) || len(names) != r.Segments {
		t.Errorf("segments %v", names)
	}
}

// However many large entries wait, a write has some megabytes: more than fits beside a
// full segment could not be read again.
func TestLargeEntriesAreWrittenInPieces(t *testing.T) {
	const callers, most = 48, 32 << 20
	entered, gate := make(chan struct{}), make(chan struct{})
	var held atomic.Bool
	var size, largest int64 // the committer's
	l := open(t, audit.Options{Dir: t.TempDir(), Segment: 256 << 20, Sync: func(f *os.File) error {
		if held.Swap(false) {
			close(entered)
			<-gate
		}
		if info, err := f.Stat(); err == nil && info.Mode().IsRegular() {
			size, largest = info.Size(), max(largest, info.Size()-size)
		}
		return nil
	}})
	appendOne(t, l, audit.Entry{})
	held.Store(true)
	text := strings.Repeat("\x01", 150<<10) // six times as long in JSON
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := l.Append(context.Background(), audit.Entry{Kind: audit.Started, Actor: audit.System}); err != nil {
			t.Error(err)
		}
	})
	<-entered
	for range callers {
		wg.Go(func() {
			if err := l.Append(context.Background(), audit.Entry{Kind: audit.PersonChanged, Actor: audit.Admin, Detail: map[string]string{"change": text}}); err != nil {
				t.Error(err)
			}
		})
	}
	for l.Queued() < callers {
		runtime.Gosched()
	}
	close(gate)
	wg.Wait()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if largest > most {
		t.Errorf("the largest write has %d bytes, want %d at most", largest, most)
	}
}

func segmentNames(t *testing.T, dir string) (names []string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.log"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		names = append(names, filepath.Base(f))
	}
	return names
}

func TestLogGoesOnAfterARestart(t *testing.T) {
	dir := t.TempDir()
	for i := range 3 {
		l := open(t, audit.Options{Dir: dir})
		if seq, _, _ := l.Last(); seq != uint64(i) {
			t.Errorf("start %d: last entry is %d", i, seq)
		}
		appendOne(t, l, audit.Entry{Account: strings.Repeat("x", i+1)})
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if r, err := audit.Verify(dir); err != nil || r.Entries != 3 || r.Segments != 1 {
		t.Errorf("Verify = %+v, %v, want 3 entries in 1 segment", r, err)
	}
}
