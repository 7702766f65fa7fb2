package main

import (
	"fmt"

	"github.com/souk-market/souk/cmd/souk/author"
)

type pluginSDK struct {
	Dir string `arg:"" optional:"" default:"." help:"The plugin's folder. Default: this one."`
}

// Help says more than one line does.
func (c *pluginSDK) Help() string {
	return `Replaces the folder souk of a plugin, which is a copy of the SDK, by that of this
program: for a plugin that was begun with another version.`
}

// Run replaces the SDK.
func (c *pluginSDK) Run(std *streams) error {
	p, err := author.Open(c.Dir)
	if err != nil {
		return err
	}
	if err := p.ReplaceSDK(); err != nil {
		return err
	}
	fmt.Fprintf(std.out, "replaced %s: go on with \"souk plugin build\" and \"souk plugin test\"\n", p.SDK())
	return nil
}
