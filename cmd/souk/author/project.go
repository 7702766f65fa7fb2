package author

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/BurntSushi/toml"

	"github.com/souk-market/souk/core"
	"github.com/souk-market/souk/core/plugin"
)

// File describes a project in its folder.
const File = "souk-plugin.toml"

// Project is a folder in which a plugin is written. Below its own keys the file has
// those of a [[plugin]] in config.toml.
type Project struct {
	Lang     string   `toml:"lang"`     // one of Languages
	Source   string   `toml:"source"`   // what is built; "" = guest with the ending of the language
	Compiler string   `toml:"compiler"` // "" = the one that is found
	Build    []string `toml:"build"`    // commands, run in the folder without a shell, instead of those of the language
	Cases    []string `toml:"cases"`    // files that `souk plugin test` asks; empty = cases.toml
	plugin.Spec

	Dir string `toml:"-"` // the folder
}

// ErrNoProject says that a folder has no File.
var ErrNoProject = errors.New("author: no project")

// Open reads the project in a folder. The error names the file, and wraps
// ErrNoProject where there is none.
func Open(dir string) (*Project, error) {
	file := filepath.Join(dir, File)
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &missing{dir}
	} else if err != nil {
		return nil, err
	}
	p := &Project{Spec: plugin.DefaultSpec(), Dir: dir}
	meta, err := toml.Decode(string(text), p)
	if parse, ok := errors.AsType[toml.ParseError](err); ok {
		return nil, fmt.Errorf("%s: line %d: %s", file, parse.Position.Line, parse.Message)
	} else if err != nil {
		return nil, fmt.Errorf("%s: %w", file, core.Mistyped(err))
	}
	for _, key := range meta.Undecoded() {
		if key[0] != "config" {
			return nil, fmt.Errorf("%s: %s: there is no such key: beside lang, source, compiler, build and cases it has those of a [[plugin]] in config.toml", file, key)
		}
	}
	if len(p.Build) == 0 {
		l, err := languageOf(p.Lang)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		if p.Source == "" {
			p.Source = l.source
		}
	}
	if len(p.Cases) == 0 {
		p.Cases = []string{"cases.toml"}
	}
	if p.Spec.File == "" {
		p.Spec.File = "plugin.wasm"
	}
	if err := p.Spec.Validate("plugin"); err != nil {
		return nil, fmt.Errorf("%s: %s", file, strings.TrimPrefix(err.Error(), "plugin."))
	}
	return p, nil
}

type missing struct{ dir string }

func (m *missing) Error() string {
	return fmt.Sprintf("%s has no %s: go to a plugin's folder, or make one with \"souk plugin new --lang c NAME\"", m.dir, File)
}

func (m *missing) Unwrap() error { return ErrNoProject }

// Path is a path of the project's file.
func (p *Project) Path(name string) string {
	if filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(p.Dir, name)
}

// Module is the path of what is built.
func (p *Project) Module() string { return p.Path(p.Spec.File) }

// First is what has to be run once before the first build, "" for nothing.
func (p *Project) First() string {
	if l, err := languageOf(p.Lang); err == nil {
		return l.first
	}
	return ""
}

// Stale says whether the source was written after the module was built.
func (p *Project) Stale() bool {
	source, err := os.Stat(p.Path(p.Source))
	if err != nil || p.Source == "" {
		return false
	}
	module, err := os.Stat(p.Module())
	return err == nil && source.ModTime().After(module.ModTime())
}

// write makes a file, and its folder, that is not there yet.
func write(file string, text []byte) error {
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	return errors.Join(err, f.Close())
}
