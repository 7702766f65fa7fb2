// Package crashtest is a load and its bookkeeping for tests that let a store die.
//
// Writers use the rules of a Store from 64 goroutines and report what they were
// told: what was written, and what it means to whoever asked. A Ledger takes the
// reports, in another process that outlives the first, and says of the store that
// is opened afterwards whether all of it is there, whether something happened twice
// that may happen once, and whether an Apply is half there.
//
// It knows nothing of how an engine works but this: its versions grow. Who kills,
// and how, is the business of the tests.
package crashtest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"

	"github.com/souk-market/souk/core/store"
)

// Rule says what a Report is about, and so what its ID and Value are.
type Rule byte

const (
	Wrote    Rule = 'W' // the engine has written; no ID, no Value
	Redeemed Rule = 'R' // ID = code, Value = who won
	Replayed Rule = 'r' // ID = code, Value = who had won before
	Rotated  Rule = 'G' // ID = code of the family, Value = its generation
	Bound    Rule = 'B' // ID = subject token, Value = whose it is
	Granted  Rule = 'A' // ID = account<<8 | writer, Value = the writer's newest grant there
	Swapped  Rule = 'K' // ID = counter, Value = what it was swapped to
	Applied  Rule = 'P' // ID = writer, Value = the newest state of its part
)

// Report is one acknowledgement.
type Report struct {
	Rule   Rule
	ID     uint64
	Value  uint64
	Writes []Written // with Wrote: the records of one Update or Apply
}

// Written is a record as the engine acknowledged it.
type Written struct {
	Key     store.Key
	Version store.Version // of a delete the version of what was written with it
	Sum     uint64        // of the value; 0 = deleted
}

// sum tells values apart; it is never 0.
func sum(value []byte) uint64 {
	h := fnv.New64a()
	_, _ = h.Write(value)
	return h.Sum64() | 1
}

// A report travels as its length, 2 bytes, and
//
//	rule 1 | id 8 | value 8 | for each write: table 1 | len 1, part | len 1, sub | version 8 | sum 8
//
// It is well below 4096 bytes, which a pipe takes from many writers unmixed.
func (r Report) encode() []byte {
	b := append(make([]byte, 2, 64), byte(r.Rule))
	b = binary.BigEndian.AppendUint64(b, r.ID)
	b = binary.BigEndian.AppendUint64(b, r.Value)
	for _, w := range r.Writes {
		b = append(b, w.Key.Table, byte(len(w.Key.Part)))
		b = append(b, w.Key.Part...)
		b = append(b, byte(len(w.Key.Sub)))
		b = append(b, w.Key.Sub...)
		b = binary.BigEndian.AppendUint64(b, uint64(w.Version))
		b = binary.BigEndian.AppendUint64(b, w.Sum)
	}
	binary.BigEndian.PutUint16(b, uint16(len(b)-2))
	return b
}

var errReport = errors.New("crashtest: report is damaged")

// ReadReport reads the next report. One that was cut off is io.EOF, as the end is:
// its writer was killed while it spoke.
func ReadReport(r io.Reader) (Report, error) {
	var head [2]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return Report{}, atEnd(err)
	}
	b := make([]byte, binary.BigEndian.Uint16(head[:]))
	if _, err := io.ReadFull(r, b); err != nil {
		return Report{}, atEnd(err)
	}
	return decode(b)
}

func atEnd(err error) error {
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return io.EOF
	}
	return err
}

func decode(b []byte) (Report, error) {
	if len(b) < 17 {
		return Report{}, errReport
	}
	r := Report{Rule: Rule(b[0]), ID: binary.BigEndian.Uint64(b[1:]), Value: binary.BigEndian.Uint64(b[9:])}
	text := func() string {
		if len(b) == 0 || len(b) < 1+int(b[0]) {
			b = nil
			return ""
		}
		s := string(b[1 : 1+int(b[0])])
		b = b[1+len(s):]
		return s
	}
	for b = b[17:]; len(b) > 0; b = b[16:] {
		w := Written{Key: store.Key{Table: b[0]}}
		b = b[1:]
		w.Key.Part, w.Key.Sub = text(), text()
		if len(b) < 16 {
			return Report{}, errReport
		}
		w.Version, w.Sum = store.Version(binary.BigEndian.Uint64(b)), binary.BigEndian.Uint64(b[8:])
		r.Writes = append(r.Writes, w)
	}
	return r, nil
}

// who is a writer of a session: nobody else ever was or will be it.
func who(session uint64, writer int) uint64 { return session<<8 | uint64(writer) }

// number is the n-th code or subject token of a session.
func number(session, n uint64) uint64 { return session<<32 | n }

func identity(w uint64) (id [16]byte) {
	binary.BigEndian.PutUint64(id[8:], w)
	return id
}

func client(w uint64) string { return fmt.Sprintf("client-%d", w) }
