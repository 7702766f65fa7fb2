package audit

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"slices"
	"strconv"
	"time"
)

// ErrDamaged is what each DamageError is.
var ErrDamaged = errors.New("audit: damaged")

// DamageError says where the log is not what was written.
type DamageError struct {
	Segment string // the name of its file
	Offset  int64
	Reason  string
}

// Error implements error.
func (e *DamageError) Error() string {
	return fmt.Sprintf("audit: segment %s, byte %d: %s", e.Segment, e.Offset, e.Reason)
}

// Is makes it ErrDamaged.
func (e *DamageError) Is(target error) bool { return target == ErrDamaged }

// Read returns the entries of a directory, oldest first, and checks their
// checksums and the chain on the way. It may be used while a server writes there.
//
// An error that is ErrDamaged tells a place; going on yields the entries behind it
// that are whole. An entry whose checksum holds but that does not follow the one
// before is somebody's work and is not among them. After any other error there is
// nothing more. What a crash left unfinished at the end of the newest segment was
// never acknowledged, and is passed over: Verify tells of it.
func Read(dir string) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		c := &chain{}
		c.read(dir, yield)
	}
}

// chain is what is known while the segments are read one after the other.
type chain struct {
	hash  Hash   // of all before
	known bool   // false where there is nothing to compare with: at the beginning and after damage
	next  uint64 // seq of the next entry; with !known the least that it can be

	number   uint64 // of the newest segment; 0 = none yet
	header   header // of the newest segment that has one
	from     header // of the oldest segment
	segments int
	entries  uint64
	first    uint64 // seq
	last     Entry
	damaged  int // places
	breaks   int // segments that begin anew
	end      int // of what is whole in the newest segment
	torn     int // bytes behind it that were never finished

	dropped uint64        // number of the newest segment of which an entry says that it was dropped
	kept    map[Hash]bool // hashes to look out for, and whether they are there
}

// passes notes a hash that the chain has.
func (c *chain) passes(h Hash) {
	if _, wanted := c.kept[h]; wanted {
		c.kept[h] = true
	}
}

func (c *chain) read(dir string, yield func(Entry, error) bool) {
	all, err := segments(dir)
	if err != nil {
		yield(Entry{}, err)
		return
	}
	for i := range all {
		b, err := all[i].load(dir)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			c.known = false // dropped meanwhile
			c.dropped = max(c.dropped, all[i].number)
			continue
		case errors.Is(err, ErrDamaged):
			c.known = false
			c.damaged++
			if !yield(Entry{}, err) {
				return
			}
			continue
		case err != nil:
			yield(Entry{}, err)
			return
		}
		if !c.segment(all[i], b, i == len(all)-1, yield) {
			return
		}
	}
}

// segment reads one. newest says that no other comes behind it, so that its end may
// be unfinished.
func (c *chain) segment(s segment, b []byte, newest bool, yield func(Entry, error) bool) bool {
	damage := func(at int, reason string) bool {
		c.damaged++
		return yield(Entry{}, &DamageError{s.name, int64(at), reason})
	}
	c.end, c.torn = 0, 0
	h, reason := decodeHeader(b)
	if reason != "" && newest && (len(b) < headerSize || len(bytes.TrimLeft(b, "\x00")) == 0) { // it was never begun
		c.torn = len(b)
		return true
	}
	c.segments++
	at := headerSize
	switch {
	case reason != "":
		c.known = false
		if !damage(0, reason) {
			return false
		}
		at = nextFrame(b, 0)
	case h.number != s.number:
		c.known = false
		if !damage(0, fmt.Sprintf("this is segment %d under another's name", h.number)) {
			return false
		}
	case h.broken:
		c.breaks++
	case c.known && c.number+1 != h.number:
		if !damage(0, fmt.Sprintf("the segment before is missing: it should be %d, and is %d", h.number-1, c.number)) {
			return false
		}
	case c.known && (h.before != c.hash || h.first != c.next):
		if !damage(0, fmt.Sprintf("it does not follow the segment before: that ends with entry %d, hash %s, and this goes on from entry %d, hash %s", c.next-1, c.hash, h.first-1, h.before)) {
			return false
		}
	}
	if c.number == 0 {
		c.from, c.next = h, 1
	}
	c.number = s.number
	if reason == "" {
		c.header, c.hash, c.known, c.next = h, h.hash(), true, max(c.next, h.first)
		c.end = headerSize
		if c.segments == 1 {
			c.passes(h.before)
		}
		c.passes(c.hash)
	}
	for at >= 0 && at < len(b) {
		f, whole, reason := decodeFrame(b[at:])
		if reason != "" {
			if newest && c.end == at && torn(b, at) {
				c.torn = len(b) - at
				return true
			}
			c.known = false
			if !damage(at, reason) {
				return false
			}
			at = nextFrame(b, at+1)
			continue
		}
		e, reason := c.entry(&f)
		e.At = Position{s.name, int64(at)}
		if reason != "" {
			if !damage(at, reason) {
				return false
			}
		} else {
			c.add(e)
			if !yield(e, nil) {
				return false
			}
		}
		if c.end == at {
			c.end = at + whole
		}
		at += whole
	}
	return true
}

