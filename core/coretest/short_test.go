package coretest_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/souk-market/souk/core"
	"github.com/souk-market/souk/core/coretest"
	"github.com/souk-market/souk/core/server"
)

// wire is a connection over which requests go as they are written.
type wire struct {
	net.Conn
	in *bufio.Reader
}

func dialWire(t *testing.T, s *coretest.Server) *wire {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.PublicURL(), "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	return &wire{conn, bufio.NewReader(conn)}
}

// ask sends a request and returns the answer, byte for byte.
func (w *wire) ask(t *testing.T, text string) string {
	t.Helper()
	if _, err := io.WriteString(w, text); err != nil {
		t.Fatal(err)
	}
	return w.answer(t)
}

func (w *wire) answer(t *testing.T) string {
	t.Helper()
	var head strings.Builder
	length := -1
	for line := ""; line != "\r\n"; head.WriteString(line) {
		var err error
		if line, err = w.in.ReadString('\n'); err != nil {
			t.Fatalf("read an answer: %v after\n%s", err, head.String())
		}
		if n, ok := strings.CutPrefix(line, "Content-Length: "); ok {
			if length, err = strconv.Atoi(strings.TrimSpace(n)); err != nil {
				t.Fatal(err)
			}
		}
	}
	body := make([]byte, max(0, length))
	if _, err := io.ReadFull(w.in, body); err != nil || length < 0 {
		t.Fatalf("read the body of an answer: %v after\n%s", err, head.String())
	}
	return head.String() + string(body)
}

// checkText is an update check as a device writes it, with more headers.
func checkText(access, body string, header ...string) string {
	if access != "" {
		header = append(header, "Authorization: Bearer "+access)
	}
	return "POST /updates HTTP/1.1\r\nHost: market.example.com\r\nAccept: */*\r\n" + strings.Join(append(header, ""), "\r\n") +
		"User-Agent: managedappdistributiond/1 iOS/26.1 iPhone\r\nContent-Type: application/json\r\nContent-Length: " + fmt.Sprint(len(body)) + "\r\n\r\n" + body
}

// changes are the parts of an answer that no two have alike.
var changes = regexp.MustCompile(`(Date: |Retry-After: |"installVerificationToken":")[^"\r]*`)

// The first request of a connection goes the long way, and a check that comes later the
// short one: the answer is the same to the byte.
func TestShortWay(t *testing.T) {
	t.Parallel()
	s := startPressed(t, func(c *core.Config) {
		c.Server.Proxies, c.Server.TerritoryHeader = []string{"127.0.0.0/8"}, "X-Territory"
	})
	access := deviceOf(t, s.Server, coretest.Alice).access
	gone := deviceOf(t, s.Server, coretest.Bob).access
	s.Must(t, http.MethodDelete, "/api/accounts/"+url.PathEscape(coretest.Bob)+"/sessions", nil)
	hello := "GET " + kitPath + " HTTP/1.1\r\nHost: market.example.com\r\n\r\n"
	both := func(name, text string, status int, says ...string) {
		t.Helper()
		long := dialWire(t, s.Server).ask(t, text)
		w := dialWire(t, s.Server)
		w.ask(t, hello)
		for range 2 {
			short := w.ask(t, text)
			if a, b := changes.ReplaceAllString(short, "$1"), changes.ReplaceAllString(long, "$1"); a != b {
				t.Errorf("%s: the short way answers\n%s\nand the long one\n%s", name, a, b)
			}
		}
		for _, want := range append(says, fmt.Sprintf("HTTP/1.1 %d ", status)) {
			if !strings.Contains(long, want) {
				t.Errorf("%s is answered\n%s\nwant %q in it", name, long, want)
			}
		}
	}
	body := func(apps ...app) string { return appsBody("iOS", deviceOS, apps...) }
	checks := 0
	for _, test := range []struct {
		name, text string
		status     int
		says       string
	}{
		{"nothing newer", checkText(access, body(notesNew)), 200, nothingNew},
		{"no app", checkText(access, body()), 200, nothingNew},
		{"an offer", checkText(access, body(notesOld)), 200, `"appleVersionId":"` + notesNew.Version + `"`},
		{"an app that nobody knows", checkText(access, body(nobodys, notesOld)), 200, `"failures":[`},
		{"with the operator's header", checkText("", body(notesOld), coretest.TokenHeader+": "+access), 200, `"appleVersionId":"` + notesNew.Version + `"`},
		{"with two tokens", checkText("nonsense", body(notesOld), coretest.TokenHeader+": "+access), 200, `"appleVersionId":"` + notesNew.Version + `"`},
		{"in a territory", checkText(access, body(notesOld), "X-Territory: AUT"), 200, `"appleVersionId"`},
		{"through a proxy", checkText(access, body(notesOld), "X-Forwarded-For: 192.0.2.7", "Connection: keep-alive"), 200, `"appleVersionId"`},
		{"nobody is signed in", checkText("", body(notesOld)), 401, "Www-Authenticate: Bearer\r\n"},
		{"nobody has to be", checkText("", body(skyApp)), 200, nothingNew},
		{"a token that is none", checkText("nonsense", body(notesOld)), 403, "invalid_token"},
		{"a token of who was signed out everywhere", checkText(gone, body(notesOld)), 403, "invalid_token"},
		{"another scheme", checkText("", body(notesOld), "Authorization: Basic YTpi"), 403, "invalid_token"},
		{"no JSON", checkText(access, "{"), 400, "JSON"},
		{"nothing", checkText(access, ""), 400, "JSON"},
		{"another media type", strings.Replace(checkText(access, body(notesOld)), jsonType, "text/plain", 1), 415, jsonType},
	} {
		both(test.name, test.text, test.status, test.says)
		if test.status == 200 {
			checks += 3
		}
	}
	m := scrape(t, s.Server)
	m.is(t, 15*2, "souk_http_short_total") // all but another media type
	m.is(t, float64(checks), "souk_http_requests_total", "method=POST", "route=/updates", "status=200")
	m.is(t, 3, "souk_http_requests_total", "method=POST", "route=/updates", "status=401")
	m.is(t, 9, "souk_http_requests_total", "method=POST", "route=/updates", "status=403")
	m.is(t, 6, "souk_http_requests_total", "method=POST", "route=/updates", "status=400")

	// Under pressure each request draws one lot, whatever its way.
	s.presses(t, late, 2, 2)
	both("turned away", checkText("nonsense", "{"), 200, nothingNew)
	m = scrape(t, s.Server)
	m.is(t, 3, "souk_shed_total", "method=POST", "route=/updates", "kind=empty")
	m.is(t, float64(checks+3), "souk_http_requests_total", "method=POST", "route=/updates", "status=200")
}

