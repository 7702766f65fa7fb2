package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"
)

// HTTP are the flags of `souk bench`.
type HTTP struct {
	Case        []string      `placeholder:"NAME" help:"Only these cases, like f."`
	Rounds      int           `default:"3" help:"Rounds of three slices of each server. Default: 3."`
	Slice       time.Duration `default:"250ms" help:"How long a slice is. Default: 250ms."`
	Connections int           `default:"256" help:"Keep-alive connections. Default: 256."`
	Families    int           `default:"32768" help:"Devices that are signed in. Default: 32768."`
	Dir         string        `type:"existingdir" placeholder:"DIR" help:"Where to keep the store meanwhile, on a disk. Default: the system's directory for temporary files."`
	Check       bool          `help:"Exit with 1 if a ratio is less than it should be."`
	Slack       float64       `default:"1" help:"With --check: how far below its target a ratio may be, on a machine that others use too: 1.25 is four fifths of it. Default: 1."`
	Profile     string        `type:"path" placeholder:"FILE" help:"Write a profile of the server's processor time, of one case. For go tool pprof."`
	JSON        bool          `name:"json" help:"Print JSON, for machines."`
}

// Help says more than one line does.
func (c *HTTP) Help() string {
	return `Runs the server and a bare fasthttp handler, each in a process of its own, and
keeps one of them at a time busy, in slices that take turns. The handler reads
requests of the same size and answers with bodies of the same size. What is said
are ratios of neighbouring slices, medians of nine and more; the processor time is
the kernel's. A run in which the handler itself varies by more than a fifth says
nothing: it is void, and the exit code is 1.

The server has the configuration that is shipped, with all its limits, but for
addresses, the directory and, where no question is asked of one, plugins. Each
answer is checked; one that is wrong ends the run. guest calls and signatures are
what the server has counted itself, of a request.

  f  a device refreshes its tokens, with durability = "power"`
}

// slicesEach is how many slices of each server a round has.
const slicesEach = 3

// Validate refuses what doesn't go together.
func (c *HTTP) Validate() error {
	switch {
	case c.Rounds < 1 || c.Rounds > 10_000:
		return errors.New("--rounds has to be 1 to 10000")
	case c.Slice < time.Millisecond || c.Slice > time.Minute:
		return errors.New("--slice has to be 1ms to 1m")
	case c.Connections < 1 || c.Connections > 20_000:
		return errors.New("--connections has to be 1 to 20000")
	case c.Families < c.Connections || c.Families > 100_000_000:
		return errors.New("--families has to be 1 to 100000000, and at least one for each of --connections")
	case c.Slack < 1:
		return errors.New("--slack has to be 1 or more")
	}
	stages, err := chosen(c.Case)
	if err != nil {
		return err
	}
	if c.Profile != "" && (len(stages) != 1 || len(stages[0].cases) != 1) {
		return errors.New("--profile is of one case: name it with --case")
	}
	return nil
}

// Run measures.
func (c *HTTP) Run() error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	p := newProgress()
	defer p.end()
	return c.run(ctx, os.Stdout, p)
}

func (c *HTTP) run(ctx context.Context, out io.Writer, p progress) (err error) {
	stages, err := chosen(c.Case)
	if err != nil {
		return err
	}
	dir, err := c.directory()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	baseline, err := startServer(ctx, roleBare)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, baseline.stop()) }()
	var all []*result
	for _, s := range stages {
		results, err := c.play(ctx, s, filepath.Join(dir, s.name), baseline, p)
		if err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		all = append(all, results...)
	}
	p.end()
	if c.JSON {
		err = printJSON(out, all)
	} else {
		err = printTable(out, all)
	}
	return errors.Join(err, c.verdict(all))
}

// directory makes one for the stores, on a disk.
func (c *HTTP) directory() (string, error) {
	if c.Dir != "" {
		if inMemory(c.Dir) {
			return "", fmt.Errorf("--dir: %s is no disk but memory: nothing is durable there", c.Dir)
		}
		return os.MkdirTemp(c.Dir, "souk-bench-")
	}
	places := []string{os.TempDir()}
	if cache, err := os.UserCacheDir(); err == nil {
		places = append(places, cache)
	}
	for _, place := range places {
		if _, err := os.Stat(place); err == nil && !inMemory(place) {
			return os.MkdirTemp(place, "souk-bench-")
		}
	}
	return "", fmt.Errorf("none of %s is on a disk, and nothing is durable without: name a directory with --dir", strings.Join(places, ", "))
}

