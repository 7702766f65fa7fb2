package sim

import (
	"math"
	"sync"
	"sync/atomic"

	"github.com/souk-market/souk/cmd/souk/sim/report"
)

// check is a property that answers are held against, while the run goes on.
type check struct {
	name, sentence string
	looked, failed atomic.Uint64
	mu             sync.Mutex
	first          string
}

// hold looks once. why describes what is wrong, of the first failure only.
//
// hot: an addition where all is well.
func (c *check) hold(ok bool, why func() string) {
	c.looked.Add(1)
	if ok {
		return
	}
	if c.failed.Add(1) == 1 {
		first := why()
		c.mu.Lock()
		c.first = first
		c.mu.Unlock()
	}
}

// add takes over what another has looked at, and where failed, that it was wrong.
func (c *check) add(d *check, failed bool) {
	c.looked.Add(d.looked.Load())
	if n := d.failed.Load(); failed && n > 0 {
		if c.failed.Add(n) == n {
			c.first = d.first
		}
	}
}

func (c *check) report() report.Check {
	c.mu.Lock()
	defer c.mu.Unlock()
	return report.Check{Name: c.name, Sentence: c.sentence, Looked: c.looked.Load(), Failed: c.failed.Load(), First: c.first}
}

// checks are all there are.
type checks struct {
	newer, fits, status, described, newest, due, share, sticky, nonce, signature, halt,
	answered, codes, failures, restored, refresh, whole, shed, harm *check
}

func newChecks() *checks {
	named := func(name, sentence string) *check { return &check{name: name, sentence: sentence} }
	return &checks{
		newer:     named("newer", "an offered version is newer than the installed one"),
		fits:      named("fits", "a device runs the system that an offered version needs"),
		status:    named("status", "an offered version is published, neither withdrawn nor halted, of an app that is there, and offered once"),
		described: named("described", "an offer has the package of its version, and an update its numbers"),
		newest:    named("newest", "what is offered is the newest version that fits and is open to the device"),
		due:       named("due", "an offer that is due is made, or the server says itself that it had no time for it"),
		share:     named("share", "the share of devices that a rollout is open to is within the 99.9 % bounds of the binomial distribution"),
		sticky:    named("sticky", "a device that asks again gets the same answer"),
		nonce:     named("nonce", "no install verification token has the nonce of another"),
		signature: named("signature", "install verification tokens are signed by the market, and their claims are those of the offer"),
		halt:      named("halt", "a version is not offered any more once its halt was answered"),
		answered:  named("answered", "every request is answered, and no answer is 5xx; 503 with Retry-After counts as shed"),
		codes:     named("codes", "an expired token is answered with 403, none with 401, a body that is no JSON with 400, one that is too large with 413, one that never ends with 408, and all else so that a device can read it"),
		failures:  named("failures", "an app that is not there is a failure in the answer, and no other app is"),
		restored:  named("restored", "each app of a restore is given once or is a failure, in the version that the device had if there still is one for it, else in the newest that is open to it"),
		refresh:   named("refresh", "a refresh gives two new tokens that are good for as long as they should be, and no device is signed out"),
		whole:     named("whole", "no answer mixes two policies"),
		shed:      named("shed", "at most 1 % of the requests are shed, or answered without an offer that is due"),
		harm:      named("harm", "99 of 100 requests that are as they should be are answered within a second beside those that are not"),
	}
}

func (c *checks) all() []*check {
	return []*check{
		c.newer, c.fits, c.status, c.described, c.newest, c.due, c.share, c.sticky, c.nonce, c.signature, c.halt,
		c.answered, c.codes, c.failures, c.restored, c.refresh, c.whole, c.shed, c.harm,
	}
}

// failedSoFar is how many answers have failed a check.
func (c *checks) failedSoFar() (n uint64) {
	for _, x := range c.all() {
		n += x.failed.Load()
	}
	return n
}

// telling says whether a share of so many devices can be told from none and from all.
func telling(n uint64, p float64) bool { return float64(n)*min(p, 1-p) >= fewest }

// fewest is how many devices there have to be on either side: of as many, none at all is
// outside of the bounds of within.
const fewest = 16

// within says whether a count of n independent devices, each with probability p, lies
// inside the bounds that 99.9 % of counts do. People with two devices, which share
// their fate, widen them a little.
func within(count, n uint64, p, perPerson float64) bool {
	const z = 3.2905 // two-sided 99.9 %
	mean := float64(n) * p
	return math.Abs(float64(count)-mean) <= z*math.Sqrt(mean*(1-p)*perPerson)+0.5
}
