package admin_test

import (
	"errors"
	"testing"
)

func TestHealthNeedsNoToken(t *testing.T) {
	b := newBench(t)
	for _, path := range []string{"/healthz", "/readyz"} {
		if a := b.send("GET", path, "", "Host", "probe.example.com"); a.status != 200 {
			t.Errorf("GET %s answered %d %s, want 200", path, a.status, a.body)
		}
	}
	b.ready = errors.New("the key ring is gone")
	a := b.send("GET", "/readyz", "")
	b.same("status of /readyz", a.status, 503)
	b.same("error", a.get("error"), "not ready: the key ring is gone")
	b.same("status of /healthz", b.send("GET", "/healthz", "").status, 200)

	b.ready = nil
	b.must(b.store.Close())
	b.same("status of /readyz without a store", b.send("GET", "/readyz", "").status, 503)
	b.same("status of /healthz without a store", b.send("GET", "/healthz", "").status, 200)
}

func TestPlugins(t *testing.T) {
	b := newBench(t)
	b.same("plugins", b.ask(200, "GET", "/api/plugins", "").body, `{"plugins":[]}`)
}