// play measures the cases of a stage.
func (c *HTTP) play(ctx context.Context, s *stage, dir string, baseline *process, p progress) (_ []*result, err error) {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	p.say("%s: %d devices sign in …", s.name, c.Families)
	said, err := fill(ctx, s, dir, c.Families)
	if err != nil {
		return nil, err
	}
	server, err := startServer(ctx, roleSouk, "--stage", s.name, "--dir", dir)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, server.stop()) }()
	token, err := adminToken(dir)
	if err != nil {
		return nil, err
	}
	if c.Profile != "" {
		if _, err := server.tell(order{Profile: c.Profile}); err != nil {
			return nil, fmt.Errorf("--profile: %w", err)
		}
	}
	var all []*result
	for i := range s.cases {
		p.say("%s: %s …", s.cases[i].name, s.cases[i].does)
		m := measurement{httpCase: s.cases[i], baseline: baseline, server: server, token: token}
		r, err := m.run(ctx, c, said)
		if err != nil {
			return nil, fmt.Errorf("case %s: %w", s.cases[i].name, err)
		}
		all = append(all, r)
	}
	return all, nil
}

// verdict says what is wrong with results, if something is.
func (c *HTTP) verdict(all []*result) error {
	var wrong []error
	for _, r := range all {
		if r.pairs.void() {
			wrong = append(wrong, fmt.Errorf("void: bare fasthttp varied by %.0f %% beside case %s, at most %.0f %% are taken: let the machine be quiet, or measure longer with --rounds",
				100*r.pairs.spread(), r.name, 100*maxSpread))
		}
		if !agrees(r.counted.guestCalls, r.guestCalls) || !agrees(r.counted.signatures, r.signatures) {
			wrong = append(wrong, fmt.Errorf("case %s: the server counted %.3g guest calls and %.3g signatures a request, and not %.3g and %.3g",
				r.name, r.counted.guestCalls, r.counted.signatures, r.guestCalls, r.signatures))
		}
		if least := r.least / c.Slack; c.Check && !r.pairs.void() && r.pairs.ratio() < least {
			wrong = append(wrong, fmt.Errorf("case %s: %.3f of bare fasthttp, and at least %.3g is wanted", r.name, r.pairs.ratio(), least))
		}
	}
	return errors.Join(wrong...)
}

// agrees compares a count a request with what it should be. None is none.
func agrees(counted, claimed float64) bool {
	return math.Abs(counted-claimed) <= 0.02*claimed
}

func printTable(out io.Writer, all []*result) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "case\trequests/s\tof bare fasthttp\tCPU\tof bare\tp99\tguest calls\tsignatures\t")
	for _, r := range all {
		l := r.row()
		fmt.Fprintf(w, "%s\t%.0f\t%.3f\t%.1f µs\t%.2f ×\t%.1f ms\t%.4g\t%.4g\t%s\n",
			l.Case, l.RPS, l.Ratio, l.CPU, l.CPURatio, l.P99, l.GuestCalls, l.Signatures, r.does)
	}
	for _, r := range all {
		fmt.Fprintf(w, "%s\t%.0f\tbare\t%.1f µs\t\t%.1f ms\t\t\tslices: %d of each; bare varied by %.0f %%\n", r.name,
			r.pairs.median(func(x pair) float64 { return x.bare.rate() }), r.pairs.median(func(x pair) float64 { return x.bare.cpuEach() }),
			float64(r.bareP99)/float64(time.Millisecond), len(r.pairs), 100*r.pairs.spread())
	}
	return w.Flush()
}

func printJSON(out io.Writer, all []*result) error {
	rows := make([]row, len(all))
	for i, r := range all {
		rows[i] = r.row()
	}
	e := json.NewEncoder(out)
	e.SetIndent("", "  ")
	return e.Encode(rows)
}
