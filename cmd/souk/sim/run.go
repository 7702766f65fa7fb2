package sim

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
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
	r.c.progress.say("%d devices: the server gets to know those that will ask …", r.c.Devices)
	d, err := r.server.tell(order{Fill: &fill{From: r.from, To: r.to, Refresh: r.keeper != nil}})
	if err != nil {
		return err
	}
	if r.keeper != nil {
		r.keeper.fill(d.Devices, d.Refresh)
	}
	return nil
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

// publish lets the market's own releases come out when their time has come.
func (r *run) publish(ctx context.Context) error {
	type coming struct {
		app *population.App
		v   population.Version
	}
	var all []coming
	for i := range r.apps {
		for _, v := range r.apps[i].Versions {
			if v.Released.After(r.from) && v.Released.Before(r.to) {
				all = append(all, coming{&r.apps[i], v})
			}
		}
	}
	slices.SortFunc(all, func(a, b coming) int { return a.v.Released.Compare(b.v.Released) })
	for _, c := range all {
		if err := r.sleep(ctx, c.v.Released); err != nil {
			return nil // the run is over
		}
		if r.down.now() {
			continue // an operator whose server is down publishes later, and later is after this run
		}
		it := r.truth.now(c.app.Item)
		for _, v := range c.app.Entry(c.v.Released).Versions {
			if v.ID == c.v.ID && !slices.ContainsFunc(it.Versions, func(x catalog.Version) bool { return x.ID == v.ID }) {
				it.Versions = append(it.Versions, v)
			}
		}
		if err := r.change(it, func() error { return r.op.putApp(ctx, it) }); err != nil {
			return err
		}
	}
	return nil
}

// change has the operator change an app, and notes from when to when both are right.
func (r *run) change(it catalog.Item, tell func() error) error {
	s := r.truth.change(it, r.clock.since())
	err := tell()
	s.done.Store(int64(r.clock.since()))
	if err != nil && r.down.now() { // killed under its hands: whether it was done isn't known
		s.done.Store(math.MaxInt64)
		return nil
	}
	return err
}

// void notes why the run says nothing.
func (r *run) void(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.result.Void = append(r.result.Void, fmt.Sprintf(format, args...))
}

// finish turns what was counted into a result.
func (r *run) finish() *report.Result {
	if r.scenario.conclude != nil {
		r.scenario.conclude()
	}
	t := r.tally
	total := r.used.plus(r.last.minus(r.base))
	if r.server != nil { // nobody else asks it: what was turned away without anything due counts too
		t.shed = max(t.shed, total.shed())
	}
	r.checks.shed.looked.Store(t.offered)
	if t.shed*100 > t.offered {
		r.checks.shed.failed.Store(t.shed)
		r.checks.shed.first = fmt.Sprintf("%d of %d requests", t.shed, t.offered)
	}
	r.checks.due.add(r.withheld, float64(r.withheld.failed.Load()) > total.withheld())
	r.checks.sticky.add(r.lacking, float64(r.lacking.failed.Load()) > mostLacking(total.withheld()))
	r.checks.restored.add(r.restored.unasked, float64(r.restored.unasked.failed.Load()) > total.rushed)
	beyond := float64(r.excused.failed()) > total.empty
	r.checks.codes.add(r.excused.codes, beyond)
	r.checks.failures.add(r.excused.failures, beyond)
	res := &r.result
	res.Took = r.clock.since()
	res.Offered, res.Sent, res.Answered, res.Shed, res.Failed = t.offered, t.sent, t.answered, t.shed, t.failed
	res.Classes = t.order
	res.CPU, res.Signatures, res.GuestCalls = total.cpu, uint64(total.signatures), uint64(total.guestCalls)
	claimed := append([]*check{r.checks.answered, r.checks.shed}, r.scenario.claims...)
	for _, c := range r.checks.all() {
		claims := slices.Contains(claimed, c)
		if looked := c.looked.Load(); looked == 0 && !claims {
			continue
		} else if looked == 0 {
			c.hold(false, func() string { return "nothing was looked at: the run was too small or too short for it" })
			c.looked.Store(0)
		}
		res.Checks = append(res.Checks, c.report())
	}
	if r.nonces.part > 1 {
		r.figure("nonces", "one in %d was kept and compared, by its value", r.nonces.part)
	}
	if t.answered == 0 {
		res.Void = append(res.Void, "nothing was answered")
	}
	most := r.mostLag()
	r.figure("the machine's own lateness", "p99.9 %v, of an idle process: a lag of up to %v is taken", r.late, most)
	if lag := time.Duration(t.lag.ValueAtQuantile(99)) * time.Microsecond; lag > most {
		res.Void = append(res.Void, fmt.Sprintf("the generator fell behind: of 100 requests one was sent %v late or more, and %v is taken: use a lower --speed, or let the machine be quieter", lag, most))
	}
	return res
}

// mostLacking is how many pairs of answers may differ in what they lack when so many
// offers were left out: one answer of stickyEvery begins a pair, and another ends it. The
// pairs are drawn at random, so it is four standard deviations more, and three for a
// number that is small.
func mostLacking(withheld float64) float64 {
	if withheld == 0 {
		return 0
	}
	mean := 2 * withheld / stickyEvery
	return mean + 4*math.Sqrt(mean) + 3
}

// excused are requests that were answered with an empty list where something else was
// due. A server that turns an update check away does so before it has read more than
// its path.
type excused struct{ codes, failures *check }

func newExcused() excused { return excused{new(check), new(check)} }

func (e excused) failed() uint64 { return e.codes.failed.Load() + e.failures.failed.Load() }

// machineTimes is how many times as late the generator may be, once in a hundred, as an
// idle process is once in a thousand: a request takes it several wake-ups where that has
// one. A generator that has too much to do is late by more and more.
const machineTimes = 2

// lagTimes is how many times --max-lag is taken at most, however late the machine is.
const lagTimes = 5

// mostLag is how late one request of a hundred may be sent.
func (r *run) mostLag() time.Duration {
	return max(r.c.MaxLag, min(machineTimes*r.late+time.Millisecond, lagTimes*r.c.MaxLag))
}

// outages are the times in which no answer was to be expected.
type outages struct {
	mu   sync.Mutex
	list []outage
}

type outage struct{ from, to time.Duration }

func (o *outages) begin(at time.Duration) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.list = append(o.list, outage{at, math.MaxInt64})
}

func (o *outages) end(at time.Duration) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.list[len(o.list)-1].to = at
}

func (o *outages) now() bool { return o.during(math.MaxInt64-1, math.MaxInt64-1) }

// during says whether any of a time was one.
func (o *outages) during(from, to time.Duration) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.ContainsFunc(o.list, func(x outage) bool { return from < x.to && x.from < to })
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
