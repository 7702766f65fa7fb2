package plugin_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/souk-market/souk/core/plugin"
	"github.com/souk-market/souk/sdk/abi"
)

// ledger is a Recorder in memory.
type ledger struct {
	plugins   [][]plugin.RecordedPlugin
	decisions []*plugin.Decision
	fail      error
}

func (l *ledger) Plugins(p []plugin.RecordedPlugin) error {
	if l.fail == nil {
		l.plugins = append(l.plugins, p)
	}
	return l.fail
}

func (l *ledger) Record(d *plugin.Decision) error {
	if l.fail == nil {
		l.decisions = append(l.decisions, d)
	}
	return l.fail
}

// replayed asks a module what was recorded of another.
func replayed(t testing.TB, s plugin.Spec, d *plugin.Decision) plugin.Verdict {
	t.Helper()
	empty := &store{fail: errors.New("nobody asks the store in a replay")}
	h := open(t, plugin.Options{Specs: []plugin.Spec{s}, KV: empty.open, Timeless: true})
	v, err := h.Replay(t.Context(), s.Name, d.Inquiry, d.Verdicts[0].Host())
	if err != nil {
		t.Fatal(err)
	}
	if m := h.Plugins()[0].Metrics; len(m) > 0 {
		t.Errorf("a replay counted %v", m)
	}
	return v
}

// What the host answered to a request, it answers again in a replay: whatever the
// store has by then.
func TestRecordedAnswersAreGivenAgain(t *testing.T) {
	s := spec("restless", restless())
	s.Allow = []string{"kv", "log", "metric"}
	l, kv := &ledger{}, &store{}
	h := open(t, plugin.Options{Specs: []plugin.Spec{s}, KV: kv.open, Record: l})
	for range 3 {
		entitle(t, h, 1, abi.Head{Purpose: abi.PurposeInstallToken, BucketKey: "alice"})
	}
	entitle(t, h, 1, abi.Head{Purpose: abi.PurposeUpdate, BucketKey: "alice"}) // it may not write
	plugin.Looked(h)
	if len(l.decisions) != 4 || len(l.plugins) != 1 || l.plugins[0][0].Name != "restless" || len(l.plugins[0][0].SHA256) != 64 {
		t.Fatalf("recorded are %d decisions of %+v", len(l.decisions), l.plugins)
	}
	for i, want := range []uint32{2, 4, 6, 0} {
		d := l.decisions[i]
		if v := d.Verdicts[0]; v.Dry || v.Decisions[0].Code != want || d.Outcomes[0].Result != plugin.ResultAllow || d.Head().BucketKey != "alice" {
			t.Errorf("decision %d is %+v, %+v", i, v, d.Outcomes)
		}
		v := replayed(t, s, d)
		if v.Unknown || v.Failure != nil || v.Decisions[0].Code != want || v.Fuel != d.Verdicts[0].Fuel {
			t.Errorf("replay %d came to %+v, want code %d for %d units of fuel", i, v, want, d.Verdicts[0].Fuel)
		}
	}
	host := l.decisions[1].Verdicts[0].Host()
	want := []plugin.HostAnswer{
		{Op: plugin.OpPut, Key: []byte("value"), Value: []byte("value")}, {Op: plugin.OpAdd, Key: []byte("counter"), Delta: 1, Sum: 3},
		{Op: plugin.OpAdd, Key: []byte("counter"), Delta: 1, Sum: 4}, {Op: plugin.OpMetric, Key: []byte("metric"), Delta: 1},
	}
	if !slices.EqualFunc(host, want, func(a, b plugin.HostAnswer) bool {
		return a.Op == b.Op && string(a.Key) == string(b.Key) && string(a.Value) == string(b.Value) && a.Sum == b.Sum && a.Delta == b.Delta && a.Code == b.Code
	}) {
		t.Errorf("the host's answers are %+v, want %+v", host, want)
	}
	// One that asks something else learns nothing.
	l.decisions[0].Verdicts[0].Host()[1].Key = []byte("other")
	if v := replayed(t, s, l.decisions[0]); !v.Unknown {
		t.Errorf("a replay without the answer came to %+v, want that it is unknown", v)
	}
}

