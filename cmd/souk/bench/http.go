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
	"slices"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"
)

// HTTP are the flags of `souk bench`.
type HTTP struct {
	Case        []string      `placeholder:"NAME" help:"Only these cases, like f."`
	Rounds      int           `default:"3" help:"Rounds of three slices of each server. Default: 3."`
	Slice       time.Duration `default:"80ms" help:"How long a slice is. Default: 80ms."`
	Connections int           `placeholder:"N" help:"Connections at a time. Default: 64, 256 for f, and 16 for g."`
	Items       int           `default:"20000" help:"Apps of the catalogue. Default: 20000."`
	Families    int           `default:"32768" help:"Devices that are signed in. Default: 32768."`
	Dir         string        `type:"existingdir" placeholder:"DIR" help:"Where to keep the store meanwhile, on a disk. Default: the system's directory for temporary files."`
	Patience    time.Duration `placeholder:"TIME" help:"How long the run may take where the machine is restless: a case then goes on until the bare handler is steady, and its last slices count. Default: 12s for each of --rounds."`
	Check       bool          `help:"Exit with 1 if a ratio is not what it should be."`
	Slack       float64       `default:"1" help:"With --check: how far a ratio may miss its target, on a machine that others use too: with 1.25 four fifths of the requests a second are enough, and a quarter more of processor time is not too much. Default: 1."`
	Profile     string        `type:"path" placeholder:"FILE" help:"Write a profile of the server's processor time, of one case. For go tool pprof."`
	JSON        bool          `name:"json" help:"Print JSON, for machines."`
}

// Help says more than one line does.
func (c *HTTP) Help() string {
	return `Runs the server and a bare fasthttp handler, each in a process of its own, and
keeps one of them at a time busy, in slices that take turns. The handler reads
requests of the same size and answers with bodies of the same size. What is said
are ratios of neighbouring slices, medians of nine and more; the processor time is
the kernel's. A case beside which the handler itself varies by more than a fifth says
nothing. It goes on for a while (--patience), and if that doesn't help, it is void and
the exit code 1.

The server has the configuration that is shipped, with all its limits, but turns
nothing away when it is busy, has addresses and a directory of its own, and no
plugins where no question is asked of one. The devices are signed in, each with an
account of its own that is in memory, and have five apps from all over the
catalogue. Each answer is checked, a wrong one ends the run; some of the signatures
are verified when the case is over. guest calls and signatures are what the server
has counted itself, of a request. p99 is of clients that each wait for their answer.

  a   an update check, nothing newer: most are
  b   one check in ten is offered an update. The server signs nothing ahead: token.pool
      is 0 for a to d
  c   each check is offered one
  c'  the same, of 64 apps that came out just now and whose tokens are in the pool: it
      is filled between the slices
  d   each check is offered five
  e-  a plugin in this language is asked about five apps by each check, and holds
  f   a device refreshes its tokens, with durability = "power"
  g   a check over a new TLS 1.3 connection, beside a bare handler that has the same
`
}

// slicesEach is how many slices of each server a round has.
const slicesEach = 3

// roundWithin is how long a round of all cases may take, with all that is around it,
// where nobody says otherwise.
const roundWithin = 12 * time.Second

// caseTakes is about how long a case takes: its slices, a first one of each server, and
// what is between them.
func (c *HTTP) caseTakes() time.Duration {
	return 2*c.Slice*time.Duration(c.Rounds*slicesEach+1) + 300*time.Millisecond
}

// Validate refuses what doesn't go together.
func (c *HTTP) Validate() error {
	switch {
	case c.Rounds < 1 || c.Rounds > 10_000:
		return errors.New("--rounds has to be 1 to 10000")
	case c.Slice < time.Millisecond || c.Slice > time.Minute:
		return errors.New("--slice has to be 1ms to 1m")
	case c.Connections < 0 || c.Connections > 20_000:
		return errors.New("--connections has to be 1 to 20000")
	case c.Items < 100 || c.Items > 1_000_000:
		return errors.New("--items has to be 100 to 1000000")
	case c.Families < max(1, c.Connections) || c.Families > 100_000_000:
		return errors.New("--families has to be 1 to 100000000, and at least one for each of --connections")
	case c.Patience < 0 || c.Patience > 24*time.Hour:
		return errors.New("--patience has to be 0s to 24h")
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
	w := &patience{until: time.Now().Add(max(c.Patience, time.Duration(c.Rounds)*roundWithin))}
	p.say("%d apps, %d devices sign in …", c.Items, c.Families)
	f, err := startFill(ctx, dir, c.Items, c.Families)
	if err != nil {
		return err
	}
	all, err := c.play(ctx, dir, f, stages, w, p)
	if err != nil {
		return err
	}
	p.end()
	slices.SortStableFunc(all, func(a, b *result) int { return a.place() - b.place() })
	if c.JSON {
		err = printJSON(out, all)
	} else {
		err = printTable(out, all)
	}
	return errors.Join(err, c.verdict(all))
}

// play measures the cases of stages, one after the other.
func (c *HTTP) play(ctx context.Context, dir string, f *filled, stages []*stage, w *patience, p progress) (all []*result, err error) {
	baseline, err := startServer(ctx, roleBare)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, baseline.Stop()) }()
	for _, s := range stages {
		w.later += time.Duration(len(s.cases)) * c.caseTakes()
	}
	for _, s := range stages {
		results, err := c.stage(ctx, dir, f, s, baseline, w, p)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", s.name, err)
		}
		all = append(all, results...)
	}
	return all, nil
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

