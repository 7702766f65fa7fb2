package population_test

import (
	"math"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/souk-market/souk/cmd/souk/sim/population"
)

func TestADeviceAsksOnceADayAtMost(t *testing.T) {
	const n = 20_000
	p, _ := market(t, func(c *population.Config) { c.Devices = n })
	start := p.Config().Start
	var before time.Time
	kinds := map[population.Kind]int{}
	total, background := 0, 0
	for d := range 3 {
		asked := make([]bool, n)
		for a := range p.Arrivals(start.Add(time.Duration(d)*day), start.Add(time.Duration(d+1)*day)) {
			if a.At.Before(before) {
				t.Fatalf("%v comes after %v", a.At, before)
			}
			before = a.At
			kinds[a.Kind]++
			total++
			if a.Device >= n {
				t.Fatalf("device %d of %d", a.Device, n)
			}
			if a.Kind == population.Tap {
				continue
			}
			background++
			if asked[a.Device] {
				t.Fatalf("device %d asks twice on day %d", a.Device, d)
			}
			asked[a.Device] = true
		}
	}
	within(t, "checks", background, 3*n, 0.85)
	near(t, "share of taps", float64(kinds[population.Tap])/float64(total), 0.03, 0.0005)
	for kind, share := range map[population.Kind]float64{
		population.Expired: 0.02, population.NoToken: 0.005, population.UnknownApp: 0.005, population.Malformed: 0.002, population.Oversized: 0.0005,
	} {
		within(t, kind.String(), kinds[kind], background, share)
	}
}

func TestTheSameSeedIsTheSameMarket(t *testing.T) {
	list := func(seed uint64) []population.Arrival {
		p, _ := market(t, func(c *population.Config) { c.Seed, c.Devices = seed, 2000 })
		return slices.Collect(p.Arrivals(p.Config().Start, p.Config().Start.Add(day)))
	}
	if one := list(1); !slices.Equal(one, list(1)) {
		t.Error("the same seed gives other arrivals")
	} else if slices.Equal(one, list(2)) {
		t.Error("another seed gives the same arrivals")
	}
}

func TestWindowsJoin(t *testing.T) {
	for _, n := range []uint64{1, 7, 153, 5000} {
		p, _ := market(t, func(c *population.Config) { c.Devices = n })
		start := p.Config().Start
		whole := slices.Collect(p.Arrivals(start.Add(-day), start.Add(2*day)))
		cuts := []time.Duration{-day, -17 * time.Hour, -1, 0, 1, 30 * time.Second, time.Hour, 7*time.Hour + 123, day - 1, day, 29 * time.Hour, 2 * day}
		if n > 1000 {
			cuts = append(cuts, whole[len(whole)/2].At.Sub(start), whole[len(whole)/3].At.Sub(start)) // right on one
			slices.Sort(cuts)
		}
		var joined []population.Arrival
		for i := range cuts[1:] {
			joined = slices.AppendSeq(joined, p.Arrivals(start.Add(cuts[i]), start.Add(cuts[i+1])))
		}
		if !slices.Equal(whole, joined) {
			t.Errorf("%d devices: %d arrivals in one go, %d in pieces", n, len(whole), len(joined))
		}
	}
}

