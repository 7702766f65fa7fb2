package report

import (
	"encoding/json"
	"math"
	"strconv"
)

// plot is a figure of the page: page.js draws it, and the table below it says the
// same in text.
type plot struct {
	ID      string    `json:"id"`
	Title   string    `json:"-"`
	Caption string    `json:"-"` // what to see
	Wide    bool      `json:"-"`
	X       axis      `json:"x"`
	Y       axis      `json:"y"`
	Xs      numbers   `json:"xs"`
	Lines   []line    `json:"lines"`
	Stacked bool      `json:"stacked,omitempty"`
	Marks   []numbers `json:"marks,omitempty"` // pairs of a place on the x-axis and the mark's number
	Table   table     `json:"-"`
}

// axis says how numbers along it are written and spread.
type axis struct {
	Unit  string `json:"unit"` // "time" (s of the Unix clock), "us", "rate", "share", "number", "percentile" (1/(1-quantile))
	Label string `json:"label"`
	Log   bool   `json:"log,omitempty"`
	Long  bool   `json:"long,omitempty"` // a time of day needs its date
	Fine  bool   `json:"fine,omitempty"` // and its seconds
}

// line is one series of a plot.
type line struct {
	Name  string  `json:"name"`
	Color int     `json:"color"` // 1 to 8, see page.css
	Style string  `json:"style"` // "line", "dash", "dot", "area", "step", "point"
	Ys    numbers `json:"ys"`
	Rare  bool    `json:"rare,omitempty"` // where it is 0 there is nothing to draw
}

// numbers are floats in which NaN is a gap.
type numbers []float64

// MarshalJSON writes five digits, which is more than a screen has pixels, but of large
// numbers thousandths: those are times.
func (n numbers) MarshalJSON() ([]byte, error) {
	b := []byte{'['}
	for i, x := range n {
		if i > 0 {
			b = append(b, ',')
		}
		switch {
		case math.IsNaN(x) || math.IsInf(x, 0):
			b = append(b, "null"...)
		case x == math.Trunc(x) && math.Abs(x) < 1<<53:
			b = strconv.AppendInt(b, int64(x), 10)
		case math.Abs(x) >= 1e5:
			b = strconv.AppendFloat(b, x, 'f', 3, 64)
		default:
			b = strconv.AppendFloat(b, x, 'g', 5, 64)
		}
	}
	return append(b, ']'), nil
}

var _ json.Marshaler = numbers{}

// table is what is said in text. A caption tells what it is about.
type table struct {
	ID, Title, Caption string
	Columns            []column
	Rows               [][]cell
}

type column struct {
	Name   string
	Number bool
}

type cell struct {
	Text string
	Bad  bool
	Wide bool // may break
}

// row makes cells of texts.
func row(texts ...string) []cell {
	cells := make([]cell, len(texts))
	for i, s := range texts {
		cells[i].Text = s
	}
	return cells
}

// write writes a number of an axis for a table.
func (a axis) write(x float64) string {
	if math.IsNaN(x) {
		return none
	}
	switch a.Unit {
	case "us":
		return micros(x)
	case "rate":
		return rate(x)
	case "share":
		return share(x)
	case "percentile":
		return percentile(1 - 1/x)
	}
	return three(x)
}
