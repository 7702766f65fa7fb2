package admin_test

import (
	"errors"
	"os"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/souk-market/souk/core/admin"
	"github.com/souk-market/souk/core/store"
	"github.com/souk-market/souk/core/store/audit"
	"github.com/souk-market/souk/core/store/badger"
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

// Without its audit log a server signs nobody in or out: as little as without writes.
func TestAServerWhoseAuditLogHasStoppedIsNotReady(t *testing.T) {
	var broken atomic.Bool
	log, err := audit.Open(audit.Options{Dir: t.TempDir(), Sync: func(f *os.File) error {
		if broken.Load() {
			return errors.New("the disk is broken")
		}
		return f.Sync()
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = log.Close() })
	b := newBench(t, func(o *admin.Options) { o.Audit = log })
	b.same("status of /readyz", b.send("GET", "/readyz", "").status, 200)
	broken.Store(true)
	if err := log.Append(t.Context(), audit.Entry{Kind: audit.Started, Actor: audit.System}); !errors.Is(err, audit.ErrStopped) {
		t.Errorf("Append = %v, want ErrStopped", err)
	}
	a := b.send("GET", "/readyz", "")
	b.same("status of /readyz", a.status, 503)
	b.same("error", a.get("error"), "not ready: writes have stopped after a failed commit: look into the log and restart the server")
}

// spoilt is an engine that has found one of its files damaged.
type spoilt struct{ store.Engine }

func (spoilt) Stats() store.Stats {
	return store.Stats{Damage: errors.New("data/store/000007.sst is damaged")}
}

func TestAServerWhoseStoreIsDamagedIsNotReady(t *testing.T) {
	engine, err := badger.Open(badger.Options{InMemory: true})
	if err != nil {
		t.Fatal(err)
	}
	s, err := store.Open(t.Context(), spoilt{engine}, store.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	b := newBench(t, func(o *admin.Options) { o.Store = s })
	a := b.send("GET", "/readyz", "")
	b.same("status of /readyz", a.status, 503)
	b.same("error", a.get("error"), "not ready: a file of the store was damaged while the server ran: data/store/000007.sst is damaged")
	if metrics := b.ask(200, "GET", "/metrics", "").body; !strings.Contains(metrics, "souk_store_damaged 1\n") {
		t.Error("/metrics does not say that the store is damaged")
	}
}

func TestPlugins(t *testing.T) {
	b := newBench(t)
	b.same("plugins", b.ask(200, "GET", "/api/plugins", "").body, `{"plugins":[]}`)
}
