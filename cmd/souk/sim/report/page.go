package report

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html/template"
	"io"
	"strconv"
)

// The page is one file that asks nobody for anything: what it needs is inside, and
// its own policy allows nothing else.
var (
	//go:embed page.html
	pageText string
	//go:embed page.css
	pageStyle string
	//go:embed page.js
	pageScript string
	//go:embed uplot/uPlot.iife.min.js
	library string
	//go:embed uplot/uPlot.min.css
	libraryStyle string

	pageTemplate = template.Must(template.New("page").Parse(pageText))
	style        = libraryStyle + "\n" + pageStyle
	policy       = "default-src 'none'; style-src " + source(style) + "; script-src " + source(library) + " " + source(pageScript) + "; base-uri 'none'; form-action 'none'"
)

// source names a style or a script by its hash (CSP Level 3 §2.3.1).
func source(text string) string {
	sum := sha256.Sum256([]byte(text))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}

// page is what page.html needs.
type page struct {
	Title, Kicker, Heading, Lead string
	Verdict                      *verdict
	Tiles                        []tile
	Facts                        []Figure
	Command                      string
	Marks                        []mark
	Sections                     []section
	JSON                         string
	Joined                       bool // there are ticks in it that stand for several

	Drawn           []*plot
	Policy          string
	Style           template.CSS
	Library, Script template.JS
}

type verdict struct {
	Class, Sign, Word, Why string
	Failures               []Figure // the first of each check
}

type tile struct{ Name, Value, Note string }

type mark struct {
	Number   int
	At, What string
}

type section struct {
	ID, Title, Text string
	Plots           []*plot
	Tables          []table
}

func (p *page) write(w io.Writer) error {
	p.Policy, p.Style, p.Library, p.Script = policy, template.CSS(style), template.JS(library), template.JS(pageScript)
	p.Drawn = []*plot{}
	for _, s := range p.Sections {
		p.Drawn = append(p.Drawn, s.Plots...)
	}
	var b bytes.Buffer // half a page is none
	if err := pageTemplate.Execute(&b, p); err != nil {
		return fmt.Errorf("draw the report: %w", err)
	}
	_, err := w.Write(b.Bytes())
	return err
}

// HTML writes the page of a run: one file, complete in itself.
func HTML(w io.Writer, r *Result) error {
	// A person copies what is drawn; the ticks of a long run are for --json.
	copied := *r
	copied.Ticks = merge(r.Ticks, drawn)
	data, err := json.Marshal(copied.document())
	if err != nil {
		return fmt.Errorf("draw the report: %w", err)
	}
	heading := r.Scenario
	if r.Variant != "" {
		heading += ", " + r.Variant
	}
	p := &page{
		Title: "Souk: " + heading, Kicker: "Souk · simulated updates", Heading: heading,
		Lead: fmt.Sprintf("%s ask for updates through %s at %s: each comes when it is due, whatever the server does, and each answer is looked at.",
			plural(r.Devices, "device", "devices"), spent(r.Simulated), speed(r.Speed)),
		Verdict: r.verdict(), Tiles: r.tiles(), Facts: r.facts(), Command: r.Command, JSON: string(data), Joined: len(copied.Ticks) < len(r.Ticks),
		Sections: []section{{ID: "course", Title: "How it went", Plots: r.plots()}, {ID: "checked", Title: "What was checked", Tables: []table{r.checkTable()}}},
	}
	at := clock(r.Start, r.Simulated)
	for i, m := range r.Marks {
		p.Marks = append(p.Marks, mark{i + 1, at(m.At), m.What})
	}
	p.Sections = append(p.Sections, section{ID: "numbers", Title: "Numbers", Tables: []table{r.classTable(), r.lagTable(), r.figureTable()}})
	return p.write(w)
}

func (r *Result) verdict() *verdict {
	found, why := r.Verdict()
	v := &verdict{Class: found.String(), Why: why + "."}
	switch found {
	case Holds:
		v.Sign, v.Word = "✓", "It holds:"
	case Void:
		v.Sign, v.Word = "○", "The run is void:"
	case Fails:
		v.Sign, v.Word = "✗", "It fails:"
	}
	for _, c := range r.Checks {
		if c.Failed > 0 {
			first := c.Sentence + "."
			if c.First != "" {
				first += " First failure: " + c.First
			}
			v.Failures = append(v.Failures, Figure{c.Name, first})
		}
	}
	return v
}

