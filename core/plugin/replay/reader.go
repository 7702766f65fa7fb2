package replay

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
)

// Reader reads a recording, line by line.
type Reader struct {
	in      *bufio.Reader
	header  *Header
	line    int
	damaged int
}

// NewReader reads from r.
func NewReader(r io.Reader) *Reader { return &Reader{in: bufio.NewReaderSize(r, 64<<10)} }

// Header says who was asked about the Record that was read last; nil before the first.
func (r *Reader) Header() *Header { return r.header }

// Damaged counts lines that were left out: those that a crash cut off, that are
// longer than any line may be, or that make no sense.
func (r *Reader) Damaged() int { return r.damaged }

// next returns the next question, io.EOF at the end. Damaged lines are left out;
// the error wraps ErrFormat where the file is none of ours.
func (r *Reader) next() (*question, error) {
	for {
		text, err := r.readLine()
		if err != nil {
			if errors.Is(err, io.EOF) && r.header == nil {
				return nil, fmt.Errorf("%w: it is empty", ErrFormat)
			}
			return nil, err
		}
		if text = bytes.TrimSpace(text); len(text) == 0 {
			continue
		}
		q, err := r.read(text)
		switch {
		case errors.Is(err, ErrFormat), err != nil && r.header == nil:
			return nil, fmt.Errorf("line %d: %w", r.line, err)
		case err != nil:
			r.damaged++
		case q != nil:
			return q, nil
		}
	}
}

func (r *Reader) read(text []byte) (*question, error) {
	header, record, err := parse(text)
	switch {
	case err != nil && r.header == nil && !errors.Is(err, ErrFormat):
		return nil, ErrFormat
	case err != nil:
		return nil, err
	case header != nil:
		r.header = header
		return nil, nil
	case r.header == nil:
		return nil, fmt.Errorf("%w: its first line doesn't say who was asked", ErrFormat)
	}
	return record.open(r.header)
}

// readLine returns a line, an empty one in the place of one that is too long.
func (r *Reader) readLine() ([]byte, error) {
	r.line++
	var line []byte
	for {
		part, err := r.in.ReadSlice('\n')
		if long := len(line)+len(part) > maxLine; long {
			r.damaged++
			for errors.Is(err, bufio.ErrBufferFull) {
				_, err = r.in.ReadSlice('\n')
			}
			if err != nil && !errors.Is(err, io.EOF) {
				return nil, err
			}
			return nil, nil
		}
		line = append(line, part...)
		switch {
		case err == nil:
			return line, nil
		case errors.Is(err, bufio.ErrBufferFull):
		case errors.Is(err, io.EOF) && len(line) > 0:
			return line, nil // the last one; if it was cut off, it is none
		default:
			return nil, err
		}
	}
}
