// Build makes the modules below sdk/conformance and sdk/examples again, with the
// toolchains and commands that the file TOOLCHAINS names: the same source gives
// the same bytes on every machine. Run it with `go generate ./sdk/conformance`.
package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

const list = "sdk/conformance/TOOLCHAINS"

func main() {
	if err := run("../.."); err != nil {
		fmt.Fprintln(os.Stderr, "build:", err)
		os.Exit(1)
	}
}

// run builds all modules in the repository at root.
func run(root string) error {
	chains, err := readToolchains(filepath.Join(root, list))
	if err != nil {
		return err
	}
	for _, c := range chains {
		if err := c.check(root); err != nil {
			return err
		}
		for _, dir := range c.folders(root) {
			if err := c.build(root, dir, filepath.Join(root, dir, "guest.wasm")); err != nil {
				return err
			}
		}
	}
	return nil
}

// toolchain is a part of TOOLCHAINS: how one language is built.
type toolchain struct {
	language string
	asked    []string // the command that says which version there is …
	answers  string   // … and how its answer begins
	env      []string
	runs     [][]string
}

func readToolchains(file string) ([]*toolchain, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var chains []*toolchain
	for line := range strings.Lines(string(b)) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		value = strings.TrimSpace(value)
		switch {
		case key == "" || key[0] == '#':
		case key[0] == '[':
			chains = append(chains, &toolchain{language: strings.Trim(key, "[]")})
		case len(chains) == 0:
			return nil, fmt.Errorf("%s: %s belongs to no language", file, key)
		default:
			c := chains[len(chains)-1]
			switch key {
			case "asked":
				c.asked = words(value)
			case "answers":
				c.answers = value
			case "env":
				c.env = words(value)
			case "run":
				c.runs = append(c.runs, words(value))
			default:
				return nil, fmt.Errorf("%s: what is %s?", file, key)
			}
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

// check refuses a toolchain that is missing, or another one: it would make other
// bytes.
func (c *toolchain) check(root string) error {
	cmd := exec.Command(c.asked[0], c.asked[1:]...)
	cmd.Dir = root
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %s: %w", c.language, strings.Join(c.asked, " "), err)
	}
	if !strings.HasPrefix(string(out), c.answers) {
		first, _, _ := bytes.Cut(out, []byte("\n"))
		return fmt.Errorf("%s: the modules are built with %s, this is %s: see %s", c.language, c.answers, first, list)
	}
	return nil
}

// folders are those below root, relative to it, with a source in the language.
func (c *toolchain) folders(root string) []string {
	var dirs []string
	for _, above := range []string{"sdk/conformance", "sdk/examples"} {
		if _, err := os.Stat(filepath.Join(root, above, c.language)); err == nil {
			dirs = append(dirs, above+"/"+c.language)
		}
	}
	return dirs
}

// build builds the source in a folder.
func (c *toolchain) build(root, dir, out string) error {
	tmp, err := os.MkdirTemp("", "souk-build-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	made := filepath.Join(tmp, "guest.wasm")
	places := strings.NewReplacer("$DIR", dir, "$OUT", made, "$TMP", tmp)
	for _, run := range c.runs {
		run = slices.Clone(run)
		for i := range run {
			run[i] = places.Replace(run[i])
		}
		cmd := exec.Command(run[0], run[1:]...)
		cmd.Dir = root
		cmd.Env = append(os.Environ(), c.env...)
		if text, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w\n%s", strings.Join(run, " "), err, text)
		}
	}
	b, err := os.ReadFile(made)
	if err != nil {
		return err
	}
	return os.WriteFile(out, b, 0o644)
}
