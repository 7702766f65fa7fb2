package plugin

import (
	"cmp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/souk-market/souk/sdk/abi"
)

// shadowed is a shadow, and the chain that would be asked if it were none.
type shadowed struct {
	*generation
	chain []*generation
}

// shadowsOf are the shadows of one hook.
func shadowsOf(hook abi.Hook, all []*generation) (list []shadowed) {
	for _, s := range all {
		if !s.spec.Shadow || !slices.Contains(s.hooks, hook) {
			continue
		}
		chain := []*generation{}
		for _, g := range all {
			switch {
			case g == s && s.spec.InsteadOf == "", g.name == s.spec.InsteadOf:
				chain = append(chain, s)
			case !g.spec.Shadow && slices.Contains(g.hooks, hook):
				chain = append(chain, g)
			}
		}
		list = append(list, shadowed{s, chain})
	}
	return list
}

// shadow asks a shadow, and counts what it would have changed.
func (l *looked) shadow(s shadowed, live []Outcome) {
	v, ok := s.askShadow(l)
	if !ok {
		return // its breaker is open
	}
	l.verdicts[s.generation] = v
	s.compared.add(l, live, l.Resolve(l.chain(s.chain), true, l.host.rules))
}

// askShadow asks with all that a plugin in earnest has, but for a trace.
func (g *generation) askShadow(l *looked) (v Verdict, ok bool) {
	b, probe := g.breakers[l.Hook], false
	if b.state.Load() != uint32(breakerClosed) {
		if probe, ok = b.admit(g.log.now()); !ok {
			g.failures[l.Hook][KindOpen].Add(1)
			return v, false
		}
	}
	v = Verdict{Plugin: g.name, OnError: g.spec.OnError, Dry: true}
	a := &aside{dry: true}
	if g.kv != nil {
		a.kv = newView(g.kv)
	}
	f := g.tryShadow(l, a, &v)
	switch {
	case f != nil:
		f.reason = sanitize(g.secrets.redact(f.reason))
		v.Failure, v.Decisions, v.Choices = g.failed(l.Hook, f, probe), nil, nil
	case probe:
		b.passed()
		g.log.breakerChanged(l.Hook, nil)
	}
	return v, true
}

func (g *generation) tryShadow(l *looked, a *aside, v *Verdict) (f *fault) {
	var at uint32
	s, waited, err := g.dry.take(l.ctx, &at, g.spec.HostDeadline.Std())
	switch {
	case err != nil:
		return faultf(KindUnavailable, "%v", err).excused()
	case s == nil:
		return faultf(KindBusy, "its instance didn't become free").excused()
	}
	defer g.dry.give(s)
	if s.in == nil {
		g.restarts.Add(1)
	}
	f = g.askSlot(l.ctx, s, l.Inquiry, a, v)
	if v.Took == 0 {
		return f // it wasn't asked
	}
	n := s.counts[l.Hook]
	if waited > 0 {
		count(&n.waits, 1)
		count(&n.waited, uint64(waited))
	}
	n.latency.add(uint64(v.Took))
	n.used.add(v.Fuel)
	if f == nil && v.Decisions == nil && v.Choices == nil {
		count(&n.abstained, 1)
	}
	return f
}

// ShadowInfo says what a shadow would have changed since its module took over:
// another module is another policy.
type ShadowInfo struct {
	InsteadOf string `json:"instead_of"` // the plugin in whose place it is looked at; "" = none, it would be one more
	Questions uint64 `json:"questions"`
	Agreed    uint64 `json:"agreed"`   // apps that would have got what they got
	Differed  uint64 `json:"differed"` // apps that would have got something else
	Missed    uint64 `json:"missed"`   // questions that came too fast to be looked at, of all shadows

	Changes []Change     `json:"changes"` // what differed by how and why, the most frequent first
	Last    []Difference `json:"last"`    // the last that differed, the latest first
}

// Change is a kind of difference. Numbers in a reason are written as #.
type Change struct {
	Hook   string `json:"hook"`
	From   string `json:"from"` // a result of an Outcome
	To     string `json:"to"`
	Reason string `json:"reason"` // of what would have been
	Count  uint64 `json:"count"`
}

