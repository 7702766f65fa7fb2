package author

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/souk-market/souk/core/plugin"
	"github.com/souk-market/souk/core/unit"
	"github.com/souk-market/souk/sdk/abi"
)

// Report is what there is to know of a module before a server has it.
type Report struct {
	File      string    `json:"file"`
	Size      unit.Size `json:"size"`
	SHA256    string    `json:"sha256"`
	Hooks     []string  `json:"hooks"`
	Minor     int       `json:"minor"`   // of the contract, that it needs
	Imports   []string  `json:"imports"` // host functions
	WASI      []string  `json:"wasi"`
	Allow     []string  `json:"allow"` // groups that it needs
	MemoryMin unit.Size `json:"memory_min"`
	MemoryMax unit.Size `json:"memory_max"` // declared; 0 = none
	Memory    unit.Size `json:"memory"`     // the limit
	StartFuel uint64    `json:"start_fuel"`
	StartMax  uint64    `json:"start_fuel_limit"`
	Fuel      []Fuel    `json:"fuel"`
	FuelMax   uint64    `json:"fuel_limit"`
	Warnings  []string  `json:"warnings"`

	spec plugin.Spec
}

// Fuel is what the questions of one hook cost.
type Fuel struct {
	Hook    string `json:"hook"`
	Empty   uint64 `json:"empty"`   // a question about one app without candidates, a sign-in's page, a token
	Typical uint64 `json:"typical"` // five apps, with three versions each
	Apps    uint64 `json:"apps"`    // about how many apps one question may have within the limit; 0 = says nothing
}

// fewApps is what a question should be able to hold: a person's phone.
const fewApps = 100

// ReadModule reads a module of at most max bytes. A larger file is not read.
func ReadModule(file string, max int64) ([]byte, error) {
	f, err := os.Open(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s doesn't exist: build it with \"souk plugin build\"", file)
	} else if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, max+1))
	if err != nil {
		return nil, err
	}
	if int64(len(b)) > max {
		return nil, fmt.Errorf("%s is larger than %v: build it smaller, or raise max_module below [plugins]", file, unit.Size(max))
	}
	return b, nil
}

// Check looks into a module and asks it. The module, which may be somebody else's,
// reaches no other server: it has the secrets that its configuration names. The
// error is one sentence and names the file.
func Check(ctx context.Context, t *Target, max int64) (*Report, error) {
	file, s := t.File, t.Spec
	wasm, err := ReadModule(file, max)
	if err != nil {
		return nil, err
	}
	o, err := plugin.OutlineOf(wasm)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	hash := sha256.Sum256(wasm)
	r := &Report{
		File: file, Size: unit.Size(len(wasm)), SHA256: hex.EncodeToString(hash[:]), Hooks: []string{}, Minor: o.Minor,
		Imports: append([]string{}, o.Imports...), WASI: append([]string{}, o.WASI...), Allow: append([]string{}, o.Groups...),
		MemoryMin: o.MemoryMin, MemoryMax: o.MemoryMax, Memory: s.Memory, StartMax: s.StartFuel, FuelMax: s.Fuel, Warnings: []string{},
	}
	for _, h := range o.Hooks {
		r.Hooks = append(r.Hooks, h.String())
	}
	r.spec = s
	s.InEarnest()
	if t.AllowAll {
		r.spec.Allow = o.Groups
	}
	if slices.Contains(r.spec.Allow, "http") && len(s.Hosts) == 0 {
		r.warn("it asks other servers: name them in hosts")
	}
	if slices.Contains(r.spec.Allow, "secret") && len(s.Secrets) == 0 {
		r.warn("it reads secrets: say below [plugin.secrets] where they are")
	}
	s = t.Loadable(wasm, o)
	s.Breaker, s.Instances = 0, 1
	kv := &reads{}
	host, err := plugin.Open(ctx, plugin.Options{
		Specs: []plugin.Spec{s}, Dir: t.Dir, Timeless: true, Offline: true, MaxModule: int64(len(wasm)),
		KV: func(string) (plugin.KV, error) { return kv, nil },
	})
	if err != nil {
		return nil, hint(t.Refused(err), o, s)
	}
	defer host.Close(context.WithoutCancel(ctx))
	r.StartFuel = host.Plugins()[0].StartFuel
	for _, h := range o.Hooks {
		if host.Has(h) {
			r.Fuel = append(r.Fuel, r.measure(ctx, host, h, kv))
		}
	}
	r.judge(o)
	return r, ctx.Err()
}

