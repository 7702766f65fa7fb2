package demo

import (
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/souk-market/souk/core"
	"github.com/souk-market/souk/core/catalog"
	"github.com/souk-market/souk/core/oauth"
	"github.com/souk-market/souk/core/plugin"
	"github.com/souk-market/souk/plugins"
)

// The demo's market. The ids are the demo's own; Apple gives real ones.
const (
	marketItem = "1000001" // the marketplace app itself
	notesItem  = "1000002" // for everyone who is signed in
	plusItem   = "1000003" // for subscribers
	skyItem    = "1000004" // for everyone

	marketClient   = "com.example.souk"
	marketRedirect = "com.example.souk:/signed-in"
	tokenHeader    = "X-Access-Token"
	plusGrant      = "sub:plus"
	deviceOS       = "26.1"
)

// people are who can sign in.
var people = []struct{ email, name, password string }{
	{"alice@example.com", "Alice", "wonderland"},
	{"bob@example.com", "Bob", "builder"},
}

// clock is the time of the demo's server: the machine's, moved on where the walk
// says that days pass.
type clock struct{ ahead atomic.Int64 }

func (c *clock) Now() time.Time          { return now().Add(time.Duration(c.ahead.Load())) }
func (c *clock) advance(d time.Duration) { c.ahead.Add(int64(d)) }

// config is the demo's configuration: the defaults, the shipped plugins, and the
// marketplace app as a registered client.
func (c *Command) config(dir string, clock *clock) (core.Config, *x509.CertPool, error) {
	config := core.DefaultConfig()
	config.Dir = dir
	config.Now = clock.Now
	config.Server.Listen, config.Admin.Listen = c.Listen, c.Admin
	config.Store.Dir = dir
	config.Store.MinFree = 0      // a demo should run on a nearly full disk too
	config.Limits.ShedUpdates = 0 // and on a machine that is busy with something else
	config.Market.Name = "Souk Demo"
	config.Market.ItemID = marketItem
	config.Market.InstallKeyID = "demo-key"
	config.Market.TokenHeader = tokenHeader
	config.OAuth.PasswordMin = len("builder")
	config.OAuth.Clients = []oauth.ClientConfig{{
		ID: marketClient, Name: "Souk Demo", RedirectURIs: []string{marketRedirect}, Market: true,
	}}
	// Compiled plugins are kept for the next time, if there is a place for them.
	if cache, err := os.UserCacheDir(); err == nil {
		config.Plugins.Cache = filepath.Join(cache, "souk", "plugins")
	}
	config.Plugin = shipped()
	var roots *x509.CertPool
	if c.TLS {
		var err error
		if config.TLS.Cert, config.TLS.Key, roots, err = throwAwayCA(dir); err != nil {
			return config, nil, err
		}
	}
	return config, roots, nil
}

// marker is the file that tells a data directory of the demo from a real one.
const marker = "demo"

// claim makes a data directory the demo's own, and refuses that of a real server:
// the demo's people have passwords that everybody knows.
func claim(dir string) error {
	mark := filepath.Join(dir, marker)
	if _, err := os.Stat(mark); err == nil {
		return nil
	}
	if _, err := os.Stat(filepath.Join(dir, "store")); err == nil {
		return fmt.Errorf("--data: %s holds the data of a server that is not a demo, which would get apps and people with public passwords: name another directory", dir)
	} else if !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("--data: %w", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("--data: %w", err)
	}
	if err := os.WriteFile(mark, []byte("The people in this directory have public passwords: \"souk demo\" has made it.\n"), 0o600); err != nil {
		return fmt.Errorf("--data: %w", err)
	}
	return nil
}

// shipped are the plugins that come with Souk.
func shipped() []plugin.Spec {
	accounts, allowlist, rollout := plugin.DefaultSpec(), plugin.DefaultSpec(), plugin.DefaultSpec()
	accounts.Name, accounts.Wasm = "accounts", plugins.Accounts
	accounts.Allow = []string{"kv", "password", "log"}
	allowlist.Name, allowlist.Wasm = "allowlist", plugins.Allowlist
	allowlist.Config = map[string]any{
		"default": "allow",
		"items":   map[string]any{plusItem: map[string]any{"any_grant": []string{plusGrant}}},
	}
	rollout.Name, rollout.Wasm = "rollout", plugins.Rollout
	return []plugin.Spec{accounts, allowlist, rollout}
}

// apps is the catalogue that the demo begins with.
func apps() []catalog.Item {
	item := func(id uint64, bundle, name, signIn string, versions ...catalog.Version) catalog.Item {
		return catalog.Item{
			ID: id, BundleID: bundle, Name: name, SignIn: signIn,
			ShareURL: fmt.Sprintf("https://market.example.com/apps/%d", id), Versions: versions,
		}
	}
	return []catalog.Item{
		item(1000001, "com.example.souk", "Souk Demo", catalog.SignInRequired, version(2000011, "1.0")),
		item(1000002, "com.example.notes", "Field Notes", catalog.SignInRequired, version(2000021, "3.1")),
		item(1000003, "com.example.studio", "Plus Studio", catalog.SignInRequired, version(2000031, "2.0")),
		item(1000004, "com.example.sky", "Night Sky", catalog.SignInNone, version(2000041, "1.4")),
	}
}

func version(id uint64, short string) catalog.Version {
	return catalog.Version{
		ID: id, Short: short, Build: fmt.Sprint(id % 1000), Released: now(), MinOS: map[string]string{"ios": "17.4"},
		Rollout: catalog.Rollout{Share: catalog.FullShare},
	}
}
