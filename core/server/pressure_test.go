package server_test

import (
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/souk-market/souk/core/server"
	"github.com/souk-market/souk/core/unit"
)

const (
	shedUpdates = 25 * time.Millisecond
	shedAll     = 500 * time.Millisecond
)

func TestPressureClimbsWhileRequestsWaitAndFallsWhenTheyDoNot(t *testing.T) {
	const ms = time.Millisecond
	type step struct {
		delay time.Duration
		want  float64
	}
	repeat := func(n int, s step) (all []step) {
		for range n {
			all = append(all, s)
		}
		return all
	}
	for _, c := range []struct {
		rule  string
		all   time.Duration
		steps []step
	}{
		{"nobody waits", shedAll, repeat(5, step{0, 0})},
		{"a wait below the limit is none", shedAll, repeat(5, step{24 * ms, 0})},
		{"one look at the limit is a trifle", shedAll, []step{{25 * ms, 0.125}, {0, 0.09}, {0, 0.03}, {0, 0}}},
		{"the longer the wait, the more", shedAll, []step{{25 * ms, 0.125}, {50 * ms, 0.375}, {100 * ms, 0.875}, {100 * ms, 1.375}, {400 * ms, 1.875}, {400 * ms, 2}}},
		{"between half of the limit and the limit nothing changes", shedAll, []step{{50 * ms, 0.25}, {50 * ms, 0.5}, {13 * ms, 0.5}, {24 * ms, 0.5}, {50 * ms, 0.75}}},
		{"nor does it while the queue gets shorter", shedAll, []step{{400 * ms, 0.5}, {400 * ms, 1}, {200 * ms, 1}, {50 * ms, 1}, {50 * ms, 1.25}}},
		{"nothing else is turned away below the second limit", shedAll, append(repeat(4, step{499 * ms, -1}), repeat(9, step{499 * ms, 2})...)},
		{"everything else is from there on", shedAll, append(repeat(4, step{time.Second, -1}), []step{{time.Second, 2.25}, {time.Second, 2.5}, {4 * time.Second, 3}, {4 * time.Second, 3}}...)},
		{"of everything else as little as it takes", shedAll, append(repeat(5, step{time.Second, -1}), []step{{400 * ms, 2.25}, {30 * ms, 2.22}, {30 * ms, 2.16}, {30 * ms, 2.06}, {30 * ms, 2}, {30 * ms, 2}}...)},
		{"without a second limit nothing else is", 0, append(repeat(4, step{time.Hour, -1}), repeat(9, step{time.Hour, 2})...)},
	} {
		t.Run(c.rule, func(t *testing.T) {
			look := server.NewGovernor(shedUpdates, c.all)
			for i, s := range c.steps {
				if got := look(s.delay); s.want >= 0 && (got < s.want-0.01 || got > s.want+0.01) {
					t.Errorf("after look %d, of %v, the pressure is %.3f, want %.2f", i+1, s.delay, got, s.want)
				}
			}
		})
	}
}

func TestPressureIsOverInLessThanASecond(t *testing.T) {
	look := server.NewGovernor(shedUpdates, shedAll)
	for look(time.Minute) < 3 {
	}
	looks := 1
	for look(0) > 0 {
		looks++
	}
	if took := time.Duration(looks) * server.Look; took > 700*time.Millisecond {
		t.Errorf("from everything to nothing it takes %v, want 700 ms at most", took)
	}
}

// crowd is a first-in first-out server with one kind of request in the background and
// one in the foreground, without any chance: what the law comes to is its own doing.
type crowd struct {
	background, foreground float64 // requests a second
	check, signature, shed float64 // µs of processor, for an update check without and with an offer, and for an answer to one that is turned away
	sign                   float64 // µs of one in the foreground
	waiting                float64 // requests
}

