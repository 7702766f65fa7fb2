package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/souk-market/souk/cmd/souk/author"
	"github.com/souk-market/souk/cmd/souk/plan"
	"github.com/souk-market/souk/cmd/souk/sim/population"
	"github.com/souk-market/souk/core"
	"github.com/souk-market/souk/core/catalog"
	"github.com/souk-market/souk/core/plugin"
	"github.com/souk-market/souk/plugins"
)

// planCommands foretell what was not done yet.
type planCommands struct {
	Run      planCommand  `cmd:"" default:"withargs" help:"What a changed rollout or plugin does to a population before it goes live."`
	Capacity planCapacity `cmd:"" help:"How many cores a number of devices needs, by what \"souk bench\" has measured."`
}

// Help says more than one line does.
func (c *planCommands) Help() string {
	return `"souk plan run --help" has the flags of a plan; the word run may be left out.

Examples: souk plan --rollout 10..50
          souk plan capacity --devices 1000000 --bench bench.json`
}

// planCommand foretells a change of policy.
type planCommand struct {
	Rollout   []string      `placeholder:"ITEM/VERSION=10..50" help:"Open a version to another share, in per cent: from what it is to what it would be. With --admin only the latter: ITEM/VERSION=50. Several are possible. Without ITEM/VERSION it is the release that \"souk sim --scenario release-day\" plays."`
	Plugin    []string      `placeholder:"NAME=FILE" help:"Another build in the place of a plugin."`
	Config    string        `type:"existingfile" placeholder:"FILE" help:"The config.toml whose plugins, with their configurations and limits, are asked. Without it and without --admin: the plugin rollout."`
	NewConfig string        `type:"existingfile" placeholder:"FILE" help:"The config.toml as it would be: its plugins and its entitle_default instead."`
	Admin     string        `placeholder:"URL" help:"Take catalogue, rollouts and modules of plugins from this running server, and not the simulator's."`
	TokenFile string        `placeholder:"FILE" help:"Of --admin: the file with the admin token. Or put the token itself into SOUK_ADMIN_TOKEN."`
	Recorded  []string      `type:"existingfile" placeholder:"FILE" help:"Take decisions that were recorded by [plugins] record, and no population: which of them would be others with --plugin. Several files are possible."`
	Devices   uint64        `default:"100000" placeholder:"N" help:"Devices of the population. Default: 100000."`
	Sample    uint64        `default:"1000000" placeholder:"N" help:"Look at about so many of the devices, drawn by a hash, and scale what they come to; the plan says how far that may be from all of them. 0 looks at all, in some 25 s and 250 MB a million. Default: 1000000."`
	Seed      uint64        `default:"1" placeholder:"S" help:"The same seed is the same population. Default: 1."`
	Grant     []string      `placeholder:"TEXT" help:"A grant that everybody has, for plugins that ask for it. Several are possible."`
	Base      []string      `placeholder:"ITEM=70%" help:"Of --admin: the share of devices that have an app. Default: 70% have an app whose rollout changes; of the others, the first ones of the catalogue are the most liked."`
	After     time.Duration `placeholder:"D" help:"How long the market has been as it is when it changes. Default: a day; with --admin, since the version came out and a week at most."`
	Limit     int           `default:"10" placeholder:"N" help:"How many devices to show as examples. Default: 10."`
	JSON      bool          `name:"json" help:"Print JSON, for machines."`
}

// Help says more than one line does.
func (c *planCommand) Help() string {
	return `Plays a day of the population twice, as the market is and as it would be, and says how
many devices are offered something in each hour, how many signatures that is, and who
gets another answer and why. Devices are asked about with the server's own rules and the
real modules, on copies. Nothing is written anywhere.

Example: souk plan --devices 100000 --rollout 10..50
         souk plan --admin http://127.0.0.1:8081 --token-file data/admin.token --config config.toml --rollout 1000002/2000022=50`
}

// maxPlanned is what a simulation takes, too.
const maxPlanned = 100_000_000

// minSample is one that says something of a market.
const minSample = 1000

