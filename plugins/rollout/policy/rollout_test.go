//go:build !wasip1

package policy_test

import (
	"math"
	"strconv"
	"strings"
	"testing"

	"github.com/souk-market/souk/plugins/rollout/policy"
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

// ask puts one app to a policy as the host does: through the bytes of the
// request and of the verdict.
func ask(t testing.TB, config string, who abi.Head, app abi.SelectVersionApp) abi.VersionChoice {
	t.Helper()
	p, err := policy.New([]byte(config))
	if err != nil {
		t.Fatal(err)
	}
	var req abi.SelectVersionRequest
	if err := req.Read((&abi.SelectVersionRequest{Head: who, Apps: []abi.SelectVersionApp{app}}).Append(nil)); err != nil {
		t.Fatal(err)
	}
	var v, got abi.SelectVersionVerdict
	p.SelectVersion(&req, &v)
	if err := got.Read(v.Append(nil)); err != nil {
		t.Fatal(err)
	}
	if len(got.Items) != 1 {
		t.Fatalf("one app gets %d choices", len(got.Items))
	}
	return got.Items[0]
}

func TestUpdate(t *testing.T) {
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
		{name: "no candidate: hold", choice: abi.Hold, code: policy.CodeNone, reason: "no candidate"},
		{name: "open to everyone: offered", candidates: []abi.Candidate{open}, code: policy.CodeOpen, reason: "open"},
		{name: "the newest open one is offered", candidates: []abi.Candidate{with(open, func(c *abi.Candidate) { c.Version = 3 }), open}, code: policy.CodeOpen, reason: "open"},
		{name: "a share above 10000 is open to everyone", candidates: []abi.Candidate{with(open, func(c *abi.Candidate) { c.Rollout = math.MaxUint32 })}, code: policy.CodeOpen, reason: "open"},
		{name: "the bucket is below the share: offered", candidates: []abi.Candidate{in, open}, code: policy.CodeBucket,
			reason: "bucket " + strconv.Itoa(int(bucket)) + " is below " + strconv.Itoa(int(bucket+1))},
		{name: "the bucket is the share: the previous open one", candidates: []abi.Candidate{held, open}, choice: 1, code: policy.CodeOpen, reason: "open; newer: " + heldText},
		{name: "held and nothing older: hold", candidates: []abi.Candidate{held}, choice: abi.Hold, code: policy.CodeHeld, reason: heldText},
		{name: "held, and the older one too: hold", candidates: []abi.Candidate{held, with(open, func(c *abi.Candidate) { c.Rollout = 0 })}, choice: abi.Hold, code: policy.CodeHeld, reason: heldText},
		{name: "held with while_held = nothing: hold", config: `{"while_held":"nothing"}`, candidates: []abi.Candidate{held, open}, choice: abi.Hold, code: policy.CodeHeld, reason: heldText},
		{name: "held with while_held = previous: the previous one", config: `{"while_held":"previous"}`, candidates: []abi.Candidate{held, open}, choice: 1, code: policy.CodeOpen, reason: "open; newer: " + heldText},
		{name: "a share of 0 is open to nobody", candidates: []abi.Candidate{with(in, func(c *abi.Candidate) { c.Rollout = 0 })}, choice: abi.Hold, code: policy.CodeHeld,
			reason: "bucket " + strconv.Itoa(int(bucket)) + " is not below 0"},
		{name: "without a bucket key a partly open one is held", who: func(h *abi.Head) { h.BucketKey = "" }, candidates: []abi.Candidate{in}, choice: abi.Hold, code: policy.CodeAnonymous, reason: "no bucket key"},
		{name: "without a bucket key 9999 is not enough", who: func(h *abi.Head) { h.BucketKey = "" }, candidates: []abi.Candidate{with(in, func(c *abi.Candidate) { c.Rollout = 9_999 }), open},
			choice: 1, code: policy.CodeOpen, reason: "open; newer: no bucket key"},
		{name: "without a bucket key the open one is offered", who: func(h *abi.Head) { h.BucketKey = "" }, candidates: []abi.Candidate{open}, code: policy.CodeOpen, reason: "open"},
		{name: "without a bucket key and while_held = nothing: hold", config: `{"while_held":"nothing"}`, who: func(h *abi.Head) { h.BucketKey = "" }, candidates: []abi.Candidate{in, open},
			choice: abi.Hold, code: policy.CodeAnonymous, reason: "no bucket key"},
		{name: "halted: the previous one", candidates: []abi.Candidate{with(open, halted), open}, choice: 1, code: policy.CodeOpen, reason: "open; newer: halted"},
		{name: "halted is not held: while_held = nothing goes on", config: `{"while_held":"nothing"}`, candidates: []abi.Candidate{with(in, halted), open}, choice: 1, code: policy.CodeOpen, reason: "open; newer: halted"},
		{name: "halted and nothing older: hold", candidates: []abi.Candidate{with(open, halted)}, choice: abi.Hold, code: policy.CodeHalted, reason: "halted"},
		{name: "of a channel that is not followed: not offered", candidates: []abi.Candidate{with(open, beta)}, choice: abi.Hold, code: policy.CodeChannel, reason: "channel"},
		{name: "of another channel than the one followed: not offered", channel: "alpha", candidates: []abi.Candidate{with(open, beta), open}, choice: 1, code: policy.CodeOpen, reason: "open"},
		{name: "of the channel that is followed: offered", channel: "beta", candidates: []abi.Candidate{with(open, beta), open}, code: policy.CodeOpen, reason: "open"},
		{name: "of the default channel for one who follows another: offered", channel: "beta", candidates: []abi.Candidate{open}, code: policy.CodeOpen, reason: "open"},
		{name: "another channel is not held: while_held = nothing goes on", config: `{"while_held":"nothing"}`, candidates: []abi.Candidate{with(held, beta), open}, choice: 1, code: policy.CodeOpen, reason: "open"},
		{name: "for a newer system: not offered", candidates: []abi.Candidate{with(open, newSystem), open}, choice: 1, code: policy.CodeOpen, reason: "open"},
		{name: "for a newer system and nothing older: hold", candidates: []abi.Candidate{with(open, newSystem)}, choice: abi.Hold, code: policy.CodeSystem, reason: "min os"},
		{name: "for the device's very system: offered", candidates: []abi.Candidate{with(open, func(c *abi.Candidate) { c.MinOS = abi.OS(26, 1, 0) })}, code: policy.CodeOpen, reason: "open"},
		{name: "a system that nobody knows holds nothing", who: func(h *abi.Head) { h.OS = 0 }, candidates: []abi.Candidate{with(open, newSystem)}, code: policy.CodeOpen, reason: "open"},
		{name: "critical is phased like others", candidates: []abi.Candidate{with(held, critical), open}, choice: 1, code: policy.CodeOpen, reason: "open; newer: " + heldText},
		{name: "critical = phased says the same", config: `{"critical":"phased"}`, candidates: []abi.Candidate{with(held, critical)}, choice: abi.Hold, code: policy.CodeHeld, reason: heldText},
		{name: "critical = always: offered whatever the share", config: `{"critical":"always"}`, candidates: []abi.Candidate{with(held, critical), open}, code: policy.CodeCritical, reason: "critical"},
		{name: "critical = always: offered to the anonymous too", config: `{"critical":"always"}`, who: func(h *abi.Head) { h.BucketKey = "" }, candidates: []abi.Candidate{with(held, critical)}, code: policy.CodeCritical, reason: "critical"},
		{name: "critical = always does not revive a halted one", config: `{"critical":"always"}`, candidates: []abi.Candidate{with(with(held, critical), halted)}, choice: abi.Hold, code: policy.CodeHalted, reason: "halted"},
		{name: "critical = always does not cross channels", config: `{"critical":"always"}`, candidates: []abi.Candidate{with(with(held, critical), beta)}, choice: abi.Hold, code: policy.CodeChannel, reason: "channel"},
		{name: "critical = always leaves others phased", config: `{"critical":"always"}`, candidates: []abi.Candidate{held}, choice: abi.Hold, code: policy.CodeHeld, reason: heldText},
		{name: "no older one than the installed version", installed: 2, candidates: []abi.Candidate{held, open}, choice: abi.Hold, code: policy.CodeHeld, reason: heldText},
		{name: "not the installed version itself", installed: 2, candidates: []abi.Candidate{open}, choice: abi.Hold, code: policy.CodeOld, reason: "not newer"},
		{name: "the reason is of the candidate that came closest", candidates: []abi.Candidate{with(open, beta), held, with(open, halted)}, choice: abi.Hold, code: policy.CodeHeld, reason: heldText},
		{name: "flags that nobody knows change nothing", candidates: []abi.Candidate{with(open, func(c *abi.Candidate) { c.Flags = 1<<31 | abi.FlagNewest | abi.FlagDelta })}, code: policy.CodeOpen, reason: "open"},
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
			got := ask(t, config, who, abi.SelectVersionApp{Item: 1_000_001, Installed: max(test.installed, 1), Channel: test.channel, Candidates: test.candidates})
			if want := (abi.VersionChoice{Choice: test.choice, Code: test.code, Reason: test.reason}); got != want {
				t.Errorf("choice = %+v, want %+v", got, want)
			}
		})
	}
}

