package replay

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/souk-market/souk/core/plugin"
)

// Trial is another build of a plugin, or another configuration, that recorded
// decisions are made with once more.
type Trial struct {
	Host   *plugin.Host // has it; Timeless, so that nothing depends on this machine
	Plugin string       // its name in Host
	As     string       // whose place it takes in the recording
	Rules  func(entitleDefault string) plugin.Rules
}

// Report says what would have been another decision.
type Report struct {
	From      time.Time `json:"from"`
	To        time.Time `json:"to"`
	Questions int       `json:"questions"`
	Decisions int       `json:"decisions"` // one an app
	Devices   int       `json:"devices"`
	Damaged   int       `json:"damaged"` // lines that could not be read

	Same       int `json:"same"`
	Changed    int `json:"changed"`
	Unknown    int `json:"unknown"`    // it asked the host for what nobody recorded
	Unanswered int `json:"unanswered"` // the recorded plugin failed for want of time: there is nothing to compare with

	ChangedDevices int            `json:"changed_devices"`
	Modules        []string       `json:"modules"`  // SHA-256 of those that were recorded in its place
	Changes        []Change       `json:"changes"`  // what changes by how and why, the most frequent first
	List           []Difference   `json:"list"`     // by device
	More           int            `json:"more"`     // differences that List has no room for
	Failures       map[string]int `json:"failures"` // of the plugin under trial, by kind
	Fuel           Fuel           `json:"fuel"`
}

// Fuel compares what the questions cost.
type Fuel struct {
	Before uint64 `json:"before"` // of all questions that both answered
	After  uint64 `json:"after"`
	Most   uint64 `json:"most"` // of one question, after
}

// Change is a kind of difference. Numbers in a reason are written as #.
type Change = plugin.Change

// Difference is a decision that would be another, for one device. A device that
// asked again and would have got the same again is there once.
type Difference struct {
	Key     string         `json:"key"`    // its account; "" = nobody in particular
	Client  string         `json:"client"` // of the last time
	Hook    string         `json:"hook"`
	Purpose string         `json:"purpose"`
	Item    uint64         `json:"item,string"`
	Before  plugin.Outcome `json:"before"` // of the last time
	After   plugin.Outcome `json:"after"`
	Times   int            `json:"times"`
	At      time.Time      `json:"at"` // the last time
}

// maxList is the most differences that are kept, each of another device, app or
// kind.
const maxList = 100_000

// maxChanges is the most kinds of differences; all others count as one.
const maxChanges = 1000

// run collects a Report.
type run struct {
	*Trial
	Report
	devices, changed map[string]bool
	list             map[difference]*Difference
	changes          map[Change]int
	modules          map[string]bool
	order            []*Difference
	asked, silent    int // questions that the recorded plugin was asked, and those of them that this one doesn't answer
}

type difference struct {
	key, hook, purpose, before, after string
	item                              uint64
}

// Run makes all decisions of a recording once more. An error is one of reading, or
// says that the recording has nothing of the plugin.
func (t *Trial) Run(ctx context.Context, r *Reader) (*Report, error) {
	x := &run{
		Trial: t, devices: map[string]bool{}, changed: map[string]bool{}, list: map[difference]*Difference{},
		changes: map[Change]int{}, modules: map[string]bool{},
	}
	x.Failures = map[string]int{}
	for {
		q, err := r.next()
		if errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, err
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if err := x.question(ctx, r.Header(), q); err != nil {
			return nil, err
		}
	}
	x.Damaged = r.Damaged()
	switch {
	case len(x.modules) > 0:
	case r.Header() == nil || r.Header().Plugin(t.As) == nil:
		return nil, noPlugin(r.Header(), t.As)
	default:
		return nil, fmt.Errorf("the recording has no decision that plugin %q had a part in", t.As)
	}
	if x.asked > 0 && x.silent == x.asked {
		return nil, fmt.Errorf("the module answers nothing that plugin %q was asked: take the place of another one", t.As)
	}
	return x.report(), nil
}

// ErrNoPlugin says that the plugin whose place is to be taken is not in a recording.
var ErrNoPlugin = errors.New("the recording has no plugin")

func noPlugin(h *Header, name string) error {
	var names []string
	for _, p := range h.Plugins {
		names = append(names, p.Name)
	}
	return fmt.Errorf("%w %q: it has %q", ErrNoPlugin, name, names)
}

// question makes one decision once more.
func (x *run) question(ctx context.Context, h *Header, q *question) error {
	recorded := h.Plugin(x.As)
	if recorded == nil {
		return nil // it was not there then
	}
	x.modules[recorded.SHA256] = true
	at := slices.IndexFunc(q.Plugins, func(a Answer) bool { return a.Plugin == x.As })
	var host []plugin.HostAnswer
	if at >= 0 {
		host = q.Plugins[at].Host
	}
	v, err := x.Host.Replay(ctx, x.Plugin, q.Inquiry, host)
	silent := errors.Is(err, plugin.ErrNotAsked)
	if err != nil && !silent {
		return err
	}
	if at < 0 && silent {
		return nil // neither build has to do with the hook
	}
	if at >= 0 {
		x.asked++
		if silent {
			x.silent++
		}
	}
	v.Plugin = x.As
	x.count(q, &v)
	n := len(q.Outcomes)
	chain := h.chain(q.Inquiry.Hook)
	verdicts, names := x.replace(h, q.verdicts, chain, v, silent)
	switch {
	case at >= 0 && !q.Plugins[at].answered():
		x.Unanswered += n
		return nil
	case v.Unknown, len(verdicts) < len(names) && !q.Settled(verdicts):
		x.Unknown += n
		return nil
	}
	if at >= 0 {
		x.Fuel.Before += q.Plugins[at].Fuel
		x.Fuel.After += v.Fuel
	}
	after := q.Resolve(verdicts, len(names) > 0, x.Rules(h.EntitleDefault))
	for i := range after {
		x.compare(q, q.Outcomes[i], after[i])
	}
	return nil
}

