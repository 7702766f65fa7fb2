package cases_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/souk-market/souk/core/plugin"
	"github.com/souk-market/souk/core/plugin/cases"
)

// newest offers the newest version that is rolled out to the device, or holds.
func newest(t *testing.T) plugin.Options {
	t.Helper()
	s := plugin.DefaultSpec()
	s.Name, s.File = "newest", "../../../sdk/examples/c/guest.wasm"
	return plugin.Options{Specs: []plugin.Spec{s}}
}

// keeper is the conformance guest in C: it answers all hooks and uses the kv.
func keeper(t *testing.T) plugin.Options {
	t.Helper()
	s := plugin.DefaultSpec()
	s.Name, s.File, s.Allow = "keeper", "../../../sdk/conformance/c/guest.wasm", []string{"log", "kv", "password", "crypto", "secret", "http", "metric"}
	s.Hosts = []string{"localhost"} // which no case asks
	return plugin.Options{Specs: []plugin.Spec{s}}
}

// try runs the text of a file.
func try(t *testing.T, o plugin.Options, text string) []cases.Result {
	t.Helper()
	suite, err := cases.Parse("cases.toml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	results, err := suite.Try(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if len(results) != len(suite.Cases) {
		t.Fatalf("%d results of %d cases", len(results), len(suite.Cases))
	}
	return results
}

func TestCasesPass(t *testing.T) {
	for _, r := range try(t, newest(t), `
[[case]]
name = "what is said in four lines"
hook = "select_version"
apps = [{ candidates = [{ short = "3.1.0", rollout = 0 }] }]
expect = "hold"

[[case]]
name = "all that an answer has"
hook = "select_version"
apps = [{ candidates = [{ short = "3.1.0", rollout = "0%" }, { short = "3.0.0", version = 18446744073709551 }] }]
[case.expect]
choice = "3.0.0"
index = 1
version = 18446744073709551
code = 0
reason = "open"
reason_contains = "pe"
max_fuel = 100000

[[case]]
name = "several apps"
hook = "select_version"
apps = [{ candidates = ["3.1.0"] }, { candidates = [] }]
[[case.expect]]
choice = "3.1.0"
[[case.expect]]
choice = "hold"
reason = "not open yet"
`) {
		if !r.Passed() || r.Fuel == 0 {
			t.Errorf("%v, fuel %d", &r, r.Fuel)
		}
	}
}

// TestDifferences says what is wrong in a sentence of one line.
func TestDifferences(t *testing.T) {
	for _, test := range []struct{ name, expect, want string }{
		{"choice", `"hold"`, `case "x": choice 3.1.0 ("open"), want hold`},
		{"another version", `{ choice = "3.0.0", reason = "no" }`, `case "x": choice 3.1.0 ("open"), want 3.0.0`},
		{"version", `{ version = 7 }`, `case "x": version "3", want "7"`},
		{"reason", `{ choice = "3.1.0", reason = "opened" }`, `case "x": reason "open", want "opened"`},
		{"part of the reason", `{ reason_contains = "close" }`, `case "x": reason "open", want "close" in it`},
		{"code", `{ code = 3, reason = "open" }`, `case "x": code "0", want "3"`},
		{"failure", `{ failure = "trap" }`, `case "x": choice 3.1.0, want a failure (trap)`},
	} {
		r := try(t, newest(t), `
[[case]]
name = "x"
hook = "select_version"
apps = [{ candidates = ["3.1.0", "3.0.0"] }]
expect = `+test.expect)
		if r[0].String() != test.want {
			t.Errorf("%s:\n got %s\nwant %s", test.name, r[0].String(), test.want)
		}
		if a := r[0].Answers; len(a) != 1 || a[0] != `choice 3.1.0, index 0, version 3, code 0, reason "open"` {
			t.Errorf("%s: the answers are %q", test.name, a)
		}
		if err := cases.Failed(r); err == nil || err.Error() != test.want {
			t.Errorf("%s: Failed = %v", test.name, err)
		}
	}
	r := try(t, newest(t), `
[[case]]
name = "fuel"
hook = "select_version"
apps = [{ candidates = ["3.1.0"] }]
expect = { choice = "3.1.0", max_fuel = 10 }
`)
	if !strings.HasPrefix(r[0].String(), `case "fuel": fuel `) || !strings.HasSuffix(r[0].String(), ", want 10 at most") {
		t.Errorf("too much fuel: %v", &r[0])
	}
	r = try(t, newest(t), `
[[case]]
name = "the second of two"
hook = "select_version"
apps = [{ candidates = ["3.1.0"] }, { candidates = ["3.1.0"] }]
expect = ["3.1.0", "abstain"]
`)
	if want := `case "the second of two": app 2: choice 3.1.0 ("open"), want abstain`; r[0].String() != want {
		t.Errorf("got %v, want %s", &r[0], want)
	}
}

