//go:build wasip1

// Allowlist says which accounts may have which items. The policy is in package
// policy; this is what makes it a plugin.
package main

import (
	"errors"

	"github.com/souk-market/souk/plugins/allowlist/policy"
	"github.com/souk-market/souk/sdk/abi"
	souk "github.com/souk-market/souk/sdk/go"
	"github.com/souk-market/souk/sdk/go/entitle"
)

var rules *policy.Rules

func init() {
	souk.Configure(func(config []byte) (err error) {
		rules, err = policy.New(config)
		return err
	})
	entitle.Handle(func(req *abi.EntitleRequest, v *abi.EntitleVerdict) error {
		if rules == nil {
			return errors.New("asked before configure")
		}
		rules.Entitle(req, v)
		return nil
	})
}

func main() {}
