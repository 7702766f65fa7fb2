package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/souk-market/souk/cmd/souk/author"
	"github.com/souk-market/souk/core/market"
	"github.com/souk-market/souk/core/plugin"
	"github.com/souk-market/souk/core/plugin/replay"
)

// replay makes recorded decisions once more with the module.
func (c *pluginTest) replay(ctx context.Context, std *streams, t *author.Target, max int64) (err error) {
	std.stale(t)
	s, as, err := c.stand(t, max)
	if err != nil {
		return err
	}
	host, err := plugin.Open(ctx, plugin.Options{
		Specs: []plugin.Spec{s}, Dir: t.Dir, MaxModule: int64(len(s.Wasm)), KV: replay.NoStore, Timeless: true,
	})
	if err != nil {
		return fmt.Errorf("%s: %s", t.File, strings.TrimPrefix(err.Error(), "plugin[0] "+s.Name+": "))
	}
	defer func() { err = errors.Join(err, host.Close(ctx)) }()
	var files []io.Reader
	for _, name := range c.Replay {
		f, err := os.Open(name)
		if err != nil {
			return fmt.Errorf("--replay: %w", err)
		}
		defer f.Close()
		files = append(files, f)
	}
	trial := replay.Trial{
		Host: host, Plugin: s.Name, As: as,
		Rules: func(entitleDefault string) plugin.Rules { return &market.Config{EntitleDefault: entitleDefault} },
	}
	r, err := trial.Run(ctx, replay.NewReader(io.MultiReader(files...)))
	if errors.Is(err, replay.ErrNoPlugin) && c.Name == "" {
		err = fmt.Errorf("%w; say with --name whose place the module takes", err)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", strings.Join(c.Replay, ", "), err)
	}
	sum := host.Plugins()[0].SHA256
	if c.JSON {
		err = std.printJSON(map[string]any{"module": t.File, "sha256": sum, "plugin": as, "replay": r})
	} else {
		err = c.printReplay(std, r, as, slices.Contains(r.Modules, sum))
	}
	if r.Differs() {
		return errors.Join(err, errReported)
	}
	return err
}

// stand is the module as it takes the place of a recorded plugin, and which.
func (c *pluginTest) stand(t *author.Target, max int64) (s plugin.Spec, as string, err error) {
	s = t.Spec
	if s.Wasm, err = author.ReadModule(t.File, max); err != nil {
		return s, "", err
	}
	as = cmp.Or(s.InsteadOf, s.Name)
	if c.Config == "" {
		as = cmp.Or(c.Name, s.Name)
	}
	// Secrets are for sign_in and exchange, which are never recorded: so they need not
	// be here.
	s.File, s.SHA256, s.Secrets, s.Cases = "", "", nil, ""
	s.InEarnest()
	if t.AllowAll {
		o, err := plugin.OutlineOf(s.Wasm)
		if err != nil {
			return s, "", fmt.Errorf("%s: %w", t.File, err)
		}
		if s.Allow = o.Groups; slices.Contains(s.Allow, "http") && len(s.Hosts) == 0 {
			s.Hosts = []string{"localhost"} // nobody is asked
		}
	}
	return s, as, nil
}

func (c *pluginTest) printReplay(std *streams, r *replay.Report, as string, same bool) error {
	fmt.Fprintf(std.out, "%d decisions of %d devices, %s to %s\n", r.Decisions, r.Devices,
		r.From.Local().Format(time.DateTime), r.To.Local().Format(time.DateTime))
	if same {
		fmt.Fprintf(std.out, "the module is the one that was recorded as %s\n", printable(as))
	}
	fmt.Fprintf(std.out, "%d change, for %d devices; %d stay\n", r.Changed, r.ChangedDevices, r.Same)
	for _, note := range []struct {
		n    int
		text string
	}{
		{r.Unknown, "can't be told: the module asks the host for what was not recorded"},
		{r.Unanswered, "are left out: the recorded plugin had not answered in time"},
		{r.Damaged, "lines are damaged, and left out"},
	} {
		if note.n > 0 {
			fmt.Fprintf(std.out, "%d %s\n", note.n, note.text)
		}
	}
	for _, kind := range slices.Sorted(maps.Keys(r.Failures)) {
		fmt.Fprintf(std.out, "the module failed %d times: %s\n", r.Failures[kind], kind)
	}
	fmt.Fprintf(std.out, "fuel: %s, before %s; %d at most in one question\n", perQuestion(r.Fuel.After, r.Questions), perQuestion(r.Fuel.Before, r.Questions), r.Fuel.Most)
	var rows []string
	for _, change := range r.Changes {
		rows = append(rows, cells(count(change.Count), change.Hook, change.From, change.To, change.Reason))
	}
	if len(rows) == 0 {
		return nil
	}
	fmt.Fprintln(std.out)
	if err := std.table("COUNT\tHOOK\tBEFORE\tAFTER\tREASON", rows); err != nil {
		return err
	}
	rows = nil
	list := r.List
	if c.Limit > 0 {
		list = list[:min(len(list), c.Limit)]
	}
	for i := range list {
		d := &list[i]
		rows = append(rows, cells(d.Key, digits(d.Item), d.Purpose, strconv.Itoa(d.Times), d.Before.String(), d.After.String(), whose(d.Before), whose(d.After)))
	}
	fmt.Fprintln(std.out)
	if err := std.table("DEVICE\tITEM\tPURPOSE\tTIMES\tBEFORE\tAFTER\tWHY BEFORE\tWHY AFTER", rows); err != nil {
		return err
	}
	if more := len(r.List) + r.More - len(rows); more > 0 {
		fmt.Fprintf(std.out, "and %d more: --limit 0 shows all that are kept, and --json too\n", more)
	}
	return nil
}

// whose says whose word an outcome is, and why.
func whose(o plugin.Outcome) string {
	if o.Plugin == "" {
		return "the market's own rule"
	}
	return o.Plugin + ": " + o.Reason
}

func perQuestion(fuel uint64, questions int) string {
	return strconv.FormatUint(fuel/uint64(max(questions, 1)), 10) + " a question"
}
