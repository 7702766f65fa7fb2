//go:build unix

package coretest_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/souk-market/souk/core"
	"github.com/souk-market/souk/core/coretest"
	tok "github.com/souk-market/souk/core/token"
	"github.com/souk-market/souk/core/unit"
)

// The soak lets good clients use a server, in a child process, beside hostile ones
// of every kind: SOUK_SOAK=10m go test -run TestHostileSoak -v -timeout 0
// ./core/coretest. In each test run it lasts some seconds.

const (
	soakEnv     = "SOUK_SOAK"
	soakDefault = 4 * time.Second
	soakLong    = time.Minute // from here on memory and goroutines have to come to rest

	soakGood  = 50
	soakPace  = 50 * time.Millisecond // between two requests of a good client
	soakRests = 5 * time.Millisecond  // between two connections of one that is malformed or oversized

	soakTimeout = 2 * time.Second // read_timeout and write_timeout
	soakAddress = 80              // connections_per_address: the good ones share one, as behind a carrier's NAT
	soakBody    = 64 << 10

	soakGrowth = 4 << 20 // bytes that may be there in the end besides a tenth more
)

// The kinds of hostile clients, each at an address of its own.
const (
	soakMalformed = "malformed"
	soakSlow      = "slow"
	soakOversized = "oversized"
	soakForged    = "forged"
)

var soakFrom = map[string]string{soakMalformed: "127.0.0.2", soakSlow: "127.0.0.3", soakOversized: "127.0.0.4", soakForged: "127.0.0.5"}

// soakServe is the server: with limits as an operator sets them who expects this.
func soakServe(t *testing.T) childAccess {
	s := coretest.Start(t, func(c *core.Config) {
		quick(c)
		c.Now, c.Log = nil, nil // as in production, where nobody keeps the log in memory
		c.Limits.Body, c.Limits.Apps = soakBody, 100
		c.Limits.ReadTimeout, c.Limits.WriteTimeout = unit.Duration(soakTimeout), unit.Duration(soakTimeout)
		c.Limits.Connections, c.Limits.ConnectionsPerAddress = 1000, soakAddress
	})
	_, address, _ := strings.Cut(s.PublicURL(), "://")
	return childAccess{
		Address: address, Admin: s.AdminURL(), AdminToken: s.AdminToken,
		Code: deviceSignIn(coretest.Alice).aliceCode(t, s),
	}
}

// soak is one run.
type soak struct {
	*testing.T
	server *child
	over   context.Context // ends with the run

	mu      sync.Mutex
	counts  map[string]map[string]int // kind → what came of it
	takes   []time.Duration           // of the good clients' requests
	wrong   int                       // of these
	foes    sync.WaitGroup
	friends sync.WaitGroup
}

func (k *soak) count(kind, came string, n int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.counts[kind] == nil {
		k.counts[kind] = map[string]int{}
	}
	k.counts[kind][came] += n
}

func (k *soak) going() bool { return k.over.Err() == nil }

// rest waits for the beat; false at the end.
func (k *soak) rest(beat *time.Ticker) bool {
	select {
	case <-k.over.Done():
		return false
	case <-beat.C:
		return true
	}
}

// TestHostileSoak ends with no error of a good client, memory as it was, and no
// connection left.
func TestHostileSoak(t *testing.T) { // not parallel: it measures
	needsLoopback(t)
	lasts := soakDefault
	if text := os.Getenv(soakEnv); text != "" {
		var err error
		if lasts, err = time.ParseDuration(text); err != nil || lasts < time.Second {
			t.Fatalf("%s: %q is no time of a second or more: %v", soakEnv, text, err)
		}
	}
	over, end := context.WithCancel(t.Context())
	defer end()
	k := &soak{T: t, server: startChild(t, childSoak), over: over, counts: map[string]map[string]int{}}
	atRest := k.server.usage(t)
	held := k.furnish()
	began := time.Now()
	k.malformed(held)
	k.slow()
	k.oversized(held)
	k.forged(held)

	var memory, heap []int64
	beat := time.NewTicker(max(lasts/80, 100*time.Millisecond))
	defer beat.Stop()
	for time.Since(began) < lasts {
		<-beat.C
		u := k.server.usage(t)
		memory, heap = append(memory, u.RSS), append(heap, u.Heap)
	}
	end()
	k.foes.Wait()
	k.friends.Wait()
	took := time.Since(began)
	k.report(took, map[string][]int64{"server's memory (RSS)": memory, "server's heap in use": heap})
	k.compare(held)
	k.ends(atRest, lasts >= soakLong)
	if lasts >= soakLong && !raceEnabled { // the detector's own memory grows with all that was ever touched
		before, after := soakMedian(memory, 1), soakMedian(memory, 3)
		if after > before+before/10+soakGrowth {
			t.Errorf("the server holds %d KiB in the last quarter and held %d KiB in the second, want a tenth and %d KiB more at most", after>>10, before>>10, soakGrowth>>10)
		}
	}
}

