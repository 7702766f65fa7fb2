package meter

import (
	"errors"
	"fmt"
	"unicode/utf8"
)

var errTruncated = errors.New("truncated")

// reader takes a module apart. The first error stays and moves the reader to its end, so callers may read on and look
// at err once: everything after an error is zero.
type reader struct {
	buf []byte
	pos int
	err error
}

func (r *reader) fail(err error) {
	if r.err == nil {
		r.err = err
	}
	r.pos = len(r.buf)
}

func (r *reader) failf(format string, args ...any) { r.fail(fmt.Errorf(format, args...)) }

func (r *reader) more() bool { return r.pos < len(r.buf) }

func (r *reader) left() int { return len(r.buf) - r.pos }

func (r *reader) byte() byte {
	if r.pos >= len(r.buf) {
		r.fail(errTruncated)
		return 0
	}
	c := r.buf[r.pos]
	r.pos++
	return c
}

// bytes returns the next n bytes, which stay the module's.
func (r *reader) bytes(n int) []byte {
	if n > r.left() {
		r.fail(errTruncated)
		return nil
	}
	b := r.buf[r.pos : r.pos+n : r.pos+n]
	r.pos += n
	return b
}

// u32 reads an index or a size. WebAssembly 2.0 §5.2.2: at most five bytes, unused bits zero.
func (r *reader) u32() uint32 {
	if r.pos < len(r.buf) && r.buf[r.pos] < 0x80 { // hot: nearly all of them are one byte
		r.pos++
		return uint32(r.buf[r.pos-1])
	}
	var v uint32
	for shift := 0; shift < 35; shift += 7 {
		c := r.byte()
		if shift == 28 && c > 0x0f {
			break
		}
		v |= uint32(c&0x7f) << shift
		if c < 0x80 {
			return v
		}
	}
	r.failf("integer of more than 32 bits")
	return 0
}

// signed reads a signed integer of the given width; the unused bits of its last byte must repeat the sign.
func (r *reader) signed(bits int) int64 {
	var v int64
	for shift := 0; shift < bits; shift += 7 {
		c := r.byte()
		v |= int64(c&0x7f) << shift
		if c >= 0x80 {
			continue
		}
		if used := bits - shift; used < 7 {
			if high := int8(c<<1) >> used; high != 0 && high != -1 {
				break
			}
		}
		if shift += 7; shift < 64 && c&0x40 != 0 {
			v |= -1 << shift
		}
		return v
	}
	r.failf("integer of more than %d bits", bits)
	return 0
}

// count reads the length of a vector whose items take at least size bytes each, before anybody makes room for it.
func (r *reader) count(what string, size, limit int) int {
	n := r.u32()
	if uint64(n)*uint64(size) > uint64(r.left()) {
		r.failf("%d %s cannot be in %d bytes", n, what, r.left())
		return 0
	}
	if uint64(n) > uint64(limit) {
		r.failf("%d %s, the limit is %d", n, what, limit)
		return 0
	}
	return int(n)
}

// index reads an index that must be below n.
func (r *reader) index(what string, n int) uint32 {
	i := r.u32()
	if uint64(i) >= uint64(n) {
		r.failf("%s %d does not exist", what, i)
		return 0
	}
	return i
}

func (r *reader) name() string {
	b := r.bytes(r.count("characters", 1, len(r.buf)))
	if !utf8.Valid(b) {
		r.failf("a name is not UTF-8")
		return ""
	}
	return string(b)
}

// zero reads a byte that the format reserves. The engine wants it as one byte, so a longer zero is refused.
func (r *reader) zero(what string) {
	if c := r.byte(); c != 0 {
		r.failf("%s is %#x, want 0", what, c)
	}
}

func (r *reader) valueType() byte {
	t := r.byte()
	if r.err == nil && !isValueType(t) {
		r.failf("value type %#x is unknown", t)
	}
	return t
}

func (r *reader) referenceType() byte {
	t := r.byte()
	if r.err == nil && t != typeFuncref && t != typeExternref {
		r.failf("reference type %#x is unknown", t)
	}
	return t
}

// done ends the reading of something that must fill its bytes exactly.
func (r *reader) done() error {
	if r.err == nil && r.more() {
		r.failf("%d bytes too many", r.left())
	}
	return r.err
}

func appendU32(b []byte, v uint32) []byte {
	for v >= 0x80 {
		b = append(b, byte(v)|0x80)
		v >>= 7
	}
	return append(b, byte(v))
}

func appendS64(b []byte, v int64) []byte {
	for v < -0x40 || v > 0x3f {
		b = append(b, byte(v)|0x80)
		v >>= 7
	}
	return append(b, byte(v)&0x7f)
}

func appendName(b []byte, name string) []byte {
	return append(appendU32(b, uint32(len(name))), name...)
}

// appendSized appends content with its length before it, as sections, subsections and function bodies have it.
func appendSized(b, content []byte) []byte {
	return append(appendU32(b, uint32(len(content))), content...)
}
