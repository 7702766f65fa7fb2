package sim

import (
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/souk-market/souk/cmd/souk/sim/report"
)

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
	r.checks.sticky.add(r.lacking, float64(r.lacking.failed.Load()) > mostLacking(total.withheld(), r.stickyEvery()))
	r.checks.restored.add(r.restored.unasked, float64(r.restored.unasked.failed.Load()) > total.rushed)
	beyond := float64(r.excused.failed()) > total.empty
	r.checks.codes.add(r.excused.codes, beyond)
	r.checks.failures.add(r.excused.failures, beyond)
	claimed := append([]*check{r.checks.answered, r.checks.shed}, r.scenario.claims...)
	if slices.Contains(claimed, r.checks.failures) && r.gone.Load() == 0 {
		r.checks.failures.hold(false, func() string {
			return "nobody asked for an app that is not there: the run was too small or too short for it"
		})
	}
	res := &r.result
	res.Took = r.clock.since()
	res.Offered, res.Sent, res.Answered, res.Shed, res.Failed = t.offered, t.sent, t.answered, t.shed, t.failed
	res.Classes = t.order
	res.CPU, res.Signatures, res.GuestCalls = total.cpu, uint64(total.signatures), uint64(total.guestCalls)
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
// offers were left out: one answer of every begins a pair, and another ends it. The
// pairs are drawn at random, so it is four standard deviations more, and three for a
// number that is small.
func mostLacking(withheld float64, every uint64) float64 {
	if withheld == 0 {
		return 0
	}
	mean := 2 * withheld / float64(every)
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
