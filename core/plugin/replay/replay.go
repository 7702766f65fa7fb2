// Package replay is about decisions that were recorded: the file that they are
// in, and what another build of a plugin, or another configuration, would make of
// them.
//
// A recording is JSON Lines. A line that begins with "souk_decisions" says who
// was asked, and holds until the next such line; each other line is one question
// to all plugins of a hook. It holds accounts, what they have and what plugins read
// of their kv for it, and nothing that a person typed: questions of sign_in and
// exchange are never recorded.
//
// The package asks plugins through package plugin, with fuel and without
// deadlines, and knows neither the store nor the market: what becomes of what
// policy leaves open its caller says.
package replay

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/souk-market/souk/core/plugin"
	"github.com/souk-market/souk/sdk/abi"
)

// Version is the format of a recording.
const Version = 1

// maxLine is the most bytes of a line. A question has a MiB at most.
const maxLine = 8 << 20

// Header says who was asked.
type Header struct {
	Version        int                     `json:"souk_decisions"`
	At             time.Time               `json:"at"`
	EntitleDefault string                  `json:"entitle_default"` // of the market: allow, deny or auto
	Plugins        []plugin.RecordedPlugin `json:"plugins"`         // in the order in which they are asked
}

// chain names the plugins that are asked about a hook.
func (h *Header) chain(hook abi.Hook) (names []string) {
	for _, p := range h.Plugins {
		for _, name := range p.Hooks {
			if name == hook.String() {
				names = append(names, p.Name)
			}
		}
	}
	return names
}

// Plugin finds a plugin by its name, nil if there is none.
func (h *Header) Plugin(name string) *plugin.RecordedPlugin {
	for i := range h.Plugins {
		if h.Plugins[i].Name == name {
			return &h.Plugins[i]
		}
	}
	return nil
}

// Record is one question and what came of it. Hook, Purpose, Key and Client are
// for people who read the file: the question says them again.
type Record struct {
	At       time.Time        `json:"at"`
	Hook     string           `json:"hook"`
	Purpose  string           `json:"purpose"`
	Key      string           `json:"key"` // what the device falls into buckets by: its account
	Client   string           `json:"client"`
	Request  []byte           `json:"request"` // encoded, as the plugins got it
	Plugins  []Answer         `json:"plugins"`
	Outcomes []plugin.Outcome `json:"outcomes"`
}

// Answer is what one plugin made of a question. Without decisions, choices and a
// failure it abstained.
type Answer struct {
	Plugin    string              `json:"plugin"`
	Decisions []Decision          `json:"decisions,omitempty"`
	Choices   []Choice            `json:"choices,omitempty"`
	Failure   *Failure            `json:"failure,omitempty"`
	Fuel      uint64              `json:"fuel"`
	Dry       bool                `json:"dry,omitempty"` // the request didn't come to asking it
	Host      []plugin.HostAnswer `json:"host,omitempty"`
}

// Decision is a plugin's answer to entitle, about one app.
type Decision struct {
	Decision string `json:"decision"` // allow, deny or abstain
	Code     uint32 `json:"code"`
	Reason   string `json:"reason"`
}

// Choice is a plugin's answer to select_version, about one app.
type Choice struct {
	Choice abi.Choice `json:"choice"` // a candidate's place, or -1 hold, -2 abstain, -3 unavailable
	Code   uint32     `json:"code"`
	Reason string     `json:"reason"`
}

// Failure is how a plugin failed.
type Failure struct {
	Kind   string `json:"kind"`
	Reason string `json:"reason"`
}

var decisionNames = [...]string{abi.Allow: "allow", abi.Deny: "deny", abi.DecisionPass: "abstain"}

// newRecord writes a decision as the file has it.
func newRecord(d *plugin.Decision) *Record {
	head := d.Head()
	r := &Record{
		At: d.At, Hook: d.Hook.String(), Purpose: plugin.PurposeName(head.Purpose), Key: head.BucketKey, Client: head.Client,
		Request: d.Request, Plugins: []Answer{}, Outcomes: d.Outcomes,
	}
	for i := range d.Verdicts {
		v := &d.Verdicts[i]
		a := Answer{Plugin: v.Plugin, Fuel: v.Fuel, Dry: v.Dry, Host: v.Host()}
		for _, item := range v.Decisions {
			a.Decisions = append(a.Decisions, Decision{decisionNames[item.Decision], item.Code, item.Reason})
		}
		for _, item := range v.Choices {
			a.Choices = append(a.Choices, Choice(item))
		}
		if v.Failure != nil {
			a.Failure = &Failure{v.Failure.Kind.String(), v.Failure.Reason}
		}
		r.Plugins = append(r.Plugins, a)
	}
	return r
}

