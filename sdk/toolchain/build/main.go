// Build makes the committed modules below the named trees again, with what
// sdk/TOOLCHAINS names: `go generate ./plugins` and `go generate ./sdk/conformance`
// run it.
package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/souk-market/souk/sdk/toolchain"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "build:", err)
		os.Exit(1)
	}
}

// run builds what is below the trees, paths with slashes below the repository's
// root. A language that none of them has needs no compiler.
func run(trees []string) error {
	mod, err := exec.Command("go", "env", "GOMOD").Output()
	if err != nil {
		return fmt.Errorf("go env GOMOD: %w", err)
	}
	root := filepath.Dir(strings.TrimSpace(string(mod)))
	chains, err := toolchain.Read(root)
	if err != nil {
		return err
	}
	for _, c := range chains {
		var modules []toolchain.Module
		for _, tree := range trees {
			found, err := c.Modules(root, tree)
			if err != nil {
				return err
			}
			modules = append(modules, found...)
		}
		if len(modules) == 0 {
			continue
		}
		if err := c.Check(root); err != nil {
			return err
		}
		for _, m := range modules {
			if err := c.Build(root, m.Source, filepath.Join(root, filepath.FromSlash(m.Wasm))); err != nil {
				return err
			}
		}
	}
	return nil
}
