package bench

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/souk-market/souk/cmd/souk/child"
)

// process is a child as its parent sees it.
type process struct {
	*child.Process
	address
	role string
}

// start runs this program once more as a child.
func start(ctx context.Context, role string, args ...string) (*process, error) {
	c, err := child.Start(ctx, "the child "+role, append([]string{"bench", "child", role}, args...)...)
	if err != nil {
		return nil, err
	}
	return &process{Process: c, role: role}, nil
}

// startServer runs a child that serves.
func startServer(ctx context.Context, role string, args ...string) (*process, error) {
	p, err := start(ctx, role, args...)
	if err != nil {
		return nil, err
	}
	if err := p.Receive(&p.address); err != nil {
		return nil, err
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
	if err := p.Receive(&f); err != nil {
		return nil, err
	}
	return &f, p.Stop()
}

// tell gives an order and returns what the child has used so far.
func (p *process) tell(o order) (time.Duration, error) {
	if err := p.Send(o); err != nil {
		return 0, err
	}
	var u usage
	if err := p.Receive(&u); err != nil {
		return 0, err
	}
	if u.Error != "" {
		return 0, fmt.Errorf("the child %s: %s", p.role, u.Error)
	}
	return u.CPU, nil
}
