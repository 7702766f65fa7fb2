package coretest_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/souk-market/souk/core"
	"github.com/souk-market/souk/core/coretest"
)

// errorLog keeps the errors of a log alone, so that it can be looked at after
// every request. A handler writes a record at a time.
type errorLog struct{ coretest.Log }

func (l *errorLog) Write(record []byte) (int, error) {
	if !bytes.Contains(record, []byte(" level=ERROR ")) { // an audit line is above an error
		return len(record), nil
	}
	return l.Log.Write(record)
}

// fuzzed is a server for a fuzz target, and its errors: there must be none.
func fuzzed(f *testing.F) (*coretest.Server, *errorLog) {
	f.Helper()
	log := new(errorLog)
	return coretest.Start(f, func(c *core.Config) {
		quick(c)
		c.Log = slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelError}))
	}), log
}

// exchanged sends bytes to an address, and no more after them, and returns what
// comes back.
func exchanged(t *testing.T, address string, sent []byte) []byte {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(address, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	// The server may hang up before it has read everything; then what it has
	// answered may be lost too.
	_, _ = conn.Write(sent)
	_ = conn.(*net.TCPConn).CloseWrite()
	got, err := io.ReadAll(conn)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("after %q and no more the server neither answers nor hangs up", sent)
	}
	if err != nil {
		return nil
	}
	return got
}

// FuzzWire sends any bytes to the public listener. What comes back is HTTP and
// no failure of the server's own. TOKEN stands for an access token of Alice's.
func FuzzWire(f *testing.F) {
	form := func(path, body string) string {
		return fmt.Sprintf("POST %s HTTP/1.1\r\nHost: x\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s", path, formType, len(body), body)
	}
	apps := func(path, header, body string) string {
		return fmt.Sprintf("POST %s HTTP/1.1\r\nHost: x\r\n%sContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", path, header, len(body), body)
	}
	const kit, bearer = "GET " + kitPath + " HTTP/1.1\r\nHost: x\r\n\r\n", "Authorization: Bearer TOKEN\r\n"
	body := appsBody("iOS", deviceOS, notesNew, skyApp)
	chunked := "POST /restore HTTP/1.1\r\nHost: x\r\n" + bearer + "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n" +
		fmt.Sprintf("%x\r\n%s\r\n%x;x=y\r\n%s\r\n0\r\nX-Trailer: 1\r\n\r\n", 10, body[:10], len(body)-10, body[10:])
	for _, text := range []string{
		kit, kit + kit, strings.Replace(kit, "GET", "HEAD", 1) + kit, strings.Replace(kit, "1.1", "1.0", 1), "GET " + metadataPath + " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n" + kit,
		"GET /oauth/authorize" + sampleAuthorize + " HTTP/1.1\r\nHost: x\r\nAccept-Language: de-AT,de;q=0.9\r\n\r\n", "GET /oauth/authorize?client_id=" + coretest.NativeClient + "&redirect_uri=" + coretest.NativeRedirect + "&state=a%20b HTTP/1.1\r\nHost: x\r\n\r\n",
		form("/oauth/authorize", strings.TrimPrefix(sampleAuthorize, "?")), form("/oauth/authorize", "transaction=x&field_email=alice%40example.com&field_password=wonderland"),
		form("/oauth/token", "grant_type=refresh_token&refresh_token=x"), form("/oauth/token", "grant_type=authorization_code&code=x&code_verifier=y&client_id=z&redirect_uri=app-distribution-oauth://"),
		form("/oauth/token", exchangeForm("x", newClientID()).Encode()), strings.Replace(form("/oauth/token", "grant_type=password"), "Host: x", "Host: x\r\nAuthorization: Basic eDp5", 1),
		apps("/restore", bearer, body), apps("/updates", bearer, body), apps("/install-token", bearer, body), apps("/restore", coretest.TokenHeader+": TOKEN\r\n", body), apps("/updates", "", body),
		apps("/restore", bearer, `{"apps":[{"appleItemId":1,"appleVersionId":"\ud800"}],"platform":"iPadOS","osVersion":"18"}`), apps("/updates", bearer, "{"),
		apps("/updates", bearer+"Expect: 100-continue\r\n", body) + kit, "POST /restore HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 10\r\n\r\n", "GET / HTTP/1.1\r\nHost: x\r\nExpect: 200-ok\r\n\r\n",
		chunked, chunked + kit, apps("/restore", "Transfer-Encoding: chunked\r\n", body), "POST /restore HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
		"\r\n\r\n", "hello\r\n\r\n", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "GET /\x00 HTTP/1.1\r\nHost: x\r\n\r\n", "POST /restore HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 5000\r\n\r\n{",
		apps("/restore", "Content-Length: -1\r\n", body), apps("/restore", "Content-Length: ten\r\n", body), apps("/restore", "Content-Length: 99999999999999999999\r\n", body), "GET / HTTP/1.1\r\nHost: x\r\nbroken\r\n\r\n",
		"get " + kitPath + " HTTP/1.1\r\nHost: x\r\n\r\n", "POST http://evil.example/restore HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", "CONNECT evil.example:443 HTTP/1.1\r\nHost: x\r\n\r\n",
		"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", "GET /oauth/authorize?a=%zz&b=% HTTP/1.1\r\nHost: x\r\n\r\n", apps("/restore", "Authorization: Bearer \x80\x81\r\n", ""), "GET " + kitPath + " HTTP/9.9\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
		"GET " + kitPath + " HTTP/1.1\r\nHost: x\r\nUpgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nX-Forwarded-For: fe80::1%x\r\n\r\n", strings.Replace(form("/oauth/token", "a=b"), formType, "multipart/form-data; boundary=x", 1),
	} {
		f.Add([]byte(text))
	}
	s, log := fuzzed(f)
	access := deviceOf(f, s, coretest.Alice).access
	asked := 0
	f.Fuzz(func(t *testing.T, text []byte) {
		if len(text) > 64<<10 {
			return
		}
		sent := bytes.ReplaceAll(text, []byte("TOKEN"), []byte(access))
		wantHTTP(t, sent, exchanged(t, s.PublicURL(), sent))
		if asked++; asked%64 == 0 {
			if a := get(t, s.PublicURL()+kitPath); a.status != 200 {
				t.Errorf("after %q a good request is answered %d", text, a.status)
			}
		}
		if errors := log.String(); errors != "" {
			t.Fatalf("%q left errors in the log:\n%s", text, errors)
		}
	})
}

