package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/souk-market/souk/core/plugin"
	"github.com/souk-market/souk/core/plugin/bench"
	"github.com/souk-market/souk/sdk/examples"
)

// pluginBench measures plugins, or the example in each language.
type pluginBench struct {
	Files     []string `arg:"" optional:"" name:"file" help:"Modules to measure. None: the same small policy in each language."`
	Rounds    int      `default:"20" help:"How often each is measured, in turn. Default: 20."`
	Config    string   `placeholder:"FILE" help:"JSON that the modules are configured with."`
	Against   string   `placeholder:"FILE" help:"An earlier build of the one module, to compare the fuel with."`
	FailAbove *share   `placeholder:"SHARE" help:"With --against: exit with 1 if a question needs so much more fuel, like 10%."`
	Check     bool     `help:"Without files: exit with 1 if a target is missed. With files: if a question fails."`
	Slack     float64  `default:"1" help:"With --check: how far beyond its target a ratio may be, on a machine that others use too: 1.5 is half as much again. Default: 1."`
	JSON      bool     `name:"json" help:"Print JSON, for machines."`
}

// Help says more than one line does.
func (c *pluginBench) Help() string {
	return `Asks questions as a server does, for many devices, and says what they cost. Fuel
is the same on every machine; times are this machine's, so they also come as
ratios to what was measured beside them, in the same rounds: a bare call of the
same module with the same bytes by the engine alone, without meter, limits and
checks, and the same policy as a Go function.

A module gets what it imports, an empty store and no network. --against and
--fail-above are for the tests of a plugin: they look at fuel only.`
}

// Validate refuses what doesn't go together.
func (c *pluginBench) Validate() error {
	switch {
	case c.Rounds < 1 || c.Rounds > 10_000:
		return errors.New("--rounds has to be 1 to 10000")
	case c.Against != "" && len(c.Files) != 1:
		return errors.New("--against compares with one module: name one file")
	case c.FailAbove != nil && c.Against == "":
		return errors.New("--fail-above needs the build to compare with: add --against")
	case c.Config != "" && len(c.Files) == 0:
		return errors.New("--config is for the modules of files: name one")
	case c.Slack < 1:
		return errors.New("--slack has to be 1 or more")
	}
	return nil
}

// Run measures.
func (c *pluginBench) Run(std *streams) error {
	ctx := context.Background()
	o := bench.Options{Rounds: c.Rounds, Fuel: c.Against != ""}
	if len(c.Files) == 0 {
		return c.languages(ctx, o, std)
	}
	config, err := c.config()
	if err != nil {
		return err
	}
	var reports []*bench.Plugin
	for _, file := range append(c.Files, c.old()...) {
		report, err := c.measure(ctx, o, file, config)
		if err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		reports = append(reports, report)
	}
	if c.Against != "" {
		return c.compare(reports[0], reports[1], std)
	}
	if c.JSON {
		err = std.printJSON(map[string]any{"plugins": reports})
	} else {
		err = printPlugins(std, reports)
	}
	if err != nil {
		return err
	}
	for _, r := range reports {
		if c.Check && !r.Fits {
			return errReported
		}
	}
	return nil
}

func (c *pluginBench) old() []string {
	if c.Against == "" {
		return nil
	}
	return []string{c.Against}
}

func (c *pluginBench) config() (config map[string]any, err error) {
	if c.Config == "" {
		return nil, nil
	}
	text, err := os.ReadFile(c.Config)
	if err != nil {
		return nil, fmt.Errorf("--config: %w", err)
	}
	if err := json.Unmarshal(text, &config); err != nil {
		return nil, fmt.Errorf("--config: %s is no JSON object: %w", c.Config, err)
	}
	return config, nil
}

func (c *pluginBench) measure(ctx context.Context, o bench.Options, file string, config map[string]any) (*bench.Plugin, error) {
	if info, err := os.Stat(file); err == nil && info.IsDir() {
		return nil, errors.New("is a folder: name a module (.wasm) in it")
	}
	wasm, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	s := plugin.DefaultSpec()
	s.Name, s.Wasm, s.Config = "bench", wasm, config
	s.Allow, s.Hosts = []string{"log", "kv", "password", "crypto", "secret", "http", "metric"}, []string{"bench.invalid"}
	return bench.MeasurePlugin(ctx, o, filepath.Base(file), s)
}

