//go:build unix

package coretest_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/souk-market/souk/core"
	"github.com/souk-market/souk/core/catalog"
	"github.com/souk-market/souk/core/coretest"
	"github.com/souk-market/souk/core/unit"
)

// The benchmark of the update check posts what a device posts to a whole server
// and, in slices of time that take turns, to a bare fasthttp handler. A ratio of
// the two is good on any machine, also on one that is busy with something else.
// Both are child processes.

const (
	benchConnections = 64
	benchApps        = 5
	benchWire        = 644 // bytes of a request, with its head
	benchRounds      = 5
	benchSlice       = 250 * time.Millisecond

	benchItems     = 20_000
	benchFirstItem = 1_500_000_000
	benchHeldFrom  = benchFirstItem + benchItems/2 // from here on no rollout has begun
	benchOld       = 1                             // version ids are item*10 + this
	benchNew       = 2

	benchHello   = `{"updates":[],"failures":[]}`
	benchNothing = `{"updates":[]}`
	benchOffer   = `{"updates":[{`
)

func benchServeBare(t *testing.T) childAccess {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &fasthttp.Server{Handler: func(r *fasthttp.RequestCtx) {
		r.SetContentType("application/json")
		r.SetBodyString(benchHello)
	}}
	go func() { _ = s.Serve(l) }() // ends with the process
	return childAccess{Address: l.Addr().String()}
}

func benchServe(t *testing.T) childAccess {
	s := benchServer(t, nil)
	u, err := url.Parse(s.PublicURL())
	if err != nil {
		t.Fatal(err)
	}
	a := childAccess{Address: u.Host}
	for i := range benchConnections {
		a.Tokens = append(a.Tokens, benchToken(t, s, fmt.Sprintf("person-%d@example.com", i)))
	}
	return a
}

// benchServer is a server with a large catalogue.
func benchServer(t testing.TB, change func(*core.Config)) *coretest.Server {
	s := coretest.Empty(t, func(c *core.Config) {
		c.Now, c.Log = nil, nil                                // as in production
		c.Limits.ShedUpdates = unit.Duration(10 * time.Second) // it is looked at, and never reached
		c.Limits.ShedAll = 0
		c.Store.Durability = core.DurabilityProcess
		c.Limits.ReadTimeout = c.Limits.IdleTimeout // connections wait while others have their turn
		if change != nil {
			change(c)
		}
	})
	if _, err := s.Catalog.Import(t.Context(), benchCatalogue(benchItems)); err != nil {
		t.Fatal(err)
	}
	return s
}

// benchCatalogue is so many apps, each with an update. From the one that benchHeldFrom
// is on, nobody gets it.
func benchCatalogue(n int) []catalog.Item {
	items := make([]catalog.Item, n)
	for i := range items {
		id := uint64(benchFirstItem + i)
		share := catalog.FullShare
		if id >= benchHeldFrom {
			share = 0
		}
		version := func(n uint64, short string, share int) catalog.Version {
			return catalog.Version{
				ID: id*10 + n, Short: short, Build: "7", MinOS: map[string]string{"ios": "17.4"}, Rollout: catalog.Rollout{Share: share},
			}
		}
		items[i] = catalog.Item{
			ID: id, BundleID: fmt.Sprintf("com.example.app%d", id), Name: fmt.Sprint("App ", i), SignIn: catalog.SignInRequired,
			Versions: []catalog.Version{version(benchNew, "2.0", share), version(benchOld, "1.0", catalog.FullShare)},
		}
	}
	return items
}

