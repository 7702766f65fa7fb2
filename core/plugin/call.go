package plugin

import (
	"context"
	"sync/atomic"

	"github.com/souk-market/souk/sdk/abi"
)

// Call is what one request asks of the plugins. Fill in the record of a
// question and ask it; the Call keeps its space for the next request, so
// nothing that it returned may be used after Release.
//
// The lists of the records may alias what the caller owns: Release lets go of
// them. A Call is for one goroutine.
type Call struct {
	Entitle       abi.EntitleRequest
	SelectVersion abi.SelectVersionRequest
	SignIn        abi.SignInRequest
	Exchange      abi.ExchangeRequest

	host    *Host
	request []byte // the question as the guests get it
	answers []byte // copies of all verdicts; their strings lie in here
	secrets []string
	private bool // answers hold what only one person may see
	fuel    uint64

	entitleAnswer  entitleAnswer
	selectAnswer   selectAnswer
	signInAnswer   signInAnswer
	exchangeAnswer exchangeAnswer
	entitlements   []Entitlement
	selections     []Selection
}

// keep is the most that a Call keeps for the next request, of each buffer.
const keep = 256 << 10

// Acquire returns an empty Call. Release gives it back.
func (h *Host) Acquire() *Call { return h.calls.Get().(*Call) }

// Release gives the Call back.
func (c *Call) Release() {
	c.Entitle = abi.EntitleRequest{Apps: emptied(c.Entitle.Apps)}
	c.SelectVersion = abi.SelectVersionRequest{Apps: emptied(c.SelectVersion.Apps)}
	c.SignIn = abi.SignInRequest{Fields: emptied(c.SignIn.Fields)}
	c.Exchange = abi.ExchangeRequest{}
	c.secrets = emptied(c.secrets)
	if c.private {
		clear(c.answers)
		c.private = false
	}
	c.request, c.answers = small(c.request), small(c.answers)
	c.entitlements, c.selections = emptied(c.entitlements), emptied(c.selections)
	c.fuel = 0
	c.host.calls.Put(c)
}

// Fuel returns what the guests used for this Call so far.
func (c *Call) Fuel() uint64 { return c.fuel }

func emptied[T any](list []T) []T {
	clear(list)
	return list[:0]
}

func small(b []byte) []byte {
	if cap(b) > keep {
		return nil
	}
	return b[:0]
}

// verdict is where an answer is read to. It is nonsense unless read says "".
type verdict interface {
	read(b []byte, s *Spec) (wrong string)
	// hide takes secrets out of what people and the log read, and refuses one
	// where the core would work with it.
	hide(s *secrets) (wrong string)
}

// ask asks one plugin what c.request holds and reads its answer to v. Neither
// answered nor failed means that it abstained.
// hot: called for every update check with a candidate; no allocation.
func (c *Call) ask(ctx context.Context, p *plugin, q question, most uint32, v verdict) (answered bool, failure *Failure) {
	answered, f := c.try(ctx, p, q, most, v)
	if f != nil {
		f.reason = sanitize(q.redact(f.reason))
		return false, p.failed(q.hook, f)
	}
	return answered, nil
}

func (p *plugin) failed(hook abi.Hook, f *fault) *Failure {
	failure := &Failure{Plugin: p.name, Hook: hook, Kind: f.kind, Reason: f.reason}
	p.failures[hook][f.kind].Add(1)
	p.last.Store(failure)
	p.log.failure(failure)
	return failure
}

func (c *Call) try(ctx context.Context, p *plugin, q question, most uint32, v verdict) (answered bool, f *fault) {
	if len(c.request) > abi.MaxRequest {
		return false, faultf(KindMemory, "the question has %d bytes: at most %d are asked", len(c.request), abi.MaxRequest)
	}
	g := p.current.Load()
	if g == nil {
		return false, faultf(KindUnavailable, "%v", errClosed)
	}
	s, err := g.take(ctx, g.spec.HostDeadline.Std())
	switch {
	case err != nil:
		return false, faultf(KindUnavailable, "%v", err)
	case s == nil:
		return false, faultf(KindBusy, "none of %d instances became free", len(g.all))
	}
	defer func() {
		if f != nil {
			f.reason = g.secrets.redact(f.reason)
		}
	}()
	defer func() {
		if r := recover(); r != nil {
			answered, f = false, faultf(KindTrap, "host: %v", r)
		}
		if f != nil && s.in != nil { // nobody knows what state the guest is in
			s.in.close()
			s.in = nil
		}
		g.give(s)
	}()
	if s.in == nil {
		g.restarts.Add(1)
		if s.in, err = g.start(ctx); err != nil {
			return false, faultf(KindUnavailable, "start an instance: %v", err)
		}
	}

	view, f := s.in.ask(ctx, q, c.request, most)
	n := &s.counts[q.hook]
	used := s.in.used()
	c.fuel += used
	count(&n.calls, 1)
	count(&n.fuel, used)
	if f == nil && view == nil {
		count(&n.abstained, 1)
		return false, nil
	}
	if f != nil {
		return false, f
	}
	from := len(c.answers)
	c.answers = append(c.answers, view...)
	if wrong := v.read(c.answers[from:], &g.spec); wrong != "" {
		return false, &fault{KindNonsense, wrong}
	}
	if g.secrets != nil {
		if wrong := v.hide(g.secrets); wrong != "" {
			return false, &fault{KindNonsense, wrong}
		}
	}
	return true, nil
}

// count adds to a counter that only the holder of its slot writes, and anybody
// reads.
func count(c *atomic.Uint64, n uint64) { c.Store(c.Load() + n) }
