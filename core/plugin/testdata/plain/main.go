//go:build wasip1

// Plain is a guest that answers the two questions of update checks and uses no
// host function: a rollout by hand, and an allow list of one grant.
package main

import (
	"github.com/souk-market/souk/sdk/abi"
	souk "github.com/souk-market/souk/sdk/go"
	"github.com/souk-market/souk/sdk/go/entitle"
	"github.com/souk-market/souk/sdk/go/selectversion"
	"github.com/souk-market/souk/sdk/go/value"
)

var grant string // that an account needs; "" = any

func init() {
	souk.Configure(configure)
	entitle.Handle(decide)
	selectversion.Handle(choose)
}

func configure(json []byte) error {
	config, err := value.Parse(json)
	if err != nil {
		return err
	}
	return config.Table(func(key string, v value.Value) (err error) {
		if key != "grant" {
			return v.Unknown()
		}
		grant, err = v.Text()
		return err
	})
}

func main() {}

func decide(r *abi.EntitleRequest, v *abi.EntitleVerdict) error {
	for range r.Apps {
		d := abi.EntitleDecision{Decision: abi.Deny, Code: 7, Reason: "no subscription"}
		for _, held := range r.Grants {
			if grant == "" || held == grant {
				d = abi.EntitleDecision{}
			}
		}
		v.Items = append(v.Items, d)
	}
	return nil
}

func choose(r *abi.SelectVersionRequest, v *abi.SelectVersionVerdict) error {
	for i := range r.Apps {
		v.Items = append(v.Items, pick(r, &r.Apps[i]))
	}
	return nil
}

func pick(r *abi.SelectVersionRequest, a *abi.SelectVersionApp) abi.VersionChoice {
	for i := range a.Candidates {
		c := &a.Candidates[i]
		if c.MinOS <= r.OS && (c.Rollout >= abi.Buckets || hash(r.BucketKey, c.Salt) < c.Rollout) {
			return abi.VersionChoice{Choice: abi.Choice(i)}
		}
	}
	return abi.VersionChoice{Choice: abi.Hold, Code: 1, Reason: "not yet"}
}

// hash is FNV-1a: the guest's own, so that it needs no import.
func hash(key, salt string) uint32 {
	h := uint32(2166136261)
	for _, s := range [...]string{salt, key} {
		for i := range len(s) {
			h = (h ^ uint32(s[i])) * 16777619
		}
	}
	return h % abi.Buckets
}
