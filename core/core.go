// Package core wires the server together and does nothing else: it opens the
// store, the keys, the catalogue and the plugins, hands them to the rules and
// the rules to the listeners. A Host is one whole server; the binary, the tests
// and the demo all run the same one.
package core

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"github.com/souk-market/souk/core/admin"
	"github.com/souk-market/souk/core/catalog"
	"github.com/souk-market/souk/core/market"
	"github.com/souk-market/souk/core/oauth"
	"github.com/souk-market/souk/core/plugin"
	"github.com/souk-market/souk/core/plugin/replay"
	"github.com/souk-market/souk/core/server"
	"github.com/souk-market/souk/core/store"
	"github.com/souk-market/souk/core/store/audit"
	"github.com/souk-market/souk/core/store/badger"
	"github.com/souk-market/souk/core/token"
)

// Host is a server that listens. Serve it, and Close it.
type Host struct {
	OAuth   *oauth.Server
	Market  *market.Market
	Catalog *catalog.Catalog
	Store   *store.Store
	Audit   *audit.Log
	Plugins *plugin.Host
	// InstallKey is the public half of the key that signs install verification
	// tokens, as PEM: what App Store Connect has to know.
	InstallKey []byte
	// Created are the files that this start has made.
	Created []string

	config         Config
	cert           *tls.Certificate
	public, admins net.Listener
	server         *server.Server
	admin          *admin.Server
	pressure       *server.Pressure
	keys           *keyring
	reloading      sync.Mutex
	undo           []func() // what Close has to do, last first
}

// Open makes a server of a configuration. It takes the two addresses and the
// data directory; after an error it has given all of them back.
func Open(ctx context.Context, c Config) (_ *Host, err error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	h := &Host{config: c.whole()}
	c = h.config
	defer func() {
		if err != nil {
			err = errors.Join(err, h.Close())
		}
	}()
	// The cheap things first: they are also those that are wrong most often.
	if h.cert, err = c.certificate(); err != nil {
		return nil, err
	}
	if h.public, err = h.listen("server.listen", c.Server.Listen); err != nil {
		return nil, err
	}
	if h.admins, err = h.listen("admin.listen", c.Admin.Listen); err != nil {
		return nil, err
	}
	if err = h.openStore(ctx); err != nil {
		return nil, err
	}
	if err = h.openCatalog(ctx); err != nil {
		return nil, err
	}
	if err = h.openPlugins(ctx); err != nil {
		return nil, err
	}
	if err = h.openRules(ctx); err != nil {
		return nil, err
	}
	if err = h.openListeners(); err != nil {
		return nil, err
	}
	h.started(ctx)
	h.finishSignOuts(ctx)
	return h, nil
}

// closing notes what Close has to do.
func (h *Host) closing(f func()) { h.undo = append(h.undo, f) }

func (h *Host) openStore(ctx context.Context) error {
	c := &h.config
	dir := c.path(c.Store.Dir)
	if err := c.cutOff(); err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("store.dir: %w", err)
	}
	opened, err := badger.Open(badger.Options{
		Dir: c.data("store"), Sync: c.Store.Durability == DurabilityPower, Verify: c.Store.Verify,
		MinFree: int64(c.Store.MinFree), Memory: int64(c.Store.Memory),
		Now: c.Now, Log: c.Log,
	})
	if err != nil {
		return fmt.Errorf("store.dir: %w", err)
	}
	// The engine's lock on its directory is the log's too.
	if h.Audit, err = h.openAudit(); err != nil {
		return errors.Join(fmt.Errorf("store.dir: %w", err), opened.Close())
	}
	h.closing(func() {
		if err := h.Audit.Close(); err != nil {
			c.Log.Error("close the audit log", "error", err)
		}
	})
	var engine store.Engine = opened
	if c.Engine != nil {
		engine = c.Engine(engine)
	}
	if h.Store, err = store.Open(ctx, engine, store.Config{Now: c.clock(), Accounts: c.Store.Accounts, Audit: h.Audit, Log: c.Log}); err != nil {
		return errors.Join(fmt.Errorf("store.dir: %s: %w", dir, err), engine.Close())
	}
	h.closing(func() {
		if err := h.Store.Close(); err != nil {
			c.Log.Error("close the store", "error", err)
		}
	})
	return nil
}

// openAudit opens the log of what was changed.
func (h *Host) openAudit() (*audit.Log, error) {
	c := &h.config
	o := audit.Options{
		Dir: c.data("audit"), Segment: int64(c.Store.AuditSegment), Size: int64(c.Store.AuditSize),
		Keep: time.Duration(c.Store.AuditDays) * 24 * time.Hour, Now: c.Now, Log: c.Log,
	}
	if c.Store.MinFree > 0 {
		o.Room = badger.Room(o.Dir, int64(c.Store.MinFree))
	}
	return audit.Open(o)
}

