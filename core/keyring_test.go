package core_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/souk-market/souk/core"
)

// newMarket is a configuration without plugins in a directory of its own.
func newMarket(t *testing.T) core.Config {
	t.Helper()
	c := core.DefaultConfig()
	c.Dir = t.TempDir()
	c.Server.Listen, c.Admin.Listen, c.Store.MinFree = "127.0.0.1:0", "127.0.0.1:0", 0
	return c
}

func openAndClose(t *testing.T, c core.Config) ([]string, error) {
	t.Helper()
	h, err := core.Open(t.Context(), c)
	if err != nil {
		return nil, err
	}
	return h.Created, h.Close()
}

// The first start makes three files that only their owner can read; the ring
// needs its key from then on.
func TestTheRingNeedsItsKey(t *testing.T) {
	c := newMarket(t)
	made, err := openAndClose(t, c)
	if err != nil || len(made) != 3 {
		t.Fatalf("the first start made %v, %v, want three files", made, err)
	}
	for _, file := range made {
		if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v, %v, want 0600", file, info.Mode(), err)
		}
	}
	if made, err := openAndClose(t, c); err != nil || len(made) != 0 {
		t.Errorf("the second start made %v, %v, want nothing", made, err)
	}
	file := filepath.Join(c.Dir, "data", "souk.key")
	key, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name, want string
		change     func(*core.Config)
	}{
		{"another key", "is not the key of this store's key ring", func(c *core.Config) { c.Key = strings.Repeat("5a", 32) }},
		{"no key", "SOUK_KEY: is no key", func(c *core.Config) { c.Key = "secret" }},
		{"a key file that isn't there", "is gone: put it back", func(c *core.Config) { c.Token.KeyFile = "other.key" }},
		{"the key from the environment", "", func(c *core.Config) { c.Key = strings.TrimSpace(string(key)) }},
	} {
		changed := c
		test.change(&changed)
		_, err := openAndClose(t, changed)
		if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
			t.Errorf("%s: %v, want %q", test.name, err, test.want)
		}
		if _, err := os.Stat(filepath.Join(c.Dir, "other.key")); err == nil {
			t.Errorf("%s: a fresh key was written although the store has a ring", test.name)
		}
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if _, err := openAndClose(t, c); err == nil || !strings.Contains(err.Error(), "souk.key is gone: put it back, or set SOUK_KEY") {
		t.Errorf("without its key: %v, want a sentence that says what to do", err)
	}
}
