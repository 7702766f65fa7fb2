package admin

import (
	"bytes"
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/common/expfmt"

	"github.com/souk-market/souk/core/plugin"
	"github.com/souk-market/souk/core/store"
	"github.com/souk-market/souk/core/store/audit"
	"github.com/souk-market/souk/core/token"
)

// Traffic is what the public listener has answered so far.
type Traffic struct {
	Connections int // that are open
	Requests    []Requests
	Signed      uint64 // install verification tokens
	Pool        token.PoolStats
}

// Requests are those of one route with one status.
type Requests struct {
	Method, Route string // both empty = there is no such route
	Status        int    // 0 = one that has no counter of its own
	Count         uint64
}

// metrics answers GET /metrics in Prometheus' text format.
func (s *Server) metrics(_ context.Context, r *request) error {
	families, err := s.registry.Gather()
	if err != nil {
		return fmt.Errorf("gather metrics: %w", err)
	}
	format := expfmt.NewFormat(expfmt.TypeTextPlain)
	var text bytes.Buffer
	e := expfmt.NewEncoder(&text, format)
	for _, f := range families {
		if err := e.Encode(f); err != nil {
			return fmt.Errorf("write metrics: %w", err)
		}
	}
	writeBody(r.http, 200, text.Bytes())
	r.http.Response.Header.SetContentType(string(format))
	return nil
}

// registry is all that is measured.
type registry struct{ *prometheus.Registry }

// newRegistry has what there is to measure: this process, the requests, the
// plugins, the store, the audit log.
func newRegistry(plugins *plugin.Host, traffic func() Traffic, records *store.Store, changes *audit.Log) (*registry, error) {
	r := &registry{prometheus.NewRegistry()}
	for _, c := range []prometheus.Collector{
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		trafficCollector{traffic}, pluginCollector{plugins}, storeCollector{records}, auditCollector{changes},
	} {
		if err := r.Register(c); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// A series is counted where it happens and read when somebody asks: nothing here
// is on the way of a request.

func described(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("souk_"+name, help, labels, nil)
}

func counter(out chan<- prometheus.Metric, d *prometheus.Desc, n float64, labels ...string) {
	out <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, n, labels...)
}

func gauge(out chan<- prometheus.Metric, d *prometheus.Desc, n float64, labels ...string) {
	out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, n, labels...)
}

type trafficCollector struct{ now func() Traffic }

var (
	descRequests    = described("http_requests_total", "Requests to the public listener that were answered, by route and status. Of no route are those that no route answers, and what is no HTTP.", "method", "route", "status")
	descConnections = described("http_connections", "Open connections of the public listener.")
	descSigned      = described("install_tokens_signed_total", "Install verification tokens that were signed.")

	descPoolReady   = described("install_pool_tokens", "Install verification tokens that are signed and wait for an offer.")
	descPoolBytes   = described("install_pool_bytes", "Memory for them, with that of those that were given out of the same batch.")
	descPoolServed  = described("install_pool_offers_total", "Offers, by where their token came from: the pool, or a signature at once because it had none.", "from")
	descPoolDropped = described("install_pool_dropped_total", "Tokens of the pool that nobody got: past half of their life, or of what is not offered any more, or too many.")
)

