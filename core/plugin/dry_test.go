package plugin_test

import (
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/souk-market/souk/core/plugin"
	"github.com/souk-market/souk/sdk/abi"
)

// restless is a guest that writes whatever it can before it allows: a value, a
// counter, a metric and a line of the log. Its code is what the second addition
// came to, and one more where the metric was refused.
func restless() []byte {
	g := newGuest()
	g.imported("souk", "kv_put", "iiiii", "i").imported("souk", "kv_add", "iiIi", "i").
		imported("souk", "metric_add", "iiI", "i").imported("souk", "log", "iii", "")
	g.data = append(g.data, segment{16, []byte("valuecountermetric")})
	verdict := g.put(1024, decisions(allow))
	at := 1024 + 32 + 4 // the code of the first decision
	return g.hook("entitle", fmt.Sprintf(`
		i32.const 0 i64.const 0 i64.store
		i32.const 16 i32.const 5 i32.const 16 i32.const 5 i32.const 0 call kv_put drop
		i32.const 21 i32.const 7 i64.const 1 i32.const 0 call kv_add drop
		i32.const 21 i32.const 7 i64.const 1 i32.const 0 call kv_add drop
		i32.const 1 i32.const 16 i32.const 5 call log
		i32.const %d i32.const 0 i32.load
		i32.const 28 i32.const 6 i64.const 1 call metric_add i32.eqz i32.eqz
		i32.add i32.store
		%s`, at, verdict)).wasm()
}

// dryEntitle asks a dry question about one app.
func dryEntitle(t testing.TB, h *plugin.Host, head abi.Head) (*plugin.Dry, plugin.Entitlement) {
	t.Helper()
	c := h.Acquire()
	defer c.Release()
	d := c.Dry()
	c.Entitle.Head, c.Entitle.Apps = head, append(c.Entitle.Apps, abi.EntitleApp{Item: 7})
	e := c.AskEntitle(t.Context())[0]
	e.Reason = strings.Clone(e.Reason)
	return d, e
}

// A dry question sees what it writes; the store, the counters and the log don't.
func TestDryLeavesNoTrace(t *testing.T) {
	s := spec("restless", restless())
	s.Allow, s.Instances = []string{"kv", "log", "metric"}, 2
	kv, j := &store{}, &journal{}
	h := open(t, plugin.Options{Specs: []plugin.Spec{s}, KV: kv.open, Log: j.logger()})
	head := abi.Head{Purpose: abi.PurposeInstallToken}
	before := h.Plugins()
	for range 3 {
		d, e := dryEntitle(t, h, head)
		v := d.Inquiries[0].Verdicts[0]
		if e.Decision != allow || v.Failure != nil || v.Fuel == 0 || !v.Dry {
			t.Fatalf("dry: %+v of %+v", e, v)
		}
		if e.Code != 2+1 {
			t.Errorf("dry: the counter and the refused metric came to %d, want 2 and 1", e.Code)
		}
		if want := []string{"value"}; !slices.Equal(v.Lines, want) {
			t.Errorf("dry: lines %q, want %q", v.Lines, want)
		}
	}
	if after := h.Plugins(); !reflect.DeepEqual(before, after) {
		t.Errorf("after dry questions the counters are %+v, want %+v", after, before)
	}
	if len(kv.values) > 0 || strings.Contains(j.String(), "value") {
		t.Errorf("after dry questions the kv is %q and the log %q", kv.values, j)
	}
	// The same in earnest.
	if e := entitle(t, h, 1, head)[0]; e.Code != 2 {
		t.Errorf("in earnest the counter came to %d and the metric was refused, want 2", e.Code)
	}
	if want := []string{"counter", "value"}; !slices.Equal(slices.Sorted(maps.Keys(kv.values)), want) || !strings.Contains(j.String(), "text=value") || h.Plugins()[0].Metrics["metric"] != 1 {
		t.Errorf("in earnest: kv %q, metrics %v, log %q", kv.values, h.Plugins()[0].Metrics, j)
	}
	// And dry again, on top of it.
	if _, e := dryEntitle(t, h, head); e.Code != 4+1 {
		t.Errorf("on top of 2 the counter came to %d, want 4 and 1", e.Code)
	}
	if got := kv.values["counter"][0]; got != 2 {
		t.Errorf("the counter is %d after a dry question, want 2", got)
	}
}

// A guest that fails a dry question costs nobody anything.
func TestDryFailures(t *testing.T) {
	g := newGuest()
	bad := spec("bad", g.hook("entitle", "unreachable").wasm())
	bad.Breaker = 1
	h := openSpecs(t, bad, spec("good", constant("entitle", decisions(allow))))
	for range 10 {
		d, e := dryEntitle(t, h, abi.Head{})
		q := d.Inquiries[0]
		if e.Decision != deny || !e.Failed || len(q.Verdicts) != 2 || q.Verdicts[0].Failure == nil || q.Verdicts[0].Failure.Kind != plugin.KindTrap {
			t.Fatalf("dry: %+v of %+v, want a denial by a trap", e, q.Verdicts)
		}
		if o := q.Outcomes[0]; o.Result != plugin.ResultDeny || o.Plugin != "bad" || !o.Failed || o.Item != 7 {
			t.Errorf("dry: the outcome is %+v", o)
		}
		if v := q.Verdicts[1]; len(v.Decisions) != 1 || v.Decisions[0].Decision != allow {
			t.Errorf("dry: the plugin behind the denial said %+v, want that it was asked", v)
		}
	}
	info := h.Plugins()[0]
	if len(info.Hooks[0].Failures) > 0 || info.Hooks[0].Breaker.State != "closed" || info.LastFailure != "" || info.Restarts != 0 {
		t.Errorf("after dry failures: %+v", info)
	}
}

// What a person typed is never looked at twice.
func TestDryRefusesSecrets(t *testing.T) {
	h := openSpecs(t, spec("any", constant("sign_in", nil)))
	c := h.Acquire()
	defer c.Release()
	c.Dry()
	if _, _, err := c.AskSignIn(t.Context(), ""); !errors.Is(err, plugin.ErrFailed) {
		t.Errorf("AskSignIn dry = %v, want that it fails", err)
	}
	if _, _, err := c.AskExchange(t.Context()); !errors.Is(err, plugin.ErrFailed) {
		t.Errorf("AskExchange dry = %v, want that it fails", err)
	}
}

// A generation that was replaced takes its dry instance with it.
func TestDrySurvivesSwaps(t *testing.T) {
	h := openSpecs(t, spec("marked", marked("one")))
	for _, mark := range []string{"two", "three", "four"} {
		if d, _ := dryEntitle(t, h, abi.Head{}); d.Inquiries[0].Verdicts[0].Failure != nil {
			t.Fatal(d.Inquiries[0].Verdicts[0].Failure)
		}
		swap(t, h, "marked", marked(mark))
		if _, e := dryEntitle(t, h, abi.Head{}); e.Reason != mark {
			t.Errorf("after a swap the dry answer is of %q, want %q", e.Reason, mark)
		}
	}
	if _, err := h.Return(t.Context(), "marked", ""); err != nil {
		t.Fatal(err)
	}
	if _, e := dryEntitle(t, h, abi.Head{}); e.Reason != "three" {
		t.Errorf("after a return the dry answer is of %q, want three", e.Reason)
	}
}