func TestMistakesAreNamed(t *testing.T) {
	const one = "[[case]]\nname = \"x\"\nhook = \"select_version\"\n"
	for _, test := range []struct{ text, want string }{
		{"", `line 1: case: there is none: write [[case]] with name, hook and expect`},
		{"[[case]\n", `line 2: expected`},
		{one + "expcet = \"hold\"\n", `line 4: case "x": expcet: there is no such key: expect is`},
		{one + "apps = [{ candidates = [\"1\"] }]\n", `line 1: case "x": expect: is missing: say what the answer has to be, like expect = "hold"`},
		{one + "expect = \"hold\"\n", `line 1: case "x": apps: names no candidates: write apps = [{ candidates = ["3.1.0", "3.0.0"] }]`},
		{one + "apps = [{ candidates = [\"1\"] }]\nexpect = \"2\"\n", `line 1: case "x": expect.choice: "2" is no possible answer here: hold, abstain, unavailable and 1 are`},
		{one + "apps = [{ candidates = [\"1\"] }]\nexpect = [\"1\", \"1\"]\n", `line 5: case "x": expect: has 2 answers, but the question is about 1 apps`},
		{one + "apps = [\n  { candidates = [\n  { shrt = \"1\" }] }]\nexpect = \"1\"\n", `line 6: case "x": apps[0].candidates[0].shrt: there is no such key: short is`},
		{one + "apps = [{ candidates = [\"1\"] }]\n[case.expect]\nchoice = \"1\"\nresaon = \"\"\n", `line 7: case "x": expect.resaon: there is no such key: reason is`},
		{one + "apps = [{ candidates = [\"1\"] }]\nexpect = {}\n", `line 1: case "x": expect: expects nothing: write choice`},
		{one + strings.Repeat("w", 300) + " = 1\n", `line 1: case "x": ` + strings.Repeat("w", 200) + "…: there is no such key"},
		{one + "\"" + strings.Repeat("ä", 300) + "\" = 1\n", `line 1: case "x": ` + strings.Repeat("ä", 100) + "…: there is no such key"},
		{one + "when = 1\n", `line 4: case "x": when: there is no such key: here are name, expect, steps, kv, kv_after, hook`},
		{one + "apps = []\nexpect = \"hold\"", `line 4: case "x": apps: is empty: nothing would be asked`},
		{one + "os = 18.1\n", `line 4: case "x": os: is 18.1: it has to be a text in quotes`},
		{one + "os = \"18.x\"\n", `line 4: case "x": os: is "18.x": it has to be a version like "18.1"`},
		{one + "now = 2026-01-01\n", `line 4: case "x": now: is a time without an offset: it has to be a time with its offset, like 2026-03-01T12:00:00Z`},
		{one + "purpose = \"install\"\n", `line 4: case "x": purpose: is "install": it has to be one of update, restore`},
		{one + "method = \"show\"\n", `line 4: case "x": method: is not part of what select_version asks: that is apps`},
		{one + "apps = [{ candidates = [{ rollout = \"10\" }] }]\n", `line 4: case "x": apps[0].candidates[0].rollout: is "10": it has to be a share like "10%", or 0 to 10000`},
		{one + "apps = [{ candidates = [\"1\"] }]\nexpect = { failure = \"crash\" }\n", `line 5: case "x": expect.failure: is "crash": it has to be one of trap, fuel`},
		{"[[case]]\nhook = \"entitle\"\nexpect = \"allow\"\n", `line 1: name: is missing: say which rule the case is about`},
		{"[[case]]\nname = \"x\"\nexpect = \"allow\"\n", `line 1: case "x": hook: is missing: write one of entitle, select_version, sign_in and exchange, here or once below [defaults]`},
		{"[defaults]\nhook = \"entitle\"\naccuont = \"\"\n[[case]]\nname = \"x\"\nexpect = \"allow\"\n", `line 3: defaults.accuont: there is no such key: account is`},
		{"[[case]]\nname = \"x\"\nhook = \"entitle\"\nexpect = \"allow\"\n[[case]]\nname = \"x\"\nhook = \"entitle\"\nexpect = \"allow\"\n", `line 6: case "x": name: an earlier case has the same: choose another`},
		{"[[case]]\nname = \"x\"\nhook = \"entitle\"\nexpect = \"alow\"\n", `line 1: case "x": expect.decision: "alow" is no possible answer here: allow, deny and abstain are`},
		{"[[case]]\nname = \"x\"\nhook = \"sign_in\"\nexpect = \"page\"\nsteps = [{ expect = \"page\" }]\n", `line 4: case "x": expect: stands beside steps: each step has its own`},
		{"[[case]]\nname = \"x\"\nhook = \"sign_in\"\nkv = { a = false }\nexpect = \"page\"\n", `line 4: case "x": kv.a: is false, which says that a key must not be there: only kv_after can`},
		{"[[case]]\nname = \"x\"\nhook = \"sign_in\"\nfields = { code = 1 }\nexpect = \"page\"\n", `line 4: case "x": fields.code: is 1: it has to be a text in quotes, what the person typed`},
		{"[[case]]\nname = \"first\"\nhook = \"entitle\"\nexpect = { code = 1 }\n[[case]]\nname = \"second\"\nhook = \"entitle\"\napps = [{ code = 1 }]\nexpect = \"allow\"\n",
			`line 8: case "second": apps[0].code: there is no such key: here are item, version`},
	} {
		suite, err := cases.Parse("cases.toml", []byte(test.text))
		if err == nil {
			t.Errorf("Parse(%q) = %+v, want the error %s", test.text, suite, test.want)
		} else if !strings.HasPrefix(err.Error(), "cases.toml: "+test.want) {
			t.Errorf("Parse(%q):\n got %v\nwant cases.toml: %s", test.text, err, test.want)
		}
	}
}

