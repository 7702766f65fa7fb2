package badger

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/souk-market/souk/core/store"
)

// A record in Badger:
//
//	key    table | uvarint(len(part)) | part | sub
//	value  form 1 | seq 2 | expires 8, if form says so | the caller's bytes
//
// The length before the part keeps a part apart from one that it is a prefix of,
// while the order of sub stays the order of the keys. The expiry is ours, in
// milliseconds: Badger's is in seconds of the wall clock, and the program's clock
// may be another one.
//
// seq numbers the writes of one commit. All of them share Badger's version, so
// that and seq together make the version which tells every write from all others,
// also from those of the same batch that were written over before they were
// stored.
const (
	formPlain   = 0x01
	formExpires = 0x02

	seqAt     = 1
	expiresAt = 3
	seqBits   = 12
)

// reserved holds the timestamp below which versions may have been handed out.
// It sorts before all tables.
var reserved = []byte("\x00reserved")

var errCorrupt = errors.New("record is damaged")

func encodeKey(k store.Key) []byte {
	b := make([]byte, 0, 3+len(k.Part)+len(k.Sub))
	b = append(b, k.Table)
	b = binary.AppendUvarint(b, uint64(len(k.Part)))
	b = append(b, k.Part...)
	return append(b, k.Sub...)
}

func decodeKey(b []byte) (store.Key, error) {
	if len(b) < 2 {
		return store.Key{}, fmt.Errorf("key %x: %w", b, errCorrupt)
	}
	n, w := binary.Uvarint(b[1:])
	if w <= 0 || n > uint64(len(b)-1-w) {
		return store.Key{}, fmt.Errorf("key %x: %w", b, errCorrupt)
	}
	rest := b[1+w:]
	return store.Key{Table: b[0], Part: string(rest[:n]), Sub: string(rest[n:])}, nil
}

// encodeValue makes the stored form with seq still 0; setSeq fills it in when the
// write has found its place in a batch.
func encodeValue(value []byte, expires time.Time) []byte {
	if expires.IsZero() {
		b := make([]byte, expiresAt, expiresAt+len(value))
		b[0] = formPlain
		return append(b, value...)
	}
	b := make([]byte, expiresAt, expiresAt+8+len(value))
	b[0] = formExpires
	b = binary.BigEndian.AppendUint64(b, uint64(expires.UnixMilli()))
	return append(b, value...)
}

func setSeq(b []byte, seq uint16) { binary.BigEndian.PutUint16(b[seqAt:], seq) }

// stored is a decoded value; its bytes are a part of what was decoded.
type stored struct {
	value   []byte
	seq     uint16
	expires time.Time
}

func decodeValue(b []byte) (stored, error) {
	if len(b) < expiresAt {
		return stored{}, errCorrupt
	}
	s := stored{seq: binary.BigEndian.Uint16(b[seqAt:]), value: b[expiresAt:]}
	switch b[0] {
	case formPlain:
		return s, nil
	case formExpires:
		if len(s.value) < 8 {
			return stored{}, errCorrupt
		}
		s.expires = time.UnixMilli(int64(binary.BigEndian.Uint64(s.value))).UTC()
		s.value = s.value[8:]
		return s, nil
	}
	return stored{}, fmt.Errorf("value has form %d: %w", b[0], errCorrupt)
}

func version(ts uint64, seq uint16) store.Version {
	return store.Version(ts<<seqBits | uint64(seq))
}