// entry moves the chain on by a frame whose checksums hold.
func (c *chain) entry(f *frame) (e Entry, reason string) {
	follows := !c.known || c.hash.then(f.payload) == f.hash
	known := c.known
	c.hash, c.known = f.hash, true
	e, err := decodeEntry(f.payload)
	switch {
	case err != nil:
		c.next++
		return Entry{}, "the entry can't be read: " + err.Error()
	case !follows:
		c.next = max(c.next, e.Seq) + 1
		return Entry{}, "the entry does not follow the one before: it was changed, or something was taken out or put in before it"
	case e.Seq < c.next || known && e.Seq != c.next:
		expected := c.next
		c.next = max(c.next, e.Seq) + 1
		return Entry{}, fmt.Sprintf("the entry has the number %d, expected %d", e.Seq, expected)
	}
	c.next = e.Seq + 1
	e.Hash = f.hash
	return e, ""
}

func (c *chain) add(e Entry) {
	if c.entries == 0 {
		c.first = e.Seq
	}
	c.entries++
	c.last = e
	c.passes(e.Hash)
	if e.Kind == SegmentsDropped {
		last, _ := strconv.ParseUint(e.Detail["last"], 10, 64)
		c.dropped = max(c.dropped, last)
	}
}

// Report is what Verify found.
type Report struct {
	Segments int       `json:"segments"`
	Entries  uint64    `json:"entries"`
	First    uint64    `json:"first"` // seq of the oldest entry that is there
	Last     uint64    `json:"last"`  // seq of the newest
	Time     time.Time `json:"time"`  // of the newest
	// From is the hash that the oldest segment goes on from: zeros when nothing was
	// ever dropped.
	From Hash `json:"from"`
	// Head is the hash of the end. Kept elsewhere, it tells whether something was cut
	// off the end later: nothing inside can.
	Head Hash `json:"head"`
	// Torn is how many bytes at the end were never finished, so never acknowledged.
	Torn int `json:"torn"`
	// Breaks is how many segments begin a new chain, because the one before was
	// damaged when the server started.
	Breaks int `json:"breaks"`
	// Missing are the kept hashes that the chain does not have.
	Missing []Hash `json:"missing,omitempty"`
	// Damage are the first places that are damaged, up to a hundred of Damaged.
	Damage  []*DamageError `json:"damage"`
	Damaged int            `json:"damaged"`
}

const maxDamage = 100

// Verify reads a whole directory. kept are heads of earlier times: that the chain has
// them says that all of then is still there and as it was, or was dropped since. A log
// that is damaged, or does not have one of them, is a Report and an error that is
// ErrDamaged.
func Verify(dir string, kept ...Hash) (Report, error) {
	c := &chain{kept: make(map[Hash]bool, len(kept))}
	for _, h := range kept {
		c.kept[h] = false
	}
	var r Report
	var failed error
	c.read(dir, func(_ Entry, err error) bool {
		damage, ok := errors.AsType[*DamageError](err)
		switch {
		case ok && len(r.Damage) < maxDamage:
			r.Damage = append(r.Damage, damage)
		case err != nil && !ok:
			failed = err
		}
		return failed == nil
	})
	if n := c.from.number; failed == nil && n > c.dropped+1 {
		c.damaged++
		r.Damage = slices.Insert(r.Damage, 0, &DamageError{segmentName(n, c.from.created), 0, "the segments before are missing, and no entry says that they were dropped"})
	}
	r.Segments, r.Entries, r.First, r.Last, r.Time = c.segments, c.entries, c.first, c.last.Seq, c.last.Time
	r.From, r.Head, r.Torn, r.Breaks, r.Damaged = c.from.before, c.hash, c.torn, c.breaks, c.damaged
	for _, h := range kept {
		if !c.kept[h] {
			r.Missing = append(r.Missing, h)
		}
	}
	switch {
	case failed != nil:
	case c.damaged > 0:
		failed = r.Damage[0]
	case len(r.Missing) > 0:
		failed = fmt.Errorf("%w: the chain does not have the hash %s", ErrDamaged, r.Missing[0])
	}
	return r, failed
}
