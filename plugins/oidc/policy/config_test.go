//go:build !wasip1

package policy_test

import (
	"encoding/json"
	"maps"
	"strings"
	"testing"

	"github.com/souk-market/souk/plugins/oidc/policy"
)

type object = map[string]any

// config is the least configuration with something changed; nil removes a key.
func config(t testing.TB, change object) []byte {
	t.Helper()
	c := object{"issuer": issuer, "client_id": "souk", "redirect_uri": "https://market.example.com/oauth/callback/oidc"}
	maps.Copy(c, change)
	maps.DeleteFunc(c, func(_ string, v any) bool { return v == nil })
	b, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestConfig(t *testing.T) {
	long := strings.Repeat("x", 201)
	for _, test := range []struct {
		change object
		why    string // "" = it is good
	}{
		{nil, ""},
		{object{"issuer": "http://localhost:8080/realms/x"}, ""},
		{object{"issuer": "https://id.example.com/realms/x/"}, ""},
		{object{"issuer": nil}, "issuer is missing"},
		{object{"issuer": ""}, "issuer: is empty"},
		{object{"issuer": "id.example.com"}, "issuer: want a URL"},
		{object{"issuer": "http://id.example.com"}, "issuer: want https"},
		{object{"issuer": "ftp://id.example.com"}, "issuer: want https"},
		{object{"issuer": "https://me:pw@id.example.com"}, "issuer: want a URL"},
		{object{"issuer": "https://id.example.com/?x=1"}, "issuer: want a URL"},
		{object{"issuer": "https://id.example.com/?"}, "issuer: want a URL"},
		{object{"issuer": "https://id.example.com/#"}, "issuer: want a URL"},
		{object{"issuer": "https://id.example.com/" + long}, "issuer: is longer than 200 bytes"},
		{object{"issuer": 5}, "issuer: want a text, not a number"},
		{object{"client_id": nil}, "client_id is missing"},
		{object{"redirect_uri": nil}, "redirect_uri is missing"},
		{object{"redirect_uri": "https://market.example.com/"}, "redirect_uri: want the server's public URL"},
		{object{"redirect_uri": "https://market.example.com/oauth/callback/"}, "redirect_uri: want the server's public URL"},
		{object{"redirect_uri": "https://market.example.com/oauth/callback/a/b"}, "redirect_uri: want the server's public URL"},
		{object{"redirect_uri": "http://market.example.com/oauth/callback/oidc"}, "redirect_uri: want https"},
		{object{"client_auth": "client_secret_post"}, ""},
		{object{"client_auth": "password"}, `client_auth: want "client_secret_basic" or "client_secret_post" or "none", not "password"`},
		{object{"scopes": []string{"openid"}}, ""},
		{object{"scopes": []string{"email"}}, `scopes: without "openid"`},
		{object{"scopes": []string{"openid email"}}, `scopes: without "openid"`},
		{object{"scopes": []string{"openid", "a b"}}, "scopes: a scope has no space"},
		{object{"scopes": "openid"}, "scopes: want a list"},
		{object{"userinfo": "yes"}, "userinfo: want true or false"},
		{object{"account": ""}, "account: is empty"},
		{object{"account": "email", "account_prefix": ""}, ""},
		{object{"account_prefix": "staff:"}, ""},
		{object{"account_prefix": ""}, "account_prefix: can be empty with"},
		{object{"account_prefix": "staff"}, `account_prefix: ends with a letter or a digit: end it with a sign, like "staff:"`},
		{object{"account_prefix": "staff2", "account": "email"}, "account_prefix: ends with a letter or a digit"},
		{object{"account_prefix": " x"}, "account_prefix: is longer"},
		{object{"account_prefix": long}, "account_prefix: is longer"},
		{object{"display_name": ""}, ""},
		{object{"territory": "c", "territories": object{"AT": "AUT"}}, ""},
		{object{"territory": "c", "territories": object{"AT": "at"}}, `territories: "AT": want three capital letters`},
		{object{"territories": object{"AT": "AUT"}}, "territory is missing"},
		{object{"grants": []string{"member"}, "grants_claim": "groups", "grants_prefix": "group:"}, ""},
		{object{"grants": []string{"member"}, "grants_claim": "groups", "grants_map": object{"a": "b"}}, ""},
		{object{"grants": []string{""}}, "grants[0]: is empty"},
		{object{"grants_claim": "groups", "grants_prefix": "group:"}, "grants is missing"},
		{object{"grants": []string{"member"}, "grants_claim": "groups"}, "no group becomes a grant"},
		{object{"grants_prefix": "group:"}, "grants_claim is missing"},
		{object{"grants_map": object{"a": 5}}, "grants_map.a: want a text"},
		{object{"email_domains": []string{"Example.com"}}, ""},
		{object{"email_domains": []string{}}, "email_domains: is empty"},
		{object{"hosted_domains": []string{"@example.com"}}, "hosted_domains: want a domain"},
		{object{"hosted_domains": []string{"*"}}, "hosted_domains: want a domain"},
		{object{"prompt": "select_account"}, ""},
		{object{"prompt": "none"}, "prompt: want"},
		{object{"login_hint": false}, ""},
		{object{"leeway": 0}, ""},
		{object{"leeway": 301}, "leeway: want 0 to 300 seconds"},
		{object{"leeway": -1}, "leeway: want a whole number"},
		{object{"cache": 59}, "cache: want 60 to 86400 seconds"},
		{object{"provider": ""}, "provider: is empty"},
		{object{"title": strings.Repeat("t", 2001)}, "title: is longer than 2000 bytes"},
		{object{"message": 1}, "message: want a text"},
		{object{"immediate": 1}, "immediate: want true or false"},
		{object{"password": "x"}, "password: there is no such key"},
		{object{"client_secret": "x"}, "client_secret: there is no such key"},
	} {
		_, err := policy.New(config(t, test.change))
		switch {
		case test.why == "" && err != nil:
			t.Errorf("%v is refused: %v", test.change, err)
		case test.why != "" && (err == nil || !strings.Contains(err.Error(), test.why)):
			t.Errorf("%v: %v, want %q", test.change, err, test.why)
		}
	}
	if _, err := policy.New([]byte("{}")); err == nil {
		t.Error("nothing at all is taken")
	}
}
