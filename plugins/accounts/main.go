//go:build wasip1

// Accounts signs people in with an email address and a password. The policy is
// in package policy; this is what makes it a plugin.
package main

import (
	"github.com/souk-market/souk/plugins/accounts/policy"
	"github.com/souk-market/souk/sdk/abi"
	souk "github.com/souk-market/souk/sdk/go"
	"github.com/souk-market/souk/sdk/go/signin"
)

var page policy.Page

func init() {
	souk.Configure(func(config []byte) (err error) {
		page, err = policy.New(config)
		return err
	})
	signin.Handle(func(req *abi.SignInRequest, v *abi.SignInVerdict) error { return page.SignIn(req, v) })
}

func main() {}
