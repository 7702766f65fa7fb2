package core

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"

	"github.com/souk-market/souk/core/admin"
)

// errNowhere says that there is nothing to read again.
var errNowhere = errors.New("this server was not started from a file that it could read again: restart it")

// Reread reads the configuration again, from where it came from, and takes over
// what can be while the server runs. See Reload.
func (h *Host) Reread(ctx context.Context) (admin.Reloaded, error) {
	h.reloading.Lock()
	defer h.reloading.Unlock()
	if h.config.Again == nil {
		return admin.Reloaded{}, errNowhere
	}
	c, err := h.config.Again()
	if err != nil {
		return admin.Reloaded{}, err
	}
	return h.reload(ctx, c)
}

// Reload takes over the plugins of another configuration, between two requests,
// and names the keys that have changed beside them: those keep their values until
// a restart. After an error, one sentence, nothing has changed.
func (h *Host) Reload(ctx context.Context, c Config) (admin.Reloaded, error) {
	h.reloading.Lock()
	defer h.reloading.Unlock()
	return h.reload(ctx, c)
}

func (h *Host) reload(ctx context.Context, c Config) (admin.Reloaded, error) {
	done := admin.Reloaded{Restart: []string{}}
	if err := c.Validate(); err != nil {
		return done, err
	}
	if c.Dir != h.config.Dir {
		return done, fmt.Errorf("the configuration is of the directory %q, and this server's of %q: restart it", c.Dir, h.config.Dir)
	}
	var err error
	if done.Reloaded, err = h.Plugins.Reload(ctx, c.Plugin, c.Plugins.TrustedKeys); err != nil {
		return done, err
	}
	c.Plugins.TrustedKeys = h.config.Plugins.TrustedKeys // they are the host's affair, and taken over
	done.Restart = append(done.Restart, changedKeys("", reflect.ValueOf(h.config), reflect.ValueOf(c))...)
	h.config.Log.Info("configuration reloaded", "added", done.Added, "changed", done.Changed, "removed", done.Removed, "unchanged", done.Unchanged)
	if len(done.Restart) > 0 {
		h.config.Log.Warn("keys have changed that only a restart takes over", "keys", done.Restart)
	}
	return done, nil
}

// changedKeys names the keys of two configurations, or of a section of them, that
// differ.
func changedKeys(prefix string, from, to reflect.Value) (keys []string) {
	for _, f := range reflect.VisibleFields(from.Type()) {
		name, _, _ := strings.Cut(f.Tag.Get("toml"), ",")
		a, b := from.FieldByIndex(f.Index), to.FieldByIndex(f.Index)
		switch {
		case name == "-" || f.Anonymous || !f.IsExported(): // an embedded section's fields are visible themselves
		case f.Type.Kind() == reflect.Struct:
			keys = append(keys, changedKeys(prefix+name+".", a, b)...)
		case !reflect.DeepEqual(a.Interface(), b.Interface()):
			keys = append(keys, prefix+name)
		}
	}
	return keys
}
