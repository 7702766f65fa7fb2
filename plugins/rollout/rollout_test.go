//go:build !wasip1

package rollout_test

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/souk-market/souk/core/plugin"
	"github.com/souk-market/souk/core/unit"
	"github.com/souk-market/souk/plugins"
	"github.com/souk-market/souk/sdk/abi"
)

const (
	salt = "1000001/3"
	key  = "alice@example.com"
)

// bucket is where the device of these tests falls, with salt and with others.
var bucket = abi.Bucket(key, salt)

// device is the head of a request.
func device(purpose abi.Purpose) abi.Head {
	return abi.Head{Purpose: purpose, Platform: abi.PlatformIOS, OS: abi.OS(26, 1, 0), Account: key, BucketKey: key}
}

// open starts the plugin in the real host, with a configuration as JSON text.
func open(t testing.TB, config string) (*plugin.Host, error) {
	t.Helper()
	s := plugin.DefaultSpec()
	s.Name, s.Wasm = "rollout", plugins.Rollout
	s.Deadline, s.StartDeadline = unit.Duration(10*time.Second), unit.Duration(time.Minute) // -race, and a busy machine
	if err := json.Unmarshal([]byte(config), &s.Config); err != nil {
		t.Fatal(err)
	}
	h, err := plugin.Open(t.Context(), plugin.Options{Specs: []plugin.Spec{s}})
	if err == nil {
		t.Cleanup(func() { h.Close(context.WithoutCancel(t.Context())) })
	}
	return h, err
}

// policies are the plugin with each configuration that there is.
func policies(t testing.TB) map[string]*plugin.Host {
	t.Helper()
	all := map[string]*plugin.Host{}
	for _, config := range []string{
		`{}`, `{"while_held":"previous"}`, `{"while_held":"nothing"}`, `{"critical":"phased"}`, `{"critical":"always"}`,
		`{"while_held":"nothing","critical":"always"}`,
	} {
		h, err := open(t, config)
		if err != nil {
			t.Fatal(err)
		}
		all[config] = h
	}
	return all
}

// choose puts a request to the plugin.
func choose(t testing.TB, h *plugin.Host, req *abi.SelectVersionRequest) []abi.VersionChoice {
	t.Helper()
	call := h.Acquire()
	defer call.Release()
	if err := call.SelectVersion.Read(req.Append(nil)); err != nil { // a copy: the call owns its lists
		t.Fatal(err)
	}
	var choices []abi.VersionChoice
	for _, s := range call.AskSelectVersion(t.Context()) {
		if s.Failed {
			t.Fatalf("the plugin fails on %+v", req)
		}
		choices = append(choices, abi.VersionChoice{Choice: s.Choice, Code: s.Code, Reason: strings.Clone(s.Reason)})
	}
	return choices
}

// ask puts one app to the plugin.
func ask(t testing.TB, h *plugin.Host, who abi.Head, app abi.SelectVersionApp) abi.VersionChoice {
	t.Helper()
	return choose(t, h, &abi.SelectVersionRequest{Head: who, Apps: []abi.SelectVersionApp{app}})[0]
}

