package main

import (
	"fmt"
	"strings"

	"github.com/souk-market/souk/core"
	"github.com/souk-market/souk/plugins"
)

// builtin begins the file of a plugin that comes with the program, so that a
// config.toml works in any directory.
const builtin = "builtin:"

// load reads a configuration, and gives it the modules that the program carries.
func load(file string) (core.Config, error) {
	config, err := core.Load(file)
	if err != nil {
		return config, err
	}
	for i := range config.Plugin {
		spec := &config.Plugin[i]
		name, carried := strings.CutPrefix(spec.File, builtin)
		if !carried {
			continue
		}
		module, ok := plugins.ByName(name)
		if !ok {
			return config, fmt.Errorf("%s: plugin[%d].file: %q is none of %s", file, i, spec.File, strings.Join(plugins.Names(), ", "))
		}
		spec.Wasm = module
	}
	return config, nil
}
