package server

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"runtime"
	"sync/atomic"
	"time"
)

// Pressure says what has to make room, because requests come faster than they are
// answered. It is one number that climbs while requests wait and falls when they no
// longer do, through three stages; each has a share, from none to all:
//
//	0 to 1   of the offers that an update check would have to wait for a signature for
//	1 to 2   of the update checks, which are turned away
//	2 to 3   of everything else, and of new TLS connections
//
// Make it with NewPressure; a request costs it one atomic load. See RATIONALE.md for
// what is measured and why.
type Pressure struct {
	level atomic.Uint32 // stage = 1
	delay atomic.Int64  // ns, of the last look

	laws   governor
	waits  func() (n uint64, together time.Duration)
	told   func() time.Duration // in the place of the probe; nil = the probe
	log    *slog.Logger
	cancel context.CancelFunc
	done   chan struct{}
}

// stage is the shares of one stage.
const stage = 1 << 10

// The rhythm. A probe is sent at each beat, unless the one before is still under way.
// A look sums up some beats: pressure climbs only if requests waited all that time, so
// a burst, a collection of garbage or a neighbour that takes the processor for a
// moment is none.
const (
	beat  = 10 * time.Millisecond
	beats = 5 // of a look
)

// PressureOptions wire a Pressure. Only Limits is needed.
type PressureOptions struct {
	Limits Limits
	// Waits is how many questions have waited for an instance of a plugin so far, and
	// how long together: a queue that is none of the processor's.
	Waits func() (n uint64, together time.Duration)
	// Delay stands in the place of what is measured. It is for tests.
	Delay func() time.Duration
	Log   *slog.Logger // nil = silent
}

// NewPressure makes a Pressure that a Server sets to work.
func NewPressure(o PressureOptions) *Pressure {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Pressure{
		laws:  governor{updates: o.Limits.ShedUpdates.Std(), all: o.Limits.ShedAll.Std()},
		waits: o.Waits, told: o.Delay, log: o.Log,
	}
}

// Level is the pressure, from 0 to 3, and Delay how long requests waited when it was
// last looked at.
func (p *Pressure) Level() float64 { return float64(p.level.Load()) / stage }

// Delay is how long a request had to wait when it was last looked at.
func (p *Pressure) Delay() time.Duration { return time.Duration(p.delay.Load()) }

// Spares says whether an update check has to do without a signature.
//
// hot: called for each offer of an update check.
func (p *Pressure) Spares() bool { return chance(p.level.Load(), 0) }

// sheds says whether a request is turned away.
//
// hot: called for every request.
func (p *Pressure) sheds(background bool) bool {
	level := p.level.Load()
	if level <= stage {
		return false
	}
	from := uint32(2 * stage)
	if background {
		from = stage
	}
	return chance(level, from)
}

// chance is true for a share of the calls: for none at a level of from, for all one
// stage above.
func chance(level, from uint32) bool {
	return level > from && rand.Uint32N(stage) < level-from
}

// meter measures how long a request has to wait.
type meter interface {
	beat()
	look() time.Duration // the shortest since the look before
	close()              // nothing of it runs on
}

// fixed is a meter for tests.
type fixed func() time.Duration

func (fixed) beat()                 {}
func (f fixed) look() time.Duration { return f() }
func (fixed) close()                {}

// watch looks until Close. work is what was done so far, in requests and handshakes.
func (p *Pressure) watch(work func() uint64) error {
	if p.laws.updates == 0 {
		return nil
	}
	ctx, cancel := context.WithCancel(context.Background())
	var m meter = fixed(p.told)
	if p.told == nil {
		probe, err := newProbe(work)
		if err != nil {
			cancel()
			return err
		}
		m = probe
	}
	p.cancel, p.done = cancel, make(chan struct{})
	go p.run(ctx, m)
	return nil
}

// Close ends what the Server began and waits for it; the level stays what it is.
func (p *Pressure) Close() {
	if p.cancel != nil {
		p.cancel()
		<-p.done
	}
}

