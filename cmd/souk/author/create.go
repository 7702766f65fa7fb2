package author

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/souk-market/souk/core/plugin"
	"github.com/souk-market/souk/sdk/abi"
)

const defaultHook = "select_version"

// Create makes a project in a folder that must not be there, or is empty. Its name
// is the folder's.
func Create(dir, lang, hook string) (*Project, error) {
	l, err := languageOf(lang)
	if err != nil {
		return nil, errors.New("--" + err.Error())
	}
	if _, ok := abi.ParseHook(hook); !ok {
		return nil, fmt.Errorf("--hook: %q is no hook: use %s", hook, hookList())
	}
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	name := filepath.Base(abs)
	s := plugin.DefaultSpec()
	s.Name, s.File = name, "plugin.wasm"
	if err := s.Validate("plugin"); err != nil {
		return nil, errors.New(strings.TrimPrefix(err.Error(), "plugin.name: "))
	}
	source, err := l.template(hook)
	if err != nil {
		return nil, err
	}
	if err := vacant(dir); err != nil {
		return nil, err
	}
	v := layout{Name: name, Lang: l.name, Title: l.title, Source: l.source, Hook: hook, Allow: allows[hook], First: l.first}
	if err := v.versions(l); err != nil {
		return nil, err
	}
	if err := write(filepath.Join(dir, l.source), source); err != nil {
		return nil, err
	}
	if err := v.write(dir, l, files); err != nil {
		return nil, err
	}
	if err := v.write(dir, l, sdkFiles); err != nil {
		return nil, err
	}
	if err := l.copySDK(dir); err != nil {
		return nil, err
	}
	return Open(dir)
}

func hookList() string {
	var names []string
	for _, h := range abi.Hooks {
		names = append(names, h.String())
	}
	return strings.Join(names, ", ")
}

// vacant refuses a folder that has something in it.
func vacant(dir string) error {
	entries, err := os.ReadDir(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err == nil && len(entries) > 0:
		return fmt.Errorf("%s is not empty: choose another name", dir)
	case err != nil:
		return fmt.Errorf("%s is there and no folder: choose another name", dir)
	}
	return nil
}
