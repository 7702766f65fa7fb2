package sim

import (
	"context"
	"fmt"
	"sync"

	"github.com/souk-market/souk/cmd/souk/child"
)

// process is the server as the simulator sees it; see Child.
type process struct {
	*child.Process
	hello
	mu sync.Mutex // of an order and its answer
}

// startProcess runs a server, and returns when it listens.
func startProcess(ctx context.Context, s *setup) (*process, error) {
	c, err := child.Start(ctx, "the server", "sim", "child")
	if err != nil {
		return nil, err
	}
	p := &process{Process: c}
	if err := p.Send(s); err != nil {
		return nil, err
	}
	if err := p.Receive(&p.hello); err != nil {
		return nil, err
	}
	return p, nil
}

// tell gives an order and waits until it is carried out.
func (p *process) tell(o order) (done, error) { return p.follow(o, nil) }

// follow is tell of an order that takes a while: soFar is called with what is done of it,
// now and then.
func (p *process) follow(o order, soFar func(done)) (done, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.Send(o); err != nil {
		return done{}, err
	}
	for {
		var d done
		if err := p.Receive(&d); err != nil {
			return d, err
		}
		if d.Error != "" {
			return d, fmt.Errorf("the server: %s", d.Error)
		}
		if !d.Part {
			return d, nil
		}
		if soFar != nil {
			soFar(d)
		}
	}
}
