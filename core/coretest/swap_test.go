//go:build unix

package coretest_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/souk-market/souk/core"
	"github.com/souk-market/souk/core/catalog"
	"github.com/souk-market/souk/core/coretest"
	"github.com/souk-market/souk/core/plugin"
	"github.com/souk-market/souk/sdk/abi"
)

// The promise of a swap, held at the front door: clients look for updates on a
// server in a child process, while its plugin is swapped over the admin API and
// what is no module is thrown in between. SOUK_SWAPS=20s go test -run
// TestSwapsAtTheFrontDoor -v ./core/coretest swaps for so long.
//
// Each module denies one of the apps and chooses one of the versions, both by its
// mark: so every answer shows which module said who may have what, and which one
// said the version.

const (
	swapEnv     = "SOUK_SWAPS"
	swapDefault = 2 * time.Second
	swapEvery   = 200 * time.Millisecond
	swapThrow   = 50 * time.Millisecond // between two bad modules
	swapMarks   = 5                     // apps, versions of each, and modules that differ
	swapClients = 8
	swapFirst   = 3000001 // the first app
	swapLarge   = 200 << 20

	// What the heap may hold more in the end, and the process: a single generation of
	// a module that is kept is half a megabyte.
	swapHeap     = 4 << 20
	swapResident = 16 << 20

	swapMany = 200 // swaps that keep nothing
	swapWarm = 20  // swaps until all that is kept once is there
)

func swapApp(mark int) uint64 { return uint64(swapFirst + mark) }

// swapVersion is the version that a mark chooses: candidates begin with the newest.
func swapVersion(app uint64, mark int) uint64 { return app*10 + uint64(swapMarks-mark) }

// swapModule is a module with a mark. n makes it another file than all others.
func swapModule(mark, n int) []byte {
	var e abi.EntitleVerdict
	var v abi.SelectVersionVerdict
	for i := range swapMarks {
		d := abi.EntitleDecision{Decision: abi.Allow}
		if i == mark {
			d.Decision = abi.Deny
		} else {
			v.Items = append(v.Items, abi.VersionChoice{Choice: abi.Choice(mark)})
		}
		e.Items = append(e.Items, d)
	}
	return handmade{entitle: e.Append(nil), selects: v.Append(nil), padding: n}.wasm()
}

// swapServe is the server.
func swapServe(t *testing.T) childAccess {
	s := coretest.Empty(t, func(c *core.Config) {
		quick(c)
		c.Now, c.Log = nil, nil   // as in production
		c.Plugins.Cache = "cache" // of its own: what is compiled here is nobody else's
		spec := policySpec("policy", swapModule(0, 0))
		spec.StartFuel = 5_000_000 // a start that spins is soon over
		c.Plugin = []plugin.Spec{spec}
	})
	var items []catalog.Item
	for mark := range swapMarks {
		it := catalog.Item{ID: swapApp(mark), BundleID: fmt.Sprint("com.example.app", mark), Name: fmt.Sprint("App ", mark), SignIn: catalog.SignInRequired}
		for i := range swapMarks {
			id := swapVersion(it.ID, i)
			it.Versions = append(it.Versions, catalog.Version{
				ID: id, Short: fmt.Sprint("1.", id%10), Build: "7", MinOS: map[string]string{"ios": "17.4"}, Rollout: catalog.Rollout{Share: catalog.FullShare},
			})
		}
		items = append(items, it)
	}
	if _, err := s.Catalog.Import(t.Context(), items); err != nil {
		t.Fatal(err)
	}
	_, address, _ := strings.Cut(s.PublicURL(), "://")
	a := childAccess{Address: address, Admin: s.AdminURL(), AdminToken: s.AdminToken}
	for i := range swapClients {
		a.Tokens = append(a.Tokens, deviceOf(t, s, fmt.Sprintf("person-%d@example.com", i)).access)
	}
	return a
}

