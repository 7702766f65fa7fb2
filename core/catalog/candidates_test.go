package catalog_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/souk-market/souk/core/catalog"
	"github.com/souk-market/souk/sdk/abi"
)

const (
	newest    = abi.FlagNewest
	critical  = abi.FlagCritical
	halted    = abi.FlagHalted
	requested = abi.FlagRequested
)

// version is one that runs on iOS from minOS on and is open to everyone.
func version(id uint64, minOS string, change ...func(*catalog.Version)) catalog.Version {
	v := catalog.Version{
		ID: id, Short: fmt.Sprintf("1.%d", id), Build: fmt.Sprint(id),
		MinOS: map[string]string{"ios": minOS}, Rollout: catalog.Rollout{Share: catalog.FullShare},
	}
	for _, f := range change {
		f(&v)
	}
	return v
}

func isHalted(v *catalog.Version)    { v.Rollout.Halted = true }
func isWithdrawn(v *catalog.Version) { v.Withdrawn = true }
func isCritical(v *catalog.Version)  { v.Critical = true }

func item(id uint64, versions ...catalog.Version) catalog.Item {
	return catalog.Item{ID: id, BundleID: fmt.Sprintf("com.example.app%d", id), Versions: versions}
}

// show writes candidates as "3:newest,halted 2".
func show(list []catalog.Candidate) string {
	var out []string
	for _, c := range list {
		var flags []string
		for _, f := range []struct {
			bit  abi.CandidateFlags
			name string
		}{{newest, "newest"}, {critical, "critical"}, {halted, "halted"}, {requested, "requested"}} {
			if c.Flags&f.bit != 0 {
				flags = append(flags, f.name)
			}
		}
		s := fmt.Sprint(c.Release.ID)
		if flags != nil {
			s += ":" + strings.Join(flags, ",")
		}
		out = append(out, s)
	}
	return strings.Join(out, " ")
}