func TestTheDayHasItsPeakAtNightAndASpikeOnTheHour(t *testing.T) {
	const n = 150_000
	p, _ := market(t, func(c *population.Config) { c.Devices, c.Taps = n, 0 })
	start := p.Config().Start
	hours, early, total := [24]int{}, 0, 0
	for a := range p.Arrivals(start, start.Add(day)) {
		since := a.At.Sub(start)
		hours[since/time.Hour]++
		total++
		if since%time.Hour < 30*time.Second {
			early++
		}
	}
	mean := float64(total) / 24
	near(t, "peak hour beside the mean", float64(slices.Max(hours[:]))/mean, 1.9, 0.05)
	within(t, "checks within 30 s of the hour", early, total, 0.05+0.95*30/3600)
	for h, got := range hours {
		// Rate between the spike and the end of the hour, and the spike's share on top.
		want := p.Rate(start.Add(time.Duration(h)*time.Hour+time.Minute)) * 3600 / 0.95
		if math.Abs(float64(got)-want) > 5*math.Sqrt(want) {
			t.Errorf("hour %d has %d checks, Rate says %.0f", h, got, want)
		}
	}
	if spike, calm := p.Rate(start.Add(time.Second)), p.Rate(start.Add(time.Minute)); spike/calm < 6 || spike/calm > 8 {
		t.Errorf("the spike is ×%.1f, want about ×7", spike/calm)
	}
}

func TestArrivalsAreAsIrregularAsPeopleAre(t *testing.T) {
	// Of independent arrivals the counts of equal stretches vary as much as their mean.
	p, _ := market(t, func(c *population.Config) { c.Devices, c.Taps, c.Spike = 400_000, 0, 0 })
	from := p.Config().Start.Add(10 * time.Hour)
	counts := make([]float64, 36_000)
	for a := range p.Arrivals(from, from.Add(time.Hour)) {
		counts[a.At.Sub(from)/(100*time.Millisecond)]++
	}
	mean, variance := 0.0, 0.0
	for _, c := range counts {
		mean += c / float64(len(counts))
	}
	for _, c := range counts {
		variance += (c - mean) * (c - mean) / float64(len(counts))
	}
	near(t, "variance beside the mean", variance/mean, 1, 0.05)
}

func TestADeviceComesAboutADayLater(t *testing.T) {
	const n = 50_000
	p, _ := market(t, func(c *population.Config) { c.Devices, c.Taps = n, 0 })
	start := p.Config().Start
	last := map[uint64]time.Time{}
	far, again, moved := 0, 0, 0
	for a := range p.Arrivals(start, start.Add(2*day)) {
		if a.At.Sub(start) < day {
			last[a.Device] = a.At
			continue
		}
		if at, ok := last[a.Device]; ok {
			again++
			drift := (a.At.Sub(at) - day).Abs()
			if drift > 2*time.Hour+10*time.Minute {
				far++
			}
			if drift > 10*time.Minute {
				moved++
			}
		}
	}
	if again < n/2 || far > 0 || moved < again/2 {
		t.Errorf("of %d devices that came again %d drifted by more than two hours, %d at all", again, far, moved)
	}
}

func TestAHundredMillionDevicesTakeNoMemory(t *testing.T) {
	p, _ := market(t, func(c *population.Config) { c.Devices = 100_000_000 })
	from := p.Config().Start.Add(31*time.Hour + 17*time.Minute)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	count, d := 0, population.Device{Apps: make([]population.Installed, 0, 100)}
	for a := range p.Arrivals(from, from.Add(10*time.Second)) {
		p.Device(&d, a.Device, a.At)
		count++
	}
	runtime.ReadMemStats(&after)
	if used := after.TotalAlloc - before.TotalAlloc; used > 1<<20 {
		t.Errorf("ten seconds of 100 M devices allocate %d bytes", used)
	}
	want := p.Rate(from) * 10
	if math.Abs(float64(count)-want) > 5*math.Sqrt(want) {
		t.Errorf("%d arrivals, Rate says %.0f", count, want)
	}
}

func BenchmarkArrivalAndDevice(b *testing.B) {
	p, _ := market(b, func(c *population.Config) { c.Devices = 1_000_000 })
	d := population.Device{Apps: make([]population.Installed, 0, 100)}
	b.ReportAllocs()
	n := 0
	for n < b.N {
		for a := range p.Arrivals(p.Config().Start, p.Config().Start.Add(day)) {
			if n++; n > b.N {
				break
			}
			p.Device(&d, a.Device, a.At)
		}
	}
}
