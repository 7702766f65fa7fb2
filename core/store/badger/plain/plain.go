// Package plain is Badger as anybody would use it: a transaction of its own for
// each write, synced alone, and tried again after a conflict. The engine's group
// commit is measured beside it, by benchmarks and by `souk bench store`. Nothing
// else may use it.
package plain

import (
	"errors"
	"fmt"

	bdb "github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"
)

// DB is an open directory.
type DB struct{ db *bdb.DB }

// Open opens the directory, or makes it. What can be the same as in the engine is.
func Open(dir string) (*DB, error) {
	db, err := bdb.Open(bdb.DefaultOptions(dir).WithSyncWrites(true).WithLogger(nil).
		WithCompression(options.None).WithBlockCacheSize(0).WithMetricsEnabled(false).
		WithBaseTableSize(8 << 20).WithValueLogFileSize(64 << 20))
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", dir, err)
	}
	return &DB{db}, nil
}

// CompareAndSet writes what next makes of the present value, nil where there is
// none, and returns once that is durable. next may be called more than once.
func (d *DB) CompareAndSet(key []byte, next func(cur []byte) []byte) error {
	for {
		err := d.db.Update(func(txn *bdb.Txn) error {
			var cur []byte
			it, err := txn.Get(key)
			if err == nil {
				cur, err = it.ValueCopy(nil)
			}
			if err != nil && !errors.Is(err, bdb.ErrKeyNotFound) {
				return err
			}
			return txn.Set(key, next(cur))
		})
		if !errors.Is(err, bdb.ErrConflict) {
			return err
		}
	}
}

// Get reads the value, nil where there is none.
func (d *DB) Get(key []byte) (value []byte, err error) {
	err = d.db.View(func(txn *bdb.Txn) error {
		it, err := txn.Get(key)
		if errors.Is(err, bdb.ErrKeyNotFound) {
			return nil
		}
		if err == nil {
			value, err = it.ValueCopy(nil)
		}
		return err
	})
	return value, err
}

// Close closes the files.
func (d *DB) Close() error { return d.db.Close() }
