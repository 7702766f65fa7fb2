package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/souk-market/souk/cmd/souk/author"
	"github.com/souk-market/souk/core"
	"github.com/souk-market/souk/core/plugin"
	"github.com/souk-market/souk/plugins"
	"github.com/souk-market/souk/sdk/abi"
)

type pluginServe struct {
	Path   string `arg:"" optional:"" default:"." help:"The folder of a plugin, or a module (.wasm). Default: this folder."`
	Listen string `default:"127.0.0.1:8080" placeholder:"ADDRESS" help:"Address of the public listener. Default: 127.0.0.1:8080."`
	Admin  string `default:"127.0.0.1:8081" placeholder:"ADDRESS" help:"Address of the admin API. Default: 127.0.0.1:8081."`
}

// Help says more than one line does.
func (c *pluginServe) Help() string {
	return `A server for trying things out: its data is thrown away at the end, and its only
app is an example that is open to everyone. Each decision of the plugin is a line
of the log. The plugin has the hosts and secrets that souk-plugin.toml names.`
}

// Run serves until it is told to stop.
func (c *pluginServe) Run(std *streams) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	return c.serve(ctx, std, func(string) {})
}

// exampleApps is the catalogue: a version that a tenth may have, one for everyone,
// and the one that the device of the example has.
const exampleApps = `[[items]]
id = "1000004"
bundle_id = "com.example.sky"
name = "Night Sky"
sign_in = "none"
[[items.versions]]
id = "3"
short = "3.1.0"
build = "310"
min_os = { ios = "17.4" }
rollout = { share = 1000 }
[[items.versions]]
id = "2"
short = "3.0.0"
build = "300"
min_os = { ios = "17.4" }
[[items.versions]]
id = "1"
short = "2.0.0"
build = "200"
min_os = { ios = "17.4" }
`

// serve tells ready the public address.
func (c *pluginServe) serve(ctx context.Context, std *streams, ready func(public string)) (err error) {
	t, err := author.TargetOf(c.Path)
	if err != nil {
		return err
	}
	std.stale(t)
	wasm, err := author.ReadModule(t.File, maxModule)
	if err != nil {
		return err
	}
	o, err := plugin.OutlineOf(wasm)
	if err != nil {
		return fmt.Errorf("%s: %w", t.File, err)
	}
	dir, err := os.MkdirTemp("", "souk-plugin-serve-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := os.WriteFile(filepath.Join(dir, "apps.toml"), []byte(exampleApps), 0o600); err != nil {
		return err
	}
	host, err := core.Open(ctx, c.config(std, t, o, wasm, dir))
	if err != nil {
		return errors.New(strings.NewReplacer("server.listen:", "--listen:", "admin.listen:", "--admin:").Replace(t.Refused(err).Error()))
	}
	fmt.Fprintf(std.out, "public   %s\nadmin    %s\n", host.PublicURL(), host.AdminURL())
	if slices.Contains(o.Groups, "kv") {
		fmt.Fprintln(std.out, "\nThe plugin's kv begins empty: what its cases put there is not in it.")
	}
	for _, h := range o.Hooks {
		fmt.Fprintf(std.out, "\n%s\n", try(h, host.PublicURL()))
	}
	ready(host.PublicURL())
	return errors.Join(host.Serve(ctx), host.Close())
}

func (c *pluginServe) config(std *streams, t *author.Target, o plugin.Outline, wasm []byte, dir string) core.Config {
	config := core.DefaultConfig()
	config.Dir, config.Store.Dir = t.Dir, dir
	config.Server.Listen, config.Admin.Listen = c.Listen, c.Admin
	config.Store.MinFree, config.Market.InstallKeyID = 0, "example"
	config.Catalog.File = filepath.Join(dir, "apps.toml")
	if cache, err := os.UserCacheDir(); err == nil {
		config.Plugins.Cache = filepath.Join(cache, "souk", "plugins")
	}
	config.Log = slog.New(&decisions{slog.NewTextHandler(std.err, &slog.HandlerOptions{Level: slog.LevelDebug})})
	s := t.Loadable(wasm, o)
	config.Plugin = []plugin.Spec{s}
	if !slices.Contains(o.Hooks, abi.HookSignIn) && s.Name != "accounts" { // somebody has to show a page
		accounts := plugin.DefaultSpec()
		accounts.Name, accounts.Wasm, accounts.Allow = "accounts", plugins.Accounts, []string{"kv", "password", "log"}
		config.Plugin = append(config.Plugin, accounts)
	}
	return config
}

// try says how to ask the question of a hook.
func try(h abi.Hook, public string) string {
	const device = "0123456789abcdef0123456789abcdef"
	switch h {
	case abi.HookSignIn:
		return "A sign-in, which asks the plugin (sign_in): open\n\n  " + public + "/oauth/authorize?" + url.Values{
			"client_id": {device}, "response_type": {"code"}, "redirect_uri": {"app-distribution-oauth://"}, "scope": {"all"}, "state": {"s"},
			"code_challenge": {"E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"}, "code_challenge_method": {"S256"},
		}.Encode()
	case abi.HookExchange:
		return "A token exchange, which asks the plugin (exchange):\n\n  curl -s " + public + "/oauth/token -d grant_type=urn:ietf:params:oauth:grant-type:token-exchange" +
			" -d subject_token_type=urn:ietf:params:oauth:token-type:access_token -d client_id=" + device + " -d subject_token=t1.secret"
	}
	return "An update check, which asks the plugin (" + h.String() + "):\n\n  curl -s " + public + "/updates -H 'Content-Type: application/json'" +
		` -d '{"apps": [{"appleItemId": "1000004", "appleVersionId": "1"}], "platform": "iOS", "osVersion": "26.1"}'`
}

// decisions is a log of what an author wants to see: what plugins decide and say,
// and what goes wrong.
type decisions struct{ slog.Handler }

func (d *decisions) Handle(ctx context.Context, r slog.Record) error {
	if r.Level < slog.LevelWarn && r.Message != "decision" && r.Message != "plugin log" {
		return nil
	}
	return d.Handler.Handle(ctx, r)
}

func (d *decisions) WithAttrs(a []slog.Attr) slog.Handler { return &decisions{d.Handler.WithAttrs(a)} }
func (d *decisions) WithGroup(g string) slog.Handler      { return &decisions{d.Handler.WithGroup(g)} }