// soakMedian is the median of a quarter of the samples.
func soakMedian(all []int64, quarter int) int64 {
	part := slices.Clone(all[len(all)*quarter/4 : max(len(all)*(quarter+1)/4, 1)])
	slices.Sort(part)
	return part[len(part)/2]
}

// furnish signs the good clients in and lets them begin. It returns tokens that
// the hostile ones have come by.
func (k *soak) furnish() tokens {
	k.Helper()
	var ready sync.WaitGroup
	for i := range soakGood {
		ready.Add(1)
		k.friends.Go(func() { k.good(i, ready.Done) })
	}
	ready.Wait()
	d := newOverloadDevice("http://"+k.server.Address, "127.0.0.1", nil)
	defer d.leave()
	held, err := k.signIn(d, "copied@example.com")
	if err != nil {
		k.Fatal(err)
	}
	return held
}

// signIn is a whole sign-in, with a new link.
func (k *soak) signIn(d *overloadDevice, account string) (tokens, error) {
	req, err := http.NewRequest(http.MethodPost, k.server.Admin+"/api/accounts/"+url.PathEscape(account)+"/subject-token", nil)
	if err != nil {
		return tokens{}, err
	}
	req.Header.Set("Authorization", "Bearer "+k.server.AdminToken)
	res, err := agent.Do(req)
	if err != nil {
		return tokens{}, err
	}
	defer res.Body.Close()
	var a struct {
		Token string `json:"token"`
	}
	if err := json.NewDecoder(res.Body).Decode(&a); err != nil || a.Token == "" {
		return tokens{}, fmt.Errorf("the operator was answered %d without a subject token: %w", res.StatusCode, err)
	}
	return d.tokens(exchangeForm(a.Token, newClientID()))
}

