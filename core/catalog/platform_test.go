package catalog_test

import (
	"strconv"
	"strings"
	"testing"

	"github.com/souk-market/souk/core/catalog"
)

func TestParsePlatform(t *testing.T) {
	for s, want := range map[string]catalog.Platform{
		"iOS": catalog.IOS, "ios": catalog.IOS, "IOS": catalog.IOS,
		"iPadOS": catalog.IPadOS, "ipados": catalog.IPadOS,
		"": 0, "macOS": 0, "iOS ": 0, "iPad": 0, "ıOS": 0,
	} {
		if got, ok := catalog.ParsePlatform(s); got != want || ok != (want != 0) {
			t.Errorf("ParsePlatform(%q) = %v, %v, want %v", s, got, ok, want)
		}
	}
	if catalog.IOS.String() != "iOS" || catalog.IPadOS.String() != "iPadOS" || catalog.Platform(7).String() != "Platform(7)" {
		t.Error("Platform.String differs from what devices write")
	}
}

func TestParseOS(t *testing.T) {
	for s, want := range map[string]uint32{
		"17": 17 << 16, "17.4": 17<<16 | 4<<8, "17.4.1": 17<<16 | 4<<8 | 1, "26.1": 26<<16 | 1<<8,
		"17.0": 17 << 16, "17.0.0": 17 << 16, "65535.255.255": 1<<32 - 1, "1": 1 << 16,
	} {
		if got, ok := catalog.ParseOS(s); !ok || got != want {
			t.Errorf("ParseOS(%q) = %#x, %v, want %#x", s, got, ok, want)
		}
	}
	for _, s := range []string{
		"", ".", "17.", ".4", "17..4", "17.4.1.0", "17.4.1.", "0", "0.1", "017", "17.04", "65536", "17.256", "17.4.256",
		"-1", "+17", "17.4b2", " 17", "17 ", "17,4", "٣", "999999999999999999999", "17.4\x00", "1e3", "0x11",
	} {
		if got, ok := catalog.ParseOS(s); ok || got != 0 {
			t.Errorf("ParseOS(%q) = %#x, %v, want a refusal", s, got, ok)
		}
	}
}

func FuzzParseOS(f *testing.F) {
	for _, s := range []string{"17", "17.4", "17.4.1", "65535.255.255", "17.4.1.2", "017", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		os, ok := catalog.ParseOS(s)
		if !ok {
			return
		}
		full := strconv.Itoa(int(os>>16)) + "." + strconv.Itoa(int(os>>8&0xff)) + "." + strconv.Itoa(int(os&0xff))
		if !strings.HasPrefix(full, s) || strings.Trim(full[len(s):], ".0") != "" {
			t.Errorf("ParseOS(%q) = %#x, which is %s", s, os, full)
		}
	})
}

func TestParseID(t *testing.T) {
	for s, want := range map[string]uint64{"1": 1, "10737747186": 10737747186, "18446744073709551615": 1<<64 - 1} {
		if got, ok := catalog.ParseID(s); !ok || got != want {
			t.Errorf("ParseID(%q) = %d, %v, want %d", s, got, ok, want)
		}
	}
	for _, s := range []string{"", "0", "01", "-1", "+1", " 1", "1 ", "1.0", "1e3", "1_000", "18446744073709551616", "abc"} {
		if got, ok := catalog.ParseID(s); ok {
			t.Errorf("ParseID(%q) = %d, want a refusal", s, got)
		}
	}
}
