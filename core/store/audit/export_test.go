package audit

import (
	"bytes"
	"iter"
)

// ReadSegment is Read of a directory with one segment.
func ReadSegment(name string, b []byte) iter.Seq2[Entry, error] {
	s, ok := parseName(name)
	if !ok {
		panic(name)
	}
	return func(yield func(Entry, error) bool) { (&chain{}).segment(s, b, true, yield) }
}

// Queued is how many entries wait for the committer.
func (l *Log) Queued() int { return len(l.queue) }

// Forge changes the entry at a place, of the same length, and gives it the right
// checksums.
func Forge(segment []byte, at int64, from, to string) []byte {
	f, whole, reason := decodeFrame(segment[at:])
	if reason != "" {
		panic(reason)
	}
	f.payload = bytes.Replace(f.payload, []byte(from), []byte(to), 1)
	forged := appendFrame(bytes.Clone(segment[:at]), &f)
	return append(forged, segment[int(at)+whole:]...)
}

// Unplug makes writing fail from now on.
func (l *Log) Unplug() { _ = l.file.Close() }
