package sim

import "sync/atomic"

// bits is a bit for each device: all that is remembered of one, and only where a
// scenario can't do without.
type bits []atomic.Uint64

func newBits(n uint64) bits { return make(bits, (n+63)/64) }

// set sets a bit and says whether it was not set before.
func (b bits) set(i uint64) bool {
	mask := uint64(1) << (i % 64)
	return b[i/64].Or(mask)&mask == 0
}

func (b bits) has(i uint64) bool { return b[i/64].Load()&(1<<(i%64)) != 0 }
