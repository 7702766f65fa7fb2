package core

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/BurntSushi/toml"

	"github.com/souk-market/souk/core/admin"
	"github.com/souk-market/souk/core/catalog"
	"github.com/souk-market/souk/core/market"
	"github.com/souk-market/souk/core/oauth"
	"github.com/souk-market/souk/core/plugin"
	"github.com/souk-market/souk/core/server"
	"github.com/souk-market/souk/core/store"
	"github.com/souk-market/souk/core/store/badger"
	"github.com/souk-market/souk/core/unit"
)

// Config is everything that Open needs. Begin with DefaultConfig or Load; each
// section is declared, with its defaults, by the package that uses it.
type Config struct {
	Server  server.Config    `toml:"server"`
	TLS     server.TLSConfig `toml:"tls"`
	Admin   admin.Config     `toml:"admin"`
	Market  market.Config    `toml:"market"`
	OAuth   oauth.Config     `toml:"oauth"`
	Token   TokenConfig      `toml:"token"`
	Catalog CatalogConfig    `toml:"catalog"`
	Store   StoreConfig      `toml:"store"`
	Limits  server.Limits    `toml:"limits"`
	Plugins PluginsConfig    `toml:"plugins"`
	Plugin  []plugin.Spec    `toml:"-"` // [[plugin]], read by Load with its defaults

	// Dir is what relative paths start from: the directory of the config file.
	Dir string `toml:"-"`
	// Key is the key that the key ring is encrypted under, 64 hexadecimal digits,
	// as the environment's SOUK_KEY has it. Empty = Token.KeyFile.
	Key string `toml:"-"`
	// Now and Rand are the time and the randomness of everything but TLS; nil =
	// the machine's. No key of the file sets them: they are for tests and
	// simulations.
	Now  func() time.Time `toml:"-"`
	Rand io.Reader        `toml:"-"`
	Log  *slog.Logger     `toml:"-"`
	// Engine stands between the store and what holds its bytes; nil = nothing does.
	// No key of the file sets it: it is for tests of what fails.
	Engine func(store.Engine) store.Engine `toml:"-"`
	// Delay stands in the place of what is measured for [limits] shed_updates; nil =
	// nothing does. No key of the file sets it: it is for tests.
	Delay func() time.Duration `toml:"-"`
	// PoolByHand keeps the pool of install tokens from filling itself: what is in it
	// somebody has put there with Warm. No key of the file sets it: it is for
	// measurements.
	PoolByHand bool `toml:"-"`
	// Again reads the configuration once more from where it came from, for Reread;
	// nil = it came from nowhere that can be read.
	Again func() (Config, error) `toml:"-"`
	// StopWithin is how long a stop waits for requests under way; 0 = 10 s.
	StopWithin time.Duration `toml:"-"`
}

// TokenConfig is the section [token].
type TokenConfig struct {
	oauth.Lives
	// KeyFile holds the key that the key ring is encrypted under. Empty = souk.key
	// in the data directory, made at the first start.
	KeyFile string `toml:"key_file"`
	// Pool is how many install verification tokens are signed before anyone asks, at
	// most, while cores are idle; 0 = none.
	Pool int `toml:"pool"`
}

// CatalogConfig is the section [catalog].
type CatalogConfig struct {
	// File is a TOML or JSON file whose apps are taken over at each start. An app
	// that was changed over the admin API stays as it is until its entry in the
	// file changes. Empty = none.
	File string `toml:"file"`
}

