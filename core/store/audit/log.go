// Package audit is the record of what was changed and by whom: segment files that
// are only ever appended to, each entry chained to the one before by its hash.
//
// Append returns when the entry has reached the disk, so that a caller can write
// down a change before he makes it. After a crash an entry may stand without its
// change, never a change without its entry. One goroutine writes: it takes what has
// queued up, syncs once and answers all. When a write or a sync fails, what the disk
// holds is no longer certain, and nothing more is taken until a restart.
//
// The package knows no store, no accounts and no tokens: ids and texts reach it
// ready to be written down, and nothing secret is among them.
package audit

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"
)

var (
	// ErrStopped means that an earlier write failed. Nothing more is written until a
	// restart.
	ErrStopped = errors.New("audit: stopped after a failed write")
	// ErrClosed is what Append returns after Close.
	ErrClosed = errors.New("audit: closed")
)

// Options says where and how the log is kept. The caller sees to it that no other
// process has the directory open.
type Options struct {
	Dir     string        // made when absent, mode 0700
	Segment int64         // bytes at which a new segment begins; 0 = 16 MiB, at most 256 MiB
	Keep    time.Duration // segments that are older than this are dropped; 0 = never
	Size    int64         // bytes of all segments, beyond which the oldest are dropped; 0 = never

	// Room is asked before each write and says why there is none; nil = there is
	// always room. Its refusal is no failure: the next Append asks again.
	Room func() error
	// Sync brings a file, or a directory, to the disk; nil = (*os.File).Sync.
	Sync func(*os.File) error
	Now  func() time.Time // nil = time.Now
	Log  *slog.Logger     // nil = silent
}

const (
	maxSegment     = 256 << 20
	defaultSegment = 16 << 20
	queueSize      = 4096
	maxBatch       = 1024
	maxBatchBytes  = 4 << 20 // of text, which is at most six times as much in JSON
)

// Log is an open audit log. All methods may be called at the same time.
type Log struct {
	o     Options
	now   func() time.Time
	log   *slog.Logger
	queue chan *pending
	done  chan struct{} // closed when the committer has ended

	sending sync.RWMutex // held by whoever is about to queue; Close takes it
	closed  atomic.Bool

	// The committer's.
	file    *os.File // nil = a new segment has to begin
	current segment
	older   []segment
	tidied  bool  // old segments were looked for since this one began
	synced  int64 // bytes of file
	begun   header
	failed  error
	buf     []byte

	mu    sync.Mutex
	stats Stats
}

// Stats is how the log is doing.
type Stats struct {
	Seq      uint64    // of the newest entry that is kept; 0 = none yet
	Head     Hash      // of the chain
	Time     time.Time // of the newest entry
	Entries  uint64    // written since Open
	Failed   uint64    // refused since Open, for want of room or after a failure
	Segment  string    // the newest
	From     Hash      // that it goes on from
	Segments int
	Bytes    int64         // of all segments
	LastSync time.Duration // how long the last one took
	Stopped  bool          // nothing more is taken until a restart
	Broken   bool          // a segment was found damaged by Open
}

// pending is one caller's entry. The caller reads err once done is closed.
type pending struct {
	entry Entry
	err   error
	done  chan struct{}
}

// Open opens the log, or makes it. It reads the newest segment: an unfinished end is
// cut off, since nobody was told that it was written. A segment that is damaged
// elsewhere is left as it is, for whoever looks into it, and a new one begins with
// an entry that says so.
func Open(o Options) (*Log, error) {
	if o.Segment == 0 {
		o.Segment = defaultSegment
	}
	if o.Segment < headerSize || o.Segment > maxSegment {
		return nil, fmt.Errorf("audit: segments of %d bytes: use %d to %d", o.Segment, headerSize, maxSegment)
	}
	l := &Log{o: o, now: o.Now, log: o.Log, queue: make(chan *pending, queueSize), done: make(chan struct{})}
	if l.o.Sync == nil {
		l.o.Sync = (*os.File).Sync
	}
	if l.now == nil {
		l.now = time.Now
	}
	if l.log == nil {
		l.log = slog.New(slog.DiscardHandler)
	}
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("audit: make the directory: %w", err)
	}
	first, err := l.restore()
	if err != nil {
		return nil, errors.Join(err, l.closeFile())
	}
	if len(first) > 0 {
		if err := l.write(first); err != nil {
			return nil, errors.Join(err, l.closeFile())
		}
	}
	go l.committer()
	return l, nil
}

