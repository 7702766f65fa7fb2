// Package badger is the embedded engine: the store of one machine, in one
// directory, with no server beside it.
//
// Badger runs in managed mode below a single committer goroutine. On its own it
// syncs once for each transaction and lets readers wait for commits under way, and
// its optimistic conflicts collapse on a hot key. Here the committer takes
// whatever has queued up, runs all the checks itself, commits once, answers
// everyone and begins again: neighbours share one sync, a hot key is resolved
// within the batch, and a reader takes the last committed timestamp and waits for
// nobody. What a job needs to see is read by its caller, while others are being
// committed. No timer is needed; a lone writer pays for its own sync alone.
//
// Nothing outside this folder knows Badger, and this folder knows no records.
package badger

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/maphash"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	bdb "github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"

	"github.com/souk-market/souk/core/store"
)

// Options says where and how the engine keeps its records.
type Options struct {
	Dir      string // made when absent, mode 0700
	InMemory bool   // nothing on disk; Dir, Sync and MinFree do not matter

	// Sync is durability "power": an acknowledged write survives a power cut.
	// Without it ("process") it survives the death of the process only.
	Sync bool

	// MinFree stops writes when the disk has fewer bytes left: a full disk kills
	// a process with mapped files. It is raised to ten memtables, 640 MiB by
	// default; 0 turns the watch off.
	MinFree int64

	// Verify reads all tables at the start, and each day from then on, and compares their
	// checksums. Without it a damaged block is found out when it is read, if at all.
	Verify bool

	// Memory is what memtables and the making of tables may take together, in
	// bytes; 0 = DefaultMemory. Less than MinMemory is refused.
	Memory int64

	// Now is the clock of expiry; nil is the wall clock. Only with nil does Badger
	// itself give back the room of expired records: its own expiry follows the wall
	// clock and would take records too early from a clock that is behind.
	Now func() time.Time

	Log *slog.Logger // nil is silent

	change func(bdb.Options) bdb.Options   // of tests and benchmarks, which want other settings; nil = none
	patrol time.Duration                   // of tests, in the place of patrolEvery; 0 = that
	reopen func(string) (tableFile, error) // of tests, for who does that; nil = os.Open
}

const (
	queueSize  = 8192
	reserveBy  = 1 << 20   // timestamps, see Engine.reserve
	expirySlop = time.Hour // Badger's expiry comes this much after ours
)

// Engine is a store.Engine over one Badger directory.
type Engine struct {
	db    *bdb.DB
	sizes sizes
	now   func() time.Time
	wall  bool // now is the wall clock
	log   *slog.Logger
	space *space // nil = not watched

	read      atomic.Uint64 // timestamp of the last commit: what readers see
	snapshots snapshots
	watchers  watchers
	counts    counts
	patrol    patrol

	sending sync.RWMutex // held by whoever is about to queue; Close takes it
	closed  atomic.Bool
	queue   chan *job
	done    chan struct{} // closed when the committer has ended

	recent recent

	reservedTo uint64 // the committer's: timestamps below may be used
	history    history
	stopped    error // the committer's: why writes are over
	commit     func(txn *bdb.Txn, ts uint64) error

	closing  sync.Once
	closeErr error
}

// Open opens the directory, or makes it. A directory that another process holds is
// store.ErrLocked.
func Open(o Options) (*Engine, error) {
	if o.InMemory {
		o.Dir, o.Sync, o.MinFree = "", false, 0
	} else if err := prepare(o); err != nil {
		return nil, err
	}
	sizes, err := sizesOf(o.Memory)
	if err != nil {
		return nil, err
	}
	e := &Engine{
		sizes: sizes,
		now:   o.Now,
		wall:  o.Now == nil,
		log:   o.Log,
		queue: make(chan *job, queueSize),
		done:  make(chan struct{}),
	}
	e.recent.seed = maphash.MakeSeed()
	if e.wall {
		e.now = time.Now
	}
	if e.log == nil {
		e.log = slog.New(slog.DiscardHandler)
	}
	if o.MinFree > 0 {
		e.space = &space{dir: o.Dir, min: max(o.MinFree, 10*sizes.table), every: lookEvery, free: diskFree}
		if err := e.space.look(time.Now()); err != nil {
			return nil, fmt.Errorf("store: watch the free space of %s: %w", o.Dir, err)
		}
	}
	if !o.InMemory {
		if err := examine(o, sizes, e.log); err != nil {
			return nil, err
		}
	}
	replay, err := replayTable(settings(o, sizes, e.log))
	if err != nil {
		return nil, err
	}
	if need := max(e.openFree(), 2*replay); e.space != nil && e.space.left.Load() < need {
		return nil, fmt.Errorf("%w: %d MiB free in %s, %d MiB needed to open it: make room", store.ErrFull, e.space.left.Load()>>20, o.Dir, need>>20)
	}
	db, err := openFiles(o, sizes, replay, e.log)
	if err != nil {
		return nil, openError(o.Dir, err)
	}
	e.db = db
	e.commit = func(txn *bdb.Txn, ts uint64) error { return txn.CommitAt(ts, nil) }
	if o.Sync {
		logs, err := newLogNames(o.Dir, e.log)
		if err != nil {
			return nil, errors.Join(err, db.Close())
		}
		e.commit = func(txn *bdb.Txn, ts uint64) error {
			return errors.Join(txn.CommitAt(ts, nil), logs.sync())
		}
	}
	if err := e.restore(); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	go e.committer()
	if o.Verify && !o.InMemory {
		e.patrol.begin(e, cmp.Or(o.patrol, patrolEvery), o.reopen)
	}
	return e, nil
}

