// Package sim is the command `souk sim`: a market's worth of simulated devices that
// ask for updates as real ones do, at a rate and with a clock of one's choice, and
// that look at what they are answered. The server is the real one, in a process of its
// own whose clock is the simulated one, or one that the operator runs.
package sim

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/souk-market/souk/cmd/souk/sim/report"
)

// Commands are what there is of `souk sim`.
type Commands struct {
	Run   Command `cmd:"" default:"withargs" help:"This is what \"souk sim\" alone does: its flags are those of \"souk sim run\"."`
	Child Child   `cmd:"" hidden:""` // a process of its own for the server
	Pulse Pulse   `cmd:"" hidden:""` // and one that looks how late the machine is
}

// Command are the flags of `souk sim`.
type Command struct {
	Scenario    string        `default:"steady" placeholder:"NAME" help:"What happens: see below. Default: steady."`
	Devices     uint64        `default:"10000" placeholder:"N" help:"Devices of the market. Default: 10000."`
	Apps        int           `default:"2000" placeholder:"N" help:"Apps of the market. Default: 2000."`
	Seed        uint64        `default:"1" placeholder:"S" help:"The same seed is the same market, day and devices. Default: 1."`
	Speed       float64       `placeholder:"X" help:"Simulated seconds a second. Default: the scenario's, as 1440: a day a minute."`
	Duration    time.Duration `placeholder:"D" help:"How long to go on, by the simulated clock. Default: the scenario's."`
	Rollout     string        `placeholder:"1,2,5,…" help:"Of release-day: the release is open to these percentages, one a day, and not to everyone at once."`
	Retry       string        `default:"exp15m-fulljitter" enum:"none,fixed60,exp5m-nojitter,exp15m-fulljitter,reconnect" placeholder:"POLICY" help:"Of outage: when a device tries again: none, fixed60, exp5m-nojitter, exp15m-fulljitter or reconnect. Default: exp15m-fulljitter."`
	Connections int           `default:"128" placeholder:"N" help:"Requests at a time; keep-alive connections, as of a proxy that ends TLS. Default: 128."`
	TLS         bool          `name:"tls" help:"A new connection with TLS 1.3 for each check, and none resumed, as devices have it that come directly."`
	Config      string        `type:"existingfile" placeholder:"FILE" help:"Take plugins and limits from this configuration. Its keys, catalogue and addresses are not used."`
	Target      string        `placeholder:"URL" help:"Ask this server, and not one of our own: at the speed of a clock, with its catalogue, which must not change meanwhile. People named p1@example.com and so on sign in there."`
	Admin       string        `placeholder:"URL" help:"Of --target: its admin listener."`
	TokenFile   string        `placeholder:"FILE" help:"Of --target: the file with its admin token."`
	Report      string        `type:"path" placeholder:"FILE" help:"Write a page with plots of all that was measured."`
	JSON        bool          `name:"json" help:"Print JSON, for machines."`
	MaxLag      time.Duration `default:"20ms" placeholder:"D" help:"A run in which one request of a hundred is sent later than this is void. On a machine that is late itself it is twice the p99.9 of an idle process and 1 ms, if that is more, and five times this at most. 1ms is for a machine whose cores are its own. Default: 20ms."`
	Patience    int           `default:"1" hidden:""`

	progress progress
}

// Help says more than one line does.
func (c *Command) Help() string {
	var b strings.Builder
	b.WriteString(`Without --target it starts a server of its own in a directory that is thrown away,
with the plugin rollout. Requests are sent when they are due, whatever
became of those before, and latencies count from then. The exit code is 0 only if
every check holds, and 1 if one doesn't or if the run is void.

`)
	for _, s := range scenarios {
		fmt.Fprintf(&b, "  %-13s %s\n", s.name, s.does)
	}
	return b.String()
}

