// Package toolchain builds modules: it reads sdk/TOOLCHAINS, which names for each
// language a compiler and its commands, and runs them. In this repository the same
// source gives the same bytes on every machine; `souk plugin build` runs the same
// commands over a copy of the SDK. It refuses to know what a module is for.
package toolchain

import (
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// List is where the toolchains are named, below the root of the repository.
const List = "sdk/TOOLCHAINS"

// Toolchain is a section of the list: how one language is built.
type Toolchain struct {
	Language string
	Source   string   // how the names of sources end, with the dot
	Asked    []string // the command that says which version there is …
	Answers  string   // … and how its answer begins
	Env      []string // KEY=value, for each command
	Runs     [][]string
}

// Module is a source and what is built from it, as paths with slashes below the
// root of the repository.
type Module struct{ Source, Wasm string }

// Read reads the list of the repository at root.
func Read(root string) ([]*Toolchain, error) {
	b, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(List)))
	if err != nil {
		return nil, err
	}
	return Parse(b)
}

// Parse reads the text of the list.
func Parse(b []byte) ([]*Toolchain, error) {
	var chains []*Toolchain
	for line := range strings.Lines(string(b)) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		value = strings.TrimSpace(value)
		switch {
		case key == "" || key[0] == '#':
		case key[0] == '[':
			chains = append(chains, &Toolchain{Language: strings.Trim(key, "[]")})
		case len(chains) == 0:
			return nil, fmt.Errorf("%s: %s belongs to no language", List, key)
		default:
			c := chains[len(chains)-1]
			switch key {
			case "source":
				c.Source = value
			case "asked":
				c.Asked = words(value)
			case "answers":
				c.Answers = value
			case "env":
				c.Env = words(value)
			case "run":
				c.Runs = append(c.Runs, words(value))
			default:
				return nil, fmt.Errorf("%s: what is %s?", List, key)
			}
		}
	}
	for _, c := range chains {
		if c.Source == "" || len(c.Asked) == 0 || c.Answers == "" || len(c.Runs) == 0 {
			return nil, fmt.Errorf("%s: [%s] needs source, asked, answers and run", List, c.Language)
		}
	}
	return chains, nil
}

// words are the words of a command; "a b" is one.
func words(s string) []string {
	var list []string
	for i, part := range strings.Split(s, `"`) {
		if i%2 == 1 {
			list = append(list, part)
		} else {
			list = append(list, strings.Fields(part)...)
		}
	}
	return list
}

// Compiler is the program that the commands begin with.
func (c *Toolchain) Compiler() string { return c.Runs[0][0] }

// With returns the toolchain with another compiler, "" for the same, and with texts
// of its commands replaced, in pairs, as strings.NewReplacer has them: for an SDK in
// another place.
func (c *Toolchain) With(compiler string, pairs ...string) *Toolchain {
	other, r := *c, strings.NewReplacer(pairs...)
	replaced := func(command []string) []string {
		command = slices.Clone(command)
		for i := range command {
			command[i] = r.Replace(command[i])
		}
		if compiler != "" {
			command[0] = compiler
		}
		return command
	}
	other.Asked, other.Runs = replaced(c.Asked), nil
	for _, run := range c.Runs {
		other.Runs = append(other.Runs, replaced(run))
	}
	return &other
}

// Check refuses a compiler that is missing, or another one: it would make other
// bytes.
func (c *Toolchain) Check(root string) error {
	version, err := c.Version(root)
	if err != nil {
		return err
	}
	if !strings.HasPrefix(version, c.Answers) {
		return fmt.Errorf("%s: the modules are built with %s, this is %s: see %s", c.Language, c.Answers, version, List)
	}
	return nil
}

// Version is the first line of what the compiler says of itself.
func (c *Toolchain) Version(root string) (string, error) {
	cmd := exec.Command(c.Asked[0], c.Asked[1:]...)
	cmd.Dir = root
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s: %s: %w", c.Language, strings.Join(c.Asked, " "), err)
	}
	first, _, _ := strings.Cut(string(out), "\n")
	return strings.TrimSpace(first), nil
}

// Modules are those in the language in the folders of a tree below root.
func (c *Toolchain) Modules(root, tree string) ([]Module, error) {
	var all []Module
	for _, stem := range []string{"guest", "main"} {
		found, err := filepath.Glob(filepath.Join(root, filepath.FromSlash(tree), "*", stem+c.Source))
		if err != nil {
			return nil, err
		}
		for _, file := range found {
			rel, err := filepath.Rel(root, file)
			if err != nil {
				return nil, err
			}
			source := filepath.ToSlash(rel)
			dir, name := path.Dir(source), stem
			if stem == "main" {
				name = path.Base(dir)
			}
			all = append(all, Module{Source: source, Wasm: path.Join(dir, name+".wasm")})
		}
	}
	return all, nil
}

// Build builds a source, a path with slashes below root, to the file out.
func (c *Toolchain) Build(root, source, out string) error {
	tmp, err := os.MkdirTemp("", "souk-build-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	made := filepath.Join(tmp, "module.wasm")
	places := strings.NewReplacer("$DIR", path.Dir(source), "$SRC", source, "$OUT", made, "$TMP", tmp)
	for _, run := range c.Runs {
		run = slices.Clone(run)
		for i := range run {
			run[i] = places.Replace(run[i])
		}
		cmd := exec.Command(run[0], run[1:]...)
		cmd.Dir = root
		cmd.Env = append(os.Environ(), c.Env...)
		if text, err := cmd.CombinedOutput(); err != nil {
			return &Failure{Command: strings.Join(run, " "), Output: string(text), Err: err}
		}
	}
	b, err := os.ReadFile(made)
	if err != nil {
		return err
	}
	return os.WriteFile(out, b, 0o644)
}

// Failure is the error of a command that didn't build the module.
type Failure struct {
	Command string
	Output  string // what the compiler says
	Err     error
}

// Error has the command, and what it said on the lines behind it.
func (f *Failure) Error() string { return fmt.Sprintf("%s: %v\n%s", f.Command, f.Err, f.Output) }

// Unwrap returns the error of the process.
func (f *Failure) Unwrap() error { return f.Err }
