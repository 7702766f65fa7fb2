package powercut

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
)

const programDir = "SOUK_TEST_POWERCUT_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(programDir); dir != "" {
		if err := program(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// program does what stores do: it appends, maps, renames and syncs.
func program(dir string) error {
	notes, err := os.OpenFile(filepath.Join(dir, Notes), os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	sub := filepath.Join(dir, "sub")
	segment := filepath.Join(sub, "segment")
	if err := os.Mkdir(sub, 0o700); err != nil {
		return err
	}
	f, err := os.Create(segment)
	if err != nil {
		return err
	}
	for _, line := range []string{"one\n", "two\n"} {
		if _, err := f.WriteString(line); err != nil {
			return err
		}
		if err := f.Sync(); err != nil {
			return err
		}
		if _, err := notes.WriteString(line); err != nil {
			return err
		}
	}
	mapped, err := os.Create(filepath.Join(sub, "mapped.tmp"))
	if err != nil {
		return err
	}
	if err := mapped.Truncate(4 * page); err != nil {
		return err
	}
	b, err := syscall.Mmap(int(mapped.Fd()), 0, 4*page, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED)
	if err != nil {
		return err
	}
	b[page] = 'm'
	if err := mapped.Sync(); err != nil { // as msync does: it writes the mapped pages
		return err
	}
	if _, err := notes.WriteString("mapped\n"); err != nil {
		return err
	}
	if err := os.Rename(filepath.Join(sub, "mapped.tmp"), filepath.Join(sub, "mapped")); err != nil {
		return err
	}
	d, err := os.Open(sub)
	if err != nil {
		return err
	}
	if err := d.Sync(); err != nil {
		return err
	}
	back := make([]byte, 8)
	if _, err := f.ReadAt(back, 0); err != nil || string(back) != "one\ntwo\n" {
		return fmt.Errorf("read back %q: %w", back, err)
	}
	return errors.Join(os.Remove(segment), d.Close(), f.Close(), mapped.Close(), notes.Close())
}

func recordProgram(t *testing.T) []Event {
	t.Helper()
	mount := t.TempDir()
	r, err := Record(mount)
	if errors.Is(err, ErrNoMount) && os.Getenv("SOUK_CI") == "" {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), programDir+"="+mount)
	out, err := child.CombinedOutput()
	events, err2 := r.Unmount()
	if err := errors.Join(err, err2); err != nil {
		t.Fatalf("%v %s", err, out)
	}
	return events
}

func TestRecordSeesWhatADiskWouldSee(t *testing.T) {
	events := recordProgram(t)
	r := NewReplay(Ordered, events)
	random := rand.New(rand.NewPCG(1, 1))
	said := map[string]bool{}
	names := 0
	for at := range len(events) + 1 {
		r.Advance(at, func(note []byte) { said[string(note)] = true })
		if at > 0 && events[at-1].changesNames() {
			names++
		}
		for range 20 {
			image := r.Image(random)
			segment, there := bytesOf(image, "sub/segment")
			switch {
			case said["two\n"] && there && string(segment) != "one\ntwo\n", said["one\n"] && there && !bytes.HasPrefix(segment, []byte("one\n")):
				t.Fatalf("event %d, %v said: the segment has %q", at, said, segment)
			case said["one\n"] && !there && names < 5: // it is removed last
				t.Fatalf("event %d: no segment, though it was synced", at)
			}
			mapped, there := bytesOf(image, "sub/mapped")
			if !there {
				mapped, there = bytesOf(image, "sub/mapped.tmp")
			}
			if said["mapped\n"] && (!there || len(mapped) != 4*page || mapped[page] != 'm') {
				t.Fatalf("event %d: the mapped file has %d bytes, want what was written to the mapping", at, len(mapped))
			}
		}
	}
	if len(said) != 3 || names != 5 {
		t.Errorf("the log has the notes %v and %d changes of names, want 3 and 5", said, names)
	}
}

// Without its syncs the same program is found out.
func TestRecordWithoutSyncsIsFoundOut(t *testing.T) {
	var events []Event
	for _, e := range recordProgram(t) {
		if e.Kind != Sync {
			events = append(events, e)
		}
	}
	r := NewReplay(Ordered, events)
	random := rand.New(rand.NewPCG(1, 1))
	said, broken := false, 0
	for at := range len(events) + 1 {
		r.Advance(at, func(note []byte) { said = said || string(note) == "one\n" })
		for range 20 {
			if segment, _ := bytesOf(r.Image(random), "sub/segment"); said && !bytes.HasPrefix(segment, []byte("one\n")) {
				broken++
			}
		}
	}
	if broken == 0 {
		t.Error("no image lacks what was said to be kept, though nothing was synced")
	}
}