// StoreConfig is the section [store].
type StoreConfig struct {
	// Dir is the data directory.
	Dir string `toml:"dir"`
	// Durability says what an acknowledged write survives: "power" = a power loss,
	// "process" = a crash of the process only.
	Durability string `toml:"durability"`
	// Verify reads the whole store at the start, and each day from then on, and compares
	// its checksums.
	Verify bool `toml:"verify"`
	// MinFree stops writes while the disk has less room; 0 = never.
	MinFree unit.Size `toml:"min_free"`
	// Memory is what the store's memtables, and the tables that are made of them,
	// may take; the account records and the system's page cache come beside it.
	Memory unit.Size `toml:"memory"`
	// Accounts is how many account records are kept in memory.
	Accounts int `toml:"accounts"`
	// AuditDays is how long the audit log is kept; 0 = for ever.
	AuditDays int `toml:"audit_days"`
	// AuditSize is how large it may become before the oldest part is dropped; 0 = as
	// large as the disk lets it.
	AuditSize unit.Size `toml:"audit_size"`
	// AuditSegment is the size at which another file begins; so does each day. Files
	// are dropped whole.
	AuditSegment unit.Size `toml:"audit_segment"`
}

// PluginsConfig is the section [plugins].
type PluginsConfig struct {
	// Cache is the directory for compiled plugins. Empty = "cache" in the data
	// directory.
	Cache string `toml:"cache"`
	// MaxModule is the most bytes of a plugin's file.
	MaxModule unit.Size `toml:"max_module"`
	// TrustedKeys are minisign's public keys of which one has to have signed every
	// module that doesn't come with the program. Empty = nobody has to.
	TrustedKeys []string `toml:"trusted_keys"`
	// KVBytes and KVKeys bound what one plugin may keep.
	KVBytes unit.Size `toml:"kv_bytes"`
	KVKeys  int64     `toml:"kv_keys"`
	// ShadowShare is the share of devices, in basis points, that shadows are asked
	// about. A device is among them wholly or not at all.
	ShadowShare uint32 `toml:"shadow_share"`
	// Record is the file that decisions are recorded in, for "souk plugin test
	// --replay". Empty = none.
	Record string `toml:"record"`
	// RecordShare is the share of devices, in basis points, that are recorded. A
	// device is among them wholly or not at all.
	RecordShare uint32 `toml:"record_share"`
	// RecordSize is the most bytes of the file. Then it becomes FILE.1, in the place
	// of an older one.
	RecordSize unit.Size `toml:"record_size"`
}

// The kinds of durability.
const (
	DurabilityPower   = "power"
	DurabilityProcess = "process"
)

// DefaultConfig returns the configuration of an empty file.
func DefaultConfig() Config {
	return Config{
		Server: server.DefaultConfig(),
		Admin:  admin.DefaultConfig(),
		Market: market.DefaultConfig(),
		OAuth:  oauth.DefaultConfig(),
		Token:  TokenConfig{Lives: oauth.DefaultLives(), Pool: 20_000},
		Store: StoreConfig{
			Dir: "data", Durability: DurabilityPower, Verify: true, MinFree: 2 << 30, Memory: badger.DefaultMemory, Accounts: 65536,
			AuditDays: 400, AuditSize: 4 << 30, AuditSegment: 16 << 20,
		},
		Limits: server.DefaultLimits(),
		Plugins: PluginsConfig{
			MaxModule: 16 << 20, TrustedKeys: []string{}, KVBytes: 64 << 20, KVKeys: 1_000_000, ShadowShare: catalog.FullShare,
			RecordShare: catalog.FullShare, RecordSize: 64 << 20,
		},
	}
}

// whole returns c with nothing left out that has a natural value.
func (c Config) whole() Config {
	if c.Rand == nil {
		c.Rand = rand.Reader
	}
	if c.StopWithin == 0 {
		c.StopWithin = 10 * time.Second
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}

// clock is the time of everything above the engine, which itself has to know
// whether it is the machine's.
func (c *Config) clock() func() time.Time {
	if c.Now == nil {
		return time.Now
	}
	return c.Now
}

// Load reads a config file over the defaults. Every error names the file, and a
// wrong value its key.
func Load(file string) (Config, error) {
	text, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) {
		return Config{}, fmt.Errorf("%s: there is no such file: copy the config.toml of the repository", file)
	} else if err != nil {
		return Config{}, err
	}
	c, err := Parse(string(text))
	if err != nil {
		return c, fmt.Errorf("%s: %w", file, err)
	}
	c.Dir = filepath.Dir(file)
	return c, nil
}

