package admin_test

import (
	"bufio"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/souk-market/souk/core/admin"
)

func TestRefusals(t *testing.T) {
	b := newBench(t)
	port := b.url[strings.LastIndex(b.url, ":"):]
	const bearer = "Bearer " + secret
	for _, c := range []struct {
		name, method, path, body string
		headers                  []string
		status                   int
		header, value            string
		words                    string
	}{
		{"no token", "GET", "/api/apps", "", nil, 401, "WWW-Authenticate", "Bearer", "Authorization"},
		{"wrong token", "GET", "/api/apps", "", []string{"Authorization", "Bearer wrong"}, 401, "WWW-Authenticate", "Bearer", "Authorization"},
		{"empty token", "GET", "/api/apps", "", []string{"Authorization", "Bearer "}, 401, "WWW-Authenticate", "Bearer", ""},
		{"the token with more behind it", "GET", "/api/apps", "", []string{"Authorization", bearer + "x"}, 401, "", "", ""},
		{"another scheme", "GET", "/api/apps", "", []string{"Authorization", "Basic " + secret}, 401, "", "", ""},
		{"the token in the query", "GET", "/api/apps?token=" + secret, "", nil, 401, "", "", ""},
		{"the scheme in lower case is fine", "GET", "/api/apps", "", []string{"Authorization", "bearer " + secret}, 200, "", "", ""},
		{"an unknown path says nothing without a token", "GET", "/api/nothing", "", nil, 401, "", "", ""},
		{"a wrong method says nothing without a token", "POST", "/api/apps", "", nil, 401, "", "", ""},

		{"a rebound name", "GET", "/api/apps", "", []string{"Authorization", bearer, "Host", "market.example.com" + port}, 403, "", "", "Host"},
		{"a name that begins like ours", "GET", "/api/apps", "", []string{"Authorization", bearer, "Host", "localhost.example.com"}, 403, "", "", "Host"},
		{"another address", "GET", "/api/apps", "", []string{"Authorization", bearer, "Host", "192.0.2.1" + port}, 403, "", "", "Host"},
		{"a foreign name without a token", "GET", "/api/apps", "", []string{"Host", "market.example.com"}, 403, "", "", "Host"},
		{"localhost is fine", "GET", "/api/apps", "", []string{"Authorization", bearer, "Host", "LocalHost" + port}, 200, "", "", ""},
		{"the IPv6 loopback is fine", "GET", "/api/apps", "", []string{"Authorization", bearer, "Host", "[::1]" + port}, 200, "", "", ""},
		{"a tunnel's port is fine", "GET", "/api/apps", "", []string{"Authorization", bearer, "Host", "127.0.0.1:9000"}, 200, "", "", ""},

		{"a foreign page", "GET", "/api/apps", "", []string{"Authorization", bearer, "Origin", "https://market.example.com"}, 403, "", "", "Origin"},
		{"a page of another port", "GET", "/api/apps", "", []string{"Authorization", bearer, "Origin", "http://127.0.0.1:1"}, 403, "", "", "Origin"},
		{"a page without an origin", "GET", "/api/apps", "", []string{"Authorization", bearer, "Origin", "null"}, 403, "", "", "Origin"},
		{"a page of ours is fine", "GET", "/api/apps", "", []string{"Authorization", bearer, "Origin", b.url}, 200, "", "", ""},

		{"an unknown path", "GET", "/api/nothing", "", []string{"Authorization", bearer}, 404, "", "", "nothing"},
		{"a path with an empty part", "GET", "/api//apps", "", []string{"Authorization", bearer}, 404, "", "", ""},
		{"a wrong method", "POST", "/api/apps", "", []string{"Authorization", bearer}, 405, "Allow", "GET", "GET"},
		{"a wrong method where several are right", "POST", "/api/apps/1", "", []string{"Authorization", bearer}, 405, "Allow", "DELETE, GET, PUT", ""},
		{"a form", "PUT", "/api/accounts/a/territory", "territory=AUT", []string{"Authorization", bearer, "Content-Type", "application/x-www-form-urlencoded"}, 415, "", "", "application/json"},
		{"no media type", "PUT", "/api/accounts/a/territory", `{"territory":"AUT"}`, []string{"Authorization", bearer}, 415, "", "", "application/json"},
		{"a compressed body", "PUT", "/api/accounts/a/territory", "x", []string{"Authorization", bearer, "Content-Type", "application/json", "Content-Encoding", "gzip"}, 415, "", "", "compressed"},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := b.send(c.method, c.path, c.body, c.headers...)
			if a.status != c.status {
				t.Fatalf("answered %d %s, want %d", a.status, a.body, c.status)
			}
			if got := a.header.Get(c.header); c.header != "" && got != c.value {
				t.Errorf("%s = %q, want %q", c.header, got, c.value)
			}
			if sentence, _ := a.get("error").(string); c.status >= 400 && (sentence == "" || !strings.Contains(sentence, c.words)) {
				t.Errorf("error is %q, want one that says %q", sentence, c.words)
			}
			if got := a.header.Get("Cache-Control"); got != "no-store" {
				t.Errorf("Cache-Control = %q, want no-store", got)
			}
		})
	}
	if strings.Contains(b.log.String(), secret) {
		t.Errorf("the log has the token: %s", b.log)
	}
}

