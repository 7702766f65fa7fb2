package abi

import (
	"encoding/binary"
	"errors"
	"strconv"
	"unicode/utf8"
	"unsafe"
)

// ErrRecord is the cause of every error of a Read: the bytes are no record of
// the contract.
var ErrRecord = errors.New("abi: not a record")

// minStride is the size of the smallest element of a list, a string. Records
// are larger, and never get smaller.
const minStride = 8

// minFixed is the least that a message can be: its size, minor and hook or flags.
const minFixed = 8

// firstSpace is the space that a message is tried with first; it is doubled until the
// message fits.
const firstSpace = 256

// recordError says what is wrong with a message. It is built without package
// fmt, which would add a third of a megabyte to every Go guest.
type recordError string

func (e recordError) Error() string { return ErrRecord.Error() + ": " + string(e) }
func (e recordError) Unwrap() error { return ErrRecord }

// text is a string as the quick methods write it: with one check for several of them.
type text struct {
	p unsafe.Pointer
	n int
}

// decoder reads one message, which is all of b. The first error stays.
type decoder struct {
	b     []byte
	lists int // bytes that lists may still take: lists that don't overlap fit into the message
	text  int // bytes that strings may still take: shared ones are checked, and copied, each time
	err   error
}

// fail keeps the first error; each # of the sentence stands for the next number.
func (d *decoder) fail(sentence string, numbers ...int) {
	if d.err != nil {
		return
	}
	var b []byte
	for i := range len(sentence) {
		if c := sentence[i]; c != '#' || len(numbers) == 0 {
			b = append(b, c)
			continue
		}
		b = strconv.AppendInt(b, int64(numbers[0]), 10)
		numbers = numbers[1:]
	}
	d.err = recordError(b)
}

// open checks the size and returns the fixed part. In a request its length is
// given at fixedAt; a verdict, where fixedAt is negative, has no such field.
func (d *decoder) open(fixedAt, size int) []byte {
	have := len(d.b)
	if have < minFixed {
		d.fail("# bytes are too few for a head", have)
		return nil
	}
	if says := binary.LittleEndian.Uint32(d.b); uint64(says) != uint64(have) {
		d.fail("size says #, the message has # bytes", int(says), have)
		return nil
	}
	if fixedAt >= 0 {
		if have < fixedAt+4 {
			d.fail("# bytes are too few for the head of a request", have)
			return nil
		}
		fixed := binary.LittleEndian.Uint32(d.b[fixedAt:])
		if uint64(fixed) > uint64(have) || fixed < uint32(fixedAt+4) {
			d.fail("fixed says # of # bytes", int(fixed), have)
			return nil
		}
		have = int(fixed)
	}
	return d.part(0, have, size)
}

// part returns the size bytes of a record that has `have` bytes. One from
// before its last fields is copied and filled up with zeros.
func (d *decoder) part(at, have, size int) []byte {
	if have >= size {
		return d.b[at : at+size]
	}
	p := make([]byte, size)
	copy(p, d.b[at:at+have])
	return p
}

func (d *decoder) str(p []byte) string {
	off, n := binary.LittleEndian.Uint32(p), binary.LittleEndian.Uint32(p[4:])
	if n == 0 || d.err != nil {
		return ""
	}
	if uint64(off)+uint64(n) > uint64(len(d.b)) {
		d.fail("a string of # bytes at # is outside the message of #", int(n), int(off), len(d.b))
		return ""
	}
	if !checked {
		return unsafe.String(&d.b[off], int(n))
	}
	if d.text -= int(n); d.text < 0 {
		d.fail("its strings add up to more than # bytes", MaxStrings)
		return ""
	}
	s := d.b[off : off+n]
	if !utf8.Valid(s) {
		d.fail("the string of # bytes at # is not UTF-8", int(n), int(off))
		return ""
	}
	return unsafe.String(unsafe.SliceData(s), len(s))
}

// list returns where a list lies; count is 0 after an error.
func (d *decoder) list(p []byte) (off, count, stride int) {
	o, n, s := binary.LittleEndian.Uint32(p), binary.LittleEndian.Uint32(p[4:]), binary.LittleEndian.Uint32(p[8:])
	if n == 0 || d.err != nil {
		return 0, 0, 0
	}
	if s < minStride {
		d.fail("a list has a stride of #, the smallest element has # bytes", int(s), minStride)
		return 0, 0, 0
	}
	if uint64(o)+uint64(n)*uint64(s) > uint64(len(d.b)) {
		d.fail("a list of # elements of # bytes at # is outside the message of #", int(n), int(s), int(o), len(d.b))
		return 0, 0, 0
	}
	if d.lists -= int(n) * int(s); d.lists < 0 {
		d.fail("its lists overlap")
		return 0, 0, 0
	}
	return int(o), int(n), int(s)
}

func (d *decoder) strs(dst []string, p []byte) []string {
	off, count, stride := d.list(p)
	dst = space(dst, count)
	for i := range dst {
		dst[i] = d.str(d.b[off+i*stride:][:8])
	}
	return dst
}

// space makes a list n elements long and keeps what the elements' own lists have
// allocated before.
func space[T any](list []T, n int) []T {
	if n <= cap(list) {
		return list[:n]
	}
	longer := make([]T, n)
	copy(longer, list[:cap(list)])
	return longer
}
