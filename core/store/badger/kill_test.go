package badger_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"testing"
	"time"

	"github.com/souk-market/souk/core/store/badger"
	"github.com/souk-market/souk/core/store/crashtest"
)

// The crash tests start this very binary as a process of 64 writers, end it in some
// way and look for everything that it had acknowledged.

const (
	writerDir     = "SOUK_TEST_WRITER_DIR" // environment of the writer
	writerPower   = "SOUK_TEST_WRITER_POWER"
	writerTables  = "SOUK_TEST_WRITER_TABLES"
	writerSession = "SOUK_TEST_WRITER_SESSION"
	writerNotes   = "SOUK_TEST_WRITER_NOTES" // where it reports; empty is the standard output

	smallTables = 512 << 10 // a batch of all writers still fits
)

func TestMain(m *testing.M) {
	if os.Getenv(writerDir) != "" {
		fmt.Fprintln(os.Stderr, write())
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// write is the writer's process. It ends by being killed.
func write() error {
	tables, err := strconv.ParseInt(os.Getenv(writerTables), 10, 64)
	if err != nil {
		return err
	}
	session, err := strconv.ParseUint(os.Getenv(writerSession), 10, 64)
	if err != nil {
		return err
	}
	notes := os.Stdout
	if name := os.Getenv(writerNotes); name != "" {
		if notes, err = os.OpenFile(name, os.O_WRONLY|os.O_APPEND, 0); err != nil {
			return err
		}
	}
	e, err := badger.Open(badger.SmallTables(badger.Options{Dir: os.Getenv(writerDir), Sync: os.Getenv(writerPower) == "true"}, tables))
	if err != nil {
		return err
	}
	w := crashtest.Writers{Engine: e, Session: session, Tell: func(report []byte) error {
		_, err := notes.Write(report)
		return err
	}}
	return w.Run(context.Background())
}

// writer is how a writer's process is started.
type writer struct {
	dir     string
	power   bool // durability
	tables  int64
	session int
	notes   string
}

func (w writer) start(t *testing.T) (child *exec.Cmd, reports *bufio.Reader, stderr *bytes.Buffer) {
	t.Helper()
	child = exec.Command(os.Args[0])
	child.Env = append(os.Environ(), writerDir+"="+w.dir, writerPower+"="+fmt.Sprint(w.power), writerTables+"="+fmt.Sprint(w.tables),
		writerSession+"="+fmt.Sprint(w.session), writerNotes+"="+w.notes)
	stderr = &bytes.Buffer{}
	child.Stderr = stderr
	stdout, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	return child, bufio.NewReaderSize(stdout, 1<<16), stderr
}

// rounds is how often a crash test crashes: as often as the variable says, else
// ci times where SOUK_CI is set and few times elsewhere. The race detector makes
// the writers ten times slower and sees them in a third of that as well.
func rounds(t *testing.T, variable string, ci, few int) int {
	t.Helper()
	if text := os.Getenv(variable); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n <= 0 {
			t.Fatalf("%s is %q, want how many rounds", variable, text)
		}
		return n
	}
	switch {
	case badger.RaceEnabled:
		return (few + 2) / 3
	case os.Getenv("SOUK_CI") != "":
		return ci
	}
	return few
}

// One round in four has the tables of a server, the others turn theirs over all
// the time. All rounds of a kind go on in the same directory.
func TestKilledWriterLosesNothing(t *testing.T) {
	n := rounds(t, "SOUK_KILLS", 40, 5)
	shipped := (n + 3) / 4
	t.Run("tables of a server", func(t *testing.T) { killRounds(t, shipped, 64<<20) })
	t.Run("small tables", func(t *testing.T) { killRounds(t, n-shipped, smallTables) })
}

func killRounds(t *testing.T, n int, tables int64) {
	seed := uint64(time.Now().UnixNano())
	random := rand.New(rand.NewPCG(seed, 0))
	dir := t.TempDir()
	ledger := &crashtest.Ledger{}
	for round := range n {
		w := writer{dir: dir, power: round%2 == 0, tables: tables, session: round} // either durability survives this
		killWriter(t, w, 500+random.IntN(8000), ledger)
		checkLedger(t, dir, tables, ledger)
		if t.Failed() {
			t.Fatalf("seed %d, round %d", seed, round)
		}
	}
	t.Logf("%d rounds: %d writes acknowledged, lost 0; %d codes redeemed, twice 0", n, ledger.Acknowledged, ledger.Redeemed)
}

// killWriter kills the writer after so many reports and books all that came.
func killWriter(t *testing.T, w writer, after int, ledger *crashtest.Ledger) {
	t.Helper()
	child, reports, stderr := w.start(t)
	for n := 1; ; n++ {
		report, err := crashtest.ReadReport(reports)
		if errors.Is(err, io.EOF) && n > after {
			break
		}
		if err != nil {
			t.Fatalf("the writer ended by itself after %d reports: %v %s", n, err, stderr)
		}
		ledger.Take(report)
		if n == after {
			if err := child.Process.Kill(); err != nil {
				t.Error(err)
			}
		}
	}
	_ = child.Wait() // it was killed
}

func checkLedger(t *testing.T, dir string, tables int64, ledger *crashtest.Ledger) {
	t.Helper()
	e, err := badger.Open(badger.SmallTables(badger.Options{Dir: dir, Sync: true}, tables))
	if err != nil {
		t.Fatal(err)
	}
	defer shut(t, e)
	found, err := ledger.Check(ctx, e)
	if err := errors.Join(err, found.Err()); err != nil {
		t.Error(err)
	}
}