// step is one look under a pressure. It returns the shortest wait, how many update checks
// were answered with their offer, and how many requests of the foreground were.
func (c *crowd) step(level float64) (shortest time.Duration, offered, served float64) {
	const us = 1e6 * 2 // of two processors in a second
	clamp := func(x float64) float64 { return max(0, min(1, x)) }
	unsigned, away, out := clamp(level), clamp(level-1), clamp(level-2)
	cost := c.check + (1-unsigned)*c.signature
	share := c.background / (c.background + c.foreground)
	if c.background+c.foreground == 0 {
		share = 1 // of what still waits
	}
	mean := share*(away*c.shed+(1-away)*cost) + (1-share)*(out*c.shed+(1-out)*c.sign)
	seconds := server.Look.Seconds()
	before := c.waiting
	able := us * seconds / mean
	done := min(able, before+(c.background+c.foreground)*seconds)
	c.waiting = before + (c.background+c.foreground)*seconds - done
	wait := min(before, c.waiting) * mean / us
	if c.signature == 0 {
		unsigned = 0 // nobody does without anything
	}
	return time.Duration(wait * float64(time.Second)), done * share * (1 - away) * (1 - unsigned), done * (1 - share) * (1 - out)
}

// room is how many update checks a second there is time for to answer in full, beside the
// foreground and the answers to those that are turned away.
func (c *crowd) room() float64 {
	left := 2e6 - c.foreground*c.sign - c.background*c.shed
	return min(c.background, max(0, left)/(c.check+c.signature-c.shed))
}

// The costs are those of load-bearing requests on one machine, in µs; the rates are
// multiples of what it can do.
func TestPressureSettlesUnderALoadThatStays(t *testing.T) {
	for _, c := range []struct {
		name    string
		crowd   crowd
		goodput float64
	}{
		{"three times as many offers as can be signed", crowd{background: 3 * 2e6 / 74, foreground: 2000, check: 14, signature: 60, shed: 10, sign: 50}, 0.5},
		{"three times as many five-fold offers as can be signed", crowd{background: 3 * 2e6 / 267, foreground: 2000, check: 17, signature: 250, shed: 10, sign: 50}, 0.5},
		{"one and a quarter of the offers that can be signed", crowd{background: 1.25 * 2e6 / 74, foreground: 200, check: 14, signature: 60, shed: 10, sign: 50}, 0.5},
		{"a third more checks than can be answered", crowd{background: 1.3 * 2e6 / 14, foreground: 200, check: 14, shed: 10, sign: 50}, 0.5},
	} {
		t.Run(c.name, func(t *testing.T) {
			look := server.NewGovernor(shedUpdates, shedAll)
			const looks = 200 // 10 s
			level, worst, offered, served, arrived := 0.0, time.Duration(0), 0.0, 0.0, 0.0
			for i := range looks {
				wait, m, n := c.crowd.step(level)
				if i >= looks/5 {
					worst, offered, served, arrived = max(worst, wait), offered+m, served+n, arrived+server.Look.Seconds()
				}
				level = look(wait)
			}
			if worst > 150*time.Millisecond {
				t.Errorf("requests waited for %v, want 150 ms at most", worst)
			}
			if want := arrived * c.crowd.foreground; served < 0.97*want {
				t.Errorf("%.0f of %.0f requests of the foreground were answered, want all", served, want)
			}
			if want := arrived * c.crowd.room(); offered < c.goodput*want {
				t.Errorf("%.0f update checks got what they should, want %.0f %% of the %.0f that there was time for", offered, 100*c.goodput, want)
			}
			c.crowd.background, c.crowd.foreground = 0, 0
			gone := 0
			for ; level > 0; gone++ {
				wait, _, _ := c.crowd.step(level)
				level = look(wait)
			}
			if took := time.Duration(gone) * server.Look; took > time.Second {
				t.Errorf("the pressure was over %v after the load, want a second at most", took)
			}
		})
	}
}

