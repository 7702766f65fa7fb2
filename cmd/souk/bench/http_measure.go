package bench

import (
	"context"
	"crypto/tls"
	"fmt"
	"time"
)

// measurement is one case under way.
type measurement struct {
	httpCase
	baseline, server *process
	token            string      // of the server's admin listener
	tls              *tls.Config // of a client; nil = plain
	most             int         // requests that a slice has had so far
	patience         *patience
}

// patience is for cases beside which the machine is restless: they go on, and what
// counts are the last slices. It never looks at a ratio, only at the bare handler.
type patience struct {
	until time.Time     // the run is to end
	later time.Duration // what cases that have not begun need
}

// begin says until when a case that takes so long may go on: it may have half of the
// time that is to spare.
func (p *patience) begin(takes time.Duration) (until time.Time) {
	p.later -= takes
	spare := time.Until(p.until) - p.later - takes
	return time.Now().Add(takes + max(0, spare)/2)
}

// result is what a case came to.
type result struct {
	httpCase
	pairs        pairs
	restless     int // pairs before those
	p99, bareP99 time.Duration
	counted      counters // a request
	requests     int      // that were counted
	connections  int
}

// spread says how much the baseline varied in what is said of the case.
func (r *result) spread() float64 {
	if r.byCPU {
		return r.pairs.cpuSpread()
	}
	return r.pairs.spread()
}

// void says whether that is too much for the result to mean anything.
func (r *result) void() bool { return r.spread() > maxSpread }

// row is a result as JSON has it.
type row struct {
	Case       string  `json:"case"`
	RPS        float64 `json:"rps"`
	Ratio      float64 `json:"ratio"` // to the bare handler's
	CPU        float64 `json:"cpu_us"`
	CPURatio   float64 `json:"cpu_ratio"`
	P99        float64 `json:"p99_ms"`
	GuestCalls float64 `json:"guest_calls"` // a request
	Signatures float64 `json:"signatures"`  // a request
}

func (r *result) row() row {
	return row{
		Case: r.name, RPS: r.pairs.rate(), Ratio: r.pairs.ratio(), CPU: r.pairs.cpu(), CPURatio: r.pairs.cpuRatio(),
		P99: float64(r.p99) / float64(time.Millisecond), GuestCalls: r.counted.guestCalls, Signatures: r.counted.signatures,
	}
}

// run measures the case.
func (m *measurement) run(ctx context.Context, c *HTTP, f *filled) (*result, error) {
	until := m.patience.begin(c.caseTakes())
	connections := m.connections
	if c.Connections > 0 {
		connections = c.Connections
	}
	clients, err := m.clients(f, m.server.Public, connections)
	if err != nil {
		return nil, err
	}
	size := 0
	echoes := make([]client, len(clients))
	for i := range echoes { // before the first answer has changed what is asked
		echoes[i] = &echo{requests: clients[i].sample(), size: &size}
	}
	ours, err := connect(m.server.Public, clients, m.way, m.tls)
	if err != nil {
		return nil, err
	}
	defer ours.close()
	theirs, err := connect(m.baseline.Public, echoes, m.way, m.tls)
	if err != nil {
		return nil, err
	}
	defer theirs.close()

	// Both warm, and the bare handler learns how much there is to answer.
	length := c.Slice
	if m.longest > 0 {
		length = min(length, m.longest)
	}
	if err := m.prepare(f); err != nil {
		return nil, err
	}
	warm, err := ours.run(length, false)
	if err != nil {
		return nil, err
	}
	m.most = warm.requests
	size = ours.answerSize()
	if _, err := m.baseline.tell(order{Answer: &size}); err != nil {
		return nil, err
	}
	if _, err := theirs.run(length, false); err != nil {
		return nil, err
	}
	if ours.settings() != theirs.settings() {
		return nil, fmt.Errorf("a handshake came to %s, and one with the bare handler to %s", ours.settings(), theirs.settings())
	}
	r := &result{httpCase: m.httpCase, connections: connections}
	for n := c.Rounds * slicesEach; len(r.pairs) < n || r.void() && time.Now().Before(until); {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if err := m.prepare(f); err != nil {
			return nil, err
		}
		if err := m.next(r, ours, theirs, length); err != nil {
			return nil, err
		}
		if over := len(r.pairs) - n; over > 0 {
			r.pairs, r.restless = r.pairs[over:], r.restless+over
		}
	}
	r.counted.guestCalls /= float64(r.requests)
	r.counted.signatures /= float64(r.requests)
	r.p99, r.bareP99 = percentile(ours.times(), 0.99), percentile(theirs.times(), 0.99)
	if m.after != nil {
		err = m.after(f, clients)
	}
	return r, err
}

// prepare has the server do what is not to be measured.
func (m *measurement) prepare(f *filled) error {
	if m.before == nil {
		return nil
	}
	_, err := m.server.tell(m.before(f, m.most))
	return err
}

// next adds a pair, and what the server has counted meanwhile.
func (m *measurement) next(r *result, ours, theirs *traffic, length time.Duration) error {
	before, err := readCounters(m.server.Admin, m.token)
	if err != nil {
		return err
	}
	p, err := m.pair(ours, theirs, length, (r.restless+len(r.pairs))%2 == 1)
	if err != nil {
		return err
	}
	after, err := readCounters(m.server.Admin, m.token)
	if err != nil {
		return err
	}
	r.pairs = append(r.pairs, p)
	r.requests += p.ours.requests
	m.most = max(m.most, p.ours.requests)
	r.counted.guestCalls += after.guestCalls - before.guestCalls
	r.counted.signatures += after.signatures - before.signatures
	return nil
}

// pair keeps both servers busy, one after the other. Nobody always comes behind the
// same neighbour. What a server still does when its slice is over, as to move what
// it has written to another place, is on its account all the same.
func (m *measurement) pair(ours, theirs *traffic, length time.Duration, oursFirst bool) (p pair, err error) {
	if p.bare.cpu, err = m.baseline.tell(order{}); err != nil {
		return p, err
	}
	if p.ours.cpu, err = m.server.tell(order{}); err != nil {
		return p, err
	}
	for i := range 2 {
		l, s := theirs, &p.bare
		if (i == 0) == oursFirst {
			l, s = ours, &p.ours
		}
		before, err := cpuTime()
		if err != nil {
			return p, err
		}
		done, err := l.run(length, true)
		if err != nil {
			return p, err
		}
		if done.requests == 0 {
			return p, errNoAnswers
		}
		after, err := cpuTime()
		if err != nil {
			return p, err
		}
		s.requests, s.took, s.clients = done.requests, done.took, after-before
	}
	bare, err := m.baseline.tell(order{})
	if err != nil {
		return p, err
	}
	server, err := m.server.tell(order{})
	if err != nil {
		return p, err
	}
	p.bare.cpu, p.ours.cpu = bare-p.bare.cpu, server-p.ours.cpu
	return p, nil
}
