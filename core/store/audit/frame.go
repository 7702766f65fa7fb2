package audit

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash/crc32"
	"time"
)

// A segment is a header and frames, big endian.
//
//	header, 72 bytes                          frame, 56 bytes and the payload
//	 0  8  "soukaudt"                          0  4  0xF5 "aud"
//	 8  2  format, 1                           4  4  length of the payload
//	10  2  flags, 1 = the chain is broken      8  8  bytes of this file that were synced when it was written
//	12  8  number of the segment              16 32  hash
//	20  8  seq of its first entry             48  4  CRC-32C of the payload
//	28  8  created, Unix milliseconds         52  4  CRC-32C of the 52 bytes before
//	36 32  hash that the chain goes on from   56     payload, an Entry as JSON
//	68  4  CRC-32C of the 68 bytes before
//
// The hash after the header is the SHA-256 of the header. The hash of a frame is
// the SHA-256 of the hash before it and its payload.
//
// The two CRCs tell accidents from everything else: what they find is damage, a hash
// that does not follow although they hold is somebody's work. 0xF5 occurs in no
// UTF-8 text, so no payload can hold what looks like a frame.
const (
	headerSize = 72
	frameSize  = 56
	format     = 1

	flagBroken = 1

	sector = 512 // what a disk writes whole or not at all
)

var (
	headerMagic = []byte("soukaudt")
	frameMagic  = []byte("\xF5aud")
	castagnoli  = crc32.MakeTable(crc32.Castagnoli)
)

// Hash is a link of the chain.
type Hash [sha256.Size]byte

// String returns the hash in hexadecimal.
func (h Hash) String() string { return hex.EncodeToString(h[:]) }

// MarshalText implements encoding.TextMarshaler.
func (h Hash) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, h[:]), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (h *Hash) UnmarshalText(text []byte) error {
	if len(text) != 2*len(h) {
		return fmt.Errorf("audit: a hash has %d hexadecimal digits, not %d", 2*len(h), len(text))
	}
	_, err := hex.Decode(h[:], text)
	return err
}

// then is the hash after a payload.
func (h Hash) then(payload []byte) (next Hash) {
	sum := sha256.New()
	sum.Write(h[:])
	sum.Write(payload)
	sum.Sum(next[:0])
	return next
}

type header struct {
	number  uint64
	first   uint64 // seq
	created time.Time
	broken  bool
	before  Hash
}

func (h *header) encode() []byte {
	b := make([]byte, 0, headerSize)
	b = append(b, headerMagic...)
	b = binary.BigEndian.AppendUint16(b, format)
	flags := uint16(0)
	if h.broken {
		flags = flagBroken
	}
	b = binary.BigEndian.AppendUint16(b, flags)
	b = binary.BigEndian.AppendUint64(b, h.number)
	b = binary.BigEndian.AppendUint64(b, h.first)
	b = binary.BigEndian.AppendUint64(b, uint64(h.created.UnixMilli()))
	b = append(b, h.before[:]...)
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

// decodeHeader returns the reason if there is no header, else none.
func decodeHeader(b []byte) (h header, reason string) {
	switch {
	case len(b) < headerSize:
		return h, "the header is cut off"
	case !bytes.Equal(b[:8], headerMagic):
		return h, "the header is damaged: this is no audit segment"
	case binary.BigEndian.Uint16(b[8:]) != format:
		return h, fmt.Sprintf("the header has the format %d, this program knows %d: it is damaged, or was written by a newer version", binary.BigEndian.Uint16(b[8:]), format)
	case binary.BigEndian.Uint32(b[68:]) != crc32.Checksum(b[:68], castagnoli):
		return h, "the header is damaged: its checksum is wrong"
	}
	return header{
		number: binary.BigEndian.Uint64(b[12:]), first: binary.BigEndian.Uint64(b[20:]),
		created: time.UnixMilli(int64(binary.BigEndian.Uint64(b[28:]))).UTC(),
		broken:  binary.BigEndian.Uint16(b[10:])&flagBroken != 0, before: Hash(b[36:68]),
	}, ""
}

// frame is an entry as it stands in a segment.
type frame struct {
	synced  int64
	hash    Hash
	payload []byte
}

func appendFrame(b []byte, f *frame) []byte {
	at := len(b)
	b = append(b, frameMagic...)
	b = binary.BigEndian.AppendUint32(b, uint32(len(f.payload)))
	b = binary.BigEndian.AppendUint64(b, uint64(f.synced))
	b = append(b, f.hash[:]...)
	b = binary.BigEndian.AppendUint32(b, crc32.Checksum(f.payload, castagnoli))
	b = binary.BigEndian.AppendUint32(b, crc32.Checksum(b[at:], castagnoli))
	return append(b, f.payload...)
}

// decodeFrame reads the frame at the beginning of b, or says why there is none.
// whole is the length that it should have, 0 if its head does not tell.
func decodeFrame(b []byte) (f frame, whole int, reason string) {
	switch {
	case len(b) < frameSize:
		return f, 0, "the entry is cut off"
	case !bytes.Equal(b[:4], frameMagic), binary.BigEndian.Uint32(b[52:]) != crc32.Checksum(b[:52], castagnoli):
		return f, 0, "the entry is damaged: the checksum of its head is wrong"
	}
	length := binary.BigEndian.Uint32(b[4:])
	if length > maxPayload {
		return f, 0, "the entry is longer than any can be"
	}
	whole = frameSize + int(length)
	if len(b) < whole {
		return f, whole, "the entry is cut off"
	}
	f = frame{synced: int64(binary.BigEndian.Uint64(b[8:])), hash: Hash(b[16:48]), payload: b[frameSize:whole]}
	if binary.BigEndian.Uint32(b[48:]) != crc32.Checksum(f.payload, castagnoli) {
		return f, whole, "the entry is damaged: its checksum is wrong"
	}
	return f, whole, ""
}

// nextFrame finds the first whole frame at or behind from; -1 = there is none.
func nextFrame(b []byte, from int) int {
	for from < len(b) {
		at := bytes.Index(b[from:], frameMagic)
		if at < 0 {
			return -1
		}
		from += at
		if _, _, reason := decodeFrame(b[from:]); reason == "" {
			return from
		}
		from++
	}
	return -1
}

// torn says whether what is wrong at this place can be a write that was never
// finished, and so was never acknowledged: the file ends within the frame, or a
// sector that it reaches into was never written. It can't where a later frame says
// that the place had been synced before.
func torn(b []byte, at int) bool {
	for next := nextFrame(b, at+1); next >= 0; {
		f, whole, _ := decodeFrame(b[next:])
		if f.synced > int64(at) {
			return false
		}
		next = nextFrame(b, next+whole)
	}
	_, whole, _ := decodeFrame(b[at:])
	rest := b[at:]
	switch {
	case len(rest) < frameSize || whole > len(rest):
		return true
	case whole > 0:
		rest = rest[:whole]
	}
	for len(rest) > 0 {
		piece := rest[:min(sector-at%sector, len(rest))]
		if len(bytes.TrimLeft(piece, "\x00")) == 0 {
			return true
		}
		at, rest = at+len(piece), rest[len(piece):]
	}
	return false
}
