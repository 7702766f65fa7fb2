package admin_test

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/souk-market/souk/core/oauth"
	"github.com/souk-market/souk/core/store"
	"github.com/souk-market/souk/core/token"
)

const alice = "alice+test@example.com"

func aliceAt(end string) string { return "/api/accounts/" + url.PathEscape(alice) + end }

// cached is what the next update check sees.
func (b *bench) cached(account string) store.Account {
	b.Helper()
	a, err := b.store.CachedAccount(b.Context(), store.SubjectID(account))
	if errors.Is(err, store.ErrNotFound) {
		return store.Account{}
	}
	if err != nil {
		b.Fatal(err)
	}
	return *a
}

func TestGrantsAreSeenAtOnce(t *testing.T) {
	b := newBench(t)
	b.same("grants before", len(b.cached(alice).Grants), 0) // the cache knows now that there is no such account
	for _, c := range []struct {
		body string
		want []string
	}{
		{`{"grants":["sub:plus","app:7"]}`, []string{"app:7", "sub:plus"}},
		{`{"add":["role:tester","app:7"],"remove":["sub:plus","never"]}`, []string{"app:7", "role:tester"}},
		{`{"add":["a"]}`, []string{"a", "app:7", "role:tester"}},
		{`{"remove":["a"]}`, []string{"app:7", "role:tester"}},
		{`{"grants":["b","b"]}`, []string{"b"}},
		{`{"grants":[]}`, nil},
	} {
		b.ask(200, "PUT", aliceAt("/grants"), c.body)
		if got := b.cached(alice).Grants; !slices.Equal(got, c.want) {
			t.Errorf("after %s the account has %q, want %q", c.body, got, c.want)
		}
	}
	for _, want := range []string{
		`level=ERROR+4 msg=audit actor=admin action=account.grants`, `account=alice+test@example.com old=[] new="[app:7 sub:plus]"`,
		`old="[app:7 sub:plus]" new="[app:7 role:tester]"`,
	} {
		if !strings.Contains(b.log.String(), want) {
			t.Errorf("the log lacks %q: %s", want, b.log)
		}
	}
}

func TestGrantsAddedTogetherAreAllThere(t *testing.T) {
	b := newBench(t)
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() { b.ask(200, "PUT", aliceAt("/grants"), fmt.Sprintf(`{"add":["g%d"]}`, i)) })
	}
	wg.Wait()
	b.same("grants", len(b.cached(alice).Grants), 20)
}

func TestGrantsHaveALimit(t *testing.T) {
	b := newBench(t)
	list := make([]string, 256)
	for i := range list {
		list[i] = fmt.Sprintf("%q", fmt.Sprint("g", i))
	}
	b.ask(200, "PUT", aliceAt("/grants"), `{"grants":[`+strings.Join(list, ",")+`]}`)
	b.refused(400, "PUT", aliceAt("/grants"), `{"add":["one-more"]}`, "at most 256")
	b.same("grants", len(b.cached(alice).Grants), 256)
}

