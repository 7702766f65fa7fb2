package coretest_test

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/souk-market/souk/core"
	"github.com/souk-market/souk/core/coretest"
	"github.com/souk-market/souk/core/unit"
)

const (
	overloadPatience = 30 * time.Second       // of every wait; no test gets near it
	overloadTimeout  = 800 * time.Millisecond // read_timeout and write_timeout
	overloadIdle     = 2 * time.Second        // idle_timeout
	overloadApps     = 5
	overloadHead     = 4 << 10
	overloadBody     = 64 << 10
	overloadString   = 8 << 10
	overloadCrowd    = 8 // clients that do the same harm at once
)

// overloadLimits are so small that a test meets each of them.
func overloadLimits(c *core.Config) {
	quick(c)
	c.Limits.Header, c.Limits.Body, c.Limits.Apps = overloadHead, overloadBody, overloadApps
	c.Limits.ReadTimeout, c.Limits.WriteTimeout = unit.Duration(overloadTimeout), unit.Duration(overloadTimeout)
	c.Limits.String = overloadString
	c.Limits.IdleTimeout = unit.Duration(overloadIdle)
	// It is measured, and never reached. What is turned away under pressure is told in
	// shed_test.go.
	c.Limits.ShedUpdates, c.Limits.ShedAll = unit.Duration(10*time.Second), 0
}

// overloadStart runs a server with apps and without passwords, whose hashes take
// their time.
func overloadStart(t *testing.T, change func(*core.Config)) *coretest.Server {
	t.Helper()
	s := coretest.Empty(t, change)
	if _, err := s.Catalog.Import(t.Context(), coretest.Catalogue()); err != nil {
		t.Fatal(err)
	}
	return s
}

// overloadDevice is the good client: signed in, it looks for updates and
// refreshes its tokens over and over, on the one connection that it has. It speaks
// HTTP by itself, since http.Transport connects anew without a word.
type overloadDevice struct {
	base, from string
	trust      *x509.CertPool
	conn       net.Conn
	in         *bufio.Reader
	round      chan struct{} // what it has done once more, if somebody waits for it
	over       chan struct{} // closed when it does no more
}

// newOverloadDevice makes a device at an address of this machine. It connects when
// it has something to say.
func newOverloadDevice(base, from string, trust *x509.CertPool) *overloadDevice {
	return &overloadDevice{base: base, from: from, trust: trust, round: make(chan struct{}), over: make(chan struct{})}
}

func (d *overloadDevice) connect() error {
	u, err := url.Parse(d.base)
	if err != nil {
		return err
	}
	dialer := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(d.from)}, Timeout: overloadPatience}
	if d.conn, err = dialer.Dial("tcp", u.Host); err != nil {
		return err
	}
	if u.Scheme == "https" {
		d.conn = tls.Client(d.conn, &tls.Config{RootCAs: d.trust, ServerName: u.Hostname()})
	}
	d.in = bufio.NewReader(d.conn)
	return nil
}

func (d *overloadDevice) leave() {
	if d.conn != nil {
		d.conn.Close()
	}
}

// needsLoopback skips what speaks from several addresses of this machine where it
// has one: all of 127.0.0.0/8 is there on Linux, and 127.0.0.1 alone on a Mac.
func needsLoopback(t *testing.T) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.2:0")
	if err != nil {
		t.Skipf("127.0.0.2 is no address of this machine: %v", err)
	}
	l.Close()
}

