package badger

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/souk-market/souk/core/store"
)

// Badger takes a block that it can't verify for one that does not have the key, and says
// nothing. So what a start does is done again while the server runs: all tables are read,
// and their checksums compared.

// patrolEvery is the time between two rounds. Within one, nine tenths are rest.
const (
	patrolEvery = 24 * time.Hour
	patrolRest  = 9
)

// patrol is who does that.
type patrol struct {
	found atomic.Pointer[error] // the first damage
	stop  context.CancelFunc    // nil = nobody does
	done  chan struct{}
}

// begin sends it on its rounds, the first of which begins after every.
func (p *patrol) begin(e *Engine, every time.Duration, open func(string) (tableFile, error)) {
	ctx, stop := context.WithCancel(context.Background())
	p.stop, p.done = stop, make(chan struct{})
	r := &tableReader{open: open}
	go func() {
		defer close(p.done)
		for rest(ctx, every) {
			e.reread(ctx, r)
		}
	}()
}

func (p *patrol) end() {
	if p.stop != nil {
		p.stop()
		<-p.done
	}
}

// rest waits, and says whether it goes on after that.
func rest(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// reread reads all tables once, and notes the first that is damaged.
func (e *Engine) reread(ctx context.Context, r *tableReader) {
	dir, told := files{dir: e.db.Opts().Dir}, false
	for id := range e.tables(ctx) {
		began := time.Now()
		damage, err := e.damage(ctx, r, dir.table(id))
		switch {
		// One that was merged into others meanwhile is cut off first, and then removed.
		case damage != nil && e.tables(ctx)[id] && e.patrol.found.CompareAndSwap(nil, &damage):
			e.log.Error("store: what is read from it may be wrong from now on", "error", damage)
		case err != nil && ctx.Err() == nil && !told: // once a round
			told = true
			e.log.Warn("store: a table can't be read again at the moment: the next round tries it", "error", err)
		}
		if !rest(ctx, patrolRest*time.Since(began)) {
			return
		}
	}
}

// damage is what is wrong with a table, found twice: what stays is what counts, and it
// counts until a restart. The error is why it could not be told.
func (e *Engine) damage(ctx context.Context, r *tableReader, path string) (damage, err error) {
	for range 2 {
		switch _, err := r.check(ctx, path, true); {
		case errors.Is(err, store.ErrDamaged):
			damage = err
		default:
			return nil, err
		}
	}
	return damage, nil
}

// tables are those that there are, none once the engine is closed.
func (e *Engine) tables(ctx context.Context) map[uint64]bool {
	v, err := e.snapshot(ctx) // the files stay open
	if err != nil {
		return nil
	}
	defer v.leave()
	ids := map[uint64]bool{}
	for _, t := range e.db.Tables() {
		ids[t.ID] = true
	}
	return ids
}

// damage is what was found; nil = nothing.
func (p *patrol) damage() error {
	if err := p.found.Load(); err != nil {
		return *err
	}
	return nil
}
