package badger_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/souk-market/souk/core/store/badger"
	"github.com/souk-market/souk/core/store/crashtest"
	"github.com/souk-market/souk/core/store/powercut"
)

// record runs writers over a recording filesystem: each process until so many
// acknowledgements, killed then, the next one in the same directory.
func record(t *testing.T, power bool, processes, acks int) []powercut.Event {
	t.Helper()
	mount := t.TempDir()
	recorder, err := powercut.Record(mount)
	if errors.Is(err, powercut.ErrNoMount) && os.Getenv("SOUK_CI") == "" {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer recorder.Unmount() // when something fails before the one below
	for session := range processes {
		w := writer{dir: filepath.Join(mount, "store"), power: power, tables: smallTables, session: session, notes: filepath.Join(mount, powercut.Notes)}
		child, _, stderr := w.start(t)
		until := recorder.Noted() + acks
		ended := make(chan struct{})
		go func() { _ = child.Wait(); close(ended) }()
		look := time.NewTicker(time.Millisecond)
		for running := true; running && recorder.Noted() < until; {
			select {
			case <-look.C:
			case <-ended:
				running = false
				t.Errorf("the writer ended by itself: %s", stderr)
			}
		}
		look.Stop()
		_ = child.Process.Kill()
		<-ended
	}
	events, err := recorder.Unmount()
	if err != nil {
		t.Fatal(err)
	}
	return events
}

// cut is one recording and how it is to be cut.
type cut struct {
	events []powercut.Event
	model  powercut.Model
	images int
	seed   uint64
}

// outcome counts what was found in the images.
type outcome struct {
	images, refused, lost, wrong int
	acknowledged                 int
	first                        []string // descriptions of what was wrong
}

func (o *outcome) String() string {
	return fmt.Sprintf("%d images: not to be opened %d, with lost writes %d, with something wrong %d", o.images, o.refused, o.lost, o.wrong)
}

func (o *outcome) bad() int { return o.refused + o.lost + o.wrong }

const imagesPerCut = 4

// run makes the images and opens the store in each of them.
func (c cut) run(t *testing.T) *outcome {
	t.Helper()
	var reports []crashtest.Report
	interesting := []int{} // events where names change: rotations, flushes, compactions
	for i, e := range c.events {
		switch e.Kind {
		case powercut.Note:
			reports = append(reports, note(t, e.Data))
		case powercut.Link, powercut.Unlink, powercut.Rename, powercut.Resize:
			interesting = append(interesting, i)
		}
	}
	history := crashtest.NewHistory(reports)
	random := rand.New(rand.NewPCG(c.seed, uint64(c.model)))
	at := make([]int, 0, c.images/imagesPerCut)
	for len(at) < cap(at) {
		i := random.IntN(len(c.events))
		if len(at)%2 == 0 {
			i = interesting[random.IntN(len(interesting))] + random.IntN(40)
		}
		at = append(at, min(i, len(c.events)))
	}
	var mu sync.Mutex
	all := &outcome{acknowledged: len(reports)}
	const workers = 2
	var running sync.WaitGroup
	for worker := range workers {
		mine := []int{}
		for i, p := range at {
			if i%workers == worker {
				mine = append(mine, p)
			}
		}
		seed := c.seed + uint64(worker) + 1
		running.Go(func() { c.work(t, mine, rand.New(rand.NewPCG(seed, uint64(c.model))), history, all, &mu) })
	}
	running.Wait()
	return all
}

func (c cut) work(t *testing.T, at []int, random *rand.Rand, history *crashtest.History, all *outcome, mu *sync.Mutex) {
	slices.Sort(at)
	replay := powercut.NewReplay(c.model, c.events)
	ledger := &crashtest.Ledger{}
	for _, p := range at {
		replay.Advance(p, func(data []byte) { ledger.Take(note(t, data)) })
		for range imagesPerCut {
			image := replay.Image(random)
			found, opened, err := examine(image, ledger, history)
			mu.Lock()
			all.images++
			switch {
			case !opened:
				all.refused++
			case found.Lost > 0:
				all.lost++
			case err != nil || len(found.Wrong) > 0:
				all.wrong++
			}
			if err := errors.Join(err, found.Err()); err != nil && len(all.first) < 5 {
				all.first = append(all.first, fmt.Sprintf("%s: %v\nfiles: %s", image.Description, err, image))
			}
			mu.Unlock()
		}
	}
}

// examine opens a store in the image and wants it to be as it was after one commit,
// with all that was acknowledged.
func examine(image *powercut.Image, ledger *crashtest.Ledger, history *crashtest.History) (found crashtest.Findings, opened bool, err error) {
	dir, err := os.MkdirTemp(scratch(), "souk-image-")
	if err != nil {
		return found, false, err
	}
	defer os.RemoveAll(dir)
	if err := image.Materialise(dir); err != nil {
		return found, false, err
	}
	e, err := badger.Open(badger.SmallTables(badger.Options{Dir: filepath.Join(dir, "store"), Sync: true}, smallTables))
	if err != nil {
		return found, false, err
	}
	found, err = ledger.Check(ctx, e)
	if err != nil {
		return found, true, errors.Join(err, e.Close())
	}
	there, err := crashtest.Records(ctx, e)
	found.Wrong = append(found.Wrong, history.Mixed(there, badger.CommitOf)...)
	return found, true, errors.Join(err, e.Close())
}

// scratch is where images are written: memory, where there is some, for their syncs
// mean nothing.
func scratch() string {
	if info, err := os.Stat("/dev/shm"); err == nil && info.IsDir() {
		return "/dev/shm"
	}
	return ""
}

func note(t *testing.T, data []byte) crashtest.Report {
	report, err := crashtest.ReadReport(bytes.NewReader(data))
	if err != nil {
		t.Errorf("a note in the log: %v", err)
	}
	return report
}

func TestPowerCutImages(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	n := rounds(t, "SOUK_IMAGES", 200, 40)
	events := record(t, true, 3, 4000)
	for _, model := range []powercut.Model{powercut.Ordered, powercut.Named, powercut.Strict} {
		began := time.Now()
		o := cut{events: events, model: model, images: n, seed: seed}.run(t)
		t.Logf("%v, %d events, %d acknowledgements, seed %d, %v: %v", model, len(events), o.acknowledged, seed, time.Since(began), o)
		for _, f := range o.first {
			t.Log(f)
		}
	}
}
