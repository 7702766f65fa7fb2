package market

import (
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/souk-market/souk/core/catalog"
	"github.com/souk-market/souk/core/plugin"
	"github.com/souk-market/souk/core/store"
	"github.com/souk-market/souk/core/token"
	"github.com/souk-market/souk/sdk/abi"
)

// Why asks why a device gets what it gets.
type Why struct {
	Account   string // "" = nobody is signed in
	Client    string // as policy sees it: a device's 32 hexadecimal digits, or the id of a registered client
	Purpose   abi.Purpose
	Platform  catalog.Platform
	OS        uint32
	Territory string // as a trusted proxy would say; the account's own goes first
	Apps      []App  // by Item and Version: what is installed, or on a restore asked for
}

// Explanation says what a device would get now, and why.
type Explanation struct {
	At             time.Time       `json:"at"`
	Purpose        string          `json:"purpose"`
	Account        string          `json:"account"`
	Client         string          `json:"client"`
	Platform       string          `json:"platform"`
	OS             string          `json:"os"`
	Territory      string          `json:"territory"`
	Grants         []string        `json:"grants"`
	EntitleDefault string          `json:"entitle_default"` // allow or deny: where every plugin abstained
	Apps           []ExplainedApp  `json:"apps"`
	Questions      []ExplainedCall `json:"questions"` // to each plugin, with all apps that it was asked about
}

// ExplainedApp is one app of an Explanation.
type ExplainedApp struct {
	Item      uint64             `json:"item,string"`
	Installed uint64             `json:"installed,string"`
	Name      string             `json:"name"`
	BundleID  string             `json:"bundle_id"`
	Result    string             `json:"result"` // offered, held, denied, unavailable, nothing, sign_in or unknown
	Version   uint64             `json:"version,string,omitempty"`
	Sentence  string             `json:"sentence"`
	Versions  []ExplainedVersion `json:"versions"` // newest first
	Answers   []ExplainedAnswer  `json:"answers"`  // of the plugins, in the order in which they were asked
	Shadows   []ExplainedShadow  `json:"shadows"`
}

// The results of an ExplainedApp.
const (
	ResultOffered     = "offered"
	ResultHeld        = "held"
	ResultDenied      = "denied"
	ResultUnavailable = "unavailable"
	ResultNothing     = "nothing" // no version of it is a candidate
	ResultSignIn      = "sign_in" // it is for people who are signed in
	ResultUnknown     = "unknown" // there is no such app
)

// ExplainedVersion is a version of an app, and whether the device could have it.
type ExplainedVersion struct {
	ID     uint64  `json:"id,string"`
	Short  string  `json:"short"`
	Why    string  `json:"why"`    // it is no candidate; "" = it is one
	Share  uint32  `json:"share"`  // of the rollout, in basis points
	Salt   string  `json:"salt"`   // that people are drawn by
	Bucket *uint32 `json:"bucket"` // of the account, null = it has none
	Open   bool    `json:"open"`   // the bucket is below the share, or the share is everyone's
}

// ExplainedAnswer is what one plugin said about one app.
type ExplainedAnswer struct {
	Hook   string `json:"hook"`
	Plugin string `json:"plugin"`
	Answer string `json:"answer"` // allow, deny, abstain, offer and the version, hold, unavailable, or failed
	Code   uint32 `json:"code"`
	Reason string `json:"reason"`
}

// ExplainedShadow is what a shadow would change for one app.
type ExplainedShadow struct {
	ExplainedAnswer
	Outcome string `json:"outcome"` // with it; see plugin.Outcome
	Changes bool   `json:"changes"` // it is another than without it
}

// ExplainedCall is one question to one plugin.
type ExplainedCall struct {
	Hook    string   `json:"hook"`
	Plugin  string   `json:"plugin"`
	Shadow  bool     `json:"shadow"`
	Fuel    uint64   `json:"fuel"`
	TookNS  int64    `json:"took_ns"`
	Failure string   `json:"failure"` // "" = none
	OnError string   `json:"on_error"`
	Log     []string `json:"log"`
}

// ParsePurpose reads the purposes that can be explained.
func ParsePurpose(s string) (abi.Purpose, bool) {
	for _, p := range [...]abi.Purpose{abi.PurposeUpdate, abi.PurposeRestore, abi.PurposeInstallToken} {
		if plugin.PurposeName(p) == s {
			return p, true
		}
	}
	return 0, false
}

