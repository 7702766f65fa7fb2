package server

import (
	"fmt"
	"os"
	"sync"
	"time"
)

// probe measures how long a request waits between the moment when its first byte is
// there and the moment when somebody looks at it. It does so by going the same way: a
// byte in a pipe makes a goroutine runnable through the kernel's list of what is ready
// and the scheduler's queues, behind the requests that came before. What Go itself tells
// of its scheduler begins only after the first of the two, and with short requests most
// of the waiting is there; see RATIONALE.md.
type probe struct {
	read, write *os.File
	work        func() uint64
	arrived     chan arrival
	receiving   sync.WaitGroup

	out      bool // one is under way
	sent     time.Time
	ahead    uint64        // work that was done when it was sent
	shortest time.Duration // of those that arrived since the last look
	last     time.Duration // of the one that arrived last
}

type arrival struct {
	at   time.Time
	work uint64
}

func newProbe(work func() uint64) (*probe, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("limits.shed_updates: make a pipe to measure delays with: %w", err)
	}
	p := &probe{read: r, write: w, work: work, arrived: make(chan arrival, 1), shortest: never}
	p.receiving.Go(p.receive)
	return p, nil
}

// receive ends with close.
func (p *probe) receive() {
	defer p.read.Close()
	var b [1]byte
	for {
		if _, err := p.read.Read(b[:]); err != nil {
			return
		}
		p.arrived <- arrival{time.Now(), p.work()}
	}
}

// close lets the reader see the end, and waits for it.
func (p *probe) close() {
	_ = p.write.Close()
	p.receiving.Wait()
}

// beat takes in a probe that has arrived, and sends another.
func (p *probe) beat() {
	select {
	case a := <-p.arrived:
		p.out = false
		p.last = p.waited(a.at, a.work)
		p.shortest = min(p.shortest, p.last)
	default:
	}
	if p.out {
		return
	}
	p.sent, p.ahead = time.Now(), p.work()
	_, err := p.write.Write([]byte{0})
	p.out = err == nil
}

// look returns the shortest delay since the look before. Where none has arrived in
// all that time it is how long the one under way has taken so far, and no less than the
// one before it took: that nothing arrives is no sign that things get better.
func (p *probe) look() time.Duration {
	shortest := p.shortest
	p.shortest = never
	if shortest == never && p.out {
		shortest = max(p.waited(time.Now(), p.work()), p.last)
	}
	if shortest == never {
		return 0
	}
	return shortest
}

// waited is the delay of a probe; 0 where there was too little to do for a queue.
func (p *probe) waited(until time.Time, work uint64) time.Duration {
	if !queued(work - p.ahead) {
		return 0
	}
	return until.Sub(p.sent)
}
