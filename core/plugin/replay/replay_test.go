package replay_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/souk-market/souk/core/coretest"
	"github.com/souk-market/souk/core/market"
	"github.com/souk-market/souk/core/plugin"
	"github.com/souk-market/souk/core/plugin/replay"
	"github.com/souk-market/souk/plugins"
	"github.com/souk-market/souk/sdk/abi"
)

var cache = coretest.Cache()

// memory is a KV in memory.
type memory struct {
	mu     sync.Mutex
	values map[string][]byte
}

func (m *memory) open(string) (plugin.KV, error) { return m, nil }

func (m *memory) Get(_ context.Context, key []byte) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if v, ok := m.values[string(key)]; ok {
		return bytes.Clone(v), nil
	}
	return nil, plugin.ErrKVNotFound
}

func (m *memory) Put(_ context.Context, key, val []byte, _ time.Duration) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.values[string(key)] = bytes.Clone(val)
	return nil
}

func (m *memory) Delete(_ context.Context, key []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.values, string(key))
	return nil
}

func (m *memory) Swap(_ context.Context, key, old, val []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if have, ok := m.values[string(key)]; ok != (len(old) > 0) || !bytes.Equal(have, old) {
		return plugin.ErrKVConflict
	}
	m.values[string(key)] = bytes.Clone(val)
	return nil
}

func (m *memory) Add(_ context.Context, key []byte, delta int64) (int64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	have := m.values[string(key)]
	if have == nil {
		have = make([]byte, 8)
	}
	if len(have) != 8 {
		return 0, plugin.ErrKVRefused
	}
	sum := int64(binary.LittleEndian.Uint64(have)) + delta
	m.values[string(key)] = binary.LittleEndian.AppendUint64(nil, uint64(sum))
	return sum, nil
}

func spec(name string, wasm []byte, config map[string]any, allow ...string) plugin.Spec {
	s := plugin.DefaultSpec()
	s.Name, s.Wasm, s.Config, s.Allow = name, wasm, config, allow
	s.Deadline *= 50
	s.StartDeadline *= 30
	return s
}

// keeper is a guest that keeps things in its kv: the account says what it does,
// the client under which key.
func keeper(t testing.TB) plugin.Spec {
	t.Helper()
	wasm, err := os.ReadFile("../../../sdk/conformance/c/guest.wasm")
	if err != nil {
		t.Fatal(err)
	}
	s := spec("keeper", wasm, nil, "log", "kv", "password", "crypto", "secret", "http", "metric")
	s.Hooks, s.Hosts, s.OnError = []string{"entitle"}, []string{"localhost:9"}, "abstain"
	return s
}

func allowlist() plugin.Spec {
	return spec("allowlist", plugins.Allowlist, map[string]any{"default": "allow", "items": map[string]any{"3": map[string]any{"any_grant": []string{"sub:plus"}}}}, "log")
}

func rollout(config map[string]any) plugin.Spec {
	return spec("rollout", plugins.Rollout, config, "log")
}

func rules(entitleDefault string) plugin.Rules { return &market.Config{EntitleDefault: entitleDefault} }

// half is an app whose newest version is open to a half of the people.
var half = abi.SelectVersionApp{Item: 2, Installed: 10, BundleID: "com.example.half", Candidates: []abi.Candidate{
	{Version: 30, Rollout: abi.Buckets / 2, Salt: "2/30", Flags: abi.FlagNewest},
	{Version: 20, Rollout: abi.Buckets, Salt: "2/20"},
}}

// ask asks both questions for an account.
func ask(t testing.TB, h *plugin.Host, account string, purpose abi.Purpose, grants ...string) {
	t.Helper()
	c := h.Acquire()
	defer c.Release()
	head := abi.Head{NowMS: 1_790_000_000_000, Purpose: purpose, Account: account, BucketKey: account, Client: "device-of-" + account, Organization: "what is kept", Platform: abi.PlatformIOS, Grants: grants}
	c.Entitle.Head, c.SelectVersion.Head = head, head
	c.Entitle.Apps = append(c.Entitle.Apps, abi.EntitleApp{Item: 2}, abi.EntitleApp{Item: 3})
	c.AskEntitle(t.Context())
	c.SelectVersion.Apps = append(c.SelectVersion.Apps, half)
	c.AskSelectVersion(t.Context())
}

