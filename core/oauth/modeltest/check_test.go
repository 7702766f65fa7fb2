package modeltest

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/anishathalye/porcupine"
)

// violation is what is wrong with a history.
type violation struct {
	what  string
	about *family // the sign-in it is about; nil = it is in the words
	token *subjectToken
}

// tooLong is when the search for an order of a few dozen calls is given up. That is no
// pass: the history counts as a violation, so that somebody looks at it.
const tooLong = time.Minute

var signInModel = (&porcupine.NondeterministicModel{
	Init: func() []any { return []any{signIn{}} },
	Step: func(state, in, out any) []any {
		after, _ := state.(signIn).step(in.(*call), out.(answer))
		return anys(after)
	},
}).ToModel()

var subjectModel = (&porcupine.NondeterministicModel{
	Init: func() []any { return []any{subject{}} },
	Step: func(state, in, out any) []any {
		after, _ := state.(subject).step(in.(*call), out.(answer))
		return anys(after)
	},
}).ToModel()

func anys[T any](list []T) []any {
	all := make([]any, len(list))
	for i, v := range list {
		all[i] = v
	}
	return all
}

// check returns what is wrong with the history.
func (w *world) check() (wrong []violation) {
	for _, s := range w.faulty {
		wrong = append(wrong, violation{what: s})
	}
	for _, f := range w.signIns {
		ops := w.with(f.ops)
		v := violation{about: f}
		if v.what = w.order(signInModel, ops, func(state any, c *call, a answer) (any, []string) {
			return both(state.(signIn).step(c, a))
		}); v.what != "" {
			v.what = fmt.Sprintf("sign-in %d: %s", f.number, v.what)
			wrong = append(wrong, v)
		}
	}
	for _, s := range w.subjects {
		ops := w.with(s.ops)
		v := violation{token: s}
		if v.what = w.order(subjectModel, ops, func(state any, c *call, a answer) (any, []string) {
			return both(state.(subject).step(c, a))
		}); v.what != "" {
			v.what = fmt.Sprintf("subject token %d: %s", s.number, v.what)
			wrong = append(wrong, v)
		}
	}
	return wrong
}

func both[T any](after []T, why []string) (any, []string) {
	if len(after) == 0 {
		return nil, nil
	}
	return after[0], why
}

// with adds what had to do with everyone, from when there was something to do with.
func (w *world) with(ops []*op) []*op {
	all := slices.Clone(ops)
	begin := ops[0].begin
	for _, o := range ops {
		begin = min(begin, o.begin)
	}
	for _, o := range w.everyone {
		if o.end >= begin {
			all = append(all, o)
		}
	}
	return all
}

// order looks for an order of the calls in which the rules give these answers, and
// counts the rules that spoke; it returns a sentence if there is none.
func (w *world) order(m porcupine.Model, ops []*op, replay func(state any, c *call, a answer) (any, []string)) string {
	history := make([]porcupine.Operation, len(ops))
	for i, o := range ops {
		history[i] = porcupine.Operation{Input: &o.call, Call: o.begin, Output: o.answer, Return: o.end}
	}
	// A refresh, or an exchange, that is refused since the account is being signed out
	// has two effects, and somebody may get in between: it rotated, or bound the subject
	// token, and then it ended.
	for _, o := range ops {
		if (o.call.kind == kindRefresh || o.call.kind == kindExchange) && o.answer.outcome == refused && slices.ContainsFunc(ops, o.meets) {
			first := o.call
			first.kind = kindBefore
			history = append(history, porcupine.Operation{Input: &first, Call: o.begin, Output: answer{}, Return: o.end})
		}
	}
	result, info := porcupine.CheckOperationsVerbose(m, history, tooLong)
	orders := info.PartialLinearizationsOperations()
	switch {
	case result == porcupine.Unknown:
		return "no order was found in a minute, and not all were tried"
	case result == porcupine.Illegal:
		return "there is no order of these calls in which the rules give these answers"
	case len(orders) != 1 || len(orders[0]) == 0:
		return "porcupine found an order and did not say which"
	}
	// Of one order the states are walked through again, all at a time, for the rules'
	// names; the first that fits is counted.
	states := m.Init().([]any)
	for _, o := range orders[0][0] {
		var next []any
		name := ""
		for _, s := range states {
			after, why := replay(s, o.Input.(*call), o.Output.(answer))
			if after != nil && name == "" {
				name = why[0]
			}
		}
		_, state := m.Step(states, o.Input, o.Output)
		next, _ = state.([]any)
		states = next
		if name != "" {
			w.tally[name]++
		}
	}
	return ""
}

// meets says whether a call is a sign-out everywhere that was under way with this one.
func (o *op) meets(other *op) bool {
	return other.call.kind == kindSignOut && other.begin <= o.end && o.begin <= other.end
}

// tell writes a history down, or the part of it that a violation is about.
func (w *world) tell(v violation) string {
	var lines []line
	took := func(o *op) {
		lines = append(lines, line{o.begin, o.at, fmt.Sprintf("%3d  %s → %s", o.number, o.what, w.heardOf(o))})
	}
	for _, o := range w.everyone {
		took(o)
	}
	for _, f := range w.signIns {
		for i, o := range f.ops {
			if (v.about == f || v.about == nil && v.token == nil) && (o.subject == nil || i == 0) {
				took(o)
			}
		}
	}
	for _, s := range w.subjects {
		for _, o := range s.ops {
			if v.token == s || v.about == nil && v.token == nil && o.call.kind == kindIssue {
				took(o)
			}
		}
	}
	for _, l := range w.lines {
		l.text = "     " + l.text
		lines = append(lines, l)
	}
	slices.SortStableFunc(lines, func(a, b line) int { return int(a.tick - b.tick) })
	var b strings.Builder
	start := 2_000_000_000_000 + int64(w.script.seed%1000)
	for i, l := range lines {
		if i > 0 && l == lines[i-1] {
			continue
		}
		fmt.Fprintf(&b, "  %14s %s\n", time.Duration(l.at-start)*time.Millisecond, l.text)
	}
	return b.String()
}

// heardOf says how a call ended, and how long others were under way with it.
func (w *world) heardOf(o *op) string {
	s := ""
	a := o.answer
	switch a.outcome {
	case done:
		s = "done"
		if a.pair.refresh != 0 {
			s = fmt.Sprintf("generation %d, tokens %d and %d", a.pair.generation, a.pair.refresh, a.pair.access)
		}
		if o.call.kind == kindRevoke && !a.ended {
			s = "nothing to end"
		}
	case refused:
		s = "refused"
	case unknown:
		s = "no known end"
	case expired:
		s = "out of date"
	case revoked:
		s = "its sign-in was ended"
	case unread:
		s = "its key is gone"
	}
	return fmt.Sprintf("%s   [%d–%d]", s, o.begin, o.end)
}