// started writes down that a server is there now, and what it asks. A disk that is
// nearly full keeps it from that, and not from answering.
func (h *Host) started(ctx context.Context) {
	detail := map[string]string{}
	for _, p := range h.Plugins.Plugins() {
		detail["plugin "+p.Name] = p.SHA256
	}
	if err := h.Store.Audit(ctx, audit.Entry{Kind: audit.Started, Detail: detail}); err != nil {
		h.config.Log.Error("the start is not written down", "error", err)
	}
}

// finishSignOuts ends what sign-outs everywhere have left that were cut off. Nobody has
// to wait for it: until then refreshes find that out.
func (h *Host) finishSignOuts(ctx context.Context) {
	left := len(h.Store.SignOuts())
	if left == 0 {
		return
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(ctx))
	var finished sync.WaitGroup
	finished.Go(func() {
		switch ended, err := h.OAuth.FinishSignOuts(ctx); {
		case err == nil:
			h.config.Log.Info("sign-outs that were cut off have come to their ends", "accounts", left, "sign_ins", ended)
		case ctx.Err() == nil:
			h.config.Log.Warn("sign-outs that were cut off could not all be brought to their ends: the next start tries again", "sign_ins", ended, "error", err)
		}
	})
	h.closing(func() {
		stop()
		finished.Wait()
	})
}

func (h *Host) openCatalog(ctx context.Context) (err error) {
	c := &h.config
	rules := c.catalogRules()
	h.Catalog, err = catalog.Open(ctx, h.Store, catalog.Options{PublicURL: h.PublicURL(), Rules: rules, Log: c.Log})
	if err != nil {
		return err
	}
	h.closing(h.Catalog.Close)
	if c.Catalog.File == "" {
		return nil
	}
	items, err := catalog.ReadFile(c.path(c.Catalog.File), rules)
	if err != nil {
		return fmt.Errorf("catalog.file: %w", err)
	}
	done, err := h.Catalog.Import(ctx, items)
	if err != nil {
		return fmt.Errorf("catalog.file: %w", err)
	}
	c.Log.Info("catalogue read", "file", c.Catalog.File, "added", len(done.Added), "changed", len(done.Changed), "kept", len(done.Kept))
	return nil
}

func (h *Host) openPlugins(ctx context.Context) (err error) {
	options := h.config.pluginOptions(h.Store)
	if options.Record, err = h.openRecording(); err != nil {
		return err
	}
	h.Plugins, err = plugin.Open(ctx, options)
	if err != nil {
		return err
	}
	h.closing(func() {
		if err := h.Plugins.Close(context.Background()); err != nil {
			h.config.Log.Error("close the plugins", "error", err)
		}
	})
	return nil
}

// openRecording opens what decisions are recorded in; nil = nothing.
func (h *Host) openRecording() (plugin.Recorder, error) {
	c := &h.config
	if c.Plugins.Record == "" {
		return nil, nil
	}
	w, err := replay.Create(c.path(c.Plugins.Record), int64(c.Plugins.RecordSize))
	if err != nil {
		return nil, fmt.Errorf("plugins.record: %w", err)
	}
	w.EntitleDefault, w.Now = c.Market.EntitleDefault, c.clock()
	h.closing(func() {
		if err := w.Close(); err != nil {
			c.Log.Error("close the recording", "error", err)
		}
	})
	return w, nil
}

func (h *Host) openRules(ctx context.Context) error {
	c := &h.config
	ring, err := c.openRing(ctx, h.Store, h.made)
	if err != nil {
		return err
	}
	following, stop := context.WithCancel(context.WithoutCancel(ctx))
	followed, err := ring.follow(following)
	if err != nil {
		stop()
		return err
	}
	h.closing(func() {
		stop()
		<-followed
	})
	h.keys = ring
	key, err := c.installKey(h.made)
	if err != nil {
		return err
	}
	if h.InstallKey, err = token.PublicPEM(key); err != nil {
		return err
	}
	keyID, err := c.installKeyID(key)
	if err != nil {
		return err
	}
	clients, err := oauth.NewClients(h.PublicURL(), c.OAuth.Clients)
	if err != nil {
		return err
	}
	if err := clients.Open(ctx, h.Store, c.Log); err != nil {
		return err
	}
	h.closing(clients.Close)
	h.OAuth = &oauth.Server{
		Issuer: h.PublicURL(), Market: c.Market.Name, Config: c.OAuth, Lives: c.Token.Lives, Clients: clients,
		Store: h.Store, Ring: ring.ring.Load, Plugins: h.Plugins,
		Attempts: oauth.NewAttempts(c.OAuth, h.Store, c.clock()), Now: c.clock(), Rand: c.Rand, Log: c.Log,
	}
	signer := &token.InstallSigner{
		Issuer: c.Market.ItemID, KeyID: keyID, Key: key, Life: c.Market.InstallLife.Std(), Now: c.clock(), Rand: c.Rand,
	}
	polling, err := market.OpenPolling(ctx, h.Store, c.Market.PollingInterval, c.clock(), c.Log)
	if err != nil {
		return err
	}
	h.closing(polling.Close)
	h.pressure = server.NewPressure(server.PressureOptions{Limits: c.Limits, Waits: h.Plugins.Waits, Delay: c.Delay, Log: c.Log})
	h.closing(h.pressure.Close)
	h.Market = &market.Market{
		Config: c.Market, Polling: polling, Catalog: h.Catalog, Store: h.Store, Plugins: h.Plugins,
		Signer: signer, Pool: token.NewInstallPool(signer, c.Token.Pool), Spare: h.pressure.Spares,
		Client: clients.AppendPolicy, Device: clients.Device,
		Now: c.clock(), Rand: c.Rand, Log: c.Log,
	}
	h.openPool(ctx)
	return nil
}