// people are some whose names make the keeper do something, and some others.
func people() []string {
	list := []string{"kv_put", "kv_get", "kv_add", "kv_swap", "kv_delete", "log", "bucket", "error", "abstain"}
	for i := range 20 {
		list = append(list, fmt.Sprintf("person-%d@example.com", i))
	}
	return list
}

// record lets all people ask, twice, and returns the file.
func record(t testing.TB, most int64, specs ...plugin.Spec) (file string) {
	t.Helper()
	file = filepath.Join(t.TempDir(), "decisions.jsonl")
	w, err := replay.Create(file, most)
	if err != nil {
		t.Fatal(err)
	}
	w.EntitleDefault = "auto"
	kv := &memory{values: map[string][]byte{}}
	h, err := plugin.Open(t.Context(), plugin.Options{Cache: cache, Specs: specs, KV: kv.open, Rules: rules("auto"), Record: w})
	if err != nil {
		t.Fatal(err)
	}
	want, hooks := uint64(0), uint64(0)
	for _, hook := range []abi.Hook{abi.HookEntitle, abi.HookSelectVersion} {
		if h.Has(hook) {
			hooks++
		}
	}
	for range 2 {
		for _, who := range people() {
			ask(t, h, who, abi.PurposeInstallToken)
			ask(t, h, who, abi.PurposeUpdate, "sub:plus")
			// Let the worker have its turn: what comes too fast isn't recorded.
			for want += 2 * hooks; h.Recording().Recorded+h.Recording().Missed+h.Recording().Failed < want; {
				time.Sleep(time.Millisecond) // between looks, not instead of them
			}
		}
	}
	if r := h.Recording(); r.Recorded != want {
		t.Fatalf("the recording is %+v, want %d recorded", r, want)
	}
	if err := errors.Join(h.Close(t.Context()), w.Close()); err != nil {
		t.Fatal(err)
	}
	return file
}

