package badger

import (
	"context"
	"sync/atomic"
	"time"
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
func (p *patrol) begin(e *Engine, every time.Duration) {
	ctx, stop := context.WithCancel(context.Background())
	p.stop, p.done = stop, make(chan struct{})
	go func() {
		defer close(p.done)
		for rest(ctx, every) {
			e.reread(ctx)
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
func (e *Engine) reread(ctx context.Context) {
	files := files{dir: e.db.Opts().Dir}
	for id := range e.tables(ctx) {
		began := time.Now()
		_, err := files.readTable(id, true)
		// One that was merged into others meanwhile is cut off first, and then removed.
		if err != nil && e.tables(ctx)[id] && e.patrol.found.CompareAndSwap(nil, &err) {
			e.log.Error("store: what is read from it may be wrong from now on", "error", err)
		}
		if !rest(ctx, patrolRest*time.Since(began)) {
			return
		}
	}
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
