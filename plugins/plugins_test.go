package plugins_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/BurntSushi/toml"

	"github.com/souk-market/souk/plugins"
	accounts "github.com/souk-market/souk/plugins/accounts/policy"
	allowlist "github.com/souk-market/souk/plugins/allowlist/policy"
	rollout "github.com/souk-market/souk/plugins/rollout/policy"
)

// configures reads a configuration with the policy of each plugin.
var configures = map[string]func(json []byte) error{
	"accounts":  func(b []byte) error { _, err := accounts.New(b); return err },
	"allowlist": func(b []byte) error { _, err := allowlist.New(b); return err },
	"rollout":   func(b []byte) error { _, err := rollout.New(b); return err },
}

func TestEveryPluginIsShipped(t *testing.T) {
	folders, err := filepath.Glob("*/policy")
	if err != nil || len(folders) != len(configures) {
		t.Errorf("the folders are %v, %v; this test knows %d plugins", folders, err, len(configures))
	}
	for name := range configures {
		module, ok := plugins.ByName(name)
		if !ok || !bytes.HasPrefix(module, []byte("\x00asm\x01\x00\x00\x00")) {
			t.Errorf("ByName(%q) gives no module", name)
		}
	}
	if _, ok := plugins.ByName("nothing"); ok {
		t.Error("ByName gives a module that nobody ships")
	}
}

// TestReadmes loads the configuration that each README shows, as the server
// hands it to the plugin, and looks for every key of it in the README's table.
func TestReadmes(t *testing.T) {
	for name, configure := range configures {
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
		if _, err := os.Stat(filepath.Join("..", filepath.FromSlash(p.File))); err != nil || p.Name != name {
			t.Errorf("%s: the README configures %s from %s: %v", name, p.Name, p.File, err)
		}
		config, err := json.Marshal(p.Config)
		if err != nil {
			t.Fatal(err)
		}
		if err := configure(config); err != nil {
			t.Errorf("%s: the README's configuration is refused: %v", name, err)
		}
		for key := range p.Config {
			if !strings.Contains(string(text), "| `"+key+"` |") && !strings.Contains(string(text), "| `"+key+".") {
				t.Errorf("%s: the README's table has no key %s", name, key)
			}
		}
		if err := configure([]byte(`{}`)); err != nil {
			t.Errorf("%s: an empty configuration is refused: %v", name, err)
		}
	}
}
