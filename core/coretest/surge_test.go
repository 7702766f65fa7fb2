//go:build unix

package coretest_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/valyala/fasthttp"

	"github.com/souk-market/souk/core"
	"github.com/souk-market/souk/core/coretest"
	"github.com/souk-market/souk/core/unit"
)

// A surge is more update checks than a server can answer, with an offer in each, while
// other devices refresh their tokens and restore an app. The server is a child process
// with one processor. Requests come when they come, however slow the answers are, and a
// latency counts from the moment when the request should have been sent.

const (
	surgeDevices     = 800 // connections of the update checks: so many wait at most
	surgeForeground  = 16  // connections of the others
	surgeEach        = 15  // requests a second of each of those
	surgeOffers      = 5   // of an update check
	surgeItems       = 200
	surgeCalibration = 12 // connections that find out what the server can do
)

func surgeServe(t *testing.T) childAccess    { return surgeServer(t, true) }
func surgeServeAll(t *testing.T) childAccess { return surgeServer(t, false) }

func surgeServer(t *testing.T, sheds bool) childAccess {
	runtime.GOMAXPROCS(1)
	s := coretest.Empty(t, func(c *core.Config) {
		quick(c)
		c.Now, c.Log = nil, nil // as in production
		c.Limits = core.DefaultConfig().Limits
		c.Limits.ReadTimeout = c.Limits.IdleTimeout // connections wait while others have their turn
		c.Limits.ShedAll = 0                        // on a machine that is slow by itself
		c.Token.Pool = 0                            // each offer costs a signature
		if !sheds {
			c.Limits.ShedUpdates = 0
		}
		for i := range c.Plugin {
			c.Plugin[i].Deadline = unit.Duration(time.Minute)
		}
	})
	if _, err := s.Catalog.Import(t.Context(), benchCatalogue(surgeItems)); err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(s.PublicURL())
	if err != nil {
		t.Fatal(err)
	}
	a := childAccess{Address: u.Host, Admin: s.AdminURL(), AdminToken: s.AdminToken}
	for range surgeForeground {
		held := deviceOf(t, s, fmt.Sprintf("person-%d@example.com", len(a.Tokens)))
		a.Tokens, a.Refresh = append(a.Tokens, held.access), append(a.Refresh, held.refresh)
	}
	return a
}

// surgeClass is one kind of answer, with its latencies.
type surgeClass struct {
	mu    sync.Mutex
	takes []time.Duration
}

func (c *surgeClass) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.takes = append(c.takes, d)
}

// at is the latency of which so many percent are no longer.
func (c *surgeClass) at(percent int) time.Duration {
	if len(c.takes) == 0 {
		return 0
	}
	slices.Sort(c.takes)
	return c.takes[(len(c.takes)-1)*percent/100]
}

// surge is one run against one server.
type surge struct {
	testing.TB
	server *child
	checks []surgeConn
	others []surgeConn
	held   []string // refresh tokens

	full, less, wrong surgeClass // update checks: with all offers, with fewer, and what is neither
	served, refused   surgeClass // the others
}

type surgeConn struct {
	net.Conn
	in *bufio.Reader
}

// post sends a request and reads the answer.
func (c surgeConn) post(request []byte, res *fasthttp.Response) error {
	if err := c.SetDeadline(time.Now().Add(overloadPatience)); err != nil {
		return err
	}
	if _, err := c.Write(request); err != nil {
		return err
	}
	res.Reset()
	return res.Read(c.in)
}

func newSurge(t testing.TB, role string) *surge {
	t.Helper()
	s := &surge{TB: t, server: startChild(t, role)}
	s.held = slices.Clone(s.server.Refresh)
	return s
}

// dial opens connections.
func (s *surge) dial(n int) (all []surgeConn) {
	s.Helper()
	for range n {
		conn, err := net.DialTimeout("tcp", s.server.Address, overloadPatience)
		if err != nil {
			s.Fatal(err)
		}
		s.Cleanup(func() { conn.Close() })
		all = append(all, surgeConn{conn, bufio.NewReaderSize(conn, 4<<10)})
	}
	return all
}