func TestShortWayTurnsAwayWith503(t *testing.T) {
	t.Parallel()
	s := startPressed(t, func(c *core.Config) { c.Limits.ShedAnswer = server.ShedUnavailable })
	w := dialWire(t, s.Server)
	w.ask(t, "GET "+kitPath+" HTTP/1.1\r\nHost: market.example.com\r\n\r\n")
	s.presses(t, late, 2, 2)
	for range 3 {
		if a := w.ask(t, checkText("", appsBody("iOS", deviceOS, notesOld))); !strings.HasPrefix(a, "HTTP/1.1 503 ") || !strings.Contains(a, "Retry-After: ") {
			t.Errorf("a check is answered\n%s\nwant 503 with Retry-After", a)
		}
	}
	m := scrape(t, s.Server)
	m.is(t, 3, "souk_http_short_total")
	m.is(t, 3, "souk_shed_total", "method=POST", "route=/updates", "kind=503")
	m.is(t, 3, "souk_http_requests_total", "method=POST", "route=/updates", "status=503")
}

// What comes in pieces, or two at a time, is answered in its order, between checks that go
// the short way.
func TestShortWayAmongOthers(t *testing.T) {
	t.Parallel()
	s := coretest.Start(t, quick)
	access := deviceOf(t, s, coretest.Alice).access
	newer, same := checkText(access, appsBody("iOS", deviceOS, notesOld)), checkText(access, appsBody("iOS", deviceOS, notesNew))
	w := dialWire(t, s)
	is := func(what, a string, offered bool) {
		t.Helper()
		if !strings.HasPrefix(a, "HTTP/1.1 200 ") || strings.Contains(a, "installVerificationToken") != offered {
			t.Errorf("%s is answered\n%s\nwant an offer: %v", what, a, offered)
		}
	}
	is("the first", w.ask(t, same), false)
	for range 3 {
		is("a check", w.ask(t, newer), true)
		is("the first of three", w.ask(t, newer+same+newer), true)
		is("the second of three", w.answer(t), false)
		is("the last of three", w.answer(t), true)
		is("a check", w.ask(t, same), false)
		for at := 1; at < len(newer); at += len(newer)/5 + 1 {
			if _, err := io.WriteString(w, newer[:at]); err != nil {
				t.Fatal(err)
			}
			is("what comes in two pieces", w.ask(t, newer[at:]), true)
		}
		is("a check", w.ask(t, same), false)
	}
	// Two pieces may be there at once.
	if n := scrape(t, s).find("souk_http_short_total").GetCounter().GetValue(); n < 3*3 {
		t.Errorf("%v checks went the short way, want 9 at least", n)
	}
}

// Who stops the server lets a check finish that is answered the short way.
func TestStopLetsAShortAnswerFinish(t *testing.T) {
	t.Parallel()
	gate := newStopGate("decision")
	s := coretest.Start(t, func(c *core.Config) {
		quick(c)
		c.Log = slog.New(gate)
	})
	open := sync.OnceFunc(func() { close(gate.open) })
	access := deviceOf(t, s, coretest.Alice).access
	w := dialWire(t, s)
	for range 2 { // there is nothing to decide
		w.ask(t, checkText(access, appsBody("iOS", deviceOS, notesNew)))
	}
	scrape(t, s).is(t, 1, "souk_http_short_total")
	if _, err := io.WriteString(w, checkText(access, appsBody("iOS", deviceOS, notesOld))); err != nil {
		t.Fatal(err)
	}
	<-gate.reached
	public, stopped := s.PublicURL(), make(chan struct{})
	go func() {
		defer close(stopped)
		s.Restart(t)
	}()
	t.Cleanup(func() {
		open()
		<-stopped
	})
	stopRefused(t, public)
	open() // fasthttp closes what rests at this time, or has done so
	if a := w.answer(t); !strings.HasPrefix(a, "HTTP/1.1 200 ") || !strings.Contains(a, "installVerificationToken") || !strings.Contains(a, "\r\nConnection: close\r\n") {
		t.Errorf("the check under way is answered\n%s\nwant an offer, and that it is the last answer", a)
	}
	if _, err := w.in.ReadByte(); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("after the last answer of the connection the client reads %v, want its end", err)
	}
}
