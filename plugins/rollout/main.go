//go:build wasip1

// Rollout says which version of an app a device gets while versions are rolled
// out in steps. The policy is in package policy; this is what makes it a plugin.
package main

import (
	"github.com/souk-market/souk/plugins/rollout/policy"
	"github.com/souk-market/souk/sdk/abi"
	souk "github.com/souk-market/souk/sdk/go"
	"github.com/souk-market/souk/sdk/go/selectversion"
)

var rollout policy.Rollout

func init() {
	souk.Configure(func(config []byte) (err error) {
		rollout, err = policy.New(config)
		return err
	})
	selectversion.Handle(func(req *abi.SelectVersionRequest, v *abi.SelectVersionVerdict) error {
		rollout.SelectVersion(req, v)
		return nil
	})
}

func main() {}
