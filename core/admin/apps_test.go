package admin_test

import (
	"fmt"
	"strings"
	"testing"
)

// app is an app with two versions as an operator writes it.
func app(id int) string {
	return fmt.Sprintf(`{"id":"%d","bundle_id":"com.example.app%d","name":"App %d","versions":[
		{"id":"2","short":"1.1","build":"2","min_os":{"ios":"17.4"},"rollout":{"share":500}},
		{"id":"1","short":"1.0","build":"1","min_os":{"ios":"17.4"}}]}`, id, id, id)
}

func TestApps(t *testing.T) {
	b := newBench(t)
	b.same("empty listing", b.ask(200, "GET", "/api/apps", "").body, `{"apps":[]}`)

	b.ask(201, "PUT", "/api/apps/1000001", app(1000001))
	a := b.ask(200, "GET", "/api/apps/1000001", "")
	b.same("name", a.get("name"), "App 1000001")
	b.same("sign_in", a.get("sign_in"), "required")
	if e := b.catalog.Snapshot().Item(1000001); e == nil || len(e.Versions) != 2 {
		t.Fatalf("the snapshot has %+v, want the app with its two versions", e)
	}
	b.ask(200, "PUT", "/api/apps/1000001", strings.Replace(app(1000001), "App ", "New ", 1))
	b.same("name after the change", b.catalog.Snapshot().Item(1000001).Name, "New 1000001")

	t.Run("an id may be left to the path", func(t *testing.T) {
		b.ask(201, "PUT", "/api/apps/5", `{"bundle_id":"com.example.five","versions":[]}`)
		b.ask(204, "DELETE", "/api/apps/5", "")
	})
	t.Run("pages", func(t *testing.T) {
		for id := 1000002; id <= 1000005; id++ {
			b.ask(201, "PUT", fmt.Sprintf("/api/apps/%d", id), app(id))
		}
		seen := 0
		for after := ""; ; {
			page := b.ask(200, "GET", "/api/apps?limit=2&after="+after, "")
			seen += len(page.get("apps").([]any))
			next, more := page.get("next").(string)
			if !more {
				break
			}
			after = next
		}
		b.same("apps on all pages", seen, 5)
		for query, words := range map[string]string{
			"limit=0": "limit", "limit=1001": "limit", "limit=x": "limit", "after=x": "after", "page=2": "page", "limit=1&limit=2": "limit",
		} {
			b.refused(400, "GET", "/api/apps?"+query, "", words)
		}
	})
	t.Run("remove", func(t *testing.T) {
		b.ask(204, "DELETE", "/api/apps/1000005", "")
		b.refused(404, "GET", "/api/apps/1000005", "", "no such app")
		b.refused(404, "DELETE", "/api/apps/1000005", "", "no such app")
	})
	t.Run("what is not valid names its place", func(t *testing.T) {
		b.refused(409, "PUT", "/api/apps/7", app(8), "id: is 8, but the path names 7")
		b.refused(400, "PUT", "/api/apps/x", app(8), "item")
		b.refused(400, "PUT", "/api/apps/018", app(18), "item")
		b.refused(400, "PUT", "/api/apps/7", "", "not JSON")
		b.refused(400, "PUT", "/api/apps/7", strings.Replace(app(7), "bundle_id", "bundle", 1), "bundle: unknown key")
		b.refused(400, "PUT", "/api/apps/7", strings.Replace(app(7), `"ios":"17.4"`, `"ios":"new"`, 1), "versions[0].min_os.ios")
		a := b.ask(400, "PUT", "/api/apps/7", `{"versions":[{"id":"1"}]}`)
		if n := len(a.get("problems").([]any)); n < 4 {
			t.Errorf("found %d problems in %s, want all", n, a.body)
		}
		b.ask(404, "GET", "/api/apps/7", "")
	})
}

