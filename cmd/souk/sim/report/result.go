// Package report writes what a simulation has found: a page to look at, JSON, and a
// line while it runs.
package report

import (
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Result is what a simulation came to. The engine fills it while it runs.
type Result struct {
	Scenario    string        `json:"scenario"`
	Variant     string        `json:"variant,omitempty"` // as "phased", or the retry policy of an outage
	Seed        uint64        `json:"seed"`
	Devices     uint64        `json:"devices"`
	Speed       float64       `json:"speed"`            // simulated seconds a second
	Connections string        `json:"connections"`      // "keep-alive" or "tls": a new connection with TLS for each check
	Target      string        `json:"target,omitempty"` // empty = a server of its own
	Start       time.Time     `json:"start"`            // simulated
	Simulated   time.Duration `json:"simulated"`
	Took        time.Duration `json:"took"`

	Void     []string   `json:"void,omitempty"` // why the run says nothing; empty = it counts
	Checks   []Check    `json:"checks"`
	Classes  []*Class   `json:"classes"`
	Ticks    []Tick     `json:"ticks"`
	Marks    []Mark     `json:"marks"` // what the operator did, and what befell the server
	Adoption []Adoption `json:"adoption,omitempty"`

	Offered, Sent, Answered, Shed, Failed uint64                  // requests; Shed: 503 or an answer given up under pressure
	Lag                                   *hdrhistogram.Histogram `json:"-"` // of the generator, µs
	CPU                                   time.Duration           // of the server; 0 = not known
	Signatures, GuestCalls                uint64
	Figures                               []Figure // what a scenario has to say beyond all this: "recovered after", "last offer after the halt"
}

// Check is a property that every answer was held against.
type Check struct {
	Name     string `json:"name"`     // "newer", "fits", "share", "sticky", "nonce", "signature", "halt", "status", …
	Sentence string `json:"sentence"` // what has to hold
	Looked   uint64 `json:"looked"`
	Failed   uint64 `json:"failed"`
	First    string `json:"first,omitempty"` // the first failure: device, app, what was expected, what came
}

// Class is a kind of answer.
type Class struct {
	Name    string                  `json:"name"` // "no update", "1 offer", "n offers", "refresh", "restore", "401", "403", "404", …
	Count   uint64                  `json:"count"`
	Latency *hdrhistogram.Histogram `json:"-"` // from the intended time of sending, µs
}

// Tick is a stretch of the run.
type Tick struct {
	At            time.Time         `json:"at"`      // simulated, its beginning
	Length        time.Duration     `json:"length"`  // real
	Offered       uint64            `json:"offered"` // requests that were due
	Answered      uint64            `json:"answered"`
	Shed          uint64            `json:"shed"`
	P50, P99, Max time.Duration     // of all answers of the tick
	CPU           time.Duration     `json:"cpu"` // of the server
	Classes       map[string]uint64 `json:"classes"`
}

// Mark is an event of the run.
type Mark struct {
	At   time.Time `json:"at"`
	What string    `json:"what"`
}

// Adoption is how far a release has come at a time.
type Adoption struct {
	At        time.Time `json:"at"`
	Open      float64   `json:"open"`      // share that the rollout is open to
	Offered   float64   `json:"offered"`   // of the devices with the app that have asked: were offered it
	Installed float64   `json:"installed"` // have it
}

// Figure is one more number.
type Figure struct {
	Name, Value string
}
