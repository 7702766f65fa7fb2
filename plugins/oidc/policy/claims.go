package policy

import (
	"slices"
	"strings"
	"unicode"

	"github.com/souk-market/souk/sdk/abi"
	souk "github.com/souk-market/souk/sdk/go"
	"github.com/souk-market/souk/sdk/go/value"
)

// What an account of the core takes.
const (
	maxAccount = 255 // bytes, also of the display name
	maxGrants  = 256
)

// claims is what the provider says about a person: in the ID token, and behind
// it, if it was asked, at the userinfo endpoint. Where both have a claim the signed
// one counts.
type claims struct {
	subject string
	from    []value.Value
}

// find returns a claim, and who says it. A name with dots is a claim of that name
// or the way into an object: realm_access.roles.
func (c *claims) find(name string) (v, from value.Value, ok bool) {
	for _, from := range c.from {
		if v, ok := member(from, name); ok {
			return v, from, true
		}
		v, ok := from, true
		for step := range strings.SplitSeq(name, ".") {
			if v, ok = member(v, step); !ok {
				break
			}
		}
		if ok {
			return v, from, true
		}
	}
	return value.Value{}, value.Value{}, false
}

// text returns a claim that is a text, "" if there is none.
func (c *claims) text(name string) string {
	v, _, ok := c.find(name)
	if !ok || v.Kind != value.Text {
		return ""
	}
	s, _ := v.Text()
	return s
}

// email returns the address in lower case if the provider has verified it, else
// "". Only ASCII: other letters become ASCII ones in lower case, and one address
// two people's.
func (c *claims) email() string {
	v, from, ok := c.find("email")
	if !ok || v.Kind != value.Text {
		return ""
	}
	address, _ := v.Text()
	verified, there := member(from, "email_verified") // said by the same, about this address
	yes := there && verified.Kind == value.Bool
	if yes {
		yes, _ = verified.Bool()
	} else if there && verified.Kind == value.Text { // as some write it
		s, _ := verified.Text()
		yes = s == "true"
	}
	name, domain, ok := strings.Cut(address, "@")
	if !yes || !ok || name == "" || domain == "" || strings.Contains(domain, "@") || strings.ContainsFunc(address, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return ""
	}
	return strings.ToLower(address)
}

// person says whose account it is, if they may sign in.
func (p *Party) person(req *abi.SignInRequest, c *claims) (abi.SignInAnswer, error) {
	email := c.email()
	if _, domain, _ := strings.Cut(email, "@"); p.emailDomains != nil && !slices.Contains(p.emailDomains, domain) {
		return abi.SignInAnswer{}, &refusal{sayNotHere, "the email address is not verified, or not of email_domains", true}
	}
	if p.hostedDomains != nil && !slices.Contains(p.hostedDomains, strings.ToLower(c.text("hd"))) {
		return abi.SignInAnswer{}, &refusal{sayNotHere, "hd is none of hosted_domains", true}
	}
	name := c.text(p.account)
	if p.account == "email" {
		name = email
	}
	account := p.prefix + name
	if name == "" || len(account) > maxAccount || strings.TrimSpace(account) != account || !printable(account) {
		return abi.SignInAnswer{}, &refusal{sayNotHere, "claim " + p.account + " makes no account: it is missing, not verified, too long or not text", true}
	}
	if hint := req.LoginHint; p.hint && hint != "" && hint != account && (email == "" || !strings.EqualFold(hint, email)) {
		return abi.SignInAnswer{}, &refusal{sayOther, "somebody else was to sign in", true}
	}
	grants, ok := p.grantsOf(c)
	if !ok {
		return abi.SignInAnswer{}, &refusal{sayNotHere, "claim " + p.grantsClaim + " is no list of texts, or gives more grants than an account holds", false}
	}
	return abi.SignInAnswer{
		Outcome: abi.SignInDone, Account: account, DisplayName: p.displayName(c), Territory: p.territoryOf(c), Grants: grants,
	}, nil
}

// hintFor is what the provider is told of who should sign in: an address. The
// name of an account says nothing to it.
func (p *Party) hintFor(hint string) string {
	if !p.hint {
		return ""
	}
	if p.account == "email" {
		hint = strings.TrimPrefix(hint, p.prefix)
	}
	if !strings.Contains(hint, "@") || p.prefix != "" && strings.HasPrefix(hint, p.prefix) {
		return ""
	}
	return hint
}

func (p *Party) displayName(c *claims) string {
	if p.display == "" {
		return ""
	}
	name := strings.TrimSpace(strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, c.text(p.display)))
	if len(name) > maxAccount {
		return ""
	}
	return name
}

func (p *Party) territoryOf(c *claims) string {
	if p.territory == "" {
		return ""
	}
	s := c.text(p.territory)
	if to, ok := p.territories[s]; ok {
		return to
	}
	if !isTerritory(s) {
		return ""
	}
	return s
}

// grantsOf is what the account holds from now on, nil = what it held.
func (p *Party) grantsOf(c *claims) ([]string, bool) {
	grants := slices.Clone(p.grants)
	if p.grantsClaim == "" {
		return grants, true
	}
	v, _, ok := c.find(p.grantsClaim)
	if !ok {
		return grants, true // no group
	}
	groups, err := v.Texts()
	if err != nil {
		return nil, false
	}
	for _, group := range groups {
		grant, ok := p.grantsMap[group]
		if !ok && p.groupPrefix != "" {
			grant = p.groupPrefix + group
		}
		switch {
		case grant == "" || slices.Contains(grants, grant):
		case len(grant) > maxName || !printable(grant) || strings.TrimSpace(grant) != grant:
			souk.Log(abi.LevelWarn, "a group makes no grant: "+quoted(group))
		case len(grants) == maxGrants:
			return nil, false
		default:
			grants = append(grants, grant)
		}
	}
	return grants, true
}

func printable(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) })
}

// member returns the value of a key, if v is a table that has it.
func member(v value.Value, name string) (found value.Value, ok bool) {
	if v.Kind != value.Table {
		return found, false
	}
	_ = v.Table(func(key string, v value.Value) error {
		if key == name {
			found, ok = v, true
		}
		return nil
	})
	return found, ok
}

// text returns the value of a key that is a text.
func text(v value.Value, name string) (string, bool) {
	found, ok := member(v, name)
	if !ok || found.Kind != value.Text {
		return "", ok
	}
	s, _ := found.Text()
	return s, true
}
