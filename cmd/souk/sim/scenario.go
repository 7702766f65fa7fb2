package sim

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// scenario is what happens in a run, beside the usual day. Its functions share what
// the run is to remember as the variables that they close over.
type scenario struct {
	variant string
	length  time.Duration // simulated, when nothing else is asked for
	speed   float64       // the same
	begin   time.Duration // after midnight
	alone   string        // why it needs a server of its own, after its name; empty = it doesn't
	claims  []*check      // that have to have looked at something

	apps      func(r *run)                      // changes the apps, before there are devices
	catalogue func(r *run)                      // changes r.items
	operate   func(ctx context.Context) error   // beside the load: what the operator does, or somebody to the server
	serve     func(w *worker, j job)            // instead of worker.request
	retry     func(j job, now time.Duration)    // of a request without a good answer; nil = nobody tries again
	judged    func(w *worker, j *job, rp reply) // after an answer to an update check was looked at
	conclude  func()                            // at the end
}

// named is a scenario that can be asked for.
type named struct {
	name, does string
	make       func(r *run) (*scenario, error)
}

// scenarios are all there are. A further one is a file of its own, and a line here.
var scenarios = []named{
	{"steady", "a usual day", steady},
	{nameReleaseDay, "the app that most have brings a release out, for everyone or in phases", releaseDay},
	{"hour-spike", "a fifth of the devices of an hour ask within its first 30 s", hourSpike},
	{"outage", "the server is killed in the busiest hour, for 28 minutes; see --retry", outageOf28},
	{"restore-wave", "people with new devices sign in and restore all their apps", restoreWave},
	{"token-expiry", "each check meets an expired token: refused, refreshed, asked again", tokenExpiry},
	{"lost-answer", "2 % of the answers to refreshes get lost; the device is back a day later", lostAnswer},
	{"takedown", "the app that most have is taken down", takedown},
	{"halt", "a release is halted while everyone asks for it", haltOfARelease},
	{"poison", "a third of the requests is broken, too large or endless", poison},
	{"policy-swap", "the plugin is swapped for one that says the opposite, again and again", policySwap},
}

const nameReleaseDay = "release-day"

func scenarioNamed(name string) (*named, error) {
	var all []string
	for i := range scenarios {
		if scenarios[i].name == name {
			return &scenarios[i], nil
		}
		all = append(all, scenarios[i].name)
	}
	return nil, fmt.Errorf("--scenario: there is no scenario %q: there are %s", name, strings.Join(all, ", "))
}

// usual are the checks that any day with enough devices looks for.
func (r *run) usual(more ...*check) []*check {
	c := r.checks
	all := []*check{c.newer, c.fits, c.status, c.described, c.sticky, c.nonce, c.codes, c.failures}
	if r.exact {
		all = append(all, c.newest, c.due)
	}
	if r.c.Target == "" {
		all = append(all, c.signature)
	}
	return append(all, more...)
}

// after is a simulated time after the beginning.
func (r *run) after(d time.Duration) time.Time { return r.from.Add(d) }

// mix is a number from 0 to 1 that depends on all three.
func mix(a, b, c uint64) float64 {
	h := (a+1)*0x9e3779b97f4a7c15 ^ (b+1)*0xff51afd7ed558ccd ^ (c+1)*0xc4ceb9fe1a85ec53
	for range 2 {
		h ^= h >> 32
		h *= 0xd6e8feb86659fd93
	}
	h ^= h >> 32
	return float64(h>>11) / (1 << 53)
}
