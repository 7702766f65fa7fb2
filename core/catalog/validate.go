package catalog

import (
	"encoding/json"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/souk-market/souk/core/store"
)

// Rules are the parts of validation that differ between installations.
type Rules struct {
	// LoopbackHTTP allows plain http in URLs whose host is this machine. A real device
	// can't reach those; demos and tests can.
	LoopbackHTTP bool
}

// The limits of an item. Together with its state an item has to fit one record.
const (
	MaxVersions = 200
	maxItem     = store.MaxValue - recordOverhead
)

// Validate returns Invalid with all that is wrong with it, or nil.
func (r Rules) Validate(it Item) error {
	if p := r.check("", it, nil); len(p) > 0 {
		return p
	}
	return nil
}

// validateAll checks the items of a file, also against each other.
func (r Rules) validateAll(items []Item, problems Invalid) Invalid {
	first := make(map[uint64]int, len(items))
	for i, it := range items {
		path := nth("", "items", i)
		if other, twice := first[it.ID]; twice && it.ID != 0 {
			problems = append(problems, Problem{at(path, "id"), fmt.Sprintf("%d is already that of items[%d]: put all versions into one item", it.ID, other)})
		} else {
			first[it.ID] = i
		}
		problems = r.check(path, it, problems)
	}
	return problems
}

// check appends what is wrong with the item at path.
func (r Rules) check(path string, it Item, problems Invalid) Invalid {
	bad := func(key, format string, args ...any) {
		problems = append(problems, Problem{at(path, key), fmt.Sprintf(format, args...)})
	}
	if it.ID == 0 {
		bad("id", `missing: give the Apple item id, as in "1234567890"`)
	}
	switch {
	case it.BundleID == "":
		bad("bundle_id", `missing: give the app's bundle id, as in "com.example.app"`)
	case !isBundleID(it.BundleID):
		bad("bundle_id", "%s: only letters, digits, hyphens and periods, at most 155, neither first nor last a period", quote(it.BundleID))
	}
	if fix := checkText(it.Name, 200); fix != "" {
		bad("name", "%s: %s", quote(it.Name), fix)
	}
	if it.SignIn != "" && it.SignIn != SignInRequired && it.SignIn != SignInNone {
		bad("sign_in", "%s: want %q or %q", quote(it.SignIn), SignInRequired, SignInNone)
	}
	if it.ShareURL != "" {
		if fix := r.checkURL(it.ShareURL); fix != "" {
			bad("share_url", "%s: %s", quote(it.ShareURL), fix)
		}
	}
	if fix := checkText(it.Reason, 500); fix != "" {
		bad("reason", "%s: %s", quote(it.Reason), fix)
	}
	if it.Reason != "" && !it.Removed {
		bad("reason", "stands without removed: set removed = true, or drop the reason")
	}
	if n := len(it.Versions); n > MaxVersions {
		bad("versions", "%d of them, at most %d: drop the oldest", n, MaxVersions)
		return problems
	}
	first := make(map[uint64]int, len(it.Versions))
	for i, v := range it.Versions {
		here := nth(path, "versions", i)
		if other, twice := first[v.ID]; twice && v.ID != 0 {
			problems = append(problems, Problem{at(here, "id"), fmt.Sprintf("%d is already that of %s", v.ID, nth(path, "versions", other))})
		} else {
			first[v.ID] = i
		}
		problems = r.checkVersion(here, v, problems)
	}
	if size := encodedSize(it); size > maxItem {
		problems = append(problems, Problem{path, fmt.Sprintf("takes %d bytes, at most %d: drop the oldest versions", size, maxItem)})
	}
	return problems
}

