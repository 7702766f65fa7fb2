package sim

import (
	"strings"
	"testing"

	"github.com/souk-market/souk/cmd/souk/sim/population"
)

// Where a share can be told, none and all are outside of its bounds; so a server that
// opens a rollout to nobody, or to everybody, is found.
func TestTelling(t *testing.T) {
	told := 0
	for n := range uint64(5000) {
		for _, p := range []float64{0.01, 0.02, 0.05, 0.1, 0.5, 0.9, 0.99} {
			if !telling(n, p) {
				continue
			}
			if told++; within(0, n, p, perPerson) || within(n, n, p, perPerson) {
				t.Fatalf("of %d devices, none or all are as good as %g", n, p)
			}
		}
	}
	if told == 0 || telling(20, 0.5) {
		t.Errorf("%d shares can be told, and that of 20 devices: %v", told, telling(20, 0.5))
	}
}

// A phase that hardly a device has met tells nothing, and fails.
func TestPhaseThatFewHaveMet(t *testing.T) {
	for _, test := range []struct {
		n, count uint64
		want     string
	}{{1000, 100, ""}, {1000, 200, "it was for 200 of 1000"}, {10, 1, "10 devices asked"}, {0, 0, "0 devices asked"}} {
		rel := newRelease(population.Release{}, 1000)
		rel.open(1000, 1000)
		rel.phases[0].n.Store(test.n)
		rel.phases[0].count.Store(test.count)
		c := new(check)
		rel.judge(c)
		if failed := c.failed.Load() > 0; failed != (test.want != "") || !strings.Contains(c.first, test.want) {
			t.Errorf("%d of %d devices: failed %v, %q", test.count, test.n, failed, c.first)
		}
	}
}