func TestRestore(t *testing.T) {
	const full = 10_000
	for _, test := range []struct {
		name       string
		candidates []abi.Candidate
		choice     abi.Choice
		code       uint32
	}{
		{"the requested version, although a newer one is open",
			[]abi.Candidate{{Version: 3, Rollout: full}, {Version: 2, Rollout: full, Flags: abi.FlagRequested}}, 1, policy.CodeRequested},
		{"the requested version, although it is not open to the bucket",
			[]abi.Candidate{{Version: 3, Rollout: 0, Flags: abi.FlagRequested}, {Version: 2, Rollout: full}}, 0, policy.CodeRequested},
		{"the requested version, although its channel is not followed",
			[]abi.Candidate{{Version: 3, Rollout: full}, {Version: 2, Rollout: full, Flags: abi.FlagRequested, Channel: "beta"}}, 1, policy.CodeRequested},
		{"the requested version, although it is halted: the device had it before",
			[]abi.Candidate{{Version: 3, Rollout: full}, {Version: 2, Rollout: full, Flags: abi.FlagRequested | abi.FlagHalted}, {Version: 1, Rollout: full}}, 1, policy.CodeRequested},
		{"the requested version needs a newer system: the newest open one",
			[]abi.Candidate{{Version: 3, Rollout: full, MinOS: abi.OS(27, 0, 0), Flags: abi.FlagRequested}, {Version: 2, Rollout: full}}, 1, policy.CodeOpen},
		{"none is requested: the newest open one",
			[]abi.Candidate{{Version: 4, Rollout: full, Channel: "beta"}, {Version: 3, Rollout: 0}, {Version: 2, Rollout: full}, {Version: 1, Rollout: full}}, 2, policy.CodeOpen},
		{"the installed version is no bound", // Installed is the requested version here, and that one is gone
			[]abi.Candidate{{Version: 2, Rollout: full}}, 0, policy.CodeOpen},
		{"none is open to the device: the newest that is not halted",
			[]abi.Candidate{{Version: 4, Rollout: full, Flags: abi.FlagHalted}, {Version: 3, Rollout: 0}, {Version: 2, Rollout: 0}}, 1, policy.CodeNewest},
		{"all are halted and none is requested: the newest",
			[]abi.Candidate{{Version: 4, Rollout: full, Flags: abi.FlagHalted}, {Version: 3, Rollout: full, Flags: abi.FlagHalted}}, 0, policy.CodeLast},
		{"no candidate: the core decides", nil, abi.Hold, policy.CodeNone},
	} {
		t.Run(test.name, func(t *testing.T) {
			for i, config := range []string{`{}`, `{"while_held":"nothing","critical":"always"}`} {
				// A person who asks for an app is answered as a device that had it.
				purpose := []abi.Purpose{abi.PurposeRestore, abi.PurposeInstallToken}[i]
				got := ask(t, config, device(purpose), abi.SelectVersionApp{Item: 1, Installed: 5, Candidates: test.candidates})
				if got.Choice != test.choice || got.Code != test.code || got.Reason == "" {
					t.Errorf("with %s: choice = %+v, want %d with code %d and a reason", config, got, test.choice, test.code)
				}
			}
		})
	}
}

