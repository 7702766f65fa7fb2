package coretest_test

import (
	"fmt"
	"slices"
	"strconv"
	"testing"

	"github.com/souk-market/souk/core/catalog"
	"github.com/souk-market/souk/core/coretest"
	"github.com/souk-market/souk/core/market"
	"github.com/souk-market/souk/core/plugin"
	"github.com/souk-market/souk/sdk/abi"
)

// A forecast has to say of a device what the server would: Suppose and Explain go the
// same way.
func TestSupposeAgreesWithExplain(t *testing.T) {
	t.Parallel()
	s := coretest.Start(t, quick)
	s.Grant(t, coretest.Alice, coretest.PlusGrant)
	s.Grant(t, coretest.Bob, "sub:other")
	results := map[string]string{
		plugin.ResultOffer: market.ResultOffered, plugin.ResultHold: market.ResultHeld,
		plugin.ResultDeny: market.ResultDenied, plugin.ResultUnavailable: market.ResultUnavailable,
	}
	grants := map[string][]string{coretest.Alice: {coretest.PlusGrant}, coretest.Bob: {"sub:other"}}
	seen := map[string]int{}
	for _, bucket := range []uint32{0, abi.Bucket(coretest.Alice, coretest.NotesNew), abi.Bucket(coretest.Alice, coretest.NotesNew) + 1, abi.Buckets} {
		share(t, s, coretest.NotesNew, bucket)
		for _, account := range []string{coretest.Alice, coretest.Bob, ""} {
			for _, installed := range []uint64{1, 2000021, 2000022} {
				for _, os := range []string{"16.0", "17.4", deviceOS} {
					version, _ := catalog.ParseOS(os)
					y := &market.Supposed{Account: account, Platform: catalog.IOS, OS: version, Grants: grants[account]}
					var asked []map[string]string
					for _, item := range []uint64{1000002, 1000003, 1000004, 77} {
						y.Apps = append(y.Apps, market.App{Item: item, Version: installed})
						asked = append(asked, map[string]string{"item": strconv.FormatUint(item, 10), "installed": strconv.FormatUint(installed, 10)})
					}
					got, err := s.Market.Suppose(t.Context(), s.Catalog.Snapshot(), y, nil)
					if err != nil {
						t.Fatal(err)
					}
					x := explain(t, s, map[string]any{"account": account, "os": os, "apps": asked})
					for _, a := range x.Apps {
						at := slices.IndexFunc(got, func(o plugin.Outcome) bool { return o.Item == a.Item })
						if at < 0 {
							if a.Result != market.ResultNothing && a.Result != market.ResultSignIn && a.Result != market.ResultUnknown {
								t.Errorf("%s, app %d with %d installed, share %d: nothing is supposed, and it is %s", account, a.Item, installed, bucket, a.Result)
							}
							continue
						}
						o := got[at]
						seen[o.Result]++
						if results[o.Result] != a.Result || o.Version != a.Version {
							t.Errorf("%s, app %d with %d installed, share %d: %v is supposed, and it is %s %d", account, a.Item, installed, bucket, o, a.Result, a.Version)
						}
						if last := a.Answers[len(a.Answers)-1]; o.Plugin != last.Plugin || o.Code != last.Code || o.Reason != last.Reason {
							t.Errorf("%s, app %d: %+v is supposed, and %+v decided", account, a.Item, o, last)
						}
					}
				}
			}
		}
	}
	for _, r := range []string{plugin.ResultOffer, plugin.ResultHold, plugin.ResultDeny} {
		if seen[r] == 0 {
			t.Errorf("nothing came to %s: %v", r, seen)
		}
	}
}

// What nobody asked in earnest leaves no trace.
func TestSupposeCountsNothing(t *testing.T) {
	t.Parallel()
	s := coretest.Start(t, quick)
	before := fmt.Sprint(s.Plugins.Plugins()[2].Hooks)
	y := &market.Supposed{Account: "nobody@example.com", Platform: catalog.IOS, OS: catalog.AnyOS, Apps: []market.App{{Item: 1000002, Version: 1}}}
	got, err := s.Market.Suppose(t.Context(), s.Catalog.Snapshot(), y, nil)
	if err != nil || len(got) != 1 || got[0].Result != plugin.ResultOffer {
		t.Fatalf("Suppose = %+v, %v", got, err)
	}
	if after := fmt.Sprint(s.Plugins.Plugins()[2].Hooks); after != before {
		t.Errorf("the counters were %s, and are %s", before, after)
	}
	if n := s.Market.Signer.Signed(); n != 0 {
		t.Errorf("%d tokens were signed", n)
	}
}
