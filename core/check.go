package core

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/souk-market/souk/core/catalog"
	"github.com/souk-market/souk/core/plugin"
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
	if c.Plugins.Record != "" {
		if info, err := os.Stat(filepath.Dir(c.path(c.Plugins.Record))); err != nil || !info.IsDir() {
			errs = append(errs, fmt.Errorf("plugins.record: there is no directory for %s: make it, or name another file", c.Plugins.Record))
		}
	}
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