// TestQuestionsArriveWhole asks a guest that says in its reasons what it was asked.
func TestQuestionsArriveWhole(t *testing.T) {
	for _, r := range try(t, keeper(t), `
[defaults]
account = "x"
client = "c"
platform = "ipados"
os = "18.1.2"
territory = "AUT"
bucket_key = "b"
organization = "o"
grants = ["sub:plus", "g"]
now = 2026-03-01T12:00:00Z
seed = 7
purpose = "license"

[[case]]
name = "entitle"
hook = "entitle"
apps = [{ item = 11, version = 12, devices = 13, devices_item = 14, bundle_id = "com.example.a" }, { }]
[[case.expect]]
decision = "allow"
code = 13
reason = "0 1772366400000 3 0 7 c 2 1179906 AUT b o sub:plus g 11 12 14 com.example.a "
[[case.expect]]
reason = "0 1772366400000 3 0 7 c 2 1179906 AUT b o sub:plus g 1000002 1 0 com.example.app2 "

[[case]]
name = "select_version"
hook = "select_version"
[[case.apps]]
item = 11
installed = 12
bundle_id = "com.example.a"
channel = "beta"
[[case.apps.candidates]]
version = 20
released = 2026-01-01T00:00:00Z
min_os = "18.0"
short = "3.1"
build = "310"
rollout = "12.5%"
salt = "s"
channel = "beta"
critical = true
delta = true
requested = true
[[case.apps.candidates]]
halted = true
[case.expect]
code = 2
reason = "0 1772366400000 3 0 7 c 2 1179906 AUT b o sub:plus g 11 12 com.example.a beta 20 1767225600000 1179648 23 1250 s 3.1 310 beta 2 1772193600000 1115136 8 10000 11/2 2 2  "

[[case]]
name = "sign_in"
hook = "sign_in"
purpose = "sign_in"
attempts = 3
login_hint = "l"
client_name = "n"
locale = "de-AT"
address = "192.0.2.7"
state = " and more"
[case.expect]
outcome = "page"
title = "n"
message = "0 1772366400000 5 0 7 c 2 1179906 AUT b o sub:plus g 3"
html_contains = "<souk-form>"
state = "step 1 and more"
fields = ["email", "locale"]

[[case]]
name = "exchange"
hook = "exchange"
purpose = "exchange"
subject_token = "mine"
subject_token_type = "jwt"
expect = { outcome = "accepted", account = "person-1", reason = "jwt" }
`) {
		if !r.Passed() {
			t.Error(&r)
		}
	}
}

