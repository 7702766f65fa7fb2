package audit

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
)

func (h *header) hash() Hash { return sha256.Sum256(h.encode()) }

// restore finds where the log goes on, and returns what has to be written down
// first.
func (l *Log) restore() (first []Entry, err error) {
	all, err := segments(l.o.Dir)
	if err != nil {
		return nil, err
	}
	for len(all) > 0 {
		newest := all[len(all)-1]
		c, damage, err := l.inspect(newest)
		if err != nil {
			return nil, err
		}
		if c.segments == 0 { // its header was never finished
			l.log.Warn("audit: a segment that was never begun is removed", "segment", newest.name, "bytes", newest.size)
			if err := errors.Join(os.Remove(filepath.Join(l.o.Dir, newest.name)), l.syncDir()); err != nil {
				return nil, fmt.Errorf("audit: remove an unfinished segment: %w", err)
			}
			all = all[:len(all)-1]
			continue
		}
		if damage != nil {
			if err := l.floor(all, c); err != nil {
				return nil, err
			}
			l.resume(all, c)
			return l.restart(damage)
		}
		l.resume(all, c)
		return nil, l.reopen(c)
	}
	return nil, nil
}

// inspect reads the newest segment for itself.
func (l *Log) inspect(s segment) (c *chain, first *DamageError, err error) {
	c = &chain{}
	b, err := s.load(l.o.Dir)
	if damage, ok := errors.AsType[*DamageError](err); ok {
		c.segments, c.number = 1, s.number
		return c, damage, nil
	} else if err != nil {
		return nil, nil, err
	}
	if h, reason := decodeHeader(b); reason != "" && len(b) >= headerSize && string(b[:8]) == string(headerMagic) && newer(b) {
		return nil, nil, fmt.Errorf("audit: segment %s: %s: use that version, or move the segment out of %s", s.name, reason, l.o.Dir)
	} else if reason == "" {
		c.next = h.first
	}
	c.segment(s, b, true, func(_ Entry, err error) bool {
		if damage, ok := errors.AsType[*DamageError](err); ok && first == nil {
			first = damage
		}
		return true
	})
	return c, first, nil
}

// newer says whether a header is of a format that is yet to come, and not of this
// one with a flipped bit: then putting the bit back would make its checksum right.
func newer(b []byte) bool {
	fixed := append([]byte{}, b[:headerSize]...)
	if fixed[8] == 0 && fixed[9] == format {
		return false
	}
	fixed[8], fixed[9] = 0, format
	_, reason := decodeHeader(fixed)
	return reason != ""
}

// floor sees to it that no number is given twice, where a damaged segment does not
// tell how far it came.
func (l *Log) floor(all []segment, c *chain) error {
	for i := len(all) - 2; i >= 0 && c.entries == 0 && c.header.number == 0; i-- {
		before, _, err := l.inspect(all[i])
		if err != nil {
			return err
		}
		if before.entries > 0 || before.header.number > 0 {
			c.next, c.hash = before.next, before.hash
			return nil
		}
	}
	return nil
}

// resume takes over what is known of the segments.
func (l *Log) resume(all []segment, c *chain) {
	l.current = all[len(all)-1]
	l.older = all[:len(all)-1]
	l.begun = c.header
	l.begun.number = l.current.number
	l.stats.Seq, l.stats.Head, l.stats.Time = max(c.next, 1)-1, c.hash, c.last.Time
	l.stats.Segment, l.stats.From = l.current.name, c.header.before
	l.stats.Segments = len(all)
	for _, s := range all {
		l.stats.Bytes += s.size
	}
	if l.stats.Time.IsZero() {
		l.stats.Time = c.header.created
	}
}

// reopen goes on in the newest segment, without what was never finished.
func (l *Log) reopen(c *chain) error {
	name := filepath.Join(l.o.Dir, l.current.name)
	file, err := os.OpenFile(name, os.O_WRONLY, 0)
	if err != nil {
		return fmt.Errorf("audit: open a segment: %w", err)
	}
	l.file, l.synced = file, int64(c.end)
	if c.torn > 0 {
		l.log.Warn("audit: an unfinished end is cut off: nobody was told that it was written", "segment", l.current.name, "offset", c.end, "bytes", c.torn)
		if err := file.Truncate(l.synced); err != nil {
			return fmt.Errorf("audit: cut off an unfinished end: %w", err)
		}
		l.stats.Bytes -= int64(c.torn)
		l.current.size = l.synced
	}
	// What a killed process wrote last may be in memory only.
	if err := errors.Join(l.o.Sync(file), l.syncDir()); err != nil {
		return fmt.Errorf("audit: sync: %w", err)
	}
	return nil
}

// restart leaves a damaged segment as it is and begins the next.
func (l *Log) restart(damage *DamageError) ([]Entry, error) {
	if l.begun.number == math.MaxUint64 {
		return nil, damage
	}
	l.log.Error("audit: the newest segment is damaged: it stays as it is, and a new one begins", "segment", damage.Segment, "offset", damage.Offset, "reason", damage.Reason)
	l.older = append(l.older, l.current)
	l.stats.Broken = true
	if err := l.begin(l.now().UTC(), true); err != nil {
		return nil, err
	}
	return []Entry{{
		Kind: ChainBroken, Actor: System,
		Detail: map[string]string{"segment": damage.Segment, "offset": strconv.FormatInt(damage.Offset, 10), "reason": damage.Reason},
	}}, nil
}