// overloadDeviceAt starts a device until the test ends. Any error is the test's.
func overloadDeviceAt(t *testing.T, s *coretest.Server, from string, trust *x509.CertPool) *overloadDevice {
	t.Helper()
	d := newOverloadDevice(s.PublicURL(), from, trust)
	held, err := d.tokens(exchangeForm(s.SubjectToken(t, coretest.Alice), newClientID()))
	if err != nil {
		t.Fatalf("sign the device in: %v", err)
	}
	stop := make(chan struct{})
	go func() {
		defer close(d.over)
		for n := 1; ; n++ {
			if held, err = d.once(held); err != nil {
				t.Errorf("round %d of a device beside hostile clients: %v", n, err)
				return
			}
			select {
			case <-stop:
				return
			case d.round <- struct{}{}:
			default: // nobody waits for it
			}
		}
	}()
	t.Cleanup(func() {
		close(stop)
		<-d.over
		d.leave()
	})
	return d
}

// once is one round: an update check and a refresh.
func (d *overloadDevice) once(held tokens) (tokens, error) {
	text, err := d.post("/updates", jsonType, appsBody("iOS", deviceOS, notesOld), held.access)
	if err != nil {
		return held, err
	}
	var g given
	if err := json.Unmarshal(text, &g); err != nil || len(g.Updates) != 1 || g.Updates[0].app != notesNew {
		return held, fmt.Errorf("the update check was answered %s, want an offer of %v", text, notesNew)
	}
	return d.tokens(refreshForm(held.refresh))
}

func (d *overloadDevice) tokens(form url.Values) (tokens, error) {
	text, err := d.post("/oauth/token", formType, form.Encode(), "")
	if err != nil {
		return tokens{}, err
	}
	var a struct {
		Access  string `json:"access_token"`
		Refresh string `json:"refresh_token"`
	}
	if err := json.Unmarshal(text, &a); err != nil || a.Access == "" || a.Refresh == "" {
		return tokens{}, fmt.Errorf("the token endpoint answered %s", text)
	}
	return tokens{a.Access, a.Refresh}, nil
}

func (d *overloadDevice) post(path, contentType, body, access string) ([]byte, error) {
	return d.ask(http.MethodPost, path, contentType, body, access)
}

func (d *overloadDevice) ask(method, path, contentType, body, access string) ([]byte, error) {
	req, err := http.NewRequest(method, d.base+path, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	if access != "" {
		req.Header.Set("Authorization", "Bearer "+access)
	}
	var text bytes.Buffer
	if err := req.Write(&text); err != nil {
		return nil, err
	}
	if d.conn == nil {
		if err := d.connect(); err != nil {
			return nil, err
		}
	}
	if err := d.conn.SetDeadline(time.Now().Add(overloadPatience)); err != nil {
		return nil, err
	}
	if _, err := d.conn.Write(text.Bytes()); err != nil {
		return nil, err
	}
	res, err := http.ReadResponse(d.in, req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	switch {
	case err != nil:
		return nil, err
	case res.StatusCode != 200:
		return nil, fmt.Errorf("%s %s answered %d: %s", method, path, res.StatusCode, answer)
	case res.Close:
		return nil, fmt.Errorf("%s %s hangs up after the answer, want the connection kept", method, path)
	}
	return answer, nil
}

// goesOn waits until the device has begun a round and ended it.
func (d *overloadDevice) goesOn(t *testing.T) {
	t.Helper()
	late := time.After(overloadPatience)
	for range 2 {
		select {
		case <-d.round:
		case <-d.over: // it has said why
			return
		case <-late:
			t.Error("the device was not answered meanwhile")
			return
		}
	}
}

// foe is one connection of a hostile client.
type foe struct{ *net.TCPConn }

func newFoe(t *testing.T, s *coretest.Server, from string) foe {
	t.Helper()
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}, Timeout: overloadPatience}
	_, address, _ := strings.Cut(s.PublicURL(), "://")
	conn, err := dialer.Dial("tcp", address)
	if err != nil {
		t.Error(err) // and not Fatal: a crowd dials in goroutines
		return foe{new(net.TCPConn)}
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(overloadPatience)); err != nil {
		t.Error(err)
	}
	return foe{conn.(*net.TCPConn)}
}

// say sends text as far as the server takes it: it may hang up first.
func (f foe) say(text string) { _, _ = io.WriteString(f, text) }