// good is a good client: it keeps its one connection, and looks at what it is
// answered.
func (k *soak) good(i int, ready func()) {
	d := newOverloadDevice("http://"+k.server.Address, "127.0.0.1", nil)
	defer d.leave()
	account := fmt.Sprintf("good-%d@example.com", i)
	held, err := k.signIn(d, account)
	var documents [2][]byte
	for j, path := range []string{kitPath, metadataPath} {
		if err == nil {
			documents[j], err = d.ask(http.MethodGet, path, "", "", "")
		}
	}
	ready()
	if err != nil {
		k.Errorf("good client %d did not begin: %v", i, err)
		return
	}
	beat := time.NewTicker(soakPace)
	defer beat.Stop()
	var takes []time.Duration
	errs := 0
	for n := i; k.rest(beat); n++ {
		kind, began := "", time.Now()
		switch n % 16 {
		case 1:
			kind = "good refresh"
			before := held
			if held, err = d.tokens(refreshForm(before.refresh)); err == nil && held.refresh == before.refresh {
				err = errors.New("a refresh gave the same token again")
			}
		case 5:
			kind, err = "good discovery", soakSame(d, kitPath, documents[0])
		case 9:
			kind, err = "good discovery", soakSame(d, metadataPath, documents[1])
		case 13:
			if n%64 != 13 {
				kind, err = "good update check", soakApps(d, "/updates", held, notesOld, notesNew)
				break
			}
			kind = "good sign-in"
			held, err = k.signIn(d, account)
		case 2, 6, 10, 14:
			kind, err = "good restore", soakApps(d, "/restore", held, notesNew, notesNew)
		case 3, 7, 11, 15:
			kind, err = "good update check", soakApps(d, "/updates", held, notesNew, app{})
		default:
			kind, err = "good update check", soakApps(d, "/updates", held, notesOld, notesNew)
		}
		takes = append(takes, time.Since(began))
		if err == nil {
			k.count(kind, "right", 1)
			continue
		}
		k.count(kind, "wrong", 1)
		if errs++; errs <= 3 {
			k.Errorf("request %d of good client %d, a %s: %v", n-i, i, kind, err)
		}
		if held, err = k.signIn(d, account); err != nil {
			k.Errorf("good client %d can't sign in any more: %v", i, err)
			break
		}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.takes = append(k.takes, takes...)
	k.wrong += errs
}

// soakSame asks for a document that does not change.
func soakSame(d *overloadDevice, path string, want []byte) error {
	text, err := d.ask(http.MethodGet, path, "", "", "")
	if err == nil && !bytes.Equal(text, want) {
		err = fmt.Errorf("%s changed from %s to %s", path, want, text)
	}
	return err
}

// soakApps asks for an app and for one that there is none of, and wants this
// offer; without an item, none.
func soakApps(d *overloadDevice, path string, held tokens, has, want app) error {
	gone := app{"1999999", "1"}
	text, err := d.post(path, jsonType, appsBody("iOS", deviceOS, has, gone), held.access)
	if err != nil {
		return err
	}
	var g given
	if err := json.Unmarshal(text, &g); err != nil {
		return fmt.Errorf("%s was answered %s: %w", path, text, err)
	}
	offers := g.offers()
	right := len(g.Failures) == 1 && g.Failures[0].app == gone && g.Failures[0].Failure.Code == 404
	if want.Item == "" {
		right = right && len(offers) == 0
	} else {
		right = right && len(offers) == 1 && offers[0].app == want && strings.Count(offers[0].Token, ".") == 2 && offers[0].Package != ""
	}
	if !right {
		return fmt.Errorf("%s for %v was answered %s, want an offer of %q and the failure of %v", path, has, text, want, gone)
	}
	return nil
}

// foe opens a connection of a hostile client. It is closed with a reset, so that
// thousands of them leave no port in TIME_WAIT.
func (k *soak) foe(kind string) (foe, error) {
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(soakFrom[kind])}, Timeout: overloadPatience}
	conn, err := dialer.Dial("tcp", k.server.Address)
	if err != nil {
		return foe{}, err
	}
	f := foe{conn.(*net.TCPConn)}
	return f, errors.Join(f.SetLinger(0), f.SetDeadline(time.Now().Add(overloadPatience)))
}

// crowd lets n hostile clients do something over and over, at a pace; what returns
// what came of it.
func (k *soak) crowd(kind, name string, n int, pace time.Duration, what func(f foe, i int) string) {
	for i := range n {
		k.foes.Go(func() {
			beat := time.NewTicker(pace)
			defer beat.Stop()
			for j := i; k.rest(beat); j++ {
				f, err := k.foe(kind)
				if err != nil {
					k.Errorf("a %s client can't connect: %v", kind, err)
					return
				}
				ended := context.AfterFunc(k.over, func() { f.Close() })
				if came := what(f, j); k.going() {
					k.count(kind+": "+name, came, 1)
				}
				ended()
				f.Close()
			}
		})
	}
}

// answered reads one answer; a connection that is hung up on has none.
func (k *soak) answered(f foe, says string) string {
	res, err := http.ReadResponse(bufio.NewReader(f), nil)
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		k.Errorf("%.60q is neither answered nor hung up on", says)
		return "nothing"
	case err != nil:
		return "hung up"
	}
	_, _ = io.Copy(io.Discard, res.Body)
	res.Body.Close()
	if res.StatusCode < 400 || res.StatusCode > 499 {
		k.Errorf("%.60q is answered %d, want 400 to 499", says, res.StatusCode)
	}
	return fmt.Sprint(res.StatusCode)
}

