package report_test

import (
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/souk-market/souk/cmd/souk/sim/report"
)

// release is what a release day may come to: made up, for the report is tested here
// and not a server. Each call gives another copy.
func release() *report.Result {
	r := *made()
	r.Checks, r.Marks, r.Figures, r.Ticks, r.Classes = slices.Clone(r.Checks), slices.Clone(r.Marks), slices.Clone(r.Figures), slices.Clone(r.Ticks), slices.Clone(r.Classes)
	for i, t := range r.Ticks {
		r.Ticks[i].Classes = maps.Clone(t.Classes)
	}
	for i, c := range r.Classes {
		class := *c
		r.Classes[i] = &class
	}
	return &r
}

var made = sync.OnceValue(func() *report.Result {
	const ticks, devices = 240, 100_000
	rng := rand.New(rand.NewPCG(1, 2))
	start := time.Date(2026, 3, 2, 0, 0, 0, 0, time.UTC)
	length := 24 * time.Hour / ticks
	r := &report.Result{
		Scenario: "release-day", Variant: "phased", Seed: 1, Devices: devices, Speed: 1440, Connections: "keep-alive",
		Start: start, Simulated: 24 * time.Hour, Took: time.Minute,
		Command:  "souk sim --scenario release-day --devices 100000 --speed 1440 --seed 1",
		Software: "souk 0.1.0, go1.26.8", Machine: "linux/amd64, 2 cores",
		Lag: hdrhistogram.New(1, 60e6, 3),
		Checks: []report.Check{
			{Name: "newer", Sentence: "what is offered is newer than what is installed", Looked: 12_903},
			{Name: "fits", Sentence: "what is offered runs on the device's system", Looked: 12_903},
			{Name: "share", Sentence: "as many devices are offered a rollout as it is open to, within the bounds that chance has in 999 of 1,000 runs", Looked: 6},
			{Name: "sticky", Sentence: "a device that was offered a version is offered no older one later", Looked: 9_411},
			{Name: "nonce", Sentence: "no nonce comes twice", Looked: 15_002},
			{Name: "signature", Sentence: "a signature verifies under the key that the market publishes", Looked: 1_500},
			{Name: "halt", Sentence: "nothing is offered after a halt", Looked: 0},
			{Name: "status", Sentence: "no answer is 5xx, but for 503 under pressure", Looked: 98_412},
		},
		Marks: []report.Mark{
			{At: start.Add(8 * time.Hour), What: "2.0 is released to 1 %"},
			{At: start.Add(10 * time.Hour), What: "to 10 %"},
			{At: start.Add(10*time.Hour + 10*time.Minute), What: "the server is gone for 28 minutes"},
			{At: start.Add(10*time.Hour + 38*time.Minute), What: "the server is back"},
			{At: start.Add(14 * time.Hour), What: "to 50 %"},
			{At: start.Add(18 * time.Hour), What: "to 100 %"},
		},
		Figures: []report.Figure{{Name: "recovered after", Value: "41 s, simulated"}, {Name: "offered to 100 %", Value: "6 h after the last step"}},
	}
	names := []string{report.ClassNone, report.ClassOne, report.ClassMany, "refresh", "restore", "401", "403", "404"}
	mix := []float64{0.84, 0.09, 0.02, 0.012, 0.004, 0.005, 0.006, 0.003}
	base := []float64{180, 420, 900, 1300, 1500, 120, 120, 130} // µs
	for _, name := range names {
		r.Classes = append(r.Classes, &report.Class{Name: name, Latency: hdrhistogram.New(1, 60e6, 3)})
	}
	installed, offered := 0.0, 0.0
	for i := range ticks {
		at := start.Add(time.Duration(i) * length)
		hour := at.Sub(start).Hours()
		curve := 1 + 0.8*math.Cos((hour-2.5)/24*2*math.Pi) + 0.25*math.Cos((hour-13)/12*2*math.Pi)
		due := float64(devices) * 0.85 / ticks * curve * (1 + 0.05*rng.NormFloat64())
		if at.Minute() == 0 {
			due *= 1.3
		}
		t := report.Tick{At: at, Length: time.Minute / ticks, Classes: map[string]uint64{}}
		gone := hour >= 10.15 && hour < 10.62
		wave := hour >= 10.62 && hour < 10.9
		if gone {
			t.Offered, t.Failed = uint64(due), uint64(due)
			r.Offered, r.Failed = r.Offered+t.Offered, r.Failed+t.Failed
			r.Sent += t.Offered
			r.Ticks = append(r.Ticks, t)
			r.Adoption = append(r.Adoption, report.Adoption{At: at, Open: 0.1, Offered: offered, Installed: installed})
			continue
		}
		load := 1.0
		if wave {
			due *= 3.1
			load = 6
		}
		open := 0.0
		for _, step := range []struct{ hour, open float64 }{{8, 0.01}, {10, 0.1}, {14, 0.5}, {18, 1}} {
			if hour >= step.hour {
				open = step.open
			}
		}
		offered += (open - offered) * 0.02
		installed += (offered - installed) * 0.03
		t.Offered = uint64(due)
		if wave {
			t.Shed = uint64(due * 0.02)
		}
		tick := hdrhistogram.New(1, 60e6, 3)
		for c, name := range names {
			share := mix[c]
			if c == 1 || c == 2 {
				share *= 0.5 + 6*(open-offered)
			}
			if c == 0 {
				share = 0.97 - (mix[1]+mix[2])*(0.5+6*(open-offered))
			}
			n := uint64(due * share)
			for range n {
				us := int64(base[c]*load*math.Exp(0.35*rng.NormFloat64())*(1+3*math.Pow(rng.Float64(), 60))) + 1
				if rng.IntN(3000) == 0 {
					us *= 25
				}
				_ = r.Classes[c].Latency.RecordValue(us)
				_ = tick.RecordValue(us)
			}
			r.Classes[c].Count += n
			t.Classes[name] = n
			t.Answered += n
			if c == 1 || c == 2 {
				r.Signatures += n * uint64(c)
			}
		}
		us := func(q float64) time.Duration { return time.Duration(tick.ValueAtPercentile(q)) * time.Microsecond }
		t.P50, t.P99, t.Max = us(50), us(99), time.Duration(tick.Max())*time.Microsecond
		t.CPU = time.Duration(float64(t.Answered) * (14 + 20*(open-offered) + rng.Float64()) * float64(time.Microsecond))
		r.CPU += t.CPU
		r.Offered, r.Sent, r.Answered, r.Shed = r.Offered+t.Offered, r.Sent+t.Offered, r.Answered+t.Answered, r.Shed+t.Shed
		_ = r.Lag.RecordValues(int64(20+rng.IntN(60)), int64(t.Offered))
		r.Ticks = append(r.Ticks, t)
		r.Adoption = append(r.Adoption, report.Adoption{At: at, Open: open, Offered: offered, Installed: installed})
	}
	return r
})

