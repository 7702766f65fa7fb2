package bench

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/souk-market/souk/core/plugin"
	"github.com/souk-market/souk/sdk/abi"
)

var (
	//go:embed empty/guest.wasm
	empty []byte
	//go:embed loop/guest.wasm
	loop []byte
)

// Module is a module and what it is called.
type Module struct {
	Name string
	Wasm []byte
}

// Languages is what one run says about the same policy in several languages.
// Times are those of a question, the whole of it, unless they say otherwise.
type Languages struct {
	Native    []Row    `json:"native"`    // the same policy as a Go function, for each question
	Empty     []Row    `json:"empty"`     // a guest that abstains at once
	Languages []Row    `json:"languages"` // each language, for each question
	Loop      Metered  `json:"loop"`      // loops of 8 000 steps together
	Parallel  Parallel `json:"parallel"`
	Targets   []Target `json:"targets"`
}

// Row is one guest and one question.
type Row struct {
	Language string  `json:"language"`
	Question string  `json:"question"`
	Fuel     uint64  `json:"fuel"`
	Time     Time    `json:"ns"`      // slots, fuel, deadline, checks, decoding
	Bare     Time    `json:"bare"`    // the engine's call of the same module with the same bytes
	Metered  Time    `json:"metered"` // the bare call of the metered module
	Ratio    float64 `json:"ratio"`   // Time to Bare, the least of each
	Meter    float64 `json:"meter"`   // Metered to Bare, the least of each
	Native   float64 `json:"native"`  // Time to the native policy's, the least of each
}

// Metered is the price of the meter alone.
type Metered struct {
	Bare    Time    `json:"bare"`
	Metered Time    `json:"metered"`
	Meter   float64 `json:"meter"`
}

// Parallel compares 64 goroutines that share the slots of one plugin with 64 that
// have an instance each, and a host around it. Times are of the wall, for a
// question of any of them.
type Parallel struct {
	Goroutines int     `json:"goroutines"`
	Shared     Time    `json:"shared"`
	Own        Time    `json:"own"`
	Ratio      float64 `json:"ratio"`
}

// Target is what a ratio has to be at most.
type Target struct {
	Name  string  `json:"name"`
	Most  float64 `json:"most"`
	Have  float64 `json:"have"`
	Holds bool    `json:"holds"`
}

// The targets: of the whole question to the bare call for each language, of the
// meter alone, and of sharing.
var wholeTargets = map[string]float64{"c": 2.2, "rust": 2.2, "assemblyscript": 2.2, "go": 1.8}

const (
	loopTarget  = 1.25
	guestTarget = 1.30
	shareTarget = 1.30
)

// goroutines are those that share, or don't.
const goroutines = 64

// CompareLanguages measures modules of one policy that answers select_version.
// What runs in parallel is the module called "c", or the last.
func CompareLanguages(ctx context.Context, o Options, modules []Module) (*Languages, error) {
	var r Languages
	var kept keeper
	defer kept.close(ctx)
	var subjects []Subject
	var take []func(t []Time)
	add := func(s Subject, to func(t Time)) {
		i := len(subjects)
		subjects = append(subjects, s)
		take = append(take, func(t []Time) { to(t[i]) })
	}
	questions := []Question{SelectVersion(1), SelectVersion(5)}
	row := func(language string, wasm []byte, q Question) (*Row, error) {
		hosted, err := kept.hosted(ctx, wasm)
		if err != nil {
			return nil, err
		}
		bare, err := kept.bare(ctx, wasm, q.Hook, false)
		if err != nil {
			return nil, err
		}
		metered, err := kept.bare(ctx, wasm, q.Hook, true)
		if err != nil {
			return nil, err
		}
		row := &Row{Language: language, Question: q.Name}
		for range 2 { // an instance's first question may take more: it makes space
			if row.Fuel, err = hosted.Ask(ctx, &q, 0); err != nil {
				return nil, err
			}
		}
		request := q.Request(0)
		add(hosted.Subject(language, q), func(t Time) { row.Time = t })
		add(bare.Subject(language+", bare", request), func(t Time) { row.Bare = t })
		add(metered.Subject(language+", metered", request), func(t Time) { row.Metered = t })
		return row, nil
	}
	var rows, natives []*Row
	for _, q := range questions {
		n := &Row{Language: "native", Question: q.Name}
		add(native(q), func(t Time) { n.Time = t })
		natives = append(natives, n)
		for _, m := range append([]Module{{"empty", empty}}, modules...) {
			row, err := row(m.Name, m.Wasm, q)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", m.Name, err)
			}
			rows = append(rows, row)
		}
	}
	for _, metered := range []bool{false, true} {
		b, err := kept.bare(ctx, loop, abi.HookSelectVersion, metered)
		if err != nil {
			return nil, fmt.Errorf("loop: %w", err)
		}
		add(b.Subject("loop", questions[0].Request(0)), func(t Time) {
			if metered {
				r.Loop.Metered = t
			} else {
				r.Loop.Bare = t
			}
		})
	}
	times, err := Measure(ctx, o, subjects...)
	if err != nil {
		return nil, err
	}
	for _, f := range take {
		f(times)
	}
	for _, row := range rows {
		row.Ratio, row.Meter = row.Time.Min/row.Bare.Min, row.Metered.Min/row.Bare.Min
		row.Native = row.Time.Min / natives[slices.IndexFunc(questions, func(q Question) bool { return q.Name == row.Question })].Time.Min
		if row.Language == "empty" {
			r.Empty = append(r.Empty, *row)
		} else {
			r.Languages = append(r.Languages, *row)
		}
	}
	for _, n := range natives {
		r.Native = append(r.Native, *n)
	}
	r.Loop.Meter = r.Loop.Metered.Min / r.Loop.Bare.Min

	shared := modules[len(modules)-1]
	if i := slices.IndexFunc(modules, func(m Module) bool { return m.Name == "c" }); i >= 0 {
		shared = modules[i]
	}
	if r.Parallel, err = parallel(ctx, o, shared.Wasm, questions[1]); err != nil {
		return nil, fmt.Errorf("%d goroutines: %w", goroutines, err)
	}
	r.judge()
	return &r, nil
}