// malformed: what is no HTTP, and what is no JSON behind a good token.
func (k *soak) malformed(held tokens) {
	lines := []string{
		"hello\r\n\r\n", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "GET /\x00 HTTP/1.1\r\nHost: x\r\n\r\n", "GET\r\n\r\n", "GET / HTTP/1.1\r\nbroken\r\n\r\n",
		"POST /restore HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", "POST /restore HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\n",
		"POST /restore HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", overloadAppsHead + overloadLength(500) + "{",
		overloadAppsHead + "Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}", strings.Repeat("G", 5000) + " / HTTP/1.1\r\nHost: x\r\n\r\n",
		"CONNECT evil.example:443 HTTP/1.1\r\nHost: x\r\n\r\n", "GET /nowhere/../../etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n",
	}
	k.crowd(soakMalformed, "HTTP", 3, soakRests, func(f foe, i int) string {
		says := lines[i%len(lines)]
		f.say(says)
		_ = f.CloseWrite()
		return k.answered(f, says)
	})
	head := overloadAppsHead + "Authorization: Bearer " + held.access + "\r\n"
	bodies := []string{
		"", "{", "[]", "null", `"text"`, `{"apps":{}}`, `{"apps":[null],"platform":"iOS","osVersion":"17.4"}`, `{"apps":[],"platform":"iOS","osVersion":17.4}`,
		strings.Repeat("[", 50_000), strings.Repeat(`{"apps":`, 7000), "\xff\xfe{\x00}\x00", `{"apps":[{"appleItemId":{}}],"platform":"iOS","osVersion":"17.4"}`,
	}
	k.crowd(soakMalformed, "JSON", 3, soakRests, func(f foe, i int) string {
		says := overloadSized(head, bodies[i%len(bodies)])
		f.say(says)
		return k.answered(f, says)
	})
}

// slow: heads and bodies that drip, and readers that do not read. There are more of
// them than connections_per_address lets in.
func (k *soak) slow() {
	tail := strings.Repeat("a", int(soakTimeout/overloadTimeout)*20*10) // ten times as long as they get
	const pace = 100 * time.Millisecond
	for name, first := range map[string]string{"head": "GET / HTTP/1.1\r\nX-Long: ", "body": overloadAppsHead + overloadLength(len(tail)+1)} {
		k.crowd(soakSlow, name, 40, pace, func(f foe, _ int) string {
			f.say(first)
			statuses, left := f.drip(k.T, tail)
			switch {
			case left == 0:
				k.Errorf("a slow %s was waited for to its end", name)
				return "to its end"
			case len(statuses) == 0:
				return "hung up"
			case statuses[0] != 408:
				k.Errorf("a slow %s was answered %v, want 408", name, statuses)
			}
			return fmt.Sprint(statuses[0])
		})
	}
	many := strings.Repeat(overloadGet, 200)
	k.crowd(soakSlow, "reader", 8, pace, func(f foe, _ int) string {
		_ = f.SetReadBuffer(4 << 10) // fails where the run has ended
		for {
			_, err := io.WriteString(f, many)
			if errors.Is(err, os.ErrDeadlineExceeded) {
				k.Error("a client that reads nothing was not cut off")
				return "not cut off"
			}
			if err != nil {
				return "cut off"
			}
		}
	})
}

// oversized: more of everything than the limits allow.
func (k *soak) oversized(held tokens) {
	head := overloadAppsHead + "Authorization: Bearer " + held.access + "\r\n"
	long := strings.Repeat("1", soakBody/2)
	for name, says := range map[string]string{
		"head":      "GET / HTTP/1.1\r\nHost: x\r\nX-Long: " + strings.Repeat("a", 64<<10) + "\r\n\r\n",
		"body":      head + overloadLength(16<<20) + strings.Repeat("a", 1<<20),
		"chunks":    head + overloadChunked + strings.Repeat("400\r\n"+strings.Repeat("a", 1<<10)+"\r\n", 2*soakBody>>10),
		"apps":      overloadSized(head, appsBody("iOS", deviceOS, slices.Repeat([]app{skyApp}, 800)...)),
		"string":    overloadSized(head, appsBody("iOS", deviceOS, app{long, "1"})),
		"form":      overloadSized(overloadTokenHead, strings.Repeat("a&", 7<<10)),
		"parameter": overloadSized(overloadTokenHead, "grant_type=refresh_token&refresh_token="+strings.Repeat("a", 15<<10)),
	} {
		k.crowd(soakOversized, name, 1, 4*soakRests, func(f foe, _ int) string {
			f.say(says)
			return k.answered(f, says)
		})
	}
}

// soakPost is a request with its head.
func soakPost(address, path, contentType, access, body string) []byte {
	if access != "" {
		access = "Authorization: Bearer " + access + "\r\n"
	}
	return fmt.Appendf(nil, "POST %s HTTP/1.1\r\nHost: %s\r\nContent-Type: %s\r\n%sContent-Length: %d\r\n\r\n%s", path, address, contentType, access, len(body), body)
}

