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

func TestReopen(t *testing.T) {
	for name, o := range map[string]badger.Options{"power": {Sync: true, MinFree: 1, Verify: true}, "process": {}} {
		t.Run(name, func(t *testing.T) {
			enginetest.RunReopen(t, func(t testing.TB) enginetest.Open {
				dir := t.TempDir()
				return func(t testing.TB, now func() time.Time) store.Engine {
					o.Dir, o.Now = dir, now
					e, err := badger.Open(o)
					if err != nil {
						t.Fatal(err)
					}
					return e
				}
			})
		})
	}
}
