package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/souk-market/souk/core"
	"github.com/souk-market/souk/core/admin"
)

// serveCommand runs the server until it is told to stop.
type serveCommand struct {
	Config    string `default:"config.toml" placeholder:"FILE" help:"The configuration. Relative paths in it start from its directory. Default: config.toml."`
	ReadyFile string `placeholder:"FILE" help:"Write the addresses to this file as JSON, {\"public\": URL, \"admin\": URL}, as soon as the server answers, and remove it at the end: for supervisors and scripts."`
	LogLevel  string `default:"info" enum:"debug,info,warn,error" placeholder:"LEVEL" help:"What to log on standard error: debug, info, warn or error. Who changed what over the admin API is logged always, as AUDIT. Default: info."`
	LogJSON   bool   `name:"log-json" help:"Log JSON, one object a line."`
}

// Help says more than one line does.
func (c *serveCommand) Help() string {
	return `Prints where it listens, and which files it has made: at the first start those
are the keys and the admin token in the data directory, each readable by its
owner alone. Keep them; "souk account" and "souk app" need the admin token.

SIGINT or SIGTERM ends it: requests under way may finish first, for ten seconds.
SIGHUP has it read the configuration again, as "souk plugin reload" does.

SOUK_KEY in the environment is the key that the key ring is encrypted under, in
64 hexadecimal digits, instead of the file souk.key in the data directory.`
}

// Run serves.
func (c *serveCommand) Run(std *streams) error {
	config, err := load(c.Config)
	if err != nil {
		return err
	}
	config.Key = os.Getenv("SOUK_KEY")
	config.Log = c.logger(std)
	config.Again = func() (core.Config, error) { return load(c.Config) }

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	hangups := make(chan os.Signal, 1)
	onHangup(hangups)
	defer signal.Stop(hangups)
	host, err := core.Open(ctx, config)
	if err != nil {
		return err
	}
	fmt.Fprintf(std.out, "public   %s\n", host.PublicURL())
	fmt.Fprintf(std.out, "admin    %s\n", host.AdminURL())
	for _, file := range host.Created {
		fmt.Fprintf(std.out, "created  %s\n", file)
	}
	// A ready file that is there by now is that of a server that was killed: one that
	// runs has the store.
	if err := errors.Join(c.unready(), c.ready(host)); err != nil {
		return errors.Join(err, host.Close())
	}
	// A second signal ends the process at once.
	context.AfterFunc(ctx, stop)
	reloading := make(chan struct{})
	go func() {
		defer close(reloading)
		reload(ctx, host, hangups, config.Log)
	}()
	err = host.Serve(ctx)
	stop() // it may have ended by itself
	<-reloading
	return errors.Join(err, c.unready(), host.Close())
}

// reload has the server read its configuration again at each signal, until ctx
// ends.
func reload(ctx context.Context, host *core.Host, signals <-chan os.Signal, log *slog.Logger) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-signals:
		}
		if _, err := host.Reread(ctx); err != nil {
			log.Error("the configuration was not reloaded, and nothing has changed", "error", err)
		}
	}
}

func (c *serveCommand) logger(std *streams) *slog.Logger {
	var level slog.Level
	_ = level.UnmarshalText([]byte(c.LogLevel)) // kong has looked at it already
	options := &slog.HandlerOptions{Level: level, ReplaceAttr: nameAudit}
	if c.LogJSON {
		return slog.New(slog.NewJSONHandler(std.err, options))
	}
	return slog.New(slog.NewTextHandler(std.err, options))
}

// nameAudit writes the level of the audit lines as a word.
func nameAudit(groups []string, a slog.Attr) slog.Attr {
	if len(groups) == 0 && a.Key == slog.LevelKey && a.Value.Any() == admin.LevelAudit {
		a.Value = slog.StringValue("AUDIT")
	}
	return a
}

// ready writes the ready file. It is there whole or not at all: whoever waits for
// it reads it at once.
func (c *serveCommand) ready(host *core.Host) error {
	if c.ReadyFile == "" {
		return nil
	}
	text, err := json.Marshal(struct {
		Public string `json:"public"`
		Admin  string `json:"admin"`
	}{host.PublicURL(), host.AdminURL()})
	if err != nil {
		return fmt.Errorf("--ready-file: %w", err)
	}
	tmp, err := os.CreateTemp(filepath.Dir(c.ReadyFile), ".ready-*")
	if err != nil {
		return fmt.Errorf("--ready-file: %w", err)
	}
	_, err = tmp.Write(append(text, '\n'))
	if err = errors.Join(err, tmp.Close()); err == nil {
		err = os.Rename(tmp.Name(), c.ReadyFile)
	}
	if err != nil {
		os.Remove(tmp.Name())
		return fmt.Errorf("--ready-file: %w", err)
	}
	return nil
}

// unready removes the ready file.
func (c *serveCommand) unready() error {
	if c.ReadyFile == "" {
		return nil
	}
	if err := os.Remove(c.ReadyFile); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("--ready-file: %w", err)
	}
	return nil
}