// Parse reads the text of a config file over the defaults.
func Parse(text string) (Config, error) {
	c := DefaultConfig()
	if err := c.decode(text); err != nil {
		return c, err
	}
	return c, c.Validate()
}

// decode reads TOML over what is there. A key that nobody reads is an error: it
// is a misspelt one, and what it was meant to say would be lost.
func (c *Config) decode(text string) error {
	var whole struct {
		*Config
		Plugin []toml.Primitive `toml:"plugin"`
	}
	whole.Config = c
	meta, err := toml.Decode(text, &whole)
	if err != nil {
		var parse toml.ParseError
		if errors.As(err, &parse) {
			return fmt.Errorf("line %d: %s", parse.Position.Line, parseMessage(parse))
		}
		return Mistyped(err)
	}
	if kind := meta.Type("market", "overrides"); kind != "" && kind != "Hash" { // the decoder would make an empty table of it
		return errors.New("market.overrides: has to be tables: write [market.overrides.\"1000002\"] and the keys of that app below")
	}
	c.Plugin = make([]plugin.Spec, 0, len(whole.Plugin))
	for i, p := range whole.Plugin {
		spec := plugin.DefaultSpec()
		if err := meta.PrimitiveDecode(p, &spec); err != nil {
			if parse, ok := errors.AsType[toml.ParseError](err); ok {
				return fmt.Errorf("plugin[%d]: %s", i, parseMessage(parse))
			}
			return fmt.Errorf("plugin[%d]: %w", i, Mistyped(err))
		}
		c.Plugin = append(c.Plugin, spec)
	}
	// A plugin's own table is for the plugin to check.
	unread := slices.DeleteFunc(meta.Undecoded(), func(k toml.Key) bool {
		return len(k) > 2 && k[0] == "plugin" && k[1] == "config"
	})
	if len(unread) > 0 {
		return fmt.Errorf("%s: there is no such key: see config.toml for all there are", unread[0])
	}
	return nil
}

func parseMessage(e toml.ParseError) string {
	if e.LastKey != "" && !strings.Contains(e.Message, e.LastKey) {
		return e.LastKey + ": " + e.Message
	}
	return e.Message
}

var mistyped = regexp.MustCompile(`^toml: (line \d+ )?\(last key "(.*)"\): (?:incompatible types: TOML value has type (.*); destination has type (.*)|type mismatch for .*: expected (table) but found (.*))$`)

// kinds are the decoder's words for what stands in a file, and for what should.
var kinds = map[string]string{
	"string": "a text in quotes", "primitive (string-like)": "a text in quotes", "int64": "a number", "integer": "a number",
	"float64": "a number with a point", "float": "a number", "bool": "true or false", "boolean": "true or false",
	"[]any": "a list", "slice": "a list", "map[string]any": "a table", "[]map[string]any": "a list of tables", "map": "a table", "table": "a table", "time.Time": "a date",
}

// Mistyped says what the decoder says of a value of another type in our words: the
// line, the key, what it is and what it has to be. Other errors stay as they are.
func Mistyped(err error) error {
	m := mistyped.FindStringSubmatch(err.Error())
	if m == nil {
		return err
	}
	is, wanted := kinds[m[3]+m[6]], kinds[m[4]+m[5]]
	if is == "" || wanted == "" {
		return err
	}
	line := ""
	if m[1] != "" {
		line = strings.TrimSpace(m[1]) + ": "
	}
	return fmt.Errorf("%s%s: is %s: it has to be %s", line, m[2], is, wanted)
}

