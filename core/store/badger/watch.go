package badger

import (
	"context"
	"sync"

	"github.com/souk-market/souk/core/store"
)

// watchers hands out hints. A hint is a token in a channel of one: whoever has
// not taken the last one needs no other.
type watchers struct {
	mu     sync.Mutex
	closed bool
	byLine map[byte]map[chan struct{}]func() bool // table → channel → stops waiting for its context
}

// Watch implements store.Engine.
func (e *Engine) Watch(ctx context.Context, table byte) (<-chan struct{}, error) {
	if err := store.CheckKey(store.Key{Table: table}); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	w := &e.watchers
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return nil, store.ErrClosed
	}
	hints := make(chan struct{}, 1)
	hints <- struct{}{}
	if w.byLine == nil {
		w.byLine = make(map[byte]map[chan struct{}]func() bool)
	}
	if w.byLine[table] == nil {
		w.byLine[table] = make(map[chan struct{}]func() bool)
	}
	w.byLine[table][hints] = context.AfterFunc(ctx, func() { w.remove(table, hints) })
	return hints, nil
}

func (w *watchers) remove(table byte, hints chan struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if _, ok := w.byLine[table][hints]; ok {
		delete(w.byLine[table], hints)
		close(hints)
	}
}

func (w *watchers) hint(tables tableSet) {
	if tables == 0 {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for table, line := range w.byLine {
		if !tables.has(table) {
			continue
		}
		for hints := range line {
			select {
			case hints <- struct{}{}:
			default: // the last one was not taken yet
			}
		}
	}
}

func (w *watchers) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
	for _, line := range w.byLine {
		for hints, stop := range line {
			stop()
			close(hints)
		}
	}
	w.byLine = nil
}

// tableSet is a set of ASCII letters.
type tableSet uint64

func (s *tableSet) add(table byte)     { *s |= 1 << (table - 'A') }
func (s tableSet) has(table byte) bool { return s&(1<<(table-'A')) != 0 }
