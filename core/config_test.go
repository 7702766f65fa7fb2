package core_test

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/BurntSushi/toml"

	"github.com/souk-market/souk/core"
)

// TestShippedConfigIsTheDefault holds config.toml against the code: it names
// every key there is, with the default that the code has.
func TestShippedConfigIsTheDefault(t *testing.T) {
	const file = "../config.toml"
	got, err := core.Load(file)
	if err != nil {
		t.Fatal(err)
	}
	want := core.DefaultConfig()
	want.Dir, want.Plugin = got.Dir, got.Plugin
	if !reflect.DeepEqual(got, want) {
		t.Errorf("config.toml says %+v,\nthe code has %+v", got, want)
	}
	if len(got.Plugin) == 0 {
		t.Error("config.toml loads no plugin")
	}
	var text map[string]any
	if _, err := toml.DecodeFile(file, &text); err != nil {
		t.Fatal(err)
	}
	eachKey(reflect.TypeFor[core.Config](), nil, func(key []string) {
		table, name := text, key[len(key)-1]
		for _, k := range key[:len(key)-1] {
			table, _ = table[k].(map[string]any)
		}
		if _, ok := table[name]; !ok {
			t.Errorf("config.toml does not show %s", strings.Join(key, "."))
		}
	})
}

// optional are tables that a file has only where they are needed; config.toml
// shows them in comments.
var optional = map[string]bool{"market.overrides": true, "oauth.client": true}

// eachKey calls f for each key of a config struct.
func eachKey(t reflect.Type, prefix []string, f func([]string)) {
	for i := range t.NumField() {
		field := t.Field(i)
		tag := field.Tag.Get("toml")
		switch {
		case tag == "-":
		case tag == "" && field.Anonymous:
			eachKey(field.Type, prefix, f)
		case optional[strings.Join(append(prefix, tag), ".")]:
		case field.Type.Kind() == reflect.Struct:
			eachKey(field.Type, append(prefix, tag), f)
		default:
			f(append(append([]string(nil), prefix...), tag))
		}
	}
}

