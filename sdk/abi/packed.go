//go:build !wasip1

package abi

import (
	"encoding/binary"
	"slices"
	"unsafe"
)

// PackedCandidate is a Candidate as messages carry it, made once for a version that
// many devices are asked about: its fixed part, and behind it the texts, which the fixed
// part points to as if the message began there. All of it lies in one place: with a
// large catalogue the time of a question goes into fetching what it is about.
type PackedCandidate string

// Where the fixed parts have what is written here: the list of apps in the one of a
// SelectVersionRequest, and of a Candidate the strings, which are the rest of it.
const (
	appsOfRequest    = SizeHead
	textsOfCandidate = 32
)

// Pack returns the packed form of a candidate.
func (c *Candidate) Pack() PackedCandidate {
	q := SelectVersionRequest{Apps: []SelectVersionApp{{Candidates: []Candidate{*c}}}}
	b := q.Append(nil)
	packed := b[SizeSelectVersionRequest+SizeSelectVersionApp:] // nothing of it comes before but the two
	for p := packed[textsOfCandidate:SizeCandidate]; len(p) > 0; p = p[8:] {
		if s := binary.LittleEndian.Uint64(p); s != 0 {
			binary.LittleEndian.PutUint64(p, s-uint64(len(b)-len(packed)))
		}
	}
	return PackedCandidate(packed)
}

// SelectVersionWriter writes a SelectVersionRequest of packed candidates, byte for byte
// what Append writes. Begin, then App for each app, and after each its candidates,
// newest first; Finish returns the message. What was announced and isn't written is
// empty. It can be used again.
//
// hot: called for every update check with a candidate; no allocation when there is room.
type SelectVersionWriter struct {
	Candidates []int // how many each app has, of those written since Begin

	b               []byte // all the space there is
	base, end       int    // where in it the message is
	apps, candidate elements
}

// elements are those of a list that are not written yet: where the next lies, and where
// the last ends.
type elements struct{ next, end int }

// Begin begins a message about so many apps behind what b holds. Its head is that of r,
// whose own apps don't matter.
func (w *SelectVersionWriter) Begin(b []byte, r *SelectVersionRequest, apps int) {
	w.Candidates, w.base = w.Candidates[:0], len(b)
	own := r.Apps
	r.Apps = nil
	b = r.Append(b)
	r.Apps = own
	w.b, w.end = b[:cap(b)], len(b)
	w.room(7 + apps*SizeSelectVersionApp)
	w.candidate = elements{}
	w.apps = w.list(w.b[w.base+appsOfRequest:], apps, SizeSelectVersionApp)
}

// room sees to it that there is space for n bytes more.
func (w *SelectVersionWriter) room(n int) {
	if n > len(w.b)-w.end {
		w.b = slices.Grow(w.b[:w.end], n)
		w.b = w.b[:cap(w.b)]
	}
}

// list takes space for a list, 8-aligned in the message, which p is to point to.
func (w *SelectVersionWriter) list(p []byte, count, stride int) elements {
	if count == 0 {
		clear(p[:16])
		return elements{}
	}
	begin := w.end + (w.base-w.end)&7
	binary.LittleEndian.PutUint64(w.b[w.end:], 0) // the padding; what else this clears belongs to the list and is written later
	w.end = begin + count*stride
	binary.LittleEndian.PutUint64(p, uint64(begin-w.base)|uint64(count)<<32)
	binary.LittleEndian.PutUint64(p[8:], uint64(stride))
	return elements{begin, w.end}
}

// text appends s and returns what points to it.
func (w *SelectVersionWriter) text(s string) uint64 {
	if s == "" {
		return 0
	}
	at := w.end
	w.end += copy(w.b[at:], s)
	return uint64(at-w.base) | uint64(len(s))<<32
}

// App writes the next app, which has so many candidates; see SelectVersionApp.
func (w *SelectVersionWriter) App(item, installed uint64, bundleID, channel string, candidates int) {
	w.rest(&w.candidate)
	w.room(len(bundleID) + len(channel) + 7 + candidates*SizeCandidate)
	w.Candidates = append(w.Candidates, candidates)
	p := (*[SizeSelectVersionApp]byte)(w.b[w.apps.next:w.apps.end])
	w.apps.next += SizeSelectVersionApp
	binary.LittleEndian.PutUint64(p[0:], item)
	binary.LittleEndian.PutUint64(p[8:], installed)
	binary.LittleEndian.PutUint64(p[16:], w.text(bundleID))
	binary.LittleEndian.PutUint64(p[24:], w.text(channel))
	w.candidate = w.list(p[32:], candidates, SizeCandidate)
}

// Candidate writes the next candidate of the app. What depends on who asks, minOS and
// flags, takes the place of what was packed.
func (w *SelectVersionWriter) Candidate(c PackedCandidate, minOS uint32, flags CandidateFlags) {
	fixed, texts := (*[SizeCandidate]byte)(unsafe.Slice(unsafe.StringData(string(c)), len(c))), c[SizeCandidate:]
	w.room(len(texts))
	p := (*[SizeCandidate]byte)(w.b[w.candidate.next:w.candidate.end])
	w.candidate.next += SizeCandidate
	*p = *fixed
	binary.LittleEndian.PutUint32(p[16:], minOS)
	binary.LittleEndian.PutUint32(p[20:], uint32(flags))
	farther := uint64(w.end - w.base - SizeCandidate) // from the beginning than in what was packed
	for i := textsOfCandidate; i < SizeCandidate; i += 8 {
		if s := binary.LittleEndian.Uint64(fixed[i:]); s != 0 {
			binary.LittleEndian.PutUint64(p[i:], s+farther)
		}
	}
	w.end += copy(w.b[w.end:], texts)
}

// rest empties the elements that were not written.
func (w *SelectVersionWriter) rest(e *elements) {
	if e.next < e.end {
		clear(w.b[e.next:e.end])
	}
}

// Finish returns the message with what was before it, and keeps nothing of it.
func (w *SelectVersionWriter) Finish() []byte {
	w.rest(&w.candidate)
	w.rest(&w.apps)
	b := w.b[:w.end]
	w.b = nil
	binary.LittleEndian.PutUint32(b[w.base:], uint32(len(b)-w.base))
	return b
}
