package bench

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
	"runtime/pprof"
	"time"

	"github.com/souk-market/souk/core"
)

// Child is a process for one server, so that the kernel keeps its account apart
// from that of its clients. It speaks JSON with its parent, a value a line: it says
// where it listens, does what it is told, and ends when its input does.
type Child struct {
	Role    string `arg:"" enum:"bare,fill,souk"`
	Stage   string `help:"Of which cases."`
	Dir     string `help:"Of the data, or of the bare handler's certificate."`
	Items   int    `help:"Apps of the catalogue."`
	Devices int    `help:"Devices that are signed in."`
}

// The roles of a child.
const (
	roleBare = "bare" // the baseline
	roleFill = "fill" // writes what clients work with, says what they have to know, and ends
	roleSouk = "souk" // the server
)

// address is what a server says when it listens.
type address struct {
	Public string `json:"public"` // host:port
	Admin  string `json:"admin"`  // URL
}

// order is what a child is told. It answers each with its usage.
type order struct {
	Answer  *int   `json:"answer,omitempty"`  // to the bare handler: the bytes of its answers from now on
	Warm    int    `json:"warm,omitempty"`    // to Souk: the tokens that there are to be of each of these
	Apps    []int  `json:"apps,omitempty"`    // apps of the catalogue
	Profile string `json:"profile,omitempty"` // a file for the profile of the processor from now on
}

// usage is what a child has used so far.
type usage struct {
	CPU   time.Duration `json:"cpu"`
	Error string        `json:"error,omitempty"` // of the order
}

// Run is the child.
func (c *Child) Run() error {
	out := json.NewEncoder(os.Stdout)
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	if c.Role == roleBare {
		b, err := newBare(c.Dir)
		if err != nil {
			return err
		}
		return c.serve(ctx, stop, out, address{Public: b.listener.Addr().String()}, b.serve, b.obey)
	}
	if c.Role == roleFill {
		host, err := core.Open(ctx, fillConfig(c.Dir))
		if err != nil {
			return err
		}
		said, err := fill(ctx, host, c.Items, c.Devices)
		if err == nil {
			err = out.Encode(said)
		}
		return errors.Join(err, host.Close())
	}
	s, err := stageNamed(c.Stage)
	if err != nil {
		return err
	}
	host, err := core.Open(ctx, s.config(c.Dir))
	if err != nil {
		return err
	}
	u, err := url.Parse(host.PublicURL())
	if err == nil {
		err = c.serve(ctx, stop, out, address{u.Host, host.AdminURL()}, host.Serve, func(o order) error {
			if o.Warm == 0 {
				return nil
			}
			return warmPool(host.Market.Pool, o.Warm, o.Apps)
		})
	}
	return errors.Join(err, host.Close())
}

// serve serves until the input ends.
func (c *Child) serve(ctx context.Context, stop func(), out *json.Encoder, at address, serve func(context.Context) error, do func(order) error) error {
	served := make(chan error, 1)
	go func() { served <- serve(ctx) }()
	told := make(chan error, 1)
	go func() {
		told <- errors.Join(out.Encode(at), obey(json.NewDecoder(os.Stdin), out, do))
		stop()
	}()
	err := <-served
	if ctx.Err() == nil {
		return fmt.Errorf("the server ended by itself: %w", err)
	}
	return errors.Join(err, <-told)
}

// obey carries out orders until there are no more. What only one kind of server can do
// is for do.
func obey(in *json.Decoder, out *json.Encoder, do func(order) error) error {
	defer pprof.StopCPUProfile() // does nothing where none was begun
	for {
		var o order
		if err := in.Decode(&o); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		err := do(o)
		if err == nil && o.Profile != "" {
			err = profile(o.Profile)
		}
		u := usage{}
		if err == nil {
			u.CPU, err = cpuTime()
		}
		if err != nil {
			u.Error = err.Error()
		}
		if err := out.Encode(u); err != nil {
			return err
		}
	}
}

func profile(file string) error {
	f, err := os.Create(file) // open until the process ends
	if err != nil {
		return err
	}
	return pprof.StartCPUProfile(f)
}

// shipped is the configuration that is shipped, in a directory of its own, on free
// ports, and without plugins.
func shipped(dir string, level slog.Level) core.Config {
	c := core.DefaultConfig()
	c.Dir = dir
	c.Server.Listen, c.Admin.Listen = "127.0.0.1:0", "127.0.0.1:0"
	c.Limits.ShedUpdates = 0 // what is measured is an answer, on a machine that is kept busy
	c.Log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level}))
	return c
}

// config is that of the stage.
func (s *stage) config(dir string) core.Config {
	c := shipped(dir, slog.LevelInfo) // as souk serve logs
	c.Plugin = s.plugins
	if s.configure != nil {
		s.configure(&c)
	}
	return c
}

// fillConfig is that of what is written first. What is lost if the power fails
// meanwhile is made again.
func fillConfig(dir string) core.Config {
	c := shipped(dir, slog.LevelWarn)
	c.Store.Durability = core.DurabilityProcess
	return c
}

// adminToken reads the token that the server in a directory has made.
func adminToken(dir string) (string, error) {
	text, err := os.ReadFile(filepath.Join(dir, core.DefaultConfig().Store.Dir, "admin.token"))
	return string(text), err
}
