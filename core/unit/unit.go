// Package unit reads quantities as an operator writes them: "72h", "180d" and
// "16MiB". It knows nothing of what they are for; the package that uses a
// setting declares it and says in its comment what the number means.
package unit

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Duration is a time.Duration that is written like Go's ("1h30m", "250ms") and
// may also count days of 24 hours ("180d", "1d12h"). "0" is zero. Negative
// durations are refused: no setting has a use for one.
type Duration time.Duration

// Std returns d as the standard library's type.
func (d Duration) Std() time.Duration { return time.Duration(d) }

// String writes d so that UnmarshalText reads the same value again.
func (d Duration) String() string {
	const day = 24 * time.Hour
	t := time.Duration(d)
	switch {
	case t == 0:
		return "0"
	case t >= 4*day && t%day == 0:
		return strconv.FormatInt(int64(t/day), 10) + "d"
	}
	s := t.String() // "1h0m0s": nobody writes the zeros
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// MarshalText implements encoding.TextMarshaler.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *Duration) UnmarshalText(text []byte) error {
	s := string(text)
	var days time.Duration
	if i := strings.IndexByte(s, 'd'); i >= 0 {
		n, err := strconv.ParseUint(s[:i], 10, 16)
		if err != nil {
			return fmt.Errorf("%q is no duration: days are written like \"180d\" (65535d at most)", s)
		}
		days = time.Duration(n) * 24 * time.Hour
		if s = s[i+1:]; s == "" {
			*d = Duration(days)
			return nil
		}
	}
	t, err := time.ParseDuration(s)
	if err != nil {
		return fmt.Errorf("%q is no duration: write it like \"250ms\", \"72h\" or \"180d\"", text)
	}
	if t < 0 {
		return fmt.Errorf("%q is negative: a duration here is zero or more", text)
	}
	*d = Duration(days + t)
	return nil
}

// Size is a number of bytes, written with a binary unit: "64KiB", "16MiB",
// "2GiB", or a bare number of bytes.
type Size int64

var sizeUnits = []struct {
	suffix string
	bytes  int64
}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}}

// String writes s so that UnmarshalText reads the same value again.
func (s Size) String() string {
	for _, u := range sizeUnits {
		if s != 0 && int64(s)%u.bytes == 0 {
			return strconv.FormatInt(int64(s)/u.bytes, 10) + u.suffix
		}
	}
	return strconv.FormatInt(int64(s), 10)
}

// MarshalText implements encoding.TextMarshaler.
func (s Size) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (s *Size) UnmarshalText(text []byte) error {
	digits, unit := string(text), int64(1)
	for _, u := range sizeUnits {
		if d, ok := strings.CutSuffix(digits, u.suffix); ok {
			digits, unit = strings.TrimSpace(d), u.bytes
			break
		}
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || n < 0 || n > (1<<62)/unit {
		return fmt.Errorf("%q is no size: write it like \"64KiB\", \"16MiB\" or \"2GiB\"", text)
	}
	*s = Size(n * unit)
	return nil
}
