package catalog

import (
	"unsafe"

	"github.com/souk-market/souk/core/prefetch"
	"github.com/souk-market/souk/sdk/abi"
)

// Candidate is a version that a device could be given.
type Candidate struct {
	Release *Release
	Packed  abi.PackedCandidate // as policy is asked about it, but for the next two
	MinOS   uint32              // for the device's platform
	// Flags say what a policy should know about it. FlagNewest is the newest of these
	// candidates, and FlagHalted only on a version that was asked for; whether there is a
	// delta is known to whoever reads packages.
	Flags abi.CandidateFlags
}

// Prefetch has all that a question about the item is made of, four lines of memory, come into
// the processor's cache while the caller goes on.
//
// hot: called for each app of which there can be something newer.
func (e *Entry) Prefetch() { prefetch.Lines(unsafe.Pointer(e)) }

// AppendUpdates appends the versions that a device which has the version installed could
// be offered instead, newest first: newer, made for its platform and system, not
// withdrawn, of an app that is not taken down. An installed id that the catalogue doesn't
// know compares as a number all the same; 0 means that the app is not installed, which
// leaves nothing to update.
//
// A halted version is left out here, before any policy is asked: no policy can offer
// what the operator has stopped, and the version before it is offered in its place.
// How far a rollout is open is left to policy, with Release.Share and Salt.
//
// hot: called for every app of every update check; no allocation when dst has room.
func (e *Entry) AppendUpdates(dst []Candidate, installed uint64, p Platform, os uint32) []Candidate {
	if installed == 0 || e.Removed {
		return dst
	}
	n := len(e.Versions)
	if e.next <= installed {
		n = min(n, len(e.few)) // what lies elsewhere is no newer
	}
	newest := abi.FlagNewest
	for i := range n {
		f := e.fitting(i)
		if f.id <= installed {
			break
		}
		if f.flags&abi.FlagHalted == 0 && f.fits(p, os) {
			dst = append(dst, Candidate{&e.Versions[i], f.packed, f.minIOS, f.flags | newest})
			newest = 0
		}
	}
	return dst
}

// AppendRestores appends the versions that can be put back on a device, newest first:
// all that are made for it and not withdrawn, of an app that is not taken down. The
// requested one, which may be 0, is marked, and it alone may be halted: who had it before
// gets it back, others don't get it for the first time.
//
// hot: no allocation when dst has room.
func (e *Entry) AppendRestores(dst []Candidate, requested uint64, p Platform, os uint32) []Candidate {
	if e.Removed {
		return dst
	}
	newest := abi.FlagNewest
	for i := range e.Versions {
		f := e.fitting(i)
		var asked abi.CandidateFlags
		if f.id == requested {
			asked = abi.FlagRequested
		}
		if !f.fits(p, os) || f.flags&abi.FlagHalted != 0 && asked == 0 {
			continue
		}
		dst = append(dst, Candidate{&e.Versions[i], f.packed, f.minIOS, f.flags | asked | newest})
		newest = 0
	}
	return dst
}

// fits says whether the version may be given to such a device: iPads run what is made
// for iOS.
func (f *fitting) fits(p Platform, os uint32) bool {
	return (p == IOS || p == IPadOS) && f.minIOS != 0 && f.minIOS <= os
}