// replace puts the verdict into the place of the recorded one, or where the plugin
// stands among the others, and says whom the chain has then.
func (x *run) replace(h *Header, recorded []plugin.Verdict, chain []string, v plugin.Verdict, silent bool) (verdicts []plugin.Verdict, names []string) {
	rank := func(name string) int {
		return slices.IndexFunc(h.Plugins, func(p plugin.RecordedPlugin) bool { return p.Name == name })
	}
	mine := rank(x.As)
	for _, name := range chain {
		if name != x.As {
			names = append(names, name)
		}
	}
	for _, r := range recorded {
		if r.Plugin != x.As {
			verdicts = append(verdicts, r)
		}
	}
	if silent {
		return verdicts, names
	}
	place := func(n int, name func(int) string) int {
		for i := range n {
			if rank(name(i)) > mine {
				return i
			}
		}
		return n
	}
	names = slices.Insert(names, place(len(names), func(i int) string { return names[i] }), x.As)
	verdicts = slices.Insert(verdicts, place(len(verdicts), func(i int) string { return verdicts[i].Plugin }), v)
	return verdicts, names
}

func (x *run) count(q *question, v *plugin.Verdict) {
	if x.Questions == 0 {
		x.From = q.At
	}
	x.To = q.At
	x.Questions++
	x.Decisions += len(q.Outcomes)
	x.devices[device(q)] = true
	x.Fuel.Most = max(x.Fuel.Most, v.Fuel)
	if v.Failure != nil && !v.Unknown {
		x.Failures[v.Failure.Kind.String()]++
	}
}

// device tells devices apart as policy does. Who is signed in nowhere is nobody in
// particular.
func device(q *question) string { return cmp.Or(q.Head().BucketKey, "-") }

func (x *run) compare(q *question, before, after plugin.Outcome) {
	if before.Same(after) {
		x.Same++
		return
	}
	x.Changed++
	x.changed[device(q)] = true
	hook, head := q.Inquiry.Hook, q.Head()
	change := plugin.NewChange(hook, before, after)
	if _, ok := x.changes[change]; !ok && len(x.changes) == maxChanges {
		change = Change{Hook: change.Hook, Reason: plugin.OtherChanges}
	}
	x.changes[change]++
	id := difference{head.BucketKey, hook.String(), plugin.PurposeName(head.Purpose), before.String(), after.String(), before.Item}
	d := x.list[id]
	switch {
	case d == nil && len(x.order) == maxList:
		x.More++
		return
	case d == nil:
		d = &Difference{Key: id.key, Hook: id.hook, Purpose: id.purpose, Item: id.item}
		x.list[id] = d
		x.order = append(x.order, d)
	}
	d.Client, d.Before, d.After, d.At = head.Client, before, after, q.At
	d.Times++
}

func (x *run) report() *Report {
	r := &x.Report
	r.Devices, r.ChangedDevices = len(x.devices), len(x.changed)
	r.Modules, r.Changes, r.List = []string{}, []Change{}, make([]Difference, 0, len(x.order))
	for m := range x.modules {
		r.Modules = append(r.Modules, m)
	}
	slices.Sort(r.Modules)
	for c, n := range x.changes {
		c.Count = uint64(n)
		r.Changes = append(r.Changes, c)
	}
	plugin.SortChanges(r.Changes)
	for _, d := range x.order {
		r.List = append(r.List, *d)
	}
	slices.SortStableFunc(r.List, func(a, b Difference) int {
		return cmp.Or(cmp.Compare(a.Key, b.Key), cmp.Compare(a.Item, b.Item), cmp.Compare(a.Hook, b.Hook))
	})
	return r
}

// Differs says whether a decision is another, or may be.
func (r *Report) Differs() bool { return r.Changed > 0 || r.Unknown > 0 }

// NoStore is the kv of a plugin under trial: there is no store, and a recording
// answers in its place.
func NoStore(string) (plugin.KV, error) { return none{}, nil }

type none struct{}

var errNone = errors.New("replay: there is no store")

func (none) Get(context.Context, []byte) ([]byte, error)              { return nil, errNone }
func (none) Put(context.Context, []byte, []byte, time.Duration) error { return errNone }
func (none) Delete(context.Context, []byte) error                     { return errNone }
func (none) Swap(context.Context, []byte, []byte, []byte) error       { return errNone }
func (none) Add(context.Context, []byte, int64) (int64, error)        { return 0, errNone }
