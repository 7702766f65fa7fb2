package plugin_test

import (
	"math"
	"testing"

	"github.com/souk-market/souk/core/plugin"
	"github.com/souk-market/souk/sdk/abi"
)

// Every value lies in its bucket, no two buckets have the same end, and an end is
// at most a quarter above the values.
func TestBuckets(t *testing.T) {
	last := uint64(0)
	for i := 1; i < plugin.Buckets-1; i++ {
		end := plugin.BucketEnd(i)
		if end <= last {
			t.Fatalf("bucket %d ends at %d, the one before at %d", i, end, last)
		}
		if from := plugin.BucketOf(last + 1); from != i || plugin.BucketOf(end) != i {
			t.Errorf("the values %d to %d are in the buckets %d to %d, want %d", last+1, end, from, plugin.BucketOf(end), i)
		}
		if float64(end) > 1.25*float64(last+1) {
			t.Errorf("bucket %d holds %d to %d, more than a quarter", i, last+1, end)
		}
		last = end
	}
	if last < 1<<40 {
		t.Errorf("the buckets end at %d, before the largest fuel", last)
	}
	for _, v := range []uint64{last + 1, math.MaxUint64} {
		if got := plugin.BucketOf(v); got != plugin.Buckets-1 {
			t.Errorf("%d is in bucket %d, want the last", v, got)
		}
	}
}

func TestHistogramsOfAPlugin(t *testing.T) {
	s := spec("a", trapsForX(decisions(allow)))
	h := openSpecs(t, s)
	for range 99 {
		entitle(t, h, 1, abi.Head{Account: "somebody"})
	}
	entitle(t, h, 1, abi.Head{Account: "x"})
	hook := h.Plugins()[0].Hooks[0]
	fuel, latency := hook.FuelUsed, hook.Latency
	if fuel.Count != 100 || fuel.P50 == 0 || fuel.P50 > fuel.P99 || fuel.P99 > fuel.Max || fuel.Max*100 < hook.Fuel {
		t.Errorf("the fuel of 100 calls, %d together, is %+v", hook.Fuel, fuel)
	}
	if latency.Count != 4 || latency.P50 == 0 || latency.P99 > latency.Max || latency.Sum < latency.Max || latency.Sum > 4*latency.Max {
		t.Errorf("the latency of 100 calls is %+v, want every 32nd of them", latency)
	}
	var in uint64
	for _, b := range fuel.Buckets {
		in += b.Count
	}
	if in != 100 {
		t.Errorf("the buckets hold %d calls, want 100", in)
	}
}
