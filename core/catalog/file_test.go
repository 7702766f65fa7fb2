package catalog_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/souk-market/souk/core/catalog"
)

const sampleTOML = `
# A comment.
[[items]]
id = "10737747186"
bundle_id = "com.example.mytestapp"
name = "My Test App"
sign_in = "none"
share_url = "https://example.com/app?id=1"

[[items.versions]]
id = "2000004563"
short = "1.0.14"
build = "1"
released = 2026-03-01T13:00:00+01:00
min_os = { ios = "17.4", visionos = "2" }
package = "https://example.com/PATH"
channel = "beta"
critical = true
rollout = { share = 2500, salt = "autumn", halted = true }

[[items.versions]]
id = 2000004564
short = "1.1"
build = "2"
released = 2026-04-01
min_os.ios = "18"
withdrawn = true
rollout.halted = true

[[items]]
id = 7
bundle_id = "com.example.gone"
removed = true
reason = "court order"
`

const sampleJSON = `{"items": [
  {"id": "10737747186", "bundle_id": "com.example.mytestapp", "name": "My Test App", "sign_in": "none",
   "share_url": "https://example.com/app?id=1", "versions": [
    {"id": "2000004563", "short": "1.0.14", "build": "1", "released": "2026-03-01T12:00:00Z",
     "min_os": {"ios": "17.4", "visionos": "2"}, "package": "https://example.com/PATH", "channel": "beta",
     "critical": true, "rollout": {"share": 2500, "salt": "autumn", "halted": true}},
    {"id": 2000004564, "short": "1.1", "build": "2", "released": "2026-04-01", "min_os": {"ios": "18"},
     "withdrawn": true, "rollout": {"halted": true}, "channel": null}]},
  {"id": 7, "bundle_id": "com.example.gone", "removed": true, "reason": "court order"}]}`

var sampleItems = []catalog.Item{
	{
		ID: 10737747186, BundleID: "com.example.mytestapp", Name: "My Test App", SignIn: catalog.SignInNone,
		ShareURL: "https://example.com/app?id=1",
		Versions: []catalog.Version{
			{
				ID: 2000004564, Short: "1.1", Build: "2", Released: time.Date(2026, 4, 1, 0, 0, 0, 0, time.UTC),
				MinOS: map[string]string{"ios": "18"}, Withdrawn: true,
				Rollout: catalog.Rollout{Share: catalog.FullShare, Halted: true},
			}, {
				ID: 2000004563, Short: "1.0.14", Build: "1", Released: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC),
				MinOS:   map[string]string{"ios": "17.4", "visionos": "2"},
				Package: "https://example.com/PATH", Channel: "beta", Critical: true,
				Rollout: catalog.Rollout{Share: 2500, Salt: "autumn", Halted: true},
			},
		},
	}, {
		ID: 7, BundleID: "com.example.gone", SignIn: catalog.SignInRequired, Removed: true, Reason: "court order",
		Versions: []catalog.Version{},
	},
}