func (r *Languages) judge() {
	target := func(most, have float64, format string, args ...any) {
		r.Targets = append(r.Targets, Target{fmt.Sprintf(format, args...), most, have, have <= most})
	}
	for _, row := range r.Languages {
		if most, ok := wholeTargets[row.Language]; ok {
			target(most, row.Ratio, "%s, %s: to a bare call", row.Language, row.Question)
		}
	}
	for _, row := range r.Languages {
		target(guestTarget, row.Meter, "%s, %s: the meter alone", row.Language, row.Question)
	}
	target(loopTarget, r.Loop.Meter, "loops: the meter alone")
	target(shareTarget, r.Parallel.Ratio, "%d goroutines: to an instance each", r.Parallel.Goroutines)
}

// native is the policy as a Go function, with its record and its verdict.
func native(q Question) Subject {
	return Subject{"native", func(_ context.Context, calls int) error {
		var c plugin.Call
		var v abi.SelectVersionVerdict
		for range calls {
			q.Fill(&c, 0)
			v.Items = v.Items[:0]
			choose(&c.SelectVersion, &v)
			if len(v.Items) != len(c.SelectVersion.Apps) {
				return errors.New("it answered something else")
			}
			c.SelectVersion.Apps = c.SelectVersion.Apps[:0]
		}
		return nil
	}}
}

// parallel compares sharing with having one's own.
func parallel(ctx context.Context, o Options, wasm []byte, q Question) (Parallel, error) {
	p := Parallel{Goroutines: goroutines}
	var kept keeper
	defer kept.close(ctx)
	shared, err := kept.hosted(ctx, wasm)
	if err != nil {
		return p, err
	}
	own := make([]*Hosted, goroutines)
	for i := range own {
		if own[i], err = kept.alone(ctx, wasm); err != nil {
			return p, err
		}
	}
	times, err := Measure(ctx, o,
		crowd("shared", q, func(int) *Hosted { return shared }),
		crowd("an instance each", q, func(i int) *Hosted { return own[i] }))
	if err != nil {
		return p, err
	}
	p.Shared, p.Own = times[0], times[1]
	p.Ratio = p.Shared.Min / p.Own.Min
	return p, nil
}

// crowd asks from all goroutines at a time.
func crowd(name string, q Question, of func(i int) *Hosted) Subject {
	return Subject{name, func(ctx context.Context, calls int) error {
		errs := make([]error, goroutines)
		var wg sync.WaitGroup
		for i := range goroutines {
			share := calls / goroutines
			if i < calls%goroutines {
				share++
			}
			wg.Go(func() { errs[i] = of(i).Subject("", q).Run(ctx, share) })
		}
		wg.Wait()
		return errors.Join(errs...)
	}}
}

// keeper closes what it made.
type keeper struct {
	all []interface{ Close(context.Context) error }
}

func (k *keeper) hosted(ctx context.Context, wasm []byte) (*Hosted, error) {
	return k.open(ctx, example(wasm))
}

// alone has one instance.
func (k *keeper) alone(ctx context.Context, wasm []byte) (*Hosted, error) {
	s := example(wasm)
	s.Instances = 1
	return k.open(ctx, s)
}

func example(wasm []byte) plugin.Spec {
	s := plugin.DefaultSpec()
	s.Name, s.Wasm = "bench", wasm
	s.Deadline *= 50 // another program on the machine may well take the processor for longer than that
	return s
}

func (k *keeper) open(ctx context.Context, s plugin.Spec) (*Hosted, error) {
	h, err := NewHosted(ctx, s)
	if err != nil {
		return nil, err
	}
	k.all = append(k.all, h)
	return h, nil
}

func (k *keeper) bare(ctx context.Context, wasm []byte, hook abi.Hook, metered bool) (*Bare, error) {
	b, err := NewBare(ctx, wasm, hook, metered)
	if err != nil {
		return nil, err
	}
	k.all = append(k.all, b)
	return b, nil
}

func (k *keeper) close(ctx context.Context) {
	for _, c := range k.all {
		c.Close(ctx)
	}
}