func TestUpdate(t *testing.T) {
	hosts := policies(t)
	open := abi.Candidate{Version: 2, Rollout: 10_000}
	held := abi.Candidate{Version: 3, Rollout: bucket, Salt: salt} // a bucket is in when it is below the share
	in := abi.Candidate{Version: 3, Rollout: bucket + 1, Salt: salt}
	heldText := "bucket " + strconv.Itoa(int(bucket)) + " is not below " + strconv.Itoa(int(bucket))
	with := func(c abi.Candidate, f func(*abi.Candidate)) abi.Candidate {
		f(&c)
		return c
	}
	halted := func(c *abi.Candidate) { c.Flags |= abi.FlagHalted }
	critical := func(c *abi.Candidate) { c.Flags |= abi.FlagCritical }
	beta := func(c *abi.Candidate) { c.Channel = "beta" }
	newSystem := func(c *abi.Candidate) { c.MinOS = abi.OS(26, 1, 1) }

	for _, test := range []struct {
		name       string
		config     string
		channel    string
		installed  uint64
		who        func(*abi.Head)
		candidates []abi.Candidate
		choice     abi.Choice
		code       uint32
		reason     string
	}{
		{name: "no candidate: hold", choice: abi.Hold, code: CodeNone, reason: "no candidate"},
		{name: "open to everyone: offered", candidates: []abi.Candidate{open}, code: CodeOpen, reason: "open"},
		{name: "the newest open one is offered", candidates: []abi.Candidate{with(open, func(c *abi.Candidate) { c.Version = 3 }), open}, code: CodeOpen, reason: "open"},
		{name: "a share above 10000 is open to everyone", candidates: []abi.Candidate{with(open, func(c *abi.Candidate) { c.Rollout = math.MaxUint32 })}, code: CodeOpen, reason: "open"},
		{name: "the bucket is below the share: offered", candidates: []abi.Candidate{in, open}, code: CodeBucket,
			reason: "bucket " + strconv.Itoa(int(bucket)) + " is below " + strconv.Itoa(int(bucket+1))},
		{name: "the bucket is the share: the previous open one", candidates: []abi.Candidate{held, open}, choice: 1, code: CodeOpen, reason: "open; newer: " + heldText},
		{name: "held and nothing older: hold", candidates: []abi.Candidate{held}, choice: abi.Hold, code: CodeHeld, reason: heldText},
		{name: "held, and the older one too: hold", candidates: []abi.Candidate{held, with(open, func(c *abi.Candidate) { c.Rollout = 0 })}, choice: abi.Hold, code: CodeHeld, reason: heldText},
		{name: "held with while_held = nothing: hold", config: `{"while_held":"nothing"}`, candidates: []abi.Candidate{held, open}, choice: abi.Hold, code: CodeHeld, reason: heldText},
		{name: "held with while_held = previous: the previous one", config: `{"while_held":"previous"}`, candidates: []abi.Candidate{held, open}, choice: 1, code: CodeOpen, reason: "open; newer: " + heldText},
		{name: "a share of 0 is open to nobody", candidates: []abi.Candidate{with(in, func(c *abi.Candidate) { c.Rollout = 0 })}, choice: abi.Hold, code: CodeHeld,
			reason: "open to nobody"},
		{name: "without a bucket key a partly open one is held", who: func(h *abi.Head) { h.BucketKey = "" }, candidates: []abi.Candidate{in}, choice: abi.Hold, code: CodeAnonymous, reason: "no bucket key"},
		{name: "without a bucket key 9999 is not enough", who: func(h *abi.Head) { h.BucketKey = "" }, candidates: []abi.Candidate{with(in, func(c *abi.Candidate) { c.Rollout = 9_999 }), open},
			choice: 1, code: CodeOpen, reason: "open; newer: no bucket key"},
		{name: "without a bucket key the open one is offered", who: func(h *abi.Head) { h.BucketKey = "" }, candidates: []abi.Candidate{open}, code: CodeOpen, reason: "open"},
		{name: "without a bucket key and while_held = nothing: hold", config: `{"while_held":"nothing"}`, who: func(h *abi.Head) { h.BucketKey = "" }, candidates: []abi.Candidate{in, open},
			choice: abi.Hold, code: CodeAnonymous, reason: "no bucket key"},
		{name: "halted: the previous one", candidates: []abi.Candidate{with(open, halted), open}, choice: 1, code: CodeOpen, reason: "open; newer: halted"},
		{name: "halted is not held: while_held = nothing goes on", config: `{"while_held":"nothing"}`, candidates: []abi.Candidate{with(in, halted), open}, choice: 1, code: CodeOpen, reason: "open; newer: halted"},
		{name: "halted and nothing older: hold", candidates: []abi.Candidate{with(open, halted)}, choice: abi.Hold, code: CodeHalted, reason: "halted"},
		{name: "of a channel that is not followed: not offered", candidates: []abi.Candidate{with(open, beta)}, choice: abi.Hold, code: CodeChannel, reason: "channel"},
		{name: "of another channel than the one followed: not offered", channel: "alpha", candidates: []abi.Candidate{with(open, beta), open}, choice: 1, code: CodeOpen, reason: "open"},
		{name: "of the channel that is followed: offered", channel: "beta", candidates: []abi.Candidate{with(open, beta), open}, code: CodeOpen, reason: "open"},
		{name: "of the default channel for one who follows another: offered", channel: "beta", candidates: []abi.Candidate{open}, code: CodeOpen, reason: "open"},
		{name: "another channel is not held: while_held = nothing goes on", config: `{"while_held":"nothing"}`, candidates: []abi.Candidate{with(held, beta), open}, choice: 1, code: CodeOpen, reason: "open"},
		{name: "for a newer system: not offered", candidates: []abi.Candidate{with(open, newSystem), open}, choice: 1, code: CodeOpen, reason: "open"},
		{name: "for a newer system and nothing older: hold", candidates: []abi.Candidate{with(open, newSystem)}, choice: abi.Hold, code: CodeSystem, reason: "min os"},
		{name: "for the device's very system: offered", candidates: []abi.Candidate{with(open, func(c *abi.Candidate) { c.MinOS = abi.OS(26, 1, 0) })}, code: CodeOpen, reason: "open"},
		{name: "a system that nobody knows holds nothing", who: func(h *abi.Head) { h.OS = 0 }, candidates: []abi.Candidate{with(open, newSystem)}, code: CodeOpen, reason: "open"},
		{name: "critical is phased like others", candidates: []abi.Candidate{with(held, critical), open}, choice: 1, code: CodeOpen, reason: "open; newer: " + heldText},
		{name: "critical = phased says the same", config: `{"critical":"phased"}`, candidates: []abi.Candidate{with(held, critical)}, choice: abi.Hold, code: CodeHeld, reason: heldText},
		{name: "critical = always: offered whatever the share", config: `{"critical":"always"}`, candidates: []abi.Candidate{with(held, critical), open}, code: CodeCritical, reason: "critical"},
		{name: "critical = always: offered to the anonymous too", config: `{"critical":"always"}`, who: func(h *abi.Head) { h.BucketKey = "" }, candidates: []abi.Candidate{with(held, critical)}, code: CodeCritical, reason: "critical"},
		{name: "critical = always does not revive a halted one", config: `{"critical":"always"}`, candidates: []abi.Candidate{with(with(held, critical), halted)}, choice: abi.Hold, code: CodeHalted, reason: "halted"},
		{name: "critical = always does not cross channels", config: `{"critical":"always"}`, candidates: []abi.Candidate{with(with(held, critical), beta)}, choice: abi.Hold, code: CodeChannel, reason: "channel"},
		{name: "critical = always leaves others phased", config: `{"critical":"always"}`, candidates: []abi.Candidate{held}, choice: abi.Hold, code: CodeHeld, reason: heldText},
		{name: "no older one than the installed version", installed: 2, candidates: []abi.Candidate{held, open}, choice: abi.Hold, code: CodeHeld, reason: heldText},
		{name: "not the installed version itself", installed: 2, candidates: []abi.Candidate{open}, choice: abi.Hold, code: CodeOld, reason: "not newer"},
		{name: "the reason is of the candidate that came closest", candidates: []abi.Candidate{with(open, beta), held, with(open, halted)}, choice: abi.Hold, code: CodeHeld, reason: heldText},
		{name: "flags that nobody knows change nothing", candidates: []abi.Candidate{with(open, func(c *abi.Candidate) { c.Flags = 1<<31 | abi.FlagNewest | abi.FlagDelta })}, code: CodeOpen, reason: "open"},
	} {
		t.Run(test.name, func(t *testing.T) {
			who := device(abi.PurposeUpdate)
			if test.who != nil {
				test.who(&who)
			}
			config := test.config
			if config == "" {
				config = "{}"
			}
			got := ask(t, hosts[config], who, abi.SelectVersionApp{Item: 1_000_001, Installed: max(test.installed, 1), Channel: test.channel, Candidates: test.candidates})
			if want := (abi.VersionChoice{Choice: test.choice, Code: test.code, Reason: test.reason}); got != want {
				t.Errorf("choice = %+v, want %+v", got, want)
			}
		})
	}
}