func TestWhatIsNotHTTP(t *testing.T) {
	b := newBench(t)
	for name, c := range map[string]struct {
		request string
		status  string
	}{
		"not HTTP":                  {"hello\r\n\r\n", "400"},
		"a head that is too large":  {"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: " + strings.Repeat("a", 20<<10) + "\r\n\r\n", "431"},
		"a target of another shape": {"GET http://localhost/api/apps HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer " + secret + "\r\n\r\n", "404"},
		"no Host":                   {"GET /api/apps HTTP/1.0\r\nAuthorization: Bearer " + secret + "\r\n\r\n", "403"},
	} {
		t.Run(name, func(t *testing.T) {
			conn, err := net.Dial("tcp", strings.TrimPrefix(b.url, "http://"))
			b.must(err)
			defer conn.Close()
			_, err = conn.Write([]byte(c.request))
			b.must(err)
			line, err := bufio.NewReader(conn).ReadString('\n')
			if err != nil || !strings.HasPrefix(line, "HTTP/1.1 "+c.status) {
				t.Errorf("answered %q, %v, want status %s", line, err, c.status)
			}
		})
	}
}

// TestALargeBodyIsNotRead sends heads only: the answer has to come before a body
// does. Without a token it says nothing of what is possible.
func TestALargeBodyIsNotRead(t *testing.T) {
	b := newBench(t)
	const (
		large  = "Content-Type: application/json\r\nContent-Length: 10485760\r\n"
		bearer = "Authorization: Bearer " + secret + "\r\n"
	)
	for name, c := range map[string]struct{ target, headers, begins, status, words string }{
		"without a token":         {"POST /api/import", large, "", "401", "Authorization"},
		"with a wrong token":      {"POST /api/import", large + "Authorization: Bearer wrong\r\n", "", "401", "Authorization"},
		"in chunks":               {"POST /api/import", "Transfer-Encoding: chunked\r\n", "a00000\r\n", "413", "error"},
		"more than a route takes": {"PUT /api/accounts/a/territory", large + bearer, "", "413", "65536"},
		"where none belongs":      {"DELETE /api/apps/1", large + bearer, "", "413", "4096"},
	} {
		t.Run(name, func(t *testing.T) {
			conn, err := net.Dial("tcp", strings.TrimPrefix(b.url, "http://"))
			b.must(err)
			defer conn.Close()
			b.must(conn.SetDeadline(time.Now().Add(10 * time.Second)))
			_, err = conn.Write([]byte(c.target + " HTTP/1.1\r\nHost: localhost\r\n" + c.headers + "\r\n" + c.begins))
			b.must(err)
			answer, err := io.ReadAll(conn) // and the connection ends
			if err != nil || !strings.HasPrefix(string(answer), "HTTP/1.1 "+c.status) || !strings.Contains(string(answer), c.words) {
				t.Errorf("answered %q, %v, want status %s and %q", answer, err, c.status, c.words)
			}
		})
	}
}

func TestBodies(t *testing.T) {
	b := newBench(t)
	const path = "/api/accounts/alice@example.com/grants"
	for _, c := range []struct{ body, words string }{
		{``, "empty"},
		{`{`, "not JSON"},
		{`null`, "object"},
		{`[]`, "object"},
		{`"x"`, "object"},
		{`{} {}`, "behind"},
		{`{"grant":[]}`, "grant: there is no such key"},
		{`{"grants":"sub:plus"}`, "grants: found a JSON string, want a list"},
		{`{"grants":[1]}`, "grants: found a JSON number, want a string"},
		{`{"grants":["a"],"grants":["b"]}`, "grants: is given twice"},
		{`{"grants":["a"],"Grants":["b"]}`, "Grants: there is no such key"},
		{`{"GRANTS":["a"]}`, "GRANTS: there is no such key"},
		{`{"grantſ":["a"]}`, "grantſ: there is no such key"}, // folds to an s
		{`{}`, "grants: is missing"},
		{`{"grants":null}`, "grants: is missing"},
		{`{"grants":[],"add":["a"]}`, "grants: is the whole list"},
		{`{"grants":["a",""]}`, "grants[1]"},
		{`{"add":["two words"]}`, "add[0]"},
		{`{"remove":["a\u0000"]}`, "remove[0]"},
		{`{"grants":["` + strings.Repeat("a", 129) + `"]}`, "grants[0]"},
		{`{"grants":[` + strings.Repeat(`"a",`, 256) + `"a"]}`, "at most 256"},
	} {
		b.refused(400, "PUT", path, c.body, c.words)
	}
	b.ask(404, "GET", "/api/accounts/alice@example.com", "") // nothing of it was written
}

func TestNewWantsAToken(t *testing.T) {
	for _, token := range []string{"", "  "} {
		if _, err := admin.New(admin.Options{Config: admin.DefaultConfig(), Token: token}); err == nil {
			t.Errorf("New with the token %q made a server that lets everybody in", token)
		}
	}
}

func TestConfig(t *testing.T) {
	for listen, good := range map[string]bool{
		"127.0.0.1:8081": true, "[::1]:0": true, ":8081": true, "admin.example.com:8081": true,
		"127.0.0.1": false, "8081": false, "": false, "127.0.0.1:http": false, "127.0.0.1:99999": false,
	} {
		c := admin.Config{Listen: listen}
		err := c.Validate()
		if (err == nil) != good {
			t.Errorf("Validate of %q = %v", listen, err)
		}
		if err != nil && !strings.HasPrefix(err.Error(), "admin.listen: ") {
			t.Errorf("Validate of %q = %v, which doesn't name the key", listen, err)
		}
	}
}
