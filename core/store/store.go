package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/souk-market/souk/core/store/audit"
)

// Config says how a Store uses its engine. The zero value is a single node with
// the wall clock.
type Config struct {
	Now      func() time.Time // nil = time.Now
	Accounts int              // accounts kept in memory; 0 = 65536

	// Shared says that other nodes write to the same engine. Then accounts and
	// revocations are read again when the engine hints at a change.
	Shared bool

	// Audit is where changes are written down before they are made; nil = nowhere. It
	// belongs to the caller, who closes it after the Store.
	Audit *audit.Log

	Log *slog.Logger // of a migration; nil = silent
}

// Store is the marketplace's records over an engine. All methods may be called at
// the same time.
type Store struct {
	engine   Engine
	now      func() time.Time
	log      *slog.Logger
	shared   bool
	cache    *accountCache
	revoked  *RevocationSet
	signOuts signOuts
	audit    *audit.Log // nil = none

	recovery atomic.Pointer[Recovery]

	kvMu sync.Mutex
	kv   map[string]*usage // by plugin: shared by all who opened it

	stop    context.CancelFunc
	running sync.WaitGroup
}

// New makes a Store for one node without looking at what the engine holds: no
// format is checked, and no revocation and no sign-out is loaded. Open does all.
func New(e Engine, now func() time.Time) *Store {
	return newStore(e, Config{Now: now})
}

// Open makes a Store after checking that this program understands what the engine
// holds, and migrates what an older one has left; an empty engine is given the present
// format, so a copy is loaded before. Open reads the
// revocations and the sign-outs under way and, if the engine is shared, follows it
// until Close.
func Open(ctx context.Context, e Engine, c Config) (*Store, error) {
	s := newStore(e, c)
	if err := s.checkFormat(ctx); err != nil {
		return nil, err
	}
	if err := errors.Join(s.loadRevocations(ctx), s.loadSignOuts(ctx), s.loadRecovery(ctx)); err != nil {
		return nil, err
	}
	if !s.shared {
		return s, nil
	}
	run, stop := context.WithCancel(context.WithoutCancel(ctx))
	s.stop = stop
	err := errors.Join(
		s.follow(run, tableAccount, s.cache.clear),
		s.follow(run, tableRevocation, func() { _ = s.loadRevocations(run) }),
	)
	if err != nil {
		stop()
		s.running.Wait()
		return nil, err
	}
	return s, nil
}

func newStore(e Engine, c Config) *Store {
	s := &Store{engine: e, now: c.Now, log: c.Log, shared: c.Shared, audit: c.Audit, kv: make(map[string]*usage)}
	s.recovery.Store(&Recovery{})
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.now == nil {
		s.now = time.Now
	}
	if c.Accounts <= 0 {
		c.Accounts = 1 << 16
	}
	s.cache = newAccountCache(c.Accounts)
	s.revoked = newRevocationSet(s.now)
	return s
}

// Close ends what Open began and closes the engine.
func (s *Store) Close() error {
	if s.stop != nil {
		s.stop()
		s.running.Wait()
	}
	return s.engine.Close()
}

// followEvery is how often a followed table is read again without a hint: a read
// that failed must not wait for the next change.
const followEvery = 15 * time.Second

// follow calls again after each hint of the table, until ctx ends.
func (s *Store) follow(ctx context.Context, table byte, again func()) error {
	hints, err := s.engine.Watch(ctx, table)
	if err != nil {
		return fmt.Errorf("store: watch table %c: %w", table, err)
	}
	s.running.Go(func() {
		tick := time.NewTicker(followEvery)
		defer tick.Stop()
		for {
			select {
			case _, open := <-hints:
				if !open {
					return
				}
			case <-tick.C:
			case <-ctx.Done():
				return
			}
			again()
		}
	})
	return nil
}

// existsError carries a record out of an UpdateFunc that wanted it absent.
type existsError struct{ item Item }

func (existsError) Error() string { return "store: record exists" }

// page is how many records a walk through a part reads at a time.
const page = 512

// scanAll hands out all records of a part, in order.
func (s *Store) scanAll(ctx context.Context, table byte, part string, emit func(Item) error) error {
	after := ""
	for {
		items, err := s.engine.Scan(ctx, table, part, after, page)
		if err != nil {
			return err
		}
		for _, it := range items {
			if err := emit(it); err != nil {
				return err
			}
			after = it.Key.Sub
		}
		if len(items) < page {
			return nil
		}
	}
}
