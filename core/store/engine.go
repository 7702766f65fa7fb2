// Package store keeps what the marketplace must not forget: token families,
// accounts, revocations, the catalogue, plugin data and the key ring.
//
// It has two floors. [Engine] is the small seam to whatever holds the bytes; an
// engine knows keys, versions and expiry and nothing about records. [Store]
// stands on top: typed records, one file for each, laid out in keys.go. Callers
// use the Store; the Engine is for those who implement or copy one.
//
// The package refuses to know files, SQL, transactions and timestamps of a
// database, and it never sees a secret: tokens reach it as hashes.
//
// Four rules shape everything here. Each rule that must be atomic is one
// record's Update. An outcome may be unknown ([ErrUnknown]), so each operation
// can be repeated: it is idempotent by content. Security never hangs on a
// delete: a state is written over, not removed. And what ends a sign-in or changes
// what somebody may have is written down in the audit log before it is done.
package store

import (
	"context"
	"errors"
	"time"
)

var (
	// ErrNotFound means that the record is absent or past its expiry.
	ErrNotFound = errors.New("store: not found")
	// ErrConflict means that a guard did not hold; nothing was written.
	ErrConflict = errors.New("store: condition does not hold")
	// ErrUnknown means that a write was under way when its outcome was lost: it
	// may have happened or not. Read again, then retry.
	ErrUnknown = errors.New("store: outcome not known")
	// ErrFull means that the disk is nearly full: writes stopped early, while
	// the files can still be closed properly. Reads go on, and writes do again
	// once there is room.
	ErrFull = errors.New("store: disk nearly full, writes stopped")
	// ErrStopped means that an earlier commit failed, so that what the disk holds
	// is no longer certain. Reads go on; writes are over until a restart.
	ErrStopped = errors.New("store: writes stopped after a failed commit")
	// ErrNoMark means that an engine can't tell what has changed since a moment: it
	// was never marked here, or too long ago.
	ErrNoMark = errors.New("store: no such mark to go on from")
	// ErrClosed is what every call returns after Close.
	ErrClosed = errors.New("store: closed")
	// ErrDamaged means that a file is not what was written. The error names it.
	ErrDamaged = errors.New("store: damaged")
	// ErrLocked means that another process holds the directory.
	ErrLocked = errors.New("store: in use by another process")
)

// Version tells one write of a record from all others. It is opaque: only
// equality means anything. 0 is the version of an absent record.
type Version uint64

// Key names one record. Part is the unit of sharding: Apply and Scan stay inside
// one Part. Sub orders the records of a Part, bytewise. Table is an ASCII letter.
type Key struct {
	Table byte
	Part  string
	Sub   string
}

// Item is a record as it stands. Value belongs to whom it was returned to.
type Item struct {
	Key     Key
	Value   []byte
	Version Version
	Expires time.Time // zero = never; kept to the millisecond
}

// Op is one step of an Apply: a guard, a write, or both.
type Op struct {
	Key     Key
	If      Version // with Guard: the version the record must have; 0 = it must be absent
	Guard   bool
	Delete  bool
	Value   []byte // nil without Delete: only the guard is checked
	Expires time.Time
}

// Write is what an UpdateFunc wants its record to be. A nil Value is empty.
type Write struct {
	Value   []byte
	Expires time.Time // zero = never
	Delete  bool
}

// UpdateFunc decides what becomes of one record; cur is nil when the record is
// absent or expired. A nil Write leaves the record as it is; an error is handed
// to the caller of Update and nothing is written.
//
// It must be pure: it may run more than once, and even after the caller's
// context has ended. So it must not write to variables that the caller goes on
// to read; what it decided comes back in the Item. It runs where everyone's writes
// wait: it must be quick, and it must return (a panic is caught, runtime.Goexit and
// so a test's Fatal can't be).
type UpdateFunc func(cur *Item) (*Write, error)

// Engine holds records. All methods may be called at the same time.
//
// A context that ends before a write was accepted yields its error: surely
// nothing was written. Ending later, it yields ErrUnknown wrapped with the cause.
// The limits of limits.go hold for each engine; CheckKey, CheckOps and CheckWrite
// are the one place that says so.
type Engine interface {
	// Get is linearizable with every acknowledged write.
	Get(ctx context.Context, k Key) (Item, error)

	// Update reads, modifies and writes one record, serialised per key. It
	// returns the stored item once that is durable; after a nil Write the item as
	// it stands and after a delete an item without Version (0 = absent).
	Update(ctx context.Context, k Key, f UpdateFunc) (Item, error)

	// Apply does all ops or none. They stay inside one Part and name each key at
	// most once; all guards are checked before anything is written.
	Apply(ctx context.Context, ops ...Op) error

	// Scan returns up to limit records of a Part whose Sub is greater than after,
	// in the order of Sub. An empty after begins with the first record.
	Scan(ctx context.Context, table byte, part, after string, limit int) ([]Item, error)

	// Watch says "read again" after a change of the table has become visible, also
	// after contact with the engine was lost. Hints coalesce and the first is
	// there at once, so that one loop does the first reading too. The channel is
	// closed when ctx ends or the engine closes. It is for small tables.
	Watch(ctx context.Context, table byte) (<-chan struct{}, error)

	// Dump hands out every live record; emit's error ends it. Versions are those
	// of this engine and mean nothing to another.
	Dump(ctx context.Context, emit func(Item) error) error

	// Mark names this moment, so that DumpSince can go on from it, also after a
	// restart. It is a write, and a mark stays until many others came after it or so
	// much was deleted that the engine forgot what; it never goes wrong silently. A
	// Load brings no marks: they belong to this engine's own history.
	Mark(ctx context.Context, name [16]byte) error

	// DumpSince hands out what a Dump that began after Mark returned would lack:
	// every record that was written since, as it is now, and the key of every record
	// that is gone, with gone set, maybe more than once. What was not changed since
	// may be among them too. Applied to that Dump it makes what Dump hands out now,
	// but for records past their expiry. The error is ErrNoMark, before anything is
	// handed out, if the engine can't tell all of it.
	DumpSince(ctx context.Context, name [16]byte, emit func(it Item, gone bool) error) error

	// Load fills an empty engine from next, which ends with io.EOF. Nobody else
	// may write meanwhile. After an error the engine holds a part of the stream
	// and should be thrown away.
	Load(ctx context.Context, next func() (Item, error)) error

	// Close lets the accepted writes finish first. Later calls return ErrClosed.
	Close() error
}

// Stats counts an engine's work since it was opened. An engine that can tell has
// a method Stats() Stats.
type Stats struct {
	Batches uint64 // commits
	Ops     uint64 // updates and applies answered
	Bytes   uint64 // keys and values written, before any amplification
	Queue   int    // writes waiting for the committer
	Free    int64  // bytes free on the disk when last looked at; -1 = not watched
	Full    bool   // writes answer ErrFull
	Stopped bool   // writes answer ErrStopped
	Damage  error  // a file that was found damaged while the engine ran; nil = none

	Commit Histogram // how long commits took, ns
	Batch  Histogram // updates and applies in a commit
}
