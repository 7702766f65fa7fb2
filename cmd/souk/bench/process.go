package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"time"
)

// process is a child as its parent sees it.
type process struct {
	address
	role string
	cmd  *exec.Cmd
	in   io.WriteCloser
	out  *json.Decoder
	log  tail
}

// start runs this program once more as a child.
func start(ctx context.Context, role string, args ...string) (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	p := &process{role: role, cmd: exec.CommandContext(ctx, self, append([]string{"bench", "child", role}, args...)...)}
	p.cmd.Stderr = &p.log
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	p.out = json.NewDecoder(out)
	p.cmd.WaitDelay = stopWithin
	return p, p.cmd.Start()
}

// stopWithin is how long a child may take to end.
const stopWithin = 15 * time.Second

// startServer runs a child that serves.
func startServer(ctx context.Context, role string, args ...string) (*process, error) {
	p, err := start(ctx, role, args...)
	if err != nil {
		return nil, err
	}
	if err := p.out.Decode(&p.address); err != nil {
		return nil, p.failed(err)
	}
	return p, nil
}

// startFill has a child fill a store, and returns what it says.
func startFill(ctx context.Context, dir string, items, devices int) (*filled, error) {
	p, err := start(ctx, roleFill, "--dir", dir, "--items", strconv.Itoa(items), "--devices", strconv.Itoa(devices))
	if err != nil {
		return nil, err
	}
	var f filled
	if err := p.out.Decode(&f); err != nil {
		return nil, p.failed(err)
	}
	return &f, p.stop()
}

// tell gives an order and returns what the child has used so far.
func (p *process) tell(o order) (time.Duration, error) {
	if err := json.NewEncoder(p.in).Encode(o); err != nil {
		return 0, p.failed(err)
	}
	var u usage
	if err := p.out.Decode(&u); err != nil {
		return 0, p.failed(err)
	}
	if u.Error != "" {
		return 0, fmt.Errorf("the child %s: %s", p.role, u.Error)
	}
	return u.CPU, nil
}

// stop lets the child end, and waits until it has.
func (p *process) stop() error {
	_ = p.in.Close() // closed already: it has failed, and Wait says so
	late := time.AfterFunc(stopWithin, func() { _ = p.cmd.Process.Kill() })
	defer late.Stop()
	if err := p.cmd.Wait(); err != nil {
		return fmt.Errorf("the child %s: %w%s", p.role, err, p.log.text())
	}
	return nil
}

// failed ends a child that doesn't answer any more. What it has said on its way out
// says more than that.
func (p *process) failed(err error) error {
	if stopped := p.stop(); stopped != nil {
		return stopped
	}
	return fmt.Errorf("the child %s: %w", p.role, err)
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
