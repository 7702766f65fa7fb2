package core

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/souk-market/souk/core/plugin"
	"github.com/souk-market/souk/core/plugin/cases"
	"github.com/souk-market/souk/core/store"
	"github.com/souk-market/souk/core/store/audit"
)

// pluginOptions are what the plugins are opened with; without a store their kv
// refuses.
func (c *Config) pluginOptions(s *store.Store) plugin.Options {
	cache := c.path(c.Plugins.Cache)
	if cache == "" && s != nil {
		cache = c.data("cache")
	}
	o := plugin.Options{
		Specs: c.Plugin, Dir: c.Dir, Cache: cache, Log: c.Log, Now: c.clock(), MaxModule: int64(c.Plugins.MaxModule),
		Keys: c.Plugins.TrustedKeys, Try: c.runCases, Rules: &c.Market,
		ShadowShare: c.Plugins.ShadowShare, RecordShare: c.Plugins.RecordShare,
		KV: func(name string) (plugin.KV, error) {
			if s == nil {
				return noKV{}, nil
			}
			kv, err := s.PluginKV(name, c.kvQuota())
			return pluginKV{kv}, err
		},
	}
	if s != nil {
		o.Changing = func(ctx context.Context, c plugin.Changeover) error { return s.Audit(ctx, changeEntry(c)) }
	}
	return o
}

// changeEntry is what is written down of a change of the plugins.
func changeEntry(c plugin.Changeover) audit.Entry {
	detail := map[string]string{"change": c.What}
	for key, value := range map[string]string{
		"plugin": c.Plugin, "sha256": c.After, "before": c.Before, "signed_by": c.SignedBy,
		"added": strings.Join(c.Added, " "), "changed": strings.Join(c.Changed, " "), "removed": strings.Join(c.Removed, " "),
	} {
		if value != "" {
			detail[key] = value
		}
	}
	if c.Plugin == "" {
		return audit.Entry{Kind: audit.PluginsReloaded, Detail: detail}
	}
	return audit.Entry{Kind: audit.PluginSwapped, Detail: detail}
}

// runCases asks a plugin what the file of its entry says. Its kv there is its own,
// in memory, and empty.
func (c *Config) runCases(ctx context.Context, o plugin.Options) error {
	file := o.Specs[0].Cases
	text, err := os.ReadFile(c.path(file))
	if err != nil {
		return fmt.Errorf("cases can't be read: %w", err)
	}
	suite, err := cases.Parse(file, text)
	if err != nil {
		return fmt.Errorf("cases can't be read: %w", err)
	}
	results, err := suite.Try(ctx, o)
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	var failed []string
	for i := range results {
		if !results[i].Passed() {
			line, _, _ := strings.Cut(results[i].String(), "\n")
			failed = append(failed, line)
		}
	}
	switch n := len(failed); n {
	case 0:
		return nil
	case 1:
		return fmt.Errorf("%s: %s", file, failed[0])
	default:
		return fmt.Errorf("%s: %s (and %s)", file, failed[0], more(n-1))
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

func more(n int) string {
	if n == 1 {
		return "1 case more"
	}
	return fmt.Sprintf("%d cases more", n)
}
