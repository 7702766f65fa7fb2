package audit

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// past are the oldest segments that have to go. The newest stays whatever its age;
// one that is older ended when the next began.
func (l *Log) past(now time.Time) []segment {
	total := l.current.size
	for _, s := range l.older {
		total += s.size
	}
	n := 0
	for n < len(l.older) {
		ended := l.current.created
		if n+1 < len(l.older) {
			ended = l.older[n+1].created
		}
		old := l.o.Keep > 0 && now.Sub(ended) > l.o.Keep
		if !old && (l.o.Size == 0 || total <= l.o.Size) {
			break
		}
		total -= l.older[n].size
		n++
	}
	return l.older[:n]
}

// dropping is the entry that is written before segments are dropped.
func (l *Log) dropping(drop []segment) Entry {
	detail := map[string]string{"first": strconv.FormatUint(drop[0].number, 10), "last": strconv.FormatUint(drop[len(drop)-1].number, 10)}
	if b, err := (&segment{name: l.after(drop).name}).load(l.o.Dir); err == nil {
		if h, reason := decodeHeader(b); reason == "" {
			detail["head"] = h.before.String()
		}
	}
	return Entry{Kind: SegmentsDropped, Actor: System, Detail: detail}
}

// after is the segment that becomes the oldest.
func (l *Log) after(drop []segment) segment {
	if len(drop) < len(l.older) {
		return l.older[len(drop)]
	}
	return l.current
}

// drop removes the segments, the oldest first and each for good before the next, so
// that a crash in between leaves a chain that is whole.
func (l *Log) drop(drop []segment) {
	for _, s := range drop {
		err := os.Remove(filepath.Join(l.o.Dir, s.name))
		if err == nil || errors.Is(err, os.ErrNotExist) {
			err = l.syncDir()
		}
		if err != nil {
			l.log.Error("audit: a segment can't be dropped", "segment", s.name, "error", err)
			return
		}
		l.older = l.older[1:]
		l.mu.Lock()
		l.stats.Segments--
		l.stats.Bytes -= s.size
		l.mu.Unlock()
	}
}
