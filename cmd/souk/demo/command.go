// Package demo is the command `souk demo`: a whole marketplace on this machine
// with nothing to set up, and simulated devices that walk every journey on it.
// The server is the real one and the devices are HTTP clients; nothing is
// answered by anything but the code that serves real devices.
package demo

import (
	"context"
	"errors"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/souk-market/souk/core"
)

// Command are the flags of `souk demo`.
type Command struct {
	Listen string `default:"127.0.0.1:8080" help:"Address of the public listener."`
	Admin  string `default:"127.0.0.1:8081" help:"Address of the admin listener."`
	Data   string `type:"path" placeholder:"DIR" help:"Keep the data in this directory, a new one or that of an earlier demo; without it, it is thrown away at the end."`
	TLS    bool   `name:"tls" help:"Make a throw-away CA and walk over TLS."`
	Once   bool   `help:"End after the walk: 0 when every step held, 1 otherwise."`
	JSON   bool   `name:"json" help:"One JSON object a line, for machines."`
}

// errSteps ends the command when a step did not hold; it has been printed.
var errSteps = errors.New("the walk did not go as it should: see above")

// now is the machine's time, for how long things took.
var now = time.Now

// Run runs the demo.
func (c *Command) Run() (err error) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	return c.run(ctx, os.Stdout)
}

func (c *Command) run(ctx context.Context, out io.Writer) (err error) {
	dir := c.Data
	if dir == "" {
		if dir, err = os.MkdirTemp("", "souk-demo-"); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	}
	if err := claim(dir); err != nil {
		return err
	}
	p := newPrinter(out, c.JSON)
	clock := new(clock)
	config, roots, err := c.config(dir, clock)
	if err != nil {
		return err
	}
	p.line("Starting the server with the plugins accounts, allowlist and rollout …")
	began := now()
	host, err := core.Open(ctx, config)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, host.Close()) }()
	serving, stop := context.WithCancel(ctx)
	served := make(chan error, 1)
	go func() { served <- host.Serve(serving) }()
	defer func() {
		stop()
		err = errors.Join(err, <-served)
	}()
	p.started(host, now().Sub(began))

	w := newWalk(host, roots, dir, clock, p)
	held, err := w.run(ctx)
	switch {
	case ctx.Err() != nil:
		return nil
	case err != nil:
		return err
	case c.Once && !held:
		return errSteps
	case c.Once:
		return nil
	}
	p.stays(host, dir)
	<-ctx.Done()
	p.line("Stopping: requests under way are finished first.")
	if !held {
		return errSteps
	}
	return nil
}
