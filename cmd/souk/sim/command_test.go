package sim

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/souk-market/souk/cmd/souk/sim/report"
	"github.com/souk-market/souk/core"
	"github.com/souk-market/souk/core/coretest"
)

func TestValidate(t *testing.T) {
	good := command("steady", 100, 1440)
	if err := good.Validate(); err != nil {
		t.Fatal(err)
	}
	for want, change := range map[string]func(*Command){
		"there is no scenario \"x\"": func(c *Command) { c.Scenario = "x" },
		"--devices":                  func(c *Command) { c.Devices = 0 },
		"--apps":                     func(c *Command) { c.Apps = 10 },
		"--speed":                    func(c *Command) { c.Speed = 0.5 },
		"--duration":                 func(c *Command) { c.Duration = -time.Hour },
		"--connections":              func(c *Command) { c.Connections = 0 },
		"--max-lag":                  func(c *Command) { c.MaxLag = 0 },
		"--rollout is of":            func(c *Command) { c.Rollout = "10" },
		"--rollout: \"x\"":           func(c *Command) { c.Scenario, c.Rollout = nameReleaseDay, "x" },
		"are of --target":            func(c *Command) { c.Admin = "http://127.0.0.1:1" },
		"--target needs --admin":     func(c *Command) { c.Target, c.Speed = "http://127.0.0.1:1", 0 },
		"so --speed is 1":            func(c *Command) { c.Target, c.Admin, c.TokenFile = "http://127.0.0.1:1", "http://127.0.0.1:2", "x" },
		"--config is for a server of our own": func(c *Command) {
			c.Target, c.Admin, c.TokenFile, c.Speed, c.Config = "http://127.0.0.1:1", "http://127.0.0.1:2", "x", 0, "y"
		},
	} {
		c := command("steady", 100, 1440)
		change(c)
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Validate = %v, want a sentence about %q", err, want)
		}
	}
}

// The command line of a report can be pasted, and says nothing of where a token lies.
func TestLine(t *testing.T) {
	c := command("steady", 100, 0)
	c.Config, c.Target, c.TokenFile, c.MaxLag, c.Apps = "it's/my market.toml", "http://127.0.0.1:1", "/run/secrets/t", 20*time.Millisecond, 2000
	const want = `souk sim --scenario steady --devices 100 --seed 1 --speed 1 --duration 1h0m0s --config 'it'\''s/my market.toml' --target http://127.0.0.1:1 --connections 16`
	if got := c.line(&report.Result{Speed: 1, Simulated: time.Hour}); got != want {
		t.Errorf("line =\n%s, want\n%s", got, want)
	}
}

// A scenario that would change an operator's market, or needs a later time, is refused
// before anything is asked.
func TestTargetRefuses(t *testing.T) {
	takes := map[string]bool{"steady": true, "hour-spike": true, "restore-wave": true, "poison": true}
	for _, s := range scenarios {
		c := command(s.name, 100, 0)
		c.Target, c.Admin, c.TokenFile = "http://127.0.0.1:1", "http://127.0.0.1:2", filepath.Join(t.TempDir(), "none")
		_, err := newRun(c)
		if takes[s.name] != (err == nil) || err != nil && !strings.Contains(err.Error(), "run it without --target") {
			t.Errorf("--scenario %s --target: %v", s.name, err)
		}
	}
}

// Devices ask a server that somebody else runs, with its catalogue.
func TestTarget(t *testing.T) {
	t.Parallel()
	s := coretest.Start(t, func(c *core.Config) { c.Plugin = c.Plugin[2:] }) // without accounts and allowlist
	file := filepath.Join(t.TempDir(), "admin.token")
	if err := os.WriteFile(file, []byte(s.AdminToken), 0o600); err != nil {
		t.Fatal(err)
	}
	c := command("steady", 200_000, 0)
	c.Target, c.Admin, c.TokenFile, c.Duration = s.PublicURL(), s.AdminURL(), file, 4*time.Second
	result, err := c.simulate(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range result.Checks {
		switch {
		case x.Failed > 0 && !strings.HasSuffix(x.First, ": the run was too small or too short for it"):
			t.Errorf("%s does not hold: %d of %d, first %s", x.Name, x.Failed, x.Looked, x.First)
		case x.Name == "codes" && x.Looked == 0:
			t.Errorf("%s looked at nothing", x.Name)
		}
	}
	signedIn := false
	for _, class := range result.Classes {
		signedIn = signedIn || class.Name == classSignIn && class.Count > 0
	}
	if !signedIn {
		t.Errorf("nobody signed in: %+v", result.Classes)
	}
}

func TestReportFile(t *testing.T) {
	t.Parallel()
	c := command("steady", 200, 86_400)
	c.Report, c.JSON, c.Duration = filepath.Join(t.TempDir(), "out.html"), true, aDay
	var out bytes.Buffer
	if err := c.run(t.Context(), &out); err != nil && !strings.Contains(err.Error(), "does not hold") {
		t.Fatal(err)
	}
	page, err := os.ReadFile(c.Report)
	if err != nil || !bytes.Contains(page, []byte("<svg")) && !bytes.Contains(page, []byte("<canvas")) && !bytes.Contains(page, []byte("uPlot")) {
		t.Errorf("the page has %d bytes and no plot, %v", len(page), err)
	}
	if !strings.Contains(out.String(), `"scenario": "steady"`) {
		t.Errorf("the JSON is\n%.300s", out.String())
	}
}