// TestEachAppHasItsOwnAnswer asks about many apps at once: the reasons share a
// buffer that grows while it is written.
func TestEachAppHasItsOwnAnswer(t *testing.T) {
	var p policy.Rollout
	req := &abi.SelectVersionRequest{Head: device(abi.PurposeUpdate)}
	for i := range 300 {
		req.Apps = append(req.Apps, abi.SelectVersionApp{Item: uint64(i), Candidates: []abi.Candidate{{Version: 2, Rollout: 1, Salt: strconv.Itoa(i)}}})
	}
	for range 2 {
		var v abi.SelectVersionVerdict
		p.SelectVersion(req, &v)
		for i, c := range v.Items {
			b := abi.Bucket(key, strconv.Itoa(i))
			if want := "bucket " + strconv.Itoa(int(b)) + " is not below 1"; b > 0 && c.Reason != want {
				t.Fatalf("app %d: reason %q, want %q", i, c.Reason, want)
			}
		}
	}
}

func TestNewRefuses(t *testing.T) {
	for _, test := range []struct{ config, wrong string }{
		{`{"while_hold":"nothing"}`, "while_hold: there is no such key"},
		{`{"while_held":"later"}`, `while_held: want "previous" or "nothing", not "later"`},
		{`{"while_held":1}`, "while_held: want a text"},
		{`{"critical":"sometimes"}`, `critical: want "phased" or "always", not "sometimes"`},
		{`{"critical":true}`, "critical: want a text"},
		{`[]`, "want a table"},
		{``, "want a value"},
	} {
		if _, err := policy.New([]byte(test.config)); err == nil || !strings.Contains(err.Error(), test.wrong) {
			t.Errorf("New(%s) = %v, want an error with %q", test.config, err, test.wrong)
		}
	}
}

