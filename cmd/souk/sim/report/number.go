package report

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Numbers as people read them: three digits say all that a run on a shared machine
// knows, and a count is exact.

// none stands for a number that is not known.
const none = "–"

// count writes 1234567 as 1,234,567.
func count(n uint64) string {
	s := strconv.FormatUint(n, 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// plural writes "1 answer" or "12 answers".
func plural(n uint64, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return count(n) + " " + many
}

// three writes a number with three digits that say something: 0.0123, 1.23, 12.3, 1,234.
func three(x float64) string {
	switch a := math.Abs(x); {
	case math.IsNaN(x) || math.IsInf(x, 0):
		return none
	case a >= 99.95:
		if x < 0 {
			return "-" + count(uint64(a+0.5))
		}
		return count(uint64(a + 0.5))
	case a == 0:
		return "0"
	default:
		s := strconv.FormatFloat(x, 'f', max(0, min(4, 2-int(math.Floor(math.Log10(a))))), 64)
		if strings.Contains(s, ".") {
			s = strings.TrimRight(strings.TrimRight(s, "0"), ".")
		}
		return s
	}
}

// micros writes a duration in µs with the unit that suits it.
func micros(us float64) string {
	switch {
	case math.IsNaN(us):
		return none
	case us < 999.5:
		return three(us) + " µs"
	case us < 999.5e3:
		return three(us/1e3) + " ms"
	}
	return three(us/1e6) + " s"
}

// spent writes a duration of a person's length: 42 s, 12 min 30 s, 1 d 2 h.
func spent(d time.Duration) string {
	if d < 0 {
		return "-" + spent(-d)
	}
	if 0 < d && d < time.Second {
		return micros(us(d))
	}
	if d < time.Minute {
		return three(math.Round(d.Seconds()*10)/10) + " s"
	}
	d = d.Round(time.Second)
	var parts []string
	for _, u := range []struct {
		length time.Duration
		name   string
	}{{24 * time.Hour, "d"}, {time.Hour, "h"}, {time.Minute, "min"}, {time.Second, "s"}} {
		if n := d / u.length; n > 0 && len(parts) < 2 {
			parts = append(parts, fmt.Sprintf("%d %s", n, u.name))
			d -= n * u.length
		} else if len(parts) > 0 {
			break // two neighbours at most
		}
	}
	return strings.Join(parts, " ")
}

// share writes a part of 1 in per cent.
func share(x float64) string {
	if math.IsNaN(x) {
		return none
	}
	return three(x*100) + " %"
}

// part writes n of all in per cent.
func part(n, all uint64) string {
	if all == 0 {
		return none
	}
	if n > 0 && float64(n)/float64(all) < 1e-6 {
		return "< 0.0001 %"
	}
	return share(float64(n) / float64(all))
}

// rate writes requests a second.
func rate(x float64) string {
	if math.IsNaN(x) {
		return none
	}
	return three(x) + "/s"
}

// percentile writes 0.999 as 99.9 %.
func percentile(q float64) string {
	return strconv.FormatFloat(q*100, 'f', -1, 64) + " %"
}