// question is a Record that was read and found whole.
type question struct {
	*plugin.Inquiry
	*Record
	verdicts []plugin.Verdict // up to the first that nobody knows
}

// open reads what lies in a Record. What was recorded is not trusted: it may have
// been damaged, or made by somebody else.
func (r *Record) open(h *Header) (*question, error) {
	inquiry, err := plugin.ReadInquiry(r.Request)
	if err != nil {
		return nil, fmt.Errorf("request: %w", err)
	}
	q := &question{Inquiry: inquiry, Record: r}
	items := inquiry.Items()
	if len(r.Outcomes) != len(items) {
		return nil, fmt.Errorf("outcomes: %d for %d apps", len(r.Outcomes), len(items))
	}
	for i, item := range items {
		if r.Outcomes[i].Item != item {
			return nil, fmt.Errorf("outcomes[%d]: is of app %d, the question of %d", i, r.Outcomes[i].Item, item)
		}
	}
	known := true
	for i := range r.Plugins {
		v, err := r.Plugins[i].verdict(h)
		if err == nil {
			err = v.Check(inquiry)
		}
		if err != nil {
			return nil, fmt.Errorf("plugins[%d]: %w", i, err)
		}
		// One that was asked beside the request and not in time decided nothing then, and
		// may decide now.
		if known = known && !(v.Dry && !r.Plugins[i].answered()); known {
			q.verdicts = append(q.verdicts, v)
		}
	}
	return q, nil
}

func (a *Answer) verdict(h *Header) (plugin.Verdict, error) {
	v := plugin.Verdict{Plugin: a.Plugin, Fuel: a.Fuel, Dry: a.Dry}
	p := h.Plugin(a.Plugin)
	if p == nil {
		return v, fmt.Errorf("there is no plugin %q", a.Plugin)
	}
	v.OnError = p.OnError
	for _, d := range a.Decisions {
		item := abi.EntitleDecision{Decision: abi.Decision(len(decisionNames)), Code: d.Code, Reason: d.Reason}
		for n, name := range decisionNames {
			if d.Decision == name {
				item.Decision = abi.Decision(n)
			}
		}
		v.Decisions = append(v.Decisions, item)
	}
	for _, c := range a.Choices {
		v.Choices = append(v.Choices, abi.VersionChoice(c))
	}
	if a.Failure != nil {
		v.Failure = &plugin.Failure{Plugin: a.Plugin, Reason: a.Failure.Reason}
	}
	return v, nil
}

// answered says whether the plugin's answer is one that it would give again: one
// that came too late, or that nobody waited for, says nothing of the plugin.
func (a *Answer) answered() bool {
	if a.Failure == nil {
		return true
	}
	for _, k := range [...]plugin.Kind{plugin.KindDeadline, plugin.KindBusy, plugin.KindUnavailable, plugin.KindOpen} {
		if a.Failure.Kind == k.String() {
			return false
		}
	}
	return true
}

// ErrFormat says that a file is no recording, or one that this program can't read.
var ErrFormat = errors.New("replay: is no recording")

// parse reads a line: a Header or a Record.
func parse(line []byte) (*Header, *Record, error) {
	var version struct {
		Version *int `json:"souk_decisions"`
	}
	if err := json.Unmarshal(line, &version); err != nil {
		return nil, nil, err
	}
	if version.Version == nil {
		r := &Record{}
		return nil, r, json.Unmarshal(line, r)
	}
	if v := *version.Version; v != Version {
		return nil, nil, fmt.Errorf("%w that this program can read: it has version %d, and %d is known", ErrFormat, v, Version)
	}
	h := &Header{}
	return h, nil, json.Unmarshal(line, h)
}
