package plugin

import (
	"context"
	"time"

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

	// Random is where a guest's own secrets come from in sign_in and exchange: what
	// random_get answers there hangs on it as well as on the seed. Zero = on the
	// seed alone, for tests and for a question that is asked again.
	Random [32]byte

	host     *Host
	stripe   uint32
	at       uint32                  // the slot that was free last time
	set      *set                    // from Acquire to Release
	question question                // what is asked now
	request  []byte                  // the same as the guests get it
	versions abi.SelectVersionWriter // writes it where candidates are packed
	answers  []byte                  // copies of all verdicts; their strings lie in here
	secrets  []string
	private  bool // answers hold what only one person may see
	fuel     uint64
	failure  *Failure // the last one
	dry      *Dry     // nil = it is asked in earnest

	watching watching // what the question is looked at for besides
	asks     []asked  // those that were asked, if it is

	entitleAnswer  entitleAnswer
	selectAnswer   selectAnswer
	signInAnswer   signInAnswer
	exchangeAnswer exchangeAnswer
	entitlements   []Entitlement
	selections     []Selection
}

// keep is the most that a Call keeps for the next request, of each buffer.
const keep = 256 << 10

// Acquire returns an empty Call. Until Release gives it back all that it asks is
// answered by the plugins of now, also if they are swapped meanwhile.
func (h *Host) Acquire() *Call {
	c := h.calls.Get().(*Call)
	h.pin(c)
	return c
}

// Has says whether any plugin is asked this question.
func (c *Call) Has(hook abi.Hook) bool { return c.set.has(hook) }

// Asks says whether this question is of use to anybody: to a plugin, or to one that
// is only watched.
func (c *Call) Asks(hook abi.Hook) bool { return c.set.has(hook) || len(c.set.shadows[hook]) > 0 }

// begin and end stand around a question about apps; c.request holds it.
func (c *Call) begin(hook abi.Hook, head *abi.Head) {
	switch {
	case c.dry != nil:
		c.dry.begin(c.request)
	case c.set.watched[hook]:
		c.watching = c.host.watch.wants(c.set, hook, head)
	}
}

func (c *Call) end(ctx context.Context) {
	switch {
	case c.dry != nil:
		c.dry.end(ctx, c.set, c.host.rules)
	case c.watching != 0:
		c.host.watch.leave(c)
		c.watching, c.asks = 0, emptied(c.asks)
	}
}

// Release gives the Call back. What it has answered need not be cleared: it points to
// nothing but the Call's own space, and each question writes all that it returns.
func (c *Call) Release() {
	c.Entitle = abi.EntitleRequest{Apps: emptied(c.Entitle.Apps)}
	c.SelectVersion = abi.SelectVersionRequest{Apps: emptied(c.SelectVersion.Apps)}
	c.SignIn = abi.SignInRequest{Fields: emptied(c.SignIn.Fields)}
	c.Exchange = abi.ExchangeRequest{}
	c.Random = [32]byte{}
	c.secrets = emptied(c.secrets)
	if c.private {
		clear(c.answers)
		c.private = false
	}
	c.request, c.answers = small(c.request), small(c.answers)
	c.fuel, c.failure, c.dry = 0, nil, nil
	c.watching, c.asks = 0, emptied(c.asks) // where a question came to no end
	c.host.unpin(c)
	c.host.calls.Put(c)
}

// Fuel returns what the guests used for this Call so far.
func (c *Call) Fuel() uint64 { return c.fuel }

// Failure returns the last failure of a plugin in this Call, nil for none. It may
// be kept.
func (c *Call) Failure() *Failure { return c.failure }

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
func (c *Call) ask(ctx context.Context, g *generation, most uint32, v verdict) (answered bool, failure *Failure) {
	switch {
	case c.dry != nil:
		return c.dry.ask(ctx, g, v)
	case c.watching != 0:
		return c.askWatched(ctx, g, most, v)
	}
	return c.askLive(ctx, g, most, v)
}

// askWatched notes what was answered.
func (c *Call) askWatched(ctx context.Context, g *generation, most uint32, v verdict) (answered bool, failure *Failure) {
	a := asked{g: g, from: len(c.answers)}
	if c.watching&watchRecords != 0 {
		if c.question.aside = g.taping(); c.question.aside != nil {
			a.tape = c.question.aside.tape
		}
	}
	fuel := c.fuel
	answered, a.failure = c.askLive(ctx, g, most, v)
	c.question.aside = nil
	a.fuel = c.fuel - fuel
	if a.to = a.from; answered {
		a.to = len(c.answers)
	}
	c.asks = append(c.asks, a)
	return answered, a.failure
}

