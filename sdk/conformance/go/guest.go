//go:build wasip1

// The conformance guest in Go: what it says is in package policy.
package main

import (
	"github.com/souk-market/souk/sdk/conformance/go/policy"
	souk "github.com/souk-market/souk/sdk/go"
	"github.com/souk-market/souk/sdk/go/entitle"
	"github.com/souk-market/souk/sdk/go/exchange"
	"github.com/souk-market/souk/sdk/go/selectversion"
	"github.com/souk-market/souk/sdk/go/signin"
)

func init() {
	souk.Configure(policy.Configure)
	entitle.Handle(policy.Entitle)
	selectversion.Handle(policy.SelectVersion)
	signin.Handle(policy.SignIn)
	exchange.Handle(policy.Exchange)
}

func main() {}
