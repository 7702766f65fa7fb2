package plugin

import (
	"encoding/hex"
	"time"

	"github.com/souk-market/souk/sdk/abi"
)

// Info is what the operator sees of a plugin. Its counters go on when the plugin
// is swapped.
type Info struct {
	Name       string    `json:"name"`
	SHA256     string    `json:"sha256"`     // of the module
	Size       int       `json:"size"`       // of the module
	Generation int       `json:"generation"` // 1 is what the start loaded
	Since      time.Time `json:"since"`      // when this generation took over
	Uploaded   bool      `json:"uploaded"`   // it is not the configuration's file: a restart loads that
	SignedBy   string    `json:"signed_by"`  // id of the trusted key; "" = nobody asked, or it came with the program
	Previous   string    `json:"previous"`   // SHA-256 of the module that it can return to; "" = none
	OnError    string    `json:"on_error"`
	Allow      []string  `json:"allow"`
	Slots      int       `json:"slots"`      // instances there may be
	Instances  int       `json:"instances"`  // that are started; those that answer right now are counted as such
	Memory     int64     `json:"memory"`     // bytes of their memories, without those that answer right now
	Restarts   uint64    `json:"restarts"`   // instances that a question had to start
	StartFuel  uint64    `json:"start_fuel"` // used by the last start of an instance
	Draining   int       `json:"draining"`   // earlier generations that still have requests
	Swaps      uint64    `json:"swaps"`      // uploaded modules that took over
	Returns    uint64    `json:"returns"`    // to the generation before, by the operator
	SentBack   uint64    `json:"sent_back"`  // the same, because a new module failed in its first minute

	Hooks       []HookInfo `json:"hooks"`
	LastFailure string     `json:"last_failure"` // in one line; "" = none so far
	Returned    *Returned  `json:"returned"`     // the last swap that was undone because the new module failed

	Metrics map[string]uint64 `json:"metrics"` // the plugin's own counters
	Shadow  *ShadowInfo       `json:"shadow"`  // null = it is asked in earnest
}

// HookInfo counts the questions of one hook since the plugin was loaded first.
type HookInfo struct {
	Hook      string            `json:"hook"`
	Calls     uint64            `json:"calls"`
	Abstained uint64            `json:"abstained"`
	Fuel      uint64            `json:"fuel"`      // used by all calls together
	Failures  map[string]uint64 `json:"failures"`  // by kind; kinds that never happened are missing
	Waits     uint64            `json:"waits"`     // questions that waited for an instance; those that got none too, but of a shadow
	WaitedNS  uint64            `json:"waited_ns"` // and how long, together
	Breaker   BreakerInfo       `json:"breaker"`
	Latency   Histogram         `json:"latency_ns"`    // of sign_in and exchange, and of every 32nd call of the others
	FuelUsed  Histogram         `json:"fuel_per_call"` // of all
}

// Plugins describes the plugins, in the order in which they are asked.
func (h *Host) Plugins() []Info {
	h.mu.Lock()
	defer h.mu.Unlock()
	infos := []Info{}
	for _, g := range h.set.Load().all {
		if !g.closed {
			infos = append(infos, g.info())
		}
	}
	return infos
}

func (g *generation) info() Info {
	p := g.plugin
	info := Info{
		Name: p.name, SHA256: hex.EncodeToString(g.hash[:]), Size: len(g.wasm), Generation: g.number, Since: g.since, Uploaded: g.uploaded, SignedBy: g.voucher.String(),
		OnError: g.spec.OnError, Allow: append([]string{}, g.spec.Allow...), Hooks: []HookInfo{}, Returned: p.returned,
		Swaps: p.swaps.Load(), Returns: p.returns.Load(), SentBack: p.sentBack.Load(), Metrics: p.metrics.values(),
		StartFuel: g.startFuel.Load(),
	}
	if p.previous != nil {
		info.Previous = hex.EncodeToString(p.previous.hash[:])
	}
	if f := p.last.Load(); f != nil {
		info.LastFailure = f.Error()
	}
	g.each(func(s *slots, sl *slot) {
		info.Slots++
		if !sl.mu.TryLock() {
			info.Instances++
			return
		}
		if sl.in != nil {
			info.Instances++
			info.Memory += int64(sl.in.mem.Size())
		}
		s.give(sl)
	})
	sums := p.past
	for _, other := range p.living {
		sums.add(other)
		if other != g && other.held > 0 {
			info.Draining++
		}
	}
	info.Restarts = sums.restarts
	if g.compared != nil {
		info.Shadow = g.compared.info(g)
	}
	for _, hook := range g.hooks {
		info.Hooks = append(info.Hooks, g.hookInfo(hook, &sums.hooks[hook]))
	}
	return info
}

func (g *generation) hookInfo(hook abi.Hook, n *hookTotals) HookInfo {
	used := n.used.histogram()
	i := HookInfo{
		Hook: hook.String(), Calls: used.Count, Abstained: n.abstained, Fuel: used.Sum, Failures: map[string]uint64{},
		Waits: n.waits, WaitedNS: n.waited, Breaker: g.breakers[hook].info(),
		Latency: n.latency.histogram(), FuelUsed: used,
	}
	for k := range kinds {
		if n := g.failures[hook][k].Load(); n > 0 {
			i.Failures[k.String()] = n
		}
	}
	return i
}

// totals are the sums of whole generations.
type totals struct {
	restarts uint64
	hooks    [hookCount]hookTotals
}

type hookTotals struct {
	abstained, waits, waited uint64
	latency, used            tally
}

func (t *totals) add(g *generation) {
	t.restarts += g.restarts.Load()
	for hook := range g.gaveUp {
		t.hooks[hook].waits += g.gaveUp[hook].waits.Load()
		t.hooks[hook].waited += g.gaveUp[hook].waited.Load()
	}
	g.each(func(_ *slots, sl *slot) {
		for hook, c := range sl.counts {
			if c == nil {
				continue
			}
			n := &t.hooks[hook]
			n.abstained += c.abstained.Load()
			n.waits += c.waits.Load()
			n.waited += c.waited.Load()
			n.latency.add(&c.latency)
			n.used.add(&c.used)
		}
	})
}

// calls are those of one hook that this generation was asked.
func (g *generation) calls(hook abi.Hook) (n uint64) {
	for i := range g.lanes[laneOf(hook)].all {
		n += g.lanes[laneOf(hook)].all[i].counts[hook].used.count()
	}
	return n
}