func TestStepsAndKV(t *testing.T) {
	for _, r := range try(t, keeper(t), `
[[case]]
name = "who registers is known in the next step"
hook = "sign_in"
kv_after = { "nobody@example.com" = false }
[[case.steps]]
login_hint = "me@example.com"
expect = "page"
[[case.steps]]
method = "submit"
login_hint = "register"
fields = { email = "me@example.com", password = "secret" }
expect = { outcome = "signed in", account = "me@example.com", display_name = "Person", territory = "AUT", grants = ["pro", "ß"] }
[[case.steps]]
method = "submit"
fields = { email = "me@example.com", password = "secret" }
expect = "signed in"

[[case]]
name = "the kv of the case before is gone"
hook = "sign_in"
method = "submit"
fields = { email = "me@example.com", password = "secret" }
expect = { outcome = "refused", message = "Wrong email or password." }

[[case]]
name = "a value is read, and one that is put ends with the time of a later step"
hook = "entitle"
purpose = "license"
client = "k"
kv = { k = "old" }
kv_after = { k = false, other = "new" }
[[case.steps]]
account = "kv_get"
expect = { reason = "0 old" }
[[case.steps]]
account = "kv_put"
organization = "new"
expect = { reason = "0" }
[[case.steps]]
account = "kv_get"
expect = { reason = "0 new" }
[[case.steps]]
account = "kv_swap"
territory = "new"
organization = "newer"
expect = { reason = "0" }
[[case.steps]]
account = "kv_get"
now = 2026-01-01T12:01:00Z
expect = { reason = "-1 " }
[[case.steps]]
account = "kv_put"
client = "other"
organization = "new"
expect = { reason = "0" }

[[case]]
name = "counters"
hook = "entitle"
purpose = "license"
client = "n"
account = "kv_add"
kv = { n = 9 }
kv_after = { n = 2 }
expect = { reason = "0 2" }

[[case]]
name = "an update check writes nothing"
hook = "entitle"
account = "kv_put"
client = "k"
kv_after = { k = false }
expect = { reason = "-3" }

[[case]]
name = "it fails"
hook = "entitle"
account = "error"
expect = { failure = "error code" }

[[case]]
name = "it fails somehow"
hook = "sign_in"
login_hint = "error"
expect = { failure_contains = "1" }

[[case]]
name = "it abstains"
hook = "entitle"
account = "abstain"
expect = "abstain"

[[case]]
name = "it abstains from an exchange"
hook = "exchange"
subject_token = "yours"
expect = "abstain"
`) {
		if !r.Passed() {
			t.Error(&r)
		}
	}
	for _, test := range []struct{ text, want string }{
		{"account = \"error\"\nexpect = \"allow\"", `case "x": failed (error code: the guest answered code 1), want allow`},
		{"account = \"error\"\nexpect = { failure = \"trap\" }", `case "x": failed (error code: the guest answered code 1), want trap`},
		{"account = \"error\"\nexpect = { failure_contains = \"unreachable\" }", `case "x": failed (error code: the guest answered code 1), want "unreachable" in the reason`},
		{"apps = [{}, {}]\naccount = \"error\"\nexpect = [\"allow\", \"deny\"]", `case "x": app 1: failed (error code: the guest answered code 1), want allow`},
		{"account = \"kv_add\"\nclient = \"n\"\nkv_after = { n = 7 }\nexpect = \"deny\"", `case "x": kv "n" is the counter -7, want the counter 7`},
		{"kv_after = { n = \"7\" }\nexpect = \"deny\"", `case "x": kv "n" is not there, want "7"; there is nothing`},
		{"kv = { n = { a = 1, b = 2 } }\nkv_after = { n = false }\nexpect = \"deny\"", `case "x": kv "n" is "{\"a\":1,\"b\":2}", want none`},
	} {
		r := try(t, keeper(t), "[[case]]\nname = \"x\"\nhook = \"entitle\"\npurpose = \"license\"\n"+test.text)
		if r[0].String() != test.want {
			t.Errorf("%q:\n got %v\nwant %s", test.text, &r[0], test.want)
		}
	}
}