func TestRestore(t *testing.T) {
	hosts := policies(t)
	const full = 10_000
	for _, test := range []struct {
		name       string
		candidates []abi.Candidate
		choice     abi.Choice
		code       uint32
	}{
		{"the requested version, although a newer one is open",
			[]abi.Candidate{{Version: 3, Rollout: full}, {Version: 2, Rollout: full, Flags: abi.FlagRequested}}, 1, CodeRequested},
		{"the requested version, although it is not open to the bucket",
			[]abi.Candidate{{Version: 3, Rollout: 0, Flags: abi.FlagRequested}, {Version: 2, Rollout: full}}, 0, CodeRequested},
		{"the requested version, although its channel is not followed",
			[]abi.Candidate{{Version: 3, Rollout: full}, {Version: 2, Rollout: full, Flags: abi.FlagRequested, Channel: "beta"}}, 1, CodeRequested},
		{"the requested version, although it is halted: the device had it before",
			[]abi.Candidate{{Version: 3, Rollout: full}, {Version: 2, Rollout: full, Flags: abi.FlagRequested | abi.FlagHalted}, {Version: 1, Rollout: full}}, 1, CodeRequested},
		{"the requested version needs a newer system: the newest open one",
			[]abi.Candidate{{Version: 3, Rollout: full, MinOS: abi.OS(27, 0, 0), Flags: abi.FlagRequested}, {Version: 2, Rollout: full}}, 1, CodeOpen},
		{"none is requested: the newest open one",
			[]abi.Candidate{{Version: 4, Rollout: full, Channel: "beta"}, {Version: 3, Rollout: 0}, {Version: 2, Rollout: full}, {Version: 1, Rollout: full}}, 2, CodeOpen},
		{"the installed version is no bound", // Installed is the requested version here, and that one is gone
			[]abi.Candidate{{Version: 2, Rollout: full}}, 0, CodeOpen},
		{"none is open to the device: the newest that is not halted",
			[]abi.Candidate{{Version: 4, Rollout: full, Flags: abi.FlagHalted}, {Version: 3, Rollout: 0}, {Version: 2, Rollout: 0}}, 1, CodeNewest},
		{"all are halted and none is requested: the newest",
			[]abi.Candidate{{Version: 4, Rollout: full, Flags: abi.FlagHalted}, {Version: 3, Rollout: full, Flags: abi.FlagHalted}}, 0, CodeLast},
		{"no candidate: the core decides", nil, abi.Hold, CodeNone},
	} {
		t.Run(test.name, func(t *testing.T) {
			for i, config := range []string{`{}`, `{"while_held":"nothing","critical":"always"}`} {
				// A person who asks for an app is answered as a device that had it.
				purpose := []abi.Purpose{abi.PurposeRestore, abi.PurposeInstallToken}[i]
				got := ask(t, hosts[config], device(purpose), abi.SelectVersionApp{Item: 1, Installed: 5, Candidates: test.candidates})
				if got.Choice != test.choice || got.Code != test.code || got.Reason == "" {
					t.Errorf("with %s: choice = %+v, want %d with code %d and a reason", config, got, test.choice, test.code)
				}
			}
		})
	}
}