// prepare makes the directory and tries to write to it, because Badger's own
// errors do not tell a missing permission from a broken file.
func prepare(o Options) error {
	if o.Dir == "" {
		return errors.New("store: no directory given")
	}
	if o.Sync && !syncSurvivesPowerCut {
		return errors.New(`store: durability "power" can't be had on this system, where mapped files are not flushed to the disk: set durability to "process"`)
	}
	err := makeDirectory(o.Dir)
	if err != nil && !errors.Is(err, syscall.ENOSPC) {
		return fmt.Errorf("store: make the directory %s: %w", o.Dir, err)
	}
	var probe *os.File
	if err == nil {
		probe, err = os.CreateTemp(o.Dir, ".writable-*")
	}
	switch {
	case errors.Is(err, syscall.ENOSPC):
		return fmt.Errorf("%w: %w: make room", store.ErrFull, err)
	case err != nil:
		return fmt.Errorf("store: the directory %s can't be written to: %w", o.Dir, err)
	}
	return errors.Join(probe.Close(), os.Remove(probe.Name()))
}

// examine inspects the directory while nobody has it open.
func examine(o Options, sizes sizes, log *slog.Logger) error {
	unlock, err := lockDirectory(o.Dir)
	if err != nil {
		return openError(o.Dir, err)
	}
	// Badger takes the lock itself, so it is given up for that moment.
	return errors.Join(inspect(settings(o, sizes, log), o.Sync, o.Verify, log), unlock())
}

// openFiles has Badger open the directory, once with memtables of the size replay if
// the logs need that. What it finds there in spite of inspect may make it panic.
func openFiles(o Options, sizes sizes, replay int64, log *slog.Logger) (db *bdb.DB, err error) {
	defer func() {
		if p := recover(); p != nil {
			log.Error("store: Badger panicked", "panic", p, "stack", string(debug.Stack()))
			db, err = nil, damaged("a file in "+o.Dir, "Badger panicked: %v", p)
		}
	}()
	with := settings(o, sizes, log)
	if replay > with.MemTableSize {
		log.Info("store: the logs may be of a start with another memory: they are made tables first", "memtable", replay)
		db, err := bdb.OpenManaged(with.WithMemTableSize(replay))
		if err == nil {
			err = db.Close()
		}
		if err != nil {
			return nil, err
		}
	}
	return bdb.OpenManaged(with)
}

func openError(dir string, err error) error {
	if errors.Is(err, store.ErrDamaged) {
		return err
	}
	if errors.Is(err, errHeld) || strings.Contains(err.Error(), "directory lock") || strings.Contains(err.Error(), "create lock file") {
		lock := filepath.Join(dir, "LOCK")
		if id, err := os.ReadFile(lock); err == nil && len(bytes.TrimSpace(id)) > 0 {
			lock += ", process " + string(bytes.TrimSpace(id))
		}
		return fmt.Errorf("store: the directory %s is %w (%s): stop it first or use another directory", dir, errHeld, lock)
	}
	return fmt.Errorf("store: open %s: %w", dir, err)
}

// errHeld reads within a sentence and still is store.ErrLocked.
var errHeld error = heldError{}

type heldError struct{}

func (heldError) Error() string        { return "in use by another process" }
func (heldError) Is(target error) bool { return target == store.ErrLocked }