// openPool signs install tokens ahead.
func (h *Host) openPool(ctx context.Context) {
	if h.config.Token.Pool == 0 {
		return
	}
	h.Market.Pool.Offer = h.Market.Presigned
	filling, stop := context.WithCancel(context.WithoutCancel(ctx))
	var filled sync.WaitGroup
	filled.Go(func() { h.Market.FollowCatalog(filling) })
	if !h.config.PoolByHand {
		filled.Go(func() { h.Market.Pool.Fill(filling) })
	}
	h.closing(func() {
		stop()
		filled.Wait()
	})
}

func (h *Host) openListeners() (err error) {
	c := &h.config
	h.server, err = server.New(server.Options{Config: c.Server, Limits: c.Limits, OAuth: h.OAuth, Market: h.Market, Pressure: h.pressure, Now: c.Now, Log: c.Log})
	if err != nil {
		return err
	}
	secret, err := c.adminToken(h.made)
	if err != nil {
		return err
	}
	people, err := h.Store.PluginKV(c.OAuth.AccountsPlugin, c.kvQuota())
	if err != nil {
		return err
	}
	h.admin, err = admin.New(admin.Options{
		Config: c.Admin, Token: secret, Store: h.Store, Catalog: h.Catalog, OAuth: h.OAuth, Market: h.Market, Plugins: h.Plugins,
		People: people, Audit: h.Audit, Keys: h.keys, Reload: h.Reread, MaxModule: int(c.Plugins.MaxModule), Traffic: h.traffic, Pressure: h.pressure.Level,
		Ready: h.ready, Log: c.Log, Now: c.clock(),
	})
	return err
}

func (h *Host) made(file string) { h.Created = append(h.Created, file) }

// traffic is what the public listener has answered so far.
func (h *Host) traffic() admin.Traffic {
	short := h.server.Short() // before the requests that they are of
	t := admin.Traffic{
		Connections: h.server.Connections(), Signed: h.Market.Signer.Signed(), Pool: h.Market.Pool.Stats(),
		Short: short, Pressure: h.pressure.Level(), Delay: h.pressure.Delay(), Spared: h.Market.Spared(),
	}
	for _, n := range h.server.Counts() {
		t.Requests = append(t.Requests, admin.Requests{Method: n.Method, Route: n.Route, Status: n.Status, Count: n.Requests})
	}
	var shed []server.Shed
	shed, t.Closed = h.server.Sheds()
	for _, n := range shed {
		t.Shed = append(t.Shed, admin.Shed{Method: n.Method, Route: n.Route, Kind: n.Kind, Count: n.Requests})
	}
	return t
}

// Pressure is what server.Pressure.Level says of this server.
func (h *Host) Pressure() float64 { return h.pressure.Level() }

// ready says what keeps the server from answering.
func (h *Host) ready(ctx context.Context) error {
	_, err := h.Store.KeyRing(ctx)
	return err
}

// Serve answers until ctx ends, and then until the requests under way are done.
func (h *Host) Serve(ctx context.Context) error {
	failed := make(chan error, 2)
	go func() { failed <- h.server.Serve(h.public, h.cert) }()
	go func() { failed <- h.admin.Serve(h.admins) }()
	var err error
	running := 2
	select {
	case <-ctx.Done():
	case err = <-failed:
		running--
	}
	stop, cancel := context.WithTimeout(context.Background(), h.config.StopWithin)
	defer cancel()
	// Both at once: one that has much to finish takes no time from the other.
	closed := make(chan error, 2)
	go func() { closed <- h.stopped("public", h.server.Close(stop)) }()
	go func() { closed <- h.stopped("admin", h.admin.Close(stop)) }()
	err = errors.Join(err, <-closed, <-closed)
	// A server that was closed before it began to serve would serve for ever.
	_, _ = h.public.Close(), h.admins.Close()
	for ; running > 0; running-- {
		err = errors.Join(err, <-failed)
	}
	return err
}

// stopped is what closing a listener came to. A client that never finishes its
// request is cut off in the end, and that is no failure of the stop.
func (h *Host) stopped(listener string, err error) error {
	if !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	h.config.Log.Warn("stopped while requests were under way: they are cut off", "listener", listener, "waited", h.config.StopWithin)
	return nil
}

// Close gives back what Open has taken. Serve must have returned.
func (h *Host) Close() error {
	for i := len(h.undo) - 1; i >= 0; i-- {
		h.undo[i]()
	}
	h.undo = nil
	return nil
}
