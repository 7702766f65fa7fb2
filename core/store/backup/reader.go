package backup

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"time"

	"github.com/souk-market/souk/core/store"
)

// Reader reads a file from its beginning to its end, and holds one frame of it.
type Reader struct {
	r             *bufio.Reader
	sum           hash.Hash
	at            int64 // bytes read
	header        Header
	frame         []byte // what is left of the frame
	buffer        []byte
	records, gone uint64
	whole         Sum
	err           error
}

// NewReader reads the header.
func NewReader(r io.Reader) (*Reader, error) {
	f := &Reader{r: bufio.NewReaderSize(r, 64<<10), sum: sha256.New()}
	head := make([]byte, len(magic)+4)
	n, err := io.ReadFull(f.r, head)
	f.at = int64(n)
	switch same := min(n, len(magic)); {
	case n == 0 && errors.Is(err, io.EOF):
		return nil, fmt.Errorf("%w: it is empty", ErrCut)
	case string(head[:same]) != magic[:same]:
		return nil, ErrNotBackup
	case err != nil:
		return nil, f.cut(err)
	}
	if l := binary.BigEndian.Uint32(head[len(magic):]); l != layout {
		return nil, fmt.Errorf("%w (layout %d, this program knows %d)", ErrNewer, l, layout)
	}
	f.sum.Write(head)
	kind, payload, err := f.next(maxHeader)
	if err != nil {
		return nil, err
	}
	if kind != kindHeader {
		return nil, f.damaged("it has no header")
	}
	d := json.NewDecoder(bytes.NewReader(payload))
	d.DisallowUnknownFields()
	if err := d.Decode(&f.header); err != nil {
		return nil, f.damaged("its header can't be read")
	}
	switch h := f.header; {
	case (h.Since == nil) != (h.SinceBegun == nil):
		return nil, f.damaged("its header does not say what it builds on")
	case h.Format > store.Format:
		return nil, fmt.Errorf("%w (store of format %d, this program knows %d)", ErrNewer, h.Format, store.Format)
	}
	return f, nil
}

// Header is what the file says of itself.
func (f *Reader) Header() Header { return f.header }

// Ref names the file; it is known once Next has returned io.EOF.
func (f *Reader) Ref() Ref { return Ref{ID: f.header.ID, Sum: f.whole} }

// Next returns the next record, or the key of one that is gone. After the last one
// it is io.EOF, and then the file is whole and as it was written; until then what it
// has returned may be anything. The value is good until the next Next.
func (f *Reader) Next() (it store.Item, gone bool, err error) {
	if f.err != nil {
		return store.Item{}, false, f.err
	}
	it, gone, err = f.read()
	f.err = err
	return it, gone, err
}

func (f *Reader) read() (store.Item, bool, error) {
	for len(f.frame) == 0 {
		kind, payload, err := f.next(maxFrame)
		switch {
		case err != nil:
			return store.Item{}, false, err
		case kind == kindRecords && len(payload) > 0:
			f.frame = payload
		case kind == kindEnd && len(payload) == endSize:
			return store.Item{}, false, f.finish(payload)
		default:
			return store.Item{}, false, f.damaged("it has a frame of no known kind")
		}
	}
	it, gone, ok := f.record()
	if !ok || store.CheckKey(it.Key) != nil || store.CheckWrite(it.Key, it.Value) != nil {
		return store.Item{}, false, f.damaged("it has a record that is none")
	}
	if gone {
		if f.header.Since == nil {
			return store.Item{}, false, f.damaged("it is a full backup, and has a key that is gone")
		}
		f.gone++
	} else {
		f.records++
	}
	return it, gone, nil
}

// record takes one record off the frame.
func (f *Reader) record() (it store.Item, gone, ok bool) {
	b := f.frame
	if len(b) < 2 || b[0] < recordStays || b[0] > recordGone {
		return it, false, false
	}
	what := b[0]
	it.Key.Table, b = b[1], b[2:]
	var part, sub []byte
	if part, b, ok = text(b); !ok {
		return it, false, false
	}
	if sub, b, ok = text(b); !ok {
		return it, false, false
	}
	it.Key.Part, it.Key.Sub = string(part), string(sub)
	if what == recordExpires {
		if len(b) < 8 {
			return it, false, false
		}
		it.Expires, b = time.UnixMilli(int64(binary.BigEndian.Uint64(b))).UTC(), b[8:]
	}
	if what != recordGone {
		if it.Value, b, ok = text(b); !ok {
			return it, false, false
		}
	}
	f.frame = b
	return it, what == recordGone, true
}

func text(b []byte) (t, rest []byte, ok bool) {
	n, w := binary.Uvarint(b)
	if w <= 0 || n > uint64(len(b)-w) {
		return nil, nil, false
	}
	b = b[w:]
	return b[:n:n], b[n:], true
}

// next reads a frame of at most so many bytes.
func (f *Reader) next(most int) (kind byte, payload []byte, err error) {
	var head [frameHead]byte
	if err := f.fill(head[:]); err != nil {
		return 0, nil, err
	}
	size := binary.BigEndian.Uint32(head[1:])
	if uint64(size) > uint64(most) {
		return 0, nil, f.damaged("it has a frame of impossible size")
	}
	if n := int(size) + frameCRC; cap(f.buffer) < n {
		f.buffer = make([]byte, n, max(n, min(most, fullFrame)))
	}
	b := f.buffer[:int(size)+frameCRC]
	if err := f.fill(b); err != nil {
		return 0, nil, err
	}
	payload = b[:size]
	if crc := crc32.Update(crc32.Checksum(head[:], castagnoli), castagnoli, payload); crc != binary.BigEndian.Uint32(b[size:]) {
		return 0, nil, f.damaged("a checksum is wrong")
	}
	return head[0], payload, nil
}

func (f *Reader) fill(b []byte) error {
	n, err := io.ReadFull(f.r, b)
	f.at += int64(n)
	if err != nil {
		return f.cut(err)
	}
	f.sum.Write(b)
	return nil
}

// finish looks at what is behind the last frame.
func (f *Reader) finish(end []byte) error {
	if binary.BigEndian.Uint64(end) != f.records || binary.BigEndian.Uint64(end[8:]) != f.gone {
		return f.damaged("it has another number of records than it says")
	}
	sum := f.sum.Sum(nil)
	n, err := io.ReadFull(f.r, f.whole[:])
	f.at += int64(n)
	if err != nil {
		return f.cut(err)
	}
	if !bytes.Equal(sum, f.whole[:]) {
		return f.damaged("its SHA-256 is wrong")
	}
	if _, err := f.r.ReadByte(); !errors.Is(err, io.EOF) {
		if err != nil {
			return err
		}
		return f.damaged("it goes on behind its end")
	}
	return io.EOF
}

func (f *Reader) damaged(what string) error {
	return fmt.Errorf("%w: %s (at byte %d)", ErrDamaged, what, f.at)
}

// cut makes ErrCut of an end that comes too early; other errors stay as they are.
func (f *Reader) cut(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w after %d bytes", ErrCut, f.at)
	}
	return err
}
