package sim

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"time"
)

// process is the server as the simulator sees it: this program once more. They speak
// JSON, a value a line; see Child.
type process struct {
	hello
	cmd *exec.Cmd
	in  io.WriteCloser
	out *json.Decoder
	log tail
	mu  sync.Mutex // of an order and its answer
}

// stopWithin is how long a child may take to end.
const stopWithin = 15 * time.Second

// startProcess runs a server, and returns when it listens.
func startProcess(ctx context.Context, s *setup) (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	p := &process{cmd: exec.CommandContext(ctx, self, "sim", "child")}
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
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	if err := json.NewEncoder(p.in).Encode(s); err != nil {
		return nil, p.failed(err)
	}
	if err := p.out.Decode(&p.hello); err != nil {
		return nil, p.failed(err)
	}
	return p, nil
}

// tell gives an order and waits until it is carried out.
func (p *process) tell(o order) (done, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var d done
	if err := json.NewEncoder(p.in).Encode(o); err != nil {
		return d, p.failed(err)
	}
	if err := p.out.Decode(&d); err != nil {
		return d, p.failed(err)
	}
	if d.Error != "" {
		return d, fmt.Errorf("the server: %s", d.Error)
	}
	return d, nil
}

// stop lets the server end, and waits until it has.
func (p *process) stop() error {
	_ = p.in.Close() // closed already: it has failed, and Wait says so
	late := time.AfterFunc(stopWithin, func() { _ = p.cmd.Process.Kill() })
	defer late.Stop()
	if err := p.cmd.Wait(); err != nil {
		return fmt.Errorf("the server: %w%s", err, p.log.text())
	}
	return nil
}

// kill ends the server as a power cut does its machine: at once.
func (p *process) kill() error {
	if err := p.cmd.Process.Kill(); err != nil {
		return err
	}
	_, exited := errors.AsType[*exec.ExitError](p.cmd.Wait())
	if !exited {
		return errors.New("the server ended by itself before it was killed")
	}
	return nil
}

// failed ends a server that doesn't answer any more. What it has said on its way out
// says more than that.
func (p *process) failed(err error) error {
	if stopped := p.stop(); stopped != nil {
		return stopped
	}
	return fmt.Errorf("the server: %w", err)
}

// tail keeps the end of what is written to it.
type tail struct {
	mu  sync.Mutex
	end []byte
}

const tailSize = 8 << 10

// Write implements io.Writer.
func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.end = append(t.end, b...)
	if over := len(t.end) - tailSize; over > 0 {
		t.end = append(t.end[:0], t.end[over:]...)
	}
	return len(b), nil
}

// text is what was kept, on lines of its own.
func (t *tail) text() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.end) == 0 {
		return ""
	}
	return "\n" + string(bytes.TrimSpace(t.end))
}
