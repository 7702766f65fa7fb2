package bench

import (
	"context"
	"fmt"

	"github.com/souk-market/souk/core/plugin"
	"github.com/souk-market/souk/sdk/abi"
)

// Plugin is what one module's questions cost.
type Plugin struct {
	Name      string `json:"name"`
	Size      int    `json:"size"`
	Questions []Cost `json:"questions"` // of the hooks that it answers
	Memory    int64  `json:"memory"`    // bytes of an instance at its start
	Grown     int64  `json:"grown"`     // bytes by which instances grew in all questions together
	Growing   bool   `json:"growing"`   // they still grew in the second half of them
	Fits      bool   `json:"fits"`      // no question failed, within the limits
}

// Cost is what one question costs. Fuel is the same on every machine.
type Cost struct {
	Hook     string  `json:"hook"`
	Question string  `json:"question"`
	Fuel     uint64  `json:"fuel"`  // the most of all devices that asked
	Limit    uint64  `json:"limit"` // what it may use
	Time     Time    `json:"ns"`    // 0 when only fuel was asked for
	Ratio    float64 `json:"ratio"` // Time to a bare call of the module, the least of each; 0 = it needs the host, or a configuration
	Native   float64 `json:"native"`
	Failure  string  `json:"failure,omitempty"` // the first
}

// asked is how often a question is asked before its time is taken.
func asked(hook abi.Hook) int {
	if hook == abi.HookSignIn || hook == abi.HookExchange { // a password takes long
		return devices
	}
	return 64 * devices
}

// MeasurePlugin measures all questions of one module, with the limits of its Spec.
// The error says why the module can't be loaded; that a question fails is no error.
func MeasurePlugin(ctx context.Context, o Options, name string, s plugin.Spec) (*Plugin, error) {
	var kept keeper
	defer kept.close(ctx)
	s.Instances, s.Breaker = 1, 0
	hosted, err := kept.open(ctx, s)
	if err != nil {
		return nil, err
	}
	p := &Plugin{Name: name, Size: len(s.Wasm), Memory: hosted.memory(), Fits: true}
	for _, q := range Questions() {
		if !hosted.Has(q.Hook) {
			continue
		}
		cost := Cost{Hook: q.Hook.String(), Question: q.Name, Limit: s.Fuel}
		if err := p.ask(ctx, hosted, &q, &cost); err != nil {
			return nil, err
		}
		if cost.Failure == "" && !o.Fuel {
			if err := p.time(ctx, o, hosted, &q, &cost, &s); err != nil {
				return nil, err
			}
		}
		p.Questions = append(p.Questions, cost)
	}
	return p, nil
}

// ask asks a question for all devices, again and again, and notes fuel and memory.
func (p *Plugin) ask(ctx context.Context, hosted *Hosted, q *Question, cost *Cost) error {
	before := hosted.memory()
	half := before
	for i := range asked(q.Hook) {
		if err := ctx.Err(); err != nil {
			return err
		}
		fuel, err := hosted.Ask(ctx, q, i)
		cost.Fuel = max(cost.Fuel, fuel)
		if err != nil {
			cost.Failure, p.Fits = err.Error(), false
			return nil
		}
		if i == asked(q.Hook)/2 {
			half = hosted.memory()
		}
	}
	after := hosted.memory()
	p.Grown += after - before
	p.Growing = p.Growing || after > half
	return nil
}

func (p *Plugin) time(ctx context.Context, o Options, hosted *Hosted, q *Question, cost *Cost, s *plugin.Spec) error {
	subjects := []Subject{hosted.Subject(cost.Hook, *q)}
	alone := false
	if known(s.Wasm) {
		bare, err := NewBare(ctx, s.Wasm, q.Hook, false)
		if err != nil {
			return err
		}
		defer bare.Close(ctx)
		request := q.Request(0)
		if _, err := bare.Call(ctx, request); err == nil { // else it needs its configuration
			alone = true
			subjects = append(subjects, bare.Subject(cost.Hook+", bare", request))
		}
	}
	if q.Hook == abi.HookSelectVersion {
		subjects = append(subjects, native(*q))
	}
	times, err := Measure(ctx, o, subjects...)
	if err != nil {
		return err
	}
	cost.Time = times[0]
	if alone {
		cost.Ratio = times[0].Min / times[1].Min
	}
	if q.Hook == abi.HookSelectVersion {
		cost.Native = times[0].Min / times[len(times)-1].Min
	}
	return nil
}

// Change compares the fuel of a question with that of an earlier build.
type Change struct {
	Hook     string  `json:"hook"`
	Question string  `json:"question"`
	Before   uint64  `json:"before"`
	Now      uint64  `json:"now"`
	Percent  float64 `json:"percent"` // more than before
}

// Against compares two builds, question by question. The error is a question that
// only one of them answers.
func (p *Plugin) Against(old *Plugin) ([]Change, error) {
	before := map[[2]string]uint64{}
	for _, c := range old.Questions {
		before[[2]string{c.Hook, c.Question}] = c.Fuel
	}
	var changes []Change
	for _, c := range p.Questions {
		key := [2]string{c.Hook, c.Question}
		was, ok := before[key]
		if !ok {
			return nil, fmt.Errorf("%s answers %s, %s doesn't: compare builds of one plugin", p.Name, c.Hook, old.Name)
		}
		delete(before, key)
		changes = append(changes, Change{c.Hook, c.Question, was, c.Fuel, 100 * (float64(c.Fuel)/float64(max(was, 1)) - 1)})
	}
	for key := range before {
		return nil, fmt.Errorf("%s answers %s, %s doesn't: compare builds of one plugin", old.Name, key[0], p.Name)
	}
	return changes, nil
}
