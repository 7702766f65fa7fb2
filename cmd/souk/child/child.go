// Package child runs this program once more, as a process of its own for a server
// that is measured or that lives in another time. Parent and child speak JSON, a value
// a line; the child ends when its input does.
package child

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"time"
)

// Process is a child as its parent sees it.
type Process struct {
	name string
	cmd  *exec.Cmd
	in   io.WriteCloser
	out  *json.Decoder
	log  Tail
}

// stopWithin is how long a child may take to end.
const stopWithin = 15 * time.Second

// Start runs this program with some arguments. name is what errors call it.
func Start(ctx context.Context, name string, args ...string) (*Process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	p := &Process{name: name, cmd: exec.CommandContext(ctx, self, args...)}
	p.cmd.Stderr = &p.log
	p.cmd.WaitDelay = stopWithin
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	p.out = json.NewDecoder(out)
	return p, p.cmd.Start()
}

// Send tells the child something. One that doesn't listen any more is ended.
func (p *Process) Send(v any) error {
	if err := json.NewEncoder(p.in).Encode(v); err != nil {
		return p.failed(err)
	}
	return nil
}

// Receive waits for what the child says. One that says nothing any more is ended.
func (p *Process) Receive(v any) error {
	if err := p.out.Decode(v); err != nil {
		return p.failed(err)
	}
	return nil
}

// Stop lets the child end, and waits until it has.
func (p *Process) Stop() error {
	_ = p.in.Close() // closed already: it has failed, and Wait says so
	late := time.AfterFunc(stopWithin, func() { _ = p.cmd.Process.Kill() })
	defer late.Stop()
	if err := p.cmd.Wait(); err != nil {
		return fmt.Errorf("%s: %w%s", p.name, err, p.log.Text())
	}
	return nil
}

// Kill ends the child as a power cut does its machine: at once.
func (p *Process) Kill() error {
	if err := p.cmd.Process.Kill(); err != nil {
		return err
	}
	_, exited := errors.AsType[*exec.ExitError](p.cmd.Wait())
	if !exited {
		return fmt.Errorf("%s ended by itself before it was killed", p.name)
	}
	return nil
}

// failed ends a child that doesn't answer any more. What it has said on its way out
// says more than that.
func (p *Process) failed(err error) error {
	if stopped := p.Stop(); stopped != nil {
		return stopped
	}
	return fmt.Errorf("%s: %w", p.name, err)
}