func TestAccounts(t *testing.T) {
	b := newBench(t)
	b.refused(404, "GET", aliceAt(""), "", "account")
	b.same("empty listing", b.ask(200, "GET", "/api/accounts", "").body, `{"accounts":[]}`)
	b.ask(200, "PUT", aliceAt("/grants"), `{"grants":["sub:plus"]}`)
	b.ask(200, "PUT", aliceAt("/territory"), `{"territory":"AUT"}`)
	b.same("territory", b.cached(alice).Territory, "AUT")
	_, err := b.store.UpdateAccount(t.Context(), alice, func(a *store.Account) (bool, error) {
		a.DisplayName = "Alice"
		return a.AddHistory(1000001), nil
	})
	b.must(err)
	a := b.ask(200, "GET", aliceAt(""), "")
	b.same("account", a.body,
		`{"account":"alice+test@example.com","name":"Alice","territory":"AUT","grants":["sub:plus"],"items":1,"history":["1000001"]}`)
	_, err = b.store.UpdateAccount(t.Context(), alice, func(a *store.Account) (bool, error) {
		return a.Give([16]byte{0xfa, 15: 1}, 1000002, 1000001), nil
	})
	b.must(err)
	a = b.ask(200, "GET", aliceAt(""), "")
	b.same("account with a device", a.body,
		`{"account":"alice+test@example.com","name":"Alice","territory":"AUT","grants":["sub:plus"],"items":2,"history":["1000001","1000002"],`+
			`"devices":[{"device":"fa000000000000000000000000000001","items":["1000001","1000002"]}]}`)
	b.same("unescaped", b.ask(200, "GET", "/api/accounts/"+alice, "").body, a.body)
	b.ask(200, "PUT", aliceAt("/territory"), `{"territory":""}`)
	b.same("territory", b.cached(alice).Territory, "")
	b.same("grants beside the territory", len(b.cached(alice).Grants), 1)

	for _, c := range []struct{ body, words string }{
		{`{}`, "territory: is missing"},
		{`{"territory":"AT"}`, "territory"},
		{`{"territory":"aut"}`, "territory"},
		{`{"territory":1}`, "territory: found a JSON number, want a string"},
	} {
		b.refused(400, "PUT", aliceAt("/territory"), c.body, c.words)
	}
	b.refused(400, "GET", "/api/accounts/%20x", "", "account")
	b.refused(400, "GET", "/api/accounts/"+strings.Repeat("x", 256), "", "account")

	t.Run("a name is decoded once", func(t *testing.T) {
		for _, name := range []string{"a/b", "100%", "%41", "https://id.example.com/bob?x=1#y", "Zoë"} {
			b.ask(200, "PUT", "/api/accounts/"+url.PathEscape(name)+"/grants", `{"grants":["g"]}`)
			b.same("grants of "+name, len(b.cached(name).Grants), 1)
		}
	})
	t.Run("pages", func(t *testing.T) {
		seen := map[string]bool{}
		for after := ""; ; {
			page := b.ask(200, "GET", "/api/accounts?limit=2&after="+url.QueryEscape(after), "")
			for _, one := range page.get("accounts").([]any) {
				seen[one.(map[string]any)["account"].(string)] = true
			}
			next, more := page.get("next").(string)
			if !more {
				break
			}
			after = next
		}
		b.same("accounts on all pages", len(seen), 6)
	})
}

func TestBulkGrants(t *testing.T) {
	b := newBench(t)
	b.ask(200, "PUT", aliceAt("/grants"), `{"grants":["old"]}`)
	a := b.ask(200, "POST", "/api/grants", `{"accounts":{
		"alice+test@example.com":["sub:plus"], "bob@example.com":["a","b"], "carol@example.com":[],
		" dave@example.com":["a"], "erin@example.com":["two words"]}}`)
	b.same("changed", a.get("changed"), 2.0)
	b.same("unchanged", a.get("unchanged"), 1.0)
	if failed := a.text("failed"); strings.Count(failed, ":") < 2 || !strings.Contains(failed, `" dave@example.com":"account:`) ||
		!strings.Contains(failed, `"erin@example.com":"grants[0]:`) {
		t.Errorf("failed = %s, want dave for his name and erin for her grant", failed)
	}
	b.same("grants of alice", fmt.Sprint(b.cached(alice).Grants), "[sub:plus]")
	b.same("grants of bob", fmt.Sprint(b.cached("bob@example.com").Grants), "[a b]")
	b.ask(404, "GET", "/api/accounts/erin@example.com", "")

	b.refused(400, "POST", "/api/grants", `{}`, "accounts: is missing")
	b.refused(400, "POST", "/api/grants", `{"accounts":{"a":["x"],"a":["y"]}}`, "accounts.a: is given twice")
	a = b.ask(200, "POST", "/api/grants", `{"accounts":{"case":["x"],"Case":["y"]}}`)
	b.same("accounts that differ in capital letters", a.get("changed"), 2.0)
	many := make([]string, 1001)
	for i := range many {
		many[i] = fmt.Sprintf(`"u%d@example.com":["g"]`, i)
	}
	b.refused(400, "POST", "/api/grants", `{"accounts":{`+strings.Join(many, ",")+`}}`, "accounts: names 1001")
	a = b.ask(200, "POST", "/api/grants", `{"accounts":{`+strings.Join(many[:1000], ",")+`}}`)
	b.same("answer", a.body, `{"changed":1000,"unchanged":0,"failed":{}}`)
}

func TestSubjectToken(t *testing.T) {
	b := newBench(t)
	a := b.ask(200, "POST", aliceAt("/subject-token"), "")
	b.same("expires_in", a.get("expires_in"), oauth.SubjectTokenLife.Seconds())
	minted, _ := a.get("token").(string)
	stored, err := b.store.SubjectToken(t.Context(), token.Hash(minted))
	b.must(err)
	b.same("account of the token", stored.Account, alice)
	if strings.Contains(b.log.String(), minted) || !strings.Contains(b.log.String(), "action=account.subject_token") {
		t.Errorf("the log has to say that a token was made, and not which: %s", b.log)
	}
	b.refused(400, "POST", "/api/accounts/%20/subject-token", "", "account")
}
