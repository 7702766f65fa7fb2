package coretest_test

import (
	"bytes"
	"net/http"
	"strings"
	"testing"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/souk-market/souk/core/coretest"
	"github.com/souk-market/souk/sdk/abi"
)

// scraped are the metrics of a server, as a collector reads them.
type scraped map[string]*dto.MetricFamily

func scrape(t testing.TB, s *coretest.Server) scraped {
	t.Helper()
	a := operatorOf(t, s).send(http.MethodGet, "/metrics", nil)
	if kind := a.header.Get("Content-Type"); a.status != 200 || !strings.HasPrefix(kind, "text/plain; version=0.0.4") {
		t.Fatalf("/metrics answered %d, %s", a.status, kind)
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(bytes.NewReader(a.body))
	if err != nil {
		t.Fatalf("/metrics can't be parsed: %v", err)
	}
	return families
}

// find returns the metric of a family that has these labels, "name=value".
func (m scraped) find(name string, labels ...string) *dto.Metric {
	for _, metric := range m[name].GetMetric() {
		found := 0
		for _, l := range metric.GetLabel() {
			for _, want := range labels {
				if l.GetName()+"="+l.GetValue() == want {
					found++
				}
			}
		}
		if found == len(labels) {
			return metric
		}
	}
	return nil
}

// is checks a counter or a gauge.
func (m scraped) is(t testing.TB, want float64, name string, labels ...string) {
	t.Helper()
	metric := m.find(name, labels...)
	if metric == nil {
		t.Errorf("there is no %s%v", name, labels)
		return
	}
	if got := metric.GetCounter().GetValue() + metric.GetGauge().GetValue(); got != want {
		t.Errorf("%s%v = %v, want %v", name, labels, got, want)
	}
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	traps := says(abi.Allow, 0, 1)
	traps.counts = "checks_seen"
	spec := policySpec("policy", traps.wasm())
	spec.Allow = []string{"metric"}
	s := coretest.Start(t, with(spec))
	access := deviceOf(t, s, coretest.Alice).access
	const checks = 40
	for range checks {
		updates(t, s, access, deviceOS, notesOld).gives(t, "an update", []app{notesNew})
	}
	// One app more than the module's verdict: both answers are nonsense.
	updates(t, s, access, deviceOS, notesOld, app{coretest.MarketItem, "1"}).gives(t, "where policy fails", nil)
	get(t, s.PublicURL()+"/nowhere")
	ask(t, s, "/updates", "nonsense", appsBody("iOS", deviceOS, notesOld))
	operatorOf(t, s).upload("policy", says(abi.Allow, 0, 1).wasm())
	operatorOf(t, s).send(http.MethodPost, "/api/plugins/policy/return", nil)

	m := scrape(t, s)
	m.is(t, checks+1, "souk_http_requests_total", "method=POST", "route=/updates", "status=200")
	m.is(t, 1, "souk_http_requests_total", "method=POST", "route=/updates", "status=403")
	m.is(t, 1, "souk_http_requests_total", "method=", "route=", "status=404")
	if n := m.find("souk_http_connections").GetGauge().GetValue(); n < 1 {
		t.Errorf("%v connections are open, want one at least", n)
	}
	m.is(t, checks+1, "souk_plugin_calls_total", "plugin=policy", "hook=entitle")
	m.is(t, checks, "souk_plugin_calls_total", "plugin=policy", "hook=select_version")
	m.is(t, 0, "souk_plugin_abstained_total", "plugin=policy", "hook=entitle")
	m.is(t, 1, "souk_plugin_failures_total", "plugin=policy", "hook=entitle", "kind=nonsense")
	m.is(t, 0, "souk_plugin_failures_total", "plugin=policy", "hook=entitle", "kind=trap")
	m.is(t, 0, "souk_plugin_waits_total", "plugin=policy", "hook=entitle")
	m.is(t, 0, "souk_plugin_waited_seconds_total", "plugin=policy", "hook=entitle")
	m.is(t, 1, "souk_plugin_breaker", "plugin=policy", "hook=entitle", "state=closed")
	m.is(t, 0, "souk_plugin_breaker", "plugin=policy", "hook=entitle", "state=open")
	m.is(t, 1, "souk_plugin_generation", "plugin=policy")
	m.is(t, 1, "souk_plugin_swaps_total", "plugin=policy")
	m.is(t, 1, "souk_plugin_returns_total", "plugin=policy", "by=operator")
	m.is(t, 0, "souk_plugin_returns_total", "plugin=policy", "by=server")
	m.is(t, 1, "souk_plugin_module_info", "plugin=policy", "sha256="+sum(traps.wasm()), "uploaded=false")
	m.is(t, checks+1, "souk_plugin_counter_total", "plugin=policy", "name=checks_seen")
	if p := pluginsOf(t, s)["policy"]; p.Instances == 0 || p.Memory == 0 {
		t.Errorf("the plugin is %+v, want it to have instances", p)
	} else {
		m.is(t, float64(p.Slots), "souk_plugin_slots", "plugin=policy")
	}
	fuel := m.find("souk_plugin_fuel", "plugin=policy", "hook=entitle").GetHistogram()
	latency := m.find("souk_plugin_latency_seconds", "plugin=policy", "hook=entitle").GetHistogram()
	if fuel.GetSampleCount() != checks+1 || fuel.GetSampleSum() <= 0 {
		t.Errorf("the fuel is %v, want %d samples", fuel, checks+1)
	}
	if latency.GetSampleCount() != 2 || latency.GetSampleSum() <= 0 || latency.GetSampleSum() > 10 {
		t.Errorf("the latency is %v, want every 32nd call and seconds", latency)
	}
	for what, h := range map[string]*dto.Histogram{"fuel": fuel, "latency": latency} {
		below := uint64(0)
		for _, b := range h.GetBucket() {
			if b.GetCumulativeCount() < below || b.GetCumulativeCount() > h.GetSampleCount() {
				t.Errorf("the buckets of the %s are %v, want them to grow", what, h.GetBucket())
			}
			below = b.GetCumulativeCount()
		}
		if below != h.GetSampleCount() {
			t.Errorf("the buckets of the %s hold %d of %d", what, below, h.GetSampleCount())
		}
	}
	for _, name := range []string{"go_goroutines", "go_memstats_heap_inuse_bytes"} {
		if m[name] == nil {
			t.Errorf("%s is missing", name)
		}
	}
	for name, family := range m {
		if strings.HasPrefix(name, "souk_") && family.GetHelp() == "" {
			t.Errorf("%s says nothing of itself", name)
		}
	}

	// As all of the admin API, it is for those with the token.
	a := get(t, s.AdminURL()+"/metrics")
	if a.status != 401 || bytes.Contains(a.body, []byte("souk_")) {
		t.Errorf("/metrics without the token answered %d %s", a.status, a.body)
	}
}

// What a histogram of the host says in 160 buckets, /metrics says in few: a value is
// below the same bounds in both.
func TestMetricsOfAPluginThatWorks(t *testing.T) {
	t.Parallel()
	s := coretest.Start(t, quick)
	access := deviceOf(t, s, coretest.Alice).access
	for range 10 {
		updates(t, s, access, deviceOS, notesOld)
	}
	m := scrape(t, s)
	for name, p := range pluginsOf(t, s) {
		for _, h := range p.Hooks {
			got := m.find("souk_plugin_fuel", "plugin="+name, "hook="+h.Hook).GetHistogram()
			if got.GetSampleCount() != h.FuelUsed.Count || got.GetSampleSum() != float64(h.Fuel) {
				t.Errorf("%s %s used fuel %v, want %d samples of %d together", name, h.Hook, got, h.FuelUsed.Count, h.Fuel)
			}
			for _, b := range got.GetBucket() {
				var want uint64
				for _, fine := range h.FuelUsed.Buckets {
					if float64(fine.Max) < b.GetUpperBound() {
						want += fine.Count
					}
				}
				if b.GetCumulativeCount() != want && b.GetUpperBound() < 1e300 {
					t.Errorf("%s %s: %d calls used less than %v, want %d", name, h.Hook, b.GetCumulativeCount(), b.GetUpperBound(), want)
				}
			}
		}
	}
}

func TestMetricsOfTheStore(t *testing.T) {
	t.Parallel()
	s := coretest.Start(t, nil)
	deviceOf(t, s, coretest.Alice) // signs in: something is written
	m := scrape(t, s)
	for _, name := range []string{
		"souk_store_commits_total", "souk_store_operations_total", "souk_store_written_bytes_total", "souk_store_memtables",
		"souk_store_queue", "souk_store_stale_bytes",
	} {
		if m.find(name) == nil {
			t.Errorf("there is no %s", name)
		}
	}
	commits := m.find("souk_store_commits_total").GetCounter().GetValue()
	if commits < 1 {
		t.Errorf("%v commits after a sign-in", commits)
	}
	for _, name := range []string{"souk_store_commit_seconds", "souk_store_batch"} {
		h := m.find(name).GetHistogram()
		if h.GetSampleCount() != uint64(commits) || h.GetSampleSum() <= 0 {
			t.Errorf("%s has %d values of sum %v, want one for each of %v commits", name, h.GetSampleCount(), h.GetSampleSum(), commits)
		}
	}
	m.is(t, 0, "souk_store_writes_stopped", "why=disk full")
	m.is(t, 0, "souk_store_writes_stopped", "why=commit failed")
	m.is(t, 0, "souk_store_damaged")
	if log := m.find("souk_store_disk_bytes", "kind=log").GetGauge().GetValue(); log <= 0 {
		t.Errorf("the log has %v bytes after a sign-in", log)
	}
	if m.find("souk_store_tables", "level=0") == nil || m.find("souk_store_disk_bytes", "kind=tables") == nil {
		t.Error("there is nothing about tables on the disk")
	}
	taken, budget := m.find("souk_store_memory_bytes", "kind=memtables"), m.find("souk_store_memory_bytes", "kind=budget")
	if n := taken.GetGauge().GetValue(); n <= 0 || n >= budget.GetGauge().GetValue() {
		t.Errorf("memtables take %v of %v", n, budget.GetGauge().GetValue())
	}
}