func TestCandidates(t *testing.T) {
	plain := item(1, version(10, "17"), version(30, "17.4"), version(20, "17.2"))
	with := func(versions ...catalog.Version) catalog.Item { return item(1, versions...) }
	gone := plain
	gone.Removed = true
	macOnly := with(version(10, "17"), version(20, "17", func(v *catalog.Version) { v.MinOS = map[string]string{"macos": "14"} }))

	many := with(version(10, "17"), version(20, "17"), version(30, "17"), version(40, "17.4"), version(50, "17"))

	for _, c := range []struct {
		rule     string
		item     catalog.Item
		id       uint64 // installed, or requested
		platform string
		os       string
		updates  string
		restores string
	}{
		{"newer ones in descending order, all for a restore", plain, 10, "iOS", "17.4", "30:newest 20", "30:newest 20 10:requested"},
		{"nothing is newer", plain, 30, "iOS", "17.4", "", "30:newest,requested 20 10"},
		{"an unknown installed version compares as a number", plain, 15, "iOS", "18", "30:newest 20", "30:newest 20 10"},
		{"an unknown installed version above all", plain, 99, "iOS", "18", "", "30:newest 20 10"},
		{"not installed: nothing to update, all to restore", plain, 0, "iOS", "18", "", "30:newest 20 10"},
		{"the system is too old for the newest", plain, 10, "iOS", "17.3.9", "20:newest", "20:newest 10:requested"},
		{"the system is exactly the oldest", plain, 10, "iOS", "17.2", "20:newest", "20:newest 10:requested"},
		{"the system is too old for all", plain, 10, "iOS", "16.7", "", ""},
		{"the requested version does not fit", plain, 30, "iOS", "17.2", "", "20:newest 10"},
		{"an iPad counts as iOS", plain, 10, "iPadOS", "17.4", "30:newest 20", "30:newest 20 10:requested"},
		{"no platform", plain, 10, "", "17.4", "", ""},
		{"a version that does not name the platform", macOnly, 5, "iOS", "26", "10:newest", "10:newest"},
		{"a withdrawn version is for nobody", with(version(10, "17"), version(20, "17", isWithdrawn)), 10, "iOS", "18", "", "10:newest,requested"},
		{"nor if it is asked for", with(version(10, "17"), version(20, "17", isWithdrawn)), 20, "iOS", "18", "", "10:newest"},
		{"a halted version is not newly offered", with(version(10, "17"), version(20, "17", isHalted)), 10, "iOS", "18", "", "10:newest,requested"},
		{"the one before a halted version is", with(version(10, "17"), version(20, "17"), version(30, "17", isHalted)), 10, "iOS", "18", "20:newest", "20:newest 10:requested"},
		{"who had a halted version gets it back", with(version(10, "17"), version(20, "17", isHalted)), 20, "iOS", "18", "", "20:newest,halted,requested 10"},
		{"halted and withdrawn is withdrawn", with(version(20, "17", isHalted, isWithdrawn)), 20, "iOS", "18", "", ""},
		{"a critical version says so", with(version(20, "17", isCritical), version(30, "17")), 10, "iOS", "18", "30:newest 20:critical", "30:newest 20:critical"},
		{"a rollout that is closed is for policy to decide", with(version(20, "17", func(v *catalog.Version) { v.Rollout.Share = 0 })), 10, "iOS", "18", "20:newest", "20:newest"},
		{"four versions behind", many, 10, "iOS", "18", "50:newest 40 30 20", "50:newest 40 30 20 10:requested"},
		{"two behind", many, 30, "iOS", "18", "50:newest 40", "50:newest 40 30:requested 20 10"},
		{"behind the third, which is the first that fits", with(version(30, "17"), version(40, "18"), version(50, "18")), 29, "iOS", "17", "30:newest", "30:newest"},
		{"an unknown one between the second and the third", many, 35, "iOS", "17", "50:newest", "50:newest 30 20 10"},
		{"an item that was taken down", gone, 10, "iOS", "18", "", ""},
		{"an item without versions", with(), 10, "iOS", "18", "", ""},
	} {
		t.Run(c.rule, func(t *testing.T) {
			cat, _ := openCatalog(t)
			put(t, cat, c.item)
			e := cat.Snapshot().Item(1)
			p, _ := catalog.ParsePlatform(c.platform)
			os, _ := catalog.ParseOS(c.os)
			before := []catalog.Candidate{{}}
			if got := show(e.AppendUpdates(before, c.id, p, os)[1:]); got != c.updates {
				t.Errorf("AppendUpdates(%d, %s %s) = %s, want %s", c.id, c.platform, c.os, got, c.updates)
			}
			if got := show(e.AppendRestores(before, c.id, p, os)[1:]); got != c.restores {
				t.Errorf("AppendRestores(%d, %s %s) = %s, want %s", c.id, c.platform, c.os, got, c.restores)
			}
			for i := range e.Versions {
				r := &e.Versions[i]
				is := func(list []catalog.Candidate) bool {
					return slices.ContainsFunc(list, func(c catalog.Candidate) bool { return c.Release == r })
				}
				if why := e.NoUpdate(r, c.id, p, os); (why == "") != is(e.AppendUpdates(nil, c.id, p, os)) {
					t.Errorf("NoUpdate(%d) = %q, but AppendUpdates says otherwise", r.ID, why)
				}
				if why := e.NoRestore(r, c.id, p, os); (why == "") != is(e.AppendRestores(nil, c.id, p, os)) {
					t.Errorf("NoRestore(%d) = %q, but AppendRestores says otherwise", r.ID, why)
				}
			}
		})
	}
}

func TestCandidateCarriesItsMinimum(t *testing.T) {
	cat, _ := openCatalog(t)
	put(t, cat, item(1, version(20, "17.2.1")))
	os, _ := catalog.ParseOS("18")
	list := cat.Snapshot().Item(1).AppendUpdates(nil, 1, catalog.IPadOS, os)
	if want, _ := catalog.ParseOS("17.2.1"); len(list) != 1 || list[0].MinOS != want {
		t.Errorf("AppendUpdates = %+v, want a minimum of %#x", list, want)
	}
}

func TestHotPathDoesNotAllocate(t *testing.T) {
	if raceEnabled {
		t.Skip("allocations are only counted without the race detector")
	}
	cat, _ := openCatalog(t)
	put(t, cat, item(1, version(10, "17"), version(20, "17"), version(30, "17", isHalted)))
	var list []catalog.Candidate
	list = slices.Grow(list, 8)
	buf := make([]byte, 0, 4096)
	tok := []byte("a.b.c")
	if n := testing.AllocsPerRun(100, func() {
		e := cat.Snapshot().Item(1)
		p, _ := catalog.ParsePlatform("iPadOS")
		os, _ := catalog.ParseOS("17.4.1")
		cat.Snapshot().Prefetch(1)
		e.Prefetch()
		list = e.AppendUpdates(list[:0], 10, p, os)
		list = e.AppendRestores(list, 30, p, os)
		for _, c := range list {
			buf = c.Release.AppendUpdate(buf[:0], tok)
			buf = c.Release.AppendRestore(buf[:0], tok)
		}
		_ = e.Version(20)
	}); n != 0 {
		t.Errorf("the path of an update check allocates %v times, want 0", n)
	}
}