// wantHTTP checks the answers to what may be several requests.
func wantHTTP(t *testing.T, sent, got []byte) {
	t.Helper()
	r := bufio.NewReader(bytes.NewReader(got))
	for {
		next, err := r.Peek(1)
		if err == io.EOF {
			return
		}
		res, err := http.ReadResponse(r, nil)
		if err != nil {
			t.Fatalf("%q is answered with what is no HTTP at %q: %v\n%q", sent, next, err, got)
		}
		if res.StatusCode >= 500 {
			t.Errorf("%q is answered %s\n%q", sent, res.Status, got)
		}
		// The answer to HEAD has a length and no body (RFC 9110 §9.3.2).
		if follows, _ := r.Peek(len("HTTP/1.1 ")); bytes.Contains(sent, []byte("HEAD ")) && (len(follows) == 0 || string(follows) == "HTTP/1.1 ") {
			continue
		}
		if _, err := io.Copy(io.Discard, res.Body); err != nil {
			t.Fatalf("%q is answered with a body that can't be read: %v\n%q", sent, err, got)
		}
	}
}

// FuzzAdmin sends any request with the operator's own token to the admin API.
func FuzzAdmin(f *testing.F) {
	const app = `{"bundle_id":"com.example.new","name":"New","sign_in":"none","versions":[{"id":"5000011","short":"1.0","build":"7","min_os":{"ios":"17.4"},"rollout":{"share":10000}}]}`
	for _, c := range [...][4]string{
		{"GET", "/healthz"}, {"GET", "/readyz"}, {"HEAD", "/readyz"}, {"GET", "/api/plugins"}, {"GET", "/"}, {"BREW", "/api/apps"},
		{"GET", "/api/apps?after=1000001&limit=2"}, {"GET", "/api/apps/" + coretest.NotesItem}, {"GET", "/api/apps/18446744073709551615"}, {"PUT", "/api/apps/5000001", jsonType, app},
		{"PUT", "/api/apps/5000001", jsonType, `{"id":"5000002"}`}, {"PUT", "/api/apps/5000001", jsonType, "{}"}, {"DELETE", "/api/apps/5000001"},
		{"PUT", "/api/apps/1000002/versions/2000021/rollout", jsonType, `{"share":2500,"salt":"s","halted":false}`}, {"PUT", "/api/apps/1000002/versions/2000021/withdrawn", jsonType, `{"withdrawn":true}`},
		{"PUT", "/api/apps/1000002/takedown", jsonType, `{"reason":"a claim"}`}, {"DELETE", "/api/apps/1000002/takedown"},
		{"POST", "/api/import", jsonType, `{"app":[` + strings.Replace(app, "{", `{"id":"5000003",`, 1) + `]}`}, {"POST", "/api/import", "application/toml", "[[app]]\nid = 5000004\nbundle_id = \"com.example.new\"\nname = \"New\"\n"},
		{"GET", "/api/accounts?limit=1000"}, {"GET", "/api/accounts?after=%ff&after=x"}, {"GET", "/api/accounts/alice@example.com"}, {"GET", "/api/accounts/%2F%00"},
		{"PUT", "/api/accounts/alice@example.com/grants", jsonType, `{"add":["sub:plus"],"remove":["x"]}`}, {"PUT", "/api/accounts/carol/grants", jsonType, `{"grants":["a","a"]}`},
		{"PUT", "/api/accounts/carol/territory", jsonType, `{"territory":"AUT"}`}, {"GET", "/api/accounts/carol/sessions"}, {"DELETE", "/api/accounts/carol/sessions"},
		{"DELETE", "/api/accounts/carol/sessions/x"}, {"DELETE", "/api/accounts/carol/clients/x"}, {"POST", "/api/accounts/carol/subject-token"}, {"POST", "/api/grants", jsonType, `{"accounts":{"carol":["a"],"dave":[]," ":null}}`},
		{"GET", "/api/people?after=a"}, {"PUT", "/api/people/erin@example.com", jsonType, `{"password":"wonderland","name":"E","disabled":true}`}, {"PUT", "/api/people/erin@example.com", jsonType, `{"Name":"E"}`},
		{"PUT", "/api/people/erin@example.com", jsonType, `{"password":"short"}`}, {"DELETE", "/api/people/erin@example.com"},
		{"GET", "/api/keys"}, {"POST", "/api/keys"}, {"POST", "/api/keys/1/retire", jsonType, `{"force":true}`}, {"POST", "/api/keys/256/retire", jsonType, `{}`},
		{"PUT", "/api/apps/1/takedown", jsonType, `{"reason":"x","reason":"y"}`}, {"PUT", "/api/apps/1/takedown", "text/plain", "x"}, {"POST", "/api/grants", jsonType + "; charset=utf-8", strings.Repeat("[", 10_000)},
	} {
		f.Add(c[0], c[1], c[2], c[3])
	}
	s, log := fuzzed(f)
	f.Fuzz(func(t *testing.T, method, target, contentType, body string) {
		if !oneWord(method) || !oneWord(target) || strings.ContainsFunc(contentType, control) || len(body) > 64<<10 {
			return // it would be another request: those are FuzzWire's
		}
		head := fmt.Sprintf("%s %s HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %s\r\nConnection: close\r\nContent-Length: %d\r\n", method, target, s.AdminToken, len(body))
		if contentType != "" {
			head += "Content-Type: " + contentType + "\r\n"
		}
		got := exchanged(t, s.AdminURL(), []byte(head+"\r\n"+body))
		if got == nil {
			return
		}
		what := fmt.Sprintf("%q %q of %q %q", method, target, contentType, body)
		res, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(got)), &http.Request{Method: method})
		if err != nil {
			t.Fatalf("%s is answered with what is no HTTP: %v\n%q", what, err, got)
		}
		reply, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatalf("%s: read the answer: %v\n%q", what, err, got)
		}
		if class := res.StatusCode / 100; class != 2 && class != 4 && res.StatusCode != 503 {
			t.Errorf("%s is answered %s\n%s", what, res.Status, reply)
		}
		var refused struct{ Error string }
		switch err := json.Unmarshal(reply, &refused); {
		case method == "HEAD" || res.StatusCode == 204:
		case err != nil:
			t.Errorf("%s is answered %s with what is no JSON: %v\n%q", what, res.Status, err, reply)
		case res.StatusCode >= 400 && refused.Error == "":
			t.Errorf("%s is answered %s without a sentence: %s", what, res.Status, reply)
		}
		if errors := log.String(); errors != "" {
			t.Fatalf("%s left errors in the log:\n%s", what, errors)
		}
	})
}

// oneWord reports whether a text can stand in a request line.
func oneWord(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(c rune) bool { return c == ' ' || control(c) })
}

func control(c rune) bool { return c < ' ' || c == 0x7f }
