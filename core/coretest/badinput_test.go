package coretest_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/souk-market/souk/core"
	"github.com/souk-market/souk/core/coretest"
)

// appsPaths are the endpoints that share a body.
var appsPaths = []string{"/restore", "/updates", "/install-token"}

func TestBadBodiesAre400(t *testing.T) {
	t.Parallel()
	s := coretest.Start(t, quick)
	access := deviceOf(t, s, coretest.Alice).access
	before := accounts(t, s)
	const app, tail = `{"appleItemId":"1000002","appleVersionId":"2000021"}`, `,"platform":"iOS","osVersion":"17.4"}`
	for name, body := range map[string]string{
		"nothing":                       "",
		"white space":                   " \n",
		"a list":                        "[]",
		"null":                          "null",
		"a text":                        `"apps"`,
		"no JSON":                       "apps=1",
		"cut off":                       `{"apps":[` + app,
		"something behind":              `{"apps":[]` + tail + "x",
		"two objects":                   `{"apps":[]` + tail + `{}`,
		"a trailing comma":              `{"apps":[` + app + `,]` + tail,
		"a comment":                     `{"apps":[]/**/` + tail,
		"no apps":                       `{"platform":"iOS","osVersion":"17.4"}`,
		"apps null":                     `{"apps":null` + tail,
		"apps an object":                `{"apps":{}` + tail,
		"apps a text":                   `{"apps":"1000002"` + tail,
		"apps of texts":                 `{"apps":["1000002"]` + tail,
		"apps of null":                  `{"apps":[null]` + tail,
		"an app without its id":         `{"apps":[{"appleVersionId":"1"}]` + tail,
		"an empty id":                   `{"apps":[{"appleItemId":"","appleVersionId":"1"}]` + tail,
		"an id that is true":            `{"apps":[{"appleItemId":true}]` + tail,
		"an id that is a list":          `{"apps":[{"appleItemId":[1]}]` + tail,
		"an id that is an object":       `{"apps":[{"appleItemId":{}}]` + tail,
		"a version that is false":       `{"apps":[{"appleItemId":"1","appleVersionId":false}]` + tail,
		"an id of 41 characters":        `{"apps":[{"appleItemId":"` + strings.Repeat("1", 41) + `"}]` + tail,
		"a version of 41 characters":    `{"apps":[{"appleItemId":"1","appleVersionId":"` + strings.Repeat("1", 41) + `"}]` + tail,
		"a number of 41 digits":         `{"apps":[{"appleItemId":` + strings.Repeat("1", 41) + `}]` + tail,
		"no platform":                   `{"apps":[],"osVersion":"17.4"}`,
		"a platform that is a number":   `{"apps":[],"platform":1,"osVersion":"17.4"}`,
		"no osVersion":                  `{"apps":[],"platform":"iOS"}`,
		"osVersion a number":            `{"apps":[],"platform":"iOS","osVersion":17.4}`,
		"osVersion empty":               `{"apps":[],"platform":"iOS","osVersion":""}`,
		"osVersion a word":              `{"apps":[],"platform":"iOS","osVersion":"latest"}`,
		"osVersion of four parts":       `{"apps":[],"platform":"iOS","osVersion":"17.4.1.2"}`,
		"osVersion too large":           `{"apps":[],"platform":"iOS","osVersion":"99999999999.1"}`,
		"osVersion negative":            `{"apps":[],"platform":"iOS","osVersion":"-17.4"}`,
		"lists in lists":                strings.Repeat("[", 100_000),
		"objects in objects":            strings.Repeat(`{"apps":`, 10_000),
		"lists in lists in a known key": `{"apps":` + strings.Repeat("[", 50_000) + strings.Repeat("]", 50_000) + tail,
		"a control character":           "{\"apps\":[],\"platform\":\"i\x01OS\",\"osVersion\":\"17.4\"}",
		"NUL":                           "\x00",
		"UTF-16":                        "\xff\xfe{\x00}\x00",
		"a byte order mark":             "\xef\xbb\xbf{\"apps\":[]" + tail,
		"too many apps":                 `{"apps":[` + strings.TrimSuffix(strings.Repeat(`{"appleItemId":"1"},`, 1001), ",") + `]` + tail,
	} {
		for _, path := range appsPaths {
			for who, token := range map[string]string{"somebody": access, "nobody": ""} {
				a := ask(t, s, path, token, body)
				if e, _ := a.object(t)["error"].(string); a.status != 400 || e == "" {
					t.Errorf("POST %s by %s with %s answered %d %s, want 400 with a sentence", path, who, name, a.status, a.body)
				}
			}
		}
	}
	if after := accounts(t, s); after != before {
		t.Errorf("bad requests changed the accounts from %s to %s", before, after)
	}
}