// run looks again and again.
func (p *Pressure) run(ctx context.Context, m meter) {
	defer close(p.done)
	defer m.close()
	tick := time.NewTicker(beat)
	defer tick.Stop()
	queue := queue{waits: p.waits}
	news := news{log: p.log}
	for {
		for range beats {
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
			m.beat()
		}
		delay := max(m.look(), queue.look())
		p.delay.Store(int64(delay))
		p.level.Store(p.laws.look(delay))
		news.tell(p.Level(), delay)
	}
}

// never is longer than anything waits.
const never = time.Duration(1<<63 - 1)

// enough is how many requests a processor must have had to do while one waited, for
// that to be a queue. With fewer it was the machine that had no time for us, and to
// turn somebody away would help nobody.
const enough = 4

func queued(n uint64) bool { return n >= enough*uint64(runtime.GOMAXPROCS(0)) }

// queue is that of the plugins: questions that wait for an instance take no processor.
type queue struct {
	waits    func() (uint64, time.Duration)
	n        uint64
	together time.Duration
}

// look is how long those that had their turn since the last look waited on average.
func (q *queue) look() time.Duration {
	if q.waits == nil {
		return 0
	}
	n, together := q.waits()
	more, longer := n-q.n, together-q.together
	swapped := n < q.n // other plugins count from nothing
	q.n, q.together = n, together
	if swapped || longer < 0 || more < enough {
		return 0
	}
	return longer / time.Duration(more)
}

// governor is the law by which pressure climbs and falls.
type governor struct {
	updates, all time.Duration // from which delay on pressure climbs, in the first two stages and in the third; 0 = it doesn't
	level        uint32
	before       time.Duration // of the look before
	timely       int           // looks in a row
}

// It climbs by an eighth of a stage where requests wait for as long as they may, and by
// so much more as they wait longer, up to half a stage: a queue that grows fast has
// every update check turned away after 200 ms. It falls slowly at first, to find out how
// much may come back, and faster each time, so that it is gone 700 ms after the load.
const (
	climb     = stage / 8
	mostClimb = stage / 2
	fall      = stage / 32
)

// look takes the delay of one look and returns the level that it comes to. Between
// half of the delay from which on it climbs and that delay it stays where it is, and so
// it does while a queue gets shorter.
func (g *governor) look(delay time.Duration) uint32 {
	from, ease, floor, top := g.updates, g.updates/2, uint32(0), uint32(2*stage)
	switch {
	case g.level > 2*stage:
		from, ease, floor, top = g.all, g.all/2, 2*stage, 3*stage
	case g.level == 2*stage:
		if from, top = g.all, 3*stage; from == 0 {
			from = never
		}
	}
	shorter := delay < g.before-g.before/4
	g.before = delay
	switch {
	case delay < ease:
		g.timely++
		g.level -= min(fall*uint32(g.timely), g.level-floor)
		return g.level
	case delay >= from && !shorter:
		g.level = min(g.level+uint32(min(climb*float64(delay)/float64(from), mostClimb)), top)
	}
	g.timely = 0
	return g.level
}

// calmFor is how long there has to be no pressure until the log says that it is over:
// a load that stays comes and goes.
const calmFor = 10 * time.Second

// news tells the log when pressure begins and when it is over.
type news struct {
	log   *slog.Logger
	began time.Time // zero = there is none
	last  time.Time
	most  float64
}

func (n *news) tell(level float64, delay time.Duration) {
	now := time.Now()
	switch {
	case level > 0:
		if n.began.IsZero() {
			n.began, n.most = now, 0
			n.log.Warn("requests come faster than they are answered: update checks make room", "delay", delay)
		}
		n.last, n.most = now, max(n.most, level)
	case !n.began.IsZero() && now.Sub(n.last) >= calmFor:
		n.log.Info("requests are answered in time again", "lasted", n.last.Sub(n.began).Round(beat), "most_pressure", n.most)
		n.began = time.Time{}
	}
}
