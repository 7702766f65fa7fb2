package main

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/souk-market/souk/core"
)

// checkCommand looks for mistakes before a start does.
type checkCommand struct {
	Config string `default:"config.toml" placeholder:"FILE" help:"The configuration to look over. Default: config.toml."`
}

// Help says more than one line does.
func (c *checkCommand) Help() string {
	return `Reads the configuration, the certificate and the keys that it names, the
catalogue file and the plugins, which it loads and configures as a start would.
It needs neither the store nor an address, so it may run beside the server.

Prints each problem as "file: key: what is wrong and what would be right" and
exits with 1, or says what it found and exits with 0.`
}

// Run checks.
func (c *checkCommand) Run(std *streams) error {
	config, err := load(c.Config)
	if err != nil {
		fmt.Fprintln(std.err, err)
		return errReported
	}
	config.Key = os.Getenv("SOUK_KEY")
	report, problems := core.Check(context.Background(), config)
	for _, problem := range problems {
		fmt.Fprintf(std.err, "%s: %v\n", c.Config, problem)
	}
	if len(problems) > 0 {
		return errReported
	}
	fmt.Fprintf(std.out, "%s is good\n", c.Config)
	for _, p := range report.Plugins {
		hooks := make([]string, len(p.Hooks))
		for i, h := range p.Hooks {
			if hooks[i] = h.Hook; p.Shadow != nil {
				hooks[i] += " (shadow)"
			}
		}
		fmt.Fprintf(std.out, "plugin   %s: %s\n", p.Name, strings.Join(hooks, ", "))
	}
	if len(report.Plugins) == 0 {
		fmt.Fprintln(std.out, "plugin   none: nobody can sign in")
	}
	if config.Catalog.File == "" {
		fmt.Fprintln(std.out, "apps     no catalogue file: they come over the admin API")
	} else {
		fmt.Fprintf(std.out, "apps     %d in %s\n", report.Apps, config.Catalog.File)
	}
	return nil
}
