package market_test

import (
	"strconv"
	"testing"

	"github.com/souk-market/souk/core/market"
)

func TestAnAppNamedTwiceIsAnsweredOnce(t *testing.T) {
	for _, n := range []int{3, 16, 17, 1000} {
		var q market.Request
		for i := range n {
			q.Apps = append(q.Apps, market.App{Item: uint64(i%3 + 1), ItemText: strconv.Itoa(i)})
		}
		// What is no id is no id twice: each is a failure of its own.
		q.Apps = append(q.Apps, market.App{ItemText: "a"}, market.App{ItemText: "b"})
		q.Once()
		if len(q.Apps) != 5 || q.Apps[0].ItemText != "0" || q.Apps[4].ItemText != "b" {
			t.Errorf("%d apps of 3 ids and 2 without: %d are left (%v), want the first of each id and both without", n, len(q.Apps), q.Apps)
		}
	}
}
