package oauth_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/souk-market/souk/core/oauth"
	"github.com/souk-market/souk/core/store"
	"github.com/souk-market/souk/core/store/badger"
)

func memory(t *testing.T) (*store.Store, store.Engine) {
	t.Helper()
	e, err := badger.Open(badger.Options{InMemory: true})
	if err != nil {
		t.Fatal(err)
	}
	s, err := store.Open(t.Context(), e, store.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s, e
}

// node is the registration of clients on one of the nodes over a store.
func node(t *testing.T, s *store.Store, log *slog.Logger, configs ...oauth.ClientConfig) *oauth.Server {
	t.Helper()
	c, err := oauth.NewClients("https://market.example.com", configs)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Open(t.Context(), s, log); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return &oauth.Server{Clients: c, Store: s, Now: time.Now, Rand: rand.Reader}
}

// comes waits for what another node has to see by itself.
func comes(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !holds(); time.Sleep(time.Millisecond) { // between looks, not instead of them
		if time.Now().After(deadline) {
			t.Fatalf("it never came that %s", what)
		}
	}
}

func TestEachNodeSeesTheClients(t *testing.T) {
	s, _ := memory(t)
	one, two := node(t, s, nil), node(t, s, nil)
	uri := []string{"com.example.app:/back"}
	if _, err := one.RegisterClient(t.Context(), oauth.Registration{ID: "app", RedirectURIs: uri}); err != nil {
		t.Fatal(err)
	}
	known := func() bool { c, ok := two.Clients.ByID("app"); return ok && !c.Device && c.Redirects(uri[0]) }
	comes(t, "the other node knows the client", known)
	key := func() [16]byte { c, _ := two.Clients.ByID("app"); return c.Key() }
	before, yes, no := key(), true, false
	if _, _, err := one.ChangeClient(t.Context(), "app", oauth.ClientChange{Disabled: &yes}); err != nil {
		t.Fatal(err)
	}
	comes(t, "the other node refuses the client", func() bool { _, ok := two.Clients.ByID("app"); return !ok })
	if two.Clients.Policy(before) == "app" {
		t.Error("the key of a disabled client still leads to it")
	}
	if _, _, err := two.ChangeClient(t.Context(), "app", oauth.ClientChange{Disabled: &no}); err != nil {
		t.Fatal(err)
	}
	comes(t, "the client is known again", known)
	if key() == before || two.Clients.Policy(before) == "app" || two.Clients.Policy(key()) != "app" {
		t.Error("a client that was enabled again has the key that it had: its old tokens would be good")
	}
	if _, err := two.RemoveClient(t.Context(), "app"); err != nil {
		t.Fatal(err)
	}
	comes(t, "the first node refuses the client", func() bool { _, ok := one.Clients.ByID("app"); return !ok })
	if _, err := one.RemoveClient(t.Context(), "app"); !errors.Is(err, oauth.ErrNoClient) {
		t.Errorf("RemoveClient again = %v, want ErrNoClient", err)
	}
}

// config.toml wins, and what was ended stays ended.
func TestConfiguredClientsWin(t *testing.T) {
	s, _ := memory(t)
	first := node(t, s, nil)
	if _, err := first.RegisterClient(t.Context(), oauth.Registration{ID: "app", Name: "Stored", RedirectURIs: []string{"com.example.app:/stored"}}); err != nil {
		t.Fatal(err)
	}
	stored, _ := first.Clients.ByID("app")
	if _, err := first.RemoveClient(t.Context(), "app"); err != nil {
		t.Fatal(err)
	}
	if _, err := first.RegisterClient(t.Context(), oauth.Registration{ID: "app", Name: "Stored", RedirectURIs: []string{"com.example.app:/stored"}}); err != nil {
		t.Fatal(err)
	}
	var log logText
	second := node(t, s, slog.New(slog.NewTextHandler(&log, nil)), oauth.ClientConfig{ID: "app", Name: "Configured", RedirectURIs: []string{"com.example.app:/configured"}})
	c, ok := second.Clients.ByID("app")
	if !ok || c.Name != "Configured" || c.Redirects("com.example.app:/stored") || !c.Redirects("com.example.app:/configured") {
		t.Errorf("ByID = %+v, %v, want the one of config.toml", c, ok)
	}
	if c.Key() == stored.Key() {
		t.Error("the configured client has the key of one whose sign-ins were ended")
	}
	if !strings.Contains(log.String(), "config.toml wins") || !strings.Contains(log.String(), "client=app") {
		t.Errorf("the log is %q, want a word about the two clients", log.String())
	}
	if list := second.Clients.Registered(); len(list) != 1 || !list[0].Configured {
		t.Errorf("Registered = %+v, want the one of config.toml", list)
	}
	if _, _, err := second.ChangeClient(t.Context(), "app", oauth.ClientChange{}); !errors.Is(err, oauth.ErrClientConfigured) {
		t.Errorf("ChangeClient = %v, want ErrClientConfigured", err)
	}
}

// logText is a log that can be read while it is written.
type logText struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logText) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logText) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// A record that can't be read stops the start; later, the clients stay as they
// were until it can.
func TestADamagedClientChangesNothing(t *testing.T) {
	s, e := memory(t)
	var log logText
	running := node(t, s, slog.New(slog.NewTextHandler(&log, nil)))
	if _, err := running.RegisterClient(t.Context(), oauth.Registration{ID: "app", RedirectURIs: []string{"com.example.app:/back"}}); err != nil {
		t.Fatal(err)
	}
	bad := store.Op{Key: store.Key{Table: 'R', Part: "client", Sub: "bad"}, Value: []byte{1}}
	if err := e.Apply(t.Context(), bad); err != nil {
		t.Fatal(err)
	}
	comes(t, "the log names the record", func() bool { return strings.Contains(log.String(), "table R: record is damaged") })
	if _, ok := running.Clients.ByID("app"); !ok {
		t.Error("a damaged record of one client took another away")
	}
	starting, err := oauth.NewClients("https://market.example.com", nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := starting.Open(context.Background(), s, nil); err == nil || !strings.Contains(err.Error(), "table R") {
		t.Errorf("Open = %v, want the record that can't be read", err)
	}
	bad.Value, bad.Delete = nil, true
	if err := e.Apply(t.Context(), bad); err != nil {
		t.Fatal(err)
	}
	if _, err := running.RemoveClient(t.Context(), "app"); err != nil {
		t.Errorf("RemoveClient once the record is gone = %v", err)
	}
}