// hot: called for every update check with a candidate; no allocation.
func (c *Call) askLive(ctx context.Context, g *generation, most uint32, v verdict) (answered bool, failure *Failure) {
	q := &c.question
	b, probe := g.breakers[q.hook], false
	if b.state.Load() != uint32(breakerClosed) {
		var ok bool
		if probe, ok = b.admit(g.log.now()); !ok {
			g.failures[q.hook][KindOpen].Add(1)
			c.failure = &Failure{Plugin: g.name, Hook: q.hook, Kind: KindOpen, Reason: "it failed too often and isn't asked for a while"}
			return false, c.failure
		}
	}
	answered, f := c.try(ctx, g, most, v)
	switch {
	case f != nil:
		f.reason = sanitize(q.redact(f.reason))
		c.failure = g.failed(q.hook, f, probe)
		return false, c.failure
	case probe:
		b.passed()
		g.log.breakerChanged(q.hook, nil)
	}
	return answered, nil
}

// failed notes a failure, and does what has to be done about a plugin that fails
// again and again.
func (g *generation) failed(hook abi.Hook, f *fault, probe bool) *Failure {
	failure := &Failure{Plugin: g.name, Hook: hook, Kind: f.kind, Reason: f.reason}
	g.failures[hook][f.kind].Add(1)
	g.last.Store(failure)
	g.log.failure(failure)
	b := g.breakers[hook]
	switch {
	case !f.blameless:
		now := g.log.now()
		if b.failed(now, g.calls(hook), probe) {
			g.log.breakerChanged(hook, failure)
		}
		if g.probation.lasts(now) && b.failing(probationFailures, probationTime) && g.probation.end() {
			g.host.sendBack(g, failure)
		}
	case probe:
		b.inconclusive()
	}
	return failure
}

func (c *Call) try(ctx context.Context, g *generation, most uint32, v verdict) (answered bool, f *fault) {
	if len(c.request) > abi.MaxRequest {
		return false, faultf(KindMemory, "the question has %d bytes: at most %d are asked", len(c.request), abi.MaxRequest).excused()
	}
	hook := c.question.hook
	lane := g.lanes[laneOf(hook)]
	s, waited, err := lane.take(ctx, &c.at, g.spec.HostDeadline.Std())
	switch {
	case err != nil:
		f = faultf(KindUnavailable, "%v", err).excused()
	case s == nil:
		g.gaveUp[hook].add(waited)
		f = faultf(KindBusy, "none of %d instances became free", len(lane.all)).excused()
	default:
		answered, f = c.askSlot(ctx, g, lane, s, waited, most, v)
	}
	if f != nil {
		f.reason = g.secrets.redact(f.reason)
	}
	return answered, f
}

// askSlot asks the instance of a slot that is the caller's, and gives the slot back. It is
// apart from try because the compiler writes a defer in its place only where there are few
// returns; else each call links its defers into a list.
func (c *Call) askSlot(ctx context.Context, g *generation, lane *slots, s *slot, waited time.Duration, most uint32, v verdict) (answered bool, f *fault) {
	defer func() {
		if r := recover(); r != nil {
			answered, f = false, faultf(KindTrap, "host: %v", r)
		}
		if f != nil && s.in != nil { // nobody knows what state the guest is in
			s.in.close()
			s.in = nil
		}
		lane.give(s)
	}()
	if s.in == nil {
		g.restarts.Add(1)
		var err error
		if s.in, err = g.start(ctx); err != nil {
			f := faultf(KindUnavailable, "start an instance: %v", err)
			f.blameless = ctx.Err() != nil
			return false, f
		}
	}

	hook := c.question.hook
	n := s.counts[hook]
	if waited > 0 {
		count(&n.waits, 1)
		count(&n.waited, uint64(waited))
	}
	var began time.Duration
	clocked := n.clocked(hook)
	if clocked {
		began = since()
	}
	view, f := s.in.ask(ctx, &c.question, c.request, most)
	if clocked {
		n.latency.add(uint64(since() - began))
	}
	used := s.in.used()
	c.fuel += used
	n.used.add(used)
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
		return false, &fault{kind: KindNonsense, reason: wrong}
	}
	if g.secrets != nil {
		if wrong := v.hide(g.secrets); wrong != "" {
			return false, &fault{kind: KindNonsense, reason: wrong}
		}
	}
	return true, nil
}