// heard reads answers until the server hangs up, and returns their statuses.
func (f foe) heard(t *testing.T) []int {
	t.Helper()
	var all []int
	for r := bufio.NewReader(f); ; {
		res, err := http.ReadResponse(r, nil)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("after the answers %v the server kept the connection for %v", all, overloadPatience)
		}
		if err != nil {
			return all
		}
		_, _ = io.Copy(io.Discard, res.Body) // if it is cut off there is no next answer
		all = append(all, res.StatusCode)
	}
}

// hears reads one answer on a connection that stays.
func (f foe) hears(t *testing.T, want int) {
	t.Helper()
	res, err := http.ReadResponse(bufio.NewReader(f), nil)
	if err != nil {
		t.Errorf("no answer, want %d: %v", want, err)
		return
	}
	if _, _ = io.Copy(io.Discard, res.Body); res.StatusCode != want {
		t.Errorf("answered %d, want %d", res.StatusCode, want)
	}
}

// drip sends text a byte at a time while it listens, until the server hangs up
// or all is sent.
func (f foe) drip(t *testing.T, text string) (statuses []int, left int) {
	t.Helper()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		statuses = f.heard(t)
	}()
	beat := time.NewTicker(overloadTimeout / 20)
	defer beat.Stop()
	for left = len(text); left > 0; left-- {
		f.say(text[len(text)-left:][:1])
		select {
		case <-ended:
			return statuses, left
		case <-beat.C:
		}
	}
	<-ended
	return statuses, 0
}

// The heads of the hostile, and the request with which they see whether they are
// still heard.
const (
	overloadStill     = "GET " + kitPath + " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
	overloadGet       = "GET " + kitPath + " HTTP/1.1\r\nHost: x\r\n\r\n"
	overloadAppsHead  = "POST /updates HTTP/1.1\r\nHost: x\r\nContent-Type: " + jsonType + "\r\n"
	overloadTokenHead = "POST /oauth/token HTTP/1.1\r\nHost: x\r\nContent-Type: " + formType + "\r\n"
	overloadFormHead  = "POST /oauth/authorize HTTP/1.1\r\nHost: x\r\nContent-Type: " + formType + "\r\n"
	overloadChunked   = "Transfer-Encoding: chunked\r\n\r\n"
	overloadExpect    = "Expect: 100-continue\r\n"
)

// overloadSized is a request with its whole body.
func overloadSized(head, body string) string {
	return head + fmt.Sprintf("Content-Length: %d\r\n\r\n", len(body)) + body
}

func overloadLength(n int) string { return fmt.Sprintf("Content-Length: %d\r\n\r\n", n) }

// overloadForm is a form of n parameters.
func overloadForm(n int) string {
	form := make([]string, n)
	for i := range form {
		form[i] = fmt.Sprintf("p%d=1", i)
	}
	return strings.Join(form, "&")
}

// TestOverload lets crowds of hostile clients meet every limit while a device
// uses the same server, and looks at what they leave behind.
func TestOverload(t *testing.T) { // not parallel: it counts goroutines
	before := runtime.NumGoroutine()
	t.Run("too much", overloadTooMuch)
	t.Run("too slow", overloadTooSlow)
	t.Run("too many", overloadTooMany)
	t.Run("too many of one address", overloadTooManyOfOneAddress)
	t.Run("under TLS", overloadTLS)

	// fasthttp has a goroutine for the time of day, and in each listener one that
	// looks every ten seconds whether it has ended: there were six servers of two.
	const remain = 1 + 6*2
	late := time.After(overloadPatience)
	beat := time.NewTicker(overloadTimeout / 20)
	defer beat.Stop()
	for n := runtime.NumGoroutine(); n > before+remain; n = runtime.NumGoroutine() {
		select {
		case <-beat.C:
		case <-late:
			stacks := make([]byte, 1<<20)
			t.Fatalf("%d goroutines are left, and there were %d before:\n%s", n, before, stacks[:runtime.Stack(stacks, true)])
		}
	}
}

