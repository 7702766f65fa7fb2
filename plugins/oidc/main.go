//go:build wasip1

// Oidc lets people sign in at another OpenID provider. The policy is in package
// policy; this is what makes it a plugin.
package main

import (
	"errors"

	"github.com/souk-market/souk/plugins/oidc/policy"
	"github.com/souk-market/souk/sdk/abi"
	souk "github.com/souk-market/souk/sdk/go"
	"github.com/souk-market/souk/sdk/go/signin"
)

var party *policy.Party

func init() {
	souk.Configure(func(config []byte) (err error) {
		party, err = policy.New(config)
		return err
	})
	signin.Handle(func(req *abi.SignInRequest, v *abi.SignInVerdict) error {
		if party == nil {
			return errors.New("asked before configure")
		}
		return party.SignIn(req, v)
	})
}

func main() {}
