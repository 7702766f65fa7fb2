package badger_test

import (
	"testing"
	"time"

	"github.com/souk-market/souk/core/store"
	"github.com/souk-market/souk/core/store/badger"
	"github.com/souk-market/souk/core/store/enginetest"
)

func TestEngine(t *testing.T) {
	engines := map[string]badger.Options{
		"power":   {Sync: true, MinFree: 1},
		"process": {},
		"memory":  {InMemory: true},
	}
	for name, o := range engines {
		t.Run(name, func(t *testing.T) {
			enginetest.Run(t, func(t testing.TB, now func() time.Time) store.Engine {
				o.Now = now
				if !o.InMemory {
					o.Dir = t.TempDir()
				}
				e, err := badger.Open(o)
				if err != nil {
					t.Fatal(err)
				}
				return e
			})
		})
	}
}
