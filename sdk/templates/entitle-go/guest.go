//go:build wasip1

// Whoever has a subscription may have every app, and nobody else any.
package main

import (
	"slices"

	"github.com/souk-market/souk/sdk/abi"
	"github.com/souk-market/souk/sdk/go/entitle"
)

func init() { entitle.Handle(decide) }

func main() {}

func decide(r *abi.EntitleRequest, v *abi.EntitleVerdict) error {
	subscribed := slices.Contains(r.Grants, "sub:plus")
	for range r.Apps {
		d := abi.EntitleDecision{Decision: abi.Deny, Reason: "needs a subscription"}
		if subscribed {
			d = abi.EntitleDecision{Decision: abi.Allow, Reason: "has a subscription"}
		}
		v.Items = append(v.Items, d)
	}
	return nil
}