// Describe implements prometheus.Collector.
func (trafficCollector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descRequests, descConnections, descSigned, descPoolReady, descPoolBytes, descPoolServed, descPoolDropped} {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (c trafficCollector) Collect(out chan<- prometheus.Metric) {
	if c.now == nil {
		return
	}
	t := c.now()
	gauge(out, descConnections, float64(t.Connections))
	counter(out, descSigned, float64(t.Signed))
	gauge(out, descPoolReady, float64(t.Pool.Ready))
	gauge(out, descPoolBytes, float64(t.Pool.Bytes))
	counter(out, descPoolServed, float64(t.Pool.Served), "pool")
	counter(out, descPoolServed, float64(t.Pool.Inline), "inline")
	counter(out, descPoolDropped, float64(t.Pool.Dropped))
	for _, q := range t.Requests {
		status := "other"
		if q.Status > 0 {
			status = strconv.Itoa(q.Status)
		}
		counter(out, descRequests, float64(q.Count), q.Method, q.Route, status)
	}
}

type auditCollector struct{ log *audit.Log }

var (
	descAuditEntries  = described("audit_entries_total", "Entries of the audit log that this process has written.")
	descAuditRefused  = described("audit_refused_total", "Entries that could not be written: the changes were not made.")
	descAuditSeq      = described("audit_seq", "Number of the newest entry of the audit log.")
	descAuditFrom     = described("audit_segment_info", "1; the newest file of the audit log, and the hash of the chain that it goes on from. Kept elsewhere, the two and the number of the newest entry show whether something was changed or cut off later.", "segment", "hash")
	descAuditSegments = described("audit_segments", "Files of the audit log.")
	descAuditBytes    = described("audit_bytes", "Bytes of these files.")
	descAuditSync     = described("audit_sync_seconds", "How long the last entries took to reach the disk.")
	descAuditStopped  = described("audit_stopped", "1 when a write has failed: nothing is written, and nothing that is audited is changed, until a restart.")
	descAuditBroken   = described("audit_broken", "1 when the start has found the newest file damaged, and has begun a new chain.")
)

// Describe implements prometheus.Collector.
func (auditCollector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		descAuditEntries, descAuditRefused, descAuditSeq, descAuditFrom, descAuditSegments, descAuditBytes, descAuditSync, descAuditStopped, descAuditBroken,
	} {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (c auditCollector) Collect(out chan<- prometheus.Metric) {
	if c.log == nil {
		return
	}
	s := c.log.Stats()
	counter(out, descAuditEntries, float64(s.Entries))
	counter(out, descAuditRefused, float64(s.Failed))
	gauge(out, descAuditSeq, float64(s.Seq))
	if s.Segment != "" { // one series a file: with each entry there would be too many
		gauge(out, descAuditFrom, 1, s.Segment, s.From.String())
	}
	gauge(out, descAuditSegments, float64(s.Segments))
	gauge(out, descAuditBytes, float64(s.Bytes))
	gauge(out, descAuditSync, s.LastSync.Seconds())
	gauge(out, descAuditStopped, zeroOne(s.Stopped))
	gauge(out, descAuditBroken, zeroOne(s.Broken))
}

func zeroOne(is bool) float64 {
	if is {
		return 1
	}
	return 0
}

type pluginCollector struct{ plugins *plugin.Host }

var (
	descModule     = described("plugin_module_info", "1; what runs, and whether it was uploaded.", "plugin", "sha256", "uploaded")
	descGeneration = described("plugin_generation", "The generation that is asked; 1 is what the start loaded.", "plugin")
	descSwaps      = described("plugin_swaps_total", "Uploaded modules that took over.", "plugin")
	descReturns    = described("plugin_returns_total", "Returns to the module before, by the operator, or by the server because the new one failed in its first minute.", "plugin", "by")
	descDraining   = described("plugin_draining", "Earlier generations that still have requests.", "plugin")
	descSlots      = described("plugin_slots", "Instances that there may be.", "plugin")
	descInstances  = described("plugin_instances", "Instances that are started.", "plugin")
	descMemory     = described("plugin_memory_bytes", "Memory of the instances that don't answer right now.", "plugin")
	descRebuilds   = described("plugin_rebuilds_total", "Instances that a question had to start, most often in the place of one that failed.", "plugin")
	descOwn        = described("plugin_counter_total", "What plugins count themselves, with metric_add.", "plugin", "name")

	descCalls     = described("plugin_calls_total", "Questions that a plugin was asked.", "plugin", "hook")
	descAbstained = described("plugin_abstained_total", "Questions that it left to others.", "plugin", "hook")
	descFailures  = described("plugin_failures_total", "Questions that it could not answer: on_error decided.", "plugin", "hook", "kind")
	descLatency   = described("plugin_latency_seconds", "How long answers took: of sign_in and exchange each, of the others every 32nd.", "plugin", "hook")
	descFuel      = described("plugin_fuel", "Fuel that answers used.", "plugin", "hook")
	descWaits     = described("plugin_waits_total", "Questions that waited for an instance.", "plugin", "hook")
	descWaited    = described("plugin_waited_seconds_total", "How long they waited, together.", "plugin", "hook")
	descShadow    = described("plugin_shadow_decisions_total", "Decisions that a shadow has looked at, by whether they would be the same with it.", "plugin", "same")
	descMissed    = described("plugin_shadow_missed_total", "Questions that came too fast for the shadows.", "plugin")
	descRecorded  = described("decisions_recorded_total", "Questions to plugins that were to be recorded: those that are, those that came too fast or were too large, and those that could not be written.", "outcome")
	descBreaker   = described("plugin_breaker", "1 for the state that a breaker is in, 0 for the others.", "plugin", "hook", "state")
)

var breakerStates = [...]string{"closed", "open", "half-open"}

// Describe implements prometheus.Collector.
func (pluginCollector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		descModule, descGeneration, descSwaps, descReturns, descDraining, descSlots, descInstances, descMemory, descRebuilds, descOwn,
		descCalls, descAbstained, descFailures, descLatency, descFuel, descWaits, descWaited, descBreaker,
		descShadow, descMissed, descRecorded,
	} {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (c pluginCollector) Collect(out chan<- prometheus.Metric) {
	for _, p := range c.plugins.Plugins() {
		gauge(out, descModule, 1, p.Name, p.SHA256, strconv.FormatBool(p.Uploaded))
		gauge(out, descGeneration, float64(p.Generation), p.Name)
		counter(out, descSwaps, float64(p.Swaps), p.Name)
		counter(out, descReturns, float64(p.Returns), p.Name, "operator")
		counter(out, descReturns, float64(p.SentBack), p.Name, "server")
		gauge(out, descDraining, float64(p.Draining), p.Name)
		gauge(out, descSlots, float64(p.Slots), p.Name)
		gauge(out, descInstances, float64(p.Instances), p.Name)
		gauge(out, descMemory, float64(p.Memory), p.Name)
		counter(out, descRebuilds, float64(p.Restarts), p.Name)
		for name, n := range p.Metrics {
			counter(out, descOwn, float64(n), p.Name, strings.ToValidUTF8(name, "_"))
		}
		for _, h := range p.Hooks {
			collectHook(out, p.Name, h)
		}
		if s := p.Shadow; s != nil {
			counter(out, descShadow, float64(s.Agreed), p.Name, "true")
			counter(out, descShadow, float64(s.Differed), p.Name, "false")
			counter(out, descMissed, float64(s.Missed), p.Name)
		}
	}
	if r := c.plugins.Recording(); r != nil {
		counter(out, descRecorded, float64(r.Recorded), "recorded")
		counter(out, descRecorded, float64(r.Missed), "missed")
		counter(out, descRecorded, float64(r.Failed), "failed")
	}
}

func collectHook(out chan<- prometheus.Metric, name string, h plugin.HookInfo) {
	counter(out, descCalls, float64(h.Calls), name, h.Hook)
	counter(out, descAbstained, float64(h.Abstained), name, h.Hook)
	for _, kind := range plugin.KindNames() { // also those that never happened: a rate needs a beginning
		counter(out, descFailures, float64(h.Failures[kind]), name, h.Hook, kind)
	}
	counter(out, descWaits, float64(h.Waits), name, h.Hook)
	counter(out, descWaited, float64(h.WaitedNS)/1e9, name, h.Hook)
	for _, state := range breakerStates {
		in := 0.0
		if state == h.Breaker.State {
			in = 1
		}
		gauge(out, descBreaker, in, name, h.Hook, state)
	}
	histogram(out, descLatency, h.Latency, latencyBounds, 1e9, name, h.Hook)
	histogram(out, descFuel, h.FuelUsed, fuelBounds, 1, name, h.Hook)
}

// The bounds of histograms are powers of four, where the host's finer buckets end
// too: from a microsecond to a quarter of a minute, and from 64 units to a thousand
// million.
var (
	latencyBounds = bounds(10, 34)
	fuelBounds    = bounds(6, 30)
)

func bounds(from, to int) (all []uint64) {
	for e := from; e <= to; e += 2 {
		all = append(all, 1<<e)
	}
	return all
}

// histogram writes one of the host's with fewer buckets, in another unit.
func histogram(out chan<- prometheus.Metric, d *prometheus.Desc, h plugin.Histogram, bounds []uint64, unit float64, labels ...string) {
	buckets := make(map[float64]uint64, len(bounds))
	var below uint64
	rest := h.Buckets
	for _, bound := range bounds {
		for ; len(rest) > 0 && rest[0].Max < bound; rest = rest[1:] {
			below += rest[0].Count
		}
		buckets[float64(bound)/unit] = below
	}
	out <- prometheus.MustNewConstHistogram(d, h.Count, float64(h.Sum)/unit, buckets, labels...)
}