// overloadTooMuch: whatever is more than a limit is refused, and before it has
// arrived where that can be known.
func overloadTooMuch(t *testing.T) {
	s := overloadStart(t, overloadLimits)
	d := overloadDeviceAt(t, s, "127.0.0.1", nil)
	long := strings.Repeat("1", 41)
	for _, test := range []struct {
		name, says string
		want       []int // the last is 200 where the connection stays of use
	}{
		{"a head that is larger than limits.header is 431", "GET " + kitPath + " HTTP/1.1\r\nHost: x\r\nX-Long: " + strings.Repeat("a", overloadHead) + "\r\n\r\n", []int{431}},
		{"a head of many small lines is 431", "GET " + kitPath + " HTTP/1.1\r\nHost: x\r\n" + strings.Repeat("X: y\r\n", overloadHead/6) + "\r\n", []int{431}},
		{"a head without end is 431", "GET " + kitPath + " HTTP/1.1\r\nHost: x\r\nX-Long: " + strings.Repeat("a", overloadHead), []int{431}},
		{"a request line that is larger than limits.header is 431", "GET /" + strings.Repeat("a", overloadHead) + " HTTP/1.1\r\n", []int{431}},
		{"a body that says to be larger than limits.body is 413 before it comes", overloadAppsHead + overloadLength(overloadBody+1), []int{413}},
		{"a body that says to have a terabyte is 413", overloadAppsHead + overloadLength(1<<40), []int{413}},
		{"a body that is larger than limits.body is 413 to who asked first", overloadAppsHead + overloadExpect + overloadLength(overloadBody+1), []int{100, 413}},
		{"a chunk that says to be larger than limits.body is 413 before it comes", overloadAppsHead + overloadChunked + fmt.Sprintf("%x\r\n", overloadBody+1), []int{413}},
		{"chunks that together are larger than limits.body are 413", overloadAppsHead + overloadChunked + strings.Repeat("400\r\n"+strings.Repeat("a", 1<<10)+"\r\n", overloadBody>>10+1), []int{413}},
		{"a form that is larger than the token endpoint takes is 413", overloadSized(overloadTokenHead, strings.Repeat("a", 16<<10+1)), []int{413, 200}},
		{"more apps than limits.apps are 400", overloadSized(overloadAppsHead, appsBody("iOS", deviceOS, make([]app, overloadApps+1)...)), []int{400, 200}},
		{"more apps than limits.apps are 400 in whatever way they are written", overloadSized(overloadAppsHead, strings.ReplaceAll(appsBody("iOS", deviceOS, slices.Repeat([]app{skyApp}, overloadApps+1)...), "apple", `\u0061pple`)), []int{400, 200}},
		{"as many empty apps as a body holds are 400", overloadSized(overloadAppsHead, `{"apps":[`+strings.Repeat("{},", overloadBody/4)+`{}],"platform":"iOS","osVersion":"26.1"}`), []int{400, 200}},
		{"an app's id of 41 characters is 400", overloadSized(overloadAppsHead, appsBody("iOS", deviceOS, app{long, "1"})), []int{400, 200}},
		{"a version's id of 41 characters is 400", overloadSized(overloadAppsHead, appsBody("iOS", deviceOS, app{"1", long})), []int{400, 200}},
		{"an id of half the body is 400", overloadSized(overloadAppsHead, appsBody("iOS", deviceOS, app{strings.Repeat("1", overloadBody/2), "1"})), []int{400, 200}},
		{"a token request of 101 parameters is 400", overloadSized(overloadTokenHead, overloadForm(101)), []int{400, 200}},
		{"a token request of as many parameters as its body holds is 400", overloadSized(overloadTokenHead, strings.Repeat("a&", 8<<10)), []int{400, 200}},
		{"a token request with a refresh token of 15 KiB is 400", overloadSized(overloadTokenHead, "grant_type=refresh_token&refresh_token="+strings.Repeat("a", 15<<10)), []int{400, 200}},
		{"a token request with a client_id of 256 characters is 401", overloadSized(overloadTokenHead, exchangeForm("s", strings.Repeat("c", 256)).Encode()), []int{401, 200}},
		{"a token request with a parameter's name of 15 KiB is 400", overloadSized(overloadTokenHead, strings.Repeat("n", 15<<10)+"=1"), []int{400, 200}},
		{"an authorization request with a value that is longer than limits.string is 400", overloadSized(overloadFormHead, "client_id="+strings.Repeat("s", overloadString+1)), []int{400, 200}},
		{"a form with a value that is longer than limits.string is 400", overloadSized(overloadTokenHead, "grant_type=refresh_token&refresh_token="+strings.Repeat("s", overloadString+1)), []int{400, 200}},
		{"garbage behind good requests is 400 after their answers", strings.Repeat(overloadGet, 50) + "\x16\x03\x01 garbage\r\n\r\n" + overloadGet, append(slices.Repeat([]int{200}, 50), 400)},
		{"garbage where a body was too long by some bytes is 400", overloadSized(overloadAppsHead, "{}") + "}}}}\r\n\r\n", []int{400, 400}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			atOnce(overloadCrowd, func(int) {
				f := newFoe(t, s, "127.0.0.1")
				f.say(test.says + overloadStill)
				if got := f.heard(t); !slices.Equal(got, test.want) {
					t.Errorf("answered %v, want %v", got, test.want)
				}
			})
			d.goesOn(t)
		})
	}
	for _, test := range []struct {
		name, says string
		want       []int
	}{
		{"a client that says no more after its request is answered", overloadGet, []int{200}},
		{"a client that says nothing and no more is let go", "", nil},
		{"a client that says no more amid a head is 400", "GET " + kitPath + " HTTP/1.1\r\nHost", []int{400}},
		{"a client that says no more amid a body is 400", overloadAppsHead + overloadLength(500) + "{", []int{400}},
		{"a client that says no more amid a chunk is 400", overloadAppsHead + overloadChunked + "1f4\r\n{", []int{400}},
		{"a client that says no more after many requests has all the answers", strings.Repeat(overloadGet, 500), slices.Repeat([]int{200}, 500)},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			atOnce(overloadCrowd, func(int) {
				f := newFoe(t, s, "127.0.0.1")
				f.say(test.says)
				if err := f.CloseWrite(); err != nil {
					t.Error(err)
				}
				if got := f.heard(t); !slices.Equal(got, test.want) {
					t.Errorf("answered %v, want %v", got, test.want)
				}
			})
			d.goesOn(t)
		})
	}
	t.Run("clients that reset their connections amid the answers harm nobody", func(t *testing.T) {
		t.Parallel()
		atOnce(overloadCrowd, func(int) {
			for range 10 {
				f := newFoe(t, s, "127.0.0.1")
				f.say(strings.Repeat(overloadGet, 20))
				if err := errors.Join(f.SetLinger(0), f.Close()); err != nil {
					t.Error(err)
				}
			}
		})
		d.goesOn(t)
	})
}

