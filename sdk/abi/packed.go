//go:build !wasip1

package abi

import "encoding/binary"

// PackedCandidate is a Candidate as messages carry it, made once for a version that
// many devices are asked about: its fixed part, and behind it the texts, which the fixed
// part points to as if the message began there. All of it lies in one place: with a
// large catalogue the time of a question goes into fetching what it is about.
type PackedCandidate string

// textsOfCandidate is where, in the fixed part of a Candidate, its strings begin; nothing
// but strings follows.
const textsOfCandidate = 32

// Pack returns the packed form of a candidate.
func (c *Candidate) Pack() PackedCandidate {
	var e encoder
	e.reserve(SizeCandidate)
	c.put(&e, 0)
	return PackedCandidate(e.b)
}

// SelectVersionWriter writes a SelectVersionRequest of packed candidates, byte for byte
// what Append writes. Begin, then App for each app, and after each its candidates,
// newest first; Finish returns the message. It can be used again.
//
// hot: called for every update check with a candidate; no allocation when there is room.
type SelectVersionWriter struct {
	Candidates []int // how many each app has, of those written since Begin

	e              encoder
	app, candidate int // where the next of each lies
}

// Begin begins a message about so many apps behind what b holds.
func (w *SelectVersionWriter) Begin(b []byte, head *Head, apps int) {
	w.e, w.Candidates = encoder{b: b, base: len(b)}, w.Candidates[:0]
	w.e.reserve(SizeSelectVersionRequest)
	head.put(&w.e, 0)
	w.e.u16(4, Minor)
	w.e.u16(6, uint16(HookSelectVersion))
	w.e.u32(16, SizeSelectVersionRequest)
	w.app = w.e.list(apps, SizeSelectVersionApp)
	putList(w.e.b[w.e.base+SizeHead:], w.app, apps, SizeSelectVersionApp)
}

// App writes the next app, which has so many candidates.
func (w *SelectVersionWriter) App(a *SelectVersionApp, candidates int) {
	w.Candidates = append(w.Candidates, candidates)
	bundleID := w.e.text(a.BundleID)
	channel := w.e.text(a.Channel)
	w.candidate = w.e.list(candidates, SizeCandidate)
	p := w.e.b[w.e.base+w.app:][:SizeSelectVersionApp]
	w.app += SizeSelectVersionApp
	binary.LittleEndian.PutUint64(p[0:], a.Item)
	binary.LittleEndian.PutUint64(p[8:], a.Installed)
	binary.LittleEndian.PutUint64(p[16:], bundleID)
	binary.LittleEndian.PutUint64(p[24:], channel)
	putList(p[32:], w.candidate, candidates, SizeCandidate)
}

// Candidate writes the next candidate of the app. What depends on who asks, minOS and
// flags, takes the place of what was packed.
func (w *SelectVersionWriter) Candidate(c PackedCandidate, minOS uint32, flags CandidateFlags) {
	at := len(w.e.b) - w.e.base - SizeCandidate // what the texts move by
	w.e.b = append(w.e.b, c[SizeCandidate:]...)
	p := w.e.b[w.e.base+w.candidate:][:SizeCandidate]
	w.candidate += SizeCandidate
	copy(p, c)
	binary.LittleEndian.PutUint32(p[16:], minOS)
	binary.LittleEndian.PutUint32(p[20:], uint32(flags))
	for i := textsOfCandidate; i < SizeCandidate; i += 8 {
		if s := binary.LittleEndian.Uint64(p[i:]); s != 0 {
			binary.LittleEndian.PutUint64(p[i:], s+uint64(at))
		}
	}
}

// Finish returns the message with what was before it.
func (w *SelectVersionWriter) Finish() []byte { return w.e.finish() }