func TestParse(t *testing.T) {
	for name, text := range map[string]string{"a.toml": sampleTOML, "a.json": sampleJSON, "A.JSON": sampleJSON} {
		got, err := catalog.Parse(name, []byte(text), catalog.Rules{})
		if err != nil || !reflect.DeepEqual(got, sampleItems) {
			t.Errorf("Parse(%s) = %+v, %v, want %+v", name, got, err, sampleItems)
		}
	}
	for _, c := range []struct{ name, text string }{{"a.toml", ""}, {"a.json", "{}"}, {"a.toml", "items = []"}, {"a.json", `{"items":null}`}} {
		if got, err := catalog.Parse(c.name, []byte(c.text), catalog.Rules{}); err != nil || len(got) != 0 {
			t.Errorf("Parse(%s, %q) = %+v, %v, want no items", c.name, c.text, got, err)
		}
	}

	file := filepath.Join(t.TempDir(), "catalogue.toml")
	if err := os.WriteFile(file, []byte(sampleTOML), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := catalog.ReadFile(file, catalog.Rules{}); err != nil || !reflect.DeepEqual(got, sampleItems) {
		t.Errorf("ReadFile = %+v, %v", got, err)
	}
	if _, err := catalog.ReadFile(file+".json", catalog.Rules{}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("ReadFile of no file = %v", err)
	}
}

// The item that the admin API shows is the item that it takes, and that a file may hold.
func TestItemJSON(t *testing.T) {
	for _, want := range sampleItems {
		text, err := json.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		var got catalog.Item
		if err := json.Unmarshal(text, &got); err != nil {
			t.Fatal(err)
		}
		if len(got.Versions) == 0 {
			got.Versions = []catalog.Version{}
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s reads as %+v, want %+v", text, got, want)
		}
	}
	var it catalog.Item
	err := json.Unmarshal([]byte(`{"id":"1","versions":[{"id":"1","minos":{}}]}`), &it)
	if invalid, ok := errors.AsType[catalog.Invalid](err); !ok || invalid[0].Path != "versions[0].minos" {
		t.Errorf("an item with an unknown key: %v", err)
	}
	if it.ID != 0 {
		t.Errorf("a refused item was read in part: %+v", it)
	}
}

// Each case changes one line of a good file and names the problem's path and a part of
// its text.
func TestProblems(t *testing.T) {
	good := map[string]string{
		"id": `"1"`, "bundle_id": `"com.example.app"`,
		"v.id": `"10"`, "v.short": `"1.0"`, "v.build": `"1"`, "v.min_os": `{ ios = "17.4" }`,
	}
	order := []string{"id", "bundle_id", "v.id", "v.short", "v.build", "v.min_os"}
	long := strings.Repeat("x", 3000)
	for _, c := range []struct{ key, value, path, text string }{
		{"id", "", "id", "missing"},
		{"id", `"0"`, "id", `"0": want a decimal`},
		{"id", `"01"`, "id", "leading zeros"},
		{"id", `"-1"`, "id", "decimal number"},
		{"id", `-1`, "id", "decimal number"},
		{"id", `0`, "id", "decimal number"},
		{"id", `"1.5"`, "id", "decimal number"},
		{"id", `1.5`, "id", "found the number 1.5"},
		{"id", `"18446744073709551616"`, "id", "18446744073709551615"},
		{"id", `true`, "id", "found the word true"},
		{"bundle_id", "", "bundle_id", "missing"},
		{"bundle_id", `"com.example/app"`, "bundle_id", "letters, digits"},
		{"bundle_id", `"com.exаmple"`, "bundle_id", "letters, digits"},
		{"bundle_id", `".com"`, "bundle_id", "period"},
		{"bundle_id", `"` + strings.Repeat("a", 156) + `"`, "bundle_id", "at most 155"},
		{"bundle_id", `1`, "bundle_id", "want a string"},
		{"name", `"` + long + `"`, "name", "at most 200"},
		{"name", `"a\nb"`, "name", "control characters"},
		{"sign_in", `"maybe"`, "sign_in", `want "required" or "none"`},
		{"sign_in", `false`, "sign_in", "want a string"},
		{"share_url", `"/app"`, "share_url", "absolute https URL"},
		{"share_url", `"http://example.com/app"`, "share_url", "https"},
		{"share_url", `"http://127.0.0.1/app"`, "share_url", "https"},
		{"share_url", `"https://u:p@example.com/"`, "share_url", "user name"},
		{"share_url", `"https://example.com/a b"`, "share_url", "percent-encode"},
		{"share_url", `"https://example.com/ä"`, "share_url", "percent-encode"},
		{"share_url", `"https://example.com/%zz"`, "share_url", "not a URL"},
		{"share_url", `"https://example.com/#x"`, "share_url", "after #"},
		{"share_url", `"https:example.com"`, "share_url", "absolute"},
		{"share_url", `"https://"`, "share_url", "absolute"},
		{"share_url", `"https://example.com/` + long + `"`, "share_url", "2000"},
		{"removed", `"yes"`, "removed", "want true or false"},
		{"reason", `"because"`, "reason", "removed = true"},
		{"versionz", `[]`, "versionz", "unknown key: the keys here are id, bundle_id"},
		{"v.id", "", "versions[0].id", "missing"},
		{"v.id", `"x"`, "versions[0].id", "decimal number"},
		{"v.short", "", "versions[0].short", "missing"},
		{"v.short", `"` + strings.Repeat("1", 65) + `"`, "versions[0].short", "at most 64"},
		{"v.build", "", "versions[0].build", "missing"},
		{"v.build", `1`, "versions[0].build", "found the number 1, want a string"},
		{"v.released", `2026-03-01T12:00:00`, "versions[0].released", "add Z"},
		{"v.released", `12:00:00`, "versions[0].released", "no day"},
		{"v.released", `"yesterday"`, "versions[0].released", "want a day or a time"},
		{"v.released", `1`, "versions[0].released", "want a day or a time"},
		{"v.released", `1969-12-31`, "versions[0].released", "1970"},
		{"v.min_os", "", "versions[0].min_os", "missing"},
		{"v.min_os", `{}`, "versions[0].min_os", "missing"},
		{"v.min_os", `"17.4"`, "versions[0].min_os", "want a table"},
		{"v.min_os", `{ ios = 17.4 }`, "versions[0].min_os.ios", "want a string"},
		{"v.min_os", `{ ios = "17.x" }`, "versions[0].min_os.ios", `"17.x": want major[.minor[.patch]]`},
		{"v.min_os", `{ ios = "" }`, "versions[0].min_os.ios", "want major"},
		{"v.min_os", `{ iOS = "17" }`, "versions[0].min_os", "lower case"},
		{"v.min_os", `{ ipados = "17" }`, "versions[0].min_os", `iPads follow "ios"`},
		{"v.min_os", `{ iso = "17" }`, "versions[0].min_os", "want one of ios"},
		{"v.package", `"packages/1"`, "versions[0].package", "absolute https URL"},
		{"v.package", `"https://example.com/p?x=1"`, "versions[0].package", "no query"},
		{"v.channel", `"be ta"`, "versions[0].channel", "letters, digits"},
		{"v.critical", `1`, "versions[0].critical", "want true or false"},
		{"v.rollout", `{ share = 10001 }`, "versions[0].rollout.share", "basis points"},
		{"v.rollout", `{ share = -1 }`, "versions[0].rollout.share", "basis points"},
		{"v.rollout", `{ share = 0.5 }`, "versions[0].rollout.share", "whole number"},
		{"v.rollout", `{ share = 9000000000 }`, "versions[0].rollout.share", "smaller number"},
		{"v.rollout", `{ percent = 5 }`, "versions[0].rollout.percent", "unknown key: the keys here are share"},
		{"v.rollout", `{ salt = "` + long + `" }`, "versions[0].rollout.salt", "at most 128"},
		{"v.rollout", `5`, "versions[0].rollout", "want a table with the keys share"},
		{"v.minos", `{}`, "versions[0].minos", "unknown key"},
	} {
		t.Run(c.key+"="+c.value[:min(len(c.value), 30)], func(t *testing.T) {
			lines := map[bool]*strings.Builder{false: {}, true: {}}
			write := func(key, value string) {
				if value != "" {
					_, inVersion := strings.CutPrefix(key, "v.")
					fmt.Fprintf(lines[inVersion], "%s = %s\n", strings.TrimPrefix(key, "v."), value)
				}
			}
			for _, key := range order {
				if key != c.key {
					write(key, good[key])
				}
			}
			write(c.key, c.value)
			text := "[[items]]\nid = 99\nbundle_id = \"a.b\"\n[[items]]\n" + lines[false].String() + "[[items.versions]]\n" + lines[true].String()
			_, err := catalog.Parse("a.toml", []byte(text), catalog.Rules{})
			invalid, ok := errors.AsType[catalog.Invalid](err)
			if !ok || len(invalid) != 1 {
				t.Fatalf("Parse = %v, want one problem\n%s", err, text)
			}
			if p := invalid[0]; p.Path != "items[1]."+c.path || !strings.Contains(p.Text, c.text) {
				t.Errorf("problem is %q, want %q at items[1].%s", p, c.text, c.path)
			}
		})
	}
}

func TestProblemsOfTheWhole(t *testing.T) {
	many := &strings.Builder{}
	many.WriteString("[[items]]\nid = 1\nbundle_id = \"a.b\"\n")
	big := &strings.Builder{}
	big.WriteString(many.String())
	version := func(b *strings.Builder, i int, pad string) {
		fmt.Fprintf(b, "[[items.versions]]\nid = %d\nshort = \"1\"\nbuild = \"1\"\nmin_os = { ios = \"17\" }\npackage = \"https://example.com/%s\"\n", i+1, pad)
	}
	for i := range catalog.MaxVersions + 1 {
		version(many, i, "")
	}
	for i := range 100 {
		version(big, i, strings.Repeat("x", 600))
	}
	deep := strings.Repeat("[", 40) + strings.Repeat("]", 40)
	for _, c := range []struct{ name, file, text, path, want string }{
		{"an item twice", "a.toml", "[[items]]\nid=1\nbundle_id=\"a\"\n[[items]]\nid=1\nbundle_id=\"a\"", "items[1].id", "already that of items[0]"},
		{"a version twice", "a.json", `{"items":[{"id":1,"bundle_id":"a","versions":[
			{"id":"1","short":"1","build":"1","min_os":{"ios":"17"}},{"id":1,"short":"1","build":"1","min_os":{"ios":"17"}}]}]}`,
			"items[0].versions[1].id", "already that of items[0].versions[0]"},
		{"too many versions", "a.toml", many.String(), "items[0].versions", "at most 200"},
		{"too large", "a.toml", big.String(), "items[0]", "bytes, at most"},
		{"another top level", "a.toml", "[[item]]\nid = 1", "item", "the keys here are items"},
		{"a list as top level", "a.json", `[]`, "", "want a table with the keys items"},
		{"items is no list", "a.json", `{"items":{}}`, "items", "want a list"},
		{"an item is no table", "a.json", `{"items":[1]}`, "items[0]", "found the number 1, want a table"},
		{"an item is null", "a.json", `{"items":[null]}`, "items[0]", "found nothing"},
		{"a key twice", "a.json", `{"items":[{"id":1,"id":2}]}`, "items[0].id", "given twice"},
		{"nested too deeply", "a.json", deep, "[0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0]", "too deeply"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := catalog.Parse(c.file, []byte(c.text), catalog.Rules{})
			invalid, ok := errors.AsType[catalog.Invalid](err)
			if !ok || invalid[0].Path != c.path || !strings.Contains(invalid[0].Text, c.want) {
				t.Errorf("Parse = %v, want %q at %s", err, c.want, c.path)
			}
		})
	}
	for _, c := range []struct{ name, text, want string }{
		{"a.toml", "[[items]]\nid = \n", "line 2"},
		{"a.toml", "[[items]]\nid = 1\nid = 2\n", "line 3"},
		{"a.json", "{\n\n]", "line 3"},
		{"a.json", `{"items":[]} {}`, "something follows"},
		{"a.json", `{"items":[`, "unexpected EOF"},
		{"a.json", ``, "unexpected EOF"},
		{"a.yaml", ``, "ends in .toml or .json"},
	} {
		if _, err := catalog.Parse(c.name, []byte(c.text), catalog.Rules{}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("Parse(%s, %q) = %v, want an error with %q", c.name, c.text, err, c.want)
		}
	}
}