// reaches is a guest that makes calls to its kv, in order: "get" and "put", of one
// key. Its code is what the last of them answered.
func reaches(calls ...string) []byte {
	g := newGuest()
	g.imported("souk", "kv_get", "iiii", "i").imported("souk", "kv_put", "iiiii", "i")
	g.data = append(g.data, segment{16, []byte("keyvalue")})
	verdict := g.put(1024, decisions(allow))
	at := 1024 + 32 + 4 // the code of the first decision
	var code string
	for _, call := range calls {
		code += fmt.Sprintf("i32.const %d i32.const 16 i32.const 3 ", at)
		if call == "get" {
			code += "i32.const 32 i32.const 8 call kv_get i32.store "
		} else {
			code += "i32.const 19 i32.const 5 i32.const 0 call kv_put i32.store "
		}
	}
	return g.hook("entitle", code+verdict).wasm()
}

// An answer that was given before a write is none to what is asked after it.
func TestRecordedAnswersHaveTheirPlace(t *testing.T) {
	keeper := func(calls ...string) plugin.Spec {
		s := spec("keeper", reaches(calls...))
		s.Allow = []string{"kv"}
		return s
	}
	notFound := abi.CodeNotFound
	missing := uint32(notFound)
	for _, test := range []struct {
		recorded, asked string
		unknown         bool
		code            uint32
	}{
		{"get put get", "get put get", false, 5},
		{"get put get", "put get", false, 5},
		{"get put get", "get get", false, missing},
		{"get put get", "get put get get", false, 5},
		{"get put", "put get", true, 0},
		{"get put", "put put", true, 0},
		{"put get", "get", true, 0},
	} {
		l := &ledger{}
		h := open(t, plugin.Options{Specs: []plugin.Spec{keeper(strings.Fields(test.recorded)...)}, KV: (&store{}).open, Record: l})
		entitle(t, h, 1, abi.Head{Purpose: abi.PurposeInstallToken})
		plugin.Looked(h)
		v := replayed(t, keeper(strings.Fields(test.asked)...), l.decisions[0])
		if v.Unknown != test.unknown || !v.Unknown && v.Decisions[0].Code != test.code {
			t.Errorf("%q over a recording of %q came to %+v, want unknown %v or code %d", test.asked, test.recorded, v, test.unknown, test.code)
		}
	}
}

// All of a chain is recorded, also what a request didn't come to asking.
func TestRecordCompletesTheChain(t *testing.T) {
	l := &ledger{}
	second := spec("second", restless())
	second.Allow = []string{"kv", "log", "metric"}
	kv := &store{}
	h := open(t, plugin.Options{
		Specs:  []plugin.Spec{spec("first", decisive(deny, "no")), shadow("beside", "first", decisive(allow, "")), second},
		Record: l, KV: kv.open,
	})
	entitle(t, h, 1, abi.Head{Purpose: abi.PurposeInstallToken})
	i := info(t, h, "second")
	v := l.decisions[0].Verdicts
	if len(v) != 2 || v[0].Plugin != "first" || v[0].Dry || v[1].Plugin != "second" || !v[1].Dry || v[1].Decisions[0].Decision != allow || len(v[1].Host()) != 4 {
		t.Errorf("recorded is %+v, want both plugins, the second one dry and with the host's answers", v)
	}
	if i.Hooks[0].Calls != 0 || len(kv.values) > 0 || len(i.Metrics) > 0 {
		t.Errorf("the second one counts %+v and keeps %q", i, kv.values)
	}
	if len(l.plugins[0]) != 2 {
		t.Errorf("recorded are the plugins %+v, want those that are asked in earnest", l.plugins[0])
	}
}

// A recorder that can't is counted and told of once; nobody else notices.
func TestRecorderFails(t *testing.T) {
	l, j := &ledger{fail: errors.New("the disk is full")}, &journal{}
	h := open(t, plugin.Options{Specs: []plugin.Spec{spec("a", decisive(allow, "yes"))}, Record: l, Log: j.logger()})
	for range 5 {
		if e := entitle(t, h, 1, abi.Head{})[0]; e.Decision != allow || e.Failed {
			t.Errorf("answered %+v", e)
		}
	}
	plugin.Looked(h)
	if r := h.Recording(); r.Recorded != 0 || r.Failed != 5 || r.Error != "the disk is full" {
		t.Errorf("the recording is %+v, want 5 failures", r)
	}
	if n := strings.Count(j.String(), "decisions can't be recorded"); n != 1 {
		t.Errorf("the log says it %d times, want once", n)
	}
	l.fail = nil
	entitle(t, h, 1, abi.Head{})
	plugin.Looked(h)
	if r := h.Recording(); r.Recorded != 1 || r.Error != "" {
		t.Errorf("the recording is %+v, want that it works again", r)
	}
}

