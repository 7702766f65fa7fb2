package plugin_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/souk-market/souk/core/plugin"
	"github.com/souk-market/souk/sdk/abi"
)

// Where the probe keeps what it gives to a host function.
const (
	keyAt   = 8192  // "key"
	valueAt = 8256  // "value"
	outAt   = 16384 // space, zeros
	endAt   = 18 * 64 << 10
)

// probe is a guest that calls one host function, in entitle and in exchange,
// and answers with the result: as a decision's code, or as an answer's Zero.
func probe(name, code string) []byte {
	g := newGuest()
	for _, f := range abi.Imports {
		if f.Name == name {
			g.imported("souk", f.Name, f.Params, f.Results)
		}
	}
	g.put(keyAt, []byte("key"))
	g.put(valueAt, []byte("value"))
	store := func(at int, code string) string { return fmt.Sprintf("i32.const %d %s i32.store ", at, code) }
	entitled := g.put(1024, decisions(allow))
	g.hook("entitle", store(1024+itemAt+4, code)+entitled)
	v := abi.ExchangeVerdict{Items: []abi.ExchangeAnswer{{Outcome: abi.ExchangeRefused}}}
	exchanged := g.put(2048, v.Append(nil))
	g.hook("exchange", store(2048+itemAt+4, code)+exchanged)
	return g.wasm()
}

