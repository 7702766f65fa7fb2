package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"
)

var errDamaged = errors.New("record is damaged")

// reader takes a record apart. Its first mistake sticks and everything after it
// reads as zero, so that a decoder is a list of fields and one end.
type reader struct {
	table byte
	b     []byte
	err   error
}

// readRecord begins a record that must have this format.
func readRecord(table byte, b []byte, format byte) reader {
	r := reader{table: table, b: b}
	if found := r.byte(); r.err == nil && found != format {
		r.err = fmt.Errorf("store: table %c: record of format %d, this program knows %d", table, found, format)
	}
	return r
}

func (r *reader) fail() {
	if r.err == nil {
		r.err = fmt.Errorf("store: table %c: %w", r.table, errDamaged)
	}
}

// take returns the next n bytes, or n zeros when they are not there.
func (r *reader) take(n int) []byte {
	if r.err == nil && n > len(r.b) {
		r.fail()
	}
	if r.err != nil {
		return make([]byte, n)
	}
	var b []byte
	b, r.b = r.b[:n], r.b[n:]
	return b
}

func (r *reader) byte() byte     { return r.take(1)[0] }
func (r *reader) uint32() uint32 { return binary.BigEndian.Uint32(r.take(4)) }
func (r *reader) uint64() uint64 { return binary.BigEndian.Uint64(r.take(8)) }

func (r *reader) id() [16]byte { return [16]byte(r.take(16)) }

func (r *reader) time() time.Time { return time.UnixMilli(int64(r.uint64())).UTC() }

// flag is a byte that is 0 or 1.
func (r *reader) flag() bool {
	b := r.byte()
	if b > 1 {
		r.fail()
	}
	return b == 1
}

// uvarint accepts the shortest form only: one record, one encoding.
func (r *reader) uvarint() uint64 {
	if r.err != nil {
		return 0
	}
	v, n := binary.Uvarint(r.b)
	if n <= 0 || n > 1 && r.b[n-1] == 0 {
		r.fail()
		return 0
	}
	r.b = r.b[n:]
	return v
}

// count reads how many entries follow; each takes at least a byte.
func (r *reader) count() int {
	n := r.uvarint()
	if n > uint64(len(r.b)) {
		r.fail()
	}
	if r.err != nil {
		return 0
	}
	return int(n)
}

func (r *reader) text() string {
	n := r.count()
	return string(r.take(n))
}

// end reports the first mistake, bytes left over included: a newer program wrote
// them, and a record that is not understood whole must not be rewritten.
func (r *reader) end() error {
	if r.err == nil && len(r.b) > 0 {
		r.err = fmt.Errorf("store: table %c: %d bytes behind the record", r.table, len(r.b))
	}
	return r.err
}

func appendTime(b []byte, t time.Time) []byte {
	return binary.BigEndian.AppendUint64(b, uint64(t.UnixMilli()))
}

func appendText(b []byte, s string) []byte {
	b = binary.AppendUvarint(b, uint64(len(s)))
	return append(b, s...)
}

func appendFlag(b []byte, set bool) []byte {
	if set {
		return append(b, 1)
	}
	return append(b, 0)
}
