package badger

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	bdb "github.com/dgraph-io/badger/v4"

	"github.com/souk-market/souk/core/store"
)

// Get implements store.Engine.
func (e *Engine) Get(ctx context.Context, k store.Key) (store.Item, error) {
	if err := store.CheckKey(k); err != nil {
		return store.Item{}, err
	}
	v, err := e.snapshot(ctx)
	if err != nil {
		return store.Item{}, err
	}
	defer v.leave()
	return lookup(v.txn, k, encodeKey(k), e.now())
}

// view is all that was committed by a moment. Close waits for those who are in one.
type view struct {
	txn  *bdb.Txn
	gate *sync.RWMutex
}

func (v view) leave() {
	v.txn.Discard()
	v.gate.RUnlock()
}

// snapshot opens a view of all that was committed so far.
func (e *Engine) snapshot(ctx context.Context) (view, error) {
	if err := ctx.Err(); err != nil {
		return view{}, err
	}
	if e.closed.Load() {
		return view{}, store.ErrClosed
	}
	gate := e.snapshots.enter()
	if e.closed.Load() {
		gate.RUnlock()
		return view{}, store.ErrClosed
	}
	return view{e.db.NewTransactionAt(e.read.Load(), false), gate}, nil
}

// lookup reads one record; past its expiry it is absent.
func lookup(txn *bdb.Txn, k store.Key, enc []byte, now time.Time) (store.Item, error) {
	it, err := find(txn, k, enc)
	if err != nil {
		return store.Item{}, err
	}
	if it.Version == 0 || store.Expired(it.Expires, now) {
		return store.Item{}, store.ErrNotFound
	}
	return it, nil
}

// find reads one record, past its expiry too. An item without Version is none.
func find(txn *bdb.Txn, k store.Key, enc []byte) (store.Item, error) {
	found, err := txn.Get(enc)
	if errors.Is(err, bdb.ErrKeyNotFound) {
		return store.Item{}, nil
	}
	if err != nil {
		return store.Item{}, fmt.Errorf("store: read table %c: %w", k.Table, err)
	}
	return itemOf(k, found)
}

func itemOf(k store.Key, found *bdb.Item) (store.Item, error) {
	b, err := found.ValueCopy(nil)
	if err != nil {
		return store.Item{}, fmt.Errorf("store: read table %c: %w", k.Table, err)
	}
	return toItem(k, found.Version(), b)
}

func toItem(k store.Key, ts uint64, b []byte) (store.Item, error) {
	s, err := decodeValue(b)
	if err != nil {
		return store.Item{}, fmt.Errorf("store: read table %c: %w", k.Table, err)
	}
	return store.Item{Key: k, Value: s.value, Version: version(ts, s.seq), Expires: s.expires}, nil
}

// Scan implements store.Engine.
func (e *Engine) Scan(ctx context.Context, table byte, part, after string, limit int) ([]store.Item, error) {
	if err := store.CheckKey(store.Key{Table: table, Part: part}); err != nil {
		return nil, err
	}
	prefix := encodeKey(store.Key{Table: table, Part: part})
	from := bytes.Clone(prefix)
	if after != "" {
		from = append(append(from, after...), 0) // the first key behind it
	}
	var items []store.Item
	if limit <= 0 {
		return nil, nil
	}
	err := e.walk(ctx, prefix, from, func(it store.Item) error {
		if items = append(items, it); len(items) == limit {
			return errEnough
		}
		return nil
	})
	if err != nil && !errors.Is(err, errEnough) {
		return nil, err
	}
	return items, nil
}

var errEnough = errors.New("enough")

// Dump implements store.Engine. All it hands out was there at one moment.
func (e *Engine) Dump(ctx context.Context, emit func(store.Item) error) error {
	return e.walk(ctx, nil, firstTable, emit)
}

// firstTable sorts behind what is the engine's own.
var firstTable = []byte{'A'}

// walk hands out the live records whose keys begin with prefix, starting at from.
func (e *Engine) walk(ctx context.Context, prefix, from []byte, emit func(store.Item) error) error {
	v, err := e.snapshot(ctx)
	if err != nil {
		return err
	}
	defer v.leave()
	return e.walkAt(ctx, v.txn, prefix, from, 0, emit)
}

// walkAt is walk in a view; with since only those that were written later.
func (e *Engine) walkAt(ctx context.Context, txn *bdb.Txn, prefix, from []byte, since uint64, emit func(store.Item) error) error {
	o := bdb.DefaultIteratorOptions
	o.PrefetchValues = false // they lie beside the keys
	o.Prefix = prefix
	o.SinceTs = since
	cursor := txn.NewIterator(o)
	defer cursor.Close()
	now := e.now()
	for cursor.Seek(from); cursor.ValidForPrefix(prefix); cursor.Next() {
		if err := ctx.Err(); err != nil {
			return err
		}
		k, err := decodeKey(cursor.Item().Key())
		if err != nil {
			return fmt.Errorf("store: walk: %w", err)
		}
		it, err := itemOf(k, cursor.Item())
		if err != nil {
			return err
		}
		if store.Expired(it.Expires, now) {
			continue
		}
		if err := emit(it); err != nil {
			return err
		}
	}
	return nil
}
