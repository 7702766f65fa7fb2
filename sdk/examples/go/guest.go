//go:build wasip1

// Each device gets the newest version that is rolled out to it.
package main

import (
	"github.com/souk-market/souk/sdk/abi"
	souk "github.com/souk-market/souk/sdk/go"
	"github.com/souk-market/souk/sdk/go/selectversion"
)

func init() { selectversion.Handle(choose) }

func main() {}

func choose(r *abi.SelectVersionRequest, v *abi.SelectVersionVerdict) error {
	for i := range r.Apps {
		v.Items = append(v.Items, pick(r.BucketKey, r.Apps[i].Candidates))
	}
	return nil
}

func pick(key string, candidates []abi.Candidate) abi.VersionChoice {
	for i := range candidates {
		if souk.RolledOut(key, &candidates[i]) {
			return abi.VersionChoice{Choice: abi.Choice(i), Reason: "open"}
		}
	}
	return abi.VersionChoice{Choice: abi.Hold, Reason: "not open yet"}
}