// settings are Badger's options. RATIONALE.md has the reason of each, and the
// benchmark that shows it.
func settings(o Options, sizes sizes, log *slog.Logger) bdb.Options {
	b := bdb.DefaultOptions(o.Dir).
		WithInMemory(o.InMemory).
		WithSyncWrites(o.Sync).
		WithDetectConflicts(false). // the committer checks
		WithNumVersionsToKeep(1).
		WithCompression(options.None). // tokens don't compress; the page cache serves plain blocks
		WithBlockCacheSize(0).WithIndexCacheSize(0).
		WithMemTableSize(sizes.table).WithNumMemtables(sizes.queued).
		WithBaseTableSize(8 << 20).
		WithValueLogFileSize(64 << 20). // stays empty: values live in the tree, below the 1 MiB threshold
		WithNumCompactors(max(2, runtime.NumCPU()/4)).
		WithCompactL0OnClose(true).
		WithMetricsEnabled(false).
		WithLogger(logger{log})
	if o.change != nil {
		return o.change(b)
	}
	return b
}

// restore finds the timestamp to go on from.
//
// The highest version in the files is not enough: compaction may have dropped the
// newest deletes, and a timestamp that is used again would give a new write the
// version of an old one. So timestamps are reserved in blocks, and a start goes
// on behind the block.
func (e *Engine) restore() error {
	txn := e.db.NewTransactionAt(math.MaxUint64, false)
	defer txn.Discard()
	next := e.db.MaxVersion() + 1
	foreign := next > 1 // each commit of ours brings along what is read here
	switch it, err := txn.Get(reserved); {
	case err == nil:
		b, err := it.ValueCopy(nil)
		if err != nil || len(b) != 8 {
			return fmt.Errorf("store: read the reserved versions: %w", errors.Join(err, errCorrupt))
		}
		next = max(next, binary.BigEndian.Uint64(b))
	case !errors.Is(err, bdb.ErrKeyNotFound):
		return fmt.Errorf("store: read the reserved versions: %w", err)
	case foreign:
		return fmt.Errorf("store: %s holds the database of another program: use another directory", e.db.Opts().Dir)
	}
	e.read.Store(next)
	e.snapshots.begin = next
	var err error
	e.history, err = openHistory(txn, next)
	return err
}

// reserve adds the next block of timestamps to the commit that needs it.
func (e *Engine) reserve(txn *bdb.Txn, ts uint64) (until uint64, err error) {
	if ts < e.reservedTo {
		return e.reservedTo, nil
	}
	until = ts + reserveBy
	return until, txn.Set(reserved, binary.BigEndian.AppendUint64(nil, until))
}

// Close lets queued writes and readers finish, then closes the files.
func (e *Engine) Close() error {
	e.closing.Do(func() {
		e.sending.Lock() // those who wait for room in the queue get it first
		e.closed.Store(true)
		close(e.queue)
		e.sending.Unlock()
		<-e.done
		e.watchers.close()
		e.patrol.end()
		e.snapshots.wait()
		if e.noRoom() {
			e.closeErr = fmt.Errorf("%w: %s is left as the end of the process leaves it: nothing is lost, and the next start needs room", store.ErrFull, e.db.Opts().Dir)
			return
		}
		e.db.SetDiscardTs(e.read.Load()) // nobody reads: closing compacts old versions away
		if err := e.db.Close(); err != nil {
			e.closeErr = fmt.Errorf("store: close: %w", err)
		}
	})
	return e.closeErr
}

// openFree is the room that opening takes, which writes what the logs hold into
// tables, and closing too.
func (e *Engine) openFree() int64 { return 2 * e.sizes.table }

// noRoom says that closing the files would end the process: it writes what the logs
// hold into tables, and a mapped page that finds no room is a signal. The logs are on
// the disk already, so they can as well be left for the next start.
func (e *Engine) noRoom() bool {
	if e.space == nil {
		return false
	}
	left, err := e.space.free(e.space.dir)
	return err == nil && left < e.openFree()
}

// logger passes on what Badger says; its chatter is for debugging.
type logger struct{ log *slog.Logger }

func (l logger) Errorf(format string, args ...any)   { l.say(slog.LevelError, format, args) }
func (l logger) Warningf(format string, args ...any) { l.say(slog.LevelWarn, format, args) }
func (l logger) Infof(format string, args ...any)    { l.say(slog.LevelDebug, format, args) }
func (l logger) Debugf(format string, args ...any)   { l.say(slog.LevelDebug, format, args) }

func (l logger) say(level slog.Level, format string, args []any) {
	ctx := context.Background()
	if l.log.Enabled(ctx, level) {
		l.log.Log(ctx, level, "badger: "+strings.TrimSpace(fmt.Sprintf(format, args...)))
	}
}
