package cases

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/souk-market/souk/core/plugin"
	"github.com/souk-market/souk/sdk/abi"
)

// Asker hands out what questions are asked with: a *plugin.Host does.
type Asker interface{ Acquire() *plugin.Call }

// Result is what came of one case.
type Result struct {
	Case        string   `json:"case"`
	Line        int      `json:"line"`
	Fuel        uint64   `json:"fuel"`        // of the question that took most
	Differences []string `json:"differences"` // none = passed; each begins with the step and the app where there are several
	Answers     []string `json:"answers"`     // what the plugin said, in one line each
	Log         []string `json:"log"`         // what the plugin wrote to the log; Try alone notes it
}

// Passed says whether the answers are the expected ones.
func (r *Result) Passed() bool { return len(r.Differences) == 0 }

// String says in one line for each difference what it is.
func (r *Result) String() string {
	if r.Passed() {
		return fmt.Sprintf("case %q passed", r.Case)
	}
	var lines []string
	for _, d := range r.Differences {
		lines = append(lines, fmt.Sprintf("case %q: %s", r.Case, d))
	}
	return strings.Join(lines, "\n")
}

// Failed is the error of a suite of which a case failed.
func Failed(results []Result) error {
	var errs []error
	for i := range results {
		if !results[i].Passed() {
			errs = append(errs, errors.New(results[i].String()))
		}
	}
	return errors.Join(errs...)
}

// Run asks each case of a, in order, one at a time. kv is what the plugin keeps:
// Run empties it before each case. With nil nothing is set before a case and
// looked at after it, and a suite that wants that is refused.
func (s *Suite) Run(ctx context.Context, a Asker, kv *KV) ([]Result, error) {
	results := make([]Result, len(s.Cases))
	if err := s.answered(a); err != nil {
		return nil, err
	}
	for i := range s.Cases {
		c := &s.Cases[i]
		if kv == nil && (c.kv != nil || c.after != nil) {
			return nil, fmt.Errorf("%s: line %d: case %q is about the kv: it can't be run against one that is in use", s.Name, c.Line, c.Name)
		}
	}
	for i := range s.Cases {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		results[i] = s.Cases[i].run(ctx, a, kv)
	}
	return results, nil
}

// Try loads one plugin into a host of its own, with an empty kv in memory, runs
// the suite there and closes it. There are no deadlines, only fuel, no breaker, and
// no other servers: the results are the same on every machine. The error is that of the load, or names
// a case that asks what the plugin doesn't answer.
func (s *Suite) Try(ctx context.Context, o plugin.Options) ([]Result, error) {
	kv, log := &KV{}, &lines{}
	o.Timeless, o.Offline = true, true
	o.KV = func(string) (plugin.KV, error) { return kv, nil }
	o.Log = slog.New(log)
	o.Now = log.tick
	for i := range o.Specs {
		o.Specs[i].Breaker, o.Specs[i].Instances = 0, 1
		o.Specs[i].InEarnest()
	}
	host, err := plugin.Open(ctx, o)
	if err != nil {
		return nil, err
	}
	defer host.Close(context.WithoutCancel(ctx))
	if err := s.answered(host); err != nil {
		return nil, err
	}
	var results []Result
	for i := range s.Cases {
		log.take()
		r := s.Cases[i].run(ctx, host, kv)
		r.Log = log.take()
		results = append(results, r)
	}
	return results, ctx.Err()
}

// answered refuses cases of a hook that nobody is asked: all would be abstentions.
func (s *Suite) answered(a Asker) error {
	call := a.Acquire()
	defer call.Release()
	for i := range s.Cases {
		for _, step := range s.Cases[i].steps {
			if !call.Has(step.hook) {
				return fmt.Errorf("%s: line %d: case %q asks %s, which the plugin doesn't answer", s.Name, s.Cases[i].Line, s.Cases[i].Name, step.hook)
			}
		}
	}
	return nil
}

func (c *Case) run(ctx context.Context, a Asker, kv *KV) Result {
	r := Result{Case: c.Name, Line: c.Line, Differences: []string{}, Answers: []string{}, Log: []string{}}
	if kv != nil {
		kv.reset(c.kv)
	}
	state, owner := "", ""
	for i := range c.steps {
		s := c.steps[i] // a copy: a suite may be run by several at a time
		if kv != nil {
			kv.at(time.UnixMilli(int64(s.head.NowMS)))
		}
		if s.carry {
			s.signIn.State = state
		}
		answers, plugin := s.ask(ctx, a, owner)
		if owner == "" {
			owner = plugin
		}
		for app := range answers {
			r.Fuel = max(r.Fuel, answers[app].fuel)
			state = answers[app].fields["state"]
			r.Answers = append(r.Answers, c.place(i, app)+answers[app].String(forms[s.hook]))
			for _, d := range s.expect[app].compare(forms[s.hook], &answers[app]) {
				r.Differences = append(r.Differences, c.place(i, app)+d)
			}
			if answers[app].failure != nil {
				break // the answers about all apps failed, and for the same reason
			}
		}
		if len(r.Differences) > 0 {
			return r // what comes later follows from it
		}
	}
	if kv != nil {
		r.Differences = append(r.Differences, kv.compare(c.after)...)
	}
	return r
}