// Explain goes the way of a request and leaves no trace: the same candidates, the
// same plugins, the same rules, on copies of what the plugins keep. The error is
// ErrNoAccount where nobody has the account.
func (m *Market) Explain(ctx context.Context, y Why) (*Explanation, error) {
	q := &Request{Apps: y.Apps, Platform: y.Platform, OS: y.OS, Territory: y.Territory}
	q.Once()
	w := &work{account: nobody}
	if err := m.impersonate(ctx, q, y); err != nil {
		return nil, err
	}
	snapshot := m.Catalog.Snapshot()
	apps := make([]ExplainedApp, len(q.Apps))
	picked := map[int]int{} // the place of an app among the picks
	for i := range q.Apps {
		app := &q.Apps[i]
		e := snapshot.Item(app.Item)
		apps[i] = ExplainedApp{
			Item: app.Item, Installed: app.Version, Result: ResultUnknown, Sentence: "the catalogue has no such app",
			Versions: []ExplainedVersion{}, Answers: []ExplainedAnswer{}, Shadows: []ExplainedShadow{},
		}
		if e == nil {
			continue
		}
		apps[i].Name, apps[i].BundleID = e.Name, e.BundleID
		apps[i].Result, apps[i].Sentence = ResultNothing, "none of its versions can be given to this device"
		if e.SignIn && y.Account == "" {
			apps[i].Result, apps[i].Sentence = ResultSignIn, "the app is for people who are signed in: the device is told to sign in first"
			continue
		}
		from := len(w.candidates)
		if w.candidates = fitting(w.candidates, e, app, q, y.Purpose); len(w.candidates) > from {
			picked[i] = len(w.picks)
			w.picks = append(w.picks, pick{app: app, entry: e, from: from, to: len(w.candidates)})
		}
	}
	head, err := m.head(ctx, q, w, y.Purpose)
	if err != nil {
		return nil, err
	}
	if q.Access != nil && q.Access.Client == [16]byte{} { // of a registered client the key isn't known here
		head.Client = cmp.Or(y.Client, head.Client)
	}
	call := m.Plugins.Acquire()
	defer call.Release()
	dry := call.Dry()
	if len(w.picks) > 0 {
		if err := m.consult(ctx, call, w, &head); err != nil {
			return nil, err
		}
	}
	allowed := m.Config.Entitled(call.Has(abi.HookEntitle))
	x := &Explanation{
		At: m.Now(), Purpose: plugin.PurposeName(y.Purpose), Account: head.Account, Client: strings.Clone(head.Client), Platform: y.Platform.String(),
		OS: catalog.FormatOS(y.OS), Territory: head.Territory, Grants: append([]string{}, head.Grants...),
		EntitleDefault: map[bool]string{true: DefaultAllow, false: DefaultDeny}[allowed], Apps: apps, Questions: explainCalls(dry),
	}
	for i := range apps {
		if e := snapshot.Item(apps[i].Item); e != nil {
			apps[i].Versions = explainVersions(e, &q.Apps[i], q, y.Purpose, head.BucketKey)
		}
		if at, ok := picked[i]; ok {
			apps[i].explain(w, &w.picks[at], dry)
		}
	}
	return x, nil
}

// impersonate makes the request one of the account's.
func (m *Market) impersonate(ctx context.Context, q *Request, y Why) error {
	if y.Account == "" {
		return nil
	}
	subject := store.SubjectID(y.Account)
	account, err := m.Store.Account(ctx, subject)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return ErrNoAccount
	case err != nil:
		return fmt.Errorf("read account: %w", err)
	}
	q.Access = &token.Access{Subject: subject, Epoch: account.Epoch}
	if key, err := hex.DecodeString(y.Client); err == nil && len(key) == len(q.Access.Client) {
		q.Access.Client = [16]byte(key)
	}
	return nil
}

func explainVersions(e *catalog.Entry, app *App, q *Request, purpose abi.Purpose, key string) []ExplainedVersion {
	list := make([]ExplainedVersion, 0, len(e.Versions))
	for i := range e.Versions {
		r := &e.Versions[i]
		v := ExplainedVersion{ID: r.ID, Short: r.Short, Share: r.Share, Salt: r.Salt, Open: open(key, r.Salt, r.Share)}
		if key != "" {
			bucket := abi.Bucket(key, r.Salt)
			v.Bucket = &bucket
		}
		switch {
		case purpose == abi.PurposeUpdate:
			v.Why = e.NoUpdate(r, app.Version, q.Platform, q.OS)
		default:
			v.Why = e.NoRestore(r, app.Version, q.Platform, q.OS)
			if v.Why == "" && purpose == abi.PurposeInstallToken && r.Halted {
				v.Why = "its rollout is halted"
			}
		}
		list = append(list, v)
	}
	return list
}

