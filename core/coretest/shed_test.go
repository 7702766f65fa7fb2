package coretest_test

import (
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/souk-market/souk/core"
	"github.com/souk-market/souk/core/coretest"
	"github.com/souk-market/souk/core/server"
	"github.com/souk-market/souk/core/unit"
)

// pressed is a server whose delay a test says: what it measures itself depends on what
// else the machine does.
type pressed struct {
	*coretest.Server
	delay *atomic.Int64
}

func startPressed(t *testing.T, change func(*core.Config)) pressed {
	t.Helper()
	p := pressed{delay: new(atomic.Int64)}
	p.Server = coretest.Start(t, func(c *core.Config) {
		quick(c)
		c.Token.Pool = 0 // what is signed ahead is no matter of time
		c.Limits.ShedUpdates, c.Limits.ShedAll = unit.Duration(25*time.Millisecond), unit.Duration(500*time.Millisecond)
		c.Delay = func() time.Duration { return time.Duration(p.delay.Load()) }
		if change != nil {
			change(c)
		}
	})
	return p
}

// The delays that a pressure comes from.
const (
	calm      = 0
	stays     = 20 * time.Millisecond // whatever the pressure is
	late      = 30 * time.Millisecond
	muchLater = time.Second
)

// presses waits with a delay until the pressure is between two numbers.
func (p pressed) presses(t *testing.T, delay time.Duration, from, to float64) {
	t.Helper()
	p.delay.Store(int64(delay))
	for end := time.Now().Add(30 * time.Second); ; runtime.Gosched() {
		level := p.Pressure()
		if from <= level && level <= to {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("with a delay of %v the pressure is %.2f, want %.2f to %.2f", delay, level, from, to)
		}
	}
}

const nothingNew = `{"updates":[]}`

func TestUpdateChecksAreTurnedAwayBeforeEverythingElse(t *testing.T) {
	t.Parallel()
	s := startPressed(t, nil)
	d := deviceOf(t, s.Server, coretest.Alice)
	s.presses(t, late, 2, 2)

	// Nobody looks at more than the path.
	for what, a := range map[string]answer{
		"a check that would be offered something": ask(t, s.Server, "/updates", d.access, appsBody("iOS", deviceOS, notesOld)),
		"one without a token":                     ask(t, s.Server, "/updates", "", appsBody("iOS", deviceOS, notesOld)),
		"one with a token that is none":           ask(t, s.Server, "/updates", "nonsense", appsBody("iOS", deviceOS, notesOld)),
		"one that is no JSON":                     ask(t, s.Server, "/updates", d.access, "{"),
		"one of another media type":               post(t, s.PublicURL()+"/updates", "text/plain", "{}"),
	} {
		if a.status != 200 || string(a.body) != nothingNew || !strings.HasPrefix(a.header.Get("Content-Type"), jsonType) || a.header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s was answered %d %s (%v), want 200 %s", what, a.status, a.body, a.header, nothingNew)
		}
		if a.header.Get("Retry-After") != "" {
			t.Errorf("%s is told to come back after %s, want nothing of it: it will tomorrow", what, a.header.Get("Retry-After"))
		}
	}
	m := scrape(t, s.Server)
	m.is(t, 5, "souk_shed_total", "method=POST", "route=/updates", "kind=empty")
	m.is(t, 0, "souk_shed_total", "method=POST", "route=/updates", "kind=503")
	m.is(t, 0, "souk_shed_total", "method=POST", "route=/restore", "kind=503")
	m.is(t, 5, "souk_http_requests_total", "method=POST", "route=/updates", "status=200")
	m.is(t, 2, "souk_pressure")
	m.is(t, late.Seconds(), "souk_request_delay_seconds")
	m.is(t, 0, "souk_install_tokens_signed_total")

	// Whoever waits for an answer gets one, and the right one.
	for _, path := range []string{kitPath, metadataPath} {
		document(t, s.Server, path)
	}
	restore(t, s.Server, d.access, deviceOS, notesOld, plusApp).gives(t, "a restore", []app{notesOld}, plusApp)
	install(t, s.Server, d.access, notesNew).gives(t, "an install token", []app{notesNew})
	refresh(t, s.Server, d.refresh).granted(t, "a refresh")
	deviceSignIn(coretest.Alice).tokens(t, s.Server)
	if a := ask(t, s.Server, "/restore", "nonsense", appsBody("iOS", deviceOS, notesOld)); a.status != 403 {
		t.Errorf("a restore with a token that is none was answered %d, want 403", a.status)
	}
	if ready := s.Must(t, http.MethodGet, "/readyz", nil); !strings.Contains(string(ready), "update checks are turned away") {
		t.Errorf("/readyz says %s, want that update checks are turned away", ready)
	}

	s.presses(t, calm, 0, 0)
	updates(t, s.Server, d.access, deviceOS, notesOld).gives(t, "an update check afterwards", []app{notesNew})
	if ask(t, s.Server, "/updates", "nonsense", appsBody("iOS", deviceOS, notesOld)).status != 403 {
		t.Error("afterwards a token that is none opens something")
	}
	if ready := s.Must(t, http.MethodGet, "/readyz", nil); strings.Contains(string(ready), "load") {
		t.Errorf("/readyz says %s, want nothing of load", ready)
	}
}

