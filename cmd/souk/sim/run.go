package sim

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/souk-market/souk/cmd/souk/sim/population"
	"github.com/souk-market/souk/cmd/souk/sim/report"
	"github.com/souk-market/souk/core/catalog"
	"github.com/souk-market/souk/core/token"
)

// run is a simulation under way.
type run struct {
	c        *Command
	scenario *scenario
	config   population.Config
	apps     []population.App
	people   *population.Population
	items    []catalog.Item // the catalogue that it begins with
	from, to time.Time
	exact    bool // the policy is known: what is offered can be told in advance

	setup  setup
	server *process // nil = the operator's own
	ring   *token.Ring
	key    *installKey // nil = not known
	op     *operator
	host   string // host:port of the public listener
	tls    *tls.Config

	clock   *clock
	pacer   *pacer
	truth   *truth
	checks  *checks
	lacking *check // pairs of answers of which one has less than the other
	// What a server under pressure may do, as often as it says itself:
	withheld *check // an answer lacks an offer that is due
	excused  excused
	gone     atomic.Uint64 // apps that a device was told of that they are not there
	restored restored
	tally    *tally
	nonces   *nonces
	release  *release // that devices are asked about; nil = none
	keeper   *keeper  // of refresh tokens; nil = nothing is refreshed
	halted   atomic.Pointer[halt]
	mixes    atomic.Bool // policies change under the load: what is offered can't be told
	down     outages
	blind    atomic.Bool // the server is about to be killed: what it counts from now on nobody reads

	mu     sync.Mutex
	result report.Result
	base   counters // at the start of the server, or of its latest start
	used   counters // of servers before
	last   counters
	late   time.Duration // the machine, see Pulse
	opened time.Duration // how long the server took to start
}

// mark notes an event of the run.
func (r *run) mark(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.result.Marks = append(r.result.Marks, report.Mark{At: r.clock.Now(), What: fmt.Sprintf(format, args...)})
}

func (r *run) figure(name, format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.result.Figures = append(r.result.Figures, report.Figure{Name: name, Value: fmt.Sprintf(format, args...)})
}

