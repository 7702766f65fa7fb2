package badger_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"

	"github.com/souk-market/souk/core/store"
	"github.com/souk-market/souk/core/store/badger"
)

// The kill test starts this very binary as a writer, kills it at a random moment
// and looks for every write that it had acknowledged.

const (
	writerDir     = "SOUK_TEST_WRITER_DIR" // environment of the writer
	writerPower   = "SOUK_TEST_WRITER_POWER"
	writers       = 64
	writerKeys    = 2000
	killRounds    = 4
	writerPayload = 100
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(writerDir); dir != "" {
		fmt.Fprintln(os.Stderr, write(dir))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func writerKey(n uint32) store.Key {
	return store.Key{Table: 'P', Part: string(binary.BigEndian.AppendUint32(nil, n))}
}

// count is the value after n updates. All of it says n, so that a torn value is
// seen.
func count(n uint64) []byte {
	return bytes.Repeat(binary.BigEndian.AppendUint64(nil, n), writerPayload/8)
}

func counted(value []byte) (uint64, error) {
	n := binary.BigEndian.Uint64(value)
	if !bytes.Equal(value, count(n)) {
		return 0, fmt.Errorf("value %x is torn", value)
	}
	return n, nil
}

// write counts up random keys and one hot key, and tells of each durable update on
// the standard output, until it is killed.
func write(dir string) error {
	e, err := badger.Open(badger.Options{Dir: dir, Sync: os.Getenv(writerPower) == "true"})
	if err != nil {
		return err
	}
	failed := make(chan error)
	var out sync.Mutex
	for range writers {
		go func() {
			for {
				key := uint32(0) // the hot one
				if rand.IntN(4) > 0 {
					key = rand.Uint32N(writerKeys)
				}
				it, err := e.Update(context.Background(), writerKey(key), func(cur *store.Item) (*store.Write, error) {
					n := uint64(0)
					if cur != nil {
						n = binary.BigEndian.Uint64(cur.Value)
					}
					return &store.Write{Value: count(n + 1)}, nil
				})
				if err != nil {
					failed <- err
					return
				}
				ack := binary.BigEndian.AppendUint32(nil, key)
				ack = append(ack, it.Value[:8]...)
				out.Lock()
				_, err = os.Stdout.Write(ack)
				out.Unlock()
				if err != nil {
					failed <- err
					return
				}
			}
		}()
	}
	return <-failed
}

func TestKilledWriterLosesNothing(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	dir := t.TempDir()
	acked := map[uint32]uint64{} // the highest count acknowledged, by key
	total := uint64(0)
	for round := range killRounds {
		power := round%2 == 0 // either durability survives this
		n := killWriter(t, dir, power, 500+random.IntN(5000), acked)
		total += n
		t.Logf("round %d: killed after %d acknowledged updates, power %v", round, n, power)
		checkCounts(t, dir, acked, total, uint64(writers*(round+1)))
	}
}

// killWriter kills the writer after so many acknowledgements and returns how many
// there were in the end.
func killWriter(t *testing.T, dir string, power bool, after int, acked map[uint32]uint64) (total uint64) {
	t.Helper()
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), writerDir+"="+dir, writerPower+"="+fmt.Sprint(power))
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
		var ack [12]byte
		if _, err := io.ReadFull(acks, ack[:]); err != nil {
			break
		}
		key, n := binary.BigEndian.Uint32(ack[:]), binary.BigEndian.Uint64(ack[4:])
		acked[key] = max(acked[key], n)
		if total++; total == uint64(after) {
			if err := child.Process.Kill(); err != nil {
				t.Error(err)
			}
		}
	}
	_ = child.Wait()
	if total < uint64(after) {
		t.Fatalf("the writer ended by itself after %d updates: %s", total, stderr.String())
	}
	return total
}

// checkCounts wants all that was acknowledged to be there, and no more beside it
// than what was under way when the writer died.
func checkCounts(t *testing.T, dir string, acked map[uint32]uint64, total, underWay uint64) {
	t.Helper()
	e, err := badger.Open(badger.Options{Dir: dir, Sync: true})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	sum := uint64(0)
	for key := range uint32(writerKeys) {
		it, err := e.Get(context.Background(), writerKey(key))
		if errors.Is(err, store.ErrNotFound) && acked[key] == 0 {
			continue
		}
		if err != nil {
			t.Fatalf("key %d: %v, %d updates were acknowledged", key, err, acked[key])
		}
		n, err := counted(it.Value)
		if err != nil || n < acked[key] {
			t.Fatalf("key %d: count %d, %v, %d updates were acknowledged", key, n, err, acked[key])
		}
		sum += n
	}
	if sum < total || sum > total+underWay {
		t.Fatalf("%d updates are there, %d were acknowledged and %d may have been under way", sum, total, underWay)
	}
}
