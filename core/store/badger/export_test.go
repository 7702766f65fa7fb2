package badger

import "github.com/souk-market/souk/core/store"

// SmallTables makes the engine turn over its tables after so many bytes instead of
// 64 MiB, so that a short test sees them written, merged and deleted.
func SmallTables(o Options, bytes int64) Options {
	o.memTable = bytes
	return o
}

// CommitOf is the commit that a version belongs to.
func CommitOf(v store.Version) uint64 { return uint64(v) >> seqBits }
