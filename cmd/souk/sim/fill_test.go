package sim

import (
	"context"
	"testing"

	"github.com/souk-market/souk/cmd/souk/sim/population"
	"github.com/souk-market/souk/core"
	"github.com/souk-market/souk/core/coretest"
)

// BenchmarkFill makes a server know the devices of a day.
func BenchmarkFill(b *testing.B) {
	for name, refresh := range map[string]bool{"accounts": false, "signed in": true} {
		b.Run(name, func(b *testing.B) { benchmarkFill(b, refresh) })
	}
}

func benchmarkFill(b *testing.B, refresh bool) {
	c := population.Default()
	c.Devices = 20_000
	known := 0
	for b.Loop() {
		b.StopTimer()
		s := &served{setup: setup{Dir: b.TempDir(), Key: "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f", Epoch: c.Start, Speed: 1440, Population: c}, clock: newClock(c.Start, 1440), cache: coretest.Cache()}
		config, err := s.config(core.Load)
		if err != nil {
			b.Fatal(err)
		}
		host, err := core.Open(b.Context(), config)
		if err != nil {
			b.Fatal(err)
		}
		ctx, stop := context.WithCancel(b.Context())
		served := make(chan error, 1)
		go func() { served <- host.Serve(ctx) }()
		f := &fill{From: c.Start, To: c.Start.Add(aDay), Refresh: refresh}
		b.StartTimer()
		d, err := f.run(ctx, host, c, func(int) error { return nil })
		b.StopTimer()
		stop()
		if err := <-served; err != nil {
			b.Fatal(err)
		}
		if err := host.Close(); err != nil {
			b.Fatal(err)
		}
		if err != nil || d.Known < 10_000 {
			b.Fatal(d.Known, err)
		}
		known += d.Known
		b.StartTimer()
	}
	b.ReportMetric(float64(known)/b.Elapsed().Seconds(), "devices/s")
}
