package policy

import (
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/souk-market/souk/sdk/go/value"
)

// Bounds of the configuration, in bytes where it is a text.
const (
	maxText   = 2000
	maxName   = 128 // of a claim, a scope, a domain or a grant
	maxIssuer = 200 // a key of the kv holds it
	maxList   = 256
	maxLeeway = 300       // seconds
	minCache  = 60        // seconds
	maxCache  = 24 * 3600 // seconds
)

// How the client proves itself at the token endpoint (OpenID Connect Core §9).
const (
	authBasic = "client_secret_basic"
	authPost  = "client_secret_post"
	authNone  = "none"
)

// Party is the relying party: what the operator wants of which provider.
type Party struct {
	issuer      string
	clientID    string
	redirectURI string
	clientAuth  string
	scopes      []string
	userinfo    bool // claims are also asked from the userinfo endpoint

	account string // the claim that becomes the account
	prefix  string // stands before it
	display string // the claim with the name; "" = none

	territory   string            // the claim with the country; "" = none
	territories map[string]string // its values to ISO 3166-1 alpha-3

	grants      []string          // everyone's who signs in here
	grantsClaim string            // the claim with a list of groups; "" = none
	grantsMap   map[string]string // group to grant
	groupPrefix string            // makes a grant of each other group; "" = of none

	emailDomains  []string // nil = any
	hostedDomains []string // nil = any

	prompt    string
	hint      bool   // what the device says of who should sign in is passed on, and binding
	leeway    uint64 // seconds
	cache     uint64 // seconds that what the provider says of itself is good
	name      string // the provider's, for people
	title     string
	message   string
	immediate bool // nobody sees a page before the provider's
}

