package plugin

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/souk-market/souk/sdk/abi"
)

// Inquiry is a question about apps as guests get it, with what lies in it. Of
// the questions only entitle and select_version are ever looked at beside the
// request that asks them: the others hold passwords and tokens.
type Inquiry struct {
	Hook    abi.Hook
	Request []byte // encoded

	entitle       abi.EntitleRequest
	selectVersion abi.SelectVersionRequest
}

// ReadInquiry reads an encoded question. Its strings lie in request.
func ReadInquiry(request []byte) (*Inquiry, error) {
	if len(request) < 8 || len(request) > abi.MaxRequest {
		return nil, fmt.Errorf("a question of %d bytes: %d are possible", len(request), abi.MaxRequest)
	}
	q := &Inquiry{Hook: abi.Hook(binary.LittleEndian.Uint16(request[6:])), Request: request}
	switch q.Hook {
	case abi.HookEntitle:
		return q, q.entitle.Read(request)
	case abi.HookSelectVersion:
		return q, q.selectVersion.Read(request)
	}
	return nil, errors.New("the question is neither entitle nor select_version")
}

// Head says who asks.
func (q *Inquiry) Head() *abi.Head {
	if q.Hook == abi.HookEntitle {
		return &q.entitle.Head
	}
	return &q.selectVersion.Head
}

// purposeNames are how people write the purposes.
var purposeNames = map[abi.Purpose]string{
	abi.PurposeUpdate: "update", abi.PurposeRestore: "restore", abi.PurposeLicense: "license", abi.PurposeInstallToken: "install-token",
	abi.PurposeSignIn: "sign-in", abi.PurposeExchange: "exchange", abi.PurposeOAuthApp: "oauth-app",
}

// PurposeName returns how people write a purpose.
func PurposeName(p abi.Purpose) string {
	if name, ok := purposeNames[p]; ok {
		return name
	}
	return "unknown"
}

// Items are the apps of the question, in its order.
func (q *Inquiry) Items() []uint64 {
	var items []uint64
	for i := range q.entitle.Apps {
		items = append(items, q.entitle.Apps[i].Item)
	}
	for i := range q.selectVersion.Apps {
		items = append(items, q.selectVersion.Apps[i].Item)
	}
	return items
}

// Verdict is what one plugin made of an Inquiry. Without items and failure it
// abstained from all.
type Verdict struct {
	Plugin    string
	OnError   string                // how its failure is resolved
	Decisions []abi.EntitleDecision // of entitle, one an app
	Choices   []abi.VersionChoice   // of select_version, one an app
	Failure   *Failure              // nil = none
	Fuel      uint64
	Took      time.Duration // of a dry question
	Lines     []string      // what it would have logged, where that was wanted
	tape      *tape         // what the host answered to it; nil = nothing, or nobody wanted to know
	Unknown   bool          // it asked the host for what a recording doesn't have: its items mean nothing
	Dry       bool          // the request itself didn't ask it
}

// Host is what the host answered to the plugin.
func (v *Verdict) Host() []HostAnswer {
	if v.tape == nil {
		return nil
	}
	return v.tape.answers
}

// verdict is where a guest's answer to the question is read to.
func (q *Inquiry) verdict() verdict {
	if q.Hook == abi.HookEntitle {
		return &entitleAnswer{apps: len(q.entitle.Apps)}
	}
	a := &selectAnswer{}
	for i := range q.selectVersion.Apps {
		a.candidates = append(a.candidates, len(q.selectVersion.Apps[i].Candidates))
	}
	return a
}

// read takes over the items of a verdict as a guest wrote it.
func (v *Verdict) read(q *Inquiry, b []byte, g *generation) (wrong string) {
	answer := q.verdict()
	if wrong := answer.read(b, &g.spec); wrong != "" {
		return wrong
	}
	if g.secrets != nil {
		if wrong := answer.hide(g.secrets); wrong != "" {
			return wrong
		}
	}
	switch a := answer.(type) {
	case *entitleAnswer:
		v.Decisions = a.Items
	case *selectAnswer:
		v.Choices = a.Items
	}
	return ""
}

// Check says what is wrong with a verdict that was recorded.
func (v *Verdict) Check(q *Inquiry) error {
	if _, ok := parseOnError(v.OnError); !ok {
		return fmt.Errorf("plugin %s: on_error %q is none of deny, allow and abstain", v.Plugin, v.OnError)
	}
	apps, candidates := len(q.entitle.Apps), q.selectVersion.Apps
	switch d, c := len(v.Decisions), len(v.Choices); {
	case d+c > 0 && v.Failure != nil:
		return fmt.Errorf("plugin %s: answered and failed", v.Plugin)
	case d > 0 && d != apps, c > 0 && c != len(candidates):
		return fmt.Errorf("plugin %s: %s", v.Plugin, wrongCount(d+c, apps+len(candidates)))
	}
	for _, d := range v.Decisions {
		if d.Decision > abi.DecisionPass {
			return fmt.Errorf("plugin %s: there is no decision %d", v.Plugin, d.Decision)
		}
	}
	for i, c := range v.Choices {
		if c.Choice < abi.Unavailable || int(c.Choice) >= len(candidates[i].Candidates) {
			return fmt.Errorf("plugin %s: choice %d of %d candidates", v.Plugin, c.Choice, len(candidates[i].Candidates))
		}
	}
	return nil
}

