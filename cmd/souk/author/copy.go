package author

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/souk-market/souk/sdk"
)

// sdkDir is where a project has its copy of the SDK: like this repository, named
// souk.
const sdkDir = "souk"

// SDK is the folder of the project's copy of the SDK.
func (p *Project) SDK() string { return p.Path(sdkDir) }

// ReplaceSDK makes the copy that of this program.
func (p *Project) ReplaceSDK() error {
	l, err := languageOf(p.Lang)
	if err != nil {
		return fmt.Errorf("%s: %w", p.Path(File), err)
	}
	v := layout{Name: p.Name, Lang: l.name}
	if err := v.versions(l); err != nil {
		return err
	}
	// The new one is whole before the old one goes.
	tmp, err := os.MkdirTemp(p.Dir, ".souk-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	if err := errors.Join(v.write(tmp, l, sdkFiles), l.copySDK(tmp)); err != nil {
		return err
	}
	if err := os.RemoveAll(p.SDK()); err != nil {
		return err
	}
	return os.Rename(filepath.Join(tmp, sdkDir), p.SDK())
}

// copySDK writes the SDK of the language below dir.
func (l *language) copySDK(dir string) error {
	for _, name := range append([]string{"TOOLCHAINS", "ABI.md"}, l.files...) {
		err := fs.WalkDir(sdk.Files, name, func(file string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || strings.HasSuffix(file, "_test.go") || strings.Contains(file, "testdata/") {
				return err
			}
			text, err := fs.ReadFile(sdk.Files, file)
			if err != nil {
				return err
			}
			return write(filepath.Join(dir, sdkDir, "sdk", filepath.FromSlash(file)), text)
		})
		if err != nil {
			return err
		}
	}
	return nil
}
