package plugin

import (
	"context"
	"fmt"

	"github.com/souk-market/souk/sdk/abi"
)

// Entitlement is the decision about one app.
type Entitlement struct {
	Decision abi.Decision // DecisionPass: all abstained, the market's default decides
	Plugin   string       // whose decision it is
	Code     uint32
	Reason   string
	Failed   bool // the plugin failed and its on_error decided
}

// Selection is the choice for one app.
type Selection struct {
	Choice abi.Choice // ChoicePass: all abstained, the market's default decides
	Plugin string     // whose choice it is
	Code   uint32
	Reason string
	Failed bool // the plugin failed and its on_error decided
}

// failedReason is the Reason of what on_error decided; the log says more.
const failedReason = "the plugin failed"

// AskEntitle asks whether the account may have the apps of c.Entitle: one
// answer an app, in the same order. The first denial wins, app by app. There is
// no error: on_error resolves failures.
func (c *Call) AskEntitle(ctx context.Context) []Entitlement {
	apps := len(c.Entitle.Apps)
	list := resize(&c.entitlements, apps)
	for i := range list {
		list[i] = Entitlement{Decision: abi.DecisionPass}
	}
	chain := c.set.chains[abi.HookEntitle]
	if apps == 0 || !c.Asks(abi.HookEntitle) {
		return list
	}
	c.request = c.Entitle.Append(c.request[:0])
	c.question = ask(abi.HookEntitle, &c.Entitle.Head)
	c.begin(abi.HookEntitle, &c.Entitle.Head)
	answer := &c.entitleAnswer
	answer.apps = apps
	for _, g := range chain {
		answered, failure := c.ask(ctx, g, abi.MaxVerdict, answer)
		var items []abi.EntitleDecision
		if answered {
			items = answer.Items
		}
		if open := g.step(failure).entitle(list, items); !open && c.dry == nil {
			break
		}
	}
	c.end(ctx)
	return list
}

// step is what one plugin adds to the answers of those before it.
type step struct {
	plugin  string
	onError onError
	failed  bool
}

func (g *generation) step(failure *Failure) step { return step{g.name, g.onError, failure != nil} }

// entitle takes in the decisions of a plugin, none if it abstained or failed;
// open = the next plugin may still change something.
func (s step) entitle(list []Entitlement, items []abi.EntitleDecision) (open bool) {
	for i := range list {
		e := Entitlement{Decision: abi.DecisionPass, Plugin: s.plugin}
		switch {
		case s.failed:
			e.Decision, e.Reason, e.Failed = s.onError.entitles(), failedReason, true
		case items != nil:
			item := &items[i]
			e.Decision, e.Code, e.Reason = item.Decision, item.Code, item.Reason
		}
		list[i].meet(e)
		open = open || list[i].Decision != abi.Deny
	}
	return open
}

// meet resolves the decision so far with that of the next plugin.
func (e *Entitlement) meet(next Entitlement) {
	switch {
	case e.Decision == abi.Deny, next.Decision == abi.DecisionPass:
	case next.Decision == abi.Deny, e.Decision == abi.DecisionPass:
		*e = next
	}
}

func (o onError) entitles() abi.Decision {
	switch o {
	case errorAllows:
		return abi.Allow
	case errorAbstains:
		return abi.DecisionPass
	}
	return abi.Deny
}

// AskSelectVersion asks which versions the device gets of the apps of
// c.SelectVersion: one answer an app, in the same order. The first plugin that
// doesn't abstain decides, app by app. There is no error: on_error resolves
// failures.
func (c *Call) AskSelectVersion(ctx context.Context) []Selection {
	apps := c.SelectVersion.Apps
	if len(apps) > 0 && c.Asks(abi.HookSelectVersion) {
		c.request = c.SelectVersion.Append(c.request[:0])
	}
	offered := resize(&c.selectAnswer.candidates, len(apps))
	for i := range apps {
		offered[i] = len(apps[i].Candidates)
	}
	return c.askVersions(ctx)
}

// Versions begins the same question about so many apps whose candidates were packed
// before: what is written takes the place of c.SelectVersion. Nothing else is asked until
// AskVersions has asked it.
func (c *Call) Versions(head *abi.Head, apps int) *abi.SelectVersionWriter {
	c.SelectVersion.Head = *head
	c.versions.Begin(c.request[:0], &c.SelectVersion, apps)
	return &c.versions
}

// AskVersions asks what was written since Versions, as AskSelectVersion does.
func (c *Call) AskVersions(ctx context.Context) []Selection {
	c.request = c.versions.Finish()
	c.selectAnswer.candidates = c.versions.Candidates
	return c.askVersions(ctx)
}