func closeAll(conns []surgeConn) {
	for _, c := range conns {
		c.Close()
	}
}

func surgeRequest(path, kind, access, body string) []byte {
	head := "POST " + path + " HTTP/1.1\r\nHost: x\r\nContent-Type: " + kind + "\r\n"
	if access != "" {
		head += "Authorization: Bearer " + access + "\r\n"
	}
	return []byte(head + overloadLength(len(body)) + body)
}

// check is an update check of a device whose apps are all out of date.
func (s *surge) check(i int) []byte {
	var apps []app
	for j := range surgeOffers {
		item := benchFirstItem + uint64(i*7+j*31)%surgeItems
		apps = append(apps, app{fmt.Sprint(item), fmt.Sprint(item*10 + benchOld)})
	}
	return surgeRequest("/updates", jsonType, s.server.Tokens[i%len(s.server.Tokens)], appsBody("iOS", deviceOS, apps...))
}

var surgeOffer = []byte(`"installVerificationToken"`)

// updates has connections ask for updates, so many times a second together, until it is
// over; with a rate of 0 as fast as they are answered.
func (s *surge) updates(conns []surgeConn, rate float64, over *atomic.Bool) (wait func()) {
	began := time.Now()
	var next atomic.Int64
	var all sync.WaitGroup
	for i, c := range conns {
		all.Go(func() {
			var res fasthttp.Response
			request := s.check(i)
			for !over.Load() {
				at := time.Now()
				if rate > 0 {
					at = began.Add(time.Duration(float64(next.Add(1)) / rate * float64(time.Second)))
					time.Sleep(time.Until(at))
				}
				if over.Load() {
					return
				}
				err := c.post(request, &res)
				took := time.Since(at)
				switch n := bytes.Count(res.Body(), surgeOffer); {
				case err != nil || res.StatusCode() != 200 || !bytes.HasPrefix(res.Body(), []byte(`{"updates":[`)):
					s.Errorf("an update check was answered %d %.100s: %v", res.StatusCode(), res.Body(), err)
					s.wrong.add(took)
					return
				case n == surgeOffers:
					s.full.add(took)
				default:
					s.less.add(took)
				}
			}
		})
	}
	return all.Wait
}

// foreground has devices refresh their tokens and restore an app, in turns, each at its
// own pace until it is over.
func (s *surge) foreground(conns []surgeConn, over *atomic.Bool) (wait func()) {
	began := time.Now()
	var all sync.WaitGroup
	for i, c := range conns {
		all.Go(func() {
			var res fasthttp.Response
			item := fmt.Sprint(benchFirstItem + i)
			restore := surgeRequest("/restore", jsonType, s.server.Tokens[i], appsBody("iOS", deviceOS, app{item, item + "1"}))
			for n := 0; !over.Load(); n++ {
				at := began.Add(time.Duration(n)*time.Second/surgeEach + time.Duration(i)*time.Second/surgeEach/surgeForeground)
				time.Sleep(time.Until(at))
				request := restore
				if n%2 == 0 {
					request = surgeRequest("/oauth/token", formType, "", refreshForm(s.held[i]).Encode())
				}
				err := c.post(request, &res)
				took := time.Since(at)
				switch {
				case err != nil:
					s.Errorf("a device in the foreground was not answered: %v", err)
					return
				case res.StatusCode() == 200 && n%2 == 0:
					var t struct {
						Refresh string `json:"refresh_token"`
					}
					if err := json.Unmarshal(res.Body(), &t); err != nil || t.Refresh == "" {
						s.Errorf("a refresh was answered %s: %v", res.Body(), err)
						return
					}
					s.held[i] = t.Refresh
					s.served.add(took)
				case res.StatusCode() == 200 && bytes.Contains(res.Body(), surgeOffer):
					s.served.add(took)
				case res.StatusCode() == 503 && len(res.Header.Peek("Retry-After")) > 0:
					s.refused.add(took)
				default:
					s.Errorf("a device in the foreground was answered %d %.200s", res.StatusCode(), res.Body())
					return
				}
			}
		})
	}
	return all.Wait
}