// stage measures the cases of a stage.
func (c *HTTP) stage(ctx context.Context, dir string, f *filled, s *stage, baseline *process, w *patience, p progress) (all []*result, err error) {
	p.say("%s …", s.name)
	m := measurement{baseline: baseline, patience: w}
	if s.tls {
		if m.tls, err = certify(dir); err != nil {
			return nil, err
		}
		if m.baseline, err = startServer(ctx, roleBare, "--dir", dir); err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, m.baseline.Stop()) }()
	}
	if m.server, err = startServer(ctx, roleSouk, "--stage", s.name, "--dir", dir); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, m.server.Stop()) }()
	if m.token, err = adminToken(dir); err != nil {
		return nil, err
	}
	if c.Profile != "" {
		if _, err := m.server.tell(order{Profile: c.Profile}); err != nil {
			return nil, fmt.Errorf("--profile: %w", err)
		}
	}
	for i := range s.cases {
		p.say("%s: %s …", s.cases[i].name, s.cases[i].does)
		m.httpCase, m.most = s.cases[i], 0
		r, err := m.run(ctx, c, f)
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
		if r.void() {
			what, fix := "bare fasthttp", "have more --patience"
			if r.byCPU {
				what, fix = "the processor time of bare fasthttp", "measure longer with --rounds"
			}
			wrong = append(wrong, fmt.Errorf("void: %s varied by %.0f %% beside case %s, at most %.0f %% are taken: let the machine be quiet, or %s",
				what, 100*r.spread(), r.name, 100*maxSpread, fix))
		}
		if !r.agrees(r.counted.guestCalls, r.guestCalls) || !r.agrees(r.counted.signatures, r.signatures) {
			wrong = append(wrong, fmt.Errorf("case %s: the server counted %.3g guest calls and %.3g signatures a request, and not %.3g and %.3g",
				r.name, r.counted.guestCalls, r.counted.signatures, r.guestCalls, r.signatures))
		}
		if !c.Check || r.void() {
			continue
		}
		if least := r.least / c.Slack; r.pairs.ratio() < least {
			wrong = append(wrong, fmt.Errorf("case %s: %.3f of bare fasthttp, and at least %.3g is wanted", r.name, r.pairs.ratio(), least))
		}
		if most := r.most * c.Slack; most > 0 && r.pairs.cpuRatio() > most {
			wrong = append(wrong, fmt.Errorf("case %s: %.2f times the processor time of bare fasthttp, and at most %.3g is wanted", r.name, r.pairs.cpuRatio(), most))
		}
	}
	return errors.Join(wrong...)
}

// agrees compares a count a request with what it should be. None is none; otherwise
// each connection may have ended in the middle of a round of its devices.
func (r *result) agrees(counted, claimed float64) bool {
	if claimed == 0 {
		return counted == 0
	}
	return math.Abs(counted-claimed) <= 0.02*claimed+float64(r.connections)/float64(max(1, r.requests))
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
		fmt.Fprintf(w, "%s\t%.0f\tbare\t%.1f µs\t\t%.1f ms\t\t\t%d slices of each%s, %d connections; bare varied by %.0f %%; a request took its client %.1f µs\n", r.name,
			r.pairs.median(func(x pair) float64 { return x.bare.rate() }), r.pairs.bareCPU(),
			float64(r.bareP99)/float64(time.Millisecond), len(r.pairs), r.waited(), r.connections, 100*r.spread(),
			r.pairs.median(func(x pair) float64 { return x.ours.clientsEach() }))
	}
	return w.Flush()
}

// waited says what came before the slices that count.
func (r *result) waited() string {
	if r.restless == 0 {
		return ""
	}
	return fmt.Sprintf(" after %d restless ones", r.restless)
}

func printJSON(out io.Writer, all []*result) error {
	rows := []row{}
	for _, r := range all {
		if !r.beside {
			rows = append(rows, r.row())
		}
	}
	e := json.NewEncoder(out)
	e.SetIndent("", "  ")
	return e.Encode(rows)
}