func TestVersions(t *testing.T) {
	b := newBench(t)
	b.ask(201, "PUT", "/api/apps/1000001", app(1000001))
	release := func() (share uint32, salt string, halted, withdrawn bool) {
		v := b.catalog.Snapshot().Item(1000001).Version(2)
		return v.Share, v.Salt, v.Halted, v.Withdrawn
	}
	const rollout, withdrawn = "/api/apps/1000001/versions/2/rollout", "/api/apps/1000001/versions/2/withdrawn"
	b.ask(200, "PUT", rollout, `{"share":1000}`)
	b.ask(200, "PUT", rollout, `{"halted":true,"salt":"spring"}`)
	if share, salt, halted, _ := release(); share != 1000 || salt != "spring" || !halted {
		t.Errorf("the rollout is %d %q %v, want 1000 spring true", share, salt, halted)
	}
	b.ask(200, "PUT", withdrawn, `{"withdrawn":true}`)
	if _, _, _, gone := release(); !gone {
		t.Error("the version is not withdrawn")
	}
	b.ask(200, "PUT", withdrawn, `{"withdrawn":false}`)

	b.refused(400, "PUT", rollout, `{}`, "share, salt or halted")
	b.refused(400, "PUT", rollout, `{"share":10001}`, "share: 10001")
	b.refused(400, "PUT", rollout, `{"share":-1}`, "share: -1")
	b.refused(400, "PUT", rollout, `{"share":"10%"}`, "share: found a JSON string, want a whole number")
	b.refused(400, "PUT", rollout, `{"share":0.5}`, "share")
	b.refused(400, "PUT", rollout, `{"salt":"`+strings.Repeat("a", 200)+`"}`, "rollout.salt")
	b.refused(400, "PUT", withdrawn, `{}`, "withdrawn: is missing")
	b.refused(404, "PUT", "/api/apps/1000001/versions/3/rollout", `{"share":1}`, "no such version")
	b.refused(404, "PUT", "/api/apps/9/versions/3/rollout", `{"share":1}`, "no such app")
	b.refused(400, "PUT", "/api/apps/1000001/versions/x/rollout", `{"share":1}`, "version")

	for _, want := range []string{
		`action=version.rollout`, `app=1000001 version=2 old.share=500`, `new.share=1000`, `action=version.withdrawn`,
	} {
		if !strings.Contains(b.log.String(), want) {
			t.Errorf("the log lacks %q: %s", want, b.log)
		}
	}
}

func TestTakedown(t *testing.T) {
	b := newBench(t)
	b.ask(201, "PUT", "/api/apps/1000001", app(1000001))
	const path = "/api/apps/1000001/takedown"
	b.refused(400, "PUT", path, `{}`, "reason: is missing")
	b.ask(200, "PUT", path, `{"reason":"a complaint"}`)
	if e := b.catalog.Snapshot().Item(1000001); !e.Removed || e.Reason != "a complaint" {
		t.Errorf("the app is removed = %v for %q, want true for a complaint", e.Removed, e.Reason)
	}
	b.ask(200, "DELETE", path, "")
	if e := b.catalog.Snapshot().Item(1000001); e.Removed || e.Reason != "" {
		t.Errorf("the app is removed = %v for %q, want false", e.Removed, e.Reason)
	}
	b.refused(404, "PUT", "/api/apps/9/takedown", `{"reason":"x"}`, "no such app")
	b.refused(404, "DELETE", "/api/apps/9/takedown", "", "no such app")
}

func TestImport(t *testing.T) {
	b := newBench(t)
	const file = `
[[items]]
id = "1"
bundle_id = "com.example.one"
[[items.versions]]
id = "10"
short = "1.0"
build = "1"
min_os = { ios = "17.4" }

[[items]]
id = "2"
bundle_id = "com.example.two"
versions = []
`
	toml := []string{"Content-Type", "application/toml"}
	a := b.ask(200, "POST", "/api/import", file, toml...)
	b.same("first import", a.body, `{"added":["1","2"],"changed":[],"kept":[],"missing":[]}`)
	a = b.ask(200, "POST", "/api/import", strings.Replace(file, "one", "uno", 1), toml...)
	b.same("second import", a.body, `{"added":[],"changed":["1"],"kept":["2"],"missing":[]}`)
	a = b.ask(200, "POST", "/api/import", `{"items":[{"id":"3","bundle_id":"com.example.three","versions":[]}]}`)
	b.same("import of JSON", a.body, `{"added":["3"],"changed":[],"kept":[],"missing":["1","2"]}`)
	b.same("apps", b.catalog.Snapshot().Len(), 3)

	b.refused(400, "POST", "/api/import", "items = ", "line 1", toml...)
	b.refused(400, "POST", "/api/import", "[[items]]\nid = \"4\"\n", "items[0].bundle_id", toml...)
	b.refused(415, "POST", "/api/import", file, "application/toml", "Content-Type", "text/plain")
	// Plain http is for demos, and this catalogue doesn't have it.
	b.refused(400, "POST", "/api/import", `{"items":[{"id":"4","bundle_id":"com.example.four","share_url":"http://localhost/","versions":[]}]}`, "share_url")
}
