package main

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/souk-market/souk/core/catalog"
)

// appCommands change the catalogue of a running server.
type appCommands struct {
	List      appList      `cmd:"" help:"List all apps."`
	Show      appShow      `cmd:"" help:"Show an app and its versions."`
	Put       appPut       `cmd:"" help:"Add apps or replace them: from one app as JSON, or a catalogue file."`
	Remove    appRemove    `cmd:"" help:"Take an app out of the catalogue as if it had never been there. To stop it and say so, use takedown."`
	Rollout   appRollout   `cmd:"" help:"Open a version to a share of people, or halt it."`
	Withdraw  appWithdraw  `cmd:"" help:"Stop a version, for updates and for restores."`
	Takedown  appTakedown  `cmd:"" help:"Stop a whole app, until reinstate."`
	Reinstate appReinstate `cmd:"" help:"Undo a takedown."`
	Import    appImport    `cmd:"" help:"Take over a catalogue file. What was changed since the last import of the same entry stays."`
}

type appList struct{ adminFlags }

// Run lists the apps.
func (c *appList) Run(std *streams) error {
	apps, err := c.apps()
	if err != nil {
		return err
	}
	if c.JSON {
		return std.printJSON(map[string]any{"apps": apps})
	}
	var rows []string
	for _, a := range apps {
		newest := ""
		if len(a.Versions) > 0 {
			newest = a.Versions[0].Short
		}
		rows = append(rows, cells(digits(a.ID), a.Name, a.BundleID, newest, strconv.Itoa(len(a.Versions)), appState(a)))
	}
	return std.table("ITEM\tNAME\tBUNDLE\tNEWEST\tVERSIONS\tSTATE", rows)
}

// apps asks the server for its catalogue.
func (f *adminFlags) apps() ([]catalog.Item, error) {
	api, err := f.client()
	if err != nil {
		return nil, err
	}
	apps := []catalog.Item{}
	err = api.list("/api/apps", func(page json.RawMessage) (string, error) {
		var p struct {
			Apps []catalog.Item `json:"apps"`
			Next string         `json:"next"`
		}
		err := json.Unmarshal(page, &p)
		apps = append(apps, p.Apps...)
		return p.Next, err
	})
	return apps, err
}

func appState(a catalog.Item) string {
	if a.Removed {
		return "taken down: " + a.Reason
	}
	return "offered"
}

type appShow struct {
	adminFlags
	Item string `arg:"" help:"The appleItemId."`
}

// Run shows an app.
func (c *appShow) Run(std *streams) error {
	return c.ask(std, call{method: "GET", path: path("/api/apps/%s", c.Item)})
}

// ask sends a request whose answer is an app, and prints that.
func (f *adminFlags) ask(std *streams, q call) error {
	api, err := f.client()
	if err != nil {
		return err
	}
	var app catalog.Item
	if err := api.do(q, &app); err != nil {
		return err
	}
	if f.JSON {
		return std.printJSON(app)
	}
	return std.printApp(app)
}

func (s *streams) printApp(a catalog.Item) error {
	fmt.Fprintf(s.out, "%d  %s  %s  sign-in %s  %s\n", a.ID, printable(a.Name), a.BundleID, a.SignIn, printable(appState(a)))
	var rows []string
	for _, v := range a.Versions {
		released := ""
		if !v.Released.IsZero() {
			released = v.Released.Format(time.DateOnly)
		}
		rows = append(rows, cells(digits(v.ID), v.Short, v.Build, released, systems(v.MinOS), v.Channel, percent(v.Rollout.Share), versionState(v)))
	}
	if len(rows) == 0 {
		return nil
	}
	return s.table("VERSION\tSHORT\tBUILD\tRELEASED\tNEEDS\tCHANNEL\tROLLOUT\tSTATE", rows)
}

func systems(minOS map[string]string) string {
	var all []string
	for platform, os := range minOS {
		all = append(all, platform+" "+os)
	}
	slices.Sort(all)
	return strings.Join(all, ", ")
}

func versionState(v catalog.Version) string {
	switch {
	case v.Withdrawn:
		return "withdrawn"
	case v.Rollout.Halted:
		return "halted"
	}
	return "open"
}

type appPut struct {
	adminFlags
	File string `arg:"" help:"A .json file with one app, as \"souk app show --json\" prints it, or a catalogue file (.toml or .json) with a list of items."`
}

// Run puts each app of the file.
func (c *appPut) Run(std *streams) error {
	text, err := os.ReadFile(c.File)
	if err != nil {
		return err
	}
	items, err := readApps(c.File, text)
	if err != nil {
		return fmt.Errorf("%s: %s", c.File, strings.TrimPrefix(err.Error(), "catalog: "))
	}
	api, err := c.client()
	if err != nil {
		return err
	}
	stored := make([]catalog.Item, len(items))
	for i, it := range items {
		if err := api.do(call{method: "PUT", path: path("/api/apps/%s", digits(it.ID)), body: it}, &stored[i]); err != nil {
			return fmt.Errorf("%s: app %d: %w", c.File, it.ID, err)
		}
	}
	if c.JSON {
		return std.printJSON(map[string]any{"apps": stored})
	}
	for _, a := range stored {
		if err := std.printApp(a); err != nil {
			return err
		}
	}
	return nil
}

