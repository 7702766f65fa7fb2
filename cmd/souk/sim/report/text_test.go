package report_test

import (
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/souk-market/souk/cmd/souk/sim/report"
)

// small is a run that a person can count.
func small() *report.Result {
	latency := func(n int64, us ...int64) *hdrhistogram.Histogram {
		h := hdrhistogram.New(1, 60e6, 3)
		for _, v := range us {
			_ = h.RecordValues(v, n)
		}
		return h
	}
	return &report.Result{
		Scenario: "halt", Seed: 7, Devices: 10_000, Speed: 1440, Connections: "tls", Simulated: 36 * time.Hour, Took: 90 * time.Second,
		Offered: 1010, Sent: 1010, Answered: 1000, Shed: 10, CPU: 12 * time.Millisecond, Signatures: 100, GuestCalls: 1000, Lag: latency(505, 20, 80),
		Checks: []report.Check{
			{Name: "newer", Sentence: "what is offered is newer than what is installed", Looked: 100},
			{Name: "halt", Sentence: "nothing is offered after a halt", Looked: 40, Failed: 2, First: "device 12, app 3: 2.0 was offered 4 s after the halt"},
		},
		Classes: []*report.Class{{Name: report.ClassNone, Count: 900, Latency: latency(450, 150, 310)}, {Name: report.ClassOne, Count: 100, Latency: latency(50, 400, 2400)}},
		Figures: []report.Figure{{Name: "last offer after the halt", Value: "4 s"}},
	}
}

func TestTextForATerminal(t *testing.T) {
	const want = `fails: does not hold: halt (2 of 40)
halt: 10,000 devices, 1 d 12 h at × 1,440, seed 7, a new TLS connection for each check; took 1 min 30 s

checked  looked at  failed  what has to hold
newer    100        0       what is offered is newer than what is installed
halt     40         2       nothing is offered after a halt
first failure of halt: device 12, app 3: 2.0 was offered 4 s after the halt

answer     count  share  p50     p99     p99.9   max
no update  900    90 %   150 µs  310 µs  –       310 µs
1 offer    100    10 %   400 µs  2.4 ms  –       2.4 ms
all        1,000  100 %  310 µs  2.4 ms  2.4 ms  2.4 ms

offered                    1,010 requests, 11.2/s
answered                   1,000, 11.1/s
with an offer              100, 10 %
shed                       10, 0.99 %
without an answer          0, 0 %
signatures                 100, 1.11/s
calls of plugins           1,000, 11.1/s
CPU of the server          12 µs a request, 12 ms in all
generator's lag            p50 20 µs, p99 80 µs, at most 80 µs
last offer after the halt  4 s
`
	var b strings.Builder
	if err := report.Text(&b, small()); err != nil {
		t.Fatal(err)
	}
	if b.String() != want {
		t.Errorf("a terminal gets\n%s\nwant\n%s", b.String(), want)
	}
}

// TestTextDoesNothingToATerminal has escape sequences in the texts of a run.
func TestTextDoesNothingToATerminal(t *testing.T) {
	var b strings.Builder
	if err := report.Text(&b, broken()); err != nil {
		t.Fatal(err)
	}
	for _, c := range b.String() {
		if c != '\n' && !unicode.IsPrint(c) {
			t.Fatalf("%U reaches the terminal", c)
		}
	}
	if !strings.Contains(b.String(), "first failure of newer: device 41, app 7") {
		t.Errorf("the first failure is not told in\n%s", b.String())
	}
}
