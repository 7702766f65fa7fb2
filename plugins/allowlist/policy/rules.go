// Package policy entitles accounts to items by a list: an item is open to
// everyone, or to those who hold one of its grants or are named, or to nobody.
//
// It looks only at what the request carries. Where grants come from, how many
// devices an account has and where it lives are questions of others.
package policy

import "github.com/souk-market/souk/sdk/abi"

// The codes of the decisions.
const (
	CodeDefault = 1 // no rule names the item: the configured default
	CodeFree    = 2 // allowed: the item is open to everyone
	CodeGrant   = 3 // allowed: the account holds a grant of the rule
	CodeNamed   = 4 // allowed: the rule names the account
	CodeMissing = 5 // denied: the account is not named and holds none of the grants
	CodeShut    = 6 // denied: the rule says deny = true
)

// Rules decide about items; New makes them. All texts are made with them, so a
// decision allocates nothing.
type Rules struct {
	unlisted abi.EntitleDecision // about an item that no rule names
	free     map[uint64]bool
	items    map[uint64]*rule
}

// rule is about one item.
type rule struct {
	grants   map[string]string // grant → the reason when it is held
	accounts map[string]bool
	shut     bool
	reason   string // of a denial
}

// Entitle decides about each app of a request.
func (r *Rules) Entitle(req *abi.EntitleRequest, v *abi.EntitleVerdict) {
	for i := range req.Apps {
		v.Items = append(v.Items, r.decide(&req.Head, req.Apps[i].Item))
	}
}

// hot: called for every update that would be offered; no allocation (see
// BenchmarkEntitle).
func (r *Rules) decide(who *abi.Head, item uint64) abi.EntitleDecision {
	if r.free[item] {
		return abi.EntitleDecision{Decision: abi.Allow, Code: CodeFree, Reason: "open to everyone"}
	}
	rule := r.items[item]
	switch {
	case rule == nil:
		return r.unlisted
	case rule.shut:
		return abi.EntitleDecision{Decision: abi.Deny, Code: CodeShut, Reason: rule.reason}
	case rule.accounts[who.Account]:
		return abi.EntitleDecision{Decision: abi.Allow, Code: CodeNamed, Reason: "named in the rule"}
	}
	for _, grant := range who.Grants {
		if reason, ok := rule.grants[grant]; ok {
			return abi.EntitleDecision{Decision: abi.Allow, Code: CodeGrant, Reason: reason}
		}
	}
	return abi.EntitleDecision{Decision: abi.Deny, Code: CodeMissing, Reason: rule.reason}
}
