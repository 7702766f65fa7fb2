package core

import (
	"cmp"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/souk-market/souk/core/catalog"
	"github.com/souk-market/souk/core/plugin"
	"github.com/souk-market/souk/core/store"
	"github.com/souk-market/souk/core/token"
)

// Check looks at everything that a start would need, without a store and without
// an address: it can run beside the server that it is about. What it found is in
// the Report, also beside errors.
func Check(ctx context.Context, c Config) (Report, []error) {
	var r Report
	c = c.whole()
	if err := c.Validate(); err != nil {
		return r, []error{err}
	}
	var errs []error
	if _, err := c.certificate(); err != nil {
		errs = append(errs, err)
	}
	if c.Market.InstallKey != "" {
		if _, err := c.installKey(func(string) {}); err != nil {
			errs = append(errs, err)
		}
	}
	errs = append(errs, c.checkSecrets()...)
	if c.Catalog.File != "" {
		items, err := catalog.ReadFile(c.path(c.Catalog.File), c.catalogRules())
		var invalid catalog.Invalid
		switch {
		case errors.As(err, &invalid):
			for _, p := range invalid {
				errs = append(errs, fmt.Errorf("catalog.file: %s: %s", c.Catalog.File, p))
			}
		case err != nil:
			errs = append(errs, fmt.Errorf("catalog.file: %w", err))
		}
		r.Apps = len(items)
	}
	plugins, err := plugin.Open(ctx, c.pluginOptions(nil))
	if err != nil {
		return r, append(errs, err)
	}
	r.Plugins = plugins.Plugins()
	if err := plugins.Close(ctx); err != nil {
		errs = append(errs, err)
	}
	return r, errs
}

// checkSecrets reads the secrets that are there already; a missing one is made
// by the first start.
func (c *Config) checkSecrets() (errs []error) {
	none := func(string) {}
	if _, err := os.Stat(cmp.Or(c.path(c.Token.KeyFile), c.data("souk.key"))); err == nil || c.Key != "" {
		if _, err := c.masterKey(none); err != nil {
			errs = append(errs, err)
		}
	}
	if _, err := os.Stat(cmp.Or(c.path(c.Admin.TokenFile), c.data("admin.token"))); err == nil {
		if _, err := c.adminToken(none); err != nil {
			errs = append(errs, err)
		}
	}
	return errs
}

// Report is what Check found.
type Report struct {
	Apps    int
	Plugins []plugin.Info
}

// catalogRules are the rules for the operator's URLs: http is for trying things
// out on this machine.
func (c *Config) catalogRules() catalog.Rules {
	return catalog.Rules{LoopbackHTTP: !strings.HasPrefix(c.Server.PublicURL, "https://")}
}

// pluginOptions are what the plugins are opened with; without a store their kv
// refuses.
func (c *Config) pluginOptions(s *store.Store) plugin.Options {
	cache := c.path(c.Plugins.Cache)
	if cache == "" && s != nil {
		cache = c.data("cache")
	}
	return plugin.Options{
		Specs: c.Plugin, Dir: c.Dir, Cache: cache, Log: c.Log, Now: c.clock(), MaxModule: int64(c.Plugins.MaxModule),
		KV: func(name string) (plugin.KV, error) {
			if s == nil {
				return noKV{}, nil
			}
			kv, err := s.PluginKV(name, c.kvQuota())
			return pluginKV{kv}, err
		},
	}
}

func (c *Config) kvQuota() store.KVQuota {
	return store.KVQuota{Bytes: int64(c.Plugins.KVBytes), Keys: c.Plugins.KVKeys}
}

// pluginKV hands a plugin its part of the store.
type pluginKV struct{ *store.KV }

func (kv pluginKV) Get(ctx context.Context, key []byte) ([]byte, error) {
	v, err := kv.KV.Get(ctx, key)
	return v, kvError(err)
}

func (kv pluginKV) Put(ctx context.Context, key, val []byte, ttl time.Duration) error {
	return kvError(kv.KV.Put(ctx, key, val, ttl))
}

func (kv pluginKV) Delete(ctx context.Context, key []byte) error {
	return kvError(kv.KV.Delete(ctx, key))
}

func (kv pluginKV) Swap(ctx context.Context, key, old, val []byte) error {
	return kvError(kv.KV.Swap(ctx, key, old, val))
}

func (kv pluginKV) Add(ctx context.Context, key []byte, delta int64) (int64, error) {
	n, err := kv.KV.Add(ctx, key, delta)
	return n, kvError(err)
}

// kvError says in the host's words what the store said in its own.
func kvError(err error) error {
	for _, e := range [...]struct{ from, to error }{
		{store.ErrNotFound, plugin.ErrKVNotFound}, {store.ErrConflict, plugin.ErrKVConflict},
		{store.ErrQuota, plugin.ErrKVQuota}, {store.ErrLimit, plugin.ErrKVRefused}, {store.ErrNotCounter, plugin.ErrKVRefused},
	} {
		if errors.Is(err, e.from) {
			return fmt.Errorf("%w: %w", e.to, err)
		}
	}
	return err
}

// noKV is the kv of a check.
type noKV struct{}

func (noKV) Get(context.Context, []byte) ([]byte, error)              { return nil, plugin.ErrKVNotFound }
func (noKV) Put(context.Context, []byte, []byte, time.Duration) error { return plugin.ErrKVRefused }
func (noKV) Delete(context.Context, []byte) error                     { return plugin.ErrKVRefused }
func (noKV) Swap(context.Context, []byte, []byte, []byte) error       { return plugin.ErrKVRefused }
func (noKV) Add(context.Context, []byte, int64) (int64, error)        { return 0, plugin.ErrKVRefused }

// adminToken is the secret of the admin API, made at the first start.
func (c *Config) adminToken(created func(string)) (string, error) {
	file := c.path(c.Admin.TokenFile)
	if file == "" {
		file = c.data("admin.token")
	}
	t, err := secretFile(file, created, func() (string, error) { return token.NewOpaque(c.Rand) })
	if err != nil {
		return "", fmt.Errorf("admin.token_file: %w", err)
	}
	t = strings.TrimSpace(t)
	if b, err := base64.RawURLEncoding.DecodeString(t); err != nil || len(b) < 16 {
		return "", fmt.Errorf("admin.token_file: %s holds no token: remove it, and the next start makes one", file)
	}
	return t, nil
}

// listenError says what is in the way of an address.
func listenError(address string, err error) error {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("%s is taken by another program: stop it, or choose another port", address)
	case errors.Is(err, os.ErrPermission):
		return fmt.Errorf("%s may not be opened by this user: choose a port from 1024 on, or give the program the right", address)
	}
	return fmt.Errorf("%s can't be opened: %w", address, err)
}

// Validate names the first key of [token] with an impossible value.
func (c *TokenConfig) Validate() error { return c.Lives.Validate() }
