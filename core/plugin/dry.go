package plugin

import (
	"context"
	"fmt"
	"log/slog"
	"slices"

	"github.com/souk-market/souk/sdk/abi"
)

// aside is what a question has that isn't asked as usual. It belongs to one
// question and one plugin.
type aside struct {
	kv    KV    // instead of the plugin's own part of the store; nil = that
	tape  *tape // keeps what the host answers; nil = none
	dry   bool  // it leaves no trace
	keep  bool  // lines are kept
	lines []string

	metric func(name string, value int64) abi.Code // of a dry question; nil = refused
}

// maxLines bounds what is kept of a guest's log in one question.
const maxLines = 100

// line is a line of the guest's log.
func (in *instance) line(level slog.Level, text string) {
	a := in.asked.aside
	switch {
	case a == nil || !a.dry:
		in.log.line(level, in.asked.name(), text)
	case a.keep && len(a.lines) < maxLines:
		a.lines = append(a.lines, sanitize(text))
	}
}

// debugs says whether a line of the level debug is of use to anybody.
func (in *instance) debugs() bool {
	if a := in.asked.aside; a != nil && a.dry {
		return a.keep
	}
	return in.log.debug()
}

// store is the plugin's part of the store as this question sees it.
func (in *instance) store() KV {
	if a := in.asked.aside; a != nil && a.kv != nil {
		return a.kv
	}
	return in.kv
}

// Dry is what a Call saw that leaves no trace.
type Dry struct {
	Inquiries []DryInquiry // that were asked, in their order

	views  map[*generation]*view
	unread error // the question is too large
}

// DryInquiry is one question of a dry Call.
type DryInquiry struct {
	*Inquiry
	Verdicts []Verdict // of all that are asked, in their order
	Outcomes []Outcome // what they come to
	Shadows  []DryShadow
}

// DryShadow is what a shadow would change.
type DryShadow struct {
	Verdict
	Outcomes []Outcome
}

// Dry makes a Call leave no trace: what a plugin writes to its kv is seen by this
// Call alone, nothing is counted, no breaker and no probation learns of it, no log
// has its lines, and it waits for nobody's instance but one that is kept for this.
// All plugins of a hook are asked, also those that can't change anything any
// more. It is for questions about apps only: the others fail.
func (c *Call) Dry() *Dry {
	if c.dry == nil {
		c.dry = &Dry{views: map[*generation]*view{}}
	}
	return c.dry
}

// IsDry says whether the Call leaves no trace.
func (c *Call) IsDry() bool { return c.dry != nil }

// begin notes a question.
func (d *Dry) begin(request []byte) {
	q, err := ReadInquiry(append([]byte{}, request...))
	if d.unread = err; err == nil {
		d.Inquiries = append(d.Inquiries, DryInquiry{Inquiry: q})
	}
}

// ask asks one plugin dry and puts its answer to where the chain looks for it.
func (d *Dry) ask(ctx context.Context, g *generation, v verdict) (answered bool, failure *Failure) {
	if d.unread != nil {
		return false, &Failure{Plugin: g.name, Kind: KindMemory, Reason: d.unread.Error()}
	}
	q := &d.Inquiries[len(d.Inquiries)-1]
	verdict := g.askDry(ctx, q.Inquiry, &aside{kv: d.view(g), keep: true})
	q.Verdicts = append(q.Verdicts, verdict)
	switch a := v.(type) {
	case *entitleAnswer:
		a.Items = append(a.Items[:0], verdict.Decisions...)
		answered = len(a.Items) > 0
	case *selectAnswer:
		a.Items = append(a.Items[:0], verdict.Choices...)
		answered = len(a.Items) > 0
	}
	return answered, verdict.Failure
}

// view is the kv of a plugin as this Call sees it.
func (d *Dry) view(g *generation) KV {
	if g.kv == nil {
		return nil
	}
	if d.views[g] == nil {
		d.views[g] = newView(g.kv)
	}
	return d.views[g]
}

// end resolves the question, with and without shadows.
func (d *Dry) end(ctx context.Context, s *set, rules Rules) {
	if d.unread != nil {
		return
	}
	q := &d.Inquiries[len(d.Inquiries)-1]
	q.Outcomes = q.Resolve(q.Verdicts, len(s.chains[q.Hook]) > 0, rules)
	for _, shadow := range s.shadows[q.Hook] {
		v := shadow.askDry(ctx, q.Inquiry, &aside{kv: d.view(shadow.generation), keep: true})
		chain := make([]Verdict, len(shadow.chain))
		for i, g := range shadow.chain {
			if chain[i] = v; g != shadow.generation {
				chain[i] = q.Verdicts[slices.Index(s.chains[q.Hook], g)]
			}
		}
		q.Shadows = append(q.Shadows, DryShadow{v, q.Resolve(chain, true, rules)})
	}
}

// askDry asks a plugin what leaves no trace.
func (g *generation) askDry(ctx context.Context, q *Inquiry, a *aside) Verdict {
	v := Verdict{Plugin: g.name, OnError: g.spec.OnError, Dry: true}
	a.dry = true
	if f := g.tryDry(ctx, q, a, &v); f != nil {
		v.Failure = &Failure{Plugin: g.name, Hook: q.Hook, Kind: f.kind, Reason: sanitize(g.secrets.redact(f.reason))}
		v.Decisions, v.Choices = nil, nil
	}
	v.Lines = a.lines
	v.tape = a.tape
	return v
}

func (g *generation) tryDry(ctx context.Context, q *Inquiry, a *aside, v *Verdict) (f *fault) {
	var at uint32
	s, _, err := g.dry.take(ctx, &at, g.spec.HostDeadline.Std())
	switch {
	case err != nil:
		return faultf(KindUnavailable, "%v", err).excused()
	case s == nil:
		return faultf(KindBusy, "the instance for such questions didn't become free").excused()
	}
	defer g.dry.give(s)
	return g.askSlot(ctx, s, q, a, v)
}

// askSlot asks the instance of a slot that is the caller's.
func (g *generation) askSlot(ctx context.Context, s *slot, q *Inquiry, a *aside, v *Verdict) (f *fault) {
	defer func() {
		if r := recover(); r != nil {
			f = faultf(KindTrap, "host: %v", r)
		}
		if f != nil && s.in != nil { // nobody knows what state the guest is in
			s.in.close()
			s.in = nil
		}
	}()
	if s.in == nil {
		var err error
		if s.in, err = g.start(ctx); err != nil {
			f := faultf(KindUnavailable, "start an instance: %v", err)
			f.blameless = ctx.Err() != nil
			return f
		}
	}
	asked := ask(q.Hook, q.Head())
	asked.aside = a
	began := since()
	view, f := s.in.ask(ctx, &asked, q.Request, abi.MaxVerdict)
	v.Took, v.Fuel = since()-began, s.in.used()
	if f != nil || view == nil {
		return f
	}
	if wrong := v.read(q, append([]byte{}, view...), g); wrong != "" {
		return &fault{kind: KindNonsense, reason: wrong}
	}
	return nil
}

// errDry refuses a question that holds what nobody may look at twice.
var errDry = fmt.Errorf("%w: it holds what a person typed, and is never asked dry", ErrFailed)