// try runs a plugin over a recording.
func try(t testing.TB, file, as string, s plugin.Spec) *replay.Report {
	t.Helper()
	r, err := run(t, file, as, s)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func run(t testing.TB, file, as string, s plugin.Spec) (*replay.Report, error) {
	t.Helper()
	h, err := plugin.Open(t.Context(), plugin.Options{Cache: cache, Specs: []plugin.Spec{s}, KV: replay.NoStore, Timeless: true})
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close(context.Background())
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	trial := replay.Trial{Host: h, Plugin: s.Name, As: as, Rules: rules}
	return trial.Run(t.Context(), replay.NewReader(f))
}

// A module over its own recording makes the same decisions, for the same fuel,
// whatever it kept in its kv by then.
func TestTheSameModuleChangesNothing(t *testing.T) {
	specs := []plugin.Spec{keeper(t), allowlist(), rollout(nil)}
	file := record(t, 1<<30, specs...)
	for _, s := range specs {
		r := try(t, file, s.Name, s)
		if r.Changed != 0 || r.Unknown != 0 || r.Unanswered != 0 || r.Damaged != 0 || r.Differs() || len(r.List) > 0 {
			t.Errorf("%s over its own recording: %+v, want that nothing changes", s.Name, r)
		}
		if n := 4 * len(people()); r.Questions != n || r.Same != r.Decisions || r.Devices != len(people()) || len(r.Modules) != 1 {
			t.Errorf("%s: %+v, want %d questions of %d devices", s.Name, r, n, len(people()))
		}
		// A guest in Go has a collector, which runs when it runs.
		if r.Fuel.Before == 0 || r.Fuel.Before != r.Fuel.After && s.Name != "allowlist" {
			t.Errorf("%s used %d units of fuel and then %d", s.Name, r.Fuel.Before, r.Fuel.After)
		}
	}
}

// A planted change is found, and the devices are named.
func TestAChangeNamesItsDevices(t *testing.T) {
	file := record(t, 1<<30, allowlist(), rollout(nil))
	r := try(t, file, "rollout", rollout(map[string]any{"while_held": "nothing"}))
	var want []string
	for _, who := range people() {
		if abi.Bucket(who, "2/30") >= abi.Buckets/2 {
			want = append(want, who)
		}
	}
	slices.Sort(want)
	var got []string
	for _, d := range r.List {
		if d.Before.String() != "offer 20" || d.After.String() != "hold" || d.Item != 2 || d.Hook != "select_version" || d.Purpose != "update" || d.Times != 2 {
			t.Errorf("a difference is %+v", d)
		}
		if d.Client != "device-of-"+d.Key || !strings.Contains(d.After.Reason, "is not below 5000") || d.At.IsZero() {
			t.Errorf("a difference says %+v", d)
		}
		got = append(got, d.Key)
	}
	if !slices.Equal(got, want) || len(want) == 0 {
		t.Errorf("the devices are %v, want %v", got, want)
	}
	if r.ChangedDevices != len(want) || r.Changed != 2*len(want) || r.Same != r.Decisions-r.Changed || !r.Differs() {
		t.Errorf("the report is %+v", r)
	}
	if c := r.Changes; len(c) != 1 || c[0].Reason != "rollout: bucket # is not below #" || c[0].From != "offer" || c[0].To != "hold" || c[0].Count != uint64(2*len(want)) {
		t.Errorf("the changes are %+v", c)
	}

	// And who loses an app, with the plugin that says so.
	stricter := allowlist()
	stricter.Config = map[string]any{"default": "allow", "items": map[string]any{"2": map[string]any{"accounts": []string{"log"}}}}
	r = try(t, file, "allowlist", stricter)
	if r.ChangedDevices != len(people()) { // all lose 2 but one, who gains 3
		t.Errorf("%d devices change, want all %d", r.ChangedDevices, len(people()))
	}
	kinds := map[string]uint64{}
	for _, c := range r.Changes {
		kinds[c.From+" → "+c.To] += c.Count
	}
	n := uint64(len(people()))
	if kinds["allow → deny"] != 4*(n-1) || kinds["deny → allow"] != 2*n {
		t.Errorf("the changes are %v of %+v", kinds, r.Changes)
	}
}

// What a module would have asked the host and nobody recorded is no change, and
// is said.
func TestUnknownAnswers(t *testing.T) {
	file := record(t, 1<<30, allowlist(), rollout(nil))
	s := keeper(t)
	s.Name = "allowlist"
	r := try(t, file, "allowlist", s)
	// Five people make it ask, in two questions of two apps each; their updates may
	// not write, but read.
	if r.Unknown == 0 || !r.Differs() {
		t.Errorf("the report is %+v, want unknown answers", r)
	}
	for _, d := range r.List {
		if slices.Contains([]string{"kv_get"}, d.Key) {
			t.Errorf("%s has the difference %+v, but nobody knows what the host would have said", d.Key, d)
		}
	}
	if _, err := run(t, file, "nobody", s); err == nil || !strings.Contains(err.Error(), `the recording has no plugin "nobody": it has ["allowlist" "rollout"]`) {
		t.Errorf("replay of nobody: %v", err)
	}
}

// A module that traps decides by on_error, and is counted.
func TestFailuresAreCounted(t *testing.T) {
	file := record(t, 1<<30, allowlist(), rollout(nil))
	s := allowlist()
	s.Fuel = 10
	r := try(t, file, "allowlist", s)
	if r.Failures["fuel"] != r.Questions || r.Questions == 0 || r.Changed == 0 {
		t.Errorf("without fuel: %+v", r)
	}
}

// What was recorded is that of one device, or nothing of it; and it holds nothing
// of a sign-in.
func TestRecordShare(t *testing.T) {
	file := filepath.Join(t.TempDir(), "decisions.jsonl")
	w, err := replay.Create(file, 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	h, err := plugin.Open(t.Context(), plugin.Options{Cache: cache, Specs: []plugin.Spec{allowlist(), rollout(nil)}, Record: w, RecordShare: 4000})
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		for _, who := range people() {
			ask(t, h, who, abi.PurposeUpdate)
		}
	}
	if err := errors.Join(h.Close(t.Context()), w.Close()); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	times := map[string]int{}
	for line := range strings.Lines(string(text)) {
		var r replay.Record
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatal(err)
		}
		if r.Key != "" {
			times[r.Key]++
		}
	}
	if len(times) == 0 || len(times) == len(people()) {
		t.Errorf("%d of %d devices are recorded", len(times), len(people()))
	}
	for who, n := range times {
		if n != 6 {
			t.Errorf("%s is recorded %d times, want 6", who, n)
		}
	}
}