// overloadTooSlow: whoever takes longer than a timeout is cut off.
func overloadTooSlow(t *testing.T) {
	s := overloadStart(t, overloadLimits)
	d := overloadDeviceAt(t, s, "127.0.0.1", nil)
	tail := strings.Repeat("a", 1000) // takes fifty timeouts to drip
	type harm struct {
		name string
		does func(*testing.T)
	}
	var all []harm
	add := func(name string, does func(*testing.T)) { all = append(all, harm{name, does}) }
	for _, test := range []struct {
		name, first, drips string
	}{
		{"a head that comes a byte at a time is cut off at read_timeout", "", overloadStill[:len(overloadStill)-4] + "\r\nX-Long: " + tail},
		{"a head that comes a line at a time is cut off at read_timeout", overloadGet[:len(overloadGet)-2], strings.Repeat("A:b\r\n", 200)},
		{"blank lines that come a byte at a time are cut off at read_timeout", "", strings.Repeat("\r\n", 500)},
		{"a body that comes a byte at a time is cut off at read_timeout", overloadAppsHead + overloadLength(len(tail)+1), tail},
		{"a body that comes in chunks of a byte is cut off at read_timeout", overloadAppsHead + overloadChunked, strings.Repeat("1\r\na\r\n", 200)},
		{"a chunk's size that comes a byte at a time is cut off at read_timeout", overloadAppsHead + overloadChunked, "1;" + tail},
		{"a body that never comes is cut off at read_timeout", overloadAppsHead + overloadLength(100), ""},
		{"a connection on which nothing is said is cut off at read_timeout", "", ""},
	} {
		add(test.name, func(t *testing.T) {
			atOnce(overloadCrowd, func(int) {
				began := time.Now()
				f := newFoe(t, s, "127.0.0.1")
				f.say(test.first)
				got, left := f.drip(t, test.drips)
				overloadLate(t, got, began)
				if test.drips != "" && left == 0 {
					t.Errorf("all of the %d bytes were waited for", len(test.drips))
				}
			})
			d.goesOn(t)
		})
	}
	add("the second request of a connection is cut off at read_timeout too, with an answer", func(t *testing.T) {
		for _, test := range []struct{ first, drips string }{
			{"", overloadGet[:len(overloadGet)-2] + "X-Long: " + tail},
			{overloadAppsHead + overloadLength(len(tail)+1), tail},
			{overloadAppsHead + overloadChunked, strings.Repeat("1\r\na\r\n", 200)},
		} {
			atOnce(overloadCrowd, func(int) {
				f := newFoe(t, s, "127.0.0.1")
				f.say(overloadGet)
				f.hears(t, 200)
				began := time.Now()
				f.say(test.first)
				got, left := f.drip(t, test.drips)
				if overloadLate(t, got, began); len(got) != 1 || left == 0 {
					t.Errorf("answered %v with %d bytes left, want one answer before all is sent", got, left)
				}
			})
			d.goesOn(t)
		}
	})
	add("a body that was asked for with 100 is cut off at read_timeout", func(t *testing.T) {
		atOnce(overloadCrowd, func(int) {
			began := time.Now()
			f := newFoe(t, s, "127.0.0.1")
			f.say(overloadAppsHead + overloadExpect + overloadLength(len(tail)+1))
			f.hears(t, 100)
			got, _ := f.drip(t, tail)
			overloadLate(t, got, began)
		})
		d.goesOn(t)
	})
	add("a connection that rests longer than write_timeout is of use", func(t *testing.T) {
		large := overloadAppsHead + overloadLength(overloadBody+1)
		body := appsBody("iOS", deviceOS, skyApp)
		for _, test := range []struct {
			name, says string
			want       []int
		}{
			{"a request", overloadStill, []int{200}},
			{"a request that is refused", large, []int{413}},
			{"garbage", "garbage\r\n\r\n", []int{400}},
			{"a request that waits for 100", overloadSized(overloadAppsHead+overloadExpect, body) + overloadStill, []int{100, 200, 200}},
		} {
			f := newFoe(t, s, "127.0.0.1")
			f.say(overloadGet)
			f.hears(t, 200)
			overloadRest(t, s)
			f.say(test.says)
			if got := f.heard(t); !slices.Equal(got, test.want) {
				t.Errorf("%s was answered %v, want %v", test.name, got, test.want)
			}
		}
	})
	add("a connection that is kept for nothing is closed at idle_timeout", func(t *testing.T) {
		atOnce(overloadCrowd, func(int) {
			began := time.Now()
			f := newFoe(t, s, "127.0.0.1")
			f.say(overloadGet)
			f.hears(t, 200)
			d.goesOn(t)
			got := f.heard(t)
			if took := time.Since(began); len(got) > 0 || took < overloadIdle {
				t.Errorf("closed after %v with the answers %v, want no sooner than %v and none", took, got, overloadIdle)
			}
		})
	})
	add("a client that never reads its answers is cut off at write_timeout", func(t *testing.T) {
		many := strings.Repeat(overloadGet, 200)
		atOnce(overloadCrowd, func(int) {
			began := time.Now()
			f := newFoe(t, s, "127.0.0.1")
			if err := f.SetReadBuffer(4 << 10); err != nil {
				t.Error(err)
			}
			var err error
			for err == nil {
				_, err = io.WriteString(f, many)
			}
			if took := time.Since(began); errors.Is(err, os.ErrDeadlineExceeded) || took < overloadTimeout {
				t.Errorf("ended after %v with %v, want it cut off, no sooner than %v", took, err, overloadTimeout)
			}
		})
		d.goesOn(t)
	})
	// They wait more than they work: more of them at once than there are processors.
	atOnce(len(all), func(i int) { t.Run(all[i].name, all[i].does) })
}

