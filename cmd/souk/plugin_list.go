package main

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/souk-market/souk/core/plugin"
)

type pluginList struct{ adminFlags }

// Run lists the plugins.
func (c *pluginList) Run(std *streams) error {
	all, err := c.plugins()
	if err != nil {
		return err
	}
	if c.JSON {
		return std.printJSON(map[string]any{"plugins": all})
	}
	var rows []string
	for _, p := range all {
		var hooks, open []string
		var calls, failures uint64
		for _, h := range p.Hooks {
			hook := h.Hook
			if p.Shadow != nil {
				hook += " (shadow)"
			}
			hooks = append(hooks, hook)
			calls += h.Calls
			failures += failed(h)
			if h.Breaker.State != "closed" {
				open = append(open, h.Hook+" "+h.Breaker.State)
			}
		}
		rows = append(rows, cells(p.Name, strings.Join(hooks, ", "), strconv.Itoa(p.Generation), short(p.SHA256),
			p.Since.Local().Format(time.DateTime), count(calls), count(failures), cmp.Or(strings.Join(open, ", "), "closed"), moduleFrom(p.Uploaded)))
	}
	return std.table("PLUGIN\tHOOKS\tGENERATION\tSHA256\tSINCE\tCALLS\tFAILURES\tBREAKER\tMODULE", rows)
}

// plugins asks the server for its plugins.
func (f *adminFlags) plugins() ([]plugin.Info, error) {
	api, err := f.client()
	if err != nil {
		return nil, err
	}
	var list struct {
		Plugins []plugin.Info `json:"plugins"`
	}
	err = api.do(call{method: "GET", path: "/api/plugins"}, &list)
	return list.Plugins, err
}

// short is enough of a SHA-256 to tell two modules apart.
func short(sha256 string) string { return sha256[:min(len(sha256), 12)] }

func moduleFrom(uploaded bool) string {
	if uploaded {
		return "uploaded"
	}
	return "configured"
}

func failed(h plugin.HookInfo) (n uint64) {
	for _, k := range h.Failures {
		n += k
	}
	return n
}

func count(n uint64) string { return strconv.FormatUint(n, 10) }

type pluginShow struct {
	adminFlags
	Name string `arg:"" help:"The plugin's name."`
}

// Run shows a plugin.
func (c *pluginShow) Run(std *streams) error {
	all, err := c.plugins()
	if err != nil {
		return err
	}
	at := slices.IndexFunc(all, func(p plugin.Info) bool { return p.Name == c.Name })
	if at < 0 {
		return fmt.Errorf("the server has no plugin %q: \"souk plugin list\" shows those it has", c.Name)
	}
	if c.JSON {
		return std.printJSON(all[at])
	}
	return std.printPlugin(all[at])
}

func (s *streams) printPlugin(p plugin.Info) error {
	fmt.Fprintf(s.out, "%s  generation %d  %s\n", printable(p.Name), p.Generation, moduleFrom(p.Uploaded))
	if err := s.table("", pluginFacts(p)); err != nil {
		return err
	}
	fmt.Fprintln(s.out)
	var rows []string
	for _, h := range p.Hooks {
		breaker := h.Breaker.State
		if h.Breaker.Until != nil {
			breaker += " until " + h.Breaker.Until.Local().Format(time.TimeOnly)
		}
		rows = append(rows, cells(h.Hook, count(h.Calls), count(h.Abstained), kinds(h.Failures),
			quantiles(h.Latency, func(ns uint64) string { return rounded(ns) }), quantiles(h.FuelUsed, count),
			fmt.Sprintf("%d, %s", h.Waits, rounded(h.WaitedNS)), breaker, count(h.Breaker.Opened)))
	}
	if err := s.table("HOOK\tCALLS\tABSTAINED\tFAILURES\tLATENCY P50 P99 MAX\tFUEL P50 P99 MAX\tWAITS\tBREAKER\tOPENED", rows); err != nil {
		return err
	}
	if p.Shadow != nil {
		if err := s.printShadow(p.Shadow); err != nil {
			return err
		}
	}
	if len(p.Metrics) == 0 {
		return nil
	}
	fmt.Fprintln(s.out)
	rows = nil
	for _, name := range slices.Sorted(maps.Keys(p.Metrics)) {
		rows = append(rows, cells(name, count(p.Metrics[name])))
	}
	return s.table("ITS OWN COUNTERS\t", rows)
}

// pluginFacts are what a plugin has one of, a row each.
func pluginFacts(p plugin.Info) []string {
	rows := []string{
		cells("sha256", p.SHA256),
		cells("size", bytesOf(int64(p.Size))),
		cells("since", p.Since.Local().Format(time.RFC3339)),
		cells("signed by", p.SignedBy),
		cells("returns to", p.Previous),
		cells("swaps", fmt.Sprintf("%d; %d returns by hand, %d because the new module failed", p.Swaps, p.Returns, p.SentBack)),
		cells("on error", p.OnError),
		cells("may use", strings.Join(p.Allow, ", ")),
		cells("instances", fmt.Sprintf("%d of %d, %s; started %d in the middle of a question", p.Instances, p.Slots, bytesOf(p.Memory), p.Restarts)),
		cells("draining", fmt.Sprintf("%d earlier generations", p.Draining)),
		cells("last failure", p.LastFailure),
	}
	if p.Uploaded {
		rows = append(rows, cells("note", "uploaded: a restart and a reload load the file that the configuration names"))
	}
	if r := p.Returned; r != nil {
		rows = append(rows, cells("sent back", fmt.Sprintf("%s at %s: %s", short(r.SHA256), r.At.Local().Format(time.RFC3339), r.Reason)))
	}
	return rows
}

func kinds(failures map[string]uint64) string {
	if len(failures) == 0 {
		return "0"
	}
	var all []string
	for _, kind := range slices.Sorted(maps.Keys(failures)) {
		all = append(all, fmt.Sprintf("%s %d", kind, failures[kind]))
	}
	return strings.Join(all, ", ")
}

func quantiles(h plugin.Histogram, write func(uint64) string) string {
	if h.Count == 0 {
		return ""
	}
	return write(h.P50) + " " + write(h.P99) + " " + write(h.Max)
}

// rounded is a time with as many digits as anybody reads.
func rounded(ns uint64) string {
	d := time.Duration(min(ns, 1<<62))
	for unit := time.Hour; unit > 1; unit /= 10 {
		if d >= unit {
			return d.Round(max(unit/100, 1)).String()
		}
	}
	return d.String()
}

func bytesOf(n int64) string {
	switch {
	case n >= 1<<20:
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	case n >= 1<<10:
		return fmt.Sprintf("%.1f KiB", float64(n)/(1<<10))
	}
	return fmt.Sprintf("%d bytes", n)
}