// hint says where a configuration comes from, if that is what a module lacks.
func hint(err error, o plugin.Outline, s plugin.Spec) error {
	if strings.Contains(err.Error(), ": config: ") && o.Configure && len(s.Config) == 0 {
		return fmt.Errorf("%w: it has no configuration here: write [config] in its %s or cases.toml, or give --config and --name", err, File)
	}
	return err
}

func (r *Report) warn(format string, args ...any) {
	r.Warnings = append(r.Warnings, fmt.Sprintf(format, args...))
}

// measure asks one hook: a question about little, a typical one, and those of the
// golden vectors, which a plugin should survive.
func (r *Report) measure(ctx context.Context, host *plugin.Host, h abi.Hook, kv *reads) Fuel {
	f := Fuel{Hook: h.String()}
	kv.n = 0
	one := ask(ctx, host, h, 1, 0)
	five := ask(ctx, host, h, 5, 3)
	f.Empty, f.Typical = one.fuel, five.fuel
	if h == abi.HookEntitle || h == abi.HookSelectVersion {
		single := ask(ctx, host, h, 1, 3)
		if each := (max(five.fuel, single.fuel) - single.fuel) / 4; each > 0 && r.FuelMax > five.fuel {
			f.Apps = 5 + (r.FuelMax-five.fuel)/each
		}
		if kv.n > 0 {
			r.warn("%s reads the kv (%d times for these questions): each read costs about a bare request, at every update check", f.Hook, kv.n)
		}
	}
	for _, a := range []asked{one, five} {
		if a.failure != nil && a.failure.Kind != plugin.KindErrorCode {
			r.warn("%s fails on an ordinary question: %v: %s", f.Hook, a.failure.Kind, a.failure.Reason)
			return f
		}
	}
	for _, v := range vectors(h) {
		failure := v.ask(ctx, host)
		if failure != nil && failure.Kind != plugin.KindErrorCode {
			r.warn("%s fails on the golden vector %q: %v: %s", f.Hook, v.name, failure.Kind, failure.Reason)
		}
	}
	return f
}

func (r *Report) judge(o plugin.Outline) {
	if r.StartFuel > r.StartMax/2 {
		r.warn("its start takes %s of %s fuel: do less in it, or raise start_fuel", grouped(r.StartFuel), grouped(r.StartMax))
	}
	for _, f := range r.Fuel {
		switch {
		case f.Typical > r.FuelMax/2:
			r.warn("%s takes %s of %s fuel for five apps: do less, or raise fuel", f.Hook, grouped(f.Typical), grouped(r.FuelMax))
		case f.Apps > 0 && f.Apps < fewApps:
			r.warn("%s has fuel for about %d apps in one question: do less, or raise fuel", f.Hook, f.Apps)
		}
	}
	for _, h := range o.Hooks {
		if len(r.spec.Hooks) > 0 && !slices.Contains(r.spec.Hooks, h.String()) {
			r.warn("it exports %s, which hooks doesn't name: it is not asked", h)
		}
	}
}

// asked is what a question cost.
type asked struct {
	fuel    uint64
	failure *plugin.Failure
}

// checkedAt is the time of the questions: the fuel has to be the same each day.
var checkedAt = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