// overloadLate checks the end of a request that took too long.
func overloadLate(t *testing.T, got []int, began time.Time) {
	t.Helper()
	if took := time.Since(began); took < overloadTimeout {
		t.Errorf("cut off after %v, want no sooner than %v", took, overloadTimeout)
	}
	// fasthttp does not say why there was no next chunk: then it is 400.
	if len(got) > 1 || len(got) == 1 && got[0] != 408 && got[0] != 400 {
		t.Errorf("answered %v, want 408, 400 or nothing", got)
	}
}

// overloadRest lasts longer than read_timeout and write_timeout: so long is a connection
// on which nothing is said left open.
func overloadRest(t *testing.T, s *coretest.Server) {
	t.Helper()
	newFoe(t, s, "127.0.0.1").heard(t)
}

// overloadTooMany: beyond limits.connections a connection is refused at once,
// and those that are there go on.
func overloadTooMany(t *testing.T) {
	const most = 10
	s := overloadStart(t, func(c *core.Config) { quick(c); c.Limits.Connections = most })
	d := overloadDeviceAt(t, s, "127.0.0.1", nil)
	for range 3 { // what is given back can be had again
		held := overloadFill(t, s, "127.0.0.1", most-1)
		atOnce(overloadCrowd, func(int) {
			f := newFoe(t, s, "127.0.0.1")
			f.say(overloadGet)
			if got := f.heard(t); len(got) > 1 || len(got) == 1 && got[0] != 503 {
				t.Errorf("a connection beyond the limit was answered %v, want 503 or nothing", got)
			}
		})
		d.goesOn(t)
		for _, f := range held {
			f.Close()
		}
	}
}