// sleep waits until a time of the simulation.
func (r *run) sleep(ctx context.Context, until time.Time) error {
	t := time.NewTimer(r.clock.due(until) - r.clock.since())
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// newRun makes the market and its people. Nothing is started.
func newRun(c *Command) (*run, error) {
	of, err := scenarioNamed(c.Scenario)
	if err != nil {
		return nil, err
	}
	r := &run{c: c, checks: newChecks(), lacking: new(check), withheld: new(check), excused: newExcused(), restored: restored{unasked: new(check)}, tally: newTally(), nonces: newNonces(), exact: c.Config == "" && c.Target == ""}
	r.config = population.Default()
	r.config.Seed, r.config.Devices, r.config.Apps = c.Seed, c.Devices, c.Apps
	if r.scenario, err = of.make(r); err != nil {
		return nil, err
	}
	if c.Target != "" && r.scenario.alone != "" {
		return nil, fmt.Errorf("--target: %s %s: run it without --target", c.Scenario, r.scenario.alone)
	}
	speed, length := c.Speed, c.Duration
	if speed == 0 {
		speed = r.scenario.speed
	}
	if length == 0 {
		length = r.scenario.length
	}
	r.from = r.config.Start.Add(r.scenario.begin)
	if c.Target != "" { // the time is the machine's
		speed = 1
		r.config.Start = time.Now().UTC().Truncate(24 * time.Hour)
		r.from = time.Now().UTC()
	}
	r.to = r.from.Add(length)
	r.clock = newClock(r.from, speed)
	r.pacer = newPacer(r.clock)
	r.result = report.Result{
		Scenario: c.Scenario, Variant: r.scenario.variant, Seed: c.Seed, Devices: c.Devices, Speed: speed,
		Connections: "keep-alive", Target: c.Target, Start: r.from, Simulated: length, Lag: r.tally.lag,
	}
	if c.TLS {
		r.result.Connections = "tls"
	}
	r.result.Command = c.line(&r.result)
	r.result.Machine = fmt.Sprintf("%s/%s, %d cores", runtime.GOOS, runtime.GOARCH, runtime.NumCPU())
	if c.Target == "" {
		r.result.Software = software()
	}
	return r, nil
}

// populate makes the apps of a market of our own, and everybody's devices.
func (r *run) populate() (err error) {
	r.apps = population.Catalogue(r.config)
	if r.scenario.apps != nil {
		r.scenario.apps(r)
	}
	for i := range r.apps {
		r.items = append(r.items, r.apps[i].Entry(r.from))
	}
	if r.scenario.catalogue != nil {
		r.scenario.catalogue(r)
	}
	r.truth = newTruth(r.items)
	r.people, err = population.New(r.config, r.apps)
	return err
}

// open starts a server of our own, with a catalogue and with the people who will ask.
func (r *run) open(ctx context.Context, dir string) error {
	var key [32]byte
	_, _ = rand.Read(key[:]) // never fails
	r.setup.Dir, r.setup.Config, r.setup.Key = filepath.Join(dir, "data"), r.c.Config, hex.EncodeToString(key[:])
	r.setup.Epoch, r.setup.Speed, r.setup.Population, r.setup.Patience = r.from, r.clock.speed, r.config, r.c.Patience
	if r.c.TLS {
		if err := r.throwAwayCertificate(dir); err != nil {
			return err
		}
	}
	var err error
	began := time.Now()
	if r.server, err = startProcess(ctx, &r.setup); err != nil {
		return err
	}
	r.opened = time.Since(began)
	if r.ring, err = r.setup.openRing(&r.server.hello); err != nil {
		return err
	}
	if r.key, err = parseInstallKey([]byte(r.server.InstallKey), r.server.Issuer, r.server.KeyID); err != nil {
		return err
	}
	r.host, r.op = r.server.Public, newOperator(r.server.Admin, r.server.Token)
	if err := r.op.importApps(ctx, r.items); err != nil {
		return fmt.Errorf("write the catalogue: %w", err)
	}
	const meets = "%d devices: the server gets to know those that will ask: %d of about %d"
	expected := r.expected()
	r.c.progress.say(meets, r.c.Devices, 0, expected)
	d, err := r.server.follow(order{Fill: &fill{From: r.from, To: r.to, Refresh: r.keeper != nil}}, func(d done) {
		r.c.progress.say(meets, r.c.Devices, d.Known, expected)
	})
	if err != nil {
		return err
	}
	if r.keeper != nil {
		r.keeper.fill(d.Devices, d.Refresh)
	}
	return nil
}

// expected is about how many devices will ask: each once a day, and more of them the
// longer the run is.
func (r *run) expected() uint64 {
	n := 0.0
	for at := r.from; at.Before(r.to); at = at.Add(time.Minute) {
		n += r.people.Rate(at) * min(time.Minute, r.to.Sub(at)).Seconds()
	}
	return uint64(min(n, float64(r.config.Devices)))
}

// drive sends the load, and returns when all of it is answered.
func (r *run) drive(ctx context.Context) (err error) {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	if r.base, err = r.op.counters(ctx); err != nil {
		return err
	}
	start := time.Now().Add(20 * time.Millisecond).Round(0)
	if r.server != nil {
		if _, err := r.server.tell(order{Start: &start}); err != nil {
			return err
		}
		r.setup.Started = start
	}
	r.clock.start(start)

	pulse, err := startPulse(ctx)
	if err != nil {
		return err
	}
	var workers, beside sync.WaitGroup
	for range r.c.Connections {
		workers.Go(func() { newWorker(r).run() })
	}
	also := func(f func(context.Context) error) {
		beside.Go(func() {
			if err := f(ctx); err != nil && ctx.Err() == nil {
				stop(err)
			}
		})
	}
	ended := make(chan struct{})
	also(func(ctx context.Context) error { return r.tick(ctx, ended) })
	if r.c.Target == "" {
		also(r.publish)
	}
	if r.scenario.operate != nil {
		also(func(ctx context.Context) error { return r.scenario.operate(ctx) })
	}
	r.pacer.run(ctx, r.people.Arrivals(r.from, r.to), r.clock.due(r.to), func(job) { r.tally.due() })
	workers.Wait()
	close(ended)
	beside.Wait()
	if r.late, err = pulse.stop(); ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// void notes why the run says nothing.
func (r *run) void(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.result.Void = append(r.result.Void, fmt.Sprintf(format, args...))
}

// simulate runs a scenario from its beginning to its end.
func (c *Command) simulate(ctx context.Context) (_ *report.Result, err error) {
	r, err := newRun(c)
	if err != nil {
		return nil, err
	}
	if c.Target != "" {
		if err := r.meet(ctx); err != nil {
			return nil, err
		}
	} else {
		dir, err := os.MkdirTemp("", "souk-sim-")
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
		if err := r.populate(); err != nil {
			return nil, err
		}
		defer func() {
			if r.server != nil {
				err = errors.Join(err, r.server.Stop())
			}
		}()
		if err := r.open(ctx, dir); err != nil {
			return nil, err
		}
	}
	if err := r.drive(ctx); err != nil {
		return nil, err
	}
	return r.finish(), nil
}