func (r *Result) tiles() []tile {
	all := r.all()
	tiles := []tile{
		{"Answered", count(r.Answered), "of " + plural(r.Offered, "request", "requests") + " that were due"},
		{"With an offer", part(r.offers(), r.Answered), plural(r.offers(), "answer", "answers")},
		{"p50", micros(at(all, 0.5)), "half are faster"},
		{"p99", micros(at(all, 0.99)), "1 of 100 is slower"},
		{"p99.9", micros(at(all, 0.999)), "the slowest: " + micros(slowest(all))},
		{"CPU per request", micros(r.perCheck()), "of the server"},
		{"Signatures", r.perSecond(r.Signatures), count(r.Signatures) + " in all"},
		{"Shed", part(r.Shed, r.Offered), plural(r.Shed, "request", "requests")},
		{"No answer", part(r.Failed, r.Offered), plural(r.Failed, "request", "requests")},
	}
	lag := tile{"Generator's lag", none, "not measured"}
	if r.Lag != nil && r.Lag.TotalCount() > 0 {
		lag.Value, lag.Note = micros(at(r.Lag, 0.99)), "p99 behind what was due"
	}
	return append(tiles, lag)
}

func (r *Result) facts() []Figure {
	facts := []Figure{
		{"devices", count(r.Devices)},
		{"simulated", fmt.Sprintf("%s from %s, at %s", spent(r.Simulated), r.Start.UTC().Format("Mon 2 Jan 2006 15:04 UTC"), speed(r.Speed))},
		{"took", spent(r.Took)},
		{"seed", strconv.FormatUint(r.Seed, 10)},
		{"connections", r.connections()},
	}
	if r.Target != "" {
		facts = append(facts, Figure{"server", r.Target})
	} else {
		facts = append(facts, Figure{"server", "its own, in a process beside"})
	}
	for _, f := range []Figure{{"software", r.Software}, {"machine", r.Machine}} {
		if f.Value != "" {
			facts = append(facts, f)
		}
	}
	return facts
}

func (r *Result) checkTable() table {
	t := table{
		ID: "checks", Caption: "Every answer was held against these, a sample of the signatures.",
		Columns: []column{{Name: "property"}, {Name: "what has to hold"}, {"looked at", true}, {"failed", true}, {Name: "first failure"}},
	}
	for _, c := range r.Checks {
		bad := c.Failed > 0
		t.Rows = append(t.Rows, []cell{{Text: c.Name, Bad: bad}, {Text: c.Sentence, Wide: true}, {Text: count(c.Looked)}, {Text: count(c.Failed), Bad: bad}, {Text: orNone(c.First), Wide: c.First != ""}})
	}
	return t
}

func (r *Result) classTable() table {
	t := table{
		Title: "Answers by class", Caption: "Latency from when a request was due. " + none + ": too few to know.",
		Columns: []column{{Name: "class"}, {"answers", true}, {"share", true}},
	}
	for _, q := range quantiles {
		t.Columns = append(t.Columns, column{"p" + strconv.FormatFloat(q*100, 'f', -1, 64), true})
	}
	t.Columns = append(t.Columns, column{"longest", true})
	for _, c := range r.classes() {
		cells := row(c.Name, count(c.Count), part(c.Count, r.Answered))
		for _, q := range quantiles {
			cells = append(cells, cell{Text: micros(at(c.Latency, q))})
		}
		t.Rows = append(t.Rows, append(cells, cell{Text: micros(slowest(c.Latency))}))
	}
	return t
}

func (r *Result) lagTable() table {
	t := table{
		Title: "The generator's lag", Caption: "How far behind the time that it was due a request was sent: what the generator does to the figures.",
		Columns: []column{{Name: "requests"}},
	}
	n := uint64(0)
	if r.Lag != nil {
		n = uint64(r.Lag.TotalCount())
	}
	cells := row(count(n))
	for _, q := range quantiles {
		t.Columns = append(t.Columns, column{"p" + strconv.FormatFloat(q*100, 'f', -1, 64), true})
		cells = append(cells, cell{Text: micros(at(r.Lag, q))})
	}
	t.Columns = append(t.Columns, column{"longest", true})
	t.Rows = [][]cell{append(cells, cell{Text: micros(slowest(r.Lag))})}
	return t
}

func (r *Result) figureTable() table {
	t := table{Title: "All of the run", Columns: []column{{Name: "figure"}, {Name: "value"}}}
	for _, f := range r.figures() {
		t.Rows = append(t.Rows, []cell{{Text: f.Name}, {Text: f.Value, Wide: true}})
	}
	return t
}

func orNone(s string) string {
	if s == "" {
		return none
	}
	return s
}
