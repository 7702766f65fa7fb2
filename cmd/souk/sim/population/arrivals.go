package population

import (
	"iter"
	"math"
	"time"
)

// Arrivals are the requests from a time to another, in their order. A device asks in the
// background once a day at most. It takes no memory per device: the order of a day is a
// keyed permutation, and the times are the inverse of the day's curve.
//
// The arrivals from a to c are those from a to b and then those from b to c.
func (p *Population) Arrivals(from, to time.Time) iter.Seq[Arrival] {
	return func(yield func(Arrival) bool) {
		first, end := from.UnixNano(), to.UnixNano()
		for d := p.dayOf(first); p.dayStart(d) < end; d++ {
			if !p.day(d, first, end, yield) {
				return
			}
		}
	}
}

// dayOf numbers the days; that of Start is 0.
func (p *Population) dayOf(at int64) int64 {
	return int64(math.Floor(float64(at-p.start) / float64(day)))
}

func (p *Population) dayStart(d int64) int64 { return p.start + d*int64(day) }

// day merges the queues of one day.
func (p *Population) day(d, first, end int64, yield func(Arrival) bool) bool {
	var all [2 * len(zoneOffsets)]*queue
	open := all[:0]
	for z := range p.zones {
		for _, taps := range []bool{false, true} {
			if q := p.queue(&p.zones[z], d, taps, first); q.next(first) {
				open = append(open, q)
			}
		}
	}
	for len(open) > 0 {
		soonest := 0
		for i := 1; i < len(open); i++ {
			if open[i].at < open[soonest].at {
				soonest = i
			}
		}
		q := open[soonest]
		if q.at >= end {
			return true
		}
		if !yield(Arrival{At: time.Unix(0, q.at).UTC(), Device: q.device, Kind: q.kind}) {
			return false
		}
		if !q.next(first) {
			open = append(open[:soonest], open[soonest+1:]...)
		}
	}
	return true
}

// maxBlock is how many moments are drawn together. Within a block they are as irregular
// as independent devices are; one block follows the other, so that a day can be entered
// anywhere.
const maxBlock = 256

// queue is the requests of one zone, of one day and of one sort, in their order.
type queue struct {
	p      *Population
	zone   *zone
	day    int64
	taps   bool
	key    uint64 // of this queue
	n      uint64 // places in it
	curve  *curve
	block  uint64
	size   uint64 // of a whole block
	i, len int    // the next place in the block, and how many it has
	frac   [maxBlock + 1]float64
	window int
	wander permutation // of the window

	at     int64
	device uint64
	kind   Kind
}

func (p *Population) queue(z *zone, d int64, taps bool, first int64) *queue {
	q := &queue{p: p, zone: z, day: d, taps: taps, n: z.n, curve: z.checks, size: z.perBlock, window: -1}
	if q.key = p.dayKey(z, d); taps {
		q.key, q.n, q.curve = ^q.key, z.taps, z.waking
		q.size = min(max(q.n/96, 1), maxBlock)
	}
	if first > p.dayStart(d) {
		place := uint64(q.curve.came(time.Duration(first-p.dayStart(d))) * float64(q.n))
		q.block = max(place/q.size, 1) - 1 // one earlier, whatever rounding does
	}
	q.fill()
	return q
}

// fill draws the moments of a block: independent ones, put in order. Sums of exponential
// gaps are that without sorting.
func (q *queue) fill() {
	from := q.block * q.size
	if q.i, q.len = 0, 0; from >= q.n {
		return
	}
	q.len = int(min(q.size, q.n-from))
	s, sum := stream(hash(q.key, q.block, nameMoment)), 0.0
	for i := range q.len + 1 {
		sum -= math.Log(1 - unit(s.next()))
		q.frac[i] = sum
	}
	for i := range q.len {
		q.frac[i] /= sum
	}
}

// next goes to the next request that is not before a time; false if there is none.
//
// hot: for each arrival.
func (q *queue) next(first int64) bool {
	for {
		if q.i == q.len {
			if q.block++; q.block*q.size >= q.n {
				return false
			}
			q.fill()
		}
		place := q.block*q.size + uint64(q.i)
		u := (float64(q.block*q.size) + q.frac[q.i]*float64(q.len)) / float64(q.n)
		q.i++
		q.at = q.p.dayStart(q.day) + int64(q.curve.moment(min(u, almostOne)))
		if q.at < first {
			continue
		}
		if q.taps {
			q.device, q.kind = q.zone.device(below(hash(q.key, place, nameTapper), q.zone.n)), Tap
			return true
		}
		q.device = q.zone.device(q.zone.home.at(q.wandered(place)))
		if q.p.asks(q.device, q.day) {
			q.kind = q.p.kind(q.device, q.day)
			return true
		}
	}
}

// almostOne is the largest number below one.
var almostOne = math.Nextafter(1, 0)

// wandered mixes a place with those of its window, for this day.
func (q *queue) wandered(place uint64) uint64 {
	if q.window < 0 || place >= q.zone.windows[q.window+1] {
		q.window = q.zone.window(place)
		q.wander = q.p.wander(q.zone, q.day, q.window)
	}
	from := q.zone.windows[q.window]
	return from + q.wander.at(place-from)
}

// dayKey is a key for a zone and a day.
func (p *Population) dayKey(z *zone, d int64) uint64 {
	return hash(p.config.Seed, uint64(d)*uint64(len(zoneOffsets))+z.id, nameMoment)
}

// wander is how a day mixes the places of a window.
func (p *Population) wander(z *zone, d int64, window int) permutation {
	return newPermutation(hash(p.dayKey(z, d), uint64(window), nameWander), z.windows[window+1]-z.windows[window])
}

// asks says whether a device asks on a day: some are off, or save power.
func (p *Population) asks(device uint64, d int64) bool {
	return chance(hash(p.config.Seed^uint64(d)*0xff51afd7ed558ccd, device, nameAsks), p.config.ChecksPerDay)
}

func (p *Population) kind(device uint64, d int64) Kind {
	t := &p.config.Traffic
	u := unit(hash(p.config.Seed^uint64(d)*0xff51afd7ed558ccd, device, nameKind))
	for _, k := range [...]struct {
		share float64
		kind  Kind
	}{{t.Expired, Expired}, {t.NoToken, NoToken}, {t.UnknownApp, UnknownApp}, {t.Malformed, Malformed}, {t.Oversized, Oversized}} {
		if u -= k.share; u < 0 {
			return k.kind
		}
	}
	return Background
}

// Rate is how many requests a second of simulated time there are at a time, on average
// over days like this.
func (p *Population) Rate(at time.Time) float64 {
	since := at.UnixNano()
	clock := time.Duration(since - p.dayStart(p.dayOf(since)))
	rate := 0.0
	for i := range p.zones {
		z := &p.zones[i]
		rate += float64(z.n)*p.config.ChecksPerDay*z.checks.density(clock) + float64(z.taps)*z.waking.density(clock)
	}
	return rate
}
