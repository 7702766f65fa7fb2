//go:build wasip1

// Whoever has a subscription may have every app, and nobody else any.
package main

import (
	"github.com/souk-market/souk/sdk/abi"
	"github.com/souk-market/souk/sdk/go/entitle"
)

func init() { entitle.Each(decide) }

func main() {}

func decide(q *abi.EntitleView, app abi.EntitleAppView) abi.EntitleDecision {
	if q.HasGrant("sub:plus") {
		return abi.EntitleDecision{Decision: abi.Allow, Reason: "has a subscription"}
	}
	return abi.EntitleDecision{Decision: abi.Deny, Reason: "needs a subscription"}
}