// hogs keep every processor of the Go runtime busy with goroutines that are many and
// short, until the function that it returns is called.
func hogs(n int, done *atomic.Uint64) (stop func()) {
	var over atomic.Bool
	ended := make(chan struct{}, n)
	for range n {
		go func() {
			for !over.Load() {
				for began := time.Now(); time.Since(began) < time.Millisecond; {
				}
				done.Add(1)
				runtime.Gosched()
			}
			ended <- struct{}{}
		}()
	}
	return func() {
		over.Store(true)
		for range n {
			<-ended
		}
	}
}

func watched(t *testing.T, work func() uint64, waits func() (uint64, time.Duration)) *server.Pressure {
	t.Helper()
	limits := server.DefaultLimits()
	limits.ShedUpdates, limits.ShedAll = unit.Duration(shedUpdates), 0
	p := server.NewPressure(server.PressureOptions{Limits: limits, Waits: waits})
	if err := p.Watch(work); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

// until waits for the pressure to be as it should.
func until(t *testing.T, p *server.Pressure, what string, is func(level float64) bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !is(p.Level()); runtime.Gosched() {
		if time.Now().After(end) {
			t.Fatalf("the pressure is %.2f with a delay of %v, want %s", p.Level(), p.Delay(), what)
		}
	}
}

// The probe waits behind goroutines that are ready to run, as a request does.
func TestPressureOfAFullProcessor(t *testing.T) {
	var work atomic.Uint64
	p := watched(t, work.Load, nil)
	stop := hogs(200*runtime.GOMAXPROCS(0), &work)
	until(t, p, "2: there are 200 ms of work before every request", func(level float64) bool { return level == 2 })
	stop()
	until(t, p, "0 when the load is over", func(level float64) bool { return level == 0 })
}

// The same delay without anything done meanwhile is somebody else's doing.
func TestNoPressureWhereThereIsLittleToDo(t *testing.T) {
	var ran, none atomic.Uint64
	p := watched(t, none.Load, nil)
	stop := hogs(200*runtime.GOMAXPROCS(0), &ran)
	for ran.Load() < 1000*uint64(runtime.GOMAXPROCS(0)) { // a second of work
		if p.Level() > 0 {
			t.Fatal("there is pressure with no request to turn away")
		}
		runtime.Gosched()
	}
	stop()
}

// Questions to plugins that wait for an instance take no processor, and are a queue
// all the same.
func TestPressureOfPluginsThatAreSlow(t *testing.T) {
	var n atomic.Uint64
	each := atomic.Int64{}
	each.Store(int64(100 * time.Millisecond))
	var together atomic.Int64
	p := watched(t, func() uint64 { return 0 }, func() (uint64, time.Duration) {
		return n.Add(1000), time.Duration(together.Add(1000 * each.Load()))
	})
	until(t, p, "2 while questions wait for 100 ms", func(level float64) bool { return level == 2 })
	each.Store(int64(time.Millisecond))
	until(t, p, "0 when they no longer do", func(level float64) bool { return level == 0 })
}

// What a Pressure asks for may be gone when Close is over, so nothing asks any more.
func TestAPressureThatIsClosedAsksNobody(t *testing.T) {
	asking, release := make(chan struct{}), make(chan struct{})
	var asked atomic.Int32
	var answered atomic.Bool
	p := watched(t, func() uint64 {
		if asked.Add(1) == 2 { // the first is who sends the probe, the second who receives it
			close(asking)
			<-release
			answered.Store(true)
		}
		return 0
	}, nil)
	<-asking
	time.AfterFunc(50*time.Millisecond, func() { close(release) })
	if p.Close(); !answered.Load() {
		t.Error("Close was over before somebody who asked had an answer")
	}
}

// That nothing arrives is no sign that things get better.
func TestALookWithoutAnArrivalIsNoShorter(t *testing.T) {
	const last = 600 * time.Millisecond
	if got := server.LookWithoutArrival(last); got < last {
		t.Errorf("after a request that waited %v and none since, a look says %v", last, got)
	}
}
