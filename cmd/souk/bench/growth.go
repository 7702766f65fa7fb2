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
	"slices"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"
)

// Growth are the flags of `souk bench growth`.
type Growth struct {
	Series   []string      `placeholder:"NAME" help:"Only these: apps, items, plugins or connections."`
	Most     int           `placeholder:"N" help:"Leave out what is larger. Default: nothing."`
	Rounds   int           `default:"3" help:"Rounds of three slices of each server. Default: 3."`
	Slice    time.Duration `default:"100ms" help:"How long a slice is. Default: 100ms."`
	Families int           `default:"8192" help:"Devices that are signed in. Default: 8192."`
	Dir      string        `type:"existingdir" placeholder:"DIR" help:"Where to keep the stores meanwhile, on a disk. Default: the system's directory for temporary files."`
	JSON     bool          `name:"json" help:"Print JSON, for machines."`
}

// Help says more than one line does.
func (c *Growth) Help() string {
	return `What an update check costs the processor as one thing grows and the others stay:
the apps of a device, the apps of the catalogue, plugins that each check asks one after
the other, connections at a time. Beside it is a bare fasthttp handler with the same
requests over as many connections, in slices that take turns, as in "souk bench". The
multiple of its processor time is what may be compared between machines.`
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

// growthPoints are all points, in order.
func growthPoints() (all []*point) {
	add := func(series string, at, items, connections int, s *stage, c checks) {
		played := *s
		played.cases = []httpCase{{
			name: fmt.Sprintf("%s-%d", series, at), does: fmt.Sprintf("%d %s", at, seriesGrow[series]),
			connections: connections, clients: c.clients,
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
		w := &patience{until: time.Now().Add(3 * h.caseTakes())}
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
	fmt.Fprintln(w, "\t\tCPU of a check\tbare\tof bare\tabove bare\trequests/s of bare\tguest calls\tbare varied by")
	for _, x := range points {
		r := x.row()
		fmt.Fprintf(w, "%d\t%s\t%.1f µs\t%.1f µs\t%.2f ×\t%.1f µs\t%.3f\t%.4g\t%.0f %%\n",
			r.At, seriesGrow[r.Series], r.CPU, r.Bare, r.CPURatio, r.CPU-r.Bare, r.Ratio, r.GuestCalls, 100*x.pairs.spread())
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
