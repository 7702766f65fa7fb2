package population

import (
	"slices"
	"testing"
)

func TestPermutationIsOneOfAllSizes(t *testing.T) {
	for n := uint64(1); n < 200; n++ {
		p := newPermutation(n*7919, n)
		seen := make([]bool, n)
		for i := range n {
			v := p.at(i)
			if v >= n || seen[v] {
				t.Fatalf("of %d, place %d has %d, which stands elsewhere or nowhere", n, i, v)
			}
			seen[v] = true
			if at := p.place(v); at != i {
				t.Fatalf("of %d, %d stands at %d and is said to be at %d", n, v, i, at)
			}
		}
	}
}

func FuzzPermutation(f *testing.F) {
	f.Add(uint64(1), uint64(100_000_000), uint64(5))
	f.Add(uint64(9), uint64(1<<40+1), uint64(1<<39))
	f.Fuzz(func(t *testing.T, key, n, i uint64) {
		n = n%maxDevices + 1
		i %= n
		p := newPermutation(key, n)
		if v := p.at(i); v >= n || p.place(v) != i {
			t.Errorf("of %d with key %d: %d goes to %d and back to %d", n, key, i, v, p.place(v))
		}
	})
}

func TestPermutationFavoursNobody(t *testing.T) {
	// Over many keys each place holds each of a few equally often.
	const n, keys = 12, 24_000
	var counts [n][n]float64
	for key := range uint64(keys) {
		p := newPermutation(key, n)
		for i := range uint64(n) {
			counts[i][p.at(i)]++
		}
	}
	for i := range counts {
		chi := 0.0
		for _, c := range counts[i] {
			chi += (c - keys/n) * (c - keys/n) / (keys / n)
		}
		if chi > 45 { // 11 degrees of freedom: once in a million
			t.Errorf("place %d: χ² = %.1f", i, chi)
		}
	}
}

func TestPermutationsOfOtherKeysAreOthers(t *testing.T) {
	order := func(key uint64) (list []uint64) {
		p := newPermutation(key, 50)
		for i := range uint64(50) {
			list = append(list, p.at(i))
		}
		return list
	}
	if slices.Equal(order(1), order(2)) {
		t.Error("two keys, one order")
	}
}

func TestDevicesOfZonesAreAllDevices(t *testing.T) {
	for _, n := range []uint64{1, 5, 100, 149, 150, 151, 12_345} {
		c := Default()
		c.Devices = n
		seen := make([]bool, n)
		for id := range zoneOffsets {
			z := newZone(&c, id)
			for i := range z.n {
				d := z.device(i)
				if d >= n || seen[d] || z.number(d) != i {
					t.Fatalf("of %d devices, number %d of zone %d is %d", n, i, id, d)
				}
				seen[d] = true
			}
		}
		if slices.Contains(seen, false) {
			t.Errorf("of %d devices some are in no zone", n)
		}
	}
}
