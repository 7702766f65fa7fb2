package admin

import (
	"bytes"
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/common/expfmt"

	"github.com/souk-market/souk/core/market"
	"github.com/souk-market/souk/core/plugin"
	"github.com/souk-market/souk/core/store/audit"
	"github.com/souk-market/souk/core/token"
)

// Traffic is what the public listener has answered so far.
type Traffic struct {
	Connections int // that are open
	Requests    []Requests
	Signed      uint64 // install verification tokens
	Pool        token.PoolStats
	Pressure    float64
	Delay       time.Duration // of a request, until somebody looks at it
	Shed        []Shed
	Spared      uint64 // offers that were left out because they had to be signed for
	Closed      uint64 // new TLS connections
	Short       uint64 // of Requests; see server.Server.Short
}

// Shed are the requests of one route that were turned away with an answer of a kind.
type Shed struct {
	Method, Route, Kind string
	Count               uint64
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
func newRegistry(o *Options) (*registry, error) {
	r := &registry{prometheus.NewRegistry()}
	for _, c := range []prometheus.Collector{
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		trafficCollector{o.Traffic}, marketCollector{o.Market}, pluginCollector{o.Plugins}, storeCollector{o.Store}, auditCollector{o.Audit},
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
	descShort       = described("http_short_total", "Update checks that were answered without fasthttp: written plainly, over a kept connection without TLS.")
	descConnections = described("http_connections", "Open connections of the public listener.")
	descSigned      = described("install_tokens_signed_total", "Install verification tokens that were signed.")
	descPressure    = described("pressure", "0 = everything is answered; up to 1 a share of update checks does without signatures, up to 2 a share of them is turned away, up to 3 a share of everything else.")
	descDelay       = described("request_delay_seconds", "How long a request waited at least, at the last look, until somebody looked at it.")
	descShed        = described("shed_total", "Requests that were turned away, by route and the kind of answer.", "method", "route", "kind")
	descSpared      = described("offers_spared_total", "Offers that update checks did not get, because there was no time to sign for them.")
	descClosed      = described("shed_connections_total", "New TLS connections that were closed because there was too much to do.")
	descPolling     = described("polling_interval_hours", "How many hours devices are told to wait between two update checks.")

	descPoolReady   = described("install_pool_tokens", "Install verification tokens that are signed and wait for an offer.")
	descPoolBytes   = described("install_pool_bytes", "Memory for them, with that of those that were given out of the same batch.")
	descPoolServed  = described("install_pool_offers_total", "Offers, by where their token came from: the pool, or a signature at once because it had none.", "from")
	descPoolDropped = described("install_pool_dropped_total", "Tokens of the pool that nobody got: past half of their life, or of what is not offered any more, or too many.")
)

// Describe implements prometheus.Collector.
func (trafficCollector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		descRequests, descShort, descConnections, descSigned, descPressure, descDelay, descShed, descSpared, descClosed,
		descPoolReady, descPoolBytes, descPoolServed, descPoolDropped,
	} {
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
	counter(out, descShort, float64(t.Short))
	counter(out, descSigned, float64(t.Signed))
	gauge(out, descPressure, t.Pressure)
	gauge(out, descDelay, t.Delay.Seconds())
	counter(out, descSpared, float64(t.Spared))
	counter(out, descClosed, float64(t.Closed))
	for _, n := range t.Shed {
		counter(out, descShed, float64(n.Count), n.Method, n.Route, n.Kind)
	}
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

type marketCollector struct{ market *market.Market }

// Describe implements prometheus.Collector.
func (marketCollector) Describe(out chan<- *prometheus.Desc) { out <- descPolling }

// Collect implements prometheus.Collector.
func (c marketCollector) Collect(out chan<- prometheus.Metric) {
	if c.market != nil {
		gauge(out, descPolling, float64(c.market.PollingInterval()))
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
