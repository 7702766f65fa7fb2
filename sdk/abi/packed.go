//go:build !wasip1

package abi

import (
	"encoding/binary"
	"slices"
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
// newest first; Finish returns the message. It can be used again.
//
// hot: called for every update check with a candidate; no allocation when there is room.
type SelectVersionWriter struct {
	Candidates []int // how many each app has, of those written since Begin

	b              []byte // with the message from base on
	base           int
	app, candidate int // where in b the next of each lies
	head           SelectVersionRequest
}

// Begin begins a message about so many apps behind what b holds.
func (w *SelectVersionWriter) Begin(b []byte, head *Head, apps int) {
	w.Candidates, w.base = w.Candidates[:0], len(b)
	w.head.Head = *head
	w.b = w.head.Append(b)
	w.head.Head = Head{}
	w.app = w.list(w.base+appsOfRequest, apps, SizeSelectVersionApp)
}

// list makes room for a list, 8-aligned in the message, which is pointed to from at.
func (w *SelectVersionWriter) list(at, count, stride int) (begin int) {
	if count == 0 {
		clear(w.b[at : at+16])
		return 0
	}
	pad := (w.base - len(w.b)) & 7
	begin = len(w.b) + pad
	w.b = slices.Grow(w.b, pad+count*stride)[:begin+count*stride]
	clear(w.b[begin-pad:]) // an element that is never written is empty, and not what lay there before
	binary.LittleEndian.PutUint64(w.b[at:], uint64(begin-w.base)|uint64(count)<<32)
	binary.LittleEndian.PutUint64(w.b[at+8:], uint64(stride))
	return begin
}

// text appends s, which is pointed to from at.
func (w *SelectVersionWriter) text(at int, s string) {
	var to uint64
	if s != "" {
		to = uint64(len(w.b)-w.base) | uint64(len(s))<<32
		w.b = append(w.b, s...)
	}
	binary.LittleEndian.PutUint64(w.b[at:], to)
}

// App writes the next app, which has so many candidates; see SelectVersionApp.
func (w *SelectVersionWriter) App(item, installed uint64, bundleID, channel string, candidates int) {
	at := w.app
	w.app += SizeSelectVersionApp
	w.Candidates = append(w.Candidates, candidates)
	binary.LittleEndian.PutUint64(w.b[at:], item)
	binary.LittleEndian.PutUint64(w.b[at+8:], installed)
	w.text(at+16, bundleID)
	w.text(at+24, channel)
	w.candidate = w.list(at+32, candidates, SizeCandidate)
}

// Candidate writes the next candidate of the app. What depends on who asks, minOS and
// flags, takes the place of what was packed.
func (w *SelectVersionWriter) Candidate(c PackedCandidate, minOS uint32, flags CandidateFlags) {
	move := uint64(len(w.b) - w.base - SizeCandidate) // that the texts are farther from the beginning
	w.b = append(w.b, c[SizeCandidate:]...)
	p := w.b[w.candidate:][:SizeCandidate]
	w.candidate += SizeCandidate
	copy(p, c)
	binary.LittleEndian.PutUint32(p[16:], minOS)
	binary.LittleEndian.PutUint32(p[20:], uint32(flags))
	for p = p[textsOfCandidate:]; len(p) > 0; p = p[8:] {
		if s := binary.LittleEndian.Uint64(p); s != 0 {
			binary.LittleEndian.PutUint64(p, s+move)
		}
	}
}

// Finish returns the message with what was before it, and keeps nothing of it.
func (w *SelectVersionWriter) Finish() []byte {
	b := w.b
	w.b = nil
	binary.LittleEndian.PutUint32(b[w.base:], uint32(len(b)-w.base))
	return b
}