const hostile = `</script><script>alert(1)</script><!--<img src=x onerror=alert(2)> & "quoted" 'too' ` + "`${tick}`\x1b[31m\u2028"

// broken is a run that holds nothing, whose texts want to break out of the page.
func broken() *report.Result {
	r := release()
	r.Scenario, r.Variant, r.Target, r.Command = "s"+hostile, "v"+hostile, "t"+hostile, "c"+hostile
	r.Software, r.Machine, r.Connections = "w"+hostile, "m"+hostile, "n"+hostile
	r.Void = []string{"the generator's lag has a p99 of 4 ms " + hostile}
	r.Checks[0].Failed, r.Checks[0].First = 3, "device 41, app 7: 1.0 was offered over 2.0 "+hostile
	r.Checks[4].Failed, r.Checks[4].Sentence = 1, hostile
	r.Checks[5].Name = "x" + hostile
	r.Marks[0].What = "k" + hostile
	r.Classes[7].Name = "z" + hostile
	r.Figures[0] = report.Figure{Name: "f" + hostile, Value: "u" + hostile}
	for i := range r.Ticks {
		r.Ticks[i].Classes["z"+hostile] = r.Ticks[i].Classes["404"]
	}
	return r
}

// growth is what a benchmark of growth may come to.
func growth() *report.Growth {
	return &report.Growth{
		Command: "souk bench growth", Software: "souk 0.1.0, go1.26.8", Machine: "linux/amd64, 2 cores",
		Tables: []report.GrowthTable{
			{What: "apps of a device", How: "One check asks for so many apps, nothing newer for any of them.", Points: []report.GrowthPoint{{X: 1, CPU: 12.1, Ratio: 1.31}, {X: 10, CPU: 19.8, Ratio: 1.72}, {X: 100, CPU: 96.2, Ratio: 4.4}}},
			{What: "items of the catalogue", How: "Five apps of a catalogue of so many items.", Points: []report.GrowthPoint{{X: 100, CPU: 14.2, Ratio: 1.44}, {X: 1000, CPU: 14.3, Ratio: 1.45}, {X: 10_000, CPU: 15.0, Ratio: 1.5}, {X: 100_000, CPU: 16.9, Ratio: 1.66}}},
			{What: "plugins", How: "So many guests are asked on every check.", Points: []report.GrowthPoint{{X: 1, CPU: 18}, {X: 2, CPU: 22}, {X: 4, CPU: 30}, {X: 8, CPU: 46}}},
			{What: "connections", How: "So many connections that are kept alive.", Points: []report.GrowthPoint{{X: 64, CPU: 14.1, Ratio: 1.4}, {X: 512, CPU: 15.2, Ratio: 1.42}, {X: 4096, CPU: 18.8, Ratio: 1.41}}},
		},
	}
}
