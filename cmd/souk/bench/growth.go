package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/souk-market/souk/cmd/souk/sim/report"
)

// Growth are the flags of `souk bench growth`.
type Growth struct {
	Series   []string      `placeholder:"NAME" help:"Only these: apps, items, plugins or connections."`
	Most     int           `placeholder:"N" help:"Leave out what is larger. Default: nothing."`
	Rounds   int           `default:"3" help:"Rounds of three slices of each server. Default: 3."`
	Slice    time.Duration `default:"100ms" help:"How long a slice is. Default: 100ms."`
	Families int           `default:"8192" help:"Devices that are signed in. Default: 8192."`
	Dir      string        `type:"existingdir" placeholder:"DIR" help:"Where to keep the stores meanwhile, on a disk. Default: the system's directory for temporary files."`
	Report   string        `type:"path" placeholder:"FILE" help:"Write a page with plots too, HTML that needs nothing else."`
	JSON     bool          `name:"json" help:"Print JSON, for machines."`
}

// Help says more than one line does.
func (c *Growth) Help() string {
	return `What an update check costs the processor as one thing grows and the others stay:
the apps of a device, the apps of the catalogue, plugins that each check asks one after
the other, connections at a time. Beside it is a bare fasthttp handler with the same
requests over as many connections, in slices that take turns, as in "souk bench". The
multiple of its processor time is what may be compared between machines; where that of
the bare handler varies by more than a fifth, it says nothing.`
}

// growthItems is how many apps the catalogue has where that is not what grows.
const growthItems = 20_000

// point is one size of what grows.
type point struct {
	series string
	at     int
	items  int // of the catalogue
	stage  *stage
	*result
}

// seriesNames are all there are, in order, with what it is that grows.
var seriesNames = []string{"apps", "items", "plugins", "connections"}

var seriesGrow = map[string]string{
	"apps":        "apps of a device",
	"items":       "apps of the catalogue",
	"plugins":     "plugins that each check asks",
	"connections": "connections at a time",
}

// seriesHow says how each is measured.
var seriesHow = map[string]string{
	"apps":        fmt.Sprintf("Nothing newer, 64 connections, a catalogue of %d apps. The bare handler reads as long a request.", growthItems),
	"items":       "Nothing newer, 64 connections, devices with five apps from all over the catalogue.",
	"plugins":     fmt.Sprintf("All five apps of a device have a version that is offered to nobody. Each plugin, in Go, is asked about all of them. 64 connections, a catalogue of %d apps.", growthItems),
	"connections": fmt.Sprintf("Nothing newer, devices with five apps, a catalogue of %d. The bare handler has as many connections.", growthItems),
}

// growthPoints are all points, in order.
func growthPoints() (all []*point) {
	add := func(series string, at, items, connections int, s *stage, c checks) {
		played := *s
		played.cases = []httpCase{{
			name: fmt.Sprintf("%s-%d", series, at), does: fmt.Sprintf("%d %s", at, seriesGrow[series]),
			byCPU: true, connections: connections, clients: c.clients,
		}}
		if series == "plugins" {
			played.cases[0].guestCalls = float64(at)
		}
		all = append(all, &point{series: series, at: at, items: items, stage: &played})
	}
	for _, n := range []int{1, 10, 100} {
		add("apps", n, growthItems, checkConnections, checkStage, checks{apps: n})
	}
	for _, n := range []int{100, 1000, 10_000, 100_000} {
		add("items", n, n, checkConnections, checkStage, checks{apps: appsEach})
	}
	for _, s := range pluginStages {
		add("plugins", len(s.plugins), growthItems, checkConnections, s, checks{apps: appsEach, held: true})
	}
	for _, n := range []int{64, 256, 1024, 4096} {
		add("connections", n, growthItems, n, checkStage, checks{apps: appsEach})
	}
	return all
}

// growthRow is a point as JSON has it.
type growthRow struct {
	Series     string  `json:"series"`
	At         int     `json:"at"`
	Ratio      float64 `json:"ratio"` // to the bare handler's requests a second
	CPU        float64 `json:"cpu_us"`
	Bare       float64 `json:"bare_cpu_us"`
	CPURatio   float64 `json:"cpu_ratio"`
	GuestCalls float64 `json:"guest_calls"` // a check
}

func (p *point) row() growthRow {
	return growthRow{
		Series: p.series, At: p.at, Ratio: p.pairs.ratio(), CPU: p.pairs.cpu(), Bare: p.pairs.bareCPU(),
		CPURatio: p.pairs.cpuRatio(), GuestCalls: p.counted.guestCalls,
	}
}