// forged: tokens that nobody issued, as fast as they are answered.
func (k *soak) forged(held tokens) {
	const each = 64 // of every kind, so that no two requests in a row are the same
	body := appsBody("iOS", deviceOS, notesOld)
	asks := func(access string) []byte { return soakPost(k.server.Address, "/updates", jsonType, access, body) }
	posts := func(form url.Values) []byte {
		return soakPost(k.server.Address, "/oauth/token", formType, "", form.Encode())
	}
	code := func(code string) []byte { return posts(deviceSignIn("").redemption(code)) }
	other := k.otherRing(held.access)
	for name, one := range map[string]struct {
		status string
		make   func(i int) []byte
	}{
		"random access token":               {"403", func(int) []byte { return asks(soakRandom(len(held.access))) }},
		"access token with a bit flipped":   {"403", func(int) []byte { return asks(soakFlip(held.access)) }},
		"access token of another ring":      {"403", func(int) []byte { return asks(other()) }},
		"access token cut off":              {"403", func(i int) []byte { return asks(held.access[:len(held.access)-1-i]) }},
		"refresh token as access token":     {"403", func(int) []byte { return asks(held.refresh) }},
		"random refresh token":              {"400", func(int) []byte { return posts(refreshForm(soakRandom(len(held.refresh)))) }},
		"refresh token with a bit flipped":  {"400", func(int) []byte { return posts(refreshForm(soakFlip(held.refresh))) }},
		"refresh token cut off":             {"400", func(i int) []byte { return posts(refreshForm(held.refresh[:1+i%55])) }},
		"code with a bit flipped":           {"400", func(int) []byte { return code(soakFlip(k.server.Code)) }},
		"random code":                       {"400", func(int) []byte { return code(soakRandom(len(k.server.Code))) }},
		"random subject token":              {"400", func(int) []byte { return posts(exchangeForm(soakRandom(tok.OpaqueLen), newClientID())) }},
		"access token of no base64 at all":  {"403", func(i int) []byte { return asks(strings.Repeat("%", i+1)) }},
		"access token of ten times as long": {"403", func(int) []byte { return asks(strings.Repeat(held.access, 10)) }},
	} {
		checks := make([]benchCheck, each)
		for i := range checks {
			checks[i] = benchCheck{one.make(i), one.status, `{"error":`}
		}
		k.foes.Go(func() {
			f, err := k.foe(soakForged)
			if err != nil {
				k.Error(err)
				return
			}
			defer f.Close()
			n, in := 0, bufio.NewReaderSize(f, 4<<10)
			for ; k.going(); n++ {
				if n%each == 0 {
					err = f.SetDeadline(time.Now().Add(overloadPatience))
				}
				if err == nil {
					err = checks[n%each].post(f, in)
				}
				if err != nil {
					k.Errorf("a %s: %v", name, err)
					break
				}
			}
			k.count(soakForged+": "+name, one.status, n)
		})
	}
}

func soakRandom(characters int) string {
	b := make([]byte, characters)
	rand.Read(b)
	return base64.RawURLEncoding.EncodeToString(b)[:characters]
}

// soakFlip flips a bit of what a token says.
func soakFlip(text string) string {
	raw, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		panic(err)
	}
	var where [3]byte
	rand.Read(where[:])
	raw[(int(where[0])<<8+int(where[1]))%len(raw)] ^= 1 << (where[2] % 8)
	return base64.RawURLEncoding.EncodeToString(raw)
}

// otherRing mints access tokens as the server would, by a key of the same id that
// is not the server's.
func (k *soak) otherRing(access string) func() string {
	raw, err := base64.RawURLEncoding.DecodeString(access)
	if err != nil {
		k.Fatal(err)
	}
	key, err := tok.NewKey(nil, raw[1], time.Now().Add(-time.Hour))
	if err != nil {
		k.Fatal(err)
	}
	ring, err := tok.NewRing([]tok.Key{key})
	if err != nil {
		k.Fatal(err)
	}
	return func() string {
		a := tok.Access{KID: raw[1], Audience: raw[2], Flags: raw[3], IssuedAt: uint32(time.Now().Unix()), Expires: uint32(time.Now().Add(time.Hour).Unix()), Scope: 1}
		rand.Read(a.Subject[:])
		rand.Read(a.Family[:])
		rand.Read(a.Client[:])
		return string(ring.AppendAccess(nil, &a))
	}
}

