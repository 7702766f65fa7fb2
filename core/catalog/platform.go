package catalog

import (
	"math"
	"slices"
	"strconv"
	"strings"
)

// Platform is what a device says it is. The numbers are those of the plugin contract.
type Platform uint32

const (
	IOS    Platform = 1
	IPadOS Platform = 2
)

// ParsePlatform reads the platform of a request, in any case.
func ParsePlatform(s string) (Platform, bool) {
	switch {
	case s == "iOS" || strings.EqualFold(s, "iOS"): // as devices write it, or not
		return IOS, true
	case strings.EqualFold(s, "iPadOS"):
		return IPadOS, true
	}
	return 0, false
}

// String returns the platform as devices write it.
func (p Platform) String() string {
	switch p {
	case IOS:
		return "iOS"
	case IPadOS:
		return "iPadOS"
	}
	return "Platform(" + strconv.FormatUint(uint64(p), 10) + ")"
}

// The platforms that a manifest can name. Devices ask for the first alone, iPads too,
// although they call themselves iPadOS; the others may stand in a catalogue.
var minOSPlatforms = []string{"ios", "macos", "tvos", "visionos", "watchos"}

// knownPlatform says whether min_os may have this key, and if not what to do.
func knownPlatform(key string) (fix string, ok bool) {
	switch {
	case slices.Contains(minOSPlatforms, key):
		return "", true
	case strings.EqualFold(key, "iPadOS"):
		return `iPads follow "ios": remove this key`, false
	case slices.Contains(minOSPlatforms, strings.ToLower(key)):
		return "write it in lower case", false
	}
	return "want one of " + strings.Join(minOSPlatforms, ", "), false
}

// AnyOS is the system of a device that can't be known: whatever there is may fit.
const AnyOS uint32 = math.MaxUint32

// ParseOS reads "major[.minor[.patch]]" as major<<16 | minor<<8 | patch, so that versions
// compare as numbers. Each part has to fit its place, and there are no leading zeros: a
// version has one spelling.
//
// hot: no allocation.
func ParseOS(s string) (uint32, bool) {
	var os, n, digits uint32
	limit, shift := uint32(0xffff), 16
	for i := 0; i <= len(s); i++ {
		if i < len(s) && s[i] != '.' {
			d := uint32(s[i]) - '0'
			if d > 9 || digits > 0 && n == 0 {
				return 0, false
			}
			if n, digits = n*10+d, digits+1; n > limit {
				return 0, false
			}
			continue
		}
		if digits == 0 || shift < 0 || shift == 16 && n == 0 {
			return 0, false
		}
		os |= n << shift
		n, digits, limit, shift = 0, 0, 0xff, shift-8
	}
	return os, true
}
