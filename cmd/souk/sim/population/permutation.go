package population

import "math"

// permutation is a keyed order of 0..n-1 that nobody has to keep: a Feistel network over
// the square that n just fits into, walked on where it leaves n (Black and Rogaway,
// "Ciphers with Arbitrary Finite Domains", 2002). Less than one step in √n/2 walks.
type permutation struct {
	n, side uint64
	keys    [rounds]uint64
}

// rounds is more than statistics could tell from a random order; nobody attacks it.
const rounds = 6

func newPermutation(key, n uint64) permutation {
	p := permutation{n: n, side: uint64(math.Sqrt(float64(n)))}
	for p.side*p.side < n {
		p.side++
	}
	s := stream(key)
	for i := range p.keys {
		p.keys[i] = s.next()
	}
	return p
}

// at returns what stands at a place.
//
// hot: twice for each arrival.
func (p *permutation) at(i uint64) uint64 {
	for {
		l, r := i/p.side, i%p.side
		for _, key := range p.keys {
			l += below(mix(r^key), p.side)
			if l >= p.side {
				l -= p.side
			}
			l, r = r, l
		}
		if i = l*p.side + r; i < p.n {
			return i
		}
	}
}

// place returns where something stands: the inverse of at.
func (p *permutation) place(v uint64) uint64 {
	for {
		l, r := v/p.side, v%p.side
		for i := len(p.keys) - 1; i >= 0; i-- {
			l, r = r, l
			if f := below(mix(r^p.keys[i]), p.side); l >= f {
				l -= f
			} else {
				l += p.side - f
			}
		}
		if v = l*p.side + r; v < p.n {
			return v
		}
	}
}
