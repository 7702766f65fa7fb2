package policy_test

import (
	"strings"
	"testing"

	"github.com/souk-market/souk/plugins/allowlist/policy"
	"github.com/souk-market/souk/sdk/abi"
)

const config = `{
	"default": "abstain",
	"free": [1000001, "18446744073709551615"],
	"items": {
		"1000002": {"any_grant": ["sub:plus", "sub:pro"], "accounts": ["bob@example.com"]},
		"1000003": {"any_grant": ["sub:pro"], "reason": "Pro only, see the price list"},
		"1000004": {"deny": true, "any_grant": ["sub:plus"], "accounts": ["bob@example.com"], "reason": "withdrawn"},
		"1000005": {"deny": true},
		"1000006": {"accounts": ["carol@example.com"]}
	}
}`

// ask puts one item to a policy as the host does: through the bytes of the
// request and of the verdict.
func ask(t testing.TB, r *policy.Rules, account string, grants []string, items ...uint64) []abi.EntitleDecision {
	t.Helper()
	sent := &abi.EntitleRequest{Head: abi.Head{Purpose: abi.PurposeLicense, Account: account, Grants: grants}}
	for _, item := range items {
		sent.Apps = append(sent.Apps, abi.EntitleApp{Item: item})
	}
	var req abi.EntitleRequest
	if err := req.Read(sent.Append(nil)); err != nil {
		t.Fatal(err)
	}
	var v, got abi.EntitleVerdict
	r.Entitle(&req, &v)
	if err := got.Read(v.Append(nil)); err != nil {
		t.Fatal(err)
	}
	if len(got.Items) != len(items) {
		t.Fatalf("%d apps get %d decisions", len(items), len(got.Items))
	}
	return got.Items
}

