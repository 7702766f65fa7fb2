//go:build !wasip1

package region_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/souk-market/souk/sdk/abi"
)

// The codes of the answers.
const (
	codePasses    = 1
	codeExempt    = 2
	codeOther     = 3
	codeTerritory = 20
	codeUnknown   = 21
	codePlatform  = 22
	codeOld       = 23
	codeNew       = 24
)

// rule is one rule of the configuration.
type rule struct {
	Name             string   `json:"name"`
	Items            []string `json:"items"`
	Versions         []string `json:"versions"`
	AllowTerritories []string `json:"allow_territories"`
	DenyTerritories  []string `json:"deny_territories"`
	UnknownTerritory string   `json:"unknown_territory"`
	Platforms        []string `json:"platforms"`
	MinOS            string   `json:"min_os"`
	MaxOS            string   `json:"max_os"`
	OnlyNew          bool     `json:"only_new"`
	Code             uint32   `json:"code"`
}

// region is the policy once more, in Go and without its speed: what the plugin
// answers is compared with what this does.
type region struct {
	Rules            []rule   `json:"rules"`
	UnknownTerritory string   `json:"unknown_territory"`
	ExemptGrants     []string `json:"exempt_grants"`
	Passes           string   `json:"passes"`
}

func reference(config string) (r region) {
	if err := json.Unmarshal([]byte(config), &r); err != nil {
		panic(err)
	}
	return r
}

// osParts reads a version; missing parts are rest.
func osParts(s string, rest uint32) (os uint32) {
	parts := strings.Split(s, ".")
	for i := range 3 {
		n := rest
		if i < len(parts) {
			v, _ := strconv.ParseUint(parts[i], 10, 8)
			n = uint32(v)
		}
		os = os<<8 | n
	}
	return os
}

func osText(os uint32) string {
	if os&0xff == 0 {
		return fmt.Sprintf("%d.%d", os>>16, os>>8&0xff)
	}
	return fmt.Sprintf("%d.%d.%d", os>>16, os>>8&0xff, os&0xff)
}

// refuses says why a rule refuses a device; 0 = it doesn't.
func (r *region) refuses(i int, h *abi.Head) (code uint32, reason string) {
	u := &r.Rules[i]
	if u.OnlyNew && h.Purpose != abi.PurposeInstallToken {
		return 0, ""
	}
	unknown := u.UnknownTerritory
	if unknown == "" {
		unknown = r.UnknownTerritory
	}
	platform := map[abi.Platform]string{abi.PlatformIOS: "iOS", abi.PlatformIPadOS: "iPadOS"}[h.Platform]
	if platform == "" {
		platform = fmt.Sprint("platform ", uint32(h.Platform))
	}
	asked := len(u.AllowTerritories)+len(u.DenyTerritories) > 0
	switch {
	case asked && h.Territory == "" && unknown == "deny":
		code, reason = codeUnknown, "the territory is not known"
	case asked && h.Territory != "" && u.AllowTerritories != nil && !slices.Contains(u.AllowTerritories, h.Territory):
		code, reason = codeTerritory, "the territory "+h.Territory+" is not on the list"
	case slices.Contains(u.DenyTerritories, h.Territory):
		code, reason = codeTerritory, "the territory "+h.Territory+" is on the list"
	case u.Platforms != nil && !slices.Contains(u.Platforms, strings.ToLower(platform)):
		code, reason = codePlatform, "not for "+platform
	case u.MinOS != "" && h.OS != 0 && h.OS < osParts(u.MinOS, 0):
		code, reason = codeOld, "the system "+osText(h.OS)+" is older than "+u.MinOS
	case u.MaxOS != "" && h.OS != 0 && h.OS > osParts(u.MaxOS, 255):
		code, reason = codeNew, "the system "+osText(h.OS)+" is newer than "+u.MaxOS
	default:
		return 0, ""
	}
	name := u.Name
	if name == "" {
		name = fmt.Sprint("rule ", i+1)
	}
	if u.Code != 0 {
		code = u.Code
	}
	return code, name + ": " + reason
}

func (r *region) exempt(h *abi.Head) string {
	for _, g := range r.ExemptGrants {
		if slices.Contains(h.Grants, g) {
			return g
		}
	}
	return ""
}

// first is the refusal of the first rule that is about something.
func (r *region) first(h *abi.Head, about func(*rule) bool) (code uint32, reason string) {
	for i := range r.Rules {
		if about(&r.Rules[i]) {
			if code, reason = r.refuses(i, h); code != 0 {
				return code, reason
			}
		}
	}
	return 0, ""
}

func (r *region) entitle(h *abi.Head, app *abi.EntitleApp) abi.EntitleDecision {
	passes := abi.DecisionPass
	if r.Passes == "allow" {
		passes = abi.Allow
	}
	code, reason := r.first(h, func(u *rule) bool {
		all := u.Items == nil && u.Versions == nil
		return all || slices.Contains(u.Items, strconv.FormatUint(app.Item, 10)) || slices.Contains(u.Items, app.BundleID)
	})
	grant := r.exempt(h)
	switch {
	case code == 0:
		return abi.EntitleDecision{Decision: passes, Code: codePasses, Reason: "no rule refuses it"}
	case grant != "":
		return abi.EntitleDecision{Decision: passes, Code: codeExempt, Reason: "holds " + grant}
	}
	return abi.EntitleDecision{Decision: abi.Deny, Code: code, Reason: reason}
}

func (r *region) choose(h *abi.Head, app *abi.SelectVersionApp) abi.VersionChoice {
	var code uint32
	var reason string
	fine := make([]bool, len(app.Candidates))
	for i, c := range app.Candidates {
		one, why := r.first(h, func(u *rule) bool { return slices.Contains(u.Versions, strconv.FormatUint(c.Version, 10)) })
		if fine[i] = one == 0; code == 0 {
			code, reason = one, why
		}
	}
	grant := r.exempt(h)
	switch {
	case code == 0:
		return abi.VersionChoice{Choice: abi.ChoicePass, Code: codePasses, Reason: "no rule refuses a version"}
	case grant != "":
		return abi.VersionChoice{Choice: abi.ChoicePass, Code: codeExempt, Reason: "holds " + grant}
	}
	rank := func(c *abi.Candidate) int {
		open := c.Rollout >= abi.Buckets || h.BucketKey != "" && abi.Bucket(h.BucketKey, c.Salt) < c.Rollout
		switch {
		case h.Purpose != abi.PurposeUpdate && c.Flags&abi.FlagRequested != 0:
			return 0
		case open && c.Flags&abi.FlagHalted == 0 && (c.Channel == "" || c.Channel == app.Channel):
			return 1
		case h.Purpose == abi.PurposeUpdate:
			return 9
		case c.Flags&abi.FlagHalted == 0:
			return 2
		}
		return 3
	}
	best := -1
	for i := range app.Candidates {
		if c := &app.Candidates[i]; fine[i] && rank(c) < 9 && (best < 0 || rank(c) < rank(&app.Candidates[best])) {
			best = i
		}
	}
	switch {
	case best >= 0:
		return abi.VersionChoice{Choice: abi.Choice(best), Code: codeOther, Reason: "another version; " + reason}
	case h.Purpose == abi.PurposeUpdate:
		return abi.VersionChoice{Choice: abi.Hold, Code: code, Reason: reason}
	}
	return abi.VersionChoice{Choice: abi.Unavailable, Code: code, Reason: reason}
}
