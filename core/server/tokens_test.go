package server

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/souk-market/souk/core/oauth"
	"github.com/souk-market/souk/core/token"
)

// The answer of the token endpoint is written by hand: it has to be what
// encoding/json would write, with each of its parts there or not.
func TestTokensAreWrittenAsJSONWritesThem(t *testing.T) {
	access, refresh := strings.Repeat("A-z_0", token.AccessLen/5)+"Az", strings.Repeat("b", token.RefreshLen)
	for _, refresh := range []string{"", refresh} {
		for _, issued := range []string{"", oauth.TypeAccessToken} {
			for _, scope := range []string{"", oauth.ScopeAll, `odd "scope" \ <ü>`} {
				for _, seconds := range []int64{0, 259200, 1 << 40} {
					r := &oauth.TokenResponse{
						AccessToken: access, TokenType: "Bearer", ExpiresIn: seconds, RefreshToken: refresh, IssuedTokenType: issued, Scope: scope,
					}
					want, err := json.Marshal(r)
					if err != nil {
						t.Fatal(err)
					}
					if got := appendTokens(nil, r); string(got) != string(want) {
						t.Errorf("appendTokens wrote\n%s\nwant\n%s", got, want)
					}
				}
			}
		}
	}
}

// What a device gets fits into the room on the stack.
func TestTokensAreWrittenWithoutAllocation(t *testing.T) {
	r := &oauth.TokenResponse{
		AccessToken: strings.Repeat("a", token.AccessLen), TokenType: "Bearer", ExpiresIn: 1 << 40,
		RefreshToken: strings.Repeat("r", token.RefreshLen), IssuedTokenType: oauth.TypeAccessToken, Scope: oauth.ScopeAll,
	}
	length := 0
	if n := testing.AllocsPerRun(100, func() {
		var room [512]byte
		length = len(appendTokens(room[:0], r))
	}); n != 0 {
		t.Errorf("%d bytes of an answer were written with %.0f allocations, want none", length, n)
	}
}