// swapMarksOf are the marks of the two answers that one update check shows.
func swapMarksOf(text []byte) (entitled, selected int, err error) {
	var g given
	if err := json.Unmarshal(text, &g); err != nil || len(g.Updates) != swapMarks-1 {
		return 0, 0, fmt.Errorf("an update check was answered %s, want %d offers", text, swapMarks-1)
	}
	entitled = swapMarks - 1
	for i, u := range g.Updates {
		if i < entitled && u.Item != fmt.Sprint(swapApp(i)) {
			entitled = i // the first that is missing
		}
	}
	selected = -1
	for _, u := range g.Updates {
		for mark := range swapMarks {
			for at := range swapMarks {
				if u.Item == fmt.Sprint(swapApp(at)) && u.Version == fmt.Sprint(swapVersion(swapApp(at), mark)) {
					if selected >= 0 && selected != mark {
						return entitled, selected, fmt.Errorf("the versions of one answer have the marks %d and %d", selected, mark)
					}
					selected = mark
				}
			}
		}
	}
	return entitled, selected, nil
}

// swapCrowd are the clients, and what they saw.
type swapCrowd struct {
	wg                    sync.WaitGroup
	over                  context.Context
	checks, failed, mixed atomic.Int64
	seen                  [swapMarks]atomic.Int64
}

func newSwapCrowd(t *testing.T, c *child, over context.Context) *swapCrowd {
	crowd := &swapCrowd{over: over}
	var apps []app
	for mark := range swapMarks {
		apps = append(apps, app{fmt.Sprint(swapApp(mark)), "1"})
	}
	body := appsBody("iOS", deviceOS, apps...)
	for _, access := range c.Tokens {
		crowd.wg.Go(func() {
			d := newOverloadDevice("http://"+c.Address, "127.0.0.1", nil)
			defer d.leave()
			for over.Err() == nil {
				text, err := d.post("/updates", jsonType, body, access)
				var entitled, selected int
				if err == nil {
					entitled, selected, err = swapMarksOf(text)
				}
				crowd.checks.Add(1)
				switch {
				case err != nil:
					if crowd.failed.Add(1) <= 3 {
						t.Errorf("an update check beside swaps: %v", err)
					}
				case entitled != selected:
					crowd.mixed.Add(1)
				default:
					crowd.seen[entitled].Add(1)
				}
			}
		})
	}
	return crowd
}

// swapper changes the module over and over.
type swapper struct {
	operator
	n, generation int
	live, before  string // SHA-256
	takes         time.Duration
}

// turn swaps, or at each tenth time returns.
func (s *swapper) turn() {
	s.Helper()
	s.n++
	began := time.Now()
	var done answer
	after := s.before
	returns := s.n%10 == 0
	if returns {
		done = s.send(http.MethodPost, "/api/plugins/policy/return", nil, "If-Match", `"`+s.live+`"`)
	} else {
		module := swapModule(s.n%swapMarks, s.n)
		s.generation++
		after = sum(module)
		done = s.upload("policy", module, "If-Match", `"`+s.live+`"`)
	}
	s.takes = max(s.takes, time.Since(began))
	if got := done.object(s.TB); done.status != 200 || got["after"] != after || !returns && got["generation"] != float64(s.generation) {
		s.Fatalf("turn %d was answered %d %s, want the module %s, generation %d", s.n, done.status, done.body, after, s.generation)
	}
	s.before, s.live = s.live, after
}

// swapRests waits until the server holds no more than it did. What a request that
// was refused has left goes when its connection does.
func swapRests(t *testing.T, c *child, what string, before childUsage) {
	t.Helper()
	beat := time.NewTicker(swapThrow)
	defer beat.Stop()
	for end := time.Now().Add(overloadPatience); ; <-beat.C {
		now := c.collected(t)
		flat := now.Heap <= before.Heap+swapHeap && (raceEnabled || now.RSS <= before.RSS+swapResident) // the detector's own memory grows
		if !flat && time.Now().Before(end) {
			continue
		}
		t.Logf("| %-36s | heap in use %d → %d KiB, resident %d → %d KiB", what, before.Heap>>10, now.Heap>>10, before.RSS>>10, now.RSS>>10)
		if !flat {
			t.Errorf("the server holds more than it did, and no collection frees it: want %d KiB of heap more at most, and %d KiB resident", swapHeap>>10, swapResident>>10)
		}
		return
	}
}