// The last decisions are kept, in two files of a size that is bounded, and nobody
// else can read them.
func TestRotation(t *testing.T) {
	const most = 64 << 10
	file := record(t, most, allowlist(), rollout(nil))
	for _, name := range []string{file, file + ".1"} {
		info, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		if info.Size() > most || info.Mode().Perm() != 0o600 {
			t.Errorf("%s has %d bytes and mode %v, want %d at most, for its owner", name, info.Size(), info.Mode(), most)
		}
		if r := try(t, name, "rollout", rollout(nil)); r.Questions == 0 || r.Changed != 0 || r.Damaged != 0 {
			t.Errorf("%s: %+v, want a recording of its own", name, r)
		}
	}
}

// A file goes on after a crash: the line that was cut off is left out.
func TestAfterACrash(t *testing.T) {
	file := record(t, 1<<30, allowlist(), rollout(nil))
	whole := try(t, file, "rollout", rollout(nil))
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, text[:len(text)-100], 0o644); err != nil {
		t.Fatal(err)
	}
	if r := try(t, file, "allowlist", allowlist()); r.Damaged != 1 || r.Changed != 0 {
		t.Errorf("with a line cut off: %+v", r)
	}
	w, err := replay.Create(file, 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	h, err := plugin.Open(t.Context(), plugin.Options{Cache: cache, Specs: []plugin.Spec{allowlist(), rollout(nil)}, Record: w, Rules: rules("auto")})
	if err != nil {
		t.Fatal(err)
	}
	ask(t, h, "late@example.com", abi.PurposeUpdate)
	if err := errors.Join(h.Close(t.Context()), w.Close()); err != nil {
		t.Fatal(err)
	}
	// A question of rollout was cut off, and one more came.
	if r := try(t, file, "rollout", rollout(nil)); r.Damaged != 1 || r.Questions != whole.Questions || r.Devices != whole.Devices+1 || r.Changed != 0 {
		t.Errorf("after another start: %+v, want %d questions", r, whole.Questions)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file of another start is %v, %v; want it for its owner alone", info.Mode(), err)
	}
}

