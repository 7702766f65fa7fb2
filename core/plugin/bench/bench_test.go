package bench_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/souk-market/souk/core/plugin"
	"github.com/souk-market/souk/core/plugin/bench"
	"github.com/souk-market/souk/sdk/abi"
	"github.com/souk-market/souk/sdk/examples"
)

var quick = bench.Options{Rounds: 2, Batch: 100 * time.Microsecond}

func spec(wasm []byte) plugin.Spec {
	s := plugin.DefaultSpec()
	s.Name, s.Wasm = "bench", wasm
	return s
}

func example(t *testing.T, language string) []byte {
	t.Helper()
	for _, e := range examples.All() {
		if e.Language == language {
			return e.Wasm
		}
	}
	t.Fatalf("there is no example in %s", language)
	return nil
}

func read(t *testing.T, file string) []byte {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestMeasureTakesTurns(t *testing.T) {
	var order []string
	subject := func(name string) bench.Subject {
		return bench.Subject{Name: name, Run: func(_ context.Context, calls int) error {
			if calls > 0 {
				order = append(order, name)
			}
			for began := time.Now(); time.Since(began) < time.Duration(calls)*10*time.Microsecond; {
			}
			return nil
		}}
	}
	times, err := bench.Measure(t.Context(), quick, subject("a"), subject("b"))
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(order[len(order)-4:], ""); got != "abba" {
		t.Errorf("the rounds are %s, want abba", got)
	}
	for _, x := range times {
		if x.Min < 10_000 || x.Median < x.Min {
			t.Errorf("calls of 10 µs took %+v ns", x)
		}
	}
	broken := bench.Subject{Name: "broken", Run: func(context.Context, int) error { return errors.New("it fails") }}
	if _, err := bench.Measure(t.Context(), quick, subject("a"), broken); err == nil || err.Error() != "broken: it fails" {
		t.Errorf("a subject that fails: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := bench.Measure(ctx, quick, subject("a")); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

// TestBareSaysTheSame holds what is compared together: the bare call, metered or
// not, and the whole question have the same answers in all languages.
func TestBareSaysTheSame(t *testing.T) {
	q := bench.SelectVersion(5)
	for _, e := range examples.All() {
		t.Run(e.Language, func(t *testing.T) {
			if raceDetector && len(e.Wasm) > 256<<10 {
				t.Skip("compiling it three times takes minutes with the race detector")
			}
			h, err := plugin.Open(t.Context(), plugin.Options{Specs: []plugin.Spec{spec(e.Wasm)}})
			if err != nil {
				t.Fatal(err)
			}
			defer h.Close(t.Context())
			for _, metered := range []bool{false, true} {
				b, err := bench.NewBare(t.Context(), e.Wasm, abi.HookSelectVersion, metered)
				if err != nil {
					t.Fatal(err)
				}
				defer b.Close(t.Context())
				for device := range 8 {
					bytes, err := b.Call(t.Context(), q.Request(device))
					if err != nil {
						t.Fatal(err)
					}
					var bare abi.SelectVersionVerdict
					if err := bare.Read(bytes); err != nil {
						t.Fatal(err)
					}
					c := h.Acquire()
					q.Fill(c, device)
					whole := c.AskSelectVersion(t.Context())
					if len(whole) != 5 || len(bare.Items) != 5 {
						t.Fatalf("%d and %d answers, want 5", len(whole), len(bare.Items))
					}
					for i, item := range bare.Items {
						if whole[i].Failed || whole[i].Choice != item.Choice || whole[i].Reason != item.Reason {
							t.Errorf("device %d, app %d, metered %v: %+v, the bare call %+v", device, i, metered, whole[i], item)
						}
					}
					c.Release()
				}
			}
			for device := range 8 {
				rollsOut(t, h, q, device)
			}
		})
	}
}

// rollsOut holds an example to what a rollout is: its share of those who have a key,
// and nobody without one until it is open to all.
func rollsOut(t *testing.T, h *plugin.Host, q bench.Question, device int) {
	t.Helper()
	for _, key := range []string{"", "alice@example.com", fmt.Sprint("device ", device)} {
		c := h.Acquire()
		q.Fill(c, device)
		c.SelectVersion.BucketKey = key
		for i, answer := range c.AskSelectVersion(t.Context()) {
			want := abi.Hold
			for j := range c.SelectVersion.Apps[i].Candidates {
				v := &c.SelectVersion.Apps[i].Candidates[j]
				if v.Rollout >= abi.Buckets || key != "" && abi.Bucket(key, v.Salt) < v.Rollout {
					want = abi.Choice(j)
					break
				}
			}
			if answer.Failed || answer.Choice != want {
				t.Errorf("key %q, app %d: %+v, want choice %d", key, i, answer, want)
			}
		}
		c.Release()
	}
}

func TestCompareLanguages(t *testing.T) {
	modules := []bench.Module{{Name: "c", Wasm: example(t, "c")}, {Name: "wat", Wasm: example(t, "wat")}}
	r, err := bench.CompareLanguages(t.Context(), quick, modules)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, row := range r.Languages {
		names = append(names, row.Language+" "+row.Question)
		if row.Fuel == 0 || row.Time.Min <= 0 || row.Bare.Min <= 0 || row.Metered.Min <= 0 || row.Ratio <= 0 || row.Meter <= 0 || row.Native <= 0 {
			t.Errorf("%+v has a gap", row)
		}
	}
	if want := []string{"c 1 app", "wat 1 app", "c 5 apps", "wat 5 apps"}; !reflect.DeepEqual(names, want) {
		t.Errorf("the rows are %v, want %v", names, want)
	}
	if len(r.Native) != 2 || len(r.Empty) != 2 || r.Empty[0].Fuel != 1 || r.Loop.Meter <= 0 || r.Parallel.Ratio <= 0 {
		t.Errorf("beside them: %+v", r)
	}
	// 2 whole questions in C, the meter in 4 rows and in a loop, the crowd.
	if len(r.Targets) != 8 {
		t.Errorf("%d targets, want 8", len(r.Targets))
	}
	for _, x := range r.Targets {
		if x.Most <= 1 || x.Have <= 0 || x.Holds != (x.Have <= x.Most) {
			t.Errorf("target %+v", x)
		}
	}
}

func TestMeasurePlugin(t *testing.T) {
	s := spec(example(t, "c"))
	p, err := bench.MeasurePlugin(t.Context(), quick, "c", s)
	if err != nil {
		t.Fatal(err)
	}
	if !p.Fits || p.Growing || p.Grown != 0 || p.Memory < 64<<10 || len(p.Questions) != 2 {
		t.Errorf("the example in C: %+v", p)
	}
	for _, q := range p.Questions {
		if q.Hook != "select_version" || q.Fuel == 0 || q.Limit != s.Fuel || q.Ratio <= 1 || q.Native <= 1 {
			t.Errorf("its question: %+v", q)
		}
	}
	again, err := bench.MeasurePlugin(t.Context(), quick, "again", s)
	if err != nil {
		t.Fatal(err)
	}
	changes, err := again.Against(p)
	if err != nil || len(changes) != 2 {
		t.Fatalf("Against: %v, %v", changes, err)
	}
	for _, c := range changes {
		if c.Percent != 0 || c.Now != c.Before {
			t.Errorf("the same module has another fuel: %+v", c)
		}
	}

	s.Fuel = 100
	if p, err = bench.MeasurePlugin(t.Context(), quick, "c", s); err != nil || p.Fits || !strings.Contains(p.Questions[0].Failure, "fuel") {
		t.Errorf("with too little fuel: %+v, %v", p, err)
	}
	leak, err := bench.MeasurePlugin(t.Context(), quick, "leak", spec(read(t, "leak/guest.wasm")))
	if err != nil || leak.Grown == 0 || leak.Questions[0].Hook != "entitle" {
		t.Errorf("a guest that never frees: %+v, %v", leak, err)
	}
	if _, err := p.Against(leak); err == nil || !strings.Contains(err.Error(), "compare builds of one plugin") {
		t.Errorf("two plugins compared: %v", err)
	}
	if _, err := bench.MeasurePlugin(t.Context(), quick, "none", spec([]byte("no module"))); err == nil {
		t.Error("what is no module was measured")
	}
}
