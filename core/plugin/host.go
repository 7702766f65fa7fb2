// Package plugin hosts the market's policy: guests in WebAssembly that answer
// four questions and do nothing else. It loads and checks modules, meters and
// compiles them, keeps instances, asks questions and resolves what several
// plugins answer, or fail to answer, to one decision.
//
// It refuses to know what a decision is for. It has no idea of what is served, of
// the store (a plugin's kv comes through an interface) and of the catalogue: it
// gets the records of package abi and gives back answers. It is an HTTP client
// only, for guests that may ask other servers.
//
// A guest is not trusted. It sees its input and what the operator allows, it
// can't run longer than its fuel and deadline, can't have more memory than its
// limit, and whatever it answers is checked before anybody sees it. A guest
// that traps, overruns or answers nonsense costs its own question only: the
// instance is thrown away, the failure counted, and on_error decides.
package plugin

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/souk-market/souk/sdk/abi"
)

// Options are what Open needs. Only Specs has no sensible zero.
type Options struct {
	Specs     []Spec                          // in the order in which they are asked
	Dir       string                          // where relative files are looked for
	Cache     string                          // directory for compiled code, nobody else's; "" = none
	KV        func(plugin string) (KV, error) // asked once for each plugin that may use it
	Log       *slog.Logger                    // nil = none
	Now       func() time.Time                // for the rates of the log; nil = time.Now
	MaxModule int64                           // bytes of a module; 0 = 16 MiB
	Keys      []string                        // of minisign: who has to have signed what is not the program's own; empty = nobody
	Rules     Rules                           // what becomes of what policy leaves open; nil = nobody knows

	Record      Recorder // nil = nothing is recorded
	RecordShare uint32   // of the devices, in basis points: these are recorded; 0 = all
	ShadowShare uint32   // of the devices, in basis points: shadows are asked about these; 0 = all

	// Changing is told of each change of what is asked, before it is made; its error,
	// one sentence, stops the change. nil = nobody is told.
	Changing func(ctx context.Context, c Changeover) error
	// Try tries a module out before it is asked in earnest: its error, one sentence,
	// refuses it. The Options are those of a host with this plugin alone. nil = none is.
	Try      func(ctx context.Context, alone Options) error
	Timeless bool // no deadlines, only fuel: for replay and conformance, on no server
	Offline  bool // http_fetch is refused: for what has to come out the same anywhere
}

// Host asks the plugins of one configuration. Its methods may be called by many
// at a time.
type Host struct {
	swaps
	rules   Rules
	watch   *watch
	calls   sync.Pool
	stripes atomic.Uint32 // of the Calls made so far
}

// maxLoads bounds how many plugins are compiled at a time when the host opens: it
// is heavy work.
const maxLoads = 2

// Open loads all plugins. The error is one sentence that names the first plugin
// that can't be loaded, and why.
func Open(ctx context.Context, o Options) (*Host, error) {
	if err := validateAll(o.Specs); err != nil {
		return nil, err
	}
	keys, err := ParseKeys(o.Keys)
	if err != nil {
		return nil, err
	}
	l := o.loader()
	l.keys = keys
	if l.cache != "" {
		if err := checkCache(l.cache); err != nil {
			l.log.Warn("plugin: no cache for compiled code", "cause", err)
			l.cache = ""
		}
	}
	h := &Host{swaps: newSwaps(l), rules: o.Rules}
	h.watch = newWatch(h, o)
	h.calls.New = func() any { return &Call{host: h, stripe: h.stripes.Add(1) - 1} }

	loaded, errs := make([]*generation, len(o.Specs)), make([]error, len(o.Specs))
	turns := make(chan struct{}, maxLoads)
	var wg sync.WaitGroup
	for i, s := range o.Specs {
		wg.Go(func() {
			turns <- struct{}{}
			defer func() { <-turns }()
			if errs[i] = ctx.Err(); errs[i] == nil {
				loaded[i], errs[i] = l.load(ctx, h.newPlugin(s.Name), s)
			}
		})
	}
	wg.Wait()
	var failed error
	for i, g := range loaded {
		switch {
		case g != nil:
			h.adopt(g)
		case failed == nil:
			failed = fmt.Errorf("plugin[%d] %s: %w", i, o.Specs[i].Name, errs[i])
		}
	}
	if failed != nil {
		h.discard(slices.DeleteFunc(loaded, func(g *generation) bool { return g == nil })...)
		return nil, failed
	}
	h.mu.Lock()
	for _, g := range loaded {
		g.since = l.now()
	}
	h.publish(loaded)
	h.mu.Unlock()
	if l.cache != "" {
		pruneCache(l.cache, time.Now())
	}
	return h, nil
}

