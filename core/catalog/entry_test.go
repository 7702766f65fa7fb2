package catalog

import (
	"fmt"
	"strings"
	"testing"
	"unsafe"

	"github.com/souk-market/souk/sdk/abi"
)

// within says whether a text lies in the first n bytes of an entry.
func (e *Entry) within(n uintptr, text string) bool {
	from, at := uintptr(unsafe.Pointer(e)), uintptr(unsafe.Pointer(unsafe.StringData(text)))
	return from <= at && at+uintptr(len(text)) <= from+n
}

// TestAQuestionIsInFourLines holds an entry to what Prefetch relies on, and its texts to what
// they were before they were moved there.
func TestAQuestionIsInFourLines(t *testing.T) {
	const lines = 4 * 64
	if size := unsafe.Sizeof(Entry{}); unsafe.Sizeof(uintptr(0)) == 8 && (size%64 != 0 || size > 512) {
		t.Errorf("an entry has %d bytes, want a multiple of 64, and no more than the allocator gives without a header", size)
	}
	if at := unsafe.Offsetof(Entry{}.few); unsafe.Sizeof(uintptr(0)) == 8 && at != 64 {
		t.Errorf("the newest versions are at %d, want the second line", at)
	}
	for _, c := range []struct {
		name, bundle, salt string
		versions           int
		inside             bool // what nearly every question needs
	}{
		{"an app as most are", "com.example.weather-widget", "", 5, true},
		{"one version", "com.example.app", "", 1, true},
		{"no version", "com.example.app", "", 0, true},
		{"a long bundle id", strings.Repeat("a", 155), "", 3, false},
		{"a long salt", "com.example.app", strings.Repeat("salt", 60), 4, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			it := Item{ID: 6_451_234_567, BundleID: c.bundle, Versions: make([]Version, c.versions)}
			for i := range it.Versions {
				id := uint64(873_421_000 - i)
				it.Versions[i] = Version{
					ID: id, Short: fmt.Sprintf("12.%d", i), Build: fmt.Sprint(id), MinOS: map[string]string{"ios": "17.4"},
					Rollout: Rollout{Share: FullShare, Salt: c.salt},
				}
			}
			e, err := newEntry(it, "https://example.com")
			if err != nil {
				t.Fatal(err)
			}
			if e.BundleID != c.bundle {
				t.Errorf("BundleID = %q, want %q", e.BundleID, c.bundle)
			}
			for i := range e.Versions {
				r, f := &e.Versions[i], e.fitting(i)
				told := abi.Candidate{Version: r.ID, ReleasedMS: r.ReleasedMS, Rollout: r.Share, Salt: r.Salt, Short: r.Short, Build: r.Build, Channel: r.Channel}
				if want := told.Pack(); f.id != r.ID || f.packed != want {
					t.Errorf("version %d: fitting %d is packed as %q, want %q", r.ID, f.id, f.packed, want)
				}
			}
			inside := e.within(lines, e.BundleID) && (c.versions == 0 || e.within(lines, string(e.fitting(0).packed)))
			if inside != c.inside {
				t.Errorf("all that a question needs is in the first lines: %t, want %t", inside, c.inside)
			}
		})
	}
}