func printPlugins(std *streams, reports []*bench.Plugin) error {
	var rows []string
	for _, r := range reports {
		for _, q := range r.Questions {
			if q.Failure != "" {
				rows = append(rows, cells(r.Name, q.Hook, q.Question, fmt.Sprint(q.Fuel), "fails: "+q.Failure))
				continue
			}
			rows = append(rows, cells(r.Name, q.Hook, q.Question, fmt.Sprint(q.Fuel), part(float64(q.Fuel)/float64(q.Limit)),
				nanos(q.Time.Min), nanos(q.Time.Median), ratio(q.Ratio), ratio(q.Native)))
		}
	}
	if err := std.table(cells("plugin", "hook", "question", "fuel", "of its limit", "least", "median", "to bare", "to native"), rows); err != nil {
		return err
	}
	deadline := plugin.DefaultSpec().Deadline
	for _, r := range reports {
		fmt.Fprintf(std.out, "%s: %d KiB of code, %d KiB of memory at its start and %d KiB more in the end",
			r.Name, (r.Size+1023)>>10, r.Memory>>10, r.Grown>>10)
		if r.Growing {
			fmt.Fprint(std.out, ", and still growing: does it free what it allocates?")
		}
		fmt.Fprintln(std.out)
		if r.Fits {
			fmt.Fprintf(std.out, "%s: fits the default limits of %d fuel and %v\n", r.Name, plugin.DefaultSpec().Fuel, deadline)
		} else {
			fmt.Fprintf(std.out, "%s: does not fit the default limits\n", r.Name)
		}
	}
	return nil
}

// compare looks at fuel only, which is the same on every machine.
func (c *pluginBench) compare(now, before *bench.Plugin, std *streams) error {
	changes, err := now.Against(before)
	if err != nil {
		return err
	}
	if c.JSON {
		err = std.printJSON(map[string]any{"plugin": now, "against": before, "changes": changes})
	} else {
		var rows []string
		for _, x := range changes {
			rows = append(rows, cells(x.Hook, x.Question, fmt.Sprint(x.Before), fmt.Sprint(x.Now), fmt.Sprintf("%+.1f %%", x.Percent)))
		}
		err = std.table(cells("hook", "question", "fuel before", "now", "change"), rows)
	}
	if err != nil {
		return err
	}
	for _, r := range []*bench.Plugin{before, now} {
		for _, q := range r.Questions {
			if q.Failure != "" {
				return fmt.Errorf("%s: %s, %s: %s", r.Name, q.Hook, q.Question, q.Failure)
			}
		}
	}
	for _, x := range changes {
		if c.FailAbove != nil && x.Percent > float64(*c.FailAbove)/100 {
			return fmt.Errorf("%s, %s needs %.1f %% more fuel than before: at most %.4g %% are allowed", x.Hook, x.Question, x.Percent, float64(*c.FailAbove)/100)
		}
	}
	return nil
}

// languages compares the example of the SDKs in each language.
func (c *pluginBench) languages(ctx context.Context, o bench.Options, std *streams) error {
	var modules []bench.Module
	for _, e := range examples.All() {
		modules = append(modules, bench.Module{Name: e.Language, Wasm: e.Wasm})
	}
	r, err := bench.CompareLanguages(ctx, o, modules)
	if err != nil {
		return err
	}
	if c.JSON {
		err = std.printJSON(r)
	} else {
		err = printLanguages(std, r)
	}
	if err != nil {
		return err
	}
	for _, t := range r.Targets {
		if c.Check && t.Have > t.Most*c.Slack {
			return errReported
		}
	}
	return nil
}

func printLanguages(std *streams, r *bench.Languages) error {
	var rows []string
	for _, x := range r.Native {
		rows = append(rows, cells(x.Language, x.Question, "", nanos(x.Time.Min), nanos(x.Time.Median)))
	}
	for _, x := range append(r.Empty, r.Languages...) {
		rows = append(rows, cells(x.Language, x.Question, fmt.Sprint(x.Fuel), nanos(x.Time.Min), nanos(x.Time.Median), nanos(x.Bare.Min), ratio(x.Ratio), ratio(x.Meter), ratio(x.Native)))
	}
	if err := std.table(cells("guest", "question", "fuel", "least", "median", "bare call", "to bare", "meter alone", "to native"), rows); err != nil {
		return err
	}
	fmt.Fprintf(std.out, "\nloops: %s bare, %s metered\n", nanos(r.Loop.Bare.Min), nanos(r.Loop.Metered.Min))
	fmt.Fprintf(std.out, "%d goroutines: %s a question, %s with an instance each\n\n", r.Parallel.Goroutines, nanos(r.Parallel.Shared.Min), nanos(r.Parallel.Own.Min))
	rows = nil
	for _, t := range r.Targets {
		verdict := "holds"
		if !t.Holds {
			verdict = "missed"
		}
		rows = append(rows, cells(t.Name, ratio(t.Have), ratio(t.Most), verdict))
	}
	return std.table(cells("target", "ratio", "at most", ""), rows)
}

func nanos(n float64) string {
	d := time.Duration(n)
	switch {
	case d >= 10*time.Millisecond:
		return d.Round(100 * time.Microsecond).String()
	case d >= 10*time.Microsecond:
		return d.Round(100 * time.Nanosecond).String()
	}
	return d.String()
}

func ratio(r float64) string {
	if r == 0 {
		return ""
	}
	return fmt.Sprintf("%.2f", r)
}

func part(share float64) string { return fmt.Sprintf("%.2g %%", 100*share) }
