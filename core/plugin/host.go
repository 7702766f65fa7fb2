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
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"sync"
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
	Timeless  bool                            // no deadlines, only fuel: for replay and conformance, on no server
}

// Host asks the plugins of one configuration. Its methods may be called by many
// at a time.
type Host struct {
	plugins []*plugin
	chains  [hookCount][]*plugin
	calls   sync.Pool
}

// maxLoads bounds how many plugins are compiled at a time: it is heavy work.
const maxLoads = 2

// Open loads all plugins. The error is one sentence that names the first plugin
// that can't be loaded, and why.
func Open(ctx context.Context, o Options) (*Host, error) {
	names := map[string]bool{}
	for i := range o.Specs {
		s := &o.Specs[i]
		if err := s.Validate(fmt.Sprintf("plugin[%d]", i)); err != nil {
			return nil, err
		}
		if names[s.Name] {
			return nil, fmt.Errorf("plugin[%d].name: %q is the name of an earlier plugin: choose another", i, s.Name)
		}
		names[s.Name] = true
	}
	l := o.loader()
	if l.cache != "" {
		if err := checkCache(l.cache); err != nil {
			l.log.Warn("plugin: no cache for compiled code", "cause", err)
			l.cache = ""
		}
	}

	plugins, errs := make([]*plugin, len(o.Specs)), make([]error, len(o.Specs))
	turns := make(chan struct{}, maxLoads)
	var wg sync.WaitGroup
	for i, s := range o.Specs {
		wg.Go(func() {
			turns <- struct{}{}
			defer func() { <-turns }()
			if errs[i] = ctx.Err(); errs[i] == nil {
				plugins[i], errs[i] = l.load(ctx, s)
			}
		})
	}
	wg.Wait()
	h := &Host{}
	h.calls.New = func() any { return &Call{host: h} }
	var failed error
	for i, p := range plugins {
		if p != nil {
			h.plugins = append(h.plugins, p)
		}
		if failed == nil && errs[i] != nil {
			failed = fmt.Errorf("plugin[%d] %s: %w", i, o.Specs[i].Name, errs[i])
		}
	}
	if failed != nil {
		h.Close(ctx)
		return nil, failed
	}
	for _, p := range h.plugins {
		for _, hook := range p.hooks {
			h.chains[hook] = append(h.chains[hook], p)
		}
	}
	if l.cache != "" {
		pruneCache(l.cache, time.Now())
	}
	return h, nil
}

func (o Options) loader() *loader {
	l := &loader{
		dir: o.Dir, cache: o.Cache, max: o.MaxModule, kv: o.KV, log: o.Log, now: o.Now, timeless: o.Timeless,
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

// Close waits for the questions that are being answered and frees everything.
// Later questions fail.
func (h *Host) Close(ctx context.Context) error {
	var errs []error
	for _, p := range h.plugins {
		if g := p.current.Swap(nil); g != nil {
			errs = append(errs, g.close(ctx))
		}
	}
	return errors.Join(errs...)
}

// Has says whether any plugin is asked this question.
func (h *Host) Has(hook abi.Hook) bool {
	return int(hook) < hookCount && len(h.chains[hook]) > 0
}

// Hosts are those that a plugin may send a person to, nil if there is no such plugin.
func (h *Host) Hosts(name string) []string {
	for _, p := range h.plugins {
		if g := p.current.Load(); p.name == name && g != nil {
			return g.spec.Hosts
		}
	}
	return nil
}

// Info is what the operator sees of a plugin.
type Info struct {
	Name      string     `json:"name"`
	SHA256    string     `json:"sha256"` // of the file
	Size      int        `json:"size"`   // of the file
	OnError   string     `json:"on_error"`
	Allow     []string   `json:"allow"`
	Slots     int        `json:"slots"`     // instances there may be
	Instances int        `json:"instances"` // that are started; those that answer right now are counted as such
	Memory    int64      `json:"memory"`    // bytes of their memories, without those that answer right now
	Restarts  uint64     `json:"restarts"`  // instances that were started after the first
	Hooks     []HookInfo `json:"hooks"`

	LastFailure string            `json:"last_failure"` // in one line; "" = none so far
	Metrics     map[string]uint64 `json:"metrics"`      // the plugin's own counters
}

// HookInfo counts the questions of one hook since the plugin was loaded.
type HookInfo struct {
	Hook      string            `json:"hook"`
	Calls     uint64            `json:"calls"`
	Abstained uint64            `json:"abstained"`
	Fuel      uint64            `json:"fuel"`     // used by all calls together
	Failures  map[string]uint64 `json:"failures"` // by kind; kinds that never happened are missing
}

// Plugins describes the plugins, in the order in which they are asked.
func (h *Host) Plugins() []Info {
	infos := make([]Info, 0, len(h.plugins))
	for _, p := range h.plugins {
		if g := p.current.Load(); g != nil {
			infos = append(infos, p.info(g))
		}
	}
	return infos
}

func (p *plugin) info(g *generation) Info {
	info := Info{
		Name: p.name, SHA256: hex.EncodeToString(g.hash[:]), Size: g.size, OnError: g.spec.OnError,
		Allow: append([]string{}, g.spec.Allow...), Slots: len(g.all), Restarts: g.restarts.Load(),
		Metrics: p.metrics.values(),
	}
	if f := p.last.Load(); f != nil {
		info.LastFailure = f.Error()
	}
	for i := range g.all {
		s := &g.all[i]
		if !s.mu.TryLock() {
			info.Instances++
			continue
		}
		if s.in != nil {
			info.Instances++
			info.Memory += int64(s.in.mem.Size())
		}
		g.give(s)
	}
	for _, hook := range p.hooks {
		hi := HookInfo{Hook: hook.String(), Failures: map[string]uint64{}}
		for i := range g.all {
			c := &g.all[i].counts[hook]
			hi.Calls += c.calls.Load()
			hi.Abstained += c.abstained.Load()
			hi.Fuel += c.fuel.Load()
		}
		for k := range kinds {
			if n := p.failures[hook][k].Load(); n > 0 {
				hi.Failures[k.String()] = n
			}
		}
		info.Hooks = append(info.Hooks, hi)
	}
	return info
}
