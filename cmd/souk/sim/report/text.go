package report

import (
	"fmt"
	"io"
	"math"
	"strings"
	"text/tabwriter"
	"unicode"
)

// Text writes what a terminal gets in the end: the verdict first, then what was
// checked, the answers by class, and the figures.
func Text(w io.Writer, r *Result) error {
	verdict, why := r.Verdict()
	b := &strings.Builder{}
	fmt.Fprintf(b, "%s: %s\n", verdict, printable(why))
	fmt.Fprintln(b, r.what())

	t := tabwriter.NewWriter(b, 0, 8, 2, ' ', 0)
	fmt.Fprintf(t, "\nchecked\tlooked at\tfailed\twhat has to hold\n")
	for _, c := range r.Checks {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", printable(c.Name), count(c.Looked), count(c.Failed), printable(c.Sentence))
	}
	_ = t.Flush() // a Builder takes everything
	for _, c := range r.Checks {
		if c.Failed > 0 && c.First != "" {
			fmt.Fprintf(b, "first failure of %s: %s\n", printable(c.Name), printable(c.First))
		}
	}

	t = tabwriter.NewWriter(b, 0, 8, 2, ' ', 0)
	fmt.Fprintf(t, "\nanswer\tcount\tshare\tp50\tp99\tp99.9\tmax\n")
	for _, c := range r.classes() {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", printable(c.Name), count(c.Count), part(c.Count, r.Answered),
			micros(at(c.Latency, 0.5)), micros(at(c.Latency, 0.99)), micros(at(c.Latency, 0.999)), micros(slowest(c.Latency)))
	}
	if h := r.all(); h.TotalCount() > 0 {
		fmt.Fprintf(t, "all\t%s\t100 %%\t%s\t%s\t%s\t%s\n", count(r.Answered), micros(at(h, 0.5)), micros(at(h, 0.99)), micros(at(h, 0.999)), micros(slowest(h)))
	}
	_ = t.Flush()

	t = tabwriter.NewWriter(b, 0, 8, 2, ' ', 0)
	fmt.Fprintln(t)
	for _, f := range r.figures() {
		fmt.Fprintf(t, "%s\t%s\n", printable(f.Name), printable(f.Value))
	}
	_ = t.Flush()
	_, err := io.WriteString(w, b.String())
	return err
}

// what says in a line what was run.
func (r *Result) what() string {
	s := printable(r.Scenario)
	if r.Variant != "" {
		s += ", " + printable(r.Variant)
	}
	s += fmt.Sprintf(": %s, %s at %s, seed %d, %s", plural(r.Devices, "device", "devices"), spent(r.Simulated), speed(r.Speed), r.Seed, r.connections())
	if r.Target != "" {
		s += ", against " + printable(r.Target)
	}
	return s + "; took " + spent(r.Took)
}

// speed writes how fast the simulated clock went.
func speed(x float64) string {
	if x == 1 {
		return "the speed of a clock"
	}
	return "× " + three(x)
}

func (r *Result) connections() string {
	if r.Connections == "tls" {
		return "a new TLS connection for each check"
	}
	return printable(r.Connections)
}

// figures are the numbers of any run, and behind them those of its scenario.
func (r *Result) figures() []Figure {
	figures := []Figure{
		{"offered", plural(r.Offered, "request", "requests") + ", " + r.perSecond(r.Offered)},
		{"answered", count(r.Answered) + ", " + r.perSecond(r.Answered)},
		{"with an offer", count(r.offers()) + ", " + part(r.offers(), r.Answered)},
		{"shed", count(r.Shed) + ", " + part(r.Shed, r.Offered)},
		{"without an answer", count(r.Failed) + ", " + part(r.Failed, r.Offered)},
		{"signatures", count(r.Signatures) + ", " + r.perSecond(r.Signatures)},
		{"calls of plugins", count(r.GuestCalls) + ", " + r.perSecond(r.GuestCalls)},
	}
	if cpu := r.perCheck(); !math.IsNaN(cpu) {
		figures = append(figures, Figure{"CPU of the server", micros(cpu) + " a request, " + spent(r.CPU) + " in all"})
	}
	if r.Lag != nil && r.Lag.TotalCount() > 0 {
		figures = append(figures, Figure{"generator's lag", fmt.Sprintf("p50 %s, p99 %s, at most %s", micros(at(r.Lag, 0.5)), micros(at(r.Lag, 0.99)), micros(slowest(r.Lag)))})
	}
	return append(figures, r.Figures...)
}

// perSecond is n over the length of the run.
func (r *Result) perSecond(n uint64) string {
	if r.Took <= 0 {
		return none
	}
	return rate(float64(n) / r.Took.Seconds())
}

// printable takes from a text what would do something to a terminal: some of it came
// from a server under test.
func printable(s string) string {
	return strings.Map(func(c rune) rune {
		if unicode.IsPrint(c) {
			return c
		}
		return unicode.ReplacementChar
	}, s)
}
