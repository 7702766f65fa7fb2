package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/souk-market/souk/cmd/souk/author"
	"github.com/souk-market/souk/core"
)

// maxModule is the size of a module where no configuration says another.
var maxModule = int64(core.DefaultConfig().Plugins.MaxModule)

// asPlugin says as which plugin of a server a module is looked at.
type asPlugin struct {
	Config string `placeholder:"FILE" help:"Take it as a plugin of this config.toml, with its limits and [plugin.config]."`
	Name   string `placeholder:"NAME" help:"… and as which. Default: the one that has this file."`
}

type pluginCheck struct {
	File string `arg:"" help:"The module (.wasm), or the folder of a plugin."`
	asPlugin
	Allow []string `placeholder:"GROUP" help:"The groups of host functions that it may import. Default: what it imports, or what souk-plugin.toml says."`
	JSON  bool     `name:"json" help:"Print JSON, for machines."`
}

// Help says more than one line does.
func (c *pluginCheck) Help() string {
	return `Loads the module as a server does, but without deadlines and other servers, and
asks it ordinary questions and the golden vectors of the contract. Fuel is the
same number on every machine. At the end it prints the entry for config.toml.

Exits with 1 and one sentence if a server would refuse the module.`
}

// Run checks.
func (c *pluginCheck) Run(std *streams) error {
	if err := c.idle(); err != nil {
		return err
	}
	t, max, err := c.target(c.File)
	if err != nil {
		return err
	}
	if len(c.Allow) > 0 {
		t.Spec.Allow, t.AllowAll = c.Allow, false
	}
	std.stale(t)
	return std.report(context.Background(), t, max, c.JSON)
}

// stale warns of a module that was built before its source was changed.
func (s *streams) stale(t *author.Target) {
	if t.Project != nil && t.Project.Stale() {
		fmt.Fprintf(s.err, "%s is newer than %s: build it again with \"souk plugin build\"\n", t.Project.Source, t.Spec.File)
	}
}

// target finds out what a path means, and how large the module may be.
func (p *asPlugin) target(path string) (t *author.Target, max int64, err error) {
	if t, err = author.TargetOf(path); err != nil {
		return nil, 0, err
	}
	if p.Config == "" {
		return t, maxModule, nil
	}
	max, err = configured(t, p.Config, p.Name)
	return t, max, err
}

// idle refuses a name that names nothing.
func (p *asPlugin) idle() error {
	if p.Name != "" && p.Config == "" {
		return errors.New("--name: is of no use without --config")
	}
	return nil
}

// configured makes a target one of the plugins of a config.toml.
func configured(t *author.Target, file, name string) (max int64, err error) {
	config, err := load(file)
	if err != nil {
		return 0, err
	}
	var names []string
	for _, s := range config.Plugin {
		names = append(names, s.Name)
		if s.Name == name || name == "" && s.Wasm == nil && within(config.Dir, s.File) == within("", t.File) {
			t.Spec, t.Dir, t.AllowAll = s, config.Dir, false
			if s.InsteadOf != "" { // that one isn't here
				t.Spec.InEarnest()
			}
			return int64(config.Plugins.MaxModule), nil
		}
	}
	if name == "" {
		return 0, fmt.Errorf("%s: no plugin has the file %s: say with --name which one is meant, of %s", file, t.File, strings.Join(names, ", "))
	}
	return 0, fmt.Errorf("%s: there is no plugin %q: it has %s", file, name, strings.Join(names, ", "))
}

// report checks a module and prints what there is to know.
func (s *streams) report(ctx context.Context, t *author.Target, max int64, asJSON bool) error {
	r, err := author.Check(ctx, t, max)
	if err != nil {
		return err
	}
	if asJSON {
		return s.printJSON(r)
	}
	r.Print(s.out)
	fmt.Fprintf(s.out, "\nFor config.toml:\n\n%s", r.Block())
	return nil
}
