package audit_test

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/souk-market/souk/core/store/audit"
)

// BenchmarkAppend is an entry that reaches the disk, alone and among others.
func BenchmarkAppend(b *testing.B) {
	for _, callers := range []int{1, 64, 512} {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) {
			l, err := audit.Open(audit.Options{Dir: b.TempDir()})
			if err != nil {
				b.Fatal(err)
			}
			defer l.Close()
			e := audit.Entry{Kind: audit.SignedIn, Actor: audit.Device, Account: "alice@example.com", Subject: audit.ID{1}, Client: audit.ID{2}, Family: audit.ID{3}, Address: "192.0.2.1"}
			var wg sync.WaitGroup
			for c := range callers {
				wg.Go(func() {
					for range (b.N + callers - 1 - c) / callers {
						if err := l.Append(context.Background(), e); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			wg.Wait()
			b.ReportMetric(float64(l.Stats().Bytes)/float64(b.N), "B/entry")
		})
	}
}
