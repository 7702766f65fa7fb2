package bench

import (
	"context"
	"encoding/json"
	"time"
)

// measurement is one case under way.
type measurement struct {
	httpCase
	baseline, server *process
	token            string // of the server's admin listener
}

// result is what a case came to.
type result struct {
	httpCase
	pairs        pairs
	p99, bareP99 time.Duration
	counted      counters // a request
}

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
func (m *measurement) run(ctx context.Context, c *HTTP, said json.RawMessage) (*result, error) {
	clients, err := m.clients(said, m.server.Public, c.Connections)
	if err != nil {
		return nil, err
	}
	size := 0
	echoes := make([]client, len(clients))
	for i := range echoes { // before the first answer has changed what is asked
		echoes[i] = &echo{request: clients[i].next(nil), size: &size}
	}
	before, err := readCounters(m.server.Admin, m.token)
	if err != nil {
		return nil, err
	}
	ours, err := connect(m.server.Public, clients)
	if err != nil {
		return nil, err
	}
	defer ours.close()
	theirs, err := connect(m.baseline.Public, echoes)
	if err != nil {
		return nil, err
	}
	defer theirs.close()

	// Both warm, and the bare handler learns how much there is to answer.
	if _, err := ours.run(c.Slice, false); err != nil {
		return nil, err
	}
	size = ours.answerSize()
	if _, err := m.baseline.tell(order{Answer: &size}); err != nil {
		return nil, err
	}
	if _, err := theirs.run(c.Slice, false); err != nil {
		return nil, err
	}
	r := &result{httpCase: m.httpCase}
	// A machine that is restless gets as much time again to calm down.
	for n := c.Rounds * slicesEach; len(r.pairs) < n || r.pairs.void() && len(r.pairs) < 2*n; {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		p, err := m.pair(ours, theirs, c.Slice, len(r.pairs)%2 == 1)
		if err != nil {
			return nil, err
		}
		r.pairs = append(r.pairs, p)
	}
	after, err := readCounters(m.server.Admin, m.token)
	if err != nil {
		return nil, err
	}
	r.counted = counters{
		guestCalls: (after.guestCalls - before.guestCalls) / float64(ours.sent),
		signatures: (after.signatures - before.signatures) / float64(ours.sent),
	}
	r.p99, r.bareP99 = percentile(ours.times(), 0.99), percentile(theirs.times(), 0.99)
	return r, nil
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
		done, err := l.run(length, true)
		if err != nil {
			return p, err
		}
		if done.requests == 0 {
			return p, errNoAnswers
		}
		s.requests, s.took = done.requests, done.took
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