// Difference is one decision that would have been another.
type Difference struct {
	At      time.Time `json:"at"`
	Hook    string    `json:"hook"`
	Purpose string    `json:"purpose"`
	Key     string    `json:"key"` // the device's bucket key, which is its account; "" = nobody in particular
	Client  string    `json:"client"`
	Item    uint64    `json:"item,string"`
	Live    Outcome   `json:"live"`
	Shadow  Outcome   `json:"shadow"`
}

// What is kept of differences. Beyond the changes, all others count as one.
const (
	maxChanges     = 64
	maxDifferences = 50
)

// OtherChanges is the reason of a Change that stands for all that there was no
// room for.
const OtherChanges = "other reasons"

// compared counts what a shadow would have changed.
type compared struct {
	mu sync.Mutex
	comparison
}

type comparison struct {
	questions, agreed, differed uint64
	changes                     map[Change]uint64 // with a Count of 0
	last                        []Difference      // the oldest first
}

// restart begins to count anew; nil has nothing to count.
func (c *compared) restart() {
	if c != nil {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.comparison = comparison{}
	}
}

// NewChange is the kind of a difference.
func NewChange(hook abi.Hook, from, to Outcome) Change {
	return Change{Hook: hook.String(), From: from.Result, To: to.Result, Reason: strings.TrimPrefix(to.Plugin+": "+shape(to.kept().Reason), ": ")}
}

// shape is a reason without its numbers, so that those that say the same of
// different devices count as one.
func shape(reason string) string {
	const most = 120
	var b strings.Builder
	digits := false
	for _, r := range reason {
		if b.Len() > most {
			b.WriteString("…")
			break
		}
		if digit := r >= '0' && r <= '9'; !digit {
			b.WriteRune(r)
			digits = false
		} else if !digits {
			b.WriteByte('#')
			digits = true
		}
	}
	return b.String()
}

func (c *compared) add(l *looked, live, shadow []Outcome) {
	head := l.Head()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.questions++
	for i := range live {
		if live[i].Same(shadow[i]) {
			c.agreed++
			continue
		}
		c.differed++
		change := NewChange(l.Hook, live[i], shadow[i])
		if _, ok := c.changes[change]; !ok && len(c.changes) >= maxChanges {
			change = Change{Hook: change.Hook, Reason: OtherChanges}
		}
		if c.changes == nil {
			c.changes = map[Change]uint64{}
		}
		c.changes[change]++
		if len(c.last) == maxDifferences {
			c.last = append(c.last[:0], c.last[1:]...)
		}
		c.last = append(c.last, Difference{
			At: l.at, Hook: l.Hook.String(), Purpose: PurposeName(head.Purpose),
			Key: strings.Clone(head.BucketKey), Client: strings.Clone(head.Client),
			Item: live[i].Item, Live: live[i].kept(), Shadow: shadow[i].kept(),
		})
	}
}

// maxReason is what is kept of a reason.
const maxReason = 200

// kept is an outcome that may be kept, and read in a terminal: its strings are in
// nobody's buffer.
func (o Outcome) kept() Outcome {
	o.Reason = sanitize(o.Reason[:min(len(o.Reason), maxReason)])
	return o
}

func (c *compared) info(g *generation) *ShadowInfo {
	c.mu.Lock()
	defer c.mu.Unlock()
	i := &ShadowInfo{
		InsteadOf: g.spec.InsteadOf, Questions: c.questions, Agreed: c.agreed, Differed: c.differed, Missed: g.host.watch.missed.Load(),
		Changes: make([]Change, 0, len(c.changes)), Last: append([]Difference{}, c.last...),
	}
	for change, n := range c.changes {
		change.Count = n
		i.Changes = append(i.Changes, change)
	}
	SortChanges(i.Changes)
	slices.Reverse(i.Last)
	return i
}

// SortChanges puts the most frequent first.
func SortChanges(list []Change) {
	slices.SortFunc(list, func(a, b Change) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Hook, b.Hook), cmp.Compare(a.Reason, b.Reason),
			cmp.Compare(a.From, b.From), cmp.Compare(a.To, b.To))
	})
}
