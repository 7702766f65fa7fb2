package server_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/souk-market/souk/core/market"
	"github.com/souk-market/souk/core/server"
)

func BenchmarkParseApps(b *testing.B) {
	for _, n := range []int{5, 100} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			var apps []string
			for i := range n {
				apps = append(apps, fmt.Sprintf(`{"appleItemId":"%d","appleVersionId":"%d"}`, 1_500_000_000+i*37, 15_000_000_002+i*370))
			}
			body := []byte(`{"apps":[` + strings.Join(apps, ",") + `],"platform":"iOS","osVersion":"26.1"}`)
			var q market.Request
			b.ReportAllocs()
			b.SetBytes(int64(len(body)))
			for b.Loop() {
				if err := server.ParseApps(body, 1000, &q); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
