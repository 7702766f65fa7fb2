package oauth_test

import (
	"errors"
	"maps"
	"strings"
	"testing"

	"github.com/souk-market/souk/core/oauth"
)

// RFC 6749 §3.1, §3.2.
const longestParam = 32 << 10

func TestNewParams(t *testing.T) {
	for _, test := range []struct {
		name  string
		pairs []oauth.Pair
		want  oauth.Params // nil = refused
	}{
		{"none", nil, oauth.Params{}},
		{"some", []oauth.Pair{{"a", "1"}, {"b", "2"}}, oauth.Params{"a": "1", "b": "2"}},
		{"an empty one is left out", []oauth.Pair{{"a", "1"}, {"b", ""}, {"", ""}}, oauth.Params{"a": "1"}},
		{"names differ by their case", []oauth.Pair{{"a", "1"}, {"A", "2"}}, oauth.Params{"a": "1", "A": "2"}},
		{"the longest value", []oauth.Pair{{"a", strings.Repeat("x", 32<<10)}}, oauth.Params{"a": strings.Repeat("x", 32<<10)}},
		{"one twice", []oauth.Pair{{"a", "1"}, {"a", "1"}}, nil},
		{"one twice, empty first", []oauth.Pair{{"a", ""}, {"a", "1"}}, nil},
		{"one twice, empty last", []oauth.Pair{{"a", "1"}, {"a", ""}}, nil},
		{"one twice, empty both", []oauth.Pair{{"a", ""}, {"a", ""}}, nil},
		{"a value too long", []oauth.Pair{{"a", strings.Repeat("x", 32<<10+1)}}, nil},
		{"a value that is not UTF-8", []oauth.Pair{{"a", "\xff"}}, nil},
		{"a value with NUL", []oauth.Pair{{"a", "x\x00"}}, nil},
	} {
		got, err := oauth.NewParams(test.pairs, longestParam)
		if test.want == nil {
			var e *oauth.Error
			if !errors.As(err, &e) || e.Code != oauth.InvalidRequest {
				t.Errorf("%s: NewParams = %v, %v, want invalid_request", test.name, got, err)
			}
			continue
		}
		if err != nil || !maps.Equal(got, test.want) {
			t.Errorf("%s: NewParams = %v, %v, want %v", test.name, got, err, test.want)
		}
	}
}

// A name from outside is made fit for a message (RFC 6749 §5.2: error_description
// has no quotes and no control characters).
func TestParameterNamesInErrors(t *testing.T) {
	for _, name := range []string{"a\"b\\c\r\nd", "é", strings.Repeat("n", 5000), "\xff\xfe"} {
		_, err := oauth.NewParams([]oauth.Pair{{name, "1"}, {name, "1"}}, longestParam)
		var e *oauth.Error
		if !errors.As(err, &e) {
			t.Fatalf("NewParams with %q twice = %v, want an error", name, err)
		}
		if d := e.Description; len(d) > 200 || strings.ContainsFunc(d, func(r rune) bool { return r < 0x20 || r > 0x7e || r == '"' || r == '\\' }) {
			t.Errorf("the description %q has characters that RFC 6749 §5.2 leaves out", d)
		}
	}
}

func TestLoginHint(t *testing.T) {
	for hint, want := range map[string]string{
		"":                           "",
		"alice@example.com":          "alice@example.com",
		"Alice@Example.com":          "Alice@Example.com",
		"a b@example.com":            "a+b@example.com",
		" a b c@example.com ":        "a+b+c@example.com",
		"a+b@example.com":            "a+b@example.com",
		"alice":                      "alice",
		"alice liddell":              "alice liddell",
		"  ":                         "",
		strings.Repeat("a", 255):     strings.Repeat("a", 255),
		strings.Repeat("a", 256):     "",
		"<b>\"'&@example.com":        "<b>\"'&@example.com",
		strings.Repeat("a ", 200):    "",
		"\t" + "alice@example.com\n": "alice@example.com",
	} {
		if got := oauth.LoginHint(hint); got != want {
			t.Errorf("LoginHint(%q) = %q, want %q", hint, got, want)
		}
	}
}

func TestValidAccount(t *testing.T) {
	for account, want := range map[string]bool{
		"alice@example.com": true, "a+b@example.com": true, "žofie": true, "two words": true, strings.Repeat("a", 255): true,
		"": false, " alice": false, "alice ": false, "a\nb": false, "a\x00b": false, "\u200b": false, strings.Repeat("a", 256): false, "\xff": false,
	} {
		if got := oauth.ValidAccount(account); got != want {
			t.Errorf("ValidAccount(%.40q) = %v, want %v", account, got, want)
		}
	}
}
