package author

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"

	"github.com/souk-market/souk/sdk/toolchain"
)

// Make builds the module, and says with what. The error is one sentence that says what to install or
// to run first; what a compiler has against the source follows on lines of its own.
func (p *Project) Make() (with string, err error) {
	if len(p.Build) > 0 {
		return "the commands of " + File, p.runOwn()
	}
	l, err := languageOf(p.Lang)
	if err != nil {
		return "", err
	}
	if _, err := os.Stat(p.Path(p.Source)); err != nil {
		return "", fmt.Errorf("%s doesn't exist: name what is built with source = in %s", p.Path(p.Source), File)
	}
	chain, err := p.chain(l)
	if err != nil {
		return "", err
	}
	if err := chain.Build(p.Dir, path.Clean(filepath.ToSlash(p.Source)), p.Module()); err != nil {
		return "", p.explain(err)
	}
	compiler := filepath.Base(chain.Compiler())
	version, err := chain.Version(p.Dir)
	switch {
	case err != nil:
		return compiler, nil
	case strings.HasPrefix(version, compiler):
		return version, nil
	}
	return compiler + " (" + version + ")", nil
}

// chain is the toolchain of the project's copy of the SDK, with the compiler of
// this machine.
func (p *Project) chain(l *language) (*toolchain.Toolchain, error) {
	chains, err := toolchain.Read(p.SDK())
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("%s has no copy of the SDK: run \"souk plugin sdk\" there", p.Dir)
	} else if err != nil {
		return nil, err
	}
	for _, c := range chains {
		if c.Language != l.name {
			continue
		}
		compiler := p.Compiler
		if compiler == "" {
			if compiler, err = l.find(p, c); err != nil {
				return nil, err
			}
		}
		return c.With(compiler, "sdk/assemblyscript/node_modules/", "node_modules/", "sdk/", sdkDir+"/sdk/"), nil
	}
	return nil, fmt.Errorf("%s names no toolchain for %s: run \"souk plugin sdk\" to have the SDK of this program", filepath.Join(p.SDK(), toolchain.List), l.name)
}

// explain makes one sentence of the failures that a newcomer meets.
func (p *Project) explain(err error) error {
	f, ok := errors.AsType[*toolchain.Failure](err)
	if !ok {
		return err
	}
	switch {
	case strings.Contains(f.Output, "linker `") && strings.Contains(f.Output, "not found"):
		return &lacking{"rustc has no linker for WebAssembly: install one with \"apt install lld\""}
	case strings.Contains(f.Output, "go.mod requires go >="):
		return fmt.Errorf("this Go is too old for the SDK: %s", strings.TrimSpace(f.Output))
	}
	return fmt.Errorf("%s is not built, the compiler says:\n%s", p.Path(p.Source), strings.TrimSpace(f.Output))
}

// runOwn runs the commands of the project's file.
func (p *Project) runOwn() error {
	for _, command := range p.Build {
		words := strings.Fields(command)
		if len(words) == 0 {
			return fmt.Errorf("%s: build: a command is empty", p.Path(File))
		}
		cmd := exec.Command(words[0], words[1:]...)
		cmd.Dir = p.Dir
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w\n%s", command, err, strings.TrimSpace(string(out)))
		}
	}
	if _, err := os.Stat(p.Module()); err != nil {
		return fmt.Errorf("the commands of build made no %s: name what they make with file = in %s", p.Module(), File)
	}
	return nil
}
