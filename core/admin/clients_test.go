package admin_test

import (
	"fmt"
	"net/url"
	"strings"
	"testing"
)

const partner = "/api/clients/com.example.partner"

func TestClients(t *testing.T) {
	b := newBench(t)
	a := b.ask(201, "POST", "/api/clients", `{"id":"com.example.partner","name":"Partner","kind":"confidential","redirect_uris":["https://partner.example.com/back"]}`)
	secret, _ := a.get("secret").(string)
	if len(secret) != 43 || a.get("kind") != "confidential" || a.get("disabled") != false || a.get("scope") != "all" {
		t.Errorf("a new client is %s, want one with a secret of 256 bits", a.body)
	}
	if c, ok := b.clients.ByID("com.example.partner"); !ok || c.Device || !c.Proves(secret) || c.Proves(secret+"x") || c.Proves("") {
		t.Errorf("ByID = %+v, %v: it is not seen at once, or does not know its secret", c, ok)
	}
	b.refused(409, "POST", "/api/clients", `{"id":"com.example.partner","redirect_uris":["com.example.partner:/x"]}`, "there is such a client already")
	b.refused(409, "POST", "/api/clients", `{"id":"com.example.market","redirect_uris":["com.example.market:/x"]}`, "config.toml, which wins")
	b.refused(409, "PUT", "/api/clients/com.example.market", `{"name":"x"}`, "config.toml, which wins")
	b.refused(409, "DELETE", "/api/clients/com.example.market", "", "config.toml, which wins")
	b.refused(409, "POST", "/api/clients/com.example.market/secret", "", "config.toml, which wins")
	b.refused(404, "GET", "/api/clients/nobody", "", "no such client")
	b.refused(404, "DELETE", "/api/clients/nobody", "", "no such client")

	a = b.ask(200, "GET", "/api/clients", "")
	if list := a.get("clients").([]any); len(list) != 2 || list[0].(map[string]any)["configured"] != true || strings.Contains(a.body, "secret") {
		t.Errorf("the listing is %s, want both clients and no secret", a.body)
	}
	a = b.ask(200, "GET", "/api/clients?limit=1&after=com.example.market", "")
	if list := a.get("clients").([]any); len(list) != 1 || list[0].(map[string]any)["id"] != "com.example.partner" || a.get("next") != nil {
		t.Errorf("the second page is %s", a.body)
	}

	a = b.ask(200, "PUT", partner, `{"name":"Partner Ltd","redirect_uris":["https://partner.example.com/new"]}`)
	if a.get("name") != "Partner Ltd" || !strings.Contains(a.body, "/new") || a.get("secret") != nil {
		t.Errorf("the changed client is %s", a.body)
	}
	if c, _ := b.clients.ByID("com.example.partner"); c.Redirects("https://partner.example.com/back") || !c.Redirects("https://partner.example.com/new") || !c.Proves(secret) {
		t.Error("the change is not seen, or took the secret along")
	}
	a = b.ask(200, "POST", partner+"/secret", "")
	second, _ := a.get("secret").(string)
	if c, _ := b.clients.ByID("com.example.partner"); second == secret || c.Proves(secret) || !c.Proves(second) {
		t.Error("after another secret the one before still is good, or the new one is not")
	}

	b.ask(200, "PUT", partner, `{"disabled":true}`)
	if c, ok := b.clients.ByID("com.example.partner"); ok {
		t.Errorf("a disabled client is found: %+v", c)
	}
	if a = b.ask(200, "GET", partner, ""); a.get("disabled") != true {
		t.Errorf("a disabled client is shown as %s", a.body)
	}
	b.ask(200, "PUT", partner, `{"disabled":false}`)
	if c, ok := b.clients.ByID("com.example.partner"); !ok || !c.Proves(second) {
		t.Error("a client that was enabled again is not found, or has lost its secret")
	}
	b.ask(204, "DELETE", partner, "")
	if c, ok := b.clients.ByID("com.example.partner"); ok {
		t.Errorf("a removed client is found: %+v; it is no device either", c)
	}
	b.refused(404, "DELETE", partner, "", "no such client")
	b.refused(404, "PUT", partner, `{"disabled":false}`, "no such client")
	a = b.ask(201, "POST", "/api/clients", `{"id":"com.example.partner","redirect_uris":["com.example.partner:/x"]}`)
	if a.get("kind") != "native" || a.get("secret") != nil || a.get("name") != "" {
		t.Errorf("registered anew it is %s, want nothing of what it was", a.body)
	}

	log := b.log.String()
	for _, action := range []string{"client.register", "client.change", "client.rotate_secret", "client.remove"} {
		if !strings.Contains(log, "action="+action+" ") {
			t.Errorf("the log has no line %s", action)
		}
	}
	if strings.Contains(log, secret) || strings.Contains(log, second) {
		t.Error("a secret is in the log")
	}
}