func validateAll(specs []Spec) error {
	names := map[string]bool{}
	for i := range specs {
		s := &specs[i]
		if err := s.Validate(fmt.Sprintf("plugin[%d]", i)); err != nil {
			return err
		}
		if names[s.Name] {
			return fmt.Errorf("plugin[%d].name: %q is the name of an earlier plugin: choose another", i, s.Name)
		}
		names[s.Name] = true
	}
	for i := range specs {
		s := &specs[i]
		if s.InsteadOf == "" {
			continue
		}
		at := slices.IndexFunc(specs, func(other Spec) bool { return other.Name == s.InsteadOf })
		switch {
		case at < 0:
			return fmt.Errorf("plugin[%d].instead_of: there is no plugin %q: name one of the file", i, s.InsteadOf)
		case specs[at].Shadow:
			return fmt.Errorf("plugin[%d].instead_of: %q is a shadow too: name a plugin that is asked in earnest", i, s.InsteadOf)
		}
	}
	return nil
}

func (o Options) loader() *loader {
	l := &loader{
		dir: o.Dir, cache: o.Cache, max: o.MaxModule, kv: o.KV, log: o.Log, now: o.Now, try: o.Try, changing: o.Changing,
		timeless: o.Timeless, offline: o.Offline,
		workers: max(1, runtime.GOMAXPROCS(0)/max(1, min(maxLoads, len(o.Specs)))),
	}
	if l.max == 0 {
		l.max = 16 << 20
	}
	if l.log == nil {
		l.log = slog.New(slog.DiscardHandler)
	}
	if l.now == nil {
		l.now = time.Now
	}
	return l
}

// Close waits for the questions that are being answered, and for the requests of
// generations that were replaced, and frees everything. Later questions fail.
func (h *Host) Close(ctx context.Context) error {
	h.mu.Lock()
	h.closed = true
	h.mu.Unlock()
	h.swapping <- struct{}{} // a swap under way ends without a change
	h.watch.close()
	var errs []error
	for _, g := range h.set.Load().all {
		errs = append(errs, h.closeAll(ctx, g.plugin))
	}
	<-h.swapping
	h.work.Wait()
	return errors.Join(errs...)
}

// closeAll closes what a plugin has, but for what still drains: that goes by
// itself.
func (h *Host) closeAll(ctx context.Context, p *plugin) error {
	h.mu.Lock()
	var over []*generation
	for _, g := range p.living {
		if !g.closed && (g == p.current || g.held == 0) {
			g.closed = true
			over = append(over, g)
		}
	}
	p.previous = nil
	h.mu.Unlock()
	var errs []error
	for _, g := range over {
		errs = append(errs, g.close(ctx))
	}
	return errors.Join(errs...)
}

// Has says whether any plugin is asked this question. It may be another answer
// for the next request: within one, ask the Call.
func (h *Host) Has(hook abi.Hook) bool { return h.set.Load().has(hook) }

// Hosts are those that a plugin may send a person to, nil if there is no such plugin.
func (h *Host) Hosts(name string) []string {
	if g := h.named(name); g != nil {
		return g.spec.Hosts
	}
	return nil
}

func (s *set) has(hook abi.Hook) bool { return int(hook) < hookCount && len(s.chains[hook]) > 0 }
