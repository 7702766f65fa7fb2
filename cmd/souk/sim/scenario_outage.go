package sim

import (
	"context"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	away       = 28 * time.Minute
	beforeAway = time.Hour
	firstTry   = 15 * time.Second // of the policies that wait longer each time
)

// outageOf28 kills the server in the busiest hour, and starts it again over the same
// data. How iOS tries again is not documented: it is for --retry to say.
func outageOf28(r *run) (*scenario, error) {
	peak, err := busiest(r.config)
	if err != nil {
		return nil, err
	}
	s := &scenario{
		variant: r.c.Retry, length: 3 * time.Hour, speed: 240, begin: max(0, peak-beforeAway/2),
		alone: "kills the server", claims: r.usual(),
	}
	o := &outageRun{run: r}
	s.operate, s.conclude = o.operate, o.conclude
	if r.c.Retry != "none" {
		s.retry = o.retry
	}
	return s, nil
}

type outageRun struct {
	*run
	tried        atomic.Uint64
	mu           sync.Mutex
	waiting      []job // for the server, of devices that reconnect
	killed, back time.Duration
}

func (o *outageRun) operate(ctx context.Context) error {
	if err := o.sleep(ctx, o.after(beforeAway)); err != nil {
		return nil // the run is over
	}
	o.blind.Store(true)
	if err := o.count(ctx, true); err != nil && ctx.Err() == nil {
		return err
	}
	o.killed = o.clock.since()
	o.down.begin(o.killed)
	o.mark("the server is killed")
	if err := o.server.Kill(); err != nil {
		return err
	}
	// It needs a while until it answers; meanwhile it takes connections already.
	if err := o.sleep(ctx, o.after(beforeAway+away-o.clock.simulated(o.opened))); err != nil {
		return nil
	}
	o.setup.Public, o.setup.Admin = o.host, strings.TrimPrefix(o.op.base, "http://")
	next, err := startProcess(ctx, &o.setup)
	if err != nil {
		return err
	}
	o.mu.Lock()
	o.server = next
	o.back = o.clock.since()
	o.down.end(o.back)
	o.blind.Store(false)
	for _, j := range o.waiting {
		o.reconnect(j, o.back)
	}
	o.mu.Unlock()
	o.mark("the server is back")
	return nil
}

// reconnect lets a device come within five seconds: it has seen that the server is
// there again.
func (o *outageRun) reconnect(j job, now time.Duration) {
	j.due = now + o.clock.real(time.Duration(mix(o.c.Seed, j.device, uint64(j.try))*float64(5*time.Second)))
	o.pacer.push(j)
}

func (o *outageRun) retry(j job, now time.Duration) {
	o.tried.Add(1)
	n := min(j.try, 10)
	wait := firstTry << (n - 1)
	switch o.c.Retry {
	case "fixed60":
		wait = time.Minute
	case "exp5m-nojitter":
		wait = min(wait, 5*time.Minute)
	case "exp15m-fulljitter":
		wait = time.Duration(mix(o.c.Seed, j.device, uint64(j.try)) * float64(min(2*wait, 15*time.Minute)))
	case "reconnect":
		o.mu.Lock()
		defer o.mu.Unlock()
		if o.back == 0 {
			o.waiting = append(o.waiting, j)
			return
		}
		o.reconnect(j, now)
		return
	}
	j.due = now + o.clock.real(wait)
	o.pacer.push(j)
}

// conclude says how long it took until answers were as before.
func (o *outageRun) conclude() {
	var before []time.Duration
	rateBefore, seconds, peak := 0.0, 0.0, 0.0
	recovered := time.Duration(-1)
	calm, since := 0, time.Duration(0)
	normal := time.Duration(0)
	for _, t := range o.result.Ticks {
		at := o.clock.due(t.At)
		switch {
		case at+t.Length <= o.killed && t.Answered > 0:
			before = append(before, t.P99)
			rateBefore += float64(t.Offered)
			seconds += t.Length.Seconds()
			continue
		case at < o.back || o.back == 0:
			continue
		}
		if normal == 0 && len(before) > 0 {
			slices.Sort(before)
			normal = max(4*before[len(before)/2], 20*time.Millisecond)
		}
		peak = max(peak, float64(t.Offered)/t.Length.Seconds())
		if t.Offered == 0 && t.Answered == 0 && t.Failed == 0 {
			continue // nobody has asked
		}
		if t.P99 > normal || t.Answered == 0 || t.Failed > 0 || t.Shed*100 > t.Offered {
			calm = 0
			continue
		}
		if calm++; calm == 1 {
			since = at
		}
		if calm == 3 && recovered < 0 {
			recovered = since - o.back
		}
	}
	o.figure("away", "%v by the simulated clock", o.clock.simulated(o.back-o.killed).Round(time.Second))
	o.figure("tried again", "%d times", o.tried.Load())
	if o.tally.failed == 0 {
		o.result.Void = append(o.result.Void, "nobody asked while the server was away: the run was too small or too short")
	}
	if n := len(o.pacer.later); n > 0 {
		o.figure("still waiting", "%d devices, to try again after the end", n)
	}
	if seconds > 0 && rateBefore > 0 {
		o.figure("rate after", "at most %.1f times that before", peak/(rateBefore/seconds))
	}
	if recovered >= 0 {
		o.figure("recovered after", "%v (%v by the simulated clock): from then on p99 is at most %v, no more than 1 %% are shed, and none fails", max(0, recovered).Round(time.Millisecond),
			o.clock.simulated(max(0, recovered)).Round(time.Second), normal)
	} else {
		o.result.Void = append(o.result.Void, "the server did not recover, or came back too late to tell: let the run be longer, with --duration")
	}
}