// overloadTooManyOfOneAddress: the connections of one address are its own affair.
func overloadTooManyOfOneAddress(t *testing.T) {
	needsLoopback(t)
	const most = 4
	s := overloadStart(t, func(c *core.Config) { quick(c); c.Limits.ConnectionsPerAddress = most })
	held := overloadFill(t, s, "127.0.0.1", most)
	d := overloadDeviceAt(t, s, "127.0.0.2", nil)
	for range 3 {
		atOnce(overloadCrowd, func(int) {
			f := newFoe(t, s, "127.0.0.1")
			if got := f.heard(t); len(got) > 0 {
				t.Errorf("a connection beyond the limit was answered %v, want it closed", got)
			}
		})
		d.goesOn(t)
		for _, f := range held {
			f.say(overloadGet)
			f.hears(t, 200)
			f.Close()
		}
		held = overloadFill(t, s, "127.0.0.1", most)
	}
}

// overloadFill opens connections until so many have been answered. One that was
// closed just now may still be counted: until it is not, others are refused.
func overloadFill(t *testing.T, s *coretest.Server, from string, n int) []foe {
	t.Helper()
	var held []foe
	for end := time.Now().Add(overloadPatience); len(held) < n; {
		f := newFoe(t, s, from)
		f.say(overloadGet)
		res, err := http.ReadResponse(bufio.NewReader(f), nil)
		if err == nil && res.StatusCode == 200 {
			_, _ = io.Copy(io.Discard, res.Body)
			held = append(held, f)
			continue
		}
		if f.Close(); time.Now().After(end) {
			t.Fatalf("%d connections are served, want %d", len(held), n)
		}
	}
	return held
}