// Validate names the first key with an impossible value.
func (c *Config) Validate() error {
	for _, section := range []interface{ Validate() error }{
		&c.Server, &c.TLS, &c.Admin, &c.Market, &c.OAuth, &c.Token, &c.Store, &c.Limits, &c.Plugins,
	} {
		if err := section.Validate(); err != nil {
			return err
		}
	}
	names := map[string]bool{}
	for i := range c.Plugin {
		at := fmt.Sprintf("plugin[%d]", i)
		if err := c.Plugin[i].Validate(at); err != nil {
			return err
		}
		if name := c.Plugin[i].Name; names[name] {
			return fmt.Errorf("%s.name: %q is there twice: a plugin's name is unique", at, name)
		} else {
			names[name] = true
		}
	}
	return nil
}

// Validate names the first key of [token] with an impossible value.
func (c *TokenConfig) Validate() error {
	if c.Pool < 0 || c.Pool > 1_000_000 {
		return fmt.Errorf("token.pool: %d is out of range: use 1 to 1000000 tokens of half a KiB each, or 0 to sign each when it is asked for", c.Pool)
	}
	return c.Lives.Validate()
}

// Validate names the first key of [store] with an impossible value.
func (c *StoreConfig) Validate() error {
	switch {
	case c.Dir == "":
		return errors.New("store.dir: is empty: name the data directory")
	case c.Durability != DurabilityPower && c.Durability != DurabilityProcess:
		return fmt.Errorf("store.durability: %q is no choice: use power or process", c.Durability)
	case c.Memory < badger.MinMemory:
		return fmt.Errorf("store.memory: %v is too little: use %v or more; writes would wait for the disk with less", c.Memory, unit.Size(badger.MinMemory))
	case c.Accounts < 16 || c.Accounts > 100_000_000:
		return fmt.Errorf("store.accounts: %d is out of range: use 16 to 100000000", c.Accounts)
	case c.AuditDays < 0 || c.AuditDays > 36_500:
		return fmt.Errorf("store.audit_days: %d is out of range: use 1 to 36500, or 0 to keep everything", c.AuditDays)
	case c.AuditSegment < 1<<20 || c.AuditSegment > 256<<20:
		return fmt.Errorf("store.audit_segment: %v is out of range: use 1MiB to 256MiB", c.AuditSegment)
	case c.AuditSize != 0 && c.AuditSize < 4*c.AuditSegment:
		return fmt.Errorf("store.audit_size: %v is too small: use four times audit_segment or more, or 0 for no limit", c.AuditSize)
	}
	return nil
}

// Validate names the first key of [plugins] with an impossible value.
func (c *PluginsConfig) Validate() error {
	switch {
	case c.MaxModule < 1<<10 || c.MaxModule > 256<<20:
		return fmt.Errorf("plugins.max_module: %v is out of range: use 1KiB to 256MiB", c.MaxModule)
	case c.KVKeys < 0 || c.KVBytes < 0:
		return errors.New("plugins.kv_keys: is negative: use 0 or more")
	case c.ShadowShare < 1 || c.ShadowShare > catalog.FullShare:
		return fmt.Errorf("plugins.shadow_share: %d is out of range: use basis points from 1 to %d, or take shadow = true off the plugins", c.ShadowShare, catalog.FullShare)
	case c.RecordShare < 1 || c.RecordShare > catalog.FullShare:
		return fmt.Errorf("plugins.record_share: %d is out of range: use basis points from 1 to %d, or an empty plugins.record", c.RecordShare, catalog.FullShare)
	case c.RecordSize < 1<<20:
		return fmt.Errorf("plugins.record_size: %v is out of range: use 1MiB or more", c.RecordSize)
	}
	_, err := plugin.ParseKeys(c.TrustedKeys)
	return err
}

// path resolves a path of the configuration.
func (c *Config) path(p string) string {
	if p == "" || filepath.IsAbs(p) {
		return p
	}
	return filepath.Join(c.Dir, p)
}

// data is a path in the data directory.
func (c *Config) data(name string) string { return filepath.Join(c.path(c.Store.Dir), name) }

// catalogRules are the rules for the operator's URLs: http is for trying things
// out on this machine.
func (c *Config) catalogRules() catalog.Rules {
	return catalog.Rules{LoopbackHTTP: !strings.HasPrefix(c.Server.PublicURL, "https://")}
}
