package modeltest

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/souk-market/souk/core/coretest"
	"github.com/souk-market/souk/core/oauth"
	"github.com/souk-market/souk/core/plugin"
	"github.com/souk-market/souk/core/unit"
)

const (
	historiesEnv = "SOUK_HISTORIES"
	seedEnv      = "SOUK_SEED"
)

// usual is how many histories a test run looks at.
func usual() int {
	switch {
	case raceDetector:
		return 250
	case testing.Short():
		return 400
	}
	return 4000
}

func number(t *testing.T, name string, usual int) int {
	text := os.Getenv(name)
	if text == "" {
		return usual
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("%s=%s: write a whole number, 1 or more", name, text)
	}
	return n
}

// host asks the plugin of the tests, which signs in who types the word.
func host(t testing.TB) *plugin.Host {
	t.Helper()
	spec := plugin.DefaultSpec()
	spec.Name, spec.File, spec.Config = "page", filepath.Join("..", "..", "coretest", "guests", "page", "guest.wasm"), map[string]any{"html": "<p>Sign in</p>"}
	spec.Deadline, spec.StartDeadline = unit.Duration(time.Minute), unit.Duration(time.Minute) // fuel bounds it; a busy machine must not
	h, err := plugin.Open(context.Background(), plugin.Options{Specs: []plugin.Spec{spec}, Dir: ".", Cache: coretest.Cache()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.Close(context.Background()); err != nil {
			t.Errorf("close the plugins: %v", err)
		}
	})
	return h
}

func newBench(t testing.TB, h *plugin.Host) *bench {
	c := oauth.DefaultConfig()
	c.AttemptsAccount, c.AttemptsAddress = 1_000_000, 1_000_000
	b := &bench{plugins: h, attempts: oauth.NewAttempts(c, time.Now), dir: filepath.Join(t.TempDir(), "engine")}
	t.Cleanup(func() {
		if err := b.close(); err != nil {
			t.Error(err)
		}
	})
	return b
}

// TestHistories holds many histories to the rules.
func TestHistories(t *testing.T) {
	many, seed := number(t, historiesEnv, usual()), uint64(number(t, seedEnv, 1))
	h := host(t)
	sum := tally{}
	var mu sync.Mutex
	var next, wrong atomic.Int64
	var workers sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		b := newBench(t, h)
		workers.Go(func() {
			mine := tally{}
			defer func() {
				mu.Lock()
				defer mu.Unlock()
				sum.add(mine)
			}()
			for wrong.Load() < 3 {
				i := next.Add(1) - 1
				if i >= int64(many) {
					return
				}
				s := write(seed + uint64(i))
				w, err := b.run(s, nil)
				if err != nil {
					t.Errorf("history %d: %v", s.seed, err)
					wrong.Add(1)
					return
				}
				found := w.check()
				mine.add(w.tally)
				mine["histories"]++
				if s.racing {
					mine["histories that ran freely"]++
				}
				if s.disk {
					mine["histories on disk"]++
				}
				if len(found) > 0 {
					wrong.Add(1)
					t.Error(b.report(s, nil, w, found))
				}
			}
		})
	}
	workers.Wait()
	if wrong.Load() == 0 && many >= 200 {
		covered(t, sum, many)
	}
	if testing.Verbose() {
		for _, k := range slices.Sorted(maps.Keys(sum)) {
			if k != "histories" && k != "operations" {
				t.Logf("%-55s %s", k, spaced(sum[k]))
			}
		}
	}
	t.Logf("histories %s, operations %s, violations %d, seed %d", spaced(sum["histories"]), spaced(sum["operations"]), wrong.Load(), seed)
}

func spaced(n int) string {
	s := strconv.Itoa(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + " " + s[i:]
	}
	return s
}

// least is how often rules have to come up in 1000 histories: a third of what is usual.
var least = map[string]int{}

// covered checks that what the histories are for has come up: a rule that never spoke
// was not looked at. The numbers are of 1000 histories, well below what is usual.
func covered(t *testing.T, sum tally, many int) {
	for rule, least := range least {
		if want := max(1, least*many/1000); sum[rule] < want {
			t.Errorf("%q came up %d times in %d histories, want %d: the scripts no longer lead there", rule, sum[rule], many, want)
		}
	}
}

// report shortens a history for as long as something is wrong with it, and tells it.
func (b *bench) report(s *script, p *plant, w *world, found []violation) string {
	var text strings.Builder
	fmt.Fprintf(&text, "history %d: %s\n", s.seed, found[0].what)
	fmt.Fprintf(&text, "again: %s=%d %s=1 go test -run '^TestHistories$' -v ./core/oauth/modeltest\n", seedEnv, s.seed, historiesEnv)
	long := len(s.steps)
	s, w, found = b.shorten(s, p, w, found)
	fmt.Fprintf(&text, "%s; %d of %d lines of the script are enough", s, len(s.steps), long)
	if len(found) > 0 {
		fmt.Fprintf(&text, ": %s\n%s", found[0].what, w.tell(found[0]))
	}
	return text.String()
}

// shorten leaves out lines of the script, many at first, for as long as something is
// still wrong.
func (b *bench) shorten(s *script, p *plant, w *world, found []violation) (*script, *world, []violation) {
	tries := 0
	for size := len(s.steps) / 2; size >= 1; size /= 2 {
		for from := 0; from < len(s.steps) && tries < 400; {
			tries++
			shorter := *s
			shorter.steps = slices.Delete(slices.Clone(s.steps), from, min(from+size, len(s.steps)))
			again, err := b.run(&shorter, p)
			if err == nil {
				if wrong := again.check(); len(wrong) > 0 {
					s, w, found = &shorter, again, wrong
					continue
				}
			}
			from += size
		}
	}
	return s, w, found
}