// Validate refuses what doesn't go together.
func (c *planCommand) Validate() error {
	switch {
	case len(c.Recorded) > 0 && len(c.Rollout) > 0:
		return errors.New("--recorded and --rollout: a recording has the shares of its time; let a population be played with --rollout")
	case len(c.Recorded) > 0 && (c.Admin != "" || c.NewConfig != "" || len(c.Grant) > 0 || len(c.Base) > 0 || c.After != 0):
		return errors.New("--recorded: takes --plugin, --config, --limit and --json; the devices and the catalogue are in the recording")
	case len(c.Recorded) > 0 && len(c.Plugin) != 1:
		return errors.New("--recorded: name one other build with --plugin NAME=FILE")
	case len(c.Recorded) > 0 && c.Config == "":
		return errors.New("--recorded: needs --config FILE, the config.toml with the plugin's limits and configuration")
	case len(c.Rollout) == 0 && len(c.Plugin) == 0 && c.NewConfig == "":
		return errors.New("nothing changes: say what with --rollout, --plugin or --new-config")
	case c.NewConfig != "" && len(c.Plugin) > 0:
		return errors.New("--new-config and --plugin: name the other build in the new configuration")
	case c.NewConfig != "" && c.Config == "":
		return errors.New("--new-config: needs --config FILE, to compare it with")
	case c.Admin == "" && (c.TokenFile != "" || len(c.Base) > 0):
		return errors.New("--token-file and --base are of --admin")
	case c.Devices < 1 || c.Devices > maxPlanned:
		return fmt.Errorf("--devices has to be 1 to %d", maxPlanned)
	case c.Sample != 0 && c.Sample < minSample:
		return fmt.Errorf("--sample has to be %d or more, or 0 to look at all devices", minSample)
	case c.After < 0 || c.After > 60*24*time.Hour:
		return errors.New("--after has to be up to 1440h")
	case c.Limit < 0:
		return errors.New("--limit has to be 0 or more")
	}
	return nil
}

// Run foretells.
func (c *planCommand) Run(std *streams) (err error) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if len(c.Recorded) > 0 {
		return c.recorded(ctx, std)
	}
	rollouts, err := c.rollouts()
	if err != nil {
		return err
	}
	f := &plan.Forecast{Rollouts: rollouts, Grants: c.Grant, Sample: c.Sample}
	notes, err := c.scene(f)
	if err != nil {
		return err
	}
	before, after, err := c.policies()
	if err != nil {
		return err
	}
	is, err := before.Open(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, is.Close()) }()
	would := is
	if after != nil {
		if would, err = after.Open(ctx); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, would.Close()) }()
	}
	f.Before, f.After = is.Market, would.Market
	bar := std.steps("plan")
	f.Progress = bar.at
	r, err := f.Run(ctx)
	if err = errors.Join(err, bar.Close()); err != nil {
		if ctx.Err() != nil {
			return errors.New("interrupted")
		}
		return err
	}
	r.Notes = append(notes, unique(is.Notes, would.Notes)...)
	if (is.AsksEntitle() || would.AsksEntitle()) && len(c.Grant) == 0 {
		r.Notes = append(r.Notes, "a plugin decides who may have an app, and nobody here has any grants: --grant gives them to everybody")
	}
	if c.JSON {
		return std.printJSON(r)
	}
	return std.printPlan(r, c.Limit)
}

func unique(lists ...[]string) (all []string) {
	seen := map[string]bool{}
	for _, list := range lists {
		for _, s := range list {
			if !seen[s] {
				seen[s] = true
				all = append(all, s)
			}
		}
	}
	return all
}

// rollouts reads --rollout.
func (c *planCommand) rollouts() (all []plan.Rollout, err error) {
	seen := map[[2]uint64]bool{}
	for _, text := range c.Rollout {
		name, shares, named := strings.Cut(text, "=")
		var r plan.Rollout
		switch {
		case named:
			if r.Item, r.Version, err = parseVersion(name); err != nil {
				return nil, fmt.Errorf("--rollout: %q: %w", text, err)
			}
		case c.Admin != "":
			return nil, fmt.Errorf("--rollout: %q names no version: write it like 1000002/2000022=50", text)
		default:
			shares = text
			config := c.population()
			release := population.ReleaseDay(config, population.Catalogue(config))
			r.Item, r.Version = release.Item, release.Version.ID
		}
		from, to, both := strings.Cut(shares, "..")
		switch {
		case c.Admin != "" && both:
			return nil, fmt.Errorf("--rollout: %q: the server knows what is live: write only what would be, like %s=50", text, name)
		case c.Admin == "" && !both:
			return nil, fmt.Errorf("--rollout: %q: nothing is live here to compare with: write both shares, like 10..50", text)
		case !both:
			to = from
		}
		if r.Before, err = parsePercent(from); err == nil {
			r.After, err = parsePercent(to)
		}
		if err != nil {
			return nil, fmt.Errorf("--rollout: %q: %w", text, err)
		}
		if id := [2]uint64{r.Item, r.Version}; seen[id] {
			return nil, fmt.Errorf("--rollout: %q: the version stands there twice", text)
		} else {
			seen[id] = true
		}
		all = append(all, r)
	}
	return all, nil
}