// TestSwapsAtTheFrontDoor: no request fails, none is answered by two modules, a bad
// module changes nothing, and nothing is kept.
func TestSwapsAtTheFrontDoor(t *testing.T) { // not parallel: it measures
	lasts := swapDefault
	if text := os.Getenv(swapEnv); text != "" {
		var err error
		if lasts, err = time.ParseDuration(text); err != nil || lasts < time.Second {
			t.Fatalf("%s: %q is no time of a second or more: %v", swapEnv, text, err)
		}
	}
	c := startChild(t, childSwaps)
	o := operator{t, c.Admin, c.AdminToken}
	s := &swapper{operator: o, generation: 1, live: sum(swapModule(0, 0))}
	over, end := context.WithCancel(t.Context())
	defer end()
	crowd := newSwapCrowd(t, c, over)
	for range swapWarm {
		s.turn()
	}

	atRest := c.collected(t)

	// 1. At a pace, beside what is no module.
	refused := 0
	var hostile sync.WaitGroup
	paced, stop := context.WithCancel(over)
	hostile.Go(func() {
		beat := time.NewTicker(swapThrow)
		defer beat.Stop()
		for all := refusals(o, swapLarge); paced.Err() == nil; <-beat.C {
			all[refused%len(all)]()
			refused++
		}
	})
	began, first := time.Now(), s.n
	for beat := time.NewTicker(swapEvery); time.Since(began) < lasts; <-beat.C {
		s.turn()
	}
	took := time.Since(began)
	stop()
	hostile.Wait()
	t.Logf("| %-36s | %d in %v, the longest took %v", "swaps and returns, one each 200 ms", s.n-first, took.Round(time.Millisecond), s.takes.Round(100*time.Microsecond))
	t.Logf("| %-36s | %d, all refused with one sentence", "bad modules in between", refused)
	swapRests(t, c, "memory, before and after them", atRest)

	// 2. As quick as it goes.
	many := swapMany
	if raceEnabled {
		many = swapWarm
	}
	began = time.Now()
	for range many {
		s.turn()
	}
	t.Logf("| %-36s | %d in %v", "swaps at once", many, time.Since(began).Round(time.Millisecond))
	swapRests(t, c, "memory, before all and after these", atRest)

	end()
	crowd.wg.Wait()
	t.Logf("| %-36s | %d: %d failed, %d mixed", "update checks beside all that", crowd.checks.Load(), crowd.failed.Load(), crowd.mixed.Load())
	if f, m := crowd.failed.Load(), crowd.mixed.Load(); f > 0 || m > 0 {
		t.Errorf("of %d update checks %d failed and %d were answered by two modules, want none", crowd.checks.Load(), f, m)
	}
	for mark := range crowd.seen {
		if crowd.seen[mark].Load() == 0 {
			t.Errorf("no client has seen a module of the mark %d", mark)
		}
	}
	if a := o.send(http.MethodGet, "/readyz", nil); a.status != 200 {
		t.Errorf("in the end the server is not ready: %d %s", a.status, a.body)
	}
	var list struct {
		Plugins []plugin.Info `json:"plugins"`
	}
	if err := json.Unmarshal(o.send(http.MethodGet, "/api/plugins", nil).body, &list); err != nil || len(list.Plugins) != 1 {
		t.Fatalf("in the end there are %d plugins: %v", len(list.Plugins), err)
	}
	p := list.Plugins[0]
	if p.SHA256 != s.live || p.SentBack != 0 || p.LastFailure != "" || p.Swaps+p.Returns != uint64(s.n) || p.Draining > 1 {
		t.Errorf("in the end the plugin is %+v, want the last module of %d swaps and returns, and no failure", p, s.n)
	}
}