// offered reports whether a device gets a version that is open to a share.
func offered(p *policy.Rollout, req *abi.SelectVersionRequest, v *abi.SelectVersionVerdict, key, salt string, share uint32) bool {
	req.BucketKey = key
	req.Apps[0].Candidates[0].Salt, req.Apps[0].Candidates[0].Rollout = salt, share
	v.Items = v.Items[:0]
	p.SelectVersion(req, v)
	return v.Items[0].Choice == 0
}

// TestRolloutIsFair holds what people expect of a rollout, with fixed devices:
// it holds or it doesn't, never by chance.
func TestRolloutIsFair(t *testing.T) {
	const devices = 20_000
	var p policy.Rollout
	var v abi.SelectVersionVerdict
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
		near("a share of "+strconv.Itoa(int(share)), count(func(d string) bool { return offered(&p, req, &v, d, "a", share) }), float64(share)/abi.Buckets)
	}
	near("in the first tenth of two rollouts", count(func(d string) bool {
		return offered(&p, req, &v, d, "a", 1000) && offered(&p, req, &v, d, "b", 1000)
	}), 0.01)
	if n := count(func(d string) bool {
		first := offered(&p, req, &v, d, "a", 1000)
		req.NowMS, req.Seed = req.NowMS+86_400_000, req.Seed+1 // the next day
		return offered(&p, req, &v, d, "a", 1000) != first
	}); n > 0 {
		t.Errorf("%d devices get another answer when they ask again", n)
	}
	if n := count(func(d string) bool {
		in := false
		for _, share := range []uint32{0, 10, 1000, 1001, 5000, 9999, 10_000} {
			is := offered(&p, req, &v, d, "a", share)
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

func TestSelectVersionAllocatesNothing(t *testing.T) {
	var p policy.Rollout
	var v abi.SelectVersionVerdict
	for _, purpose := range []abi.Purpose{abi.PurposeUpdate, abi.PurposeRestore} {
		req := population()
		req.Purpose = purpose
		p.SelectVersion(req, &v) // makes the buffers
		if n := testing.AllocsPerRun(100, func() {
			v.Items = v.Items[:0]
			p.SelectVersion(req, &v)
		}); n != 0 {
			t.Errorf("purpose %d: %v allocations a call", purpose, n)
		}
	}
}

func BenchmarkSelectVersion(b *testing.B) {
	var p policy.Rollout
	var v abi.SelectVersionVerdict
	req := population()
	b.ReportAllocs()
	for b.Loop() {
		v.Items = v.Items[:0]
		p.SelectVersion(req, &v)
	}
}