// explain says what the questions came to for an app that has candidates.
func (a *ExplainedApp) explain(w *work, p *pick, dry *plugin.Dry) {
	var decided [2]plugin.Outcome // by entitle and by select_version
	for i := range dry.Inquiries {
		inquiry := &dry.Inquiries[i]
		at := slices.Index(inquiry.Items(), a.Item)
		if at < 0 {
			continue // select_version isn't asked about what is denied
		}
		decided[inquiry.Hook-abi.HookEntitle] = inquiry.Outcomes[at]
		for k := range inquiry.Verdicts {
			a.Answers = append(a.Answers, answerOf(w, p, inquiry.Hook, &inquiry.Verdicts[k], at))
		}
		for k := range inquiry.Shadows {
			s := &inquiry.Shadows[k]
			a.Shadows = append(a.Shadows, ExplainedShadow{
				ExplainedAnswer: answerOf(w, p, inquiry.Hook, &s.Verdict, at),
				Outcome:         s.Outcomes[at].String(), Changes: !s.Outcomes[at].Same(inquiry.Outcomes[at]),
			})
		}
	}
	entitled, chosen := decided[0], decided[1]
	if p.own { // a plugin may have said what can't be: a restore is never held
		chosen = plugin.Outcome{}
	}
	switch {
	case p.denied && entitled.Plugin == "":
		a.Result, a.Sentence = ResultDenied, "denied: no plugin decided, and so the market's default does"
	case p.denied:
		a.Result, a.Sentence = ResultDenied, "denied by "+because(entitled)
	case p.choice >= 0:
		r := w.candidates[p.from+int(p.choice)].Release
		a.Result, a.Version = ResultOffered, r.ID
		a.Sentence = fmt.Sprintf("offered version %s (%d) by %s", r.Short, r.ID, because(chosen))
	case p.choice == abi.Unavailable:
		a.Result, a.Sentence = ResultUnavailable, "not available, by "+because(chosen)
	case chosen.Plugin == "":
		a.Result, a.Sentence = ResultHeld, "held: no rollout of a candidate is open to the account's bucket"
	default:
		a.Result, a.Sentence = ResultHeld, "held by "+because(chosen)
	}
}

// because names who decided, and why.
func because(o plugin.Outcome) string {
	switch {
	case o.Plugin == "":
		return "the market's own rule"
	case o.Reason == "":
		return o.Plugin + ", code " + strconv.FormatUint(uint64(o.Code), 10)
	}
	return o.Plugin + ": " + o.Reason
}

func answerOf(w *work, p *pick, hook abi.Hook, v *plugin.Verdict, at int) ExplainedAnswer {
	a := ExplainedAnswer{Hook: hook.String(), Plugin: v.Plugin, Answer: "abstain"}
	switch {
	case v.Failure != nil:
		a.Answer, a.Reason = "failed", v.Failure.Kind.String()+": "+v.Failure.Reason
	case v.Decisions != nil:
		d := &v.Decisions[at]
		a.Code, a.Reason = d.Code, d.Reason
		switch d.Decision {
		case abi.Allow:
			a.Answer = "allow"
		case abi.Deny:
			a.Answer = "deny"
		}
	case v.Choices != nil:
		c := &v.Choices[at]
		a.Code, a.Reason = c.Code, c.Reason
		switch {
		case c.Choice >= 0:
			a.Answer = "offer " + strconv.FormatUint(w.candidates[p.from+int(c.Choice)].Release.ID, 10)
		case c.Choice == abi.Hold:
			a.Answer = "hold"
		case c.Choice == abi.Unavailable:
			a.Answer = "unavailable"
		}
	}
	return a
}

func explainCalls(dry *plugin.Dry) []ExplainedCall {
	calls := []ExplainedCall{}
	add := func(hook abi.Hook, v *plugin.Verdict, shadow bool) {
		c := ExplainedCall{
			Hook: hook.String(), Plugin: v.Plugin, Shadow: shadow, Fuel: v.Fuel, TookNS: v.Took.Nanoseconds(),
			OnError: v.OnError, Log: append([]string{}, v.Lines...),
		}
		if v.Failure != nil {
			c.Failure = v.Failure.Error()
		}
		calls = append(calls, c)
	}
	for i := range dry.Inquiries {
		inquiry := &dry.Inquiries[i]
		for k := range inquiry.Verdicts {
			add(inquiry.Hook, &inquiry.Verdicts[k], false)
		}
		for k := range inquiry.Shadows {
			add(inquiry.Hook, &inquiry.Shadows[k].Verdict, true)
		}
	}
	return calls
}
