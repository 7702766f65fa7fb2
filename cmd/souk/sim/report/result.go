// Package report writes what a simulation has found: a page to look at, JSON, a
// table for a terminal, and a line while it runs. It knows no server and no device:
// it is given a Result, and what that says is all it can say.
package report

import (
	"fmt"
	"strings"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Result is what a simulation came to. The engine fills it while it runs.
type Result struct {
	Scenario    string
	Variant     string // as "phased", or the retry policy of an outage
	Seed        uint64
	Devices     uint64
	Speed       float64       // simulated seconds a second
	Connections string        // "keep-alive" or "tls": a new connection with TLS for each check
	Target      string        // empty = a server of its own
	Start       time.Time     // simulated
	Simulated   time.Duration // how long the run was by the simulated clock
	Took        time.Duration // and by ours

	Void     []string // why the run says nothing; empty = it counts
	Checks   []Check
	Classes  []*Class
	Ticks    []Tick
	Marks    []Mark     // what the operator did, and what befell the server
	Adoption []Adoption // of the release that the scenario is about; empty = it has none

	Offered, Sent, Answered, Shed, Failed uint64                  // requests; Shed: 503 or an answer given up under pressure; Failed: no answer at all
	Lag                                   *hdrhistogram.Histogram // of the generator, µs
	CPU                                   time.Duration           // of the server; 0 = not known
	Signatures, GuestCalls                uint64
	Figures                               []Figure // what a scenario has to say beyond all this: "recovered after", "last offer after the halt"

	Command  string // the command line that does the same again
	Software string // what was under test: version, Go, as "souk 0.1.0, go1.26.8"
	Machine  string // what it ran on, as "linux/amd64, 2 cores"
}

// Check is a property that every answer was held against.
type Check struct {
	Name     string // "newer", "fits", "share", "sticky", "nonce", "signature", "halt", "status", …
	Sentence string // what has to hold
	Looked   uint64
	Failed   uint64
	First    string // the first failure: device, app, what was expected, what came
}

// Class is a kind of answer.
type Class struct {
	Name    string // one of the Class… constants, or a status, as "404"
	Count   uint64
	Latency *hdrhistogram.Histogram // from the intended time of sending, µs
}

// The names of classes that the report knows more of than the name.
const (
	ClassNone = "no update" // a check that was answered with an empty list
	ClassOne  = "1 offer"   // a check that was answered with one
	ClassMany = "n offers"  // a check that was answered with several
)

// Tick is a stretch of the run.
type Tick struct {
	At            time.Time     // simulated, its beginning
	Length        time.Duration // real
	Offered       uint64        // requests that were due
	Answered      uint64
	Shed          uint64
	Failed        uint64            // requests without an answer
	P50, P99, Max time.Duration     // of all answers of the tick
	CPU           time.Duration     // of the server
	Classes       map[string]uint64 // answers by the name of their class
}

// Mark is an event of the run.
type Mark struct {
	At   time.Time
	What string
}

// Adoption is how far a release has come at a time. All three are shares, 0 to 1.
type Adoption struct {
	At        time.Time
	Open      float64 // that the rollout is open to
	Offered   float64 // of the devices with the app that have asked: were offered it
	Installed float64 // have it
}

// Figure is one more number, with its unit.
type Figure struct {
	Name, Value string
}

// Verdict is what a run says of the server.
type Verdict int

// A property that failed has failed, however the run went; else a run that is void
// says nothing, whatever held.
const (
	Holds Verdict = iota
	Void
	Fails
)

func (v Verdict) String() string {
	switch v {
	case Holds:
		return "holds"
	case Void:
		return "void"
	}
	return "fails"
}

// Verdict is what the run came to, and why, in a sentence. A run whose checks had
// nothing to look at is void: it would hold whatever the server did.
func (r *Result) Verdict() (Verdict, string) {
	var failed []string
	looked, idle := 0, 0
	for _, c := range r.Checks {
		if c.Failed > 0 {
			failed = append(failed, fmt.Sprintf("%s (%s of %s)", c.Name, count(c.Failed), count(c.Looked)))
		}
		if c.Looked > 0 {
			looked++
		} else {
			idle++
		}
	}
	void := strings.Join(r.Void, "; ")
	switch {
	case len(failed) > 0 && void != "":
		return Fails, fmt.Sprintf("does not hold: %s; beyond that the run is void: %s", strings.Join(failed, ", "), void)
	case len(failed) > 0:
		return Fails, fmt.Sprintf("does not hold: %s", strings.Join(failed, ", "))
	case void != "":
		return Void, void
	case looked == 0:
		return Void, "nothing was checked"
	}
	s := fmt.Sprintf("%s looked at, none failed", plural(uint64(looked), "property was", "properties were"))
	if idle > 0 {
		s += fmt.Sprintf("; %s nothing to look at", plural(uint64(idle), "more had", "more had"))
	}
	return Holds, s
}
