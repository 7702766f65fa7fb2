package sim

import (
	"sync/atomic"
	"time"
)

// clock is the simulated time. It stands at its epoch until it is started, and then
// runs so many times as fast as the machine's. The simulator and its server have one
// each, of the same three numbers: on one machine they agree.
type clock struct {
	epoch time.Time
	speed float64 // simulated seconds a second
	begun atomic.Pointer[time.Time]
}

func newClock(epoch time.Time, speed float64) *clock { return &clock{epoch: epoch, speed: speed} }

// start lets the time run from a moment on, of another process' clock or ours.
func (c *clock) start(at time.Time) {
	now := time.Now() // with the monotonic reading: nobody who sets the machine's clock moves ours
	begun := now.Add(at.Sub(now.Round(0)))
	c.begun.Store(&begun)
}

// Now is the simulated time.
func (c *clock) Now() time.Time {
	begun := c.begun.Load()
	if begun == nil {
		return c.epoch
	}
	return c.epoch.Add(max(0, c.simulated(time.Since(*begun))))
}

// since is the real time since the start.
func (c *clock) since() time.Duration { return time.Since(*c.begun.Load()) }

// simulated and real turn one kind of time into the other.
func (c *clock) simulated(d time.Duration) time.Duration {
	return time.Duration(float64(d) * c.speed)
}

func (c *clock) real(d time.Duration) time.Duration {
	return time.Duration(float64(d) / c.speed)
}

// at is the simulated time at a real time since the start, and due the other way round.
func (c *clock) at(since time.Duration) time.Time { return c.epoch.Add(c.simulated(since)) }
func (c *clock) due(at time.Time) time.Duration   { return c.real(at.Sub(c.epoch)) }