// TestEachAppHasItsOwnAnswer asks about many apps at once.
func TestEachAppHasItsOwnAnswer(t *testing.T) {
	h := policies(t)["{}"]
	req := &abi.SelectVersionRequest{Head: device(abi.PurposeUpdate)}
	for i := range 100 {
		req.Apps = append(req.Apps, abi.SelectVersionApp{Item: uint64(i), Candidates: []abi.Candidate{{Version: 2, Rollout: 1, Salt: strconv.Itoa(i)}}})
	}
	for i, c := range choose(t, h, req) {
		b := abi.Bucket(key, strconv.Itoa(i))
		if want := "bucket " + strconv.Itoa(int(b)) + " is not below 1"; b > 0 && c.Reason != want {
			t.Fatalf("app %d: reason %q, want %q", i, c.Reason, want)
		}
	}
}

// golden returns the requests of the contract's golden vectors.
func golden(t *testing.T) (all []*abi.SelectVersionRequest) {
	t.Helper()
	b, err := os.ReadFile("../../sdk/abi/testdata/vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Vectors []struct{ Record, Hex, Wrong string }
	}
	if err := json.Unmarshal(b, &file); err != nil {
		t.Fatal(err)
	}
	for _, v := range file.Vectors {
		if v.Record != "SelectVersionRequest" || v.Wrong != "" {
			continue
		}
		raw, err := hex.DecodeString(v.Hex)
		req := new(abi.SelectVersionRequest)
		if err == nil {
			err = req.Read(raw)
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, req)
	}
	if len(all) < 3 {
		t.Fatalf("there are %d golden requests", len(all))
	}
	return all
}

