package population

import "time"

const day = 24 * time.Hour

// charging is how often phones ask in each hour of their own day, in units of the mean:
// they do so while they charge, at night.
var charging = [24]float64{
	1.61, 2.03, 1.64, 1.52, 1.40, 1.24, 1.06, 0.90, 0.76, 0.68, 0.62, 0.58,
	0.56, 0.56, 0.56, 0.58, 0.62, 0.66, 0.70, 0.78, 0.90, 1.10, 1.40, 1.54,
}

// spikeLength is how long after the hour those ask whose clock woke them.
const spikeLength = 30 * time.Second

// People are awake from 7 to 23 of their own day.
const (
	wakes  = 7 * time.Hour
	sleeps = 23 * time.Hour
)

// curve says how the requests of a day spread over it: the share of them that came by
// each of its knots, straight between them.
type curve struct {
	at    []float64 // nanoseconds of the day, UTC
	share []float64
	guide [256]uint8 // the knot before each 256th of the share
}

// newCharging is the curve of the daily checks, in a zone so far ahead of UTC.
func newCharging(ahead int, spike float64) *curve {
	c := &curve{at: []float64{0}, share: []float64{0}}
	sum := 0.0
	for h := range 24 {
		weight := charging[(h+ahead)%24] / 24
		from := time.Duration(h) * time.Hour
		c.knot(from+spikeLength, sum+weight*(spike+(1-spike)*float64(spikeLength)/float64(time.Hour)))
		sum += weight
		c.knot(from+time.Hour, sum)
	}
	return c.seal()
}

// newWaking is the curve of what people ask for.
func newWaking(ahead int) *curve {
	off := time.Duration(ahead) * time.Hour
	c := &curve{at: []float64{0}, share: []float64{0}}
	c.knot(wakes-off, 0)
	c.knot(sleeps-off, 1)
	c.knot(day, 1)
	return c.seal()
}

func (c *curve) knot(at time.Duration, share float64) {
	c.at, c.share = append(c.at, float64(at)), append(c.share, share)
}

func (c *curve) seal() *curve {
	c.share[len(c.share)-1] = 1 // whatever the sum came to
	k := 0
	for i := range c.guide {
		for c.share[k+1] <= float64(i)/float64(len(c.guide)) {
			k++
		}
		c.guide[i] = uint8(k)
	}
	return c
}

// moment returns when, in the day, the share u of [0, 1) has come.
//
// hot: for each arrival.
func (c *curve) moment(u float64) time.Duration {
	k := int(c.guide[int(u*float64(len(c.guide)))])
	for c.share[k+1] <= u {
		k++
	}
	t := c.at[k] + (c.at[k+1]-c.at[k])*(u-c.share[k])/(c.share[k+1]-c.share[k])
	return min(time.Duration(t), day-1)
}

// came returns the share that came by a time of the day.
func (c *curve) came(at time.Duration) float64 {
	t := float64(at)
	for k := range c.at[1:] {
		if t < c.at[k+1] {
			return c.share[k] + (c.share[k+1]-c.share[k])*(t-c.at[k])/(c.at[k+1]-c.at[k])
		}
	}
	return 1
}

// density returns which share of the day comes in a second at a time of the day.
func (c *curve) density(at time.Duration) float64 {
	t := float64(at)
	for k := range c.at[1:] {
		if t < c.at[k+1] {
			return (c.share[k+1] - c.share[k]) / (c.at[k+1] - c.at[k]) * float64(time.Second)
		}
	}
	return 0
}
