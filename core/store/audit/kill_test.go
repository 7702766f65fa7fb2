package audit_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"

	"github.com/souk-market/souk/core/store/audit"
)

// The kill test starts this very binary as a writer, kills it at a random moment and
// looks for every entry that it had acknowledged.

const (
	writerDir  = "SOUK_TEST_AUDIT_DIR" // environment of the writer
	writers    = 64
	killRounds = 8
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(writerDir); dir != "" {
		fmt.Fprintln(os.Stderr, write(dir))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// write appends from many sides and tells of each entry that was kept on the standard
// output, until it is killed.
func write(dir string) error {
	l, err := audit.Open(audit.Options{Dir: dir, Segment: 64 << 10})
	if err != nil {
		return err
	}
	last, _, _ := l.Last()
	failed := make(chan error)
	var out sync.Mutex
	for w := range writers {
		go func() {
			for n := uint64(1); ; n++ {
				e := audit.Entry{Kind: audit.SignedIn, Actor: audit.Device, Epoch: uint32(w), Item: last<<32 | n}
				err := l.Append(context.Background(), e)
				if err == nil {
					ack := binary.BigEndian.AppendUint32(nil, e.Epoch)
					ack = binary.BigEndian.AppendUint64(ack, e.Item)
					out.Lock()
					_, err = os.Stdout.Write(ack)
					out.Unlock()
				}
				if err != nil {
					failed <- err
					return
				}
			}
		}()
	}
	return <-failed
}

type ack struct {
	writer uint32
	n      uint64
}

func TestKilledWriterLosesNoEntry(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	dir := t.TempDir()
	acked := map[ack]bool{}
	for round := range killRounds {
		n := killWriter(t, dir, 100+random.IntN(1500), acked)
		there := map[ack]bool{}
		for _, e := range read(t, dir) { // which verifies the chain
			there[ack{e.Epoch, e.Item}] = true
		}
		for a := range acked {
			if !there[a] {
				t.Fatalf("round %d: entry %d of writer %d was acknowledged and is gone", round, a.n, a.writer)
			}
		}
		if most := len(acked) + writers*(round+1); len(there) > most {
			t.Fatalf("round %d: %d entries, at most %d can have been under way or acknowledged", round, len(there), most)
		}
		t.Logf("round %d: killed after %d acknowledged entries, all there", round, n)
	}
	if r, err := audit.Verify(dir); err != nil || r.Breaks != 0 {
		t.Errorf("Verify = %+v, %v", r, err)
	}
}

// killWriter kills the writer after so many acknowledgements and returns how many
// there were in the end.
func killWriter(t *testing.T, dir string, after int, acked map[ack]bool) (total int) {
	t.Helper()
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), writerDir+"="+dir)
	var stderr bytes.Buffer
	child.Stderr = &stderr
	stdout, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	acks := bufio.NewReader(stdout)
	for {
		var b [12]byte
		if _, err := io.ReadFull(acks, b[:]); err != nil {
			break
		}
		acked[ack{binary.BigEndian.Uint32(b[:]), binary.BigEndian.Uint64(b[4:])}] = true
		if total++; total == after {
			if err := child.Process.Kill(); err != nil {
				t.Error(err)
			}
		}
	}
	_ = child.Wait()
	if total < after {
		t.Fatalf("the writer ended by itself after %d entries: %s", total, stderr.String())
	}
	return total
}