func TestAllProblemsAtOnce(t *testing.T) {
	var text strings.Builder
	for range 30 {
		text.WriteString("[[items]]\nid = \"x\"\n")
	}
	_, err := catalog.Parse("a.toml", []byte(text.String()), catalog.Rules{})
	invalid, ok := errors.AsType[catalog.Invalid](err)
	if !ok || len(invalid) != 30 || !strings.HasSuffix(err.Error(), "and 10 more") || strings.Count(err.Error(), "\n") != 20 {
		t.Errorf("30 problems read as\n%v", err)
	}
}

func TestLoopbackHTTP(t *testing.T) {
	for u, want := range map[string]bool{
		"http://127.0.0.1:8080/p": true, "http://localhost/p": true, "http://[::1]:80/p": true, "http://127.9.9.9/p": true,
		"http://example.com/p": false, "http://localhost.example.com/p": false, "http://10.0.0.1/p": false, "ftp://localhost/p": false,
		"https://example.com/p": true,
	} {
		it := item(1, version(1, "17", func(v *catalog.Version) { v.Package = u }))
		if err := loopback.Validate(it); (err == nil) != want {
			t.Errorf("Validate with LoopbackHTTP, package %s: %v", u, err)
		}
		if err := (catalog.Rules{}).Validate(it); (err == nil) != strings.HasPrefix(u, "https:") {
			t.Errorf("Validate without LoopbackHTTP, package %s: %v", u, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(true, sampleTOML)
	f.Add(false, sampleJSON)
	f.Add(true, "[[items]]\nid = 1\nbundle_id = \"a\"\nversions = [{id = 1, min_os = {ios = \"17\"}}]")
	f.Add(false, `{"items":[{"id":1,"bundle_id":"a","versions":[{"rollout":{"share":1e3}}]}]}`)
	f.Fuzz(func(t *testing.T, isTOML bool, text string) {
		name := map[bool]string{true: "a.toml", false: "a.json"}[isTOML]
		items, err := catalog.Parse(name, []byte(text), loopback)
		if err != nil {
			_ = err.Error()
			return
		}
		// What a file says can be shown and read again without becoming something else.
		again, err := json.Marshal(map[string]any{"items": items})
		if err != nil {
			t.Fatal(err)
		}
		got, err := catalog.Parse("a.json", again, loopback)
		if err != nil {
			t.Fatalf("%s: %v", again, err)
		}
		if len(items) > 0 && !reflect.DeepEqual(got, items) {
			t.Errorf("%+v reads again as %+v", items, got)
		}
	})
}