// readApps reads one app or a whole file. Whether the apps follow the rules is
// for the server to say: it knows which there are.
func readApps(name string, text []byte) ([]catalog.Item, error) {
	var list struct {
		Items *json.RawMessage `json:"items"`
	}
	if strings.EqualFold(filepath.Ext(name), ".json") && json.Unmarshal(text, &list) == nil && list.Items == nil {
		var it catalog.Item
		if err := json.Unmarshal(text, &it); err != nil {
			return nil, err
		}
		return []catalog.Item{it}, nil
	}
	return catalog.Parse(name, text, catalog.Rules{LoopbackHTTP: true})
}

type appRemove struct {
	adminFlags
	Item string `arg:"" help:"The appleItemId."`
}

// Run removes an app.
func (c *appRemove) Run(std *streams) error {
	api, err := c.client()
	if err != nil {
		return err
	}
	if err := api.do(call{method: "DELETE", path: path("/api/apps/%s", c.Item)}, nil); err != nil {
		return err
	}
	return std.said(c.JSON, "removed %s", c.Item)
}

type appRollout struct {
	adminFlags
	Item    string  `arg:"" help:"The appleItemId."`
	Version string  `arg:"" help:"The appleVersionId."`
	Share   *share  `placeholder:"SHARE" help:"How many people get it, like 10% or 2.5%. Who has it keeps it."`
	Salt    *string `placeholder:"TEXT" help:"What the people are drawn by. The salt of another version draws the same people again."`
	Halt    bool    `xor:"halt" help:"Make no new offers for now."`
	Resume  bool    `xor:"halt" help:"Make offers again."`
}

// Run changes a rollout; without a flag it shows the app.
func (c *appRollout) Run(std *streams) error {
	change := map[string]any{}
	if c.Share != nil {
		change["share"] = int(*c.Share)
	}
	if c.Salt != nil {
		change["salt"] = *c.Salt
	}
	if c.Halt || c.Resume {
		change["halted"] = c.Halt
	}
	if len(change) == 0 {
		return c.ask(std, call{method: "GET", path: path("/api/apps/%s", c.Item)})
	}
	return c.ask(std, call{method: "PUT", path: path("/api/apps/%s/versions/%s/rollout", c.Item, c.Version), body: change})
}

// share is a share of people in basis points, written in per cent.
type share int

// UnmarshalText reads "10%".
func (s *share) UnmarshalText(text []byte) error {
	number, ok := strings.CutSuffix(string(text), "%")
	percent, err := strconv.ParseFloat(number, 64)
	points := percent * 100
	if !ok || err != nil || !(points >= 0 && points <= catalog.FullShare) || math.Abs(points-math.Round(points)) > 1e-6 {
		return fmt.Errorf("%q is no share: write it like 10%% or 2.5%%, with at most two decimals", text)
	}
	*s = share(math.Round(points))
	return nil
}

func percent(points int) string {
	return strconv.FormatFloat(float64(points)/100, 'f', -1, 64) + "%"
}

type appWithdraw struct {
	adminFlags
	Item    string `arg:"" help:"The appleItemId."`
	Version string `arg:"" help:"The appleVersionId."`
	Undo    bool   `help:"Bring it back."`
}

// Run withdraws a version.
func (c *appWithdraw) Run(std *streams) error {
	return c.ask(std, call{
		method: "PUT", path: path("/api/apps/%s/versions/%s/withdrawn", c.Item, c.Version),
		body: map[string]bool{"withdrawn": !c.Undo},
	})
}

type appTakedown struct {
	adminFlags
	Item   string `arg:"" help:"The appleItemId."`
	Reason string `required:"" placeholder:"TEXT" help:"Why, for those who look at the catalogue later."`
}

// Run takes an app down.
func (c *appTakedown) Run(std *streams) error {
	return c.ask(std, call{method: "PUT", path: path("/api/apps/%s/takedown", c.Item), body: map[string]string{"reason": c.Reason}})
}

type appReinstate struct {
	adminFlags
	Item string `arg:"" help:"The appleItemId."`
}

// Run undoes a takedown.
func (c *appReinstate) Run(std *streams) error {
	return c.ask(std, call{method: "DELETE", path: path("/api/apps/%s/takedown", c.Item)})
}

type appImport struct {
	adminFlags
	File string `arg:"" help:"The catalogue file, .toml or .json."`
}

// Run imports a file.
func (c *appImport) Run(std *streams) error {
	text, err := os.ReadFile(c.File)
	if err != nil {
		return err
	}
	kind := strings.TrimPrefix(strings.ToLower(filepath.Ext(c.File)), ".")
	if kind != "toml" && kind != "json" {
		return fmt.Errorf("%s: is no catalogue file: its name has to end in .toml or .json", c.File)
	}
	api, err := c.client()
	if err != nil {
		return err
	}
	var done struct {
		Added   []string `json:"added"`
		Changed []string `json:"changed"`
		Kept    []string `json:"kept"`
		Missing []string `json:"missing"`
	}
	if err := api.do(call{method: "POST", path: "/api/import", raw: text, kind: "application/" + kind}, &done); err != nil {
		return fmt.Errorf("%s: %w", c.File, err)
	}
	if c.JSON {
		return std.printJSON(done)
	}
	fmt.Fprintf(std.out, "added %d, changed %d, kept %d\n", len(done.Added), len(done.Changed), len(done.Kept))
	if len(done.Missing) > 0 {
		fmt.Fprintf(std.out, "not in the file any more, and left as they are: %s\n", strings.Join(done.Missing, " "))
	}
	return nil
}

func digits(id uint64) string { return strconv.FormatUint(id, 10) }