func parseVersion(text string) (item, version uint64, err error) {
	i, v, ok := strings.Cut(text, "/")
	if item, err = strconv.ParseUint(i, 10, 64); err == nil && ok {
		version, err = strconv.ParseUint(v, 10, 64)
	}
	if err != nil || !ok || item == 0 || version == 0 {
		return 0, 0, errors.New("name appleItemId and appleVersionId, like 1000002/2000022")
	}
	return item, version, nil
}

// parsePercent reads "50" and "2.5%" as basis points.
func parsePercent(text string) (int, error) {
	var s share
	err := s.UnmarshalText([]byte(strings.TrimSuffix(text, "%") + "%"))
	return int(s), err
}

func (c *planCommand) population() population.Config {
	config := population.Default()
	config.Seed, config.Devices = c.Seed, c.Devices
	return config
}

// scene sets the forecast in the simulator's market, or in a server's.
func (c *planCommand) scene(f *plan.Forecast) (notes []string, err error) {
	if c.Admin == "" {
		return nil, f.Own(c.population(), cmp.Or(c.After, 24*time.Hour))
	}
	bases := map[uint64]float64{}
	for _, r := range f.Rollouts {
		bases[r.Item] = 0.7
	}
	given := map[uint64]bool{}
	for _, text := range c.Base {
		name, value, _ := strings.Cut(text, "=")
		item, err := strconv.ParseUint(name, 10, 64)
		points, bad := parsePercent(value)
		if err != nil || bad != nil || points == 0 {
			return nil, fmt.Errorf("--base: %q: write an appleItemId and the share of devices that have it, like 1000002=70%%", text)
		}
		bases[item], given[item] = float64(points)/catalog.FullShare, true
	}
	for _, r := range f.Rollouts {
		if !given[r.Item] {
			notes = append(notes, fmt.Sprintf("that 70%% of the devices have app %d is taken for granted: --base says otherwise", r.Item))
		}
	}
	if c.Config == "" {
		notes = append(notes, "market.entitle_default of the server is taken to be \"auto\": --config says otherwise")
	}
	items, err := c.server().apps()
	if err != nil {
		return nil, err
	}
	return notes, f.Live(c.population(), items, bases, time.Now().UTC(), c.After)
}

func (c *planCommand) server() *adminFlags {
	return &adminFlags{Admin: c.Admin, TokenFile: c.TokenFile}
}

// policies are what is asked, and what would be; nil = the same.
func (c *planCommand) policies() (before, after *plan.Policies, err error) {
	if before, err = c.live(); err != nil {
		return nil, nil, err
	}
	if c.NewConfig != "" {
		after, err = policiesOf(c.NewConfig)
		return before, after, err
	}
	if len(c.Plugin) == 0 {
		return before, nil, nil
	}
	changed := *before
	changed.Specs = append([]plugin.Spec{}, before.Specs...)
	for _, text := range c.Plugin {
		name, wasm, err := readBuild(text, changed.Max)
		if err == nil {
			err = changed.Replace(name, wasm)
		}
		if err != nil {
			return nil, nil, fmt.Errorf("--plugin: %w", err)
		}
	}
	return before, &changed, nil
}

// readBuild reads NAME=FILE.
func readBuild(text string, max int64) (name string, wasm []byte, err error) {
	name, file, ok := strings.Cut(text, "=")
	if !ok || name == "" || file == "" {
		return "", nil, fmt.Errorf("%q: write the plugin's name and the file, like rollout=rollout.wasm", text)
	}
	wasm, err = author.ReadModule(file, max)
	return name, wasm, err
}

// policiesOf are those of a configuration.
func policiesOf(file string) (*plan.Policies, error) {
	config, err := load(file)
	if err != nil {
		return nil, err
	}
	if err := config.Validate(); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	p := &plan.Policies{Specs: config.Plugin, Dir: config.Dir, Max: int64(config.Plugins.MaxModule), Market: config.Market}
	return p, readModules(p, file)
}