// retries reads the Retry-After of a refusal.
func retries(t *testing.T, what string, a answer) int {
	t.Helper()
	seconds, err := strconv.Atoi(a.header.Get("Retry-After"))
	if a.status != 503 || err != nil || seconds < 15 || seconds > 45 {
		t.Errorf("%s was answered %d with Retry-After %q, want 503 with 15 to 45 seconds", what, a.status, a.header.Get("Retry-After"))
	}
	return seconds
}

func TestUpdateChecksAreTurnedAwayWith503WhereTheOperatorSaysSo(t *testing.T) {
	t.Parallel()
	s := startPressed(t, func(c *core.Config) { c.Limits.ShedAnswer = server.ShedUnavailable })
	s.presses(t, late, 2, 2)
	const asked = 60
	times := map[int]bool{}
	for range asked {
		times[retries(t, "an update check", ask(t, s.Server, "/updates", "", appsBody("iOS", deviceOS, notesOld)))] = true
	}
	if len(times) < 10 { // of 31, by chance: less than one in 10^17
		t.Errorf("%d update checks are told %d times to come back, want them to spread", asked, len(times))
	}
	m := scrape(t, s.Server)
	m.is(t, asked, "souk_shed_total", "method=POST", "route=/updates", "kind=503")
	m.is(t, 0, "souk_shed_total", "method=POST", "route=/updates", "kind=empty")
	m.is(t, asked, "souk_http_requests_total", "method=POST", "route=/updates", "status=503")
	document(t, s.Server, kitPath)
}

func TestEverythingElseIsTurnedAwayLast(t *testing.T) {
	t.Parallel()
	s := startPressed(t, nil)
	d := deviceOf(t, s.Server, coretest.Alice)
	r := deviceSignIn(coretest.Alice)
	p := open(t, s.Server, r.query())
	s.presses(t, muchLater, 3, 3)
	for what, a := range map[string]answer{
		"a restore":               ask(t, s.Server, "/restore", d.access, appsBody("iOS", deviceOS, notesOld)),
		"an install token":        ask(t, s.Server, "/install-token", d.access, appsBody("iOS", deviceOS, notesOld)),
		"the page of an app":      get(t, s.PublicURL()+"/install/"+coretest.SkyItem),
		"a sign-in page":          get(t, authorizeURL(s.Server, r.query())),
		"a password":              p.submit(t, coretest.Alice, coretest.AlicePassword),
		"a refresh":               refresh(t, s.Server, d.refresh),
		"a body that is no JSON":  ask(t, s.Server, "/restore", d.access, "{"),
		"a media type of no good": post(t, s.PublicURL()+"/restore", "text/plain", "{}"),
	} {
		retries(t, what, a)
	}
	// These are ready, and the first says how often to look for updates.
	for _, path := range []string{kitPath, metadataPath} {
		if a := get(t, s.PublicURL()+path); a.status != 200 {
			t.Errorf("%s was answered %d while everything else is turned away, want 200", path, a.status)
		}
	}
	refresh(t, s.Server, d.refresh).refused(t, "a refresh", 503, "temporarily_unavailable")
	for what, a := range map[string]answer{
		"a sign-in page":     get(t, authorizeURL(s.Server, r.query())),
		"the page of an app": get(t, s.PublicURL()+"/install/"+coretest.SkyItem),
	} {
		if !strings.HasPrefix(a.header.Get("Content-Type"), "text/html") {
			t.Errorf("%s is refused with %s, want a page", what, a.header.Get("Content-Type"))
		}
	}
	if a := ask(t, s.Server, "/updates", d.access, appsBody("iOS", deviceOS, notesOld)); a.status != 200 || string(a.body) != nothingNew {
		t.Errorf("an update check was answered %d %s, want 200 %s", a.status, a.body, nothingNew)
	}
	if a := get(t, s.PublicURL()+"/nowhere"); a.status != 404 {
		t.Errorf("what is nowhere was answered %d, want 404", a.status)
	}
	// The operator is none of those who are turned away.
	scrape(t, s.Server).is(t, 3, "souk_shed_total", "method=POST", "route=/restore", "kind=503")

	// Nothing was done: the password was not asked about, the refresh token not used.
	s.presses(t, calm, 0, 0)
	refresh(t, s.Server, d.refresh).granted(t, "the refresh afterwards")
	token(t, s.Server, r.redemption(p.submit(t, coretest.Alice, coretest.AlicePassword).led(t, r.redirect).Get("code"))).granted(t, "the sign-in afterwards")
}

