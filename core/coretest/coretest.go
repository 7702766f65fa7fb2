// Package coretest runs a whole server inside a test: the real listeners, the
// real store in a temporary directory, the shipped plugins. Tests go in through
// the front door; only time is theirs.
package coretest

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/souk-market/souk/core"
	"github.com/souk-market/souk/core/catalog"
	"github.com/souk-market/souk/core/oauth"
	"github.com/souk-market/souk/core/plugin"
	"github.com/souk-market/souk/plugins"
)

// Server is a server under test.
type Server struct {
	*core.Host
	Dir        string // of the configuration and the data
	AdminToken string
	Clock      *Clock
	Log        *Log

	config core.Config
	stop   func()
}

// Clock is the time of a server: the machine's, until a test moves it on.
type Clock struct{ ahead atomic.Int64 }

// Now is the server's time.
func (c *Clock) Now() time.Time { return time.Now().Add(time.Duration(c.ahead.Load())) }

// Advance moves the server's time on.
func (c *Clock) Advance(d time.Duration) { c.ahead.Add(int64(d)) }

// Log keeps what the server has logged.
type Log struct {
	mu   sync.Mutex
	text strings.Builder
}

// Write implements io.Writer.
func (l *Log) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

// String returns what was logged so far.
func (l *Log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// The market of the tests.
const (
	MarketItem = "1000001" // the marketplace app itself; sign-in required
	NotesItem  = "1000002" // sign-in required; versions 2000021 and 2000022, for iOS 17.4 and 18.0
	PlusItem   = "1000003" // sign-in and the grant PlusGrant required
	SkyItem    = "1000004" // sign_in = "none"

	NotesOld, NotesNew = "2000021", "2000022"
	PlusVersion        = "2000031"
	SkyVersion         = "2000041"
	MarketVersion      = "2000011"

	PlusGrant   = "sub:plus"
	TokenHeader = "X-Access-Token"

	NativeClient   = "com.example.market" // a registered app whose tokens open the market
	NativeRedirect = "com.example.market:/signed-in"
	AppClient      = "com.example.partner" // a registered app whose tokens don't
	AppRedirect    = "http://127.0.0.1:7777/callback"

	Alice, AlicePassword = "alice@example.com", "wonderland"
	Bob, BobPassword     = "bob@example.com", "builder-bob"
	PlusPerson           = "a+b@example.com" // with a plus sign; password AlicePassword
)

// Config is the configuration of the tests.
func Config(dir string) core.Config {
	c := core.DefaultConfig()
	c.Dir = dir
	c.Key = masterKey
	c.Server.Listen, c.Admin.Listen = "127.0.0.1:0", "127.0.0.1:0"
	c.Store.Dir, c.Store.MinFree = "data", 0
	c.Limits.ShedUpdates = 0 // many servers share the processors of a test run
	c.Market.ItemID, c.Market.InstallKeyID, c.Market.TokenHeader = MarketItem, "test-key", TokenHeader
	c.OAuth.Clients = []oauth.ClientConfig{
		{ID: NativeClient, Name: "Test Market", RedirectURIs: []string{NativeRedirect}, Market: true},
		{ID: AppClient, Name: "Partner", RedirectURIs: []string{AppRedirect, "com.example.partner:/back"}},
	}
	c.Plugins.Cache = Cache()
	c.Plugin = Plugins()
	return c
}

// masterKey is the same for all servers of a test process, so that one can be
// opened again.
var masterKey = func() string {
	var b [32]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}()

// Cache is a directory for compiled plugins that outlives the test, so that not
// every test compiles them anew; empty where there is no place for one.
func Cache() string {
	dir, err := os.UserCacheDir()
	engine := engineVersion()
	if err != nil || engine == "" {
		return ""
	}
	return filepath.Join(dir, "souk", "tests", engine)
}

// engineVersion reads go.mod: the program of a test doesn't know what it was built
// from, and must not run what another engine has compiled. Empty = there is none.
var engineVersion = sync.OnceValue(func() string {
	dir, err := os.Getwd()
	for err == nil {
		if text, err := os.ReadFile(filepath.Join(dir, "go.mod")); err == nil {
			_, version, _ := strings.Cut(string(text), "github.com/tetratelabs/wazero ")
			version, _, _ = strings.Cut(version, "\n")
			return strings.TrimSpace(version)
		}
		if filepath.Dir(dir) == dir {
			break
		}
		dir = filepath.Dir(dir)
	}
	return ""
})

// Plugins are the shipped plugins as the tests use them.
func Plugins() []plugin.Spec {
	accounts, allowlist, rollout := plugin.DefaultSpec(), plugin.DefaultSpec(), plugin.DefaultSpec()
	accounts.Name, accounts.Wasm, accounts.Allow = "accounts", plugins.Accounts, []string{"kv", "password", "log"}
	accounts.HostDeadline *= 10 // a hash is slow on a busy machine under -race
	allowlist.Name, allowlist.Wasm, allowlist.Allow = "allowlist", plugins.Allowlist, []string{"log"}
	allowlist.Config = map[string]any{
		"default": "allow",
		"items":   map[string]any{PlusItem: map[string]any{"any_grant": []string{PlusGrant}}},
	}
	rollout.Name, rollout.Wasm, rollout.Allow = "rollout", plugins.Rollout, []string{"log"}
	all := []plugin.Spec{accounts, allowlist, rollout}
	for i := range all {
		// -race and a busy machine make everything ten times slower; fuel still
		// bounds what a guest does.
		all[i].Deadline *= 50
		all[i].StartDeadline *= 30
	}
	return all
}

// Start runs a furnished server until the test ends. change may alter the
// configuration first.
func Start(t testing.TB, change func(*core.Config)) *Server {
	t.Helper()
	s := Empty(t, change)
	for _, it := range Catalogue() {
		if _, err := s.Catalog.Put(t.Context(), it); err != nil {
			t.Fatalf("put app %d: %v", it.ID, err)
		}
	}
	for _, p := range [...]struct{ email, password string }{{Alice, AlicePassword}, {Bob, BobPassword}, {PlusPerson, AlicePassword}} {
		s.AddPerson(t, p.email, p.password)
	}
	return s
}

// Empty runs a server with nothing in its store until the test ends.
func Empty(t testing.TB, change func(*core.Config)) *Server {
	t.Helper()
	dir := t.TempDir()
	s := &Server{Dir: dir, Clock: new(Clock), Log: new(Log), config: Config(dir)}
	s.config.Now = s.Clock.Now
	s.config.Log = slog.New(slog.NewTextHandler(s.Log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	if change != nil {
		change(&s.config)
	}
	s.open(t)
	t.Cleanup(func() { s.stop() })
	return s
}

func (s *Server) open(t testing.TB) {
	t.Helper()
	host, err := core.Open(context.WithoutCancel(t.Context()), s.config)
	if err != nil {
		t.Fatalf("open the server: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- host.Serve(ctx) }()
	s.Host = host
	s.stop = func() {
		cancel()
		if err := <-served; err != nil {
			t.Errorf("serve: %v", err)
		}
		if err := host.Close(); err != nil {
			t.Errorf("close the server: %v", err)
		}
	}
	token, err := os.ReadFile(filepath.Join(dataDir(s.config), "admin.token"))
	if err != nil {
		t.Fatal(err)
	}
	s.AdminToken = strings.TrimSpace(string(token))
}

func dataDir(c core.Config) string {
	if filepath.IsAbs(c.Store.Dir) {
		return c.Store.Dir
	}
	return filepath.Join(c.Dir, c.Store.Dir)
}

// Restart stops the server and opens it again over the same data. Its addresses
// change.
func (s *Server) Restart(t testing.TB) {
	t.Helper()
	s.stop()
	s.open(t)
}

// Catalogue is the catalogue of the tests.
func Catalogue() []catalog.Item {
	full := catalog.Rollout{Share: catalog.FullShare}
	version := func(id uint64, short, os string) catalog.Version {
		return catalog.Version{ID: id, Short: short, Build: "7", MinOS: map[string]string{"ios": os}, Rollout: full}
	}
	return []catalog.Item{
		{ID: 1000001, BundleID: "com.example.market", Name: "Market", SignIn: catalog.SignInRequired, Versions: []catalog.Version{version(2000011, "1.0", "17.4")}},
		{
			ID: 1000002, BundleID: "com.example.notes", Name: "Notes", SignIn: catalog.SignInRequired, ShareURL: "https://market.example.com/apps/notes",
			Versions: []catalog.Version{version(2000022, "3.2", "18.0"), version(2000021, "3.1", "17.4")},
		},
		{ID: 1000003, BundleID: "com.example.plus", Name: "Plus", SignIn: catalog.SignInRequired, Versions: []catalog.Version{version(2000031, "2.0", "17.4")}},
		{ID: 1000004, BundleID: "com.example.sky", Name: "Sky", SignIn: catalog.SignInNone, Versions: []catalog.Version{version(2000041, "1.4", "17.4")}},
	}
}