// Validate refuses what doesn't go together.
func (c *Growth) Validate() error {
	for _, name := range c.Series {
		if !slices.Contains(seriesNames, name) {
			return fmt.Errorf("--series: there is no series %q: there are %s", name, strings.Join(seriesNames, ", "))
		}
	}
	if len(c.chosen()) == 0 {
		return errors.New("--most: nothing is so small")
	}
	if c.Report != "" { // before all the time is spent
		if at, err := os.Stat(filepath.Dir(c.Report)); err != nil || !at.IsDir() {
			return fmt.Errorf("--report: there is no directory %s", filepath.Dir(c.Report))
		}
	}
	return c.http().Validate()
}

// chosen are the points that are measured.
func (c *Growth) chosen() []*point {
	return slices.DeleteFunc(growthPoints(), func(p *point) bool {
		return len(c.Series) > 0 && !slices.Contains(c.Series, p.series) || c.Most > 0 && p.at > c.Most
	})
}

// http are the flags that the cases have too.
func (c *Growth) http() *HTTP {
	return &HTTP{Rounds: c.Rounds, Slice: c.Slice, Items: growthItems, Families: c.Families, Dir: c.Dir, Slack: 1}
}

// Run measures.
func (c *Growth) Run() error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	p := newProgress()
	defer p.end()
	return c.run(ctx, os.Stdout, p)
}

func (c *Growth) run(ctx context.Context, out io.Writer, p progress) (err error) {
	h := c.http()
	dir, err := h.directory()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	points := c.chosen()
	for _, items := range catalogues(points) { // those of the same catalogue share a store
		if err := c.measure(ctx, h, filepath.Join(dir, fmt.Sprint(items)), items, points, p); err != nil {
			return err
		}
	}
	p.end()
	var results []*result
	for _, x := range points {
		results = append(results, x.result)
	}
	if c.JSON {
		err = printGrowthJSON(out, points)
	} else {
		err = printGrowth(out, points)
	}
	if c.Report != "" {
		err = errors.Join(err, c.report(points))
	}
	return errors.Join(err, h.verdict(results))
}

// catalogues are the sizes of the catalogues that points have.
func catalogues(points []*point) (sizes []int) {
	for _, x := range points {
		if !slices.Contains(sizes, x.items) {
			sizes = append(sizes, x.items)
		}
	}
	return sizes
}

// measure measures the points with a catalogue of this size.
func (c *Growth) measure(ctx context.Context, h *HTTP, dir string, items int, points []*point, p progress) error {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	p.say("%d apps, %d devices sign in …", items, c.Families)
	f, err := startFill(ctx, dir, items, c.Families)
	if err != nil {
		return err
	}
	for _, x := range points {
		if x.items != items {
			continue
		}
		w := &patience{until: time.Now().Add(6 * h.caseTakes())}
		results, err := h.play(ctx, dir, f, []*stage{x.stage}, w, p)
		if err != nil {
			return err
		}
		x.result = results[0]
	}
	return os.RemoveAll(dir)
}

func printGrowth(out io.Writer, points []*point) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "\t\tCPU of a check\tbare\tof bare\tabove bare\trequests/s of bare\tguest calls\tbare's CPU varied by")
	for _, x := range points {
		r := x.row()
		fmt.Fprintf(w, "%d\t%s\t%.1f µs\t%.1f µs\t%.2f ×\t%.1f µs\t%.3f\t%.4g\t%.0f %%\n",
			r.At, seriesGrow[r.Series], r.CPU, r.Bare, r.CPURatio, r.CPU-r.Bare, r.Ratio, r.GuestCalls, 100*x.spread())
	}
	return w.Flush()
}

func printGrowthJSON(out io.Writer, points []*point) error {
	rows := make([]growthRow, len(points))
	for i, x := range points {
		rows[i] = x.row()
	}
	e := json.NewEncoder(out)
	e.SetIndent("", "  ")
	return e.Encode(rows)
}

// report writes the page.
func (c *Growth) report(points []*point) (err error) {
	f, err := os.Create(c.Report)
	if err != nil {
		return fmt.Errorf("--report: %w", err)
	}
	return errors.Join(report.GrowthHTML(f, c.page(points)), f.Close())
}

// page is what the page says.
func (c *Growth) page(points []*point) *report.Growth {
	g := &report.Growth{
		Command:  fmt.Sprintf("souk bench growth --rounds %d --slice %v --families %d", c.Rounds, c.Slice, c.Families),
		Software: runtime.Version(), Machine: fmt.Sprintf("%s/%s, %d cores", runtime.GOOS, runtime.GOARCH, runtime.NumCPU()),
	}
	for _, name := range seriesNames {
		t := report.GrowthTable{What: seriesGrow[name], How: seriesHow[name]}
		for _, x := range points {
			if x.series == name {
				t.Points = append(t.Points, report.GrowthPoint{X: float64(x.at), CPU: x.pairs.cpu(), Ratio: x.pairs.cpuRatio()})
			}
		}
		if len(t.Points) > 0 {
			g.Tables = append(g.Tables, t)
		}
	}
	return g
}
