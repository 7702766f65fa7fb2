// Package cases reads what a plugin is expected to answer from a file, asks the
// plugin in the real host and says where the answers differ. Plugin authors run
// such a file with `souk plugin test`; a server runs it before it takes a module.
//
// A file is TOML. A case says what is asked and what the answer has to be; what it
// leaves out has a default, so most are short:
//
//	[[case]]
//	name = "a version that is open to nobody is held"
//	hook = "select_version"
//	apps = [{ candidates = [{ short = "3.1.0", rollout = 0 }] }]
//	expect = "hold"
//
// sdk/README.md has all keys. The package refuses to know where the file and the
// module come from, and who reads the results.
package cases

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/BurntSushi/toml"

	"github.com/souk-market/souk/sdk/abi"
)

// Suite is a file of cases.
type Suite struct {
	Name   string         // of the file, for errors
	Config map[string]any // [config]: what the plugin is configured with where nothing else says it; nil = nothing
	Cases  []Case
}

// Case is a sequence of questions, most often one, with what the answers have to
// be. Its kv is its own.
type Case struct {
	Name  string
	Line  int // in the file, from 1
	steps []step
	kv    map[string][]byte // before the first step
	after []kvWant          // after the last
}

// step is one question and what is expected of the answer: one expectation an app
// for entitle and select_version, else one.
type step struct {
	question
	expect []expectation
}

// Hooks are the questions that the cases ask, in order.
func (s *Suite) Hooks() []abi.Hook {
	var hooks []abi.Hook
	for _, c := range s.Cases {
		for _, step := range c.steps {
			if !slices.Contains(hooks, step.hook) {
				hooks = append(hooks, step.hook)
			}
		}
	}
	slices.Sort(hooks)
	return hooks
}

// Parse reads a file of cases. The error names the file, the line, the case and
// the key.
func Parse(name string, b []byte) (*Suite, error) {
	var tree map[string]any
	if _, err := toml.Decode(string(b), &tree); err != nil {
		if parse, ok := errors.AsType[toml.ParseError](err); ok {
			return nil, fmt.Errorf("%s: line %d: %s", name, parse.Position.Line, parse.Message)
		}
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	d := newDocument(string(b))
	s := d.suite(tree)
	if d.err != nil {
		return nil, fmt.Errorf("%s: %w", name, d.err)
	}
	s.Name = name
	return s, nil
}

func (d *document) suite(tree map[string]any) *Suite {
	root := d.table("", tree, "config", "defaults", "case")
	s := &Suite{}
	if config, ok := tree["config"]; ok {
		s.Config = root.open("config", config)
	}
	var defaults map[string]any
	if v, ok := tree["defaults"]; ok {
		defaults = d.table("defaults", v, append([]string{"kv"}, requestKeys...)...).m
	}
	list := root.list("case")
	if len(list) == 0 {
		d.fail("", "case", "there is none: write [[case]] with name, hook and expect")
	}
	names := map[string]bool{}
	for i, v := range list {
		d.enter(i, len(list))
		c := d.readCase(v, defaults)
		if names[c.Name] {
			d.fail("", "name", "an earlier case has the same: choose another")
		}
		names[c.Name] = true
		s.Cases = append(s.Cases, c)
	}
	return s
}

// caseKeys are those of a case beside what is asked.
var caseKeys = []string{"name", "expect", "steps", "kv", "kv_after"}

func (d *document) readCase(v any, defaults map[string]any) Case {
	c := Case{Line: d.line("")}
	if m, ok := v.(map[string]any); ok {
		c.Name, _ = m["name"].(string)
		d.name = c.Name
	}
	t := d.table("", v, append(slices.Clone(caseKeys), requestKeys...)...)
	t.text("name", "")
	if strings.TrimSpace(c.Name) == "" {
		d.fail("", "name", "is missing: say which rule the case is about")
	}
	asked := maps.Clone(defaults)
	if asked == nil {
		asked = map[string]any{}
	}
	maps.Copy(asked, t.m)
	c.kv, c.after = table{d, "", asked}.kv("kv"), t.kvAfter("kv_after")
	steps := t.list("steps")
	if len(steps) == 0 {
		c.steps = append(c.steps, d.readStep("", asked, t.m["expect"]))
		return c
	}
	if t.m["expect"] != nil {
		d.fail("", "expect", "stands beside steps: each step has its own")
	}
	for i, v := range steps {
		path := fmt.Sprintf("steps[%d]", i)
		own := d.table(path, v, append([]string{"expect"}, requestKeys...)...)
		all := maps.Clone(asked)
		maps.Copy(all, own.m)
		c.steps = append(c.steps, d.readStep(path, all, own.m["expect"]))
	}
	return c
}

func (d *document) readStep(path string, asked map[string]any, expect any) step {
	t := table{d, path, asked}
	s := step{question: t.question()}
	if d.err == nil {
		s.expect = t.expectations(&s.question, expect)
	}
	return s
}