// askVersions asks what c.request holds; the answer knows how many candidates each app has.
func (c *Call) askVersions(ctx context.Context) []Selection {
	head, answer := &c.SelectVersion.Head, &c.selectAnswer
	list := resize(&c.selections, len(answer.candidates))
	for i := range list {
		list[i] = Selection{Choice: abi.ChoicePass}
	}
	if len(list) == 0 || !c.Asks(abi.HookSelectVersion) {
		return list
	}
	c.question = ask(abi.HookSelectVersion, head)
	c.begin(abi.HookSelectVersion, head)
	for _, g := range c.set.chains[abi.HookSelectVersion] {
		answered, failure := c.ask(ctx, g, abi.MaxVerdict, answer)
		var items []abi.VersionChoice
		if answered {
			items = answer.Items
		}
		if open := g.step(failure).choose(list, items); !open && c.dry == nil {
			break
		}
	}
	c.end(ctx)
	return list
}

// choose takes in the choices of a plugin, none if it abstained or failed; open =
// the next plugin may still change something.
func (s step) choose(list []Selection, items []abi.VersionChoice) (open bool) {
	for i := range list {
		if list[i].Choice != abi.ChoicePass {
			continue
		}
		switch {
		case s.failed && s.onError == errorDenies:
			list[i] = Selection{Choice: abi.Hold, Plugin: s.plugin, Reason: failedReason, Failed: true}
		case items != nil && items[i].Choice != abi.ChoicePass:
			l, item := &list[i], &items[i]
			l.Choice, l.Plugin, l.Code, l.Reason = item.Choice, s.plugin, item.Code, item.Reason
		default:
			open = true
		}
	}
	return open
}

// AskSignIn asks about one step of a sign-in. Without an owner the plugins are
// asked in turn and the first that doesn't abstain becomes the owner: it alone
// is asked about the later steps. The error wraps ErrFailed or ErrAbstained.
func (c *Call) AskSignIn(ctx context.Context, owner string) (answer *abi.SignInAnswer, plugin string, err error) {
	if c.dry != nil {
		return nil, "", errDry
	}
	c.request = c.SignIn.Append(c.request[:0])
	defer c.forget()
	for i := range c.SignIn.Fields {
		if f := &c.SignIn.Fields[i]; c.SignIn.Method != abi.SignInCallback || !told(f.Name) {
			c.secrets = append(c.secrets, f.Value)
		}
	}
	c.question = ask(abi.HookSignIn, &c.SignIn.Head)
	c.question.random, c.question.secrets = c.Random, c.guarded()
	asked := false
	for _, g := range c.set.chains[abi.HookSignIn] {
		if owner != "" && owner != g.name {
			continue
		}
		asked = true
		answered, failure := c.ask(ctx, g, abi.MaxSignInVerdict, &c.signInAnswer)
		if failure != nil {
			return nil, g.name, failure
		}
		if answered && c.signInAnswer.Items[0].Outcome != abi.SignInPass {
			return &c.signInAnswer.Items[0], g.name, nil
		}
	}
	if owner != "" && !asked {
		return nil, owner, fmt.Errorf("%w: plugin %q is not asked about %s any more", ErrFailed, owner, abi.HookSignIn)
	}
	return nil, "", ErrAbstained
}

// told says whether a parameter of a callback is no secret: an operator has to
// read in the log why another provider refused somebody (RFC 6749 §4.1.2.1, RFC
// 9207).
func told(name string) bool { return name == "error" || name == "error_description" || name == "iss" }

// AskExchange asks whose subject token c.Exchange holds: the first plugin that
// doesn't abstain says it. The error wraps ErrFailed or ErrAbstained.
func (c *Call) AskExchange(ctx context.Context) (answer *abi.ExchangeAnswer, plugin string, err error) {
	if c.dry != nil {
		return nil, "", errDry
	}
	c.request = c.Exchange.Append(c.request[:0])
	defer c.forget()
	c.secrets = append(c.secrets, c.Exchange.SubjectToken)
	c.question = ask(abi.HookExchange, &c.Exchange.Head)
	c.question.random, c.question.secrets = c.Random, c.guarded()
	for _, g := range c.set.chains[abi.HookExchange] {
		answered, failure := c.ask(ctx, g, abi.MaxVerdict, &c.exchangeAnswer)
		if failure != nil {
			return nil, g.name, failure
		}
		if answered && c.exchangeAnswer.Items[0].Outcome != abi.ExchangePass {
			return &c.exchangeAnswer.Items[0], g.name, nil
		}
	}
	return nil, "", ErrAbstained
}

func ask(hook abi.Hook, head *abi.Head) question {
	return question{hook: hook, purpose: head.Purpose, nowMS: head.NowMS, seed: head.Seed}
}

// guarded returns the secrets, never nil: the question holds what a person
// typed, also when that is nothing.
func (c *Call) guarded() []string {
	if c.secrets == nil {
		return []string{}
	}
	return c.secrets
}

// forget clears a question that holds passwords or tokens; Release does the
// same with the answers.
func (c *Call) forget() {
	c.private = true
	clear(c.request)
	c.question = question{}
	c.secrets = emptied(c.secrets)
}

// resize returns a list of n elements and keeps its space.
func resize[T any](list *[]T, n int) []T {
	if cap(*list) < n {
		*list = make([]T, n)
	}
	*list = (*list)[:n]
	return *list
}