// ask puts a question with so many apps and versions. sign_in and exchange have
// neither: for them one app is an empty form or token and more are a filled one.
func ask(ctx context.Context, host *plugin.Host, h abi.Hook, apps, versions int) asked {
	c := host.Acquire()
	defer c.Release()
	head := abi.Head{
		NowMS: uint64(checkedAt.UnixMilli()), Purpose: abi.PurposeUpdate, Seed: 1, Account: "alice@example.com", BucketKey: "alice@example.com",
		Client: "0123456789abcdef0123456789abcdef", Platform: abi.PlatformIOS, OS: 18<<16 | 1<<8, Territory: "AUT", Grants: []string{"sub:plus"},
	}
	switch h {
	case abi.HookEntitle:
		c.Entitle.Head = head
		for i := range apps {
			c.Entitle.Apps = append(c.Entitle.Apps, abi.EntitleApp{Item: uint64(1_000_001 + i), BundleID: "com.example.notes", Devices: 1})
		}
		c.AskEntitle(ctx)
	case abi.HookSelectVersion:
		c.SelectVersion.Head = head
		for i := range apps {
			app := abi.SelectVersionApp{Item: uint64(1_000_001 + i), Installed: 1, BundleID: "com.example.notes"}
			for v := versions; v > 0; v-- {
				// The oldest alone is open: each has to be looked at.
				open := uint32(0)
				if v == 1 {
					open = abi.Buckets
				}
				app.Candidates = append(app.Candidates, abi.Candidate{
					Version: uint64(1 + v), MinOS: 17<<16 | 4<<8, Rollout: open, Salt: fmt.Sprintf("%d/%d", app.Item, 1+v),
					Short: fmt.Sprintf("%d.0", 1+v), Build: fmt.Sprintf("%d00", 1+v),
				})
			}
			c.SelectVersion.Apps = append(c.SelectVersion.Apps, app)
		}
		c.AskSelectVersion(ctx)
	case abi.HookSignIn:
		head.Purpose, head.Account, head.BucketKey, head.Grants = abi.PurposeSignIn, "", "", nil
		c.SignIn = abi.SignInRequest{Head: head, ClientName: "Example Market", Locale: "en", Address: "192.0.2.1"}
		if apps > 1 {
			c.SignIn.Method = abi.SignInSubmit
			c.SignIn.Fields = []abi.SubmittedField{{Name: "email", Value: "alice@example.com"}, {Name: "password", Value: "wonderland"}}
		}
		_, _, _ = c.AskSignIn(ctx, "")
	case abi.HookExchange:
		head.Purpose, head.Account, head.BucketKey, head.Grants = abi.PurposeExchange, "", "", nil
		c.Exchange = abi.ExchangeRequest{Head: head, SubjectTokenType: "urn:ietf:params:oauth:token-type:access_token"}
		if apps > 1 {
			c.Exchange.SubjectToken = strings.Repeat("0123456789abcdef", 32)
		}
		_, _, _ = c.AskExchange(ctx)
	}
	return asked{c.Fuel(), c.Failure()}
}

// reads is an empty kv that counts who looks into it.
type reads struct{ n int }

func (kv *reads) Get(context.Context, []byte) ([]byte, error) {
	kv.n++
	return nil, plugin.ErrKVNotFound
}
func (kv *reads) Put(context.Context, []byte, []byte, time.Duration) error    { return nil }
func (kv *reads) Delete(context.Context, []byte) error                        { return nil }
func (kv *reads) Swap(context.Context, []byte, []byte, []byte) error          { return nil }
func (kv *reads) Add(_ context.Context, _ []byte, delta int64) (int64, error) { return delta, nil }

// grouped writes a number so that its size is seen.
func grouped(n uint64) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + " " + s[i:]
	}
	return s
}

// Print writes the report for people, and the block for a config.toml.
func (r *Report) Print(w io.Writer) {
	line := func(name, format string, args ...any) {
		fmt.Fprintf(w, "%-9s %s\n", name, fmt.Sprintf(format, args...))
	}
	line("module", "%s: %s bytes, sha256 %s", r.File, grouped(uint64(r.Size)), r.SHA256)
	line("contract", "version 1, minor version %d or newer", r.Minor)
	line("hooks", "%s", strings.Join(r.Hooks, ", "))
	line("imports", "%s", cmp.Or(strings.Join(r.Imports, ", "), "none"))
	if len(r.WASI) > 0 {
		line("", "%d functions of WASI, for its runtime", len(r.WASI))
	}
	if r.MemoryMax > 0 {
		line("memory", "%v at the start, %v at most; the limit is %v", r.MemoryMin, r.MemoryMax, r.Memory)
	} else {
		line("memory", "%v at the start and no maximum of its own: an instance may take the limit, %v", r.MemoryMin, r.Memory)
	}
	line("start", "%s of %s fuel", grouped(r.StartFuel), grouped(r.StartMax))
	for _, f := range r.Fuel {
		switch f.Hook {
		case "sign_in":
			line("fuel", "sign_in: %s for a page, %s for a form, of %s", grouped(f.Empty), grouped(f.Typical), grouped(r.FuelMax))
		case "exchange":
			line("fuel", "exchange: %s for an empty token, %s for one of 512 bytes, of %s", grouped(f.Empty), grouped(f.Typical), grouped(r.FuelMax))
		case "entitle":
			line("fuel", "entitle: %s for one app, %s for five, of %s%s", grouped(f.Empty), grouped(f.Typical), grouped(r.FuelMax), f.enough())
		default:
			line("fuel", "%s: %s for an app without versions, %s for five with three each, of %s%s", f.Hook, grouped(f.Empty), grouped(f.Typical), grouped(r.FuelMax), f.enough())
		}
	}
	for _, warning := range r.Warnings {
		line("warning", "%s", warning)
	}
}

func (f *Fuel) enough() string {
	if f.Apps == 0 {
		return ""
	}
	return fmt.Sprintf(": enough for about %s apps", grouped(f.Apps))
}
