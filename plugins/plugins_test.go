//go:build !wasip1

package plugins_test

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/BurntSushi/toml"

	"github.com/souk-market/souk/core/coretest"
	"github.com/souk-market/souk/core/plugin"
	"github.com/souk-market/souk/core/plugin/cases"
	"github.com/souk-market/souk/core/unit"
	"github.com/souk-market/souk/plugins"
)

// shipped are the names of the plugins, and the groups that each may import.
var shipped = map[string][]string{
	"accounts":  {"kv", "password", "log"},
	"allowlist": nil,
	"oidc":      {"http", "kv", "log", "secret"},
	"quota":     nil,
	"region":    nil,
	"rollout":   nil,
}

var cache = coretest.Cache()

// configure loads a plugin in the real host.
func configure(t *testing.T, name string, config map[string]any) error {
	t.Helper()
	s := plugin.DefaultSpec()
	s.Name, s.Allow, s.Config = name, shipped[name], config
	if slices.Contains(s.Allow, "http") {
		s.Hosts = []string{"id.example.com"}
	}
	s.Wasm, _ = plugins.ByName(name)
	s.StartDeadline = unit.Duration(time.Minute) // -race, and a busy machine
	h, err := plugin.Open(t.Context(), plugin.Options{Specs: []plugin.Spec{s}, Cache: cache, KV: func(string) (plugin.KV, error) { return nil, nil }})
	if err != nil {
		return err
	}
	return h.Close(t.Context())
}

func TestEveryPluginIsShipped(t *testing.T) {
	folders, err := filepath.Glob("*/README.md")
	if err != nil || len(folders) != len(shipped) {
		t.Errorf("the folders are %v, %v; this test knows %d plugins", folders, err, len(shipped))
	}
	if names := plugins.Names(); len(names) != len(shipped) || !slices.IsSorted(names) {
		t.Errorf("Names = %v, want the %d in order", names, len(shipped))
	}
	for name := range shipped {
		module, ok := plugins.ByName(name)
		if !ok || !bytes.HasPrefix(module, []byte("\x00asm\x01\x00\x00\x00")) {
			t.Errorf("ByName(%q) gives no module", name)
		}
	}
	if _, ok := plugins.ByName("nothing"); ok {
		t.Error("ByName gives a module that nobody ships")
	}
}

// TestCases asks each plugin what its cases.toml has.
func TestCases(t *testing.T) {
	for name := range shipped {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(name, "cases.toml")
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			suite, err := cases.Parse(file, text)
			if err != nil {
				t.Fatal(err)
			}
			s := plugin.DefaultSpec()
			s.Name, s.Allow, s.Config = name, shipped[name], suite.Config
			if slices.Contains(s.Allow, "http") {
				s.Hosts = []string{"id.example.com"}
			}
			s.Wasm, _ = plugins.ByName(name)
			results, err := suite.Try(t.Context(), plugin.Options{Specs: []plugin.Spec{s}, Cache: cache})
			if err != nil || len(results) < 6 {
				t.Fatalf("%d cases, %v", len(results), err)
			}
			if err := cases.Failed(results); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestReadmes loads the configuration that each README shows, as the server
// hands it to the plugin, and looks for every key of it in the README's table.
func TestReadmes(t *testing.T) {
	for name := range shipped {
		text, err := os.ReadFile(filepath.Join(name, "README.md"))
		if err != nil {
			t.Error(err)
			continue
		}
		_, example, _ := strings.Cut(string(text), "```toml\n")
		example, _, ok := strings.Cut(example, "```")
		if !ok {
			t.Errorf("%s: the README shows no configuration", name)
			continue
		}
		var file struct {
			Plugin []struct {
				Name, File string
				Config     map[string]any
			}
		}
		if _, err := toml.Decode(example, &file); err != nil || len(file.Plugin) != 1 {
			t.Errorf("%s: the README's configuration: %v, %d plugins", name, err, len(file.Plugin))
			continue
		}
		p := file.Plugin[0]
		if p.File != "builtin:"+name || p.Name != name {
			t.Errorf("%s: the README configures %s from %s", name, p.Name, p.File)
		}
		if err := configure(t, name, p.Config); err != nil {
			t.Errorf("%s: the README's configuration is refused: %v", name, err)
		}
		for key := range p.Config {
			if !strings.Contains(string(text), "| `"+key+"` |") && !strings.Contains(string(text), "| `"+key+".") {
				t.Errorf("%s: the README's table has no key %s", name, key)
			}
		}
		p.Config["no such key"] = 1
		if err := configure(t, name, p.Config); err == nil || !strings.Contains(err.Error(), "no such key: there is no such key") {
			t.Errorf("%s: with a key that it doesn't know it says %v", name, err)
		}
	}
}
