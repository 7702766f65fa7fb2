package backup_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"hash/crc32"
	"strings"
	"testing"

	"github.com/souk-market/souk/core/store/backup"
)

// frame is one as the file has it.
func frame(kind byte, payload []byte) []byte {
	b := binary.BigEndian.AppendUint32([]byte{kind}, uint32(len(payload)))
	b = append(b, payload...)
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)))
}

// header is the text of a file's header.
func header(whole []byte) string {
	return string(whole[21 : 21+binary.BigEndian.Uint32(whole[17:])])
}

// remade is a file with another text in its header, and checksums that hold.
func remade(t testing.TB, whole []byte, old, text string) []byte {
	t.Helper()
	was := header(whole)
	if !strings.Contains(was, old) {
		t.Fatalf("the header %s has no %s", was, old)
	}
	b := append(bytes.Clone(whole[:16]), frame('H', []byte(strings.Replace(was, old, text, 1)))...)
	b = append(b, whole[21+len(was)+4:len(whole)-sha256.Size]...)
	sum := sha256.Sum256(b)
	return append(b, sum[:]...)
}

// withGone is a file with one record, of a key that is gone, in place of all others.
func withGone(whole, record []byte) []byte {
	b := append(bytes.Clone(whole[:21+len(header(whole))+4]), frame('R', record)...)
	b = append(b, frame('E', binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, 0), 1))...)
	sum := sha256.Sum256(b)
	return append(b, sum[:]...)
}

// FuzzReader reads whatever comes, as it is and as records behind a header and
// checksums that hold: it never panics, and what it takes for whole reads the same
// again.
func FuzzReader(f *testing.F) {
	whole := small(f)
	next := remade(f, whole, `"base":true`, `"base":true,"since":{"id":"`+strings.Repeat("0", 32)+`","sha256":"`+strings.Repeat("0", 64)+`"},"since_begun":"2026-11-28T12:00:00Z"`)
	f.Add(whole)
	f.Add(next)
	f.Add(whole[:len(whole)-1])
	f.Add(whole[21+len(header(whole))+4+5 : len(whole)-61])
	f.Add([]byte{3, 'P', 1, 'a', 0, 2, 'F', 0, 0, 0, 0, 0, 0, 0, 0, 0, 9, 0})
	f.Add([]byte{1, 'P', 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		framed := append(bytes.Clone(next[:21+len(header(next))+4]), frame('R', b)...)
		for n := range uint64(4) {
			end := append(bytes.Clone(framed), frame('E', binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, n/2), n%2))...)
			sum := sha256.Sum256(end)
			read(t, append(end, sum[:]...))
		}
		read(t, b)
	})
}

func read(t *testing.T, b []byte) {
	n, err := drain(b)
	if again, err2 := drain(b); n != again || (err == nil) != (err2 == nil) {
		t.Errorf("%x = %d records, %v, and the second time %d, %v", b, n, err, again, err2)
	}
	if h, ref, lastErr := backup.Last(bytes.NewReader(b), int64(len(b))); err == nil && (lastErr != nil || ref.ID != h.ID || !bytes.HasSuffix(b, ref.Sum[:])) {
		t.Errorf("Last of a whole file = %+v, %+v, %v", h, ref, lastErr)
	}
}
