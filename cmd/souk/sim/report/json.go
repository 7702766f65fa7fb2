package report

import (
	"encoding/json"
	"io"
	"math"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Document is a Result as JSON has it. A key ends with its unit: _s are seconds, _us
// microseconds, a rate is a second of ours. Keys are added and never change. What is
// not known is left out.
type Document struct {
	Verdict string `json:"verdict"` // "holds", "fails" or "void"
	Why     string `json:"why"`     // in a sentence

	Scenario    string    `json:"scenario"`
	Variant     string    `json:"variant,omitempty"`
	Seed        uint64    `json:"seed"`
	Devices     uint64    `json:"devices"`
	Speed       float64   `json:"speed"`       // simulated seconds a second
	Connections string    `json:"connections"` // "keep-alive" or "tls"
	Target      string    `json:"target,omitempty"`
	Start       time.Time `json:"start"` // simulated, as all times of day are
	Simulated   float64   `json:"simulated_s"`
	Took        float64   `json:"took_s"`
	Command     string    `json:"command,omitempty"`
	Software    string    `json:"software,omitempty"`
	Machine     string    `json:"machine,omitempty"`

	Void       []string `json:"void,omitempty"` // each reason for the run to say nothing
	Offered    uint64   `json:"offered"`        // requests that were due
	Sent       uint64   `json:"sent"`
	Answered   uint64   `json:"answered"`
	Shed       uint64   `json:"shed"`   // 503, or an answer that was given up under pressure
	Failed     uint64   `json:"failed"` // requests without an answer
	CPU        float64  `json:"cpu_s,omitempty"`
	CPUPer     float64  `json:"cpu_us,omitempty"` // an answer
	Signatures uint64   `json:"signatures"`
	GuestCalls uint64   `json:"guest_calls"`

	Latency  *Latency       `json:"latency,omitempty"` // of all answers, from the intended time of sending
	Lag      *Latency       `json:"lag,omitempty"`     // of the generator behind the intended time
	Checks   []CheckJSON    `json:"checks"`
	Classes  []ClassJSON    `json:"classes"`
	Ticks    []TickJSON     `json:"ticks"`
	Marks    []MarkJSON     `json:"marks"`
	Adoption []AdoptionJSON `json:"adoption,omitempty"`
	Figures  []FigureJSON   `json:"figures,omitempty"`
}

// Latency is a histogram.
type Latency struct {
	Count uint64  `json:"count"`
	Min   float64 `json:"min_us"`
	Mean  float64 `json:"mean_us"`
	P50   float64 `json:"p50_us,omitempty"` // a percentile that the count is too small for is left out
	P90   float64 `json:"p90_us,omitempty"`
	P99   float64 `json:"p99_us,omitempty"`
	P999  float64 `json:"p999_us,omitempty"`
	P9999 float64 `json:"p9999_us,omitempty"`
	Max   float64 `json:"max_us"`
	// Spectrum has pairs of a percentile, 0 to 100, and the µs within which that many
	// of a hundred came.
	Spectrum [][2]float64 `json:"spectrum"`
}

// CheckJSON is a property that every answer was held against.
type CheckJSON struct {
	Name     string `json:"name"`
	Sentence string `json:"sentence"`
	Looked   uint64 `json:"looked"`
	Failed   uint64 `json:"failed"`
	First    string `json:"first,omitempty"` // the first failure
}

// ClassJSON is a kind of answer.
type ClassJSON struct {
	Name    string   `json:"name"`
	Count   uint64   `json:"count"`
	Latency *Latency `json:"latency,omitempty"`
}

// TickJSON is a stretch of the run.
type TickJSON struct {
	At       time.Time         `json:"at"`
	Length   float64           `json:"length_s"` // of ours
	Offered  uint64            `json:"offered"`
	Answered uint64            `json:"answered"`
	Shed     uint64            `json:"shed"`
	Failed   uint64            `json:"failed"`
	P50      float64           `json:"p50_us"`
	P99      float64           `json:"p99_us"`
	Max      float64           `json:"max_us"`
	CPU      float64           `json:"cpu_s"`
	Classes  map[string]uint64 `json:"classes"`
}

// MarkJSON is an event of the run.
type MarkJSON struct {
	At   time.Time `json:"at"`
	What string    `json:"what"`
}

// AdoptionJSON is how far a release has come, in shares from 0 to 1.
type AdoptionJSON struct {
	At        time.Time `json:"at"`
	Open      float64   `json:"open"`
	Offered   float64   `json:"offered"`
	Installed float64   `json:"installed"`
}

// FigureJSON is one more number, as a text with its unit.
type FigureJSON struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// JSON writes the Document of a result.
func JSON(w io.Writer, r *Result) error {
	e := json.NewEncoder(w)
	e.SetIndent("", " ")
	return e.Encode(r.document())
}

// document takes each slice to be there: a machine that reads [] needs no null.
func (r *Result) document() *Document {
	verdict, why := r.Verdict()
	d := &Document{
		Verdict: verdict.String(), Why: why,
		Scenario: r.Scenario, Variant: r.Variant, Seed: r.Seed, Devices: r.Devices, Speed: finite(r.Speed), Connections: r.Connections, Target: r.Target,
		Start: r.Start, Simulated: r.Simulated.Seconds(), Took: r.Took.Seconds(), Command: r.Command, Software: r.Software, Machine: r.Machine,
		Void: r.Void, Offered: r.Offered, Sent: r.Sent, Answered: r.Answered, Shed: r.Shed, Failed: r.Failed,
		CPU: r.CPU.Seconds(), CPUPer: finite(r.perCheck()), Signatures: r.Signatures, GuestCalls: r.GuestCalls,
		Latency: latency(r.all()), Lag: latency(r.Lag),
		Checks: []CheckJSON{}, Classes: []ClassJSON{}, Ticks: []TickJSON{}, Marks: []MarkJSON{},
	}
	for _, c := range r.Checks {
		d.Checks = append(d.Checks, CheckJSON(c))
	}
	for _, c := range r.classes() {
		d.Classes = append(d.Classes, ClassJSON{c.Name, c.Count, latency(c.Latency)})
	}
	for _, t := range r.Ticks {
		d.Ticks = append(d.Ticks, TickJSON{
			At: t.At, Length: t.Length.Seconds(), Offered: t.Offered, Answered: t.Answered, Shed: t.Shed, Failed: t.Failed,
			P50: us(t.P50), P99: us(t.P99), Max: us(t.Max), CPU: t.CPU.Seconds(), Classes: t.Classes,
		})
	}
	for _, m := range r.Marks {
		d.Marks = append(d.Marks, MarkJSON(m))
	}
	for _, a := range r.Adoption {
		d.Adoption = append(d.Adoption, AdoptionJSON{a.At, finite(a.Open), finite(a.Offered), finite(a.Installed)})
	}
	for _, f := range r.Figures {
		d.Figures = append(d.Figures, FigureJSON(f))
	}
	return d
}

// latency is nil for a histogram without values.
func latency(h *hdrhistogram.Histogram) *Latency {
	if h == nil || h.TotalCount() == 0 {
		return nil
	}
	l := &Latency{Count: uint64(h.TotalCount()), Min: float64(h.Min()), Mean: math.Round(h.Mean()*10) / 10, Max: float64(h.Max())}
	for i, p := range []*float64{&l.P50, &l.P90, &l.P99, &l.P999, &l.P9999} {
		*p = finite(at(h, quantiles[i]))
	}
	for i, y := range along(h) {
		if !math.IsNaN(y) {
			l.Spectrum = append(l.Spectrum, [2]float64{math.Round((1-1/spectrum[i])*1e9) / 1e7, y})
		}
	}
	return l
}

// finite is 0 for what JSON has no number for.
func finite(x float64) float64 {
	if math.IsNaN(x) || math.IsInf(x, 0) {
		return 0
	}
	return x
}

// us is a duration in microseconds.
func us(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e3 }
