package sim

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/souk-market/souk/cmd/souk/sim/population"
	"github.com/souk-market/souk/core"
	"github.com/souk-market/souk/core/plugin"
	"github.com/souk-market/souk/core/token"
	"github.com/souk-market/souk/core/unit"
	"github.com/souk-market/souk/plugins"
)

// Child is a process for the server. It reads a setup, says where it listens, does
// what it is told, and ends when its input does. All that its parent must know to be
// believed goes over the pipe, and into no file and no log.
type Child struct {
	// front stands between the clients and the two listeners, and returns where it
	// does; nil = nothing does. It is for tests of what the checks find.
	front func(ctx context.Context, h hello) (hello, error)
	cache string // for compiled plugins; empty = the user's
}

// Load reads the operator's configuration, and gives it the modules that the program
// carries.
type Load func(file string) (core.Config, error)

// setup is what a server is made of.
type setup struct {
	Dir        string            `json:"dir"`    // of its data
	Config     string            `json:"config"` // the operator's own; empty = the one that is shipped
	Key        string            `json:"key"`    // that the key ring is encrypted under
	Epoch      time.Time         `json:"epoch"`  // of the simulated time
	Speed      float64           `json:"speed"`
	Started    time.Time         `json:"started"` // when the simulated time began to run; zero = it stands
	Public     string            `json:"public"`  // addresses of an earlier start; empty = any
	Admin      string            `json:"admin"`
	Cert       string            `json:"cert"` // PEM files; empty = no TLS
	CertKey    string            `json:"cert_key"`
	Patience   int               `json:"patience"` // times as long as configured for plugins; 0 = once
	Population population.Config `json:"population"`
}

// hello is what a server says when it listens.
type hello struct {
	Public     string `json:"public"` // host:port
	Admin      string `json:"admin"`  // URL
	Token      string `json:"token"`  // of the admin API
	InstallKey string `json:"install_key"`
	Issuer     string `json:"issuer"` // of install verification tokens
	KeyID      string `json:"key_id"` // in their header
	Ring       []byte `json:"ring"`   // the key ring as the store has it: under the setup's key
}

// order is one thing to do.
type order struct {
	Fill  *fill      `json:"fill,omitempty"`
	Start *time.Time `json:"start,omitempty"` // lets the simulated time run from then on
	Held  string     `json:"held,omitempty"`  // what the rollout plugin does with what it holds, from the next reload on
}

// done is the answer to an order.
type done struct {
	Part    bool     `json:"part,omitempty"`    // it is not carried out yet: more answers come
	Known   int      `json:"known,omitempty"`   // devices
	Devices []uint64 `json:"devices,omitempty"` // and the refresh tokens of each, where they were asked for
	Refresh []string `json:"refresh,omitempty"`
	Error   string   `json:"error,omitempty"`
}

