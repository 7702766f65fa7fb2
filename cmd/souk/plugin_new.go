package main

import (
	"fmt"

	"github.com/souk-market/souk/cmd/souk/author"
)

type pluginNew struct {
	Dir  string   `arg:"" name:"name" help:"The folder to make; its name is the plugin's."`
	Lang string   `required:"" enum:"go,rust,assemblyscript,javascript,c,wat" placeholder:"LANGUAGE" help:"go, rust, assemblyscript, javascript, c or wat."`
	Hook []string `default:"select_version" placeholder:"HOOK" help:"The question that it answers: entitle, select_version, sign_in or exchange. Default: select_version."`
}

// Help says more than one line does.
func (c *pluginNew) Help() string {
	return `The folder is a project of its own: it has a copy of the SDK, so it is built and
tested without this repository and without a network (AssemblyScript and JavaScript
need npm once). The policy works as it is; change it and its cases together.`
}

// Run makes the folder and says how to go on.
func (c *pluginNew) Run(std *streams) error {
	if len(c.Hook) != 1 {
		return fmt.Errorf("--hook: a new plugin answers one question: begin with %s, and add the others to the source and to hooks in %s", c.Hook[0], author.File)
	}
	p, err := author.Create(c.Dir, c.Lang, c.Hook[0])
	if err != nil {
		return err
	}
	fmt.Fprintf(std.out, "made %s: the policy is in %s, what it has to answer in %s\n\nGo on with\n\n  cd %s\n", c.Dir, p.Source, p.Cases[0], c.Dir)
	if first := p.First(); first != "" {
		fmt.Fprintf(std.out, "  %s\n", first)
	}
	fmt.Fprint(std.out, "  souk plugin build\n  souk plugin test\n  souk plugin serve\n")
	return nil
}