// readModules reads the modules that are files, so that what they answer is known.
func readModules(p *plan.Policies, file string) (err error) {
	for i := range p.Specs {
		s := &p.Specs[i]
		if s.Wasm != nil || s.Shadow {
			continue
		}
		path := s.File
		if !filepath.IsAbs(path) {
			path = filepath.Join(p.Dir, path)
		}
		if s.Wasm, err = author.ReadModule(path, p.Max); err != nil {
			return fmt.Errorf("%s: plugin %s: %w", file, s.Name, err)
		}
	}
	return nil
}

// live is what is asked now: by the server, by the configuration, or by the simulator's
// server.
func (c *planCommand) live() (*plan.Policies, error) {
	if c.Config == "" && c.Admin == "" {
		config := core.DefaultConfig()
		s := plugin.DefaultSpec()
		s.Name, s.Wasm = "rollout", plugins.Rollout
		return &plan.Policies{Specs: []plugin.Spec{s}, Max: int64(config.Plugins.MaxModule), Market: config.Market}, nil
	}
	var p *plan.Policies
	if c.Config != "" {
		var err error
		if p, err = policiesOf(c.Config); err != nil || c.Admin == "" {
			return p, err
		}
	}
	return c.running(p)
}

// running takes the modules from the running server, and what goes with them from the
// configuration, which the server doesn't give out.
func (c *planCommand) running(configured *plan.Policies) (*plan.Policies, error) {
	config := core.DefaultConfig()
	p := &plan.Policies{Max: int64(config.Plugins.MaxModule), Market: config.Market}
	if configured != nil {
		p = &plan.Policies{Dir: configured.Dir, Max: configured.Max, Market: configured.Market}
	}
	server := c.server()
	all, err := server.plugins()
	if err != nil {
		return nil, err
	}
	for _, info := range all {
		if info.Shadow != nil || !asksAboutApps(info) {
			continue
		}
		if configured == nil {
			return nil, fmt.Errorf("the server asks plugin %s, and doesn't give out its configuration: name the config.toml with --config", info.Name)
		}
		s, ok := specNamed(configured.Specs, info.Name)
		if !ok {
			return nil, fmt.Errorf("--config: %s has no plugin %s, which the server asks", c.Config, info.Name)
		}
		if s.Wasm, err = server.module(info.Name, p.Max); err != nil {
			return nil, err
		}
		s.File, s.SHA256 = "", ""
		p.Specs = append(p.Specs, s)
	}
	return p, nil
}

func asksAboutApps(info plugin.Info) bool {
	for _, h := range info.Hooks {
		if h.Hook == "entitle" || h.Hook == "select_version" {
			return true
		}
	}
	return false
}

func specNamed(specs []plugin.Spec, name string) (plugin.Spec, bool) {
	for _, s := range specs {
		if s.Name == name && !s.Shadow {
			return s, true
		}
	}
	return plugin.Spec{}, false
}

// module asks the server for the module that runs.
func (f *adminFlags) module(name string, max int64) ([]byte, error) {
	api, err := f.client()
	if err != nil {
		return nil, err
	}
	res, err := api.stream(context.Background(), call{method: "GET", path: path("/api/plugins/%s/module", name)})
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	wasm, err := io.ReadAll(io.LimitReader(res.Body, max+1))
	if err != nil {
		return nil, fmt.Errorf("read the module of plugin %s: %w", name, err)
	}
	return wasm, nil // a longer one is refused where it is loaded
}

// recorded makes recorded decisions once more. What changes is no failure here: it is what
// was asked.
func (c *planCommand) recorded(ctx context.Context, std *streams) error {
	name, file, ok := strings.Cut(c.Plugin[0], "=")
	if !ok || name == "" || file == "" {
		return fmt.Errorf("--plugin: %q: write the plugin's name and the file, like rollout=rollout.wasm", c.Plugin[0])
	}
	test := pluginTest{Path: file, asPlugin: asPlugin{Config: c.Config, Name: name}, Replay: c.Recorded, Limit: c.Limit, JSON: c.JSON}
	t, max, err := test.target(file)
	if err != nil {
		return err
	}
	if err := test.replay(ctx, std, t, max); !errors.Is(err, errReported) {
		return err
	}
	return nil
}
