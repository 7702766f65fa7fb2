package report

import (
	"fmt"
	"io"
	"math"
	"strings"
)

// Growth is what a check costs as things grow, one at a time.
type Growth struct {
	Command, Software, Machine string // as of a Result
	Tables                     []GrowthTable
}

// GrowthTable is what a check costs as one thing grows.
type GrowthTable struct {
	What   string // "apps of a device"
	How    string // how it was measured, in a sentence
	Points []GrowthPoint
}

// GrowthPoint is one size.
type GrowthPoint struct {
	X     float64 // how much there is, > 0
	CPU   float64 // of the server, µs a check
	Ratio float64 // to the CPU of the bare handler in the same slices; 0 = not known
}

// GrowthHTML writes the page of a measurement of growth, in the look of HTML's.
func GrowthHTML(w io.Writer, g *Growth) error {
	p := &page{
		Title: "Souk: cost as work grows", Kicker: "Souk · benchmark", Heading: "Cost as work grows",
		Lead:    "CPU that the server needs for an update check, while one thing grows and the others stay. Beside it the ratio to a bare handler on the same machine, in slices that take turns: that is what another machine may be compared with.",
		Command: g.Command,
	}
	for _, f := range []Figure{{"software", g.Software}, {"machine", g.Machine}} {
		if f.Value != "" {
			p.Facts = append(p.Facts, f)
		}
	}
	for i, t := range g.Tables {
		s := section{ID: fmt.Sprintf("growth-%d", i+1), Title: upper(t.What), Text: t.How}
		if len(t.Points) > 0 {
			s.Plots, s.Tables = t.plots(s.ID)
		}
		p.Sections = append(p.Sections, s)
	}
	return p.write(w)
}

// plots are what is drawn of a table, and the table itself; the plots share it.
func (t GrowthTable) plots(id string) ([]*plot, []table) {
	words := table{Caption: "What a check costs by " + t.What + ".", Columns: []column{{t.What, true}, {"CPU", true}, {"× bare", true}, {"× the first", true}}}
	cpu := &plot{
		ID: id + "-cpu", Title: "CPU per check", X: axis{Unit: "number", Label: t.What, Log: true}, Y: axis{Unit: "us", Label: "CPU of the server"},
		Lines: []line{{Name: "CPU per check", Color: 3, Style: "point"}},
	}
	ratio := &plot{
		ID: id + "-ratio", Title: "Beside a bare handler", X: cpu.X, Y: axis{Unit: "number", Label: "times the bare handler's CPU"},
		Lines: []line{{Name: "ratio", Color: 1, Style: "point"}},
	}
	known := false
	first, last := t.Points[0], t.Points[len(t.Points)-1]
	for _, p := range t.Points {
		r := math.NaN()
		if p.Ratio > 0 {
			r, known = p.Ratio, true
		}
		cpu.Xs, ratio.Xs = append(cpu.Xs, p.X), append(ratio.Xs, p.X)
		cpu.Lines[0].Ys, ratio.Lines[0].Ys = append(cpu.Lines[0].Ys, p.CPU), append(ratio.Lines[0].Ys, r)
		words.Rows = append(words.Rows, row(three(p.X), micros(p.CPU), three(r), three(p.CPU/first.CPU)))
	}
	cpu.Caption = fmt.Sprintf("%s at %s, %s at %s: × %s for × %s.", micros(first.CPU), three(first.X), micros(last.CPU), three(last.X), three(last.CPU/first.CPU), three(last.X/first.X))
	ratio.Caption = "A bare fasthttp handler that reads as much and answers as much is 1."
	if !known {
		return pair([]*plot{cpu}), []table{words}
	}
	return pair([]*plot{cpu, ratio}), []table{words}
}

// upper begins a text with a capital.
func upper(s string) string {
	if s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:]
}
