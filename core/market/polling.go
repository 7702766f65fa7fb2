package market

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/souk-market/souk/core/store"
)

// Polling is how often devices look for updates: what the operator says while the
// server runs, as long as that holds, and else the configuration. It is the one valve
// for load that devices are known to heed, so it turns without a restart. What one
// node is told reaches the others through the store. Make it with OpenPolling.
type Polling struct {
	configured int
	store      *store.Store
	now        func() time.Time
	log        *slog.Logger

	said atomic.Pointer[store.Polling] // nil = nothing
	mu   sync.Mutex                    // held from reading the store to publishing what was read
	stop context.CancelFunc
	done chan struct{}
}

// OpenPolling reads what was said, and follows it until Close. configured is the
// configuration's.
func OpenPolling(ctx context.Context, s *store.Store, configured int, now func() time.Time, log *slog.Logger) (*Polling, error) {
	watching, stop := context.WithCancel(context.WithoutCancel(ctx))
	hints, err := s.WatchPolling(watching)
	if err != nil {
		stop()
		return nil, fmt.Errorf("watch the polling interval: %w", err)
	}
	p := &Polling{configured: configured, store: s, now: now, log: log, stop: stop, done: make(chan struct{})}
	err = p.reload(ctx)
	switch {
	case errors.Is(err, store.ErrDamaged): // no reason to serve nobody
		if log != nil {
			log.Error("the polling interval that was set can't be read, so that of the configuration holds: set it anew after \"souk polling --clear\"", "error", err)
		}
	case err != nil:
		stop()
		return nil, err
	}
	go p.follow(watching, hints, err)
	return p, nil
}

// Close ends what OpenPolling began.
func (p *Polling) Close() {
	p.stop()
	<-p.done
}

func (p *Polling) follow(ctx context.Context, hints <-chan struct{}, failed error) {
	defer close(p.done)
	store.Reload(ctx, hints, failed, p.reload, func(err error) {
		if p.log != nil {
			p.log.Error("the polling interval is not taken over", "error", err)
		}
	})
}

func (p *Polling) reload(ctx context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch said, err := p.store.Polling(ctx); {
	case errors.Is(err, store.ErrNotFound):
		p.said.Store(nil)
	case err != nil:
		return fmt.Errorf("read the polling interval: %w", err)
	default:
		if err := CheckPolling(said.Hours); err != nil {
			return fmt.Errorf("read the polling interval: %w: %w", store.ErrDamaged, err)
		}
		p.said.Store(&said)
	}
	return nil
}

// Hours is how many hours a device is to wait between two update checks.
func (p *Polling) Hours() int {
	if said := p.Said(); said != nil {
		return said.Hours
	}
	return p.configured
}

// Configured is what holds where the operator says nothing.
func (p *Polling) Configured() int { return p.configured }

// Said is what the operator says, nil for nothing.
func (p *Polling) Said() *store.Polling {
	said := p.said.Load()
	if said == nil || !said.Until.IsZero() && !p.now().Before(said.Until) {
		return nil
	}
	return said
}

// Set says how often devices look for updates, until a time or, with a zero time,
// until Clear. It holds when Set returns.
func (p *Polling) Set(ctx context.Context, hours int, until time.Time) error {
	if err := CheckPolling(hours); err != nil {
		return err
	}
	if err := p.store.SetPolling(ctx, hours, until); err != nil {
		return fmt.Errorf("store the polling interval: %w", err)
	}
	return p.reload(ctx)
}

// Clear lets the configuration hold again.
func (p *Polling) Clear(ctx context.Context) error {
	if err := p.store.ClearPolling(ctx); err != nil {
		return fmt.Errorf("take the polling interval back: %w", err)
	}
	return p.reload(ctx)
}

// CheckPolling refuses hours that no device would keep to, in a sentence without the
// name of the value.
func CheckPolling(hours int) error {
	if hours < minPolling || hours > maxPolling {
		return fmt.Errorf("%d is out of range: it counts hours, use %d to %d", hours, minPolling, maxPolling)
	}
	return nil
}

// PollingInterval is how many hours a device is to wait between two update checks.
func (m *Market) PollingInterval() int {
	if m.Polling == nil {
		return m.Config.PollingInterval
	}
	return m.Polling.Hours()
}