// place says where in a case something is, if there is more than one place.
func (c *Case) place(step, app int) string {
	place := ""
	if len(c.steps) > 1 {
		place = fmt.Sprintf("step %d: ", step+1)
	}
	if len(c.steps[step].expect) > 1 {
		place += fmt.Sprintf("app %d: ", app+1)
	}
	return place
}

// ask asks one question: an answer an app, else one. plugin is who owns a sign-in.
func (q *question) ask(ctx context.Context, a Asker, owner string) (answers []answer, plugin string) {
	c := a.Acquire()
	defer c.Release()
	switch q.hook {
	case abi.HookEntitle:
		c.Entitle.Head, c.Entitle.Apps = q.head, append(c.Entitle.Apps[:0], q.entitle...)
		for _, e := range c.AskEntitle(ctx) {
			answers = append(answers, answer{fields: map[string]string{
				"decision": decisions[e.Decision], "code": number(e.Code), "reason": strings.Clone(e.Reason),
			}})
		}
	case abi.HookSelectVersion:
		c.SelectVersion.Head, c.SelectVersion.Apps = q.head, append(c.SelectVersion.Apps[:0], q.selection...)
		for i, s := range c.AskSelectVersion(ctx) {
			fields := map[string]string{"choice": choices[s.Choice], "index": "", "version": "", "code": number(s.Code), "reason": strings.Clone(s.Reason)}
			if s.Choice >= 0 {
				chosen := &q.selection[i].Candidates[s.Choice]
				fields["choice"], fields["index"], fields["version"] = chosen.Short, number(uint32(s.Choice)), strconv.FormatUint(chosen.Version, 10)
			}
			answers = append(answers, answer{fields: fields})
		}
	case abi.HookSignIn:
		c.SignIn = q.signIn
		c.SignIn.Head, c.SignIn.Fields = q.head, append([]abi.SubmittedField{}, q.signIn.Fields...)
		var got *abi.SignInAnswer
		got, plugin, _ = c.AskSignIn(ctx, owner)
		answers = append(answers, answer{fields: signedIn(got)})
	case abi.HookExchange:
		c.Exchange = q.exchange
		c.Exchange.Head = q.head
		fields := map[string]string{"outcome": exchanges[abi.ExchangePass]}
		if got, _, err := c.AskExchange(ctx); err == nil {
			fields = map[string]string{
				"outcome": exchanges[got.Outcome], "account": strings.Clone(got.Account), "reason": strings.Clone(got.Reason),
			}
		}
		answers = append(answers, answer{fields: fields})
	}
	for i := range answers {
		answers[i].failure, answers[i].fuel = c.Failure(), c.Fuel()
	}
	return answers, plugin
}

var (
	decisions = map[abi.Decision]string{abi.Allow: "allow", abi.Deny: "deny", abi.DecisionPass: "abstain"}
	choices   = map[abi.Choice]string{abi.Hold: "hold", abi.ChoicePass: "abstain", abi.Unavailable: "unavailable"}
	outcomes  = map[abi.SignInOutcome]string{
		abi.SignInPass: "abstain", abi.SignInPage: "page", abi.SignInDone: "signed in", abi.SignInRefused: "refused", abi.SignInRedirect: "redirect",
	}
	exchanges = map[abi.ExchangeOutcome]string{abi.ExchangePass: "abstain", abi.ExchangeAccepted: "accepted", abi.ExchangeRefused: "refused"}
)

func number(n uint32) string { return strconv.FormatUint(uint64(n), 10) }

// signedIn copies an answer, whose texts are good until its Call is released. nil
// is an abstention.
func signedIn(a *abi.SignInAnswer) map[string]string {
	if a == nil {
		return map[string]string{"outcome": outcomes[abi.SignInPass]}
	}
	var fields []string
	for _, f := range a.Fields {
		fields = append(fields, f.Name)
	}
	m := map[string]string{
		"outcome": outcomes[a.Outcome], "account": a.Account, "display_name": a.DisplayName, "territory": a.Territory, "title": a.Title,
		"message": a.Message, "html": a.HTML, "location": a.Location, "state": a.State,
		"fields": strings.Join(fields, ", "), "grants": strings.Join(a.Grants, ", "),
	}
	for key, text := range m {
		m[key] = strings.Clone(text)
	}
	return m
}

// lines keeps what a plugin logs. Its clock runs a second for each look, so that
// the limits of the log, which are of a second, don't depend on the machine.
type lines struct {
	mu   sync.Mutex
	text []string
	now  time.Time
}

func (l *lines) tick() time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.now = l.now.Add(time.Second)
	return l.now
}

func (l *lines) take() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := append([]string{}, l.text...)
	l.text = nil
	return all
}

// Enabled is part of slog.Handler, as are the others.
func (l *lines) Enabled(context.Context, slog.Level) bool { return true }

// Handle keeps the plugin's own lines.
func (l *lines) Handle(_ context.Context, r slog.Record) error {
	if r.Message != "plugin log" {
		return nil
	}
	r.Attrs(func(a slog.Attr) bool {
		if a.Key == "text" {
			l.mu.Lock()
			l.text = append(l.text, strings.ToLower(r.Level.String())+": "+a.Value.String())
			l.mu.Unlock()
		}
		return true
	})
	return nil
}

// WithAttrs adds nothing: there is one plugin.
func (l *lines) WithAttrs([]slog.Attr) slog.Handler { return l }

// WithGroup adds nothing.
func (l *lines) WithGroup(string) slog.Handler { return l }
