package sim

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"sync/atomic"
	"time"
)

// Pulse is a process that does nothing but wake up every five milliseconds, and says in
// the end how late that was. It tells the lateness of the machine from that of the
// generator: what else runs there makes both late, and too much load only the latter.
type Pulse struct{}

const pulseEvery = 5 * time.Millisecond

// Run wakes up until the input ends.
func (*Pulse) Run() error {
	var over atomic.Bool
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		over.Store(true)
	}()
	h := newHistogram()
	due := time.Now()
	for !over.Load() {
		due = due.Add(pulseEvery)
		time.Sleep(time.Until(due))
		late := time.Since(due)
		_ = h.RecordValue(microseconds(late)) // it is in range
		if late > pulseEvery {
			due = time.Now() // one that it has slept through is no second lateness
		}
	}
	return json.NewEncoder(os.Stdout).Encode(h.ValueAtQuantile(99.9))
}

// pulse is such a process as its parent sees it.
type pulse struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

func startPulse(ctx context.Context) (*pulse, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	p := &pulse{cmd: exec.CommandContext(ctx, self, "sim", "pulse")}
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	p.out = bufio.NewReader(out)
	return p, p.cmd.Start()
}

// stop ends it and returns how late the machine was, once in a thousand times.
func (p *pulse) stop() (time.Duration, error) {
	_ = p.in.Close() // closed already: Wait says so
	var us int64
	err := json.NewDecoder(p.out).Decode(&us)
	if waited := p.cmd.Wait(); waited != nil {
		return 0, waited
	}
	return time.Duration(us) * time.Microsecond, err
}