// The header holds until the next: a swap while it is recorded is no confusion.
func TestSwapsAreRecorded(t *testing.T) {
	file := filepath.Join(t.TempDir(), "decisions.jsonl")
	w, err := replay.Create(file, 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	h, err := plugin.Open(t.Context(), plugin.Options{Cache: cache, Specs: []plugin.Spec{rollout(nil)}, Record: w, Rules: rules("auto")})
	if err != nil {
		t.Fatal(err)
	}
	for _, config := range []map[string]any{nil, {"while_held": "nothing"}, {"critical": "always"}} {
		if _, err := h.Reload(t.Context(), []plugin.Spec{rollout(config), allowlist()}, nil); err != nil {
			t.Fatal(err)
		}
		for _, who := range people() {
			ask(t, h, who, abi.PurposeUpdate)
		}
	}
	if err := errors.Join(h.Close(t.Context()), w.Close()); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	configs := map[string]bool{}
	for line := range strings.Lines(string(text)) {
		var header replay.Header
		if err := json.Unmarshal([]byte(line), &header); err != nil {
			t.Fatal(err)
		}
		if header.Version != 0 {
			configs[header.Plugin("rollout").ConfigSHA256] = true
		}
	}
	if len(configs) != 3 {
		t.Errorf("the recording names %d configurations, want 3", len(configs))
	}
	r := try(t, file, "rollout", rollout(nil))
	if r.Changed == 0 || r.Same == 0 || r.Damaged != 0 {
		t.Errorf("of three configurations: %+v, want that those of one change", r)
	}
}

func TestNoRecording(t *testing.T) {
	for _, test := range []struct{ name, text, words string }{
		{"nothing", "", "it is empty"},
		{"something else", "hello\n", "line 1: replay: is no recording"},
		{"another JSON", `{"a":1}` + "\n", "line 1: replay: is no recording: its first line doesn't say who was asked"},
		{"a later version", `{"souk_decisions":2}` + "\n", "it has version 2, and 1 is known"},
		{"nothing but a header", `{"souk_decisions":1,"plugins":[{"name":"rollout"}]}` + "\n", "has no decision"},
	} {
		file := filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(file, []byte(test.text), 0o600); err != nil {
			t.Fatal(err)
		}
		if r, err := run(t, file, "rollout", rollout(nil)); err == nil || !strings.Contains(err.Error(), test.words) {
			t.Errorf("%s: %+v, %v; want %q", test.name, r, err, test.words)
		}
	}
}

// FuzzReader: nothing in a file makes the reader or a replay panic, and what is
// read is whole.
func FuzzReader(f *testing.F) {
	file := record(f, 1<<30, keeper(f), allowlist(), rollout(nil))
	text, err := os.ReadFile(file)
	if err != nil {
		f.Fatal(err)
	}
	lines := bytes.SplitAfter(text, []byte("\n"))
	for i := 1; i < len(lines); i += 9 {
		f.Add(slices.Concat(lines[0], lines[i]))
	}
	f.Add(text[:len(text)/20])
	f.Add([]byte(`{"souk_decisions":1}` + "\n\n" + `{"request":"AAAA"}`))
	s := rollout(nil)
	h, err := plugin.Open(f.Context(), plugin.Options{Cache: cache, Specs: []plugin.Spec{s}, KV: replay.NoStore, Timeless: true})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { h.Close(context.Background()) })
	f.Fuzz(func(t *testing.T, text []byte) {
		trial := replay.Trial{Host: h, Plugin: "rollout", As: "rollout", Rules: rules}
		r, err := trial.Run(t.Context(), replay.NewReader(bytes.NewReader(text)))
		if err != nil {
			return
		}
		if r.Same+r.Changed+r.Unknown+r.Unanswered != r.Decisions || r.ChangedDevices > r.Devices || r.Devices > r.Questions {
			t.Errorf("the sums are wrong: %+v", r)
		}
	})
}

