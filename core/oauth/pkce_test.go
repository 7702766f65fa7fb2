package oauth_test

import (
	"strings"
	"testing"

	"github.com/souk-market/souk/core/oauth"
)

func TestVerifies(t *testing.T) {
	for _, test := range []struct {
		name, verifier, challenge string
		want                      bool
	}{
		{"RFC 7636 appendix B", "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk", "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM", true},
		{"AppDirect's sample", "rtDJlZb3hnHD0P65DYiUF0Xmplzg_anBoflHNGq0yCM", "FULBvRhW7stRYdJC2WQ1Tar4QtmoKtArNR6H-cnAGXg", true},
		{"a challenge in small letters", "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk", "e9melhoa2owvfremtjgucHaoeK1t8URWbuGJSstw-cM", false},
		{"the verifier itself, as plain would have it", "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk", "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk", false},
		{"Apple's sample, cut off in print", "7SJJJc6vi1D7x.SKZ4SuEijHA9C.FkASXVUo9E25ns1", "sib4eJtJBmkL312KjyoNlSFeDrpCOKnUwheZGipfnUY", false},
		{"Apple's sample verifier, cut off, with its own challenge", "7SJJJc6vi1D7x.SKZ4SuEijHA9C.FkASXVUo9E25ns1", "7yLO6u4d4IikzEKUKeSKqKylP__yak3CmUTKY2Qhk4A", true},
		{"Apple Business's sample, too short", "jgiugdfkbsa", "iHClLjT8_tEmUnRozb31CSyHndKjblDH87AoPLrWu7k", false},
		{"nothing", "", "", false},
	} {
		if got := oauth.Verifies(test.challenge, test.verifier); got != test.want {
			t.Errorf("%s: verifies = %v, want %v", test.name, got, test.want)
		}
	}
}

// RFC 7636 §4.1.
func TestValidVerifier(t *testing.T) {
	for length, want := range map[int]bool{0: false, 1: false, 42: false, 43: true, 44: true, 128: true, 129: false, 1000: false} {
		if got := oauth.ValidVerifier(strings.Repeat("a", length)); got != want {
			t.Errorf("a verifier of %d characters is valid = %v, want %v", length, got, want)
		}
	}
	for c := range 256 {
		want := strings.ContainsRune("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~", rune(c))
		if got := oauth.ValidVerifier(strings.Repeat("a", 42) + string([]byte{byte(c)})); got != want {
			t.Errorf("a verifier with the byte %#x is valid = %v, want %v", c, got, want)
		}
	}
}

func TestValidChallenge(t *testing.T) {
	a42 := strings.Repeat("a", 42)
	for challenge, want := range map[string]bool{
		a42 + "A": true, a42 + "E": true, a42 + "8": true, strings.Repeat("_-", 21) + "A": true,
		a42 + "B": false, a42 + "/": false, a42 + "=": false, a42 + "\n": false, a42: false, a42 + "AA": false, "": false, "abc": false,
	} {
		if got := oauth.ValidChallenge(challenge); got != want {
			t.Errorf("validChallenge(%q) = %v, want %v", challenge, got, want)
		}
	}
}