// lasts begins something, lets it go on for a while, and waits for its end.
func lasts(d time.Duration, does func(over *atomic.Bool) (wait func())) time.Duration {
	var over atomic.Bool
	began := time.Now()
	wait := does(&over)
	time.AfterFunc(d, func() { over.Store(true) })
	wait()
	return time.Since(began)
}

// capacity is how many update checks a second the server answers in full.
func (s *surge) capacity(d time.Duration) float64 {
	s.Helper()
	conns := s.dial(surgeCalibration)
	defer closeAll(conns)
	took := lasts(d, func(over *atomic.Bool) func() { return s.updates(conns, 0, over) })
	n := len(s.full.takes)
	if n == 0 {
		s.Fatalf("nothing was offered at rest, and %d checks did without", len(s.less.takes))
	}
	s.full, s.less = surgeClass{}, surgeClass{}
	return float64(n) / took.Seconds()
}

// load lets update checks and the others come for a while.
func (s *surge) load(rate float64, d time.Duration) {
	s.Helper()
	if s.checks == nil {
		s.checks, s.others = s.dial(surgeDevices), s.dial(surgeForeground)
	}
	lasts(d, func(over *atomic.Bool) func() {
		others := s.foreground(s.others, over)
		checks := func() {}
		if rate > 0 {
			checks = s.updates(s.checks, rate, over)
		}
		return func() { checks(); others() }
	})
}

// metric reads a counter or a gauge of the server.
func (s *surge) metric(name string, labels ...string) float64 {
	s.Helper()
	req, err := http.NewRequest(http.MethodGet, s.server.Admin+"/metrics", nil)
	if err != nil {
		s.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+s.server.AdminToken)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		s.Fatal(err)
	}
	defer res.Body.Close()
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(res.Body)
	if err != nil {
		s.Fatal(err)
	}
	m := scraped(families).find(name, labels...)
	return m.GetCounter().GetValue() + m.GetGauge().GetValue()
}

// TestSurge: while three times as many update checks come as there is time for, the
// others are answered all the same; when it is over, everything is as it was before.
func TestSurge(t *testing.T) { // not parallel: it measures
	s := newSurge(t, childSurge)
	capacity := s.capacity(time.Second)
	http.DefaultClient.CloseIdleConnections()
	before := s.server.collected(t)
	s.load(3*capacity, 3*time.Second)
	ended := time.Now()

	// One device more looks for updates until it is offered them.
	after := s.dial(1)
	var res fasthttp.Response
	for request := s.check(0); ; {
		if err := after[0].post(request, &res); err != nil || res.StatusCode() != 200 {
			t.Fatalf("after the surge an update check is answered %d, %v", res.StatusCode(), err)
		}
		if bytes.Count(res.Body(), surgeOffer) == surgeOffers {
			break
		}
		if time.Since(ended) > overloadPatience {
			t.Fatalf("after the surge an update check is still answered %s, with a pressure of %v", res.Body(), s.metric("souk_pressure"))
		}
	}
	back := time.Since(ended)
	shed := s.metric("souk_shed_total", "route=/updates", "kind=empty")
	spared := s.metric("souk_offers_spared_total")
	t.Logf("%.0f checks a second are what the server can do; of %d in the surge %d were answered in full, %.0f turned away; %.0f offers were spared; in the foreground %d were answered, half of them in %v, p99 %v; back after %v",
		capacity, len(s.full.takes)+len(s.less.takes), len(s.full.takes), shed, spared, len(s.served.takes), s.served.at(50), s.served.at(99), back)
	if spared == 0 || shed == 0 {
		t.Errorf("%v offers were spared and %v update checks turned away, want some of both", spared, shed)
	}
	if n := s.metric("souk_shed_total", "route=/oauth/token", "kind=503") + s.metric("souk_shed_total", "route=/restore", "kind=503"); n != 0 || len(s.refused.takes) > 0 {
		t.Errorf("%v requests of the foreground were turned away, want none before update checks are", n)
	}
	if len(s.served.takes) < surgeForeground*2 {
		t.Errorf("%d requests of the foreground were answered in three seconds", len(s.served.takes))
	}
	// The law needs half a second; a machine that is busy with others may take longer.
	if back > 5*time.Second {
		t.Errorf("the first full answer came %v after the surge", back)
	}
	closeAll(s.checks)
	closeAll(s.others)
	closeAll(after)
	http.DefaultClient.CloseIdleConnections()
	// fasthttp keeps a goroutine for ten seconds after its last connection.
	beat := time.NewTicker(200 * time.Millisecond)
	defer beat.Stop()
	for end := time.Now().Add(overloadPatience); ; <-beat.C {
		u := s.server.collected(t)
		if u.Goroutines <= before.Goroutines+4 && u.Heap <= before.Heap+before.Heap/4+(8<<20) {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("after the surge the server has %d goroutines and %d bytes in use, and it had %d and %d before", u.Goroutines, u.Heap, before.Goroutines, before.Heap)
		}
	}
}