func rules(t testing.TB, config string) *policy.Rules {
	t.Helper()
	r, err := policy.New([]byte(config))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestEntitle(t *testing.T) {
	r := rules(t, config)
	allow := func(code uint32, reason string) abi.EntitleDecision {
		return abi.EntitleDecision{Decision: abi.Allow, Code: code, Reason: reason}
	}
	deny := func(code uint32, reason string) abi.EntitleDecision {
		return abi.EntitleDecision{Decision: abi.Deny, Code: code, Reason: reason}
	}
	for _, test := range []struct {
		name    string
		account string
		grants  []string
		item    uint64
		want    abi.EntitleDecision
	}{
		{"a free item is open to everyone", "alice@example.com", nil, 1_000_001, allow(policy.CodeFree, "open to everyone")},
		{"a free item is open to the anonymous", "", nil, 1_000_001, allow(policy.CodeFree, "open to everyone")},
		{"the largest item id is an item", "", nil, 1<<64 - 1, allow(policy.CodeFree, "open to everyone")},
		{"one grant of several is enough", "alice@example.com", []string{"role:x", "sub:pro"}, 1_000_002, allow(policy.CodeGrant, "holds sub:pro")},
		{"a named account needs no grant", "bob@example.com", nil, 1_000_002, allow(policy.CodeNamed, "named in the rule")},
		{"neither grant nor name: denied", "alice@example.com", []string{"sub:basic"}, 1_000_002, deny(policy.CodeMissing, "holds none of sub:plus, sub:pro")},
		{"a grant that only begins alike: denied", "alice@example.com", []string{"sub:plusplus", "sub:"}, 1_000_002, deny(policy.CodeMissing, "holds none of sub:plus, sub:pro")},
		{"a grant in other letters: denied", "alice@example.com", []string{"SUB:PLUS"}, 1_000_002, deny(policy.CodeMissing, "holds none of sub:plus, sub:pro")},
		{"an account in other letters is another account", "Bob@example.com", nil, 1_000_002, deny(policy.CodeMissing, "holds none of sub:plus, sub:pro")},
		{"the anonymous are not named", "", nil, 1_000_006, deny(policy.CodeMissing, "not named in the rule")},
		{"an empty grant is none", "", []string{""}, 1_000_006, deny(policy.CodeMissing, "not named in the rule")},
		{"the reason of the rule is the denial's", "bob@example.com", nil, 1_000_003, deny(policy.CodeMissing, "Pro only, see the price list")},
		{"the reason of the rule is not the allowance's", "bob@example.com", []string{"sub:pro"}, 1_000_003, allow(policy.CodeGrant, "holds sub:pro")},
		{"deny beats names and grants", "bob@example.com", []string{"sub:plus"}, 1_000_004, deny(policy.CodeShut, "withdrawn")},
		{"deny alone is a rule", "bob@example.com", nil, 1_000_005, deny(policy.CodeShut, "shut for everyone")},
		{"an item that no rule names: the default", "bob@example.com", []string{"sub:plus"}, 7, abi.EntitleDecision{Decision: abi.DecisionPass, Code: policy.CodeDefault, Reason: "no rule names the item"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := ask(t, r, test.account, test.grants, test.item)[0]; got != test.want {
				t.Errorf("decision = %+v, want %+v", got, test.want)
			}
		})
	}
}

func TestDefault(t *testing.T) {
	for config, want := range map[string]abi.Decision{
		`{}`: abi.Deny, `{"default":"deny"}`: abi.Deny, `{"default":"allow"}`: abi.Allow, `{"default":"abstain"}`: abi.DecisionPass,
	} {
		if got := ask(t, rules(t, config), "alice@example.com", nil, 1)[0]; got.Decision != want || got.Code != policy.CodeDefault {
			t.Errorf("with %s: decision = %+v, want %d", config, got, want)
		}
	}
}

func TestDecisionsKeepTheOrder(t *testing.T) {
	got := ask(t, rules(t, config), "bob@example.com", nil, 1_000_002, 1_000_005, 1_000_001, 1_000_005, 3)
	for i, want := range []uint32{policy.CodeNamed, policy.CodeShut, policy.CodeFree, policy.CodeShut, policy.CodeDefault} {
		if got[i].Code != want {
			t.Errorf("decision %d has code %d, want %d", i, got[i].Code, want)
		}
	}
}

func TestLargeBatchFits(t *testing.T) {
	long := strings.Repeat("long-", 60)
	r := rules(t, `{"items":{"1":{"any_grant":["`+long[:200]+`","b"]},"2":{"accounts":["a"],"reason":"`+long[:100]+`"}}}`)
	items := make([]uint64, 500)
	for i := range items {
		items[i] = uint64(1 + i%2)
	}
	v := &abi.EntitleVerdict{Items: ask(t, r, "bob@example.com", nil, items...)}
	if n := len(v.Append(nil)); n > abi.MaxVerdict {
		t.Errorf("the verdict about %d apps has %d bytes, the host takes %d", len(items), n, abi.MaxVerdict)
	}
	if got := ask(t, r, "", []string{long[:200]}, 1)[0]; got.Reason != "holds a grant of the rule" {
		t.Errorf("a long grant gives the reason %q", got.Reason)
	}
}

func TestNewRefuses(t *testing.T) {
	for _, test := range []struct{ name, config, wrong string }{
		{"an unknown key", `{"defualt":"deny"}`, "defualt: there is no such key"},
		{"an unknown default", `{"default":"maybe"}`, `default: want "allow", "deny" or "abstain", not "maybe"`},
		{"a default that is no text", `{"default":true}`, "default: want a text"},
		{"free that is no list", `{"free":1}`, "free: want a list"},
		{"a free item that is no id", `{"free":[1,"notes"]}`, "free[1]: an item is named by the digits"},
		{"a free item that is a fraction", `{"free":[1.5]}`, "free[0]: want a whole number"},
		{"a free item that is a table", `{"free":[{}]}`, "free[0]: want a text, not a table"},
		{"a free item 0", `{"free":[0]}`, "free[0]: the item is 0"},
		{"a free item twice", `{"free":[1,"1"]}`, "free[1]: the item is 0 or named twice"},
		{"an item that is no id", `{"items":{"notes":{"deny":true}}}`, "items.notes: an item is named by the digits"},
		{"an item with a leading zero", `{"items":{"01":{"deny":true}}}`, "items.01: an item is named by the digits"},
		{"an item without a name", `{"items":{"":{"deny":true}}}`, "items.: an item is named by the digits"},
		{"an item that is larger than any", `{"items":{"18446744073709551616":{"deny":true}}}`, "an item is named by the digits"},
		{"an item that is free and has a rule", `{"free":[5],"items":{"5":{"deny":true}}}`, "items.5: the item is in free too"},
		{"a rule that is no table", `{"items":{"5":true}}`, "items.5: want a table"},
		{"a rule with an unknown key", `{"items":{"5":{"grants":["a"]}}}`, "items.5.grants: there is no such key"},
		{"a rule that lets nobody in", `{"items":{"5":{}}}`, "items.5: the rule lets nobody in"},
		{"a rule with empty lists", `{"items":{"5":{"any_grant":[],"accounts":[],"deny":false}}}`, "items.5: the rule lets nobody in"},
		{"a grant that is no text", `{"items":{"5":{"any_grant":["a",1]}}}`, "items.5.any_grant[1]: want a text"},
		{"an empty grant", `{"items":{"5":{"any_grant":[""]}}}`, "items.5.any_grant[0]: a name is empty"},
		{"an empty account, which is the anonymous", `{"items":{"5":{"accounts":[""]}}}`, "items.5.accounts[0]: a name is empty"},
		{"an account with a space behind it", `{"items":{"5":{"accounts":["bob@example.com "]}}}`, "items.5.accounts[0]: a name"},
		{"a switch that is a text", `{"items":{"5":{"deny":"false"}}}`, "items.5.deny: want true or false"},
		{"a reason that is too long", `{"items":{"5":{"deny":true,"reason":"` + strings.Repeat("x", 101) + `"}}}`, "items.5.reason: the reason is longer"},
		{"no JSON", `default = "deny"`, "byte 0"},
		{"no table", `[]`, "want a table"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if _, err := policy.New([]byte(test.config)); err == nil || !strings.Contains(err.Error(), test.wrong) {
				t.Errorf("New = %v, want an error with %q", err, test.wrong)
			}
		})
	}
}

// question is about five items by one who holds three grants.
func question() *abi.EntitleRequest {
	return &abi.EntitleRequest{
		Head: abi.Head{Account: "alice@example.com", Grants: []string{"role:x", "sub:basic", "sub:plus"}},
		Apps: []abi.EntitleApp{{Item: 1_000_001}, {Item: 1_000_002}, {Item: 1_000_003}, {Item: 1_000_004}, {Item: 7}},
	}
}

func TestEntitleAllocatesNothing(t *testing.T) {
	r, req := rules(t, config), question()
	var v abi.EntitleVerdict
	r.Entitle(req, &v)
	if n := testing.AllocsPerRun(100, func() {
		v.Items = v.Items[:0]
		r.Entitle(req, &v)
	}); n != 0 {
		t.Errorf("%v allocations a call", n)
	}
}

func BenchmarkEntitle(b *testing.B) {
	r, req := rules(b, config), question()
	var v abi.EntitleVerdict
	b.ReportAllocs()
	for b.Loop() {
		v.Items = v.Items[:0]
		r.Entitle(req, &v)
	}
}
