package policy

import (
	"strconv"
	"strings"

	"github.com/souk-market/souk/sdk/abi"
	"github.com/souk-market/souk/sdk/go/value"
)

// Bounds of the texts, in bytes. A verdict carries a reason for each app.
const (
	maxReason = 100
	maxName   = 256
)

// New reads the plugin's configuration. What could only be a mistake, such as
// a rule that lets nobody in, is an error that names the key. Without a
// configuration everything is denied.
func New(config []byte) (*Rules, error) {
	r := &Rules{
		unlisted: abi.EntitleDecision{Decision: abi.Deny, Code: CodeDefault, Reason: "no rule names the item"},
		free:     map[uint64]bool{},
		items:    map[uint64]*rule{},
	}
	root, err := value.Parse(config)
	if err != nil {
		return nil, err
	}
	err = root.Table(func(key string, v value.Value) error {
		switch key {
		case "default":
			return r.readDefault(v)
		case "free":
			return r.readFree(v)
		case "items":
			return v.Table(r.readRule)
		}
		return v.Unknown()
	})
	if err != nil {
		return nil, err
	}
	for item := range r.free {
		if r.items[item] != nil {
			return nil, root.Wrong("items." + strconv.FormatUint(item, 10) + ": the item is in free too")
		}
	}
	return r, nil
}

func (r *Rules) readDefault(v value.Value) error {
	word, err := v.Text()
	if err != nil {
		return err
	}
	switch word {
	case "allow":
		r.unlisted.Decision = abi.Allow
	case "deny":
		r.unlisted.Decision = abi.Deny
	case "abstain":
		r.unlisted.Decision = abi.DecisionPass
	default:
		return v.Wrong(`want "allow", "deny" or "abstain", not ` + strconv.Quote(word))
	}
	return nil
}

// readFree reads a list of item ids, as numbers or in quotes as the keys of
// items are.
func (r *Rules) readFree(v value.Value) error {
	list, err := v.List()
	if err != nil {
		return err
	}
	for _, e := range list {
		var item uint64
		if e.Kind == value.Number {
			item, err = e.Uint()
		} else if id, textErr := e.Text(); textErr == nil {
			item, err = itemID(e, id)
		} else {
			err = textErr
		}
		if err != nil {
			return err
		}
		if item == 0 || r.free[item] {
			return e.Wrong("the item is 0 or named twice")
		}
		r.free[item] = true
	}
	return nil
}

func itemID(v value.Value, id string) (uint64, error) {
	item, err := strconv.ParseUint(id, 10, 64)
	if err != nil || id[0] == '0' { // one spelling, so that no item has two rules
		return 0, v.Wrong("an item is named by the digits of its id (appleItemId), not by " + strconv.Quote(id))
	}
	return item, nil
}

func (r *Rules) readRule(id string, v value.Value) error {
	item, err := itemID(v, id)
	if err != nil {
		return err
	}
	rule := &rule{grants: map[string]string{}, accounts: map[string]bool{}}
	var grants []string
	err = v.Table(func(key string, v value.Value) (err error) {
		switch key {
		case "any_grant":
			grants, err = names(v)
			for _, grant := range grants {
				rule.grants[grant] = bounded("holds "+grant, "holds a grant of the rule")
			}
		case "accounts":
			var accounts []string
			accounts, err = names(v)
			for _, account := range accounts {
				rule.accounts[account] = true
			}
		case "deny":
			rule.shut, err = v.Bool()
		case "reason":
			if rule.reason, err = v.Text(); len(rule.reason) > maxReason {
				err = v.Wrong("the reason is longer than " + strconv.Itoa(maxReason) + " bytes")
			}
		default:
			err = v.Unknown()
		}
		return err
	})
	if err != nil {
		return err
	}
	if !rule.shut && len(rule.grants)+len(rule.accounts) == 0 {
		return v.Wrong("the rule lets nobody in: name any_grant or accounts, or say deny = true")
	}
	if rule.reason == "" {
		rule.reason = denial(rule, grants)
	}
	r.items[item] = rule
	return nil
}

// names reads a list of texts of which none is empty: an empty account would
// let in everyone who is not signed in.
func names(v value.Value) ([]string, error) {
	list, err := v.List()
	if err != nil {
		return nil, err
	}
	var all []string
	for _, e := range list {
		s, err := e.Text()
		if err != nil {
			return nil, err
		}
		if s == "" || len(s) > maxName || strings.TrimSpace(s) != s {
			return nil, e.Wrong("a name is empty, too long, or begins or ends with a space")
		}
		all = append(all, s)
	}
	return all, nil
}

// denial is the reason of a rule that gives none.
func denial(r *rule, grants []string) string {
	switch {
	case r.shut:
		return "shut for everyone"
	case len(grants) == 0:
		return "not named in the rule"
	}
	return bounded("holds none of "+strings.Join(grants, ", "), "holds none of the rule's grants")
}

// bounded returns the long text if a verdict has space for it.
func bounded(long, short string) string {
	if len(long) > maxReason {
		return short
	}
	return long
}
