package badger

import (
	"context"
	"time"

	bdb "github.com/dgraph-io/badger/v4"

	"github.com/souk-market/souk/core/store"
)

// SmallTables makes the engine turn over its tables after so many bytes instead of
// 64 MiB, so that a short test sees them written, merged and deleted.
func SmallTables(o Options, bytes int64) Options {
	o.change = func(b bdb.Options) bdb.Options {
		return b.WithMemTableSize(bytes).WithValueThreshold(min(b.ValueThreshold, bytes/10)) // of a transaction's limit, 15 %
	}
	return o
}

// Patrol has the tables read again and again, with so much time between.
func Patrol(o Options, every time.Duration) Options {
	o.Verify, o.patrol = true, every
	return o
}

// Reopen has the tables read again through another opener.
func Reopen(o Options, open func(path string) (TableFile, error)) Options {
	o.reopen = open
	return o
}

// TableFile is a table that is read again.
type TableFile = tableFile

// CheckTable checks a table that is opened so, all of it.
func CheckTable(ctx context.Context, path string, open func(path string) (TableFile, error)) error {
	_, err := (&tableReader{open: open}).check(ctx, path, true)
	return err
}

// CommitOf is the commit that a version belongs to.
func CommitOf(v store.Version) uint64 { return uint64(v) >> seqBits }
