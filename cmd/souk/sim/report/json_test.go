package report_test

import (
	"bytes"
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/souk-market/souk/cmd/souk/sim/report"
)

func TestJSONComesBack(t *testing.T) {
	for name, r := range map[string]*report.Result{"a release": release(), "hostile texts": broken()} {
		var b, again bytes.Buffer
		if err := report.JSON(&b, r); err != nil {
			t.Fatal(err)
		}
		first := b.String()
		var d report.Document
		decoder := json.NewDecoder(&b)
		decoder.DisallowUnknownFields()
		if err := decoder.Decode(&d); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		encoder := json.NewEncoder(&again)
		encoder.SetIndent("", " ")
		if err := encoder.Encode(&d); err != nil {
			t.Fatal(err)
		}
		if again.String() != first {
			t.Errorf("%s comes back otherwise", name)
		}
		if d.Scenario != r.Scenario || d.Answered != r.Answered || d.Took != r.Took.Seconds() || !d.Start.Equal(r.Start) || len(d.Ticks) != len(r.Ticks) || !reflect.DeepEqual(d.Ticks[9].Classes, r.Ticks[9].Classes) {
			t.Errorf("%s: JSON says another thing than the result", name)
		}
		for i, c := range d.Classes {
			h := r.Classes[slices.IndexFunc(r.Classes, func(had *report.Class) bool { return had.Name == c.Name })].Latency
			if i == 0 && c.Name != report.ClassNone || c.Latency.Count != uint64(h.TotalCount()) || c.Latency.P50 != float64(h.ValueAtPercentile(50)) || c.Latency.Max != float64(h.Max()) {
				t.Errorf("%s: class %s is %+v", name, c.Name, c.Latency)
			}
			last := c.Latency.Spectrum[len(c.Latency.Spectrum)-1]
			if !slices.IsSortedFunc(c.Latency.Spectrum, func(a, b [2]float64) int { return int(a[1] - b[1]) }) || last[1] > c.Latency.Max || last[0] < 90 {
				t.Errorf("%s: the spectrum of %s is %v", name, c.Name, c.Latency.Spectrum)
			}
		}
	}
}

// TestJSONKeys are what machines rely on.
func TestJSONKeys(t *testing.T) {
	var b bytes.Buffer
	if err := report.JSON(&b, release()); err != nil {
		t.Fatal(err)
	}
	var d map[string]any
	if err := json.Unmarshal(b.Bytes(), &d); err != nil {
		t.Fatal(err)
	}
	keys := func(v any) string {
		var all []string
		for k := range v.(map[string]any) {
			all = append(all, k)
		}
		slices.Sort(all)
		return strings.Join(all, " ")
	}
	first := func(key string) any { return d[key].([]any)[0] }
	for _, c := range []struct {
		what string
		of   any
		want string
	}{
		{"the document", d, "adoption answered checks classes command connections cpu_s cpu_us devices failed figures guest_calls lag latency machine marks offered scenario seed sent shed signatures simulated_s software speed start ticks took_s variant verdict why"},
		{"latency", d["latency"], "count max_us mean_us min_us p50_us p90_us p9999_us p999_us p99_us spectrum"},
		{"a check", first("checks"), "failed looked name sentence"},
		{"a class", first("classes"), "count latency name"},
		{"a tick", first("ticks"), "answered at classes cpu_s failed length_s max_us offered p50_us p99_us shed"},
		{"a mark", first("marks"), "at what"},
		{"adoption", first("adoption"), "at installed offered open"},
		{"a figure", first("figures"), "name value"},
	} {
		if got := keys(c.of); got != c.want {
			t.Errorf("%s has the keys\n%s, want\n%s", c.what, got, c.want)
		}
	}
}