// Nothing that a person typed is recorded, and no secret that a plugin has kept.
func TestRecordHoldsNoSecret(t *testing.T) {
	t.Setenv("A_SECRET", "valuecounter") // which the guest writes as a value
	l := &ledger{}
	g := newGuest()
	g.imported("souk", "kv_put", "iiiii", "i")
	g.data = append(g.data, segment{16, []byte("valuecounter")})
	verdict := g.put(1024, decisions(allow))
	g.hook("entitle", "i32.const 16 i32.const 5 i32.const 16 i32.const 12 i32.const 0 call kv_put drop "+verdict)
	g.hook("sign_in", "i64.const 0").hook("exchange", "i64.const 0")
	s := spec("teller", g.wasm())
	s.Allow, s.Secrets = []string{"kv", "secret"}, plugin.Secrets{"mine": {Env: "A_SECRET"}}
	h := open(t, plugin.Options{Specs: []plugin.Spec{s}, KV: (&store{}).open, Record: l})
	entitle(t, h, 1, abi.Head{Purpose: abi.PurposeInstallToken})
	c := h.Acquire()
	c.SignIn.Fields = append(c.SignIn.Fields, abi.SubmittedField{Name: "password", Value: "wonderland"})
	_, _, errSignIn := c.AskSignIn(t.Context(), "")
	c.Exchange.SubjectToken = "wonderland"
	_, _, errExchange := c.AskExchange(t.Context())
	c.Release()
	if !errors.Is(errSignIn, plugin.ErrAbstained) || !errors.Is(errExchange, plugin.ErrAbstained) {
		t.Fatalf("asked: %v, %v", errSignIn, errExchange)
	}
	plugin.Looked(h)
	if r := h.Recording(); len(l.decisions) != 0 || r.Recorded != 0 || r.Missed != 1 {
		t.Errorf("recorded are %+v of %+v, want nothing", l.decisions, r)
	}
}

// hung is a Recorder whose disk is slow.
type hung struct {
	ledger
	began, release chan struct{}
}

func (h *hung) Record(d *plugin.Decision) error {
	h.began <- struct{}{}
	<-h.release
	return h.ledger.Record(d)
}

// What waits for a slow recorder is bounded, with what the plugins read meanwhile.
func TestWhatWaitsIsBounded(t *testing.T) {
	g := newGuest()
	g.imported("souk", "kv_get", "iiii", "i")
	g.data = append(g.data, segment{16, []byte("key")})
	verdict := g.put(1024, decisions(allow))
	read := fmt.Sprintf("i32.const 16 i32.const 3 i32.const %d i32.const %d call kv_get drop ", 2*bufferAt, abi.MaxKVValue)
	s := spec("reader", g.hook("entitle", strings.Repeat(read, 3)+verdict).wasm())
	s.Allow = []string{"kv"}
	kv := &store{values: map[string][]byte{"key": make([]byte, abi.MaxKVValue)}}
	slow := &hung{began: make(chan struct{}, plugin.MaxJobs), release: make(chan struct{})}
	h := open(t, plugin.Options{Specs: []plugin.Spec{s}, KV: kv.open, Record: slow})
	ask := func() {
		if e := entitle(t, h, 1, abi.Head{})[0]; e.Decision != allow {
			t.Fatalf("answered %+v while the recorder is slow", e)
		}
	}
	ask()
	<-slow.began
	for range plugin.MaxJobs - 1 {
		ask()
	}
	close(slow.release)
	plugin.Looked(h)
	most := plugin.MaxJobBytes/(3*abi.MaxKVValue) + 1
	if r := h.Recording(); r.Recorded+r.Missed != plugin.MaxJobs || r.Recorded > uint64(most) || r.Recorded < 10 {
		t.Errorf("the recording is %+v, want %d at most of %d", r, most, plugin.MaxJobs)
	}
	if host := slow.decisions[0].Verdicts[0].Host(); len(host) != 3 {
		t.Errorf("the host's answers are %d, want 3", len(host))
	}
}

// What is left when the host closes is recorded, as far as it was answered.
func TestRecordAtTheEnd(t *testing.T) {
	l := &ledger{}
	h, err := plugin.Open(t.Context(), plugin.Options{Specs: []plugin.Spec{spec("a", decisive(allow, "yes"))}, Record: l})
	if err != nil {
		t.Fatal(err)
	}
	for range 50 {
		entitle(t, h, 1, abi.Head{})
	}
	if err := h.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	if r := h.Recording(); len(l.decisions) != 50 || r.Recorded != 50 {
		t.Errorf("recorded are %d of %+v, want all 50", len(l.decisions), r)
	}
}