// benchToken signs a device in with the token of an install link.
func benchToken(t testing.TB, s *coretest.Server, account string) string {
	const accessToken = "urn:ietf:params:oauth:token-type:access_token"
	res, err := http.PostForm(s.PublicURL()+"/oauth/token", url.Values{
		"grant_type":    {"urn:ietf:params:oauth:grant-type:token-exchange"},
		"subject_token": {s.SubjectToken(t, account)}, "subject_token_type": {accessToken}, "client_id": {"device of " + account},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var answer struct {
		Token string `json:"access_token"`
	}
	if err := json.NewDecoder(res.Body).Decode(&answer); err != nil || answer.Token == "" {
		t.Fatalf("the token exchange answered %d without a token: %v", res.StatusCode, err)
	}
	return answer.Token
}

// benchCheck is an update check of a device for five apps, with the status of its
// answer and the bytes that this begins with.
type benchCheck struct {
	request []byte
	status  string
	answer  string
}

const benchOK = "200"

// newBenchCheck writes an update check of benchWire bytes. The first outdated of its
// apps are not up to date.
func newBenchCheck(b testing.TB, address, token string, first uint64, outdated int, answer string) benchCheck {
	b.Helper()
	var apps []string
	for i := range uint64(benchApps) {
		item, installed := first+i*37, uint64(benchNew)
		if int(i) < outdated {
			installed = benchOld
		}
		apps = append(apps, fmt.Sprintf(`{"appleItemId":"%d","appleVersionId":"%d"}`, item, item*10+installed))
	}
	body := `{"apps":[` + strings.Join(apps, ",") + `],"platform":"iOS","osVersion":"26.1"}`
	head := func(agent string) string {
		return "POST /updates HTTP/1.1\r\nHost: " + address + "\r\nAccept: */*\r\nContent-Type: application/json\r\n" +
			"Authorization: Bearer " + token + "\r\nUser-Agent: " + agent + "\r\nContent-Length: " + strconv.Itoa(len(body)) + "\r\n\r\n"
	}
	left := benchWire - len(head("")) - len(body)
	if left < 1 {
		b.Fatalf("an update check has %d bytes, want %d", benchWire-left, benchWire)
	}
	return benchCheck{[]byte(head(strings.Repeat("u", left)) + body), benchOK, answer}
}

// benchLoad is a server with its connections open, each with its checks in turn.
type benchLoad struct {
	child  *child
	conns  []net.Conn
	in     []*bufio.Reader
	checks [][]benchCheck

	requests int64
	used     childUsage
	rates    []float64 // of each slice, requests a second
}

// newBenchLoad opens a connection for each list of checks.
func newBenchLoad(b testing.TB, c *child, checks [][]benchCheck) *benchLoad {
	b.Helper()
	l := &benchLoad{child: c, checks: checks}
	for range checks {
		conn, err := net.Dial("tcp", c.Address)
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { conn.Close() })
		l.conns, l.in = append(l.conns, conn), append(l.in, bufio.NewReaderSize(conn, 4<<10))
	}
	return l
}

// slice keeps the server busy for a while and counts.
func (l *benchLoad) slice(b testing.TB, count bool) {
	b.Helper()
	var over atomic.Bool
	var requests atomic.Int64
	before, began := l.child.usage(b), time.Now()
	defer time.AfterFunc(benchSlice, func() { over.Store(true) }).Stop()
	errs := make(chan error, len(l.conns))
	var wg sync.WaitGroup
	for i := range l.conns {
		wg.Go(func() {
			n := 0
			for ; !over.Load(); n++ {
				if err := l.checks[i][n%len(l.checks[i])].post(l.conns[i], l.in[i]); err != nil {
					errs <- err
					break
				}
			}
			requests.Add(int64(n))
		})
	}
	wg.Wait()
	took := time.Since(began)
	select {
	case err := <-errs:
		b.Fatal(err)
	default:
	}
	if count {
		after := l.child.usage(b)
		l.requests += requests.Load()
		l.used.CPU += after.CPU - before.CPU
		l.used.Mallocs += after.Mallocs - before.Mallocs
		l.rates = append(l.rates, float64(requests.Load())/took.Seconds())
	}
}

var benchLength = []byte("Content-Length: ")

// post sends the check and looks at the answer.
func (c *benchCheck) post(conn net.Conn, in *bufio.Reader) error {
	if _, err := conn.Write(c.request); err != nil {
		return err
	}
	status, err := in.ReadSlice('\n')
	if err != nil {
		return err
	}
	if rest, ok := bytes.CutPrefix(status, []byte("HTTP/1.1 ")); !ok || !bytes.HasPrefix(rest, []byte(c.status)) {
		return fmt.Errorf("a check was answered %q, want %s", status, c.status)
	}
	length := -1
	for {
		line, err := in.ReadSlice('\n')
		if err != nil {
			return err
		}
		if len(line) <= 2 {
			break
		}
		if digits, ok := bytes.CutPrefix(line, benchLength); ok {
			length = 0
			for _, d := range digits[:len(digits)-2] {
				length = length*10 + int(d-'0')
			}
		}
	}
	if length < len(c.answer) {
		return fmt.Errorf("a check was answered with %d bytes, want %s", length, c.answer)
	}
	start, err := in.Peek(len(c.answer))
	if err != nil {
		return err
	}
	if string(start) != c.answer {
		return fmt.Errorf("a check was answered %s…, want %s", start, c.answer)
	}
	if n, err := in.Discard(length); err != nil {
		return errors.Join(err, fmt.Errorf("%d of %d bytes of an answer came", n, length))
	}
	return nil
}

// cpu is the time of one request in µs.
func (l *benchLoad) cpu() float64 { return float64(l.used.CPU) / 1000 / float64(l.requests) }

func (l *benchLoad) rate() float64 {
	slices.Sort(l.rates)
	return l.rates[len(l.rates)/2]
}

// BenchmarkUpdateCheck compares update checks with a bare fasthttp handler that
// reads the same bytes:
//
//	rate-ratio   requests a second, ours / bare
//	cpu-ratio    CPU time of a request, ours / bare: the steadier of the two
func BenchmarkUpdateCheck(b *testing.B) {
	server, bare := startChild(b, childServer), startChild(b, childBare)
	for _, c := range []struct {
		name     string
		from     uint64
		outdated int // apps of a check that are not up to date
		of       int // one check in so many is of this kind, the others have nothing newer
		answer   string
	}{
		{"nothing-new", benchFirstItem, 0, 1, benchNothing},
		{"tenth-offered", benchFirstItem, 1, 10, benchOffer},
		{"all-offered", benchFirstItem, 1, 1, benchOffer},
		{"held", benchHeldFrom, 1, 1, benchNothing},
	} {
		b.Run(c.name, func(b *testing.B) {
			checks, hello := make([][]benchCheck, benchConnections), make([][]benchCheck, benchConnections)
			for i := range checks {
				for j := range 10 {
					outdated, answer := 0, benchNothing
					if (i+j)%c.of == 0 {
						outdated, answer = c.outdated, c.answer
					}
					check := newBenchCheck(b, server.Address, server.Tokens[i], c.from+uint64(i*131+j), outdated, answer)
					checks[i] = append(checks[i], check)
					hello[i] = append(hello[i], benchCheck{check.request, benchOK, benchHello})
				}
			}
			ours, theirs := newBenchLoad(b, server, checks), newBenchLoad(b, bare, hello)
			ours.slice(b, false) // warm
			theirs.slice(b, false)
			b.ResetTimer()
			for range b.N {
				for range benchRounds {
					ours.slice(b, true)
					theirs.slice(b, true)
				}
			}
			b.ReportMetric(0, "ns/op") // a round of slices has a fixed length
			b.ReportMetric(ours.rate()/theirs.rate(), "rate-ratio")
			b.ReportMetric(ours.cpu()/theirs.cpu(), "cpu-ratio")
			b.ReportMetric(ours.cpu(), "cpu-µs/check")
			b.ReportMetric(theirs.cpu(), "bare-cpu-µs/check")
			b.ReportMetric(float64(ours.used.Mallocs)/float64(ours.requests), "mallocs/check")
		})
	}
}
