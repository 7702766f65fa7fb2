package oauth

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/souk-market/souk/core/store"
)

// Clients are the registered clients: those of the configuration, and those that
// the store keeps. All are in memory. A change is stored and then taken over: by
// this process before the call returns, by others as soon as the store tells them.
type Clients struct {
	config []*Client // of config.toml, and the install page
	table  atomic.Pointer[clientTable]

	store *store.Store // nil = there are none but those of the configuration
	log   *slog.Logger
	mu    sync.Mutex // held from reading the store to publishing what was read
	stop  context.CancelFunc
	done  chan struct{}
}

// clientTable is all clients at one moment.
type clientTable struct {
	byID   map[string]*Client
	byKey  map[[16]byte]*Client
	closed map[string]store.ClientState // ids of clients that may not be used: never taken for a device's
	stored []store.Client               // in the order of their ids, but for removed ones
}

// NewClients checks the configured clients; an error names the key and the fix.
// issuer is the public URL of this server, whose install page is a client too.
func NewClients(issuer string, configs []ClientConfig) (*Clients, error) {
	if err := checkConfigs(configs); err != nil {
		return nil, err
	}
	c := &Clients{config: []*Client{{ID: PageClient, Page: true, redirects: []string{issuer + PagePath}, scopes: scopeAll}}, log: slog.New(slog.DiscardHandler)}
	for _, one := range configs {
		c.config = append(c.config, &Client{ID: one.ID, Name: one.Name, Market: one.Market, redirects: one.RedirectURIs, scopes: scopeAll})
	}
	c.publish(nil)
	return c, nil
}

func checkConfigs(configs []ClientConfig) error {
	seen := map[string]bool{}
	for i, c := range configs {
		at := fmt.Sprintf("oauth.client[%d]", i)
		if err := checkClient(c.ID, c.Name, c.RedirectURIs); err != nil {
			return fmt.Errorf("%s.%w", at, err)
		}
		if seen[c.ID] {
			return fmt.Errorf("%s.id: %q is there twice: a client id is unique", at, c.ID)
		}
		seen[c.ID] = true
	}
	return nil
}

// Open reads the clients that the store keeps and follows them until Close. A
// record that can't be read stops it here; later, all clients keep their last good
// state. log hears of that, and of clients that are in config.toml too.
func (c *Clients) Open(ctx context.Context, s *store.Store, log *slog.Logger) error {
	watching, stop := context.WithCancel(context.WithoutCancel(ctx))
	hints, err := s.WatchClients(watching)
	if err != nil {
		stop()
		return fmt.Errorf("watch clients: %w", err)
	}
	c.store, c.stop, c.done = s, stop, make(chan struct{})
	if log != nil {
		c.log = log
	}
	if err := c.reload(ctx); err != nil {
		stop()
		return err
	}
	for _, one := range c.table.Load().stored {
		if c.configured(one.ID) {
			c.log.Warn("a client is in config.toml and was registered too: config.toml wins. Take it out of one of the two", "client", one.ID)
		}
	}
	go c.follow(watching, hints)
	return nil
}

// Close ends what Open began.
func (c *Clients) Close() {
	c.stop()
	<-c.done
}

func (c *Clients) follow(ctx context.Context, hints <-chan struct{}) {
	defer close(c.done)
	store.Reload(ctx, hints, nil, c.reload, func(err error) { c.log.Error("the clients are not taken over", "error", err) })
}

// reload takes over the clients that are in the store. Whoever has written finds
// the write in what its own reload publishes.
func (c *Clients) reload(ctx context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	stored, err := c.store.Clients(ctx)
	if err != nil {
		return fmt.Errorf("read the clients: %w", err)
	}
	c.publish(stored)
	return nil
}

// publish makes the next table. A client of the configuration wins, but it keeps
// the epoch of a record with its id: what was ended stays ended.
func (c *Clients) publish(stored []store.Client) {
	t := &clientTable{byID: map[string]*Client{}, byKey: map[[16]byte]*Client{}, closed: map[string]store.ClientState{}}
	epochs := map[string]uint32{}
	for i := range stored {
		one := &stored[i]
		epochs[one.ID] = one.Epoch
		if one.State != store.ClientRemoved {
			t.stored = append(t.stored, *one)
		}
		if one.State != store.ClientActive {
			t.closed[one.ID] = one.State
			continue
		}
		t.byID[one.ID] = &Client{
			ID: one.ID, Name: one.Name, Market: one.Market, redirects: one.RedirectURIs, scopes: one.Scope,
			confidential: one.Kind == store.ConfidentialClient, secret: one.Secret, epoch: one.Epoch,
		}
	}
	for _, one := range c.config {
		own := *one
		own.epoch = epochs[own.ID]
		t.byID[own.ID] = &own
		delete(t.closed, own.ID)
	}
	for _, one := range t.byID {
		t.byKey[one.Key()] = one
	}
	c.table.Store(t)
}

// configured says whether a client is one of config.toml, or the install page.
func (c *Clients) configured(id string) bool {
	for _, one := range c.config {
		if one.ID == id {
			return true
		}
	}
	return false
}

// ByID finds a client by its client_id: a registered one, or else a device if
// the text can be a device's. Nobody registers a device (Apple's is a UUID that
// it makes itself), so any short printable text is taken and proves nothing. A
// client that was disabled or removed is none, and no device either.
func (c *Clients) ByID(id string) (*Client, bool) {
	t := c.table.Load()
	if client, ok := t.byID[id]; ok {
		return client, true
	}
	if _, closed := t.closed[id]; closed || id == "" || len(id) > maxClientID || !vschar(id) {
		return nil, false
	}
	return &Client{ID: id, Device: true, scopes: scopeAll}, true
}

// byKey finds the registered client of a token or a family, nil if it is none, or
// none any more: removed, disabled, or registered anew.
//
// hot: called for every request of a registered app; no allocation.
func (c *Clients) byKey(key [16]byte) *Client { return c.table.Load().byKey[key] }

// Policy is the client of a token as policy sees it; see [Client.Policy].
func (c *Clients) Policy(key [16]byte) string { return string(c.AppendPolicy(nil, key)) }

// AppendPolicy appends the client of a token as Policy names it.
//
// hot: called for each update check that has candidates; no allocation when dst has room.
func (c *Clients) AppendPolicy(dst []byte, key [16]byte) []byte {
	if client := c.byKey(key); client != nil {
		return append(dst, client.ID...)
	}
	return hex.AppendEncode(dst, key[:])
}

var (
	// ErrNoClient means that no client with this id is registered.
	ErrNoClient = errors.New("oauth: no such client")
	// ErrClientTaken means that the id belongs to a client already.
	ErrClientTaken = errors.New("oauth: client id is taken")
	// ErrClientConfigured means that the client is one of config.toml, which is
	// where it is changed.
	ErrClientConfigured = errors.New("oauth: client is configured")
)
