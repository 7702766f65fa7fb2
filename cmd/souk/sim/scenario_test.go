package sim

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/souk-market/souk/cmd/souk/sim/report"
)

// Every scenario is played, by few devices and quickly, and everything holds.
func TestScenarios(t *testing.T) {
	for _, test := range []struct {
		name    string
		command *Command
		figures []string // that have to be there
	}{
		{"steady", command("steady", 1500, 28_800), nil},
		{"steady, tls", of(command("steady", 1500, 28_800), func(c *Command) { c.TLS, c.Duration = true, aDay/2 }), nil},
		{"release-day", of(command(nameReleaseDay, 1500, 28_800), func(c *Command) { c.Duration = 18 * time.Hour }), []string{"release"}},
		{"release-day, phased", of(command(nameReleaseDay, 1500, 43_200), func(c *Command) { c.Rollout = "10,50" }), []string{"release"}},
		{"hour-spike", command("hour-spike", 10_000, 3_600), []string{"spike"}},
		{"outage", command("outage", 5000, 1440), []string{"away", "tried again"}},
		{"restore-wave", of(command("restore-wave", 1000, 7_200), func(c *Command) { c.Duration = 8 * time.Hour }), nil},
		{"token-expiry", of(command("token-expiry", 1000, 28_800), func(c *Command) { c.Duration = aDay }), []string{"signed out"}},
		{"lost-answer", of(command("lost-answer", 1500, 86_400), func(c *Command) { c.Duration = 4 * aDay }), []string{"signed out", "lost"}},
		{"takedown", command("takedown", 1500, 10_800), []string{"takedown"}},
		{"halt", command("halt", 1500, 5_400), []string{"last offer"}},
		{"poison", of(command("poison", 2000, 900), func(c *Command) { c.Duration = 4 * time.Hour }), []string{"endless"}},
		{"policy-swap", command("policy-swap", 1500, 7_200), []string{"swaps"}},
	} {
		t.Run(strings.ReplaceAll(test.name, " ", "_"), func(t *testing.T) {
			if raced && test.figures != nil && test.name != "lost-answer" {
				t.Skip("its server is ten times slower with the race detector: CI plays it without, too")
			}
			t.Parallel()
			result, err := test.command.simulate(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			var text bytes.Buffer
			if err := report.Text(&text, result); err != nil {
				t.Fatal(err)
			}
			for _, c := range result.Checks {
				if c.Failed > 0 {
					t.Errorf("%s does not hold: %d of %d, first %s", c.Name, c.Failed, c.Looked, c.First)
				}
			}
			for _, why := range result.Void {
				if !strings.Contains(why, "did not recover") { // a busy machine may need longer to start a server
					t.Errorf("the run is void: %s", why)
				}
			}
			have := map[string]bool{}
			for _, f := range result.Figures {
				have[f.Name] = true
			}
			for _, name := range test.figures {
				if !have[name] {
					t.Errorf("there is no figure %q in %+v", name, result.Figures)
				}
			}
			if t.Failed() {
				t.Log(text.String())
			}
		})
	}
}

// The same seed sends the same requests.
func TestSeed(t *testing.T) {
	t.Parallel()
	play := func() (counts map[string]uint64) {
		c := command("steady", 300, 43_200)
		c.Duration = aDay / 2
		var out bytes.Buffer
		c.JSON = true
		if err := c.run(t.Context(), &out); err != nil && !strings.Contains(err.Error(), "nothing was looked at") && !strings.Contains(err.Error(), "does not hold") {
			t.Fatal(err)
		}
		var d report.Document
		if err := json.Unmarshal(out.Bytes(), &d); err != nil {
			t.Fatal(err)
		}
		counts = map[string]uint64{}
		for _, x := range d.Classes {
			counts[x.Name] = x.Count
		}
		return counts
	}
	first, second := play(), play()
	if len(first) < 3 {
		t.Errorf("a run has %v", first)
	}
	for class, n := range first {
		if second[class] != n {
			t.Errorf("%s: %d answers, and %d with the same seed", class, n, second[class])
		}
	}
}

// What a scenario claims to look at has to be there: else it would hold whatever the
// server did.
func TestNothingLookedAt(t *testing.T) {
	t.Parallel()
	c := command("steady", 2, 43_200)
	c.Duration = 2 * time.Hour
	err := c.run(t.Context(), new(bytes.Buffer))
	if err == nil || !strings.Contains(err.Error(), "does not hold") {
		t.Errorf("a run of two devices: %v, and it should be a failure", err)
	}
}

// A generator that is behind has said nothing.
func TestVoid(t *testing.T) {
	t.Parallel()
	c := command("steady", 2000, 43_200)
	r, err := newRun(c)
	if err != nil {
		t.Fatal(err)
	}
	for range 100 {
		r.tally.due()
		r.tally.request(30 * time.Millisecond)
		r.tally.answer(classNone, 40*time.Millisecond)
	}
	r.clock.start(time.Now())
	c.MaxLag, r.late = 20*time.Millisecond, time.Millisecond
	if void := r.finish().Void; len(void) != 1 || !strings.Contains(void[0], "the generator fell behind") {
		t.Errorf("void = %q with a lag of 30 ms, 20 ms taken, on a machine that is 1 ms late", void)
	}
	r.result.Void, r.late = nil, 15*time.Millisecond
	if void := r.finish().Void; len(void) != 0 {
		t.Errorf("void = %q on a machine that is late itself", void)
	}
	for range 100 {
		r.tally.request(200 * time.Millisecond)
	}
	r.result.Void, r.late = nil, time.Second
	if void := r.finish().Void; len(void) != 1 || !strings.Contains(void[0], "100ms is taken") {
		t.Errorf("void = %q with a lag of 200 ms, on a machine that is 1 s late", void)
	}
}