// TestLog has what the plugin wrote beside the case.
func TestLog(t *testing.T) {
	r := try(t, keeper(t), "[[case]]\nname = \"x\"\nhook = \"entitle\"\naccount = \"log\"\norganization = \"hello\"\nexpect = \"deny\"")
	if len(r[0].Log) != 1 || r[0].Log[0] != "warn: hello" {
		t.Errorf("the log is %q, want what the guest wrote", r[0].Log)
	}
}

// TestRunNeedsAKVOfItsOwn: what people have in a running server is no test's.
func TestRunNeedsAKVOfItsOwn(t *testing.T) {
	suite, err := cases.Parse("cases.toml", []byte("[[case]]\nname = \"x\"\nhook = \"entitle\"\nkv = { a = \"b\" }\nexpect = \"deny\""))
	if err != nil {
		t.Fatal(err)
	}
	kept, err := plugin.Open(t.Context(), plugin.Options{Specs: keeper(t).Specs, KV: func(string) (plugin.KV, error) { return &cases.KV{}, nil }})
	if err != nil {
		t.Fatal(err)
	}
	defer kept.Close(t.Context())
	if _, err := suite.Run(t.Context(), kept, nil); err == nil || !strings.Contains(err.Error(), `line 1: case "x" is about the kv`) {
		t.Errorf("Run without a kv: %v", err)
	}
	host, err := plugin.Open(t.Context(), newest(t))
	if err != nil {
		t.Fatal(err)
	}
	defer host.Close(t.Context())
	if _, err := suite.Run(t.Context(), host, &cases.KV{}); err == nil || err.Error() != `cases.toml: line 1: case "x" asks entitle, which the plugin doesn't answer` {
		t.Errorf("Run of what the plugin isn't asked: %v", err)
	}
	if suite, err = cases.Parse("cases.toml", []byte("[[case]]\nname = \"x\"\nhook = \"select_version\"\napps = [{ candidates = [] }]\nexpect = \"hold\"")); err != nil {
		t.Fatal(err)
	}
	if r, err := suite.Run(t.Context(), host, nil); err != nil || cases.Failed(r) != nil || len(r) != 1 {
		t.Errorf("Run in a host that is there: %v, %v", r, err)
	}
}

// TestReadmeHasEveryKey asks Parse which keys there are, and looks for them in
// sdk/README.md.
func TestReadmeHasEveryKey(t *testing.T) {
	page, err := os.ReadFile("../../../sdk/README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, place := range []string{
		"zzz = 1", "hook = \"entitle\"\napps = [{ zzz = 1 }]", "hook = \"select_version\"\napps = [{ zzz = 1 }]",
		"hook = \"select_version\"\napps = [{ candidates = [{ zzz = 1 }] }]", "hook = \"entitle\"\nexpect = { zzz = 1 }",
		"hook = \"select_version\"\napps = [{ candidates = [] }]\nexpect = { zzz = 1 }", "hook = \"sign_in\"\nexpect = { zzz = 1 }",
		"hook = \"exchange\"\nexpect = { zzz = 1 }",
	} {
		_, err := cases.Parse("", []byte("[[case]]\nname = \"x\"\n"+place))
		_, keys, ok := strings.Cut(fmt.Sprint(err), "there is no such key: here are ")
		if !ok {
			t.Fatalf("%s: %v", place, err)
		}
		for key := range strings.FieldsFuncSeq(keys, func(r rune) bool { return r == ',' || r == ' ' }) {
			if key != "and" && !strings.Contains(string(page), "`"+strings.TrimSuffix(key, "_contains")+"`") && key != "failure_contains" {
				t.Errorf("sdk/README.md doesn't have the key %s", key)
			}
		}
	}
}

// FuzzParse looks for a text that ends the program.
func FuzzParse(f *testing.F) {
	for _, name := range []string{"rollout", "quota", "allowlist", "accounts"} {
		text, err := os.ReadFile("../../../plugins/" + name + "/cases.toml")
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Add([]byte("case = [{ name = \"x\", hook = \"entitle\", now = 1969-01-01T00:00:00Z, expect = [[1]] }]"))
	f.Fuzz(func(t *testing.T, text []byte) {
		if suite, err := cases.Parse("f", text); err == nil && len(suite.Hooks()) == 0 {
			t.Errorf("%q asks nothing and is no error", text)
		}
	})
}
