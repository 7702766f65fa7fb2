package modeltest

import (
	"context"
	"errors"
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
	"github.com/souk-market/souk/core/store"
	"github.com/souk-market/souk/core/store/badger"
	"github.com/souk-market/souk/core/unit"
)

const (
	historiesEnv = "SOUK_HISTORIES"
	seedEnv      = "SOUK_SEED"
)

// usual is how many histories a test run looks at. Under the race detector only those of
// them happen that run freely, one in ten: in the others one call at a time goes on.
func usual() int {
	switch {
	case raceDetector:
		return 700
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
	guesses, err := badger.Open(badger.Options{InMemory: true}) // not of the histories: nobody guesses there
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{plugins: h, attempts: oauth.NewAttempts(c, store.New(guesses, time.Now), time.Now), dir: filepath.Join(t.TempDir(), "engine")}
	t.Cleanup(func() {
		if err := errors.Join(b.close(), guesses.Close()); err != nil {
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
				if raceDetector && !s.racing {
					continue
				}
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
	if wrong.Load() == 0 && many >= 200 && !raceDetector {
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

// least is how often things have to come up in 1000 histories: a third of what is usual.
var least = map[string]int{
	"a sign-out that was cut off is finished":          25,
	"access token is good":                             2000,
	"access token is out of date":                      2000,
	"access token of a retired key":                    50,
	"access token of an ended sign-in":                 400,
	"account was signed out":                           10,
	"an app is late":                                   50,
	"an ending is brought to its end":                  2,
	"answered with 5xx":                                300,
	"code burnt by another verifier":                   3,
	"code from before the sign-out":                    15,
	"code is out of date":                              250,
	"code of another client":                           15,
	"code redeemed":                                    800,
	"code redeemed twice":                              30,
	"crashes":                                          800,
	"crashes on disk":                                  10,
	"cut off by a crash":                               1000,
	"ended by the operator":                            80,
	"ended with others under way":                      10000,
	"exchanged":                                        150,
	"fork that came out":                               50,
	"histories on disk":                                4,
	"histories that ran freely":                        50,
	"late for the third time":                          10,
	"late retry":                                       150,
	"late retry, once more":                            80,
	"late retry, once more, with a fresh access token": 15,
	"late retry, with a fresh access token":            40,
	"nothing to end":                                   50,
	"refresh token of a retired key":                   15,
	"refresh token of another client":                  40,
	"retry within the grace":                           900,
	"reuse":                                            80,
	"rotated":                                          3000,
	"rotated under a newer key":                        250,
	"sign-in is too old":                               50,
	"sign-in that a sign-out has not reached":          10,
	"sign-in was ended":                                500,
	"sign-in was idle for too long":                    40,
	"signed in":                                        1000,
	"signed out everywhere":                            300,
	"subject token bound":                              150,
	"subject token from before the sign-out":           8,
	"subject token is out of date":                     120,
	"subject token of another client":                  15,
	"subject token used again":                         20,
	"successor given again by another process":         40,
	"thief was refused":                                150,
	"token of another process was good":                1000,
}

// covered checks that what the histories are for has come up: a rule that never spoke
// was not looked at. The numbers are of 1000 histories, well below what is usual.
func covered(t *testing.T, sum tally, many int) {
	for rule, least := range least {
		if want := least * many / 1000; want > 2 && sum[rule] < want || many >= 1000 && sum[rule] == 0 {
			t.Errorf("%q came up %d times in %d histories, want %d: the scripts no longer lead there", rule, sum[rule], many, want)
		}
	}
}

// TestAHistoryIsItsSeed runs histories twice: everything in them happens again.
func TestAHistoryIsItsSeed(t *testing.T) {
	if raceDetector {
		t.Skip("one call at a time: the race detector has nothing to see")
	}
	h := host(t)
	one, other := newBench(t, h), newBench(t, h)
	twice, disks, lines := 0, 0, 0
	for seed := uint64(1); twice < 30 || disks == 0; seed++ {
		s := write(seed)
		if s.racing || twice >= 30 && !s.disk {
			continue
		}
		twice++
		if s.disk {
			disks++
		}
		var told [2]string
		for i, b := range []*bench{one, other} {
			w, err := b.run(s, nil)
			if err != nil {
				t.Fatal(err)
			}
			told[i] = w.tell(violation{})
		}
		if told[0] != told[1] {
			t.Fatalf("history %d happened twice, in two ways:\n%s\nand\n%s", seed, told[0], told[1])
		}
		lines += strings.Count(told[0], "\n")
	}
	if lines < 20*twice {
		t.Errorf("%d histories have %d lines: they tell little", twice, lines)
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
