// Build makes the modules of the shipped plugins again, with the toolchain and
// the flags that the file TOOLCHAINS names: the same source gives the same
// bytes on every machine. Run it with `go generate ./plugins`.
package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

func main() {
	if err := run("."); err != nil {
		fmt.Fprintln(os.Stderr, "build:", err)
		os.Exit(1)
	}
}

// run builds every plugin below dir.
func run(dir string) error {
	t, err := readToolchain(filepath.Join(dir, "TOOLCHAINS"))
	if err != nil {
		return err
	}
	if err := t.check(); err != nil {
		return err
	}
	names, err := plugins(dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := t.build(filepath.Join(dir, name), filepath.Join(dir, name, name+".wasm")); err != nil {
			return err
		}
	}
	return nil
}

// plugins lists the plugins below dir: the folders with a policy.
func plugins(dir string) ([]string, error) {
	policies, err := filepath.Glob(filepath.Join(dir, "*", "policy"))
	var names []string
	for _, p := range policies {
		names = append(names, filepath.Base(filepath.Dir(p)))
	}
	return names, err
}

// toolchain is what TOOLCHAINS says.
type toolchain struct {
	version string // as `go env GOVERSION` prints it
	env     []string
	flags   []string
	ldflags string
}

func readToolchain(file string) (*toolchain, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	t := &toolchain{}
	for line := range strings.Lines(string(b)) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		value = strings.TrimSpace(value)
		switch {
		case key == "" || key[0] == '#':
		case key == "go":
			t.version = value
		case key == "env":
			t.env = strings.Fields(value)
		case key == "flags":
			t.flags = strings.Fields(value)
		case key == "ldflags":
			t.ldflags = value
		default:
			return nil, fmt.Errorf("%s: what is %s?", file, key)
		}
	}
	return t, nil
}

// check refuses another toolchain: it would make other bytes.
func (t *toolchain) check() error {
	out, err := exec.Command("go", "env", "GOVERSION").Output()
	if err != nil {
		return fmt.Errorf("go env GOVERSION: %w", err)
	}
	if got := string(bytes.TrimSpace(out)); got != t.version {
		return fmt.Errorf("the modules are built with %s, this is %s: put GOTOOLCHAIN=%s in front of the command, "+
			"or change plugins/TOOLCHAINS and commit what go generate ./plugins makes", t.version, got, t.version)
	}
	return nil
}

// build builds the plugin whose main package is in dir.
func (t *toolchain) build(dir, out string) error {
	out, err := filepath.Abs(out)
	if err != nil {
		return err
	}
	args := append([]string{"build"}, t.flags...)
	args = append(args, "-ldflags="+t.ldflags, "-o", out, ".")
	cmd := exec.Command("go", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), t.env...)
	if text, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go %s in %s: %w\n%s", strings.Join(args, " "), dir, err, text)
	}
	return nil
}
