package store_test

import (
	"testing"

	"github.com/souk-market/souk/core/store"
)

func TestHistogramBuckets(t *testing.T) {
	for v, want := range map[uint64]int{0: 0, 1: 1, 2: 2, 3: 2, 4: 3, 1023: 10, 1024: 11, 1 << 62: store.HistogramBuckets - 1} {
		if got := store.HistogramBucket(v); got != want {
			t.Errorf("HistogramBucket(%d) = %d, want %d", v, got, want)
		}
	}
	h := store.Histogram{}
	h.Buckets[0], h.Buckets[store.HistogramBuckets-1] = 2, 3
	if n := h.Count(); n != 5 {
		t.Errorf("Count() = %d, want 5", n)
	}
}
