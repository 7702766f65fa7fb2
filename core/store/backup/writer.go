package backup

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
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

// Options say what to write.
type Options struct {
	Format     uint32           // of the store; 0 = store.Format, which each store has that was opened
	Since      *Ref             // the file to build on; nil = a full backup
	SinceBegun time.Time        // of that file
	Now        func() time.Time // nil = time.Now
	Rand       io.Reader        // nil = the system's
	// Begin is called once, before the first byte; its error is that of Write, and
	// nothing is written. nil = nobody is asked.
	Begin func(Header) error
}

// Write writes a backup of a store as it is at one moment; the store goes on
// meanwhile. An error leaves the file without its end. Before anything is written it
// is ErrNoBase if the store can't tell all that has changed since the earlier file.
func Write(ctx context.Context, w io.Writer, s Source, o Options) (Header, error) {
	h := Header{Format: cmp.Or(o.Format, store.Format), Since: o.Since}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Rand == nil {
		o.Rand = rand.Reader
	}
	if o.Since != nil {
		begun := o.SinceBegun.UTC()
		h.SinceBegun = &begun
	}
	if _, err := io.ReadFull(o.Rand, h.ID[:]); err != nil {
		return h, fmt.Errorf("name the backup: %w", err)
	}
	h.Begun = o.Now().UTC()
	// The mark first: what is written between it and the dump is in both this file
	// and the next one, and the next one's is the later.
	switch err := s.Mark(ctx, h.ID); {
	case err == nil:
		h.Base = true
	case !errors.Is(err, store.ErrFull) && !errors.Is(err, store.ErrStopped):
		return h, fmt.Errorf("mark the backup: %w", err)
	}
	f := &writer{w: w, sum: sha256.New(), header: h, first: o.Begin}
	var err error
	if o.Since == nil {
		err = s.Dump(ctx, func(it store.Item) error { return f.record(it, false) })
	} else {
		err = s.DumpSince(ctx, o.Since.ID, f.record)
	}
	if errors.Is(err, store.ErrNoMark) {
		return h, fmt.Errorf("%w: %w", ErrNoBase, err)
	}
	if err == nil {
		err = f.end()
	}
	return h, err
}

// writer makes the frames. The header waits for the first record: what goes wrong
// before it leaves an empty file.
type writer struct {
	w             io.Writer
	sum           hash.Hash
	header        Header
	first         func(Header) error // nil = none
	begun         bool
	frame         []byte // of records: the head, and what is in it so far
	records, gone uint64
}

func (f *writer) begin() error {
	if f.begun {
		return nil
	}
	f.begun = true
	if f.first != nil {
		if err := f.first(f.header); err != nil {
			return err
		}
	}
	text, err := json.Marshal(f.header)
	if err != nil {
		return err
	}
	if err := f.put(binary.BigEndian.AppendUint32([]byte(magic), layout)); err != nil {
		return err
	}
	f.frame = make([]byte, frameHead, maxFrame+frameHead+frameCRC)
	return f.close(kindHeader, append(make([]byte, frameHead), text...))
}

func (f *writer) record(it store.Item, gone bool) error {
	if err := f.begin(); err != nil {
		return err
	}
	b := f.frame
	switch {
	case gone:
		b = append(b, recordGone)
		f.gone++
	case it.Expires.IsZero():
		b = append(b, recordStays)
	default:
		b = append(b, recordExpires)
	}
	b = append(b, it.Key.Table)
	b = appendText(b, it.Key.Part)
	b = appendText(b, it.Key.Sub)
	if !gone {
		f.records++
		if !it.Expires.IsZero() {
			b = binary.BigEndian.AppendUint64(b, uint64(it.Expires.UnixMilli()))
		}
		b = binary.AppendUvarint(b, uint64(len(it.Value)))
		b = append(b, it.Value...)
	}
	f.frame = b
	if len(b) < frameHead+fullFrame {
		return nil
	}
	return f.flush()
}

func (f *writer) flush() error {
	if len(f.frame) == frameHead {
		return nil
	}
	err := f.close(kindRecords, f.frame)
	f.frame = f.frame[:frameHead]
	return err
}

func (f *writer) end() error {
	if err := f.begin(); err != nil { // nobody has called it if there were no records
		return err
	}
	if err := f.flush(); err != nil {
		return err
	}
	tail := make([]byte, frameHead, tailSize)
	tail = binary.BigEndian.AppendUint64(tail, f.records)
	tail = binary.BigEndian.AppendUint64(tail, f.gone)
	if err := f.close(kindEnd, tail); err != nil {
		return err
	}
	_, err := f.w.Write(f.sum.Sum(nil))
	return err
}

// close writes a frame, whose head is still to be filled in.
func (f *writer) close(kind byte, frame []byte) error {
	frame[0] = kind
	binary.BigEndian.PutUint32(frame[1:], uint32(len(frame)-frameHead))
	return f.put(binary.BigEndian.AppendUint32(frame, crc32.Checksum(frame, castagnoli)))
}

func (f *writer) put(b []byte) error {
	f.sum.Write(b)
	_, err := f.w.Write(b)
	return err
}

func appendText(b []byte, s string) []byte {
	b = binary.AppendUvarint(b, uint64(len(s)))
	return append(b, s...)
}

// Last reads what names a file and whether it is whole, from its beginning and its
// end alone: a full one may have gigabytes in between.
func Last(f io.ReaderAt, size int64) (Header, Ref, error) {
	r, err := NewReader(io.NewSectionReader(f, 0, size))
	if err != nil {
		return Header{}, Ref{}, err
	}
	tail := make([]byte, tailSize)
	if size < tailSize {
		return Header{}, Ref{}, ErrCut
	}
	if _, err := f.ReadAt(tail, size-tailSize); err != nil {
		return Header{}, Ref{}, err
	}
	frame := tail[:frameHead+endSize]
	head := binary.BigEndian.AppendUint32([]byte{kindEnd}, endSize)
	if !bytes.HasPrefix(frame, head) || binary.BigEndian.Uint32(tail[len(frame):]) != crc32.Checksum(frame, castagnoli) {
		return Header{}, Ref{}, ErrCut
	}
	return r.Header(), Ref{ID: r.Header().ID, Sum: Sum(tail[tailSize-sumSize:])}, nil
}
