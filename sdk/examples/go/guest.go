//go:build wasip1

// Each device gets the newest version that is rolled out to it.
package main

import (
	"github.com/souk-market/souk/sdk/abi"
	souk "github.com/souk-market/souk/sdk/go"
	"github.com/souk-market/souk/sdk/go/selectversion"
)

func init() { selectversion.Each(choose) }

func main() {}

func choose(q *abi.SelectVersionView, app abi.SelectVersionAppView) abi.VersionChoice {
	for i := range app.Candidates() {
		if souk.OpenTo(q, app.Candidate(i)) {
			return abi.VersionChoice{Choice: abi.Choice(i), Reason: "open"}
		}
	}
	return abi.VersionChoice{Choice: abi.Hold, Reason: "not open yet"}
}
