//go:build unix

package coretest_test

import (
	"bufio"
	"math"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/souk-market/souk/core"
	tok "github.com/souk-market/souk/core/token"
)

// TestUpdateChecksDoNotAllocate: once the pools are warm, an update check makes no
// garbage, from the bytes of the request to those of the answer. The connection, the
// client and fasthttp are in what is counted.
func TestUpdateChecksDoNotAllocate(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	s := benchServer(t, func(c *core.Config) { c.PoolByHand = true })
	address := strings.TrimPrefix(s.PublicURL(), "http://")
	access := benchToken(t, s, "person@example.com")
	const warm, runs, tries = 200, 200, 20
	update := func(item uint64) tok.InstallClaims {
		bundle := s.Catalog.Snapshot().Item(item).BundleID
		return tok.InstallClaims{BundleID: bundle, Item: item, Version: item*10 + benchNew, Redownload: true}
	}
	if err := s.Market.Pool.Warm(t.Context(), warm+(runs+1)*tries, update(benchFirstItem)); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name     string
		from     uint64
		outdated int
		answer   string
	}{
		{"nothing newer", benchFirstItem, 0, benchNothing},
		{"an offer from the pool", benchFirstItem, 1, benchOffer},
		{"a guest is asked about each app", benchHeldFrom, benchApps, benchNothing},
	} {
		t.Run(test.name, func(t *testing.T) {
			check := newBenchCheck(t, address, access, test.from, test.outdated, test.answer)
			conn, err := net.Dial("tcp", address)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if err := conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
				t.Fatal(err)
			}
			in := bufio.NewReaderSize(conn, 4<<10)
			post := func() {
				if err := check.post(conn, in); err != nil {
					t.Fatal(err)
				}
			}
			for range warm {
				post()
			}
			// What else runs in the process allocates now and then, and a garbage collection
			// empties the pools. A check that allocates does so in each try.
			least := math.Inf(1)
			for try := 0; try < tries && least > 0; try++ {
				least = min(least, testing.AllocsPerRun(runs, post))
			}
			if least > 0 {
				t.Errorf("%v allocations a check, want none", least)
			}
		})
	}
	if st := s.Market.Pool.Stats(); st.Inline != 0 {
		t.Errorf("%d offers were signed inline, want all from the pool", st.Inline)
	}
}
