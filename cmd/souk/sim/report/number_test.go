package report

import (
	"math"
	"testing"
	"time"
)

func TestNumbersAsPeopleReadThem(t *testing.T) {
	for _, c := range []struct{ got, want string }{
		{count(0), "0"}, {count(999), "999"}, {count(1000), "1,000"}, {count(1234567), "1,234,567"},
		{three(0.01234), "0.0123"}, {three(1.2345), "1.23"}, {three(12.3456), "12.3"}, {three(99.949), "99.9"}, {three(99.95), "100"}, {three(0.999), "0.999"},
		{three(1234.5), "1,235"}, {three(2), "2"}, {three(0), "0"}, {three(-1.5), "-1.5"}, {three(-1500), "-1,500"}, {three(1e-9), "0"}, {three(math.NaN()), none}, {three(math.Inf(1)), none},
		{micros(0.5), "0.5 µs"}, {micros(999), "999 µs"}, {micros(999.6), "1 ms"}, {micros(1e6), "1 s"}, {micros(61e6), "61 s"},
		{spent(0), "0 s"}, {spent(12 * time.Millisecond), "12 ms"}, {spent(1500 * time.Millisecond), "1.5 s"}, {spent(time.Minute), "1 min"}, {spent(90 * time.Second), "1 min 30 s"}, {spent(24 * time.Hour), "1 d"},
		{spent(26*time.Hour + time.Second), "1 d 2 h"}, {spent(time.Hour + time.Second), "1 h"},
		{share(0.123456), "12.3 %"}, {part(0, 0), none}, {part(1, 3), "33.3 %"}, {part(1, 1e9), "< 0.0001 %"},
		{percentile(0.999), "99.9 %"}, {plural(1, "device", "devices"), "1 device"}, {plural(1000, "device", "devices"), "1,000 devices"},
	} {
		if c.got != c.want {
			t.Errorf("%q, want %q", c.got, c.want)
		}
	}
}

// TestUnevenTicks has a last instant that would count as a peak, and CPU that is told
// in steps.
func TestUnevenTicks(t *testing.T) {
	tick := func(length time.Duration, answered uint64, cpu time.Duration) Tick {
		return Tick{Length: length, Answered: answered, CPU: cpu}
	}
	got := even([]Tick{tick(250, 10, 0), tick(250, 11, 0), tick(2, 1, 0), tick(240, 9, 0), tick(1, 3, 0), tick(1, 4, 0)})
	if len(got) != 3 || got[1].Length != 252 || got[1].Answered != 12 || got[2].Answered != 16 || got[2].Length != 242 {
		t.Errorf("with short ones joined there are %+v", got)
	}
	few := []Tick{tick(1, 5, 0), tick(1, 5, 10), tick(1, 0, 10), tick(1, 7, 0), tick(1, 1, 20), tick(1, 2, 0)}
	got = enough(few, func(t Tick) bool { return t.CPU >= 20 && t.Answered > 0 })
	if len(got) != 2 || got[0].Answered != 10 || got[1].Answered != 10 || got[0].CPU != 20 || got[1].CPU != 20 || got[1].Length != 3 {
		t.Errorf("joined until each has enough there are %+v", got)
	}
	if got := enough(few[:1], func(Tick) bool { return false }); len(got) != 1 || got[0].Answered != 5 {
		t.Errorf("of too little there is %+v", got)
	}
	if got := enough(nil, func(Tick) bool { return true }); len(got) != 0 {
		t.Errorf("of nothing there is %+v", got)
	}
}

// TestMergeLosesNothing joins stretches: what is counted is added up, and the worst
// of them is the worst.
func TestMergeLosesNothing(t *testing.T) {
	var ticks []Tick
	for i := range 101 {
		ticks = append(ticks, Tick{
			Length: time.Second, Offered: 10, Answered: 9, Shed: 1, Failed: 2, CPU: time.Millisecond, P50: time.Duration(i), P99: time.Duration(i), Max: time.Duration(2 * i),
			Classes: map[string]uint64{"a": 4, "b": 5},
		})
	}
	merged := merge(ticks, 10)
	if len(merged) > 10 || len(merged) < 5 {
		t.Errorf("101 ticks become %d, want about 10", len(merged))
	}
	var sum Tick
	var a, b uint64
	for _, m := range merged {
		sum.Length += m.Length
		sum.Offered += m.Offered
		sum.Answered += m.Answered
		sum.Shed += m.Shed
		sum.Failed += m.Failed
		sum.CPU += m.CPU
		sum.P99, sum.Max = max(sum.P99, m.P99), max(sum.Max, m.Max)
		a, b = a+m.Classes["a"], b+m.Classes["b"]
	}
	if sum.Length != 101*time.Second || sum.Offered != 1010 || sum.Answered != 909 || sum.Shed != 101 || sum.Failed != 202 || sum.CPU != 101*time.Millisecond || sum.P99 != 100 || sum.Max != 200 || a != 404 || b != 505 {
		t.Errorf("joined they are %+v, a %d, b %d", sum, a, b)
	}
	if got := thin([]int{1, 2, 3, 4, 5, 6, 7}, 3); len(got) > 3 || got[0] != 1 || got[len(got)-1] != 7 {
		t.Errorf("of seven points %v stay, want the first, one, and the last", got)
	}
}