func TestHostFunctions(t *testing.T) {
	const refused, update = int32(abi.CodeRefused), abi.PurposeUpdate
	full := func() *store { return &store{values: map[string][]byte{"key": []byte("stored")}} }
	failing := func(err error) func() *store { return func() *store { return &store{fail: err} } }
	for _, c := range []struct {
		rule, name, args string
		purpose          abi.Purpose
		kv               func() *store
		want             int32
		exchange         bool
	}{
		{"bucket", "bucket", "i32.const 8192 i32.const 3 i32.const 8256 i32.const 5", update, nil, int32(abi.Bucket("key", "value")), false},
		{"bucket of nothing", "bucket", "i32.const 0 i32.const 0 i32.const 0 i32.const 0", update, nil, int32(abi.Bucket("", "")), false},
		{"bucket of a key outside", "bucket", "i32.const -1 i32.const 3 i32.const 8256 i32.const 5", update, nil, refused, false},
		{"bucket of a salt that is endless", "bucket", "i32.const 8192 i32.const 3 i32.const 8256 i32.const -1", update, nil, refused, false},
		{"bucket of too much", "bucket", "i32.const 0 i32.const 60000 i32.const 0 i32.const 60000", update, nil, refused, false},

		{"get", "kv_get", "i32.const 8192 i32.const 3 i32.const 16384 i32.const 100", update, full, 6, false},
		{"get what isn't there", "kv_get", "i32.const 8192 i32.const 2 i32.const 16384 i32.const 100", update, full, int32(abi.CodeNotFound), false},
		{"get into too little space", "kv_get", "i32.const 8192 i32.const 3 i32.const 16384 i32.const 5", update, full, int32(abi.CodeDoesNotFit), false},
		{"get without a key", "kv_get", "i32.const 8192 i32.const 0 i32.const 16384 i32.const 5", update, full, refused, false},
		{"get a key outside", "kv_get", "i32.const -2 i32.const 3 i32.const 16384 i32.const 5", update, full, refused, false},
		{"get to outside", "kv_get", "i32.const 8192 i32.const 3 i32.const 1179640 i32.const 100", update, full, refused, false},
		{"get a key of 257 bytes", "kv_get", "i32.const 8192 i32.const 257 i32.const 16384 i32.const 100", update, full, refused, false},
		{"get from a store that fails", "kv_get", "i32.const 8192 i32.const 3 i32.const 16384 i32.const 100", update, failing(errors.New("disk")), int32(abi.CodeFailed), false},

		{"put", "kv_put", "i32.const 8192 i32.const 3 i32.const 8256 i32.const 5 i32.const 60", abi.PurposeLicense, full, 0, false},
		{"put in an update", "kv_put", "i32.const 8192 i32.const 3 i32.const 8256 i32.const 5 i32.const 60", update, full, refused, false},
		{"put in a restore", "kv_put", "i32.const 8192 i32.const 3 i32.const 8256 i32.const 5 i32.const 60", abi.PurposeRestore, full, refused, false},
		{"put in an exchange", "kv_put", "i32.const 8192 i32.const 3 i32.const 8256 i32.const 5 i32.const 60", abi.PurposeUpdate, full, 0, true},
		{"put 64 KiB", "kv_put", "i32.const 8192 i32.const 3 i32.const 0 i32.const 65536 i32.const 0", abi.PurposeLicense, full, 0, false},
		{"put more", "kv_put", "i32.const 8192 i32.const 3 i32.const 0 i32.const 65537 i32.const 0", abi.PurposeLicense, full, refused, false},
		{"put what lies outside", "kv_put", "i32.const 8192 i32.const 3 i32.const -8 i32.const 16 i32.const 0", abi.PurposeLicense, full, refused, false},
		{"put beyond the quota", "kv_put", "i32.const 8192 i32.const 3 i32.const 8256 i32.const 5 i32.const 0", abi.PurposeLicense, failing(plugin.ErrKVQuota), refused, false},

		{"delete", "kv_delete", "i32.const 8192 i32.const 3", abi.PurposeLicense, full, 0, false},
		{"delete what isn't there", "kv_delete", "i32.const 8192 i32.const 3", abi.PurposeLicense, failing(plugin.ErrKVNotFound), 0, false},
		{"delete in an update", "kv_delete", "i32.const 8192 i32.const 3", update, full, refused, false},

		{"swap from nothing", "kv_swap", "i32.const 8192 i32.const 2 i32.const 0 i32.const 0 i32.const 8256 i32.const 5", abi.PurposeLicense, full, 0, false},
		{"swap from nothing when there is something", "kv_swap", "i32.const 8192 i32.const 3 i32.const 0 i32.const 0 i32.const 8256 i32.const 5", abi.PurposeLicense, full, int32(abi.CodeConflict), false},
		{"swap in an update", "kv_swap", "i32.const 8192 i32.const 2 i32.const 0 i32.const 0 i32.const 8256 i32.const 5", update, full, refused, false},
		{"swap with pointers outside", "kv_swap", "i32.const 8192 i32.const 2 i32.const -1 i32.const 9 i32.const 8256 i32.const 5", abi.PurposeLicense, full, refused, false},

		{"add", "kv_add", "i32.const 8192 i32.const 2 i64.const 5 i32.const 16384", abi.PurposeLicense, full, 0, false},
		{"add with a result outside", "kv_add", "i32.const 8192 i32.const 2 i64.const 5 i32.const 1179644", abi.PurposeLicense, full, refused, false},
		{"add in an update", "kv_add", "i32.const 8192 i32.const 2 i64.const 5 i32.const 16384", update, full, refused, false},

		{"hash outside of a sign-in", "password_hash", "i32.const 8192 i32.const 3 i32.const 16384 i32.const 200", update, nil, refused, false},
		{"hash", "password_hash", "i32.const 8192 i32.const 3 i32.const 16384 i32.const 200", update, nil, 97, true},
		{"hash into too little space", "password_hash", "i32.const 8192 i32.const 3 i32.const 16384 i32.const 20", update, nil, int32(abi.CodeDoesNotFit), true},
		{"hash to outside", "password_hash", "i32.const 8192 i32.const 3 i32.const -9 i32.const 200", update, nil, refused, true},
		{"hash a password of 2 KiB", "password_hash", "i32.const 8192 i32.const 2048 i32.const 16384 i32.const 200", update, nil, refused, true},
		{"verify outside of a sign-in", "password_verify", "i32.const 8192 i32.const 3 i32.const 0 i32.const 0", update, nil, refused, false},
		{"verify without a hash", "password_verify", "i32.const 8192 i32.const 3 i32.const 0 i32.const 0", update, nil, 0, true},
		{"verify with what is no hash", "password_verify", "i32.const 8192 i32.const 3 i32.const 8256 i32.const 5", update, nil, 0, true},
		{"hmac", "hmac_sha256", "i32.const 8192 i32.const 3 i32.const 8256 i32.const 5 i32.const 16384 i32.const 32", update, nil, 32, false},
		{"hmac of nothing", "hmac_sha256", "i32.const 0 i32.const 0 i32.const 0 i32.const 0 i32.const 16384 i32.const 32", update, nil, 32, false},
		{"hmac into too little space", "hmac_sha256", "i32.const 8192 i32.const 3 i32.const 8256 i32.const 5 i32.const 16384 i32.const 31", update, nil, int32(abi.CodeDoesNotFit), false},
		{"hmac under a key outside", "hmac_sha256", "i32.const -1 i32.const 3 i32.const 8256 i32.const 5 i32.const 16384 i32.const 32", update, nil, refused, false},
		{"hmac of what lies outside", "hmac_sha256", "i32.const 8192 i32.const 3 i32.const 8256 i32.const -1 i32.const 16384 i32.const 32", update, nil, refused, false},
		{"hmac to outside", "hmac_sha256", "i32.const 8192 i32.const 3 i32.const 8256 i32.const 5 i32.const 1179640 i32.const 32", update, nil, refused, false},
		{"hmac of more than 1 MiB", "hmac_sha256", "i32.const 8192 i32.const 3 i32.const 0 i32.const 1048577 i32.const 16384 i32.const 32", update, nil, refused, false},
		{"equal", "equal_ct", "i32.const 8192 i32.const 3 i32.const 8192 i32.const 3", update, nil, 1, false},
		{"nothing equals nothing", "equal_ct", "i32.const 0 i32.const 0 i32.const 8192 i32.const 0", update, nil, 1, false},
		{"not equal", "equal_ct", "i32.const 8192 i32.const 3 i32.const 8256 i32.const 3", update, nil, 0, false},
		{"not equal in length", "equal_ct", "i32.const 8192 i32.const 3 i32.const 8192 i32.const 2", update, nil, 0, false},
		{"equal to what lies outside", "equal_ct", "i32.const 8192 i32.const 3 i32.const -2 i32.const 3", update, nil, refused, false},
		{"equal in more than 1 MiB", "equal_ct", "i32.const 0 i32.const 1048577 i32.const 0 i32.const 1048577", update, nil, refused, false},
		{"count", "metric_add", "i32.const 8192 i32.const 3 i64.const 5", update, nil, 0, false},
		{"count backwards", "metric_add", "i32.const 8192 i32.const 3 i64.const -1", update, nil, refused, false},
		{"count without a name", "metric_add", "i32.const 8192 i32.const 0 i64.const 5", update, nil, refused, false},
		{"count under a name with zeros in it", "metric_add", "i32.const 8192 i32.const 4 i64.const 5", update, nil, refused, false},
		{"count under a name outside", "metric_add", "i32.const -1 i32.const 3 i64.const 5", update, nil, refused, false},
		{"a secret outside of a sign-in", "secret_get", "i32.const 8192 i32.const 3 i32.const 16384 i32.const 100", update, nil, refused, false},
		{"a secret", "secret_get", "i32.const 8192 i32.const 3 i32.const 16384 i32.const 100", update, nil, 12, true},
		{"a secret that isn't there", "secret_get", "i32.const 8192 i32.const 2 i32.const 16384 i32.const 100", update, nil, int32(abi.CodeNotFound), true},
		{"a secret into too little space", "secret_get", "i32.const 8192 i32.const 3 i32.const 16384 i32.const 11", update, nil, int32(abi.CodeDoesNotFit), true},
		{"a secret to outside", "secret_get", "i32.const 8192 i32.const 3 i32.const 1179640 i32.const 100", update, nil, refused, true},
		{"a secret with a name outside", "secret_get", "i32.const -1 i32.const 3 i32.const 16384 i32.const 100", update, nil, refused, true},
		{"fetch outside of a sign-in", "http_fetch", "i32.const 8192 i32.const 3 i32.const 16384 i32.const 100", update, nil, refused, false},
		{"fetch what is no record", "http_fetch", "i32.const 8192 i32.const 3 i32.const 16384 i32.const 100", update, nil, refused, true},
		{"fetch what lies outside", "http_fetch", "i32.const -8 i32.const 64 i32.const 16384 i32.const 100", update, nil, refused, true},
		{"fetch what is too long", "http_fetch", "i32.const 0 i32.const 65537 i32.const 16384 i32.const 100", update, nil, refused, true},
		{"fetch to outside", "http_fetch", "i32.const 8192 i32.const 3 i32.const 1179640 i32.const 100", update, nil, refused, true},
		{"verify with pointers outside", "password_verify", "i32.const 8192 i32.const 3 i32.const -8 i32.const 97", update, nil, refused, true},
	} {
		t.Run(c.rule, func(t *testing.T) {
			s := spec("probe", probe(c.name, c.args+" call "+c.name))
			s.Allow, s.Hosts = everything, []string{"localhost:9"}
			t.Setenv("SOUK_TEST_SECRET", "twelve bytes")
			s.Secrets = plugin.Secrets{"key": {Env: "SOUK_TEST_SECRET"}}
			kv := &store{}
			if c.kv != nil {
				kv = c.kv()
			}
			h := open(t, plugin.Options{Specs: []plugin.Spec{s}, KV: kv.open})
			call := h.Acquire()
			defer call.Release()
			var got int32
			if c.exchange {
				call.Exchange.Purpose = c.purpose
				answer, _, err := call.AskExchange(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				got = int32(answer.Zero)
			} else {
				call.Entitle.Purpose = c.purpose
				call.Entitle.Apps = make([]abi.EntitleApp, 1)
				answer := call.AskEntitle(t.Context())[0]
				if answer.Failed {
					t.Fatal(h.Plugins()[0].LastFailure)
				}
				got = int32(answer.Code)
			}
			if got != c.want {
				t.Errorf("%s answers %d, want %d", c.name, got, c.want)
			}
		})
	}
}

func TestKVValuesArrive(t *testing.T) {
	kv := &store{}
	s := fullSpec(t)
	h := open(t, plugin.Options{Specs: []plugin.Spec{s}, KV: kv.open})
	for _, c := range []struct{ account, want string }{
		{"kv:get", " souk: not found"},
		{"kv:swap", "good"},
		{"kv:swap", "souk: the value is another"},
		{"kv:get", "first good"},
		{"kv:put", "good"},
		{"kv:get", "value good"},
		{"kv:delete", "good"},
		{"kv:get", " souk: not found"},
		{"kv:add", "5 good"},
		{"kv:add", "10 good"},
		{"kv:large", "souk: refused by the host"},
		{"kv:longkey", "souk: refused by the host"},
	} {
		if got := entitle(t, h, 1, abi.Head{Account: c.account, Purpose: abi.PurposeInstallToken})[0]; got.Reason != c.want {
			t.Errorf("%s: %q, want %q", c.account, got.Reason, c.want)
		}
	}
	if got := entitle(t, h, 1, abi.Head{Account: "kv:put", Purpose: abi.PurposeUpdate})[0]; got.Reason != "souk: refused by the host" {
		t.Errorf("kv_put in an update: %q, want a refusal", got.Reason)
	}
	if n := binary.LittleEndian.Uint64(kv.values["count"]); n != 10 {
		t.Errorf("the counter is %d, want 10", n)
	}
}

func TestGoGuestSeesNothingOfTheHost(t *testing.T) {
	s := fullSpec(t)
	h := open(t, plugin.Options{Specs: []plugin.Spec{s}, KV: (&store{}).open})
	ms := uint64(1_790_000_000_123)
	for _, c := range []struct{ account, want string }{
		{"time", "1790000000123 1h0m0s"},
		{"file", "open /etc/passwd: Bad file number 0 0"},
		{"hash", "souk: refused by the host"},
	} {
		if got := entitle(t, h, 1, abi.Head{Account: c.account, NowMS: ms})[0]; got.Reason != c.want {
			t.Errorf("%s: %q, want %q", c.account, got.Reason, c.want)
		}
	}
	random := func(seed uint64) string { return entitle(t, h, 1, abi.Head{Account: "random", Seed: seed})[0].Reason }
	if a, b, c := random(1), random(1), random(2); a != b || a == c || len(a) != 32 {
		t.Errorf("random bytes for seeds 1, 1 and 2: %s, %s and %s, want the first two alike", a, b, c)
	}
}

// What a guest draws in a sign-in hangs on 256 bits that no plugin is told, so
// that another one, which reads the same seed, doesn't know it.
func TestRandomOfASignIn(t *testing.T) {
	other := fullSpec(t)
	other.Name = "other"
	h := open(t, plugin.Options{Specs: []plugin.Spec{fullSpec(t), other}, KV: (&store{}).open})
	draw := func(owner string, random byte, seed uint64) string {
		c := h.Acquire()
		defer c.Release()
		c.SignIn.LoginHint, c.SignIn.Seed, c.Random[31] = "random", seed, random
		a, _, err := c.AskSignIn(t.Context(), owner)
		if err != nil || len(a.State) != 64 {
			t.Fatalf("%s drew %+v, %v", owner, a, err)
		}
		return strings.Clone(a.State)
	}
	first := draw("full", 1, 7)
	if again := draw("full", 1, 7); again != first {
		t.Errorf("the same question drew %s and %s, want the same", first, again)
	}
	for name, other := range map[string]string{
		"other randomness": draw("full", 2, 7),
		"another seed":     draw("full", 1, 8),
		"another plugin":   draw("other", 1, 7),
		"the seed alone":   draw("full", 0, 7),
	} {
		if other == first {
			t.Errorf("with %s a guest draws the same", name)
		}
	}
	if a, b := draw("full", 0, 7), draw("full", 0, 7); a != b {
		t.Errorf("with the seed alone a guest draws %s and %s, want the same", a, b)
	}
}

// The collector of a Go guest looks at the clock, which is the requests'.
func TestGoGuestCollectsGarbage(t *testing.T) {
	s := fullSpec(t)
	s.Instances = 1
	h := open(t, plugin.Options{Specs: []plugin.Spec{s}, KV: (&store{}).open, Timeless: true})
	for _, ms := range []uint64{0, 1_790_000_000_000, 1_780_000_000_000} {
		for range 200 {
			if got := entitle(t, h, 1, abi.Head{Account: "alloc", NowMS: ms})[0]; got.Failed {
				t.Fatalf("at %d ms: %s", ms, h.Plugins()[0].LastFailure)
			}
		}
	}
	if p := h.Plugins()[0]; p.Memory > 12<<20 {
		t.Errorf("the instance has %d bytes after 120 MB of garbage, want some megabytes", p.Memory)
	}
}

func TestGoGuestFailures(t *testing.T) {
	for _, c := range []struct {
		account string
		kind    plugin.Kind
		want    string
	}{
		{"panic", plugin.KindTrap, "panic: the guest's own panic"},
		{"exit", plugin.KindTrap, "the guest ended itself with code 3"},
		{"error", plugin.KindErrorCode, "the guest answered code 1: no answer today"},
	} {
		var j journal
		s := fullSpec(t)
		h := open(t, plugin.Options{Specs: []plugin.Spec{s}, KV: (&store{}).open, Log: j.logger()})
		if got := entitle(t, h, 1, abi.Head{Account: c.account})[0]; got.Decision != deny || !got.Failed {
			t.Errorf("%s: %+v, want a failure", c.account, got)
		}
		wantFailure(t, h, "full", "entitle", c.kind, 1)
		if have := h.Plugins()[0].LastFailure; !strings.Contains(have, c.want) || !strings.Contains(j.String(), c.want) {
			t.Errorf("%s: last failure %q, want it and the log to say %q", c.account, have, c.want)
		}
		if got := entitle(t, h, 1, abi.Head{})[0]; got.Decision != allow {
			t.Errorf("after %s: %+v, want an allowance by a new instance", c.account, got)
		}
		if info := h.Plugins()[0]; info.Restarts != 1 || info.Instances != 2 {
			t.Errorf("after %s: %d restarts and %d instances, want 1, and one in each lane", c.account, info.Restarts, info.Instances)
		}
	}
}

// Every function of WASI answers any arguments with an error number, and writes
// nowhere that it must not.
func TestWASIWithBadPointers(t *testing.T) {
	for _, name := range plugin.WASINames() {
		if name == "proc_exit" {
			continue
		}
		params := plugin.WASIParams(name)
		for _, v := range []int64{0, -1, math.MinInt32, endAt - 1} {
			g := newGuest().imported("wasi_snapshot_preview1", name, params, "i")
			var code strings.Builder
			for _, p := range params {
				op := "i32.const"
				if p == 'I' {
					op = "i64.const"
				}
				fmt.Fprintf(&code, "%s %d ", op, v)
			}
			out := g.put(1024, decisions(allow))
			g.hook("entitle", fmt.Sprintf("i32.const %d %s call %s i32.store %s", 1024+itemAt+4, code.String(), name, out))
			h := openSpecs(t, spec("wasi", g.wasm()))
			if got := entitle(t, h, 1, abi.Head{})[0]; got.Failed || got.Code > 76 {
				t.Errorf("%s(%d …) = %d, failed: %v %s", name, v, got.Code, got.Failed, h.Plugins()[0].LastFailure)
			}
		}
	}
}
