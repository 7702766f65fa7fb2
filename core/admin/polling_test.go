package admin_test

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/souk-market/souk/core/admin"
	"github.com/souk-market/souk/core/market"
)

func newPollingBench(t *testing.T) *bench {
	t.Helper()
	return newBench(t, func(o *admin.Options) {
		polling, err := market.OpenPolling(t.Context(), o.Store, 24, time.Now, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(polling.Close)
		o.Market = &market.Market{Config: market.DefaultConfig(), Polling: polling}
	})
}

func TestPollingInterval(t *testing.T) {
	b := newPollingBench(t)
	const at = "/api/polling-interval"
	b.same("what config.toml says", b.ask(200, "GET", at, "").body, `{"hours":24,"configured":24}`)
	a := b.ask(200, "PUT", at, `{"hours":48}`)
	if a.text("hours") != "48" || a.text("configured") != "24" || a.get("set") == nil || a.get("until") != nil {
		t.Errorf("PUT answered %s, want 48 hours without an end", a.body)
	}
	b.same("GET after it", b.ask(200, "GET", at, "").body, a.body)
	until := time.Now().Add(36 * time.Hour).UTC().Format(time.RFC3339)
	b.same("until", b.ask(200, "PUT", at, `{"hours":720,"until":"`+until+`"}`).get("until"), any(until))
	b.same("GET /metrics", strings.Contains(b.ask(200, "GET", "/metrics", "").body, "\nsouk_polling_interval_hours 720\n"), true)
	for range 2 {
		b.same("DELETE", b.ask(200, "DELETE", at, "").body, `{"hours":24,"configured":24}`)
	}
	for _, line := range []string{"action=polling-interval.set", "old=24 new=48", "old=48 new=720 until=" + until, "action=polling-interval.clear", "old=720 new=24"} {
		if !strings.Contains(b.log.String(), line) {
			t.Errorf("the log has no line with %q:\n%s", line, b.log)
		}
	}
}

func TestPollingIntervalRefusals(t *testing.T) {
	b := newPollingBench(t)
	const at = "/api/polling-interval"
	for _, c := range []struct{ body, words string }{
		{`{}`, "hours: is missing"},
		{`{"hours":23}`, "hours: 23 is out of range: it counts hours, use 24 to 720"},
		{`{"hours":86400}`, "hours: 86400 is out of range"},
		{`{"hours":0}`, "hours: 0 is out of range"},
		{`{"hours":"48"}`, "hours: found a JSON string, want a whole number"},
		{`{"hours":48,"until":"tomorrow"}`, `until: "tomorrow" is no time`},
		{`{"hours":48,"until":"2020-01-01T00:00:00Z"}`, "until: 2020-01-01T00:00:00Z is past"},
		{`{"hours":48,"days":2}`, "days: there is no such key here"},
	} {
		b.refused(400, "PUT", at, c.body, c.words)
	}
	b.same("after all of them", b.ask(200, "GET", at, "").body, `{"hours":24,"configured":24}`)
	b.same("without the token", b.send("GET", at, "").status, 401)
}

func TestReadyUnderPressure(t *testing.T) {
	var pressure float64
	b := newBench(t, func(o *admin.Options) {
		o.Pressure = func() float64 { return pressure }
		o.Traffic = func() admin.Traffic {
			t.Error("/readyz asks for all that /metrics says")
			return admin.Traffic{}
		}
	})
	for _, c := range []struct {
		pressure float64
		words    string
	}{{0, ""}, {0.5, "do without"}, {1.5, "update checks are turned away, as many"}, {2.5, "some of everything else"}} {
		pressure = c.pressure
		a := b.send("GET", "/readyz", "")
		load, _ := a.get("load").(string)
		if a.status != 200 || !strings.Contains(load, c.words) || (load == "") != (c.words == "") {
			t.Errorf("under a pressure of %v /readyz answered %d %s, want 200 with %q", c.pressure, a.status, a.body, c.words)
		}
	}
}
