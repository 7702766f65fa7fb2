package unit_test

import (
	"testing"
	"time"

	"github.com/souk-market/souk/core/unit"
)

func TestDuration(t *testing.T) {
	for _, c := range []struct {
		text string
		want time.Duration
		back string
	}{
		{"0", 0, "0"},
		{"250ms", 250 * time.Millisecond, "250ms"},
		{"72h", 72 * time.Hour, "72h"},
		{"60m", time.Hour, "1h"},
		{"1h30m", 90 * time.Minute, "1h30m"},
		{"180d", 180 * 24 * time.Hour, "180d"},
		{"1d12h", 36 * time.Hour, "36h"},
	} {
		var d unit.Duration
		if err := d.UnmarshalText([]byte(c.text)); err != nil {
			t.Errorf("UnmarshalText(%q): %v", c.text, err)
			continue
		}
		if d.Std() != c.want || d.String() != c.back {
			t.Errorf("%q = %v, written %q; want %v, %q", c.text, d.Std(), d, c.want, c.back)
		}
	}
	for _, bad := range []string{"", "soon", "-1h", "5", "1.5d", "99999999d", "d", "-1d"} {
		var d unit.Duration
		if err := d.UnmarshalText([]byte(bad)); err == nil {
			t.Errorf("UnmarshalText(%q) = %v, want an error", bad, d)
		}
	}
}

func TestSize(t *testing.T) {
	for _, c := range []struct {
		text string
		want int64
		back string
	}{
		{"0", 0, "0"}, {"1000", 1000, "1000"}, {"64KiB", 64 << 10, "64KiB"},
		{"16MiB", 16 << 20, "16MiB"}, {"2GiB", 2 << 30, "2GiB"}, {"1024KiB", 1 << 20, "1MiB"},
	} {
		var s unit.Size
		if err := s.UnmarshalText([]byte(c.text)); err != nil {
			t.Errorf("UnmarshalText(%q): %v", c.text, err)
			continue
		}
		if int64(s) != c.want || s.String() != c.back {
			t.Errorf("%q = %d, written %q; want %d, %q", c.text, int64(s), s, c.want, c.back)
		}
	}
	for _, bad := range []string{"", "16MB", "-1", "x", "9223372036854775807GiB"} {
		var s unit.Size
		if err := s.UnmarshalText([]byte(bad)); err == nil {
			t.Errorf("UnmarshalText(%q) = %v, want an error", bad, s)
		}
	}
}