// Append writes the entry down and returns once it is on the disk. It sets Seq and
// Time. After an error the entry may still be there, as after a crash: the change
// that it stands for must not be made.
func (l *Log) Append(ctx context.Context, e Entry) error {
	if err := e.check(); err != nil {
		return err
	}
	p := &pending{entry: e, done: make(chan struct{})}
	if err := l.enqueue(ctx, p); err != nil {
		return err
	}
	select {
	case <-p.done:
		return p.err
	case <-ctx.Done():
		return fmt.Errorf("audit: %w", context.Cause(ctx))
	}
}

func (l *Log) enqueue(ctx context.Context, p *pending) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	l.sending.RLock()
	defer l.sending.RUnlock()
	if l.closed.Load() {
		return ErrClosed
	}
	select {
	case l.queue <- p:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Last is the newest entry that is kept: its number, the hash of the chain up to it,
// its time. The number is 0 if there is none.
func (l *Log) Last() (seq uint64, hash Hash, at time.Time) {
	s := l.Stats()
	return s.Seq, s.Head, s.Time
}

// Stats returns how the log is doing.
func (l *Log) Stats() Stats {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.stats
}

// Dir is the directory of the segments, for Read and Search.
func (l *Log) Dir() string { return l.o.Dir }

// Close lets queued entries be written first.
func (l *Log) Close() error {
	l.sending.Lock()
	first := !l.closed.Swap(true)
	if first {
		close(l.queue)
	}
	l.sending.Unlock()
	<-l.done
	if !first {
		return nil
	}
	return l.closeFile()
}

func (l *Log) closeFile() error {
	if l.file == nil {
		return nil
	}
	err := l.file.Close()
	l.file = nil
	return err
}

// committer is the one goroutine that writes. It ends when the queue is closed and
// empty.
func (l *Log) committer() {
	defer close(l.done)
	var batch []*pending
	for p := range l.queue {
		batch = append(batch[:0], p)
		batch = l.fill(batch)
		entries := make([]Entry, len(batch))
		for i, p := range batch {
			entries[i] = p.entry
		}
		err := l.write(entries)
		for _, p := range batch {
			p.err = err
			close(p.done)
		}
		clear(batch)
	}
}

// fill adds what else has queued up.
func (l *Log) fill(batch []*pending) []*pending {
	size := batch[0].entry.size()
	for len(batch) < maxBatch && size < maxBatchBytes {
		select {
		case p, open := <-l.queue:
			if !open {
				return batch
			}
			batch = append(batch, p)
			size += p.entry.size()
		default:
			return batch
		}
	}
	return batch
}

// write keeps the entries, all or none.
func (l *Log) write(entries []Entry) error {
	err := l.commit(entries)
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil {
		l.stats.Failed += uint64(len(entries))
	}
	l.stats.Stopped = l.failed != nil
	return err
}

func (l *Log) commit(entries []Entry) error {
	if l.failed != nil {
		return l.failed
	}
	if l.o.Room != nil {
		if err := l.o.Room(); err != nil {
			return fmt.Errorf("audit: %w", err)
		}
	}
	now := l.now().UTC().Truncate(time.Millisecond)
	if l.due(now) {
		if err := l.begin(now, false); err != nil {
			return l.stop(err)
		}
	}
	var drop []segment
	if !l.tidied {
		if drop = l.past(now); len(drop) > 0 {
			entries = append(entries[:len(entries):len(entries)], l.dropping(drop))
		}
	}
	if err := l.append(entries, now); err != nil {
		return l.stop(err)
	}
	l.tidied = true
	l.drop(drop)
	return nil
}

// stop ends writing. What was not synced is cut off again, if that can be: otherwise
// the next start would read from memory what the disk never got.
func (l *Log) stop(err error) error {
	l.failed = fmt.Errorf("%w: %w", ErrStopped, err)
	if l.file != nil {
		if cut := l.file.Truncate(l.synced); cut != nil {
			l.log.Error("audit: an unfinished write can't be taken back", "segment", l.current.name, "error", cut)
		}
	}
	l.log.Error("audit: write failed, changes that are audited stop until a restart", "segment", l.current.name, "error", err)
	return l.failed
}

// append writes the entries behind each other and syncs once.
func (l *Log) append(entries []Entry, now time.Time) error {
	l.mu.Lock()
	seq, hash := l.stats.Seq, l.stats.Head
	l.mu.Unlock()
	l.buf = l.buf[:0]
	for i := range entries {
		e := &entries[i]
		seq++
		e.Seq, e.Time = seq, now
		payload, err := encodeEntry(e)
		if err != nil {
			return fmt.Errorf("audit: encode an entry: %w", err)
		}
		hash = hash.then(payload)
		l.buf = appendFrame(l.buf, &frame{synced: l.synced, hash: hash, payload: payload})
	}
	if _, err := l.file.WriteAt(l.buf, l.synced); err != nil {
		return fmt.Errorf("audit: write: %w", err)
	}
	began := time.Now()
	if err := l.o.Sync(l.file); err != nil {
		return fmt.Errorf("audit: sync: %w", err)
	}
	l.synced += int64(len(l.buf))
	l.current.size = l.synced
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stats.Seq, l.stats.Head, l.stats.Time = seq, hash, now
	l.stats.Entries += uint64(len(entries))
	l.stats.LastSync = time.Since(began)
	l.stats.Bytes += int64(len(l.buf))
	if cap(l.buf) > maxBatchBytes {
		l.buf = nil
	}
	return nil
}

// due says whether a new segment has to begin: this one is full, or of another day.
func (l *Log) due(now time.Time) bool {
	return l.file == nil || l.synced >= l.o.Segment ||
		now.Format(time.DateOnly) != l.begun.created.Format(time.DateOnly) && l.synced > headerSize
}

// begin begins a segment. Its name is on the disk before anything stands in it.
func (l *Log) begin(now time.Time, broken bool) error {
	if l.file != nil {
		l.older = append(l.older, l.current)
		if err := l.closeFile(); err != nil {
			return fmt.Errorf("audit: close a segment: %w", err)
		}
	}
	s := l.Stats()
	h := header{number: l.begun.number + 1, first: s.Seq + 1, created: now, broken: broken, before: s.Head}
	name := segmentName(h.number, now)
	file, err := os.OpenFile(filepath.Join(l.o.Dir, name), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("audit: begin a segment: %w", err)
	}
	l.file, l.synced = file, 0
	if _, err := file.WriteAt(h.encode(), 0); err != nil {
		return fmt.Errorf("audit: begin a segment: %w", err)
	}
	if err := errors.Join(l.o.Sync(file), l.syncDir()); err != nil {
		return fmt.Errorf("audit: begin a segment: %w", err)
	}
	l.begun, l.synced, l.tidied = h, headerSize, false
	l.current = segment{name: name, number: h.number, created: now, size: headerSize}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stats.Segment, l.stats.From = name, s.Head
	l.stats.Head = h.hash()
	l.stats.Segments++
	l.stats.Bytes += headerSize
	return nil
}

func (l *Log) syncDir() error { return syncDir(l.o.Dir, l.o.Sync) }