// overloadTLS: a handshake is under the same limits as a request.
func overloadTLS(t *testing.T) {
	const most = 4
	pair := httptest.NewTLSServer(nil)
	defer pair.Close()
	trust := x509.NewCertPool()
	trust.AddCert(pair.Certificate())
	start := func(t *testing.T, change func(*core.Config)) *coretest.Server {
		return overloadStart(t, func(c *core.Config) {
			overloadLimits(c)
			c.TLS.Cert, c.TLS.Key = overloadPEM(t, c.Dir, &pair.TLS.Certificates[0])
			change(c)
		})
	}
	t.Run("a handshake that does not come is cut off at read_timeout", func(t *testing.T) {
		s := start(t, func(*core.Config) {})
		d := overloadDeviceAt(t, s, "127.0.0.1", trust)
		for _, says := range []string{"", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"} {
			atOnce(overloadCrowd, func(int) {
				began := time.Now()
				f := newFoe(t, s, "127.0.0.1")
				f.say(says)
				_, err := io.Copy(io.Discard, f) // an alert may come
				if took := time.Since(began); errors.Is(err, os.ErrDeadlineExceeded) || took < overloadTimeout {
					t.Errorf("ended after %v with %v, want it cut off, no sooner than %v", took, err, overloadTimeout)
				}
			})
			d.goesOn(t)
		}
	})
	t.Run("beyond limits.connections nobody waits for a handshake", func(t *testing.T) {
		s := start(t, func(c *core.Config) {
			c.Limits.Connections = most
			c.Limits.ReadTimeout = unit.Duration(time.Minute) // no handshake ends by itself
		})
		d := overloadDeviceAt(t, s, "127.0.0.1", trust)
		silent := make([]foe, 2*most)
		ended := make(chan struct{}, len(silent))
		for i := range silent {
			silent[i] = newFoe(t, s, "127.0.0.1")
			go func() {
				_, _ = io.Copy(io.Discard, silent[i])
				ended <- struct{}{}
			}()
		}
		late := time.After(overloadPatience / 2)
		for i := range len(silent) - (most - 1) { // the device has one
			select {
			case <-ended:
			case <-late:
				t.Fatalf("%d of %d silent connections were closed, want all but the %d that there was room for", i, len(silent), most-1)
			}
		}
		d.goesOn(t)
		for _, f := range silent {
			f.Close()
		}
		// Once they have gone there is room again.
		client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: trust}, DisableKeepAlives: true}, Timeout: overloadPatience}
		for end := time.Now().Add(overloadPatience); ; {
			res, err := client.Get(s.PublicURL() + kitPath)
			if err == nil {
				res.Body.Close()
				return
			}
			if time.Now().After(end) {
				t.Fatalf("after the silent have gone: %v", err)
			}
		}
	})
}

// overloadPEM writes a certificate and its key, and returns the files.
func overloadPEM(t *testing.T, dir string, c *tls.Certificate) (cert, key string) {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for file, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: c.Certificate[0]}, key: {Type: "PRIVATE KEY", Bytes: der}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key
}
