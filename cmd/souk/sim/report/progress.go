package report

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"
)

// Progress is a line on a terminal that says how far a run is and goes again. On
// anything else it writes nothing.
type Progress struct {
	bar    *progressbar.ProgressBar // nil = no terminal
	width  func() int               // of the terminal
	beside int                      // what percentage and bar take of it
	run    *Result
}

// Moment is what the line says.
type Moment struct {
	At                time.Time     // simulated
	Offered, Answered float64       // requests a second, lately
	P99               time.Duration // of the last seconds
	Failed            uint64        // answers that failed a check, and requests without one, so far
}

// NewProgress needs the scenario, start, length and speed of the run.
func NewProgress(out *os.File, run *Result) *Progress {
	fd := int(out.Fd())
	if !term.IsTerminal(fd) {
		return &Progress{}
	}
	return newProgress(out, run, func() int {
		width, _, err := term.GetSize(fd)
		if err != nil || width <= 0 {
			return 80
		}
		return width
	})
}

func newProgress(out io.Writer, run *Result, width func() int) *Progress {
	drawn := min(12, max(0, width()-90)) // what is said comes first
	return &Progress{run: run, width: width, beside: 11 + drawn, bar: progressbar.NewOptions64(max(1, int64(run.Simulated)),
		progressbar.OptionSetWriter(out), progressbar.OptionSetWidth(drawn), progressbar.OptionSetElapsedTime(false), progressbar.OptionSetPredictTime(false),
		progressbar.OptionClearOnFinish(), progressbar.OptionUseANSICodes(true),
		progressbar.OptionSetTheme(progressbar.Theme{Saucer: "━", SaucerPadding: " ", BarStart: "│", BarEnd: "│"}),
	)}
}

// Show takes over a moment. A line that is longer than the terminal is wide would
// stay behind when it goes, so its end makes room.
func (p *Progress) Show(m Moment) {
	if p.bar == nil {
		return
	}
	done := m.At.Sub(p.run.Start)
	left := none
	if p.run.Speed > 0 {
		left = spent(max(0, time.Duration(float64(p.run.Simulated-done)/p.run.Speed)).Round(time.Second))
	}
	line := []rune(fmt.Sprintf("%s  %s  %s of %s  p99 %s  %s failed  %s left",
		printable(p.run.Scenario), clock(p.run.Start, p.run.Simulated)(m.At), three(m.Answered), rate(m.Offered), micros(us(m.P99)), count(m.Failed), left))
	if room := p.width() - p.beside; len(line) > room {
		line = line[:max(0, room)]
	}
	p.bar.Describe(string(line))
	_ = p.bar.Set64(min(max(0, int64(done)), int64(p.run.Simulated)-1)) // the last step is End's
}

// End takes the line away.
func (p *Progress) End() {
	if p.bar != nil {
		_ = p.bar.Finish()
	}
}