// report prints what the run came to.
func (k *soak) report(took time.Duration, memory map[string][]int64) {
	k.Helper()
	var b strings.Builder
	fmt.Fprintf(&b, "%.1f s, %d good clients\n", took.Seconds(), soakGood)
	sums := map[string]int{}
	for _, kind := range slices.Sorted(maps.Keys(k.counts)) {
		var came []string
		for _, c := range slices.Sorted(maps.Keys(k.counts[kind])) {
			n := k.counts[kind][c]
			came = append(came, fmt.Sprint(c, " ", n))
			group, _, _ := strings.Cut(kind, ":")
			group, _, _ = strings.Cut(group, " ")
			sums[group] += n
			sums["all"] += n
		}
		fmt.Fprintf(&b, "| %-42s | %s\n", kind, strings.Join(came, ", "))
	}
	for _, group := range slices.Sorted(maps.Keys(sums)) {
		fmt.Fprintf(&b, "| %-42s | %d, %.0f/s\n", "sum: "+group, sums[group], float64(sums[group])/took.Seconds())
	}
	slices.Sort(k.takes)
	if n := len(k.takes); n > 0 {
		fmt.Fprintf(&b, "| %-42s | %d requests, %d errors, p50 %v, p99 %v, slowest %v\n", "good clients", n, k.wrong,
			k.takes[n/2].Round(10*time.Microsecond), k.takes[n*99/100].Round(10*time.Microsecond), k.takes[n-1].Round(10*time.Microsecond))
	}
	for _, name := range slices.Sorted(maps.Keys(memory)) {
		all := memory[name]
		fmt.Fprintf(&b, "| %-42s | first %d KiB, second quarter %d KiB, last quarter %d KiB, last %d KiB, most %d KiB\n", name,
			all[0]>>10, soakMedian(all, 1)>>10, soakMedian(all, 3)>>10, all[len(all)-1]>>10, slices.Max(all)>>10)
	}
	k.Log(b.String())
	if k.wrong > 0 || len(k.takes) == 0 {
		k.Errorf("%d of %d requests of good clients failed, want none", k.wrong, len(k.takes))
	}
}

// compare asks with forged tokens and with good ones, in slices of time that take
// turns. To refuse a token must not cost more than to answer; the bound is three
// times as much, as no noise makes of two that cost the same.
func (k *soak) compare(held tokens) {
	k.Helper()
	const connections, rounds = 8, 3
	body := appsBody("iOS", deviceOS, notesNew)
	good, forged := make([][]benchCheck, connections), make([][]benchCheck, connections)
	for i := range connections {
		good[i] = []benchCheck{{soakPost(k.server.Address, "/updates", jsonType, held.access, body), benchOK, benchNothing}}
		for range 64 {
			forged[i] = append(forged[i], benchCheck{soakPost(k.server.Address, "/updates", jsonType, soakFlip(held.access), body), "403", `{"error":`})
		}
	}
	loads := map[string]*benchLoad{"good tokens": newBenchLoad(k.T, k.server, good), "forged tokens": newBenchLoad(k.T, k.server, forged)}
	for round := range 1 + rounds { // the first one warms up
		for _, l := range loads {
			l.slice(k.T, round > 0)
		}
	}
	if f, g := loads["forged tokens"].cpu(), loads["good tokens"].cpu(); f > 3*g {
		k.Errorf("a forged token costs %.1f µs and a good one %.1f µs, want it refused as cheaply", f, g)
	}
	for _, name := range slices.Sorted(maps.Keys(loads)) {
		l := loads[name]
		k.Logf("| %-42s | %.0f/s on %d connections, %.1f µs of the server's CPU each", name, l.rate(), connections, l.cpu())
		for _, c := range l.conns {
			c.Close()
		}
	}
}

// ends waits until the server is as it was before: without a connection of anybody,
// and after a long run without their goroutines, which fasthttp keeps for a while.
func (k *soak) ends(before childUsage, long bool) {
	k.Helper()
	const more = 8 // goroutines of the store, which works when it likes
	late := time.After(overloadPatience)
	beat := time.NewTicker(soakPace)
	defer beat.Stop()
	for {
		now := k.server.usage(k.T)
		if now.Sockets <= before.Sockets && (!long || now.Goroutines <= before.Goroutines+more) {
			k.Logf("| %-42s | %d of %d sockets, %d of %d goroutines", "left, of those before", now.Sockets, before.Sockets, now.Goroutines, before.Goroutines)
			return
		}
		select {
		case <-beat.C:
		case <-late:
			k.Errorf("%d sockets and %d goroutines are left, and there were %d and %d before", now.Sockets, now.Goroutines, before.Sockets, before.Goroutines)
			return
		}
	}
}
