package sim

import (
	"fmt"
	"os"

	"golang.org/x/term"

	"github.com/souk-market/souk/cmd/souk/sim/report"
)

// progress says on a terminal how far a run is, in a line that goes again.
type progress struct {
	bar *report.Progress // nil = the run has not begun
}

// say tells what is done before the run.
func (p *progress) say(format string, args ...any) {
	if term.IsTerminal(int(os.Stderr.Fd())) {
		fmt.Fprintf(os.Stderr, "\r\x1b[K%s", fmt.Sprintf(format, args...))
	}
}

// show tells how far the run is.
func (p *progress) show(r *run, t *report.Tick) {
	if p.bar == nil {
		p.say("")
		p.bar = report.NewProgress(os.Stderr, &r.result)
	}
	seconds := max(t.Length.Seconds(), 1e-9)
	p.bar.Show(report.Moment{
		At: t.At, Offered: float64(t.Offered) / seconds, Answered: float64(t.Answered) / seconds, P99: t.P99, Failed: r.checks.failedSoFar(),
	})
}

func (p *progress) end() {
	p.say("")
	if p.bar != nil {
		p.bar.End()
	}
}
