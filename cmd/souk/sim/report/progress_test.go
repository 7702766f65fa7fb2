package report

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

var sequence = regexp.MustCompile("\x1b\\[[0-9]*[A-Za-z]")

func TestProgressOnATerminal(t *testing.T) {
	start := time.Date(2026, 3, 2, 0, 0, 0, 0, time.UTC)
	run := &Result{Scenario: "release-day", Start: start, Simulated: 24 * time.Hour, Speed: 1440}
	for _, width := range []int{200, 80, 40, 10} {
		var out bytes.Buffer
		p := newProgress(&out, run, func() int { return width })
		p.Show(Moment{At: start.Add(6 * time.Hour), Offered: 16_700, Answered: 16_650, P99: 2100 * time.Microsecond, Failed: 3})
		line := sequence.ReplaceAllString(out.String(), "")
		line = strings.TrimLeft(line, "\r")
		if i := strings.LastIndex(line, "\r"); i >= 0 {
			line = line[i+1:]
		}
		if n := utf8.RuneCountInString(strings.TrimRight(line, " ")); n > max(width, p.beside) {
			t.Errorf("a terminal of %d gets a line of %d: %q", width, n, line)
		}
		if width == 80 && !strings.Contains(line, "45 s le") {
			t.Errorf("a common terminal gets %q, without what is left", line)
		}
		if want := "release-day  06:00  16,650 of 16,700/s  p99 2.1 ms  3 failed  45 s left"; width == 200 && (!strings.HasPrefix(line, want) || !strings.Contains(line, "25%")) {
			t.Errorf("the line is %q, want %q and 25%% of a bar", line, want)
		}
		p.Show(Moment{At: start.Add(25 * time.Hour)}) // later than the end: the run has some requests to wait for
		p.End()
		if !strings.HasSuffix(out.String(), "\x1b[2K\r") {
			t.Errorf("at a width of %d the line stays behind: %q", width, out.String())
		}
	}
}

func TestProgressSpoilsNoFile(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "stderr"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	p := NewProgress(f, &Result{Scenario: "steady", Simulated: time.Hour, Speed: 1})
	p.Show(Moment{Offered: 1})
	p.End()
	if info, err := f.Stat(); err != nil || info.Size() != 0 {
		t.Errorf("a file got %d bytes of a progress line, %v", info.Size(), err)
	}
}