// Run is the child.
func (c *Child) Run(load Load) error {
	in, out := json.NewDecoder(os.Stdin), json.NewEncoder(os.Stdout)
	var s setup
	if err := in.Decode(&s); err != nil {
		return fmt.Errorf("this is no command for people: %w", err)
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	clock := newClock(s.Epoch, s.Speed)
	if !s.Started.IsZero() {
		clock.start(s.Started)
	}
	sv := &served{setup: s, clock: clock, cache: c.cache}
	config, err := sv.config(load)
	if err != nil {
		return err
	}
	if sv.host, err = core.Open(ctx, config); err != nil {
		return err
	}
	return errors.Join(c.serve(ctx, stop, sv, in, out), sv.host.Close())
}

// served is a server under way.
type served struct {
	setup
	clock *clock
	cache string
	host  *core.Host
	held  string
}

// serve serves until the input ends.
func (c *Child) serve(ctx context.Context, stop func(), s *served, in *json.Decoder, out *json.Encoder) error {
	h, err := s.hello(ctx)
	if err != nil {
		return err
	}
	running := make(chan error, 1)
	go func() { running <- s.host.Serve(ctx) }()
	told := make(chan error, 1)
	go func() {
		var err error
		if c.front != nil {
			h, err = c.front(ctx, h)
		}
		if err == nil {
			err = out.Encode(h)
		}
		if err == nil {
			err = s.obey(ctx, in, out)
		}
		told <- err
		stop()
	}()
	err = <-running
	if ctx.Err() == nil {
		return fmt.Errorf("the server ended by itself: %w", err)
	}
	return errors.Join(err, <-told)
}

func (s *served) hello(ctx context.Context) (hello, error) {
	u, err := url.Parse(s.host.PublicURL())
	if err != nil {
		return hello{}, err
	}
	secret, err := os.ReadFile(filepath.Join(s.Dir, "admin.token"))
	if err != nil {
		return hello{}, err
	}
	ring, err := s.host.Store.KeyRing(ctx)
	return hello{
		Public: u.Host, Admin: s.host.AdminURL(), Token: string(secret), InstallKey: string(s.host.InstallKey),
		Issuer: s.host.Market.Config.ItemID, KeyID: s.host.Market.Signer.KeyID, Ring: ring,
	}, err
}

// obey carries out orders until there are no more.
func (s *served) obey(ctx context.Context, in *json.Decoder, out *json.Encoder) error {
	for {
		var o order
		if err := in.Decode(&o); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		var d done
		var err error
		switch {
		case o.Fill != nil:
			d, err = o.Fill.run(ctx, s.host, s.Population, func(known int) error { return out.Encode(done{Part: true, Known: known}) })
		case o.Start != nil:
			s.clock.start(*o.Start)
		case o.Held != "":
			s.held = o.Held
		}
		if err != nil {
			d.Error = err.Error()
		}
		if err := out.Encode(d); err != nil {
			return err
		}
	}
}

// config is the operator's or the one that is shipped, in a directory of its own, on
// free addresses, with the simulated time.
func (s *served) config(load Load) (core.Config, error) {
	c := core.DefaultConfig()
	if s.Config != "" {
		var err error
		if c, err = load(s.Config); err != nil {
			return c, err
		}
		// Its keys, its people and its apps are not for trying things out.
		c.Market.InstallKey, c.Market.InstallKeyID, c.Catalog.File, c.Admin.TokenFile, c.Token.KeyFile = "", "", "", "", ""
		c.Server.PublicURL, c.TLS.Cert, c.TLS.Key, c.Plugins.Record = "", "", "", ""
	} else {
		rollout := plugin.DefaultSpec()
		rollout.Name, rollout.Wasm = rolloutPlugin, plugins.Rollout
		c.Plugin = []plugin.Spec{rollout}
	}
	// Compiled plugins are kept for the next time, if there is a place for them.
	if c.Plugins.Cache == "" {
		c.Plugins.Cache = s.cache
	}
	if cache, err := os.UserCacheDir(); err == nil && c.Plugins.Cache == "" {
		c.Plugins.Cache = filepath.Join(cache, "souk", "plugins")
	}
	c.Store.Dir, c.Store.Durability, c.Store.MinFree = s.Dir, core.DurabilityProcess, 0
	c.Server.Listen, c.Admin.Listen = "127.0.0.1:0", "127.0.0.1:0"
	if s.Public != "" {
		c.Server.Listen, c.Admin.Listen = s.Public, s.Admin
	}
	if s.Cert != "" {
		c.TLS.Cert, c.TLS.Key = s.Cert, s.CertKey
	}
	c.Key, c.Now = s.Key, s.clock.Now
	if n := unit.Duration(s.Patience); n > 1 {
		for i := range c.Plugin {
			p := &c.Plugin[i]
			p.Deadline, p.StartDeadline, p.HostDeadline = p.Deadline*n, p.StartDeadline*n, p.HostDeadline*n
		}
		c.Limits.ShedUpdates, c.Limits.ShedAll = c.Limits.ShedUpdates*n, min(c.Limits.ShedAll*n, unit.Duration(time.Minute))
	}
	c.Log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))
	c.Again = func() (core.Config, error) {
		again := c
		again.Plugin = append([]plugin.Spec(nil), c.Plugin...)
		for i := range again.Plugin {
			if again.Plugin[i].Name == rolloutPlugin && s.held != "" {
				again.Plugin[i].Config = plugin.Table{"while_held": s.held}
			}
		}
		return again, nil
	}
	return c, nil
}

// rolloutPlugin is the name of the plugin that is asked when nothing else is
// configured.
const rolloutPlugin = "rollout"

// openRing is the key ring of a server, with which its simulator mints the tokens of
// devices that the server has signed in.
func (s *setup) openRing(h *hello) (*token.Ring, error) {
	var master [32]byte
	if err := decodeKey(s.Key, &master); err != nil {
		return nil, err
	}
	keys, err := token.OpenKeys(master, h.Ring)
	if err != nil {
		return nil, err
	}
	return token.NewRing(keys)
}
