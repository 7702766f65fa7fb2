package main

import (
	"context"
	"fmt"

	"github.com/souk-market/souk/cmd/souk/author"
)

type pluginBuild struct {
	Dir  string `arg:"" optional:"" default:"." help:"The plugin's folder. Default: this one."`
	JSON bool   `name:"json" help:"Print what the check found as JSON, for machines."`
}

// Help says more than one line does.
func (c *pluginBuild) Help() string {
	return `Runs the commands of the plugin's language, which are those of souk/sdk/TOOLCHAINS
in its folder, or the ones that souk-plugin.toml names with build. Where a
compiler is missing it says how to install one.

The folder says what is run, and nothing holds that in: build a plugin of somebody
else's only if you would run a program of theirs.`
}

// Run builds and checks.
func (c *pluginBuild) Run(std *streams) error {
	p, err := author.Open(c.Dir)
	if err != nil {
		return err
	}
	with, err := p.Make()
	if err != nil {
		return err
	}
	if !c.JSON {
		fmt.Fprintf(std.out, "%-9s %s with %s\n", "built", p.Module(), with)
	}
	t, err := author.TargetOf(c.Dir)
	if err != nil {
		return err
	}
	return std.report(context.Background(), t, maxModule, c.JSON)
}
