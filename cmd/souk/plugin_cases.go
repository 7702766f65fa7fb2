package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"github.com/souk-market/souk/cmd/souk/author"
	"github.com/souk-market/souk/core/plugin"
	"github.com/souk-market/souk/core/plugin/cases"
)

type pluginTest struct {
	Path  string   `arg:"" optional:"" default:"." help:"The folder of a plugin, or a module (.wasm). Default: this folder."`
	Cases []string `placeholder:"FILE" help:"Files of cases. Default: those of souk-plugin.toml, or cases.toml beside the module."`
	asPlugin
	Replay  []string `placeholder:"FILE" help:"Instead of cases: a recording of a server, as [plugins] record makes it. Of several the oldest first."`
	Limit   int      `default:"100" placeholder:"N" help:"Name so many devices of a replay at most; 0 = all. Default: 100."`
	Verbose bool     `short:"v" help:"Show what the plugin answers, and what it writes to the log, also for cases that pass."`
	JSON    bool     `name:"json" help:"Print JSON, for machines."`
}

// Help says more than one line does.
func (c *pluginTest) Help() string {
	return `Each case asks the module, in the server's own host and with a kv in memory, and
compares the answer; sdk/README.md has all that a case can say. Fuel is that of
the costliest question of a case. Exits with 1 if a case fails.

With --replay it asks what devices have asked a server, and says which of them
would have got something else: with the host's answers of then, with fuel and
without deadlines. --name says whose place the module takes in the recording, and
--config with which configuration. Exits with 1 if a decision changes.`
}

// Run tests.
func (c *pluginTest) Run(std *streams) error {
	t, max, err := c.target(c.Path)
	if err != nil {
		return err
	}
	if len(c.Replay) > 0 {
		return c.replay(context.Background(), std, t, max)
	}
	if err := c.idle(); err != nil {
		return err
	}
	return c.cases(context.Background(), std, t, max)
}

// outcome is what came of one file of cases.
type outcome struct {
	File    string         `json:"file"`
	Results []cases.Result `json:"cases"`
}

func (c *pluginTest) cases(ctx context.Context, std *streams, t *author.Target, max int64) error {
	std.stale(t)
	wasm, err := author.ReadModule(t.File, max)
	if err != nil {
		return err
	}
	files := t.Cases
	if len(c.Cases) > 0 {
		files = c.Cases
	}
	outcomes, failed, all := []outcome{}, 0, 0
	for _, file := range files {
		results, err := c.run(ctx, t, file, wasm)
		if err != nil {
			return err
		}
		outcomes = append(outcomes, outcome{file, results})
		if !c.JSON {
			c.print(std, results)
		}
		all += len(results)
		for i := range results {
			if !results[i].Passed() {
				failed++
			}
		}
	}
	if c.JSON {
		err = std.printJSON(map[string]any{"module": t.File, "passed": all - failed, "failed": failed, "files": outcomes})
	} else {
		fmt.Fprintf(std.out, "%d passed, %d failed\n", all-failed, failed)
	}
	if failed > 0 {
		return errors.Join(err, errReported)
	}
	return err
}

func (c *pluginTest) run(ctx context.Context, t *author.Target, file string, wasm []byte) ([]cases.Result, error) {
	suite, err := t.Suite(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s doesn't exist: write what the plugin has to answer into it, or name another file with --cases", file)
	} else if err != nil {
		return nil, err
	}
	o, err := plugin.OutlineOf(wasm)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", t.File, err)
	}
	s := t.Loadable(wasm, o)
	if suite.Config != nil && c.Config == "" {
		s.Config = suite.Config
	}
	results, err := suite.Try(ctx, plugin.Options{Specs: []plugin.Spec{s}, Dir: t.Dir, MaxModule: int64(len(wasm))})
	if err != nil {
		return nil, t.Refused(err)
	}
	return results, nil
}

// said says whether a difference has a line of the log already: a failure has what
// the guest complained about.
func said(r *cases.Result, text string) bool {
	return slices.ContainsFunc(r.Differences, func(d string) bool { return strings.Contains(d, text) })
}

func (c *pluginTest) print(std *streams, results []cases.Result) {
	for i := range results {
		r := &results[i]
		word := "pass"
		if !r.Passed() {
			word = "FAIL"
		}
		fmt.Fprintf(std.out, "%s  %s  (%d fuel)\n", word, printable(r.Case), r.Fuel)
		for _, d := range r.Differences {
			fmt.Fprintf(std.out, "      %s\n", printable(d))
		}
		if c.Verbose {
			for _, answer := range r.Answers {
				fmt.Fprintf(std.out, "      %s\n", printable(answer))
			}
		}
		if c.Verbose || !r.Passed() {
			for _, line := range r.Log {
				if _, text, _ := strings.Cut(line, ": "); !c.Verbose && text != "" && said(r, text) {
					continue
				}
				fmt.Fprintf(std.out, "      log: %s\n", printable(line))
			}
		}
	}
}

// within is a path in a folder, as one name.
func within(dir, path string) string {
	if !filepath.IsAbs(path) {
		path = filepath.Join(dir, path)
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return path
	}
	return abs
}