// BenchmarkSurge compares two servers of one machine, of which one turns nothing away,
// at rest and while so many times as many update checks come as there is time for:
//
//	go test -run '^$' -bench '^BenchmarkSurge$' -benchtime 1x ./core/coretest
//
//	goodput   requests of the foreground that were answered within half a second, of those that should have been sent
//	p50, p99  their latency, in those at rest
//	full      update checks a second that were answered with all their offers, in those that the server can do
func BenchmarkSurge(b *testing.B) {
	const rounds, slice, soon = 3, 3 * time.Second, 500 * time.Millisecond
	servers := []*surge{newSurge(b, childSurge), newSurge(b, childAll)}
	type sum struct {
		rest, busy surgeClass
		full       float64 // of what the server could do
	}
	for _, times := range []float64{1, 3, 6} {
		b.Run(fmt.Sprintf("times=%v", times), func(b *testing.B) {
			sums := make([]sum, len(servers))
			asked := 0
			for range b.N {
				for range rounds { // in turns: the machine is not always the same
					asked += surgeForeground * surgeEach * int(slice/time.Second)
					for i, s := range servers {
						s.load(0, slice)
						sums[i].rest.take(&s.served)
						capacity := s.capacity(time.Second)
						s.load(times*capacity, slice)
						sums[i].busy.take(&s.served)
						sums[i].full += float64(len(s.full.takes)) / capacity / slice.Seconds()
						s.full, s.less, s.refused = surgeClass{}, surgeClass{}, surgeClass{}
					}
				}
			}
			b.ReportMetric(0, "ns/op") // a round has a fixed length
			for i, name := range []string{"shed", "all"} {
				sum := &sums[i]
				soonEnough := 0
				for _, took := range sum.busy.takes {
					if took <= soon {
						soonEnough++
					}
				}
				b.ReportMetric(float64(soonEnough)/float64(asked), name+"-goodput")
				b.ReportMetric(float64(sum.busy.at(50))/float64(sum.rest.at(50)), name+"-p50")
				b.ReportMetric(float64(sum.busy.at(99))/float64(sum.rest.at(99)), name+"-p99")
				b.ReportMetric(sum.full/float64(rounds*b.N), name+"-full")
				b.Logf("%s: at rest p50 %v, p99 %v; busy p50 %v, p99 %v; %d answered", name, sum.rest.at(50), sum.rest.at(99), sum.busy.at(50), sum.busy.at(99), len(sum.busy.takes))
			}
		})
	}
}

// take moves what another has.
func (c *surgeClass) take(other *surgeClass) {
	c.takes = append(c.takes, other.takes...)
	other.takes = nil
}