// Validate refuses what doesn't go together.
func (c *Command) Validate() error {
	if _, err := scenarioNamed(c.Scenario); err != nil {
		return err
	}
	switch {
	case c.Devices < 1 || c.Devices > 100_000_000:
		return errors.New("--devices has to be 1 to 100000000")
	case c.Apps < 50 || c.Apps > 50_000:
		return errors.New("--apps has to be 50 to 50000")
	case c.Speed < 0 || c.Speed != 0 && c.Speed < 1 || c.Speed > 1_000_000:
		return errors.New("--speed has to be 1 to 1000000")
	case c.Duration < 0 || c.Duration > 60*24*time.Hour:
		return errors.New("--duration has to be up to 1440h")
	case c.Connections < 1 || c.Connections > 20_000:
		return errors.New("--connections has to be 1 to 20000")
	case c.MaxLag <= 0:
		return errors.New("--max-lag has to be more than 0")
	case c.Rollout != "" && c.Scenario != nameReleaseDay:
		return errors.New("--rollout is of --scenario " + nameReleaseDay)
	case c.Target == "" && (c.Admin != "" || c.TokenFile != ""):
		return errors.New("--admin and --token-file are of --target")
	case c.Target != "" && (c.Admin == "" || c.TokenFile == ""):
		return errors.New("--target needs --admin and --token-file: its catalogue is read there, and its devices are signed in")
	case c.Target != "" && c.Speed > 1:
		return errors.New("--target: its clock is the machine's, so --speed is 1")
	case c.Target != "" && c.Config != "":
		return errors.New("--config is for a server of our own, and --target has its configuration")
	}
	_, err := shares(c.Rollout)
	return err
}

// Run simulates.
func (c *Command) Run() error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	return c.run(ctx, os.Stdout)
}

func (c *Command) run(ctx context.Context, out io.Writer) error {
	result, err := c.simulate(ctx)
	c.progress.end()
	if err != nil {
		return err
	}
	if err := c.print(out, result); err != nil {
		return err
	}
	if verdict, why := result.Verdict(); verdict != report.Holds {
		return fmt.Errorf("%s: %s", verdict, why)
	}
	return nil
}

// line is the command line that does the same again. Where an admin token lies is not for
// a report.
func (c *Command) line(r *report.Result) string {
	b := fmt.Sprintf("souk sim --scenario %s --devices %d --seed %d --speed %g --duration %v", c.Scenario, c.Devices, c.Seed, r.Speed, r.Simulated)
	for _, f := range []struct{ flag, value, usual string }{
		{"apps", strconv.Itoa(c.Apps), "2000"}, {"rollout", c.Rollout, ""}, {"retry", c.Retry, "exp15m-fulljitter"}, {"config", c.Config, ""}, {"target", c.Target, ""}, {"admin", c.Admin, ""},
		{"connections", strconv.Itoa(c.Connections), "128"}, {"max-lag", c.MaxLag.String(), "20ms"},
	} {
		if f.value != f.usual {
			b += " --" + f.flag + " " + quoted(f.value)
		}
	}
	if c.TLS {
		b += " --tls"
	}
	return b
}

// quoted is a word for a shell, also where it has blanks or more.
func quoted(s string) string {
	special := func(c rune) bool {
		return (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && !strings.ContainsRune("-_./,:=@%+", c)
	}
	if s != "" && strings.IndexFunc(s, special) < 0 {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// software is what is under test: this program.
func software() string {
	version := "of an unknown version"
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		version = info.Main.Version
	}
	return "souk " + version + ", " + runtime.Version()
}

// print writes the result in the forms that were asked for.
func (c *Command) print(out io.Writer, result *report.Result) (err error) {
	if c.Report != "" {
		f, err := os.Create(c.Report)
		if err != nil {
			return fmt.Errorf("--report: %w", err)
		}
		if err := errors.Join(report.HTML(f, result), f.Close()); err != nil {
			return fmt.Errorf("--report: %w", err)
		}
	}
	if c.JSON {
		return report.JSON(out, result)
	}
	return report.Text(out, result)
}