// edited is a recording after somebody, or some other host, has changed each record.
func edited(t *testing.T, file string, change func(*replay.Record)) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	for line := range bytes.Lines(text) {
		var r replay.Record
		if err := json.Unmarshal(line, &r); err != nil {
			t.Fatal(err)
		}
		if r.Request == nil {
			out.Write(line)
			continue
		}
		change(&r)
		if err := json.NewEncoder(&out).Encode(r); err != nil {
			t.Fatal(err)
		}
	}
	name := filepath.Join(t.TempDir(), "edited.jsonl")
	if err := os.WriteFile(name, out.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// What can't be compared is left out, and said.
func TestNothingToCompareWith(t *testing.T) {
	second := rollout(map[string]any{"while_held": "nothing"})
	second.Name = "second"
	file := record(t, 1<<30, rollout(nil), second)

	late := edited(t, file, func(r *replay.Record) {
		r.Plugins[0].Choices, r.Plugins[0].Failure = nil, &replay.Failure{Kind: plugin.KindDeadline.String(), Reason: "its deadline is over"}
	})
	if r := try(t, late, "rollout", rollout(nil)); r.Unanswered != r.Decisions || r.Decisions == 0 || r.Differs() {
		t.Errorf("after deadlines: %+v, want that all are left out", r)
	}
	trapped := edited(t, file, func(r *replay.Record) {
		r.Plugins[0].Choices, r.Plugins[0].Failure = nil, &replay.Failure{Kind: plugin.KindTrap.String(), Reason: "unreachable"}
		r.Outcomes[0].Result, r.Outcomes[0].Version = plugin.ResultHold, 0
	})
	if r := try(t, trapped, "rollout", rollout(nil)); r.Unanswered != 0 || r.Changed == 0 {
		t.Errorf("after traps: %+v, want that a module without them changes something", r)
	}

	// A chain that was cut off by a swap: what is behind it may have decided.
	short := edited(t, file, func(r *replay.Record) { r.Plugins = r.Plugins[:1] })
	if r := try(t, short, "rollout", rollout(nil)); r.Unknown != 0 || r.Same != r.Decisions {
		t.Errorf("of the first alone, which decides: %+v", r)
	}
	silent := keeper(t)
	silent.Hooks = []string{"entitle", "select_version"}
	r := try(t, short, "rollout", silent)
	for _, d := range r.List {
		if d.Key == "abstain" {
			t.Errorf("of the first alone, which abstains: %+v, want that it can't be told", d)
		}
	}
	if r.Unknown == 0 {
		t.Errorf("of the first alone, which abstains: %+v, want that it can't be told", r)
	}
	if r := try(t, file, "rollout", silent); r.Unknown != 0 {
		t.Errorf("of both: %+v, want that all can be told", r)
	}

	// Nor is it known of one that was asked beside the request, and not in time.
	busy := edited(t, file, func(r *replay.Record) {
		r.Plugins[1].Choices, r.Plugins[1].Failure = nil, &replay.Failure{Kind: plugin.KindBusy.String(), Reason: "its instance didn't become free"}
	})
	if r := try(t, busy, "rollout", rollout(nil)); r.Unknown != 0 || r.Same != r.Decisions {
		t.Errorf("before one that was busy, which changes nothing: %+v", r)
	}
	if busy := try(t, busy, "rollout", silent); busy.Unknown != r.Unknown || busy.Changed != r.Changed {
		t.Errorf("before one that was busy: %+v, want what is known without it, %+v", busy, r)
	}
}

// Lines that make no sense are left out, and counted.
func TestDamagedRecords(t *testing.T) {
	file := record(t, 1<<30, allowlist(), rollout(nil))
	whole := try(t, file, "allowlist", allowlist())
	for name, change := range map[string]func(*replay.Record){
		"no question":           func(r *replay.Record) { r.Request = []byte("hello") },
		"a question cut off":    func(r *replay.Record) { r.Request = r.Request[:len(r.Request)/2] },
		"another app":           func(r *replay.Record) { r.Outcomes[0].Item++ },
		"one outcome too few":   func(r *replay.Record) { r.Outcomes = r.Outcomes[1:] },
		"a plugin of nobody":    func(r *replay.Record) { r.Plugins[0].Plugin = "nobody" },
		"answered and failed":   func(r *replay.Record) { r.Plugins[0].Failure = &replay.Failure{Kind: "trap"} },
		"a candidate too many":  func(r *replay.Record) { r.Plugins[0].Choices = []replay.Choice{{Choice: 2}} },
		"a choice that is none": func(r *replay.Record) { r.Plugins[0].Choices = []replay.Choice{{Choice: -4}} },
		"a decision that is none": func(r *replay.Record) {
			r.Plugins[0].Choices, r.Plugins[0].Decisions = nil, []replay.Decision{{Decision: "maybe"}, {Decision: "allow"}}
		},
	} {
		n := 0
		damaged := edited(t, file, func(r *replay.Record) {
			if r.Key == "person-1@example.com" {
				n++
				change(r)
			}
		})
		r := try(t, damaged, "allowlist", allowlist())
		if r.Damaged != n || r.Changed != 0 || r.Devices != whole.Devices-1 {
			t.Errorf("%s: %d damaged of %d, %d changed, %d devices", name, r.Damaged, n, r.Changed, r.Devices)
		}
	}
	long := edited(t, file, func(r *replay.Record) {
		if r.Key == "person-1@example.com" {
			r.Client = strings.Repeat("x", 9<<20)
		}
	})
	if r := try(t, long, "allowlist", allowlist()); r.Damaged != 8 || r.Devices != whole.Devices-1 {
		t.Errorf("lines that are too long: %+v", r)
	}
}