// New reads the plugin's configuration.
func New(config []byte) (*Party, error) {
	p := &Party{
		clientAuth: authBasic, scopes: []string{"openid", "email", "profile"},
		account: "sub", display: "name", hint: true, leeway: 60, cache: 3600,
	}
	root, err := value.Parse(config)
	if err != nil {
		return nil, err
	}
	prefixed := false
	err = root.Table(func(key string, v value.Value) (err error) {
		switch key {
		case "issuer":
			p.issuer, err = readURL(v, maxIssuer)
		case "client_id":
			p.clientID, err = readText(v, maxText)
		case "redirect_uri":
			p.redirectURI, err = readRedirect(v)
		case "client_auth":
			p.clientAuth, err = readWord(v, authBasic, authPost, authNone)
		case "scopes":
			p.scopes, err = readScopes(v)
		case "userinfo":
			p.userinfo, err = v.Bool()
		case "account":
			p.account, err = readText(v, maxName)
		case "account_prefix":
			prefixed = true
			if p.prefix, err = v.Text(); err == nil && (len(p.prefix) > maxIssuer || strings.TrimLeft(p.prefix, " ") != p.prefix) {
				err = v.Wrong("is longer than " + strconv.Itoa(maxIssuer) + " bytes, or begins with a space")
			}
		case "display_name":
			p.display, err = readMaybe(v, maxName)
		case "territory":
			p.territory, err = readMaybe(v, maxName)
		case "territories":
			p.territories, err = readTerritories(v)
		case "grants":
			p.grants, err = readTexts(v)
		case "grants_claim":
			p.grantsClaim, err = readMaybe(v, maxName)
		case "grants_map":
			p.grantsMap, err = readMap(v)
		case "grants_prefix":
			p.groupPrefix, err = readMaybe(v, maxName/2)
		case "email_domains":
			p.emailDomains, err = readDomains(v)
		case "hosted_domains":
			p.hostedDomains, err = readDomains(v)
		case "prompt":
			p.prompt, err = readWord(v, "", "login", "consent", "select_account")
		case "login_hint":
			p.hint, err = v.Bool()
		case "leeway":
			p.leeway, err = readSeconds(v, 0, maxLeeway)
		case "cache":
			p.cache, err = readSeconds(v, minCache, maxCache)
		case "provider":
			p.name, err = readText(v, maxName)
		case "title":
			p.title, err = readMaybe(v, maxText)
		case "message":
			p.message, err = readMaybe(v, maxText)
		case "immediate":
			p.immediate, err = v.Bool()
		default:
			err = v.Unknown()
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return p, p.complete(root, prefixed)
}

// complete fills in what follows from the rest, and refuses what can only be a
// mistake.
func (p *Party) complete(root value.Value, prefixed bool) error {
	switch {
	case p.issuer == "":
		return root.Wrong("issuer is missing: write the provider's, as its discovery document has it")
	case p.clientID == "":
		return root.Wrong("client_id is missing: write what the provider has registered this market as")
	case p.redirectURI == "":
		return root.Wrong("redirect_uri is missing: write the server's public URL with /oauth/callback/ and this plugin's name behind it")
	case prefixed && p.prefix == "" && p.account != "email":
		return root.Wrong(`account_prefix: can be empty with account = "email" only: the provider could name anybody's account`)
	case prefixed && endsInWord(p.prefix): // "a" and 21 would be "a2" and 1
		return root.Wrong("account_prefix: ends with a letter or a digit: end it with a sign, like " + strconv.Quote(p.prefix+":") + ", or accounts of two providers could have one name")
	case p.grantsClaim == "" && len(p.grantsMap)+len(p.groupPrefix) > 0:
		return root.Wrong("grants_claim is missing: name the claim that grants_map or grants_prefix is for")
	case p.grantsClaim != "" && len(p.grantsMap)+len(p.groupPrefix) == 0:
		return root.Wrong("grants_claim: no group becomes a grant: write grants_map or grants_prefix")
	case p.grantsClaim != "" && len(p.grants) == 0:
		return root.Wrong("grants is missing: name a grant for everyone, or who has left the last group keeps what it gave")
	case len(p.territories) > 0 && p.territory == "":
		return root.Wrong("territory is missing: name the claim that territories is for")
	}
	issuer, _ := url.Parse(p.issuer) // readURL has parsed it
	if p.name == "" {
		p.name = issuer.Host
	}
	if !prefixed {
		p.prefix = p.issuer[len(issuer.Scheme)+len("://"):] + "#"
	}
	return nil
}

func endsInWord(s string) bool {
	last, _ := utf8.DecodeLastRuneInString(s)
	return unicode.IsLetter(last) || unicode.IsNumber(last)
}

func readText(v value.Value, most int) (string, error) {
	s, err := readMaybe(v, most)
	if err == nil && s == "" {
		err = v.Wrong("is empty")
	}
	return s, err
}

// readMaybe reads a text that may be empty.
func readMaybe(v value.Value, most int) (string, error) {
	s, err := v.Text()
	if err == nil && (len(s) > most || strings.TrimSpace(s) != s) {
		err = v.Wrong("is longer than " + strconv.Itoa(most) + " bytes, or begins or ends with a space")
	}
	return s, err
}

func readWord(v value.Value, words ...string) (string, error) {
	s, err := v.Text()
	if err == nil && !slices.Contains(words, s) {
		err = v.Wrong(`want "` + strings.Join(words, `" or "`) + `", not ` + strconv.Quote(s))
	}
	return s, err
}

func readSeconds(v value.Value, least, most uint64) (uint64, error) {
	n, err := v.Uint()
	if err == nil && (n < least || n > most) {
		err = v.Wrong("want " + strconv.FormatUint(least, 10) + " to " + strconv.FormatUint(most, 10) + " seconds")
	}
	return n, err
}

// readURL reads an address that nothing was added to. Plain http is for this
// machine only, by its own names, as the host has it.
func readURL(v value.Value, most int) (string, error) {
	s, err := readText(v, most)
	if err != nil {
		return "", err
	}
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.ForceQuery || strings.Contains(s, "#"):
		return "", v.Wrong("want a URL without query and fragment, not " + strconv.Quote(s))
	case u.Scheme == "https", u.Scheme == "http" && local(u):
		return s, nil
	}
	return "", v.Wrong("want https, not " + strconv.Quote(s))
}

func local(u *url.URL) bool {
	return slices.Contains([]string{"localhost", "127.0.0.1", "::1"}, u.Hostname())
}

func readRedirect(v value.Value) (string, error) {
	s, err := readURL(v, maxText)
	if err != nil {
		return "", err
	}
	if _, name, ok := strings.Cut(s, "/oauth/callback/"); !ok || name == "" || strings.Contains(name, "/") {
		return "", v.Wrong("want the server's public URL with /oauth/callback/ and this plugin's name behind it, not " + strconv.Quote(s))
	}
	return s, nil
}

// readTexts reads a list of texts of which none is empty.
func readTexts(v value.Value) ([]string, error) {
	list, err := v.List()
	if err != nil {
		return nil, err
	}
	if len(list) > maxList {
		return nil, v.Wrong("has more than " + strconv.Itoa(maxList) + " entries")
	}
	var all []string
	for _, e := range list {
		s, err := readText(e, maxName)
		if err != nil {
			return nil, err
		}
		all = append(all, s)
	}
	return all, nil
}

func readScopes(v value.Value) ([]string, error) {
	scopes, err := readTexts(v)
	switch {
	case err != nil:
	case !slices.Contains(scopes, "openid"):
		err = v.Wrong(`without "openid" the provider doesn't say who somebody is: add it`)
	case slices.ContainsFunc(scopes, func(s string) bool { return strings.ContainsAny(s, " \"\\") }):
		err = v.Wrong("a scope has no space in it: write each as an entry of its own")
	}
	return scopes, err
}

// readDomains reads a list of which an empty one would let nobody in.
func readDomains(v value.Value) ([]string, error) {
	domains, err := readTexts(v)
	if err == nil && len(domains) == 0 {
		err = v.Wrong("is empty, so nobody could sign in: name a domain, or remove the key")
	}
	for i, d := range domains {
		if strings.ContainsAny(d, "@* ") || strings.Trim(d, ".") != d {
			err = v.Wrong("want a domain like example.com, not " + strconv.Quote(d))
		}
		domains[i] = strings.ToLower(d)
	}
	return domains, err
}

func readMap(v value.Value) (map[string]string, error) {
	m := map[string]string{}
	return m, v.Table(func(key string, v value.Value) (err error) {
		m[key], err = readText(v, maxName)
		return err
	})
}

func readTerritories(v value.Value) (map[string]string, error) {
	m, err := readMap(v)
	for from, to := range m {
		if err == nil && !isTerritory(to) {
			err = v.Wrong(strconv.Quote(from) + ": want three capital letters (ISO 3166-1 alpha-3), not " + strconv.Quote(to))
		}
	}
	return m, err
}

func isTerritory(s string) bool {
	return len(s) == 3 && strings.Trim(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") == ""
}
