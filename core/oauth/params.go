package oauth

import (
	"slices"
	"strings"
	"unicode/utf8"
)

// Pair is one parameter as it stood in a query or a form.
type Pair struct{ Name, Value string }

// Params are the parameters of a request. A parameter without a value counts as
// left out (RFC 6749 §3.1, §3.2).
type Params map[string]string

// NewParams collects the parameters of a request, each of so many bytes at most. One
// that comes twice is refused, also when one of the two is empty: two readers of the
// same request must not see two values.
func NewParams(pairs []Pair, longest int) (Params, error) {
	p := make(Params, len(pairs))
	for i, pair := range pairs { // a hundred at most: looking at all is quicker than a map
		if slices.ContainsFunc(pairs[:i], func(before Pair) bool { return before.Name == pair.Name }) {
			return nil, Errorf(InvalidRequest, "parameter %s is there more than once", printable(pair.Name))
		}
		if len(pair.Value) > longest || !utf8.ValidString(pair.Value) || strings.ContainsRune(pair.Value, 0) {
			return nil, Errorf(InvalidRequest, "parameter %s is too long or not text", printable(pair.Name))
		}
		if pair.Value != "" {
			p[pair.Name] = pair.Value
		}
	}
	return p, nil
}

// printable makes a name from outside fit for a message.
func printable(s string) string {
	if len(s) > 40 {
		s = s[:40]
	}
	return strings.Map(func(r rune) rune {
		if r < 0x21 || r > 0x7e || r == '"' || r == '\\' {
			return '.'
		}
		return r
	}, s)
}

// LoginHint mends a hint that a device sent. It writes a plus sign as it is, and
// every parser of forms reads that as a space; an address has no spaces, so in
// one they were plus signs.
func LoginHint(hint string) string {
	hint = strings.TrimSpace(hint)
	if strings.Contains(hint, "@") {
		hint = strings.ReplaceAll(hint, " ", "+")
	}
	if len(hint) > maxAccount {
		return ""
	}
	return hint
}

// maxAccount bounds the name of an account, in bytes.
const maxAccount = 255

// vschar reports whether s is made of the visible characters and spaces that
// RFC 6749 appendix A allows in a client_id or a state.
func vschar(s string) bool {
	for i := range len(s) {
		if s[i] < 0x20 || s[i] > 0x7e {
			return false
		}
	}
	return true
}