func (r Rules) checkVersion(path string, v Version, problems Invalid) Invalid {
	bad := func(key, format string, args ...any) {
		problems = append(problems, Problem{at(path, key), fmt.Sprintf(format, args...)})
	}
	if v.ID == 0 {
		bad("id", `missing: give the Apple version id, as in "2000004563"`)
	}
	for _, f := range []struct{ key, value, sample string }{
		{"short", v.Short, "1.0.14"}, {"build", v.Build, "1"},
	} {
		if f.value == "" {
			bad(f.key, "missing: devices need it, as in %q", f.sample)
		} else if fix := checkText(f.value, 64); fix != "" {
			bad(f.key, "%s: %s", quote(f.value), fix)
		}
	}
	if !v.Released.IsZero() && (v.Released.Before(time.Unix(0, 0)) || v.Released.Year() > 9999) {
		bad("released", "%s: want a time between 1970 and 9999", v.Released.Format(time.RFC3339))
	}
	if len(v.MinOS) == 0 {
		bad("min_os", `missing: name the oldest system that runs it, as in ios = "17.4"`)
	}
	for _, platform := range sortedKeys(v.MinOS) {
		os := v.MinOS[platform]
		if fix, ok := knownPlatform(platform); !ok {
			bad("min_os", "unknown platform %s: %s", quote(platform), fix)
		} else if _, ok := ParseOS(os); !ok {
			bad("min_os."+platform, `%s: want major[.minor[.patch]], as in "17.4"`, quote(os))
		}
	}
	if v.Package != "" {
		fix := r.checkURL(v.Package)
		if fix == "" && strings.ContainsAny(v.Package, "?#") {
			fix = "paths are appended to it, so it can have no query"
		}
		if fix != "" {
			bad("package", "%s: %s", quote(v.Package), fix)
		}
	}
	if !isName(v.Channel, 64) {
		bad("channel", "%s: only letters, digits and - _ ., at most 64", quote(v.Channel))
	}
	if v.Rollout.Share < 0 || v.Rollout.Share > FullShare {
		bad("rollout.share", "%d: want basis points from 0 to %d (2500 is a quarter)", v.Rollout.Share, FullShare)
	}
	if fix := checkText(v.Rollout.Salt, 128); fix != "" {
		bad("rollout.salt", "%s: %s", quote(v.Rollout.Salt), fix)
	}
	return problems
}

// checkURL returns what would make s a URL that devices can be given.
func (r Rules) checkURL(s string) (fix string) {
	if len(s) > 2000 {
		return "at most 2000 characters"
	}
	for _, c := range []byte(s) {
		// RFC 3986 §2: anything else has to be percent-encoded.
		if c <= ' ' || c >= 0x7f || strings.IndexByte("\"<>\\^`{|}", c) >= 0 {
			return fmt.Sprintf("percent-encode the character %q", rune(c))
		}
	}
	u, err := url.Parse(s)
	switch {
	case err != nil:
		return "not a URL"
	case u.Scheme == "http" && r.LoopbackHTTP && isLoopback(u.Hostname()):
	case u.Scheme != "https":
		return "want an absolute https URL"
	}
	switch {
	case u.Hostname() == "" || u.Opaque != "":
		return "want an absolute https URL"
	case u.User != nil:
		return "remove the user name"
	case u.Fragment != "" || strings.HasSuffix(s, "#"):
		return "remove the part after #"
	}
	return ""
}

// checkPublicURL returns the base of this server's own URLs without a slash at its end.
func checkPublicURL(s string) (string, error) {
	if fix := (Rules{LoopbackHTTP: true}).checkURL(s); fix != "" {
		return "", fmt.Errorf("catalog: public URL %s: %s", quote(s), fix)
	}
	if strings.Contains(s, "?") {
		return "", fmt.Errorf("catalog: public URL %s: remove the query", quote(s))
	}
	return strings.TrimRight(s, "/"), nil
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// checkText is for what people read: valid UTF-8 in one line.
func checkText(s string, most int) (fix string) {
	switch {
	case len(s) > most:
		return fmt.Sprintf("at most %d bytes", most)
	case !utf8.ValidString(s):
		return "write it in UTF-8"
	case strings.ContainsFunc(s, unicode.IsControl):
		return "remove the control characters"
	}
	return ""
}

// isBundleID: the characters that Apple allows, as install tokens want them too.
func isBundleID(s string) bool {
	if s == "" || len(s) > 155 || s[0] == '.' || s[len(s)-1] == '.' {
		return false
	}
	for _, c := range []byte(s) {
		if !isAlphanumeric(c) && c != '-' && c != '.' {
			return false
		}
	}
	return true
}

func isName(s string, most int) bool {
	for _, c := range []byte(s) {
		if !isAlphanumeric(c) && strings.IndexByte("-_.", c) < 0 {
			return false
		}
	}
	return len(s) <= most
}

func isAlphanumeric(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
}

// encodedSize is what the item takes in its record.
func encodedSize(it Item) int {
	b, err := json.Marshal(it)
	if err != nil {
		return 0 // a time that JSON can't express: reported where it stands
	}
	return len(b)
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
