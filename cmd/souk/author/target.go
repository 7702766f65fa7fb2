package author

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/souk-market/souk/core/plugin"
	"github.com/souk-market/souk/core/plugin/cases"
)

// Target is a module that is checked or tested, and as what.
type Target struct {
	File     string      // the module
	Dir      string      // where relative paths of the Spec start
	Spec     plugin.Spec // its limits and configuration
	AllowAll bool        // nobody has said what it may import: all that a plugin can
	Cases    []string    // files; those that were named nowhere may be missing
	Project  *Project    // nil = the module stands alone
}

// TargetOf finds out what a path means: a project's folder, the module of a
// project, or a module that stands alone, which has its cases beside it.
func TargetOf(path string) (*Target, error) {
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		p, err := Open(path)
		if err != nil {
			return nil, err
		}
		return p.target(), nil
	}
	dir := filepath.Dir(path)
	p, err := Open(dir)
	switch {
	case err == nil && filepath.Clean(p.Module()) == filepath.Clean(path):
		return p.target(), nil
	case err != nil && !errors.Is(err, ErrNoProject):
		return nil, err
	}
	t := &Target{File: path, Dir: dir, Spec: plugin.DefaultSpec(), AllowAll: true, Cases: []string{filepath.Join(dir, "cases.toml")}}
	t.Spec.Name = strings.TrimSuffix(filepath.Base(path), filepath.Ext(path))
	t.Spec.File = path
	if t.Spec.Validate("") != nil {
		t.Spec.Name = "plugin"
	}
	if suite, err := t.Suite(t.Cases[0]); err == nil {
		t.Spec.Config = suite.Config
	}
	return t, nil
}

func (p *Project) target() *Target {
	t := &Target{File: p.Module(), Dir: p.Dir, Spec: p.Spec, Project: p}
	for _, name := range p.Cases {
		t.Cases = append(t.Cases, p.Path(name))
	}
	return t
}

// Loadable is the Spec with the module. Where nobody has said what it may, it may
// import what it imports, and reaches no other server.
func (t *Target) Loadable(wasm []byte, o plugin.Outline) plugin.Spec {
	s := t.Spec
	s.Wasm = wasm
	if t.AllowAll {
		s.Allow = o.Groups
		if slices.Contains(s.Allow, "http") && len(s.Hosts) == 0 {
			s.Hosts = []string{"plugin.invalid"} // RFC 2606 §2
		}
	}
	return s
}

// Suite reads a file of cases.
func (t *Target) Suite(file string) (*cases.Suite, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	return cases.Parse(file, text)
}

// Refused makes the error of the module's load that of a file, and says where an
// author changes what it may.
func (t *Target) Refused(err error) error {
	text := err.Error()
	for _, place := range []string{"plugin[0] " + t.Spec.Name + ": ", "plugin[0]."} {
		cause, ok := strings.CutPrefix(text, place)
		if !ok {
			continue
		}
		if t.Project != nil && strings.Contains(cause, "allow list") {
			cause += ", allow in " + t.Project.Path(File)
		}
		if t.Project != nil {
			cause = strings.Replace(cause, "remove its [plugin.config]", "remove [config] from "+t.Project.Path(File)+", or export configure", 1)
		}
		return fmt.Errorf("%s: %s", t.File, cause)
	}
	return err
}