func TestWithoutASecondLimitNothingElseIsTurnedAway(t *testing.T) {
	t.Parallel()
	s := startPressed(t, func(c *core.Config) { c.Limits.ShedAll = 0 })
	s.presses(t, muchLater, 2, 2)
	for range 20 {
		document(t, s.Server, kitPath)
	}
}

// Between normal and turned away some checks do without a signature. What is offered all
// the same is right.
func TestUpdateChecksDoWithoutSignaturesFirst(t *testing.T) {
	t.Parallel()
	var begun atomic.Bool
	looks := 0 // of one goroutine
	s := startPressed(t, func(c *core.Config) {
		c.Delay = func() time.Duration {
			switch {
			case !begun.Load():
				return calm
			case looks < 5: // 0.15 each
				looks++
				return late
			}
			return stays
		}
	})
	d := deviceOf(t, s.Server, coretest.Alice)
	begun.Store(true)
	s.presses(t, 0, 0.7, 0.8)
	const checks = 200
	offered, without := 0, 0
	for range checks {
		g := updates(t, s.Server, d.access, deviceOS, notesOld, plusApp, app{coretest.PlusItem, "1"}, app{"7", "1"})
		switch len(g.Updates) {
		case 0:
			without++
		case 1:
			offered++
			if o := g.Updates[0]; o.app != notesNew {
				t.Fatalf("%v was offered, want %v", o.app, notesNew)
			}
			verify(t, s.Server, g.Updates[0].Token)
		default: // the account has no grant for the other
			t.Fatalf("%+v was offered, want no more than %v", g.Updates, notesNew)
		}
		if len(g.Failures) != 1 || g.Failures[0].Item != "7" {
			t.Fatalf("the failures are %+v, want the app that is none", g.Failures)
		}
	}
	// Three quarters, by chance: that all do is one in 10^24.
	if offered == 0 || without == 0 {
		t.Errorf("%d checks were offered an update and %d were not, want some of both", offered, without)
	}
	m := scrape(t, s.Server)
	m.is(t, float64(without), "souk_offers_spared_total")
	m.is(t, float64(offered), "souk_install_tokens_signed_total")
	m.is(t, 0, "souk_shed_total", "method=POST", "route=/updates", "kind=empty")
	restore(t, s.Server, d.access, deviceOS, notesOld).gives(t, "a restore, which is signed for", []app{notesOld})
	if ask(t, s.Server, "/updates", "nonsense", appsBody("iOS", deviceOS, notesOld)).status != 403 {
		t.Error("a token that is none opens something")
	}
}

// Who asks first whether to send a body need not send it.
func TestABodyIsNotWaitedForThatNobodyReads(t *testing.T) {
	t.Parallel()
	s := startPressed(t, nil)
	ask := func(says string) []int {
		f := newFoe(t, s.Server, "127.0.0.1")
		f.say(says)
		return f.heard(t)
	}
	head := "POST /updates HTTP/1.1\r\nHost: x\r\nContent-Type: " + jsonType + "\r\nExpect: 100-continue\r\nContent-Length: 500\r\n\r\n"
	token := strings.Replace(head, "/updates", "/oauth/token", 1)
	s.presses(t, late, 2, 2)
	if got := ask(head); len(got) != 1 || got[0] != 200 {
		t.Errorf("an update check that waits for 100 was answered %v, want 200", got)
	}
	s.presses(t, muchLater, 3, 3)
	if got := ask(token); len(got) != 1 || got[0] != 503 {
		t.Errorf("a token request that waits for 100 was answered %v, want 503", got)
	}
	m := scrape(t, s.Server)
	m.is(t, 1, "souk_http_requests_total", "method=POST", "route=/updates", "status=200")
	m.is(t, 1, "souk_http_requests_total", "method=POST", "route=/oauth/token", "status=503")
}