// What is strange but JSON is answered, in the device's own words.
func TestStrangeBodiesAreAnswered(t *testing.T) {
	t.Parallel()
	s := shared(t)
	access := deviceOf(t, s, coretest.Alice).access
	for _, test := range []struct {
		name, body string
		failed     []app
	}{
		{"not UTF-8", "{\"apps\":[{\"appleItemId\":\"\xff\xfe\",\"appleVersionId\":\"\xc3(\"}],\"platform\":\"iOS\",\"osVersion\":\"17.4\"}", []app{{"��", "�("}}},
		{"an escaped NUL", `{"apps":[{"appleItemId":"\u0000","appleVersionId":"1"}],"platform":"iOS","osVersion":"17.4"}`, []app{{"\x00", "1"}}},
		{"quotes", `{"apps":[{"appleItemId":"\"}]","appleVersionId":"\\"}],"platform":"iOS","osVersion":"17.4"}`, []app{{`"}]`, `\`}}},
		{"half a surrogate pair", `{"apps":[{"appleItemId":"\ud800","appleVersionId":"</script>"}],"platform":"iOS","osVersion":"17.4"}`, []app{{"�", "</script>"}}},
		{"a number beyond all bounds", `{"apps":[{"appleItemId":1e999999,"appleVersionId":-0}],"platform":"iOS","osVersion":"17.4"}`, []app{{"1e999999", "-0"}}},
		{"a key twice: the last one counts", `{"apps":[{"appleItemId":"1","appleItemId":"2"}],"platform":"tvOS","platform":"iOS","osVersion":"17.4"}`, []app{{"2", ""}}},
		{"deep in a key that nobody knows", `{"x":` + strings.Repeat("[", 1000) + strings.Repeat("]", 1000) + `,"apps":[],"platform":"iOS","osVersion":"17.4"}`, nil},
		{"white space everywhere", " {\t\"apps\" : [ ] ,\r\n\"platform\" :\"iOS\", \"osVersion\": \"17.4\" } \n", nil},
		{"an escaped key", `{"\u0061pps":[{"appleItemId":"9"}],"platform":"iOS","osVersion":"17.4"}`, []app{{"9", ""}}},
	} {
		ask(t, s, "/restore", access, test.body).apps(t, "restores").gives(t, test.name, nil, test.failed...)
		ask(t, s, "/updates", access, test.body).apps(t, "updates").gives(t, test.name, nil, test.failed...)
	}
	many := make([]app, 1000)
	for i := range many {
		many[i] = app{fmt.Sprint(9000000 + i), "1"}
	}
	restore(t, s, access, deviceOS, many...).gives(t, "as many apps as one request may name", nil, many...)
}

// RFC 9110 §15.5.6 and §15.5.16.
func TestMethodsAndMediaTypes(t *testing.T) {
	t.Parallel()
	s := shared(t)
	access := deviceOf(t, s, coretest.Alice).access
	for path, allow := range map[string]string{
		kitPath: "GET", metadataPath: "GET", "/oauth/authorize": "GET, POST", "/oauth/token": "POST",
		"/restore": "POST", "/updates": "POST", "/install-token": "POST",
	} {
		for _, method := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW"} {
			if strings.Contains(allow, method) || method == "HEAD" && strings.Contains(allow, "GET") {
				continue
			}
			a := send(t, request(t, method, s.PublicURL()+path, "", ""))
			if a.status != 405 || a.header.Get("Allow") != allow {
				t.Errorf("%s %s answered %d with Allow %q, want 405 with %q", method, path, a.status, a.header.Get("Allow"), allow)
			}
		}
	}
	body := appsBody("iOS", deviceOS, notesNew)
	for _, path := range append([]string{"/oauth/authorize"}, appsPaths...) {
		for _, contentType := range []string{"", "text/plain", "application/xml", "application/jsonp", "application/json, text/plain", "application/x-www-form-urlencoded"} {
			if path == "/oauth/authorize" && contentType == formType {
				continue
			}
			a := post(t, s.PublicURL()+path, contentType, body, "Authorization", "Bearer "+access)
			if e, _ := a.object(t)["error"].(string); a.status != 415 || e == "" {
				t.Errorf("POST %s of %q answered %d %s, want 415 with a sentence", path, contentType, a.status, a.body)
			}
		}
	}
	for _, path := range appsPaths {
		for _, contentType := range []string{"application/json", "application/json; charset=utf-8", "Application/JSON", "application/json ;x=y"} {
			if a := post(t, s.PublicURL()+path, contentType, body, "Authorization", "Bearer "+access); a.status != 200 {
				t.Errorf("POST %s of %q answered %d, want 200", path, contentType, a.status)
			}
		}
		if a := post(t, s.PublicURL()+path, jsonType, body, "Content-Encoding", "gzip", "Authorization", "Bearer "+access); a.status != 415 {
			t.Errorf("POST %s of a compressed body answered %d, want 415", path, a.status)
		}
	}
}

// Whatever was asked and whatever came of it: tokens, codes and pages are in no
// cache, and a device asks for everything anew (RFC 6749 §5.1, RFC 9111 §5.2.2.5).
func TestNoAnswerIsStored(t *testing.T) {
	t.Parallel()
	s := shared(t)
	access := deviceOf(t, s, coretest.Alice).access
	seen := map[int]bool{}
	for _, path := range []string{kitPath, metadataPath, "/oauth/authorize", "/oauth/token", "/restore", "/updates", "/install-token", "/nowhere"} {
		for _, method := range []string{"GET", "HEAD", "POST", "PUT", "OPTIONS"} {
			for contentType, body := range map[string]string{
				"": "", jsonType: appsBody("iOS", deviceOS, notesOld), formType: nativeSignIn().query().Encode(), "text/plain": "x",
			} {
				for _, token := range []string{"", "Bearer " + access, "Bearer x", "Basic eA=="} {
					req := request(t, method, s.PublicURL()+path, contentType, body)
					if token != "" {
						req.Header.Set("Authorization", token)
					}
					a := send(t, req) // which looks at Cache-Control
					if seen[a.status] = true; strings.HasPrefix(path, "/oauth/") && a.status != 405 && a.header.Get("Pragma") != "no-cache" {
						t.Errorf("%s %s answered %d with the Pragma %q, want no-cache", method, path, a.status, a.header.Get("Pragma"))
					}
				}
			}
		}
	}
	for _, status := range []int{200, 400, 401, 403, 404, 405, 415} {
		if !seen[status] {
			t.Errorf("nothing was answered %d: this test looks at too little", status)
		}
	}
}

// A token that isn't good is the first thing that is wrong, whatever the body is: who has
// none learns nothing else.
func TestTokensAreJudgedBeforeBodies(t *testing.T) {
	t.Parallel()
	s := shared(t)
	for _, path := range []string{"/restore", "/updates", "/install-token"} {
		for _, body := range []string{"", "{", `{"apps":[]}`, `{"apps":[{"appleItemId":"1","appleVersionId":"2"}],"platform":"iOS","osVersion":"x"}`} {
			if a := ask(t, s, path, "x", body); a.status != 403 {
				t.Errorf("%s with a token that is none and the body %s answered %d %s, want 403", path, body, a.status, a.body)
			}
			if a := ask(t, s, path, "", body); body != `{"apps":[]}` && a.status != 400 {
				t.Errorf("%s without a token and with the body %s answered %d %s, want 400", path, body, a.status, a.body)
			}
		}
	}
}

func TestUnknownPathsAre404(t *testing.T) {
	t.Parallel()
	s := shared(t)
	for _, path := range []string{"/", "/restore/", "/restores", "/oauth", "/oauth/token/", "/.well-known/", "/.well-known/openid-configuration", "/api/apps", "/metrics", "/healthz", "/debug/pprof/", "/restore%00", "/%2e%2e/%2e%2e/etc/passwd"} {
		for _, method := range []string{"GET", "POST"} {
			a := send(t, request(t, method, s.PublicURL()+path, "", ""))
			if e, _ := a.object(t)["error"].(string); a.status != 404 || e == "" {
				t.Errorf("%s %s answered %d %s, want 404 with a sentence", method, path, a.status, a.body)
			}
		}
	}
}

// TestNotYetServed is the list of what the protocol has and this server has not:
// whoever adds one of them takes it off the list and writes its tests.
func TestNotYetServed(t *testing.T) {
	t.Parallel()
	s := shared(t)
	access := deviceOf(t, s, coretest.Alice).access
	for _, test := range []struct{ method, path, reason string }{
		{"GET", "/packages/" + coretest.NotesItem + "/" + coretest.NotesNew + "/manifest.json", "hosting of distribution packages"},
		{"GET", "/packages/" + coretest.NotesItem + "/" + coretest.NotesNew + "/signature", "hosting of distribution packages"},
		{"GET", "/packages/" + coretest.NotesItem + "/" + coretest.NotesNew + "/variant/219750db-80c2-4c75-aecc-fa67835f384d.ipa", "hosting of distribution packages: ranges, ETag"},
		{"GET", "/packages/" + coretest.NotesItem + "/" + coretest.NotesNew + "/delta/ffbc52b6-f76b-4d51-9eff-5388bc6b7572.ipa", "hosting of distribution packages: ranges, ETag"},
		{"POST", "/license", "licences: also with bearer, and with 403 for a bad token"},
		{"POST", "/license/renew", "renewal and revocation of licences"},
		{"GET", "/license/resolve?account=a&appleItemID=1&appleVersionID=2", "the page about a licence"},
		{"GET", "/license/certificates/signing", "the certificates of licences"},
		{"GET", "/license/certificates/encryption", "the certificates of licences"},
		{"POST", "/oauth/revoke", "RFC 7009"},
		{"POST", "/oauth/introspect", "RFC 7662"},
		{"GET", "/api/v1/me", "token details"},
		{"GET", "/oauth/consent", "consent of an organisation"},
		{"GET", "/oauth/jwks", "public keys"},
		{"GET", "/oauth2/authorize", "the paths of AppDirect's clients"},
		{"POST", "/oauth2/token", "the paths of AppDirect's clients"},
		{"GET", "/oauth2/v1/authorize", "the paths of Apple Business's apps"},
		{"POST", "/api/v1/oauth2/token", "the paths of Apple Business's apps"},
		{"POST", "/webhooks/app-store-connect", "notifications of App Store Connect"},
	} {
		a := send(t, request(t, test.method, s.PublicURL()+test.path, jsonType, "{}", "Authorization", "Bearer "+access))
		if a.status != 404 {
			t.Errorf("%s %s answered %d: it is served now, so take it off this list and test it (%s)", test.method, test.path, a.status, test.reason)
		}
	}
}

// raw sends bytes as they are and reads one answer.
func raw(t *testing.T, s *coretest.Server, text string) (answer, bool) {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.PublicURL(), "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	// The server may hang up before it has read everything.
	_, _ = io.WriteString(conn, text)
	if half, ok := conn.(*net.TCPConn); ok {
		_ = half.CloseWrite()
	}
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("%.60q is neither answered nor hung up on", text)
	}
	if err != nil {
		return answer{}, false
	}
	defer res.Body.Close()
	body, _ := io.ReadAll(res.Body)
	return answer{res.StatusCode, res.Header, body}, true
}

func TestLargeRequestsAreRefused(t *testing.T) {
	t.Parallel()
	s := shared(t)
	access := deviceOf(t, s, coretest.Alice).access
	if a, ok := raw(t, s, "GET "+kitPath+" HTTP/1.1\r\nHost: x\r\nX-Long: "+strings.Repeat("a", 100<<10)+"\r\n\r\n"); !ok || a.status != 431 {
		t.Errorf("a head of 100 KiB answered %d, want 431", a.status)
	}
	if a, ok := raw(t, s, "GET "+kitPath+"?"+strings.Repeat("a", 100<<10)+" HTTP/1.1\r\nHost: x\r\n\r\n"); !ok || a.status != 431 {
		t.Errorf("a request line of 100 KiB answered %d, want 431", a.status)
	}
	most := int(core.DefaultConfig().Limits.Body)
	for _, test := range []struct {
		path, contentType string
		size              int
	}{{"/restore", jsonType, most + 1}, {"/updates", jsonType, 8 * most}, {"/oauth/token", formType, 16<<10 + 1}, {"/oauth/authorize", formType, 64<<10 + 1}} {
		head := fmt.Sprintf("POST %s HTTP/1.1\r\nHost: x\r\nContent-Type: %s\r\nAuthorization: Bearer %s\r\nConnection: close\r\n", test.path, test.contentType, access)
		body := strings.Repeat("a", test.size)
		if a, ok := raw(t, s, head+fmt.Sprintf("Content-Length: %d\r\n\r\n", test.size)+body); !ok || a.status != 413 || !strings.Contains(string(a.body), "error") {
			t.Errorf("POST %s of %d bytes answered %d %s, want 413 with a sentence", test.path, test.size, a.status, a.body)
		}
		if a, ok := raw(t, s, head+fmt.Sprintf("Transfer-Encoding: chunked\r\n\r\n%x\r\n", test.size)+body+"\r\n0\r\n\r\n"); !ok || a.status != 413 {
			t.Errorf("POST %s of %d bytes in one chunk answered %d %s, want 413", test.path, test.size, a.status, a.body)
		}
	}
}

// What is no HTTP is answered with 4xx or not at all.
func TestBrokenRequests(t *testing.T) {
	t.Parallel()
	s := shared(t)
	body := appsBody("iOS", deviceOS, skyApp)
	for name, text := range map[string]string{
		"nothing":                       "\r\n\r\n",
		"no HTTP":                       "hello\r\n\r\n",
		"TLS":                           "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
		"NUL in the path":               "GET /\x00 HTTP/1.1\r\nHost: x\r\n\r\n",
		"a body that is cut off":        "POST /restore HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 5000\r\n\r\n{",
		"a negative length":             "POST /restore HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: -1\r\n\r\n" + body,
		"a length that is a word":       "POST /restore HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: ten\r\n\r\n" + body,
		"a length of 20 digits":         "POST /restore HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 99999999999999999999\r\n\r\n" + body,
		"a chunk without a size":        "POST /restore HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
		"a header without a colon":      "GET / HTTP/1.1\r\nHost: x\r\nbroken\r\n\r\n",
		"a method in lower case":        "get " + kitPath + " HTTP/1.1\r\nHost: x\r\n\r\n",
		"a method of 5000 letters":      strings.Repeat("G", 5000) + " / HTTP/1.1\r\nHost: x\r\n\r\n",
		"another host in the target":    "POST http://evil.example/restore HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
		"an authority as target":        "CONNECT evil.example:443 HTTP/1.1\r\nHost: x\r\n\r\n",
		"an escape that is none":        "GET /oauth/authorize?a=%zz&b=% HTTP/1.1\r\nHost: x\r\n\r\n",
		"a token that is not printable": "POST /restore HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer \x80\x81\r\nContent-Type: application/json\r\nContent-Length: 0\r\n\r\n",
	} {
		if a, ok := raw(t, s, text); ok && (a.status < 400 || a.status > 499) {
			t.Errorf("%s answered %d: %s", name, a.status, a.body)
		}
	}
	if a := get(t, s.PublicURL()+kitPath); a.status != 200 {
		t.Errorf("after the broken requests the server answered %d, want 200", a.status)
	}
}