// TestConfigRefused shows that a wrong file stops the start with a sentence that
// names the file, the key and what to do.
func TestConfigRefused(t *testing.T) {
	const plugged = "[[plugin]]\nname = \"a\"\nfile = \"a.wasm\"\nallow = [\"secret\"]\n"
	for _, c := range []struct{ name, text, want string }{
		{"unknown key", "[server]\nlissten = \"x\"", "server.lissten: there is no such key"},
		{"a text for a number", "[market]\npolling_interval = \"24\"", "line 2: market.polling_interval: is a text in quotes: it has to be a number"},
		{"a text for a list", "[server]\nproxies = \"10.0.0.0/8\"", "line 2: server.proxies: is a text in quotes: it has to be a list"},
		{"a text for a table", "server = \"here\"", "line 1: server: is a text in quotes: it has to be a table"},
		{"a number for a list of a plugin", "[[plugin]]\nname = \"a\"\nallow = 1", "plugin[0]: line 3: plugin.allow: is a number: it has to be a list"},
		{"a text for a truth", "[[plugin]]\nname = \"a\"\nshadow = \"yes\"", "plugin[0]: line 3: plugin.shadow: is a text in quotes: it has to be true or false"},
		{"unknown section", "[servers]\n", "servers: there is no such key"},
		{"unknown key of a plugin", "[[plugin]]\nname = \"a\"\nfile = \"a.wasm\"\nfules = 1", "plugin.fules: there is no such key"},
		{"a plugin's configuration that is a text", "[[plugin]]\nname = \"a\"\nfile = \"a.wasm\"\nconfig = \"x\"", "plugin.config: has to be a table"},
		{"a plugin's configuration that is a list", "[[plugin]]\nname = \"a\"\nfile = \"a.wasm\"\nconfig = [{ a = 1 }]", "plugin.config: has to be a table"},
		{"overrides that are a text", "[market]\noverrides = \"x\"", "market.overrides: has to be tables"},
		{"a trusted key that is none", "[plugins]\ntrusted_keys = [\"RWx\"]", "plugins.trusted_keys[0]: \"RWx\" is no public key of minisign"},
		{"unknown key of a client", "[[oauth.client]]\nid = \"a\"\nsecret = \"x\"", "oauth.client.secret: there is no such key"},
		{"syntax", "[server]\nlisten = \n", "line 2: "},
		{"duration", "[token]\ncode = \"5 minutes\"", "token.code"},
		{"duration out of range", "[token]\ncode = \"1h\"", "token.code: 1h is out of range"},
		{"size", "[limits]\nbody = \"much\"", "limits.body"},
		{"wrong type", "[limits]\napps = \"many\"", "limits.apps"},
		{"address without port", "[server]\nlisten = \"127.0.0.1\"", "server.listen: \"127.0.0.1\" is no address"},
		{"public URL with a path", "[server]\npublic_url = \"https://example.com/market\"", "server.public_url"},
		{"proxy", "[server]\nproxies = [\"10.0.0.1\"]", "server.proxies[0]"},
		{"half of TLS", "[tls]\ncert = \"cert.pem\"", "tls.key: is empty while tls.cert is set"},
		{"polling in seconds", "[market]\npolling_interval = 43200", "market.polling_interval: 43200 is out of range: it counts hours"},
		{"override", "[market.overrides.notes]\npolling_interval = 48", "market.overrides.\"notes\": is no appleItemId"},
		{"entitle default", "[market]\nentitle_default = \"maybe\"", "market.entitle_default: \"maybe\" is no choice"},
		{"durability", "[store]\ndurability = \"yes\"", "store.durability: \"yes\" is no choice"},
		{"days of the audit log", "[store]\naudit_days = -1", "store.audit_days: -1 is out of range"},
		{"files of the audit log", "[store]\naudit_segment = \"1KiB\"", "store.audit_segment: 1KiB is out of range"},
		{"size of the audit log", "[store]\naudit_size = \"16MiB\"", "store.audit_size: 16MiB is too small"},
		{"client without redirect", "[[oauth.client]]\nid = \"a\"", "oauth.client[0].redirect_uris"},
		{"client with http", "[[oauth.client]]\nid = \"a\"\nredirect_uris = [\"http://example.com/\"]", "oauth.client[0].redirect_uris[0]: \"http://example.com/\" is plain http"},
		{"client with fragment", "[[oauth.client]]\nid = \"a\"\nredirect_uris = [\"https://example.com/#a\"]", "has a fragment"},
		{"two clients of one id", "[[oauth.client]]\nid = \"a\"\nredirect_uris = [\"a.b:/c\"]\n[[oauth.client]]\nid = \"a\"\nredirect_uris = [\"a.b:/c\"]", "oauth.client[1].id: \"a\" is there twice"},
		{"plugin without file", "[[plugin]]\nname = \"a\"", "plugin[0].file"},
		{"two plugins of one name", "[[plugin]]\nname = \"a\"\nfile = \"a.wasm\"\n[[plugin]]\nname = \"a\"\nfile = \"b.wasm\"", "plugin[1].name: \"a\" is there twice"},
		{"plugin that fails open", "[[plugin]]\nname = \"a\"\nfile = \"a.wasm\"\non_error = \"ignore\"", "plugin[0].on_error"},
		{"a secret's text", plugged + "[plugin.secrets]\nkey = \"wonderland\"", "plugin.secrets: key: a secret is written { file = \"path\" } or { env = \"NAME\" }: its text has no place in the configuration"},
		{"a secret's text in a table", plugged + "[plugin.secrets]\nkey = { text = \"wonderland\" }", "plugin.secrets: key: a secret has no such key: write { file = \"path\" } or { env = \"NAME\" }"},
		{"a secret's text as its key", plugged + "[plugin.secrets]\nkey = { wonderland = 1 }", "plugin.secrets: key: a secret has no such key"},
		{"secrets as a text", plugged + "secrets = \"wonderland\"", "plugin.secrets: a secret is written"},
		{"a secret of two places", plugged + "[plugin.secrets]\nkey = { file = \"a\", env = \"A\" }", "plugin[0].secrets.key: write { file"},
		{"secrets that the plugin may not read", "[[plugin]]\nname = \"a\"\nfile = \"a.wasm\"\n[plugin.secrets]\nkey = { env = \"A\" }", "plugin[0].secrets: are there, but the plugin may not read them"},
		{"a shadow of a sign-in", plugged + "shadow = true\nhooks = [\"sign_in\"]", "plugin[0].hooks: a shadow is never asked sign_in"},
		{"in the place of another, and in earnest", plugged + "instead_of = \"b\"", "plugin[0].instead_of: is for shadows only"},
		{"a recording of nobody", "[plugins]\nrecord_share = 0", "plugins.record_share: 0 is out of range"},
		{"a recording without space", "[plugins]\nrecord_size = \"1KiB\"", "plugins.record_size: 1KiB is out of range"},
		{"shadows for nobody", "[plugins]\nshadow_share = 0", "plugins.shadow_share: 0 is out of range"},
		{"refresh shorter than access", "[token]\nrefresh_idle = \"1h\"", "token.refresh_idle: 1h is shorter than an access token's life"},
	} {
		t.Run(c.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "souk.toml")
			if err := os.WriteFile(file, []byte(c.text), 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := core.Load(file)
			if err == nil {
				t.Fatal("the config was taken")
			}
			if strings.Contains(err.Error(), "wonderland") {
				t.Errorf("Load: %q, which repeats a secret", err)
			}
			if s := err.Error(); !strings.HasPrefix(s, file+": ") || !strings.Contains(s, c.want) || strings.Contains(s, "\n") {
				t.Errorf("Load: %q, want one line with the file and %q", s, c.want)
			}
		})
	}
	if _, err := core.Load(filepath.Join(t.TempDir(), "none.toml")); err == nil || !strings.Contains(err.Error(), "none.toml: there is no such file") {
		t.Errorf("Load of a missing file: %v", err)
	}
}

// FuzzConfig shows that no text makes the reader panic, and that what it takes
// is valid.
func FuzzConfig(f *testing.F) {
	shipped, err := os.ReadFile("../config.toml")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(shipped))
	f.Add("[server]\nlisten = \"127.0.0.1:0\"")
	f.Add("[[plugin]]\nname = \"a\"\nfile = \"a.wasm\"\n[plugin.config]\nx = [1, {y = 2}]")
	f.Fuzz(func(t *testing.T, text string) {
		c, err := core.Parse(text)
		if err == nil {
			if err := c.Validate(); err != nil {
				t.Errorf("Parse took a config that Validate refuses: %v", err)
			}
		}
	})
}