// Rules are the market's own, for what policy leaves open.
type Rules interface {
	// Entitled says whether an app is given when all abstained. asked: there was
	// somebody to ask.
	Entitled(asked bool) bool
	// Chosen is the candidate, Hold or Unavailable that a choice comes to.
	Chosen(head *abi.Head, choice abi.Choice, candidates []abi.Candidate) abi.Choice
}

// The results of an Outcome.
const (
	ResultAllow       = "allow"
	ResultDeny        = "deny"
	ResultOffer       = "offer"
	ResultHold        = "hold"
	ResultUnavailable = "unavailable"
	ResultOpen        = "open" // all abstained, and nobody said what comes of it
)

// Outcome is what a question came to for one app.
type Outcome struct {
	Item    uint64 `json:"item,string"`
	Result  string `json:"result"`
	Version uint64 `json:"version,string,omitempty"` // of an offer
	Plugin  string `json:"plugin"`                   // whose it is; "" = the market's own
	Code    uint32 `json:"code"`
	Reason  string `json:"reason"`
	Failed  bool   `json:"failed,omitempty"` // the plugin failed and its on_error decided
}

// Same says whether a device would see no difference.
func (o Outcome) Same(other Outcome) bool {
	return o.Result == other.Result && o.Version == other.Version
}

// String returns the result in words.
func (o Outcome) String() string {
	if o.Result == ResultOffer {
		return "offer " + strconv.FormatUint(o.Version, 10)
	}
	return o.Result
}

// Resolve resolves what the plugins of one hook answered, in the order in which
// they are asked, to one outcome an app. asked: there is such a plugin, also if
// it didn't come to asking it.
func (q *Inquiry) Resolve(verdicts []Verdict, asked bool, rules Rules) []Outcome {
	r := q.resolution()
	for i := range verdicts {
		if !r.meet(&verdicts[i]) {
			break
		}
	}
	return r.outcomes(asked, rules)
}

// Settled says whether those that were not asked could change nothing any more.
func (q *Inquiry) Settled(verdicts []Verdict) bool {
	r := q.resolution()
	return slices.ContainsFunc(verdicts, func(v Verdict) bool { return !r.meet(&v) })
}

// resolution is a chain on its way to its outcomes.
type resolution struct {
	*Inquiry
	entitlements []Entitlement
	selections   []Selection
}

func (q *Inquiry) resolution() *resolution {
	r := &resolution{q, make([]Entitlement, len(q.entitle.Apps)), make([]Selection, len(q.selectVersion.Apps))}
	for i := range r.entitlements {
		r.entitlements[i].Decision = abi.DecisionPass
	}
	for i := range r.selections {
		r.selections[i].Choice = abi.ChoicePass
	}
	return r
}

// meet takes in the next plugin; open = the one after it may still change something.
func (r *resolution) meet(v *Verdict) (open bool) {
	s := step{plugin: v.Plugin, failed: v.Failure != nil}
	s.onError, _ = parseOnError(v.OnError)
	if r.Hook == abi.HookEntitle {
		return s.entitle(r.entitlements, v.Decisions)
	}
	return s.choose(r.selections, v.Choices)
}

func (r *resolution) outcomes(asked bool, rules Rules) []Outcome {
	list := make([]Outcome, 0, len(r.entitlements)+len(r.selections))
	for i, e := range r.entitlements {
		o := Outcome{Item: r.entitle.Apps[i].Item, Result: ResultOpen, Plugin: e.Plugin, Code: e.Code, Reason: e.Reason, Failed: e.Failed}
		switch {
		case e.Decision == abi.Deny:
			o.Result = ResultDeny
		case e.Decision == abi.Allow, rules != nil && rules.Entitled(asked):
			o.Result = ResultAllow
		case rules != nil:
			o.Result = ResultDeny
		}
		list = append(list, o)
	}
	for i, s := range r.selections {
		app := &r.selectVersion.Apps[i]
		o := Outcome{Item: app.Item, Plugin: s.Plugin, Code: s.Code, Reason: s.Reason, Failed: s.Failed}
		if rules != nil {
			s.Choice = rules.Chosen(&r.selectVersion.Head, s.Choice, app.Candidates)
		}
		switch {
		case s.Choice >= 0 && int(s.Choice) < len(app.Candidates):
			o.Result, o.Version = ResultOffer, app.Candidates[s.Choice].Version
		case s.Choice == abi.Unavailable:
			o.Result = ResultUnavailable
		case s.Choice == abi.ChoicePass:
			o.Result = ResultOpen
		default:
			o.Result = ResultHold
		}
		list = append(list, o)
	}
	return list
}