// Who was told to send a body has had its lot drawn: it is answered, whatever comes
// meanwhile, and is not drawn twice, which would turn away more than the share.
func TestABodyThatWasAskedForIsAnswered(t *testing.T) {
	t.Parallel()
	s := startPressed(t, nil)
	body := "grant_type=none"
	f := newFoe(t, s.Server, "127.0.0.1")
	f.say("POST /oauth/token HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\nExpect: 100-continue\r\nContent-Length: " + strconv.Itoa(len(body)) + "\r\n\r\n")
	f.hears(t, 100)
	s.presses(t, muchLater, 3, 3)
	f.say(body)
	f.hears(t, 400)
	if a := post(t, s.PublicURL()+"/oauth/token", "application/x-www-form-urlencoded", body); a.status != 503 {
		t.Errorf("who comes now is answered %d, want 503", a.status)
	}
	// What is less work to answer than to turn away is answered to these too.
	f = newFoe(t, s.Server, "127.0.0.1")
	f.say("GET " + kitPath + " HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
	f.hears(t, 100)
	f.say("{}")
	f.hears(t, 200)
}

// A handshake is most of the work of a short TLS connection, so that is what new ones
// are spared at the last.
func TestNewTLSConnectionsAreClosedLast(t *testing.T) {
	t.Parallel()
	pair := httptest.NewTLSServer(nil)
	defer pair.Close()
	client := pair.Client()
	client.Transport.(*http.Transport).DisableKeepAlives = true
	s := startPressed(t, func(c *core.Config) {
		c.TLS.Cert, c.TLS.Key = overloadPEM(t, c.Dir, &pair.TLS.Certificates[0])
	})
	asks := func() (int, error) {
		res, err := client.Get(s.PublicURL() + kitPath)
		if err != nil {
			return 0, err
		}
		defer res.Body.Close()
		_, err = io.Copy(io.Discard, res.Body)
		return res.StatusCode, err
	}
	s.presses(t, late, 2, 2)
	if status, err := asks(); err != nil || status != 200 {
		t.Errorf("while update checks are turned away a new connection is answered %d, %v, want 200", status, err)
	}
	s.presses(t, muchLater, 3, 3)
	for range 5 {
		_, err := asks()
		if timeout := net.Error(nil); err == nil || errors.As(err, &timeout) && timeout.Timeout() {
			t.Errorf("while everything is turned away a new connection ends with %v, want it closed at once", err)
		}
	}
	if n := scrape(t, s.Server).find("souk_shed_connections_total").GetCounter().GetValue(); n < 5 {
		t.Errorf("%v connections are counted as closed, want 5 at least", n)
	}
	s.presses(t, calm, 0, 0)
	if status, err := asks(); err != nil || status != 200 {
		t.Errorf("afterwards a new connection is answered %d, %v, want 200", status, err)
	}
}

// Whoever says too much or too slowly is refused as ever, whatever is turned away.
func TestLimitsHoldWhileEverythingIsTurnedAway(t *testing.T) {
	t.Parallel()
	s := startPressed(t, func(c *core.Config) {
		c.Limits.Header, c.Limits.Body = overloadHead, overloadBody
		c.Limits.ReadTimeout = unit.Duration(overloadTimeout)
	})
	s.presses(t, muchLater, 3, 3)
	for _, c := range []struct {
		rule, says string
		want       []int
	}{
		{"a head that is too large", "POST /updates HTTP/1.1\r\nHost: x\r\nX-Long: " + strings.Repeat("a", overloadHead) + "\r\n\r\n", []int{431}},
		{"a body that is too large", overloadAppsHead + overloadLength(overloadBody+1), []int{413}},
		{"a body that does not come", overloadAppsHead + overloadLength(100), []int{408}},
		{"a check and another request on one connection", overloadSized(overloadAppsHead, "{}") + overloadSized(strings.Replace(overloadAppsHead, "/updates", "/restore", 1)+"Connection: close\r\n", "{}"), []int{200, 503}},
	} {
		f := newFoe(t, s.Server, "127.0.0.1")
		f.say(c.says)
		if got := f.heard(t); !slices.Equal(got, c.want) && !(c.want[0] == 408 && len(got) == 0) { // hung up before it was read
			t.Errorf("%s was answered %v, want %v", c.rule, got, c.want)
		}
	}
}