// TestTheReferenceAgrees puts golden and random requests to the plugin and to the
// policy in Go: each choice, code and reason has to be the same.
func TestTheReferenceAgrees(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	pick := func(s ...string) string { return s[r.IntN(len(s))] }
	for config, h := range policies(t) {
		reference := Rollout{
			HoldAll: strings.Contains(config, `"nothing"`), CriticalAlways: strings.Contains(config, `"always"`),
		}
		same := func(req *abi.SelectVersionRequest) {
			t.Helper()
			var v abi.SelectVersionVerdict
			reference.SelectVersion(req, &v)
			if got := choose(t, h, req); fmt.Sprint(got) != fmt.Sprint(v.Items) {
				t.Fatalf("with %s the plugin chooses %v, the reference %v, of %+v", config, got, v.Items, req)
			}
		}
		for _, req := range golden(t) {
			same(req)
		}
		for range 500 {
			req := &abi.SelectVersionRequest{Head: device(abi.Purpose(r.IntN(9)))}
			if r.IntN(2) == 0 {
				req.Purpose = abi.PurposeUpdate
			}
			req.BucketKey = pick("", "a", "bücher", strconv.Itoa(r.IntN(1000)))
			req.OS = []uint32{0, abi.OS(26, 1, 0), r.Uint32()}[r.IntN(3)]
			for range r.IntN(6) {
				app := abi.SelectVersionApp{Item: r.Uint64(), Installed: r.Uint64N(8), Channel: pick("", "", "beta", "alpha")}
				for range r.IntN(6) {
					app.Candidates = append(app.Candidates, abi.Candidate{
						Version: r.Uint64N(10), MinOS: []uint32{0, 0, abi.OS(26, 1, 0), abi.OS(26, 1, 1), r.Uint32()}[r.IntN(5)],
						Flags: abi.CandidateFlags(r.Uint32() & r.Uint32()), Rollout: []uint32{0, 1, 5000, 9999, 10_000, r.Uint32N(10_000), r.Uint32()}[r.IntN(7)],
						Salt: pick("", "1/2", "ß", strconv.Itoa(r.IntN(1000))), Channel: pick("", "", "beta", "alpha"),
					})
				}
				req.Apps = append(req.Apps, app)
			}
			same(req)
		}
	}
}

// TestInRust runs the tests that the policy has in its own language.
func TestInRust(t *testing.T) {
	rustc, err := exec.LookPath("/usr/bin/rustc") // as in sdk/TOOLCHAINS
	if err != nil {
		if os.Getenv("SOUK_CI") != "" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	dir := t.TempDir()
	lib, test := filepath.Join(dir, "libsouk.rlib"), filepath.Join(dir, "test")
	for _, args := range [][]string{
		{rustc, "--edition", "2021", "--crate-type", "rlib", "--crate-name", "souk", "-o", lib, "../../sdk/rust/src/lib.rs"},
		{rustc, "--edition", "2021", "-D", "warnings", "--test", "--extern", "souk=" + lib, "-o", test, "policy.rs"},
		{test},
	} {
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", args, err, out)
		}
	}
}

