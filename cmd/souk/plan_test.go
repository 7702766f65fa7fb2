package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/souk-market/souk/cmd/souk/plan"
	"github.com/souk-market/souk/core"
	"github.com/souk-market/souk/core/coretest"
	"github.com/souk-market/souk/core/plugin"
	"github.com/souk-market/souk/plugins"
	"github.com/souk-market/souk/sdk/abi"
)

// planned runs a plan and reads its report.
func planned(t *testing.T, args ...string) *plan.Report {
	t.Helper()
	code, out, errs := souk(t, append([]string{"plan", "--json"}, args...)...)
	if code != 0 {
		t.Fatalf("souk plan %s: exit code %d\n%s", strings.Join(args, " "), code, errs)
	}
	var r plan.Report
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		t.Fatal(err)
	}
	return &r
}

// written puts a configuration with modules beside it into a directory.
func written(t *testing.T, text string) string {
	t.Helper()
	dir := t.TempDir()
	for name, module := range map[string][]byte{"rollout.wasm": plugins.Rollout, "allowlist.wasm": plugins.Allowlist} {
		if err := os.WriteFile(filepath.Join(dir, name), module, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	file := filepath.Join(dir, "config.toml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

const rolloutConfig = "[[plugin]]\nname = \"rollout\"\nfile = \"rollout.wasm\"\nallow = [\"log\"]\n"

// A rollout that grows from a tenth to a half is offered to four times as many more, and
// to nobody else.
func TestPlanOfARollout(t *testing.T) {
	args := []string{"--devices", "8000", "--seed", "3", "--rollout", "10..50"}
	r := planned(t, args...)
	o := r.Rollouts[0]
	share := func(n uint64) float64 { return float64(n) / float64(o.Asked) }
	if o.Before != 1000 || o.After != 5000 || share(o.OfferedUntilChange) < 0.07 || share(o.OfferedUntilChange) > 0.1 || share(o.Offered) < 0.41 || share(o.Offered) > 0.49 {
		t.Errorf("the rollout is %+v", o)
	}
	if len(r.Changes) == 0 || r.Changes[0].From != plugin.ResultHold || r.Changes[0].To != plugin.ResultOffer || r.Changes[0].Count > r.Changed {
		t.Errorf("%d devices change: %+v", r.Changed, r.Changes)
	}
	for _, e := range r.Examples {
		if e.Bucket == nil || *e.Bucket != abi.Bucket(e.Account, o.Salt) || *e.Bucket < 1000 || *e.Bucket >= 5000 {
			t.Errorf("an example is %+v", e)
		}
	}
	if again := planned(t, args...); fmt.Sprint(again.Hours, again.Changes) != fmt.Sprint(r.Hours, r.Changes) {
		t.Error("the same seed has another forecast")
	}
	named := planned(t, "--devices", "8000", "--seed", "3", "--rollout", fmt.Sprintf("%d/%d=10..50%%", o.Item, o.Version))
	if named.Rollouts[0] != o {
		t.Errorf("named, the rollout is %+v, want %+v", named.Rollouts[0], o)
	}
	out := exits(t, 0, append([]string{"plan", "--limit", "2"}, args...)...)
	for _, words := range []string{"10% -> 50%", "as it would be", fmt.Sprintf("%d devices get another answer", r.Changed), "rollout: bucket # is below # (code 2)", r.Examples[1].Account} {
		if !strings.Contains(out, words) {
			t.Errorf("the plan has no %q:\n%s", words, out)
		}
	}
	if len(r.Examples) > 2 && strings.Contains(out, r.Examples[2].Account) {
		t.Errorf("the limit of 2 is not kept:\n%s", out)
	}
}

// What a sample comes to says of all devices what it claims to.
func TestPlanOfASample(t *testing.T) {
	r := planned(t, "--devices", "4000", "--sample", "1000", "--rollout", "10..50")
	whole := planned(t, "--devices", "4000", "--rollout", "10..50")
	if r.Share != 0.25 || whole.Share != 1 || whole.Within != 0 || r.Within == 0 || r.Devices != 4000 {
		t.Fatalf("a share of %g ±%d, and of %g ±%d", r.Share, r.Within, whole.Share, whole.Within)
	}
	if d := math.Abs(float64(r.Changed) - float64(whole.Changed)); d > float64(r.Within) {
		t.Errorf("%d ±%d devices get another answer, and of all %d", r.Changed, r.Within, whole.Changed)
	}
	out := exits(t, 0, "plan", "--devices", "4000", "--sample", "1000", "--rollout", "10..50")
	for _, words := range []string{"a share of 0.25 of the devices", fmt.Sprintf("%d ±%d devices get another answer", r.Changed, r.Within), "each of them ±"} {
		if !strings.Contains(out, words) {
			t.Errorf("the plan has no %q:\n%s", words, out)
		}
	}
	if out := exits(t, 0, "plan", "--devices", "4000", "--rollout", "10..50"); strings.Contains(out, "±") {
		t.Errorf("a plan of all devices is of a sample:\n%s", out)
	}
}

// A version that is out already, of an app that few have.
func TestPlanOfAnotherApp(t *testing.T) {
	r := planned(t, "--devices", "20000", "--rollout", "6500000002/900001008=0..100")
	if o := r.Rollouts[0]; o.OfferedUntilChange != 0 || o.OnTheDay != 0 || o.WouldBe == 0 || o.Offered != o.WouldBe || r.Changed < o.WouldBe {
		t.Errorf("from nobody to everybody: %+v, %d devices change", o, r.Changed)
	}
}

// Another build of a plugin, with the configuration of the server.
func TestPlanOfAPlugin(t *testing.T) {
	file := written(t, rolloutConfig)
	guest, err := os.ReadFile("../../sdk/examples/wat/guest.wasm")
	if err != nil {
		t.Fatal(err)
	}
	// The policy by hand, open to everybody from a share of 0 on, and not of 10 000.
	everybody := bytes.Replace(guest, []byte{0x41, 0x90, 0xce, 0x00}, []byte{0x41, 0x80, 0x80, 0x00}, 1)
	if bytes.Equal(everybody, guest) {
		t.Fatal("the guest has no share of 10 000")
	}
	other := filepath.Join(t.TempDir(), "everybody.wasm")
	if err := os.WriteFile(other, everybody, 0o600); err != nil {
		t.Fatal(err)
	}
	args := []string{"--devices", "3000", "--config", file, "--rollout", "10..10", "--plugin"}
	r := planned(t, append(args, "rollout="+other)...)
	if r.Changed == 0 || r.After.Offers <= r.Before.Offers || r.Changes[0].From != plugin.ResultHold || r.Changes[0].To != plugin.ResultOffer || r.Changes[0].WhyTo != "rollout: open (code 0)" {
		t.Errorf("%d devices change, %d offers become %d: %+v", r.Changed, r.Before.Offers, r.After.Offers, r.Changes)
	}
	// Two builds that say the same, in other words.
	if r := planned(t, append(args, "rollout=../../sdk/examples/wat/guest.wasm")...); r.Changed != 0 || r.Before != r.After {
		t.Errorf("the same policy changes %d answers: %+v", r.Changed, r.Changes)
	}
}

// A policy about territories reaches those who live there.
func TestPlanOfTerritories(t *testing.T) {
	is := written(t, rolloutConfig)
	would := written(t, rolloutConfig+`[[plugin]]
name = "region"
file = "builtin:region"
[plugin.config]
unknown_territory = "allow"
passes = "allow"
rules = [{ deny_territories = ["DEU"] }]
`)
	r := planned(t, "--devices", "4000", "--config", is, "--new-config", would, "--grant", "sub:any")
	if r.Changed == 0 || len(r.Examples) == 0 {
		t.Fatalf("%d devices change", r.Changed)
	}
	for _, e := range r.Examples {
		if e.Territory != "DEU" || e.After != plugin.ResultDeny || !strings.HasPrefix(e.WhyAfter, "region: ") {
			t.Errorf("an example is %+v", e)
		}
	}
}

// Another configuration: who has no grant is denied, and the plan says by whom.
func TestPlanOfAConfiguration(t *testing.T) {
	is := written(t, rolloutConfig)
	would := written(t, rolloutConfig+"[[plugin]]\nname = \"allowlist\"\nfile = \"allowlist.wasm\"\n[plugin.config]\ndefault = \"deny\"\n")
	args := []string{"--devices", "2000", "--config", is, "--new-config", would}
	r := planned(t, args...)
	if r.Changed == 0 || r.After.Offers != 0 || len(r.Changes) == 0 {
		t.Fatalf("%d devices change, %d offers: %+v", r.Changed, r.After.Offers, r.Changes)
	}
	for _, c := range r.Changes {
		if c.To != plugin.ResultDeny || !strings.HasPrefix(c.WhyTo, "allowlist: ") || !strings.Contains(c.WhyTo, "(code ") {
			t.Errorf("a change is %+v, want a denial by allowlist", c)
		}
	}
	if !slices.ContainsFunc(r.Notes, func(s string) bool { return strings.Contains(s, "--grant") }) {
		t.Errorf("the notes %q don't say that nobody has grants", r.Notes)
	}
}

// A running server gives its catalogue, rollouts and modules, and is left as it was.
func TestPlanOfARunningServer(t *testing.T) {
	s := coretest.Start(t, func(c *core.Config) { c.Store.Durability = core.DurabilityProcess })
	t.Setenv("SOUK_ADMIN_TOKEN", s.AdminToken)
	config := written(t, rolloutConfig+"[[plugin]]\nname = \"allowlist\"\nfile = \"allowlist.wasm\"\n[plugin.config]\ndefault = \"allow\"\n")
	s.Must(t, http.MethodPut, "/api/apps/"+coretest.NotesItem+"/versions/"+coretest.NotesNew+"/rollout", map[string]any{"share": 1000, "salt": "autumn"})
	state := func() string {
		return string(s.Must(t, http.MethodGet, "/api/apps", nil)) + string(s.Must(t, http.MethodGet, "/api/audit", nil)) + string(s.Must(t, http.MethodGet, "/api/plugins", nil))
	}
	before := state()
	version := coretest.NotesItem + "/" + coretest.NotesNew
	r := planned(t, "--admin", s.AdminURL(), "--config", config, "--devices", "3000", "--rollout", version+"=50", "--base", coretest.NotesItem+"=90%", "--after", "24h")
	o := r.Rollouts[0]
	if o.Salt != "autumn" || o.Before != 1000 || o.After != 5000 || o.WouldBe < 3*o.OfferedUntilChange || o.OnTheDay > o.OfferedUntilChange {
		t.Errorf("the rollout is %+v", o)
	}
	// 90 % have the app, 97 % of them a system for it, and nearly all ask in two days.
	if o.Asked < 3000*80/100 || o.Asked > 3000*88/100 {
		t.Errorf("%d devices with the app ask", o.Asked)
	}
	for _, e := range r.Examples {
		if e.Bucket == nil || *e.Bucket != abi.Bucket(e.Account, "autumn") || *e.Bucket < 1000 || *e.Bucket >= 5000 || e.After != "offer "+coretest.NotesNew {
			t.Errorf("an example is %+v", e)
		}
	}
	if after := state(); after != before {
		t.Errorf("the server was\n%s\nand is\n%s", before, after)
	}
	if out := exits(t, exitFailed, "plan", "--admin", s.AdminURL(), "--rollout", version+"=50"); !strings.Contains(out, "the server asks plugin") || !strings.Contains(out, "--config") {
		t.Errorf("without the plugins' configuration: %s", out)
	}
	only := written(t, rolloutConfig)
	if out := exits(t, exitFailed, "plan", "--admin", s.AdminURL(), "--config", only, "--rollout", version+"=50"); !strings.Contains(out, "has no plugin allowlist, which the server asks") {
		t.Errorf("with a configuration that lacks a plugin: %s", out)
	}
	for args, want := range map[string]string{
		"--rollout " + version + "=10..50":              "the server knows what is live",
		"--rollout 77/1=50":                             "the server has no app 77",
		"--rollout " + coretest.NotesItem + "/1=50":     "has no version 1",
		"--rollout " + version + "=50 --base 77=50%":    "the server has no app 77",
		"--rollout " + version + "=50 --base notes=50%": "write an appleItemId",
	} {
		if out := exits(t, exitFailed, append([]string{"plan", "--admin", s.AdminURL(), "--config", config}, strings.Fields(args)...)...); !strings.Contains(out, want) {
			t.Errorf("%s: %s\nwant %q", args, out, want)
		}
	}
	s.Must(t, http.MethodPut, "/api/apps/"+coretest.NotesItem+"/versions/"+coretest.NotesNew+"/rollout", map[string]any{"halted": true})
	if out := exits(t, exitFailed, "plan", "--admin", s.AdminURL(), "--config", config, "--rollout", version+"=50"); !strings.Contains(out, "is halted") {
		t.Errorf("of a halted version: %s", out)
	}
}

// Recorded devices that get something else are named.
func TestPlanOfARecording(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "decisions.jsonl")
	s := coretest.Start(t, func(c *core.Config) {
		c.Store.Durability = core.DurabilityProcess
		c.Plugins.Record = file
	})
	s.Must(t, http.MethodPut, "/api/apps/"+coretest.NotesItem+"/versions/"+coretest.NotesNew+"/rollout", map[string]any{"share": 0})
	for i := range 3 {
		if got := checkUpdates(t, s, fmt.Sprintf("person-%d@example.com", i)); got != coretest.NotesOld {
			t.Fatalf("a device is offered %s", got)
		}
		recorded(t, s, uint64(2*(i+1)))
	}
	config := written(t, rolloutConfig+"[plugin.config]\nwhile_held = \"nothing\"\n")
	module := filepath.Join(filepath.Dir(config), "rollout.wasm")
	out := exits(t, 0, "plan", "--recorded", file, "--config", config, "--plugin", "rollout="+module)
	for _, words := range []string{"3 change, for 3 devices", "offer " + coretest.NotesOld, "hold", "person-2@example.com"} {
		if !strings.Contains(out, words) {
			t.Errorf("the plan has no %q:\n%s", words, out)
		}
	}
}

func TestPlanRefuses(t *testing.T) {
	config := written(t, rolloutConfig)
	for args, want := range map[string]string{
		"":                                             "nothing changes",
		"--rollout 50":                                 "nothing is live here to compare with",
		"--rollout 10..500":                            "is no share",
		"--rollout notes=10..50":                       "name appleItemId and appleVersionId",
		"--rollout 77/1=10..50":                        "the simulated market has no app 77",
		"--rollout 6500000002/1=10..50":                "has no version 1",
		"--rollout 10..50 --rollout 10..60":            "stands there twice",
		"--plugin rollout=missing.wasm":                "missing.wasm doesn't exist",
		"--plugin rollout":                             "write the plugin's name and the file",
		"--plugin quota=" + config:                     `the market has no plugin "quota": it has rollout`,
		"--rollout 10..50 --devices 0":                 "--devices has to be 1 to",
		"--rollout 10..50 --devices 100000001":         "--devices has to be 1 to 100000000",
		"--rollout 10..50 --sample 10":                 "--sample has to be 1000 or more",
		"--rollout 10..50 --base 1=2%":                 "--base are of --admin",
		"--new-config " + config:                       "needs --config",
		"--recorded " + config + " --rollout 10..50":   "--recorded and --rollout",
		"--recorded " + config + " --plugin a=b":       "needs --config",
		"--recorded " + config + " --config " + config: "name one other build",
		"--recorded " + config + " --plugin a=b --config " + config + " --after 1h": "the devices and the catalogue are in the recording",
		"--rollout 10..50 --admin http://127.0.0.1:1":                               "names no version",
		"capacity --devices 10":                                     "what a check costs is missing",
		"capacity --devices 10 --check-us 15 --tls":                 "case g",
		"capacity --devices 0 --check-us 15":                        "0 devices",
		"capacity --devices 10 --bench " + config:                   "is not what \"souk bench --json\" prints",
		"capacity --devices 10 --check-us 15 --use 2":               "a core can't be busy",
		"capacity --devices 10 --check-us 15 --tls --keep-alive":    "can't be used together",
		"capacity --devices 10 --bench " + config + " --tls-us 500": "leave the flags in microseconds out",
	} {
		code, _, errs := souk(t, append([]string{"plan"}, strings.Fields(args)...)...)
		if code == 0 || !strings.Contains(errs, want) {
			t.Errorf("souk plan %s: exit code %d, %s\nwant %q", args, code, errs, want)
		}
	}
}

func TestPlanCapacity(t *testing.T) {
	file := filepath.Join(t.TempDir(), "bench.json")
	bench := `[{"case":"a","rps":50000,"ratio":0.81,"cpu_us":14,"cpu_ratio":1.3,"p99_ms":5,"guest_calls":0,"signatures":0},
{"case":"c","cpu_us":74},{"case":"f","cpu_us":46},{"case":"g","cpu_us":480}]`
	if err := os.WriteFile(file, []byte(bench), 0o600); err != nil {
		t.Fatal(err)
	}
	out := exits(t, 0, "plan", "capacity", "--devices", "1000000", "--bench", file)
	for _, words := range []string{"14.0 µs + 0.13 offers × 60.0 µs + 0.33 × (14.0 µs refused and 46.0 µs for a refresh) = 41.8 µs", "= 507.8 µs", "busiest hour", "a core carries"} {
		if !strings.Contains(out, words) {
			t.Errorf("the capacity has no %q:\n%s", words, out)
		}
	}
	var c plan.Capacity
	if err := json.Unmarshal([]byte(exits(t, 0, "plan", "capacity", "--devices", "1000000", "--bench", file, "--keep-alive", "--json")), &c); err != nil {
		t.Fatal(err)
	}
	if c.Figures.TLS != 0 || c.Figures.Offer != 60 || len(c.Loads) != 4 || c.PerCore.TLS != 0 || c.PerCore.KeepAlive < 1e6 {
		t.Errorf("the capacity is %+v", c)
	}
	if out := exits(t, 0, "plan", "capacity", "--devices", "1000000", "--bench", file, "--tls"); strings.Contains(out, "kept-alive") || !strings.Contains(out, "new TLS connection") {
		t.Errorf("with --tls: %s", out)
	}
}
