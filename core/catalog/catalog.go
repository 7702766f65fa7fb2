// Package catalog knows the apps of the marketplace: their versions, what each needs
// to run, how far each is rolled out, and what was taken down.
//
// A device's update check must not wait for a store, so all items lie in memory in an
// immutable Snapshot with everything that an answer needs worked out beforehand. A
// change is validated, stored, and then published as a new snapshot: by this process
// before the call returns, by others as soon as the store tells them. Items come from
// the operator's file (Import) and from the admin API, in one format.
//
// The package decides which versions fit a device. It does not decide who may have
// them or which share of people comes first: it hands the candidates, with the state of
// their rollouts, to those who do.
package catalog

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/souk-market/souk/core/store"
)

var (
	// ErrNotFound means that the catalogue has no such item.
	ErrNotFound = errors.New("catalog: no such item")
	// ErrNoVersion means that the item has no such version.
	ErrNoVersion = errors.New("catalog: no such version")
)

// Options is what Open needs besides the store.
type Options struct {
	// PublicURL is where devices reach this server. The packages of versions that name
	// none of their own are at <PublicURL>/packages/<item>/<version>.
	PublicURL string
	// Rules are those that items have to follow.
	Rules Rules
	// Log hears of changes that could not be taken over. Nil: nobody does.
	Log *slog.Logger
}

// Catalog holds the current snapshot and is the way to change it. Safe for concurrent use.
type Catalog struct {
	store *store.Store
	opts  Options
	stop  context.CancelFunc
	done  chan struct{}

	snapshot atomic.Pointer[Snapshot]

	// importing is held by an import, and by the reload for a hint: an import is one
	// change, not one for each item.
	importing sync.Mutex

	// mu is held from reading the store to publishing what was read. So a snapshot is
	// never replaced by one that was read before it, and whoever has written finds the
	// write in the snapshot that its own refresh publishes.
	mu     sync.Mutex
	failed error // of the last reload
}

// Open reads all items and goes on to follow the store until Close. An item that can't
// be read stops it here; later, it keeps its last good state.
func Open(ctx context.Context, s *store.Store, opts Options) (*Catalog, error) {
	public, err := checkPublicURL(opts.PublicURL)
	if err != nil {
		return nil, err
	}
	opts.PublicURL = public
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	watching, stop := context.WithCancel(context.WithoutCancel(ctx))
	hints, err := s.WatchCatalog(watching)
	if err != nil {
		stop()
		return nil, fmt.Errorf("watch catalogue: %w", err)
	}
	c := &Catalog{store: s, opts: opts, stop: stop, done: make(chan struct{})}
	c.snapshot.Store(newSnapshot())
	select {
	case <-hints: // the first says no more than "read", which comes next anyway
	default:
	}
	if err := c.reload(ctx); err != nil {
		stop()
		return nil, err
	}
	go c.follow(watching, hints)
	return c, nil
}

// Close ends following the store. The last snapshot stays readable.
func (c *Catalog) Close() {
	c.stop()
	<-c.done
}

// Snapshot returns the catalogue as it stands.
//
// hot: one atomic load.
func (c *Catalog) Snapshot() *Snapshot { return c.snapshot.Load() }

// Err says why the store could not be followed when it last changed, nil if it could.
func (c *Catalog) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.failed
}

// follow reloads on each hint, and again after a while when that failed.
func (c *Catalog) follow(ctx context.Context, hints <-chan struct{}) {
	defer close(c.done)
	store.Reload(ctx, hints, c.Err(), func(ctx context.Context) error {
		c.importing.Lock()
		defer c.importing.Unlock()
		return c.reload(ctx)
	}, func(err error) { c.opts.Log.Error("catalogue not fully reloaded", "error", err) })
}

// reload reads all items and publishes what changed. Items whose bytes are the same keep
// their entries, so the cost of a hint is that of a scan.
func (c *Catalog) reload(ctx context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	old := c.Snapshot()
	seen := make(map[uint64]struct{}, old.Len())
	changes := make(map[uint64]*Entry)
	var unread []error
	err := c.store.CatalogItems(ctx, func(id uint64, value []byte) error {
		seen[id] = struct{}{}
		e, err := c.entry(old, id, value)
		switch {
		case err != nil:
			unread = append(unread, err)
		case e != old.Item(id):
			changes[id] = e
		}
		return nil
	})
	if err != nil {
		c.failed = fmt.Errorf("read catalogue: %w", err)
		return c.failed
	}
	for _, id := range old.order {
		if _, ok := seen[id]; !ok {
			changes[id] = nil
		}
	}
	c.publish(changes)
	c.failed = errors.Join(unread...)
	return c.failed
}

// refresh brings one item up to date with the store and returns its entry, nil if it
// is gone. It reads again instead of taking what the caller wrote: by now there may be
// something newer, which must not be covered up.
func (c *Catalog) refresh(ctx context.Context, id uint64) (*Entry, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	value, err := c.stored(ctx, id)
	if err != nil {
		return nil, err
	}
	old := c.Snapshot()
	e, err := c.entry(old, id, value)
	if err != nil {
		return nil, err
	}
	if e != old.Item(id) {
		c.publish(map[uint64]*Entry{id: e})
	}
	return e, nil
}

// entry returns the entry for a stored value: the present one if the value is the same,
// nil if the item is removed.
func (c *Catalog) entry(old *Snapshot, id uint64, value []byte) (*Entry, error) {
	if value == nil {
		return nil, nil
	}
	digest := digestOf(value)
	if e := old.Item(id); e != nil && e.digest == digest {
		return e, nil
	}
	rec, err := decodeRecord(id, value)
	if err != nil || rec.Gone {
		return nil, err
	}
	e, err := newEntry(Item(rec.Item), c.opts.PublicURL)
	if err != nil {
		return nil, fmt.Errorf("read item %d: %w", id, err)
	}
	e.digest, e.imported = digest, rec.Imported != ""
	return e, nil
}

// publish makes the next snapshot; nil takes an item out. Callers hold mu.
func (c *Catalog) publish(changes map[uint64]*Entry) {
	if len(changes) == 0 {
		return
	}
	old := c.Snapshot()
	c.snapshot.Store(old.with(changes))
	close(old.replaced)
}

// stored returns the bytes of an item's record, nil if there is none.
func (c *Catalog) stored(ctx context.Context, id uint64) ([]byte, error) {
	value, err := c.store.CatalogItem(ctx, id)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("read item %d: %w", id, err)
	}
	return value, nil
}