func TestClientsThatAreRefused(t *testing.T) {
	b := newBench(t)
	uri := `"redirect_uris":["com.example.app:/back"]`
	many := `"redirect_uris":[` + strings.TrimSuffix(strings.Repeat(`"com.example.app:/back",`, 11), ",") + `]`
	for _, test := range []struct{ body, says string }{
		{`{` + uri + `}`, `id: "" is no client id`},
		{`{"id":"é",` + uri + `}`, "is no client id"},
		{`{"id":"` + strings.Repeat("x", 256) + `",` + uri + `}`, "is no client id"},
		{`{"id":"install-page",` + uri + `}`, "is the install page of this server"},
		{`{"id":"app","kind":"web",` + uri + `}`, `kind: "web" is no kind: use native or confidential`},
		{`{"id":"app","name":"two\nlines",` + uri + `}`, "name: is longer"},
		{`{"id":"app"}`, "redirect_uris: has 0 entries"},
		{`{"id":"app",` + many + `}`, "redirect_uris: has 11 entries"},
		{`{"id":"app","redirect_uris":["http://app.example.com/"]}`, `redirect_uris[0]: "http://app.example.com/" is plain http`},
		{`{"id":"app","redirect_uris":["app-distribution-oauth://"]}`, "belongs to devices"},
		{`{"id":"app","secret":"chosen",` + uri + `}`, "secret: there is no such key here"},
	} {
		b.refused(400, "POST", "/api/clients", test.body, test.says)
	}
	b.ask(201, "POST", "/api/clients", `{"id":"an app/1",`+uri+`}`)
	path := "/api/clients/" + url.PathEscape("an app/1")
	b.refused(400, "PUT", path, `{"redirect_uris":[]}`, "redirect_uris: has 0 entries")
	b.refused(400, "PUT", path, `{"redirect_uris":["https://localhost/"]}`, "redirect_uris[0]")
	b.refused(400, "PUT", path, `{"kind":"confidential"}`, "kind: there is no such key here")
	b.refused(400, "POST", path+"/secret", "", "is native and has no secret")
	if a := b.ask(200, "GET", path, ""); a.get("redirect_uris").([]any)[0] != "com.example.app:/back" {
		t.Errorf("after refused changes the client is %s", a.body)
	}
}

// Two clients that are registered at the same moment under one id: one is.
func TestOneOfTwoRegistrationsWins(t *testing.T) {
	b := newBench(t)
	won := make(chan int, 8)
	for i := range cap(won) {
		go func() {
			body := fmt.Sprintf(`{"id":"app","name":"%d","redirect_uris":["com.example.app:/back"]}`, i)
			won <- b.send("POST", "/api/clients", body, "Authorization", "Bearer "+secret, "Content-Type", "application/json").status
		}()
	}
	counts := map[int]int{}
	for range cap(won) {
		counts[<-won]++
	}
	if counts[201] != 1 || counts[409] != cap(won)-1 {
		t.Errorf("8 registrations of one id were answered %v, want one 201 and seven 409", counts)
	}
}
