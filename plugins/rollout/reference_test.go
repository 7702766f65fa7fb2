//go:build !wasip1

package rollout_test

import (
	"strconv"
	"unsafe"

	"github.com/souk-market/souk/sdk/abi"
)

// The codes of the choices. The first ones say why a version is offered.
const (
	CodeOpen      = 1 // open to everyone
	CodeBucket    = 2 // open to the device's bucket
	CodeCritical  = 3 // critical, and such versions are not phased
	CodeRequested = 4 // restore: the version that the device asks for
	CodeNewest    = 5 // restore: nothing is open to the device, so the newest that it can use
	CodeLast      = 6 // restore: none is as it should be, so the newest
)

// The others say why none is offered: the reason of the candidate that came
// closest to an offer has the highest number.
const (
	CodeNone      = 20 // there is no candidate
	CodeOld       = 21 // not newer than the installed version
	CodeChannel   = 22 // of a channel that the account doesn't follow
	CodeSystem    = 23 // for a newer system
	CodeHalted    = 24 // its rollout was halted
	CodeAnonymous = 25 // partly open, and there is nothing to compute a bucket from
	CodeHeld      = 26 // partly open, and not to the device's bucket, or to nobody yet
)

// Rollout is the policy once more, in Go: what the plugin answers is compared with
// what this does. Its zero value is the default configuration.
type Rollout struct {
	HoldAll        bool // while the newest version is held, offer no older one instead
	CriticalAlways bool // versions marked as critical are open to everyone from the start

	reasons []byte // of one call: the verdict's strings point here
}

// finding is what the policy thinks of one candidate.
type finding struct {
	code   uint32
	bucket uint32
	share  uint32
}

func (f finding) open() bool { return f.code < CodeNone }

// SelectVersion chooses for each app of a request. The strings of the verdict
// are valid until the next call.
func (r *Rollout) SelectVersion(req *abi.SelectVersionRequest, v *abi.SelectVersionVerdict) {
	r.reasons = r.reasons[:0]
	for i := range req.Apps {
		app := &req.Apps[i]
		if req.Purpose == abi.PurposeUpdate {
			v.Items = append(v.Items, r.update(&req.Head, app))
		} else {
			v.Items = append(v.Items, r.restore(&req.Head, app))
		}
	}
}

// update offers the newest version that is open to the device.
func (r *Rollout) update(who *abi.Head, app *abi.SelectVersionApp) abi.VersionChoice {
	closest := finding{code: CodeNone}
	for i := range app.Candidates {
		c := &app.Candidates[i]
		f := finding{code: CodeOld}
		if c.Version > app.Installed {
			f = r.judge(who, app, c)
		}
		if f.open() {
			return r.choice(abi.Choice(i), f, closest)
		}
		if f.code > closest.code {
			closest = f
		}
		if r.HoldAll && f.code >= CodeAnonymous {
			break // its turn will come
		}
	}
	return r.choice(abi.Hold, closest, finding{})
}

// restore gives the version that somebody asks for: a device that had it before,
// halted or not, or the marketplace app for a person who wants it. A device
// without its app is worse off than one with a version that is not open to it
// yet, so something is chosen as long as there is a candidate.
func (r *Rollout) restore(who *abi.Head, app *abi.SelectVersionApp) abi.VersionChoice {
	if len(app.Candidates) == 0 {
		return r.choice(abi.Hold, finding{code: CodeNone}, finding{})
	}
	requested, open, newest := -1, -1, -1
	var found finding
	for i := range app.Candidates {
		c := &app.Candidates[i]
		if c.Flags&abi.FlagRequested != 0 && !tooNew(who, c) {
			requested = i
		}
		switch f := r.judge(who, app, c); {
		case f.open() && open < 0:
			open, found = i, f
		case f.code >= CodeAnonymous && newest < 0:
			newest = i
		}
	}
	switch {
	case requested >= 0:
		return r.choice(abi.Choice(requested), finding{code: CodeRequested}, finding{})
	case open >= 0:
		return r.choice(abi.Choice(open), found, finding{})
	case newest >= 0:
		return r.choice(abi.Choice(newest), finding{code: CodeNewest}, finding{})
	}
	return r.choice(0, finding{code: CodeLast}, finding{})
}

// judge says whether a candidate is open to the device, and why (not).
func (r *Rollout) judge(who *abi.Head, app *abi.SelectVersionApp, c *abi.Candidate) finding {
	switch {
	case c.Channel != "" && c.Channel != app.Channel:
		return finding{code: CodeChannel}
	case tooNew(who, c):
		return finding{code: CodeSystem}
	case c.Flags&abi.FlagHalted != 0:
		return finding{code: CodeHalted}
	case c.Rollout >= abi.Buckets:
		return finding{code: CodeOpen}
	case r.CriticalAlways && c.Flags&abi.FlagCritical != 0:
		return finding{code: CodeCritical}
	case who.BucketKey == "":
		return finding{code: CodeAnonymous}
	case c.Rollout == 0:
		return finding{code: CodeHeld}
	}
	f := finding{code: CodeHeld, bucket: abi.Bucket(who.BucketKey, c.Salt), share: c.Rollout}
	if f.bucket < f.share {
		f.code = CodeBucket
	}
	return f
}

// tooNew reports whether a candidate needs a newer system than the device has.
// The core has left such candidates out, so a system that nobody knows is no
// reason to hold an app.
func tooNew(who *abi.Head, c *abi.Candidate) bool { return who.OS != 0 && c.MinOS > who.OS }

// choice writes the reason: of the choice, and of why a newer version that
// would have been the device's turn is not it.
func (r *Rollout) choice(c abi.Choice, f, newer finding) abi.VersionChoice {
	from := len(r.reasons)
	r.explain(f)
	if newer.code >= CodeHalted {
		r.reasons = append(r.reasons, "; newer: "...)
		r.explain(newer)
	}
	reason := r.reasons[from:]
	return abi.VersionChoice{Choice: c, Code: f.code, Reason: unsafe.String(unsafe.SliceData(reason), len(reason))}
}

// explain writes with append, not with package fmt, which would allocate.
func (r *Rollout) explain(f finding) {
	switch {
	case f.share > 0:
		r.reasons = append(r.reasons, "bucket "...)
		r.reasons = strconv.AppendUint(r.reasons, uint64(f.bucket), 10)
		if f.code == CodeHeld {
			r.reasons = append(r.reasons, " is not below "...)
		} else {
			r.reasons = append(r.reasons, " is below "...)
		}
		r.reasons = strconv.AppendUint(r.reasons, uint64(f.share), 10)
	default:
		r.reasons = append(r.reasons, texts[f.code]...)
	}
}

var texts = [...]string{
	CodeOpen:      "open",
	CodeCritical:  "critical",
	CodeRequested: "requested",
	CodeNewest:    "newest",
	CodeLast:      "last resort",
	CodeNone:      "no candidate",
	CodeOld:       "not newer",
	CodeChannel:   "channel",
	CodeSystem:    "min os",
	CodeHalted:    "halted",
	CodeAnonymous: "no bucket key",
	CodeHeld:      "open to nobody",
}
