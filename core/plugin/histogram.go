package plugin

import (
	"math/bits"
	"sync/atomic"
	"time"

	"github.com/souk-market/souk/sdk/abi"
)

// counts are what one slot has seen of one hook. Only the holder of the slot
// writes them, so that cores don't share them, and anybody reads.
type counts struct {
	asked     uint32    // for the holder alone: when it is time to look at the clock
	used      histogram // fuel of a call; each call is in it
	abstained atomic.Uint64
	waits     atomic.Uint64
	waited    atomic.Uint64 // ns
	latency   histogram     // ns
}

// gaveUp are the questions of one hook that waited for a slot and got none: no slot can
// have seen them. They are rare, or there is no hurry.
type gaveUp struct{ waits, waited atomic.Uint64 }

// add takes in a question, if it waited at all.
func (g *gaveUp) add(waited time.Duration) {
	if waited > 0 {
		g.waits.Add(1)
		g.waited.Add(uint64(waited))
	}
}

// sampleEvery is how many calls of a quick hook share one look at the clock: two
// looks cost as much as a small guest.
const sampleEvery = 32

// clocked says whether this call looks at the clock.
func (c *counts) clocked(h abi.Hook) bool {
	c.asked++
	return c.asked%sampleEvery == 1 || laneOf(h) == slowLane
}

// count adds to a counter that only the holder of its slot writes, and anybody
// reads.
func count(c *atomic.Uint64, n uint64) { c.Store(c.Load() + n) }

// subBuckets are the equal parts of each power of two: a value is known to a
// quarter of it. The last bucket begins beyond maxFuel, and beyond a quarter of
// an hour in nanoseconds.
const (
	subBuckets = 4
	buckets    = 160
)

// histogram counts values by their size. Its zero value is ready.
type histogram struct {
	most    atomic.Uint64
	sum     atomic.Uint64
	buckets [buckets]atomic.Uint64
}

func bucketOf(v uint64) int {
	if v < subBuckets {
		return int(v)
	}
	e := bits.Len64(v) - 1
	return min((e-1)*subBuckets+int(v>>(e-2))%subBuckets, buckets-1)
}

// bucketEnd is the largest value of a bucket.
func bucketEnd(i int) uint64 {
	if i < subBuckets {
		return uint64(i)
	}
	e, part := i/subBuckets+1, uint64(i%subBuckets)
	return (subBuckets+part+1)<<(e-2) - 1
}

func (h *histogram) add(v uint64) {
	count(&h.buckets[bucketOf(v)], 1)
	count(&h.sum, v)
	if v > h.most.Load() {
		h.most.Store(v)
	}
}

func (h *histogram) count() (n uint64) {
	for i := range h.buckets {
		n += h.buckets[i].Load()
	}
	return n
}

// tally is a histogram, or several, as somebody read it.
type tally struct {
	most    uint64
	sum     uint64
	buckets [buckets]uint64
}

func (t *tally) add(h *histogram) {
	t.most = max(t.most, h.most.Load())
	t.sum += h.sum.Load()
	for i := range t.buckets {
		t.buckets[i] += h.buckets[i].Load()
	}
}

// Histogram says how large values were. A quantile is the end of its bucket, at
// most a quarter too large.
type Histogram struct {
	Count   uint64   `json:"count"`
	Sum     uint64   `json:"sum"`
	P50     uint64   `json:"p50"`
	P99     uint64   `json:"p99"`
	Max     uint64   `json:"max"`
	Buckets []Bucket `json:"buckets"` // without the empty ones
}

// Bucket holds the values up to Max that are in no bucket before it.
type Bucket struct {
	Max   uint64 `json:"max"`
	Count uint64 `json:"count"`
}

func (t *tally) histogram() Histogram {
	h := Histogram{Sum: t.sum, Max: t.most, Buckets: []Bucket{}}
	for i, n := range t.buckets {
		if n > 0 {
			h.Count += n
			h.Buckets = append(h.Buckets, Bucket{bucketEnd(i), n})
		}
	}
	h.P50, h.P99 = h.quantile(50), h.quantile(99)
	return h
}

func (h *Histogram) quantile(percent uint64) uint64 {
	var below uint64
	for _, b := range h.Buckets {
		if below += b.Count; below*100 >= h.Count*percent {
			return min(b.Max, h.Max)
		}
	}
	return 0
}