func TestConfigureRefuses(t *testing.T) {
	for _, test := range []struct{ config, wrong string }{
		{`{"while_hold":"nothing"}`, "while_hold: there is no such key"},
		{`{"while_held":"later"}`, `while_held: want "previous" or "nothing", not "later"`},
		{`{"while_held":1}`, "while_held: want a text"},
		{`{"critical":"sometimes"}`, `critical: want "phased" or "always", not "sometimes"`},
		{`{"critical":true}`, "critical: want a text"},
	} {
		if _, err := open(t, test.config); err == nil || !strings.Contains(err.Error(), test.wrong) {
			t.Errorf("with %s the plugin says %v, want an error with %q", test.config, err, test.wrong)
		}
	}
}

// offered reports whether a device gets a version that is open to a share.
func offered(t testing.TB, h *plugin.Host, req *abi.SelectVersionRequest, key, salt string, share uint32) bool {
	req.BucketKey = key
	req.Apps[0].Candidates[0].Salt, req.Apps[0].Candidates[0].Rollout = salt, share
	return choose(t, h, req)[0].Choice == 0
}

// TestRolloutIsFair holds what people expect of a rollout, with fixed devices:
// it holds or it doesn't, never by chance.
func TestRolloutIsFair(t *testing.T) {
	const devices = 10_000
	h := policies(t)["{}"]
	req := &abi.SelectVersionRequest{Head: device(abi.PurposeUpdate), Apps: []abi.SelectVersionApp{{Item: 1, Installed: 1, Candidates: []abi.Candidate{{Version: 2}}}}}
	count := func(f func(device string) bool) (n int) {
		for i := range devices {
			if f("device-" + strconv.Itoa(i)) {
				n++
			}
		}
		return n
	}
	near := func(what string, n int, share float64) {
		t.Helper()
		mean, deviation := devices*share, 3.2905*math.Sqrt(devices*share*(1-share)) // one in a thousand is farther off
		if math.Abs(float64(n)-mean) > deviation {
			t.Errorf("%s: %d of %d devices, want %.0f ± %.0f", what, n, devices, mean, deviation)
		}
	}
	for _, share := range []uint32{100, 1000, 5000, 9900} {
		near("a share of "+strconv.Itoa(int(share)), count(func(d string) bool { return offered(t, h, req, d, "a", share) }), float64(share)/abi.Buckets)
	}
	near("in the first tenth of two rollouts", count(func(d string) bool {
		return offered(t, h, req, d, "a", 1000) && offered(t, h, req, d, "b", 1000)
	}), 0.01)
	if n := count(func(d string) bool {
		first := offered(t, h, req, d, "a", 1000)
		req.NowMS, req.Seed = req.NowMS+86_400_000, req.Seed+1 // the next day
		return offered(t, h, req, d, "a", 1000) != first
	}); n > 0 {
		t.Errorf("%d devices get another answer when they ask again", n)
	}
	if n := count(func(d string) bool {
		in := false
		for _, share := range []uint32{0, 10, 1000, 1001, 5000, 9999, 10_000} {
			is := offered(t, h, req, d, "a", share)
			if in && !is {
				return true
			}
			in = is
		}
		return !in
	}); n > 0 {
		t.Errorf("%d devices fall out of a rollout that grows, or never get in", n)
	}
}

// population is a question about five apps with three candidates each.
func population() *abi.SelectVersionRequest {
	req := &abi.SelectVersionRequest{Head: device(abi.PurposeUpdate)}
	for range 5 {
		req.Apps = append(req.Apps, abi.SelectVersionApp{Item: 1, Installed: 1, Candidates: []abi.Candidate{
			{Version: 4, Rollout: bucket, Salt: salt}, {Version: 3, Rollout: 5000, Salt: "1000001/2"}, {Version: 2, Rollout: 10_000}}})
	}
	return req
}

func BenchmarkSelectVersion(b *testing.B) {
	h := policies(b)["{}"]
	call := h.Acquire()
	defer call.Release()
	call.SelectVersion = *population()
	b.ReportAllocs()
	for b.Loop() {
		call.AskSelectVersion(b.Context())
	}
}
