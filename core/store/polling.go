package store

import (
	"context"
	"encoding/binary"
	"fmt"
	"strconv"
	"time"

	"github.com/souk-market/souk/core/store/audit"
)

// Polling is what the operator says while the server runs of how often devices look
// for updates. Without a record the configuration holds.
type Polling struct {
	Hours int
	Until time.Time // zero = until it is taken back
	Set   time.Time // when it was said
}

// Polling returns what the operator says, or ErrNotFound; past its end it is gone. A
// record that says nothing is ErrDamaged.
func (s *Store) Polling(ctx context.Context) (Polling, error) {
	it, err := s.engine.Get(ctx, pollingKey())
	if err != nil {
		return Polling{}, err
	}
	p, err := decodePolling(it.Value)
	if err != nil {
		return Polling{}, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return p, nil
}

// SetPolling stores what the operator says, in place of what was said before. It is
// written down first; what is said already is not said again.
func (s *Store) SetPolling(ctx context.Context, hours int, until time.Time) error {
	return s.changePolling(ctx, Polling{Hours: hours, Until: Millis(until), Set: Millis(s.now())})
}

// ClearPolling takes it back, whatever it is; where there is nothing that is no error.
func (s *Store) ClearPolling(ctx context.Context) error { return s.changePolling(ctx, Polling{}) }

// changePolling writes the record, or deletes it where next has no hours.
func (s *Store) changePolling(ctx context.Context, next Polling) error {
	return s.firstWrite(ctx, func(written []audit.Entry) error {
		_, err := s.engine.Update(ctx, pollingKey(), func(cur *Item) (*Write, error) {
			var before Polling
			if cur != nil {
				var err error
				if before, err = decodePolling(cur.Value); err != nil && next.Hours != 0 {
					return nil, err
				}
			}
			if next.Hours == 0 && cur == nil || next.Hours != 0 && before.Hours == next.Hours && before.Until.Equal(next.Until) {
				return nil, nil
			}
			if s.audit != nil {
				if need := []audit.Entry{before.change(next)}; !sameChanges(need, written) {
					return nil, &unwritten{need}
				}
			}
			if next.Hours == 0 {
				return &Write{Delete: true}, nil
			}
			return &Write{Value: encodePolling(next), Expires: next.Until}, nil
		})
		return err
	})
}

// change is the entry for a change. It has the hours that were said and are said,
// where something was and is.
func (p *Polling) change(next Polling) audit.Entry {
	e := audit.Entry{Kind: audit.PollingChanged, Detail: map[string]string{}}
	if p.Hours > 0 {
		e.Detail["old"] = strconv.Itoa(p.Hours)
	}
	if next.Hours > 0 {
		e.Detail["hours"] = strconv.Itoa(next.Hours)
	}
	if !next.Until.IsZero() {
		e.Detail["until"] = next.Until.Format(time.RFC3339)
	}
	return e
}

// WatchPolling hints at changes, as Engine.Watch does.
func (s *Store) WatchPolling(ctx context.Context) (<-chan struct{}, error) {
	return s.engine.Watch(ctx, tableOperator)
}

func encodePolling(p Polling) []byte {
	b := binary.BigEndian.AppendUint32([]byte{1}, uint32(p.Hours))
	b = appendFlag(b, !p.Until.IsZero())
	return appendTime(appendTime(b, p.Until), p.Set)
}

func decodePolling(b []byte) (Polling, error) {
	r := readRecord(tableOperator, b, 1)
	p := Polling{Hours: int(r.uint32())}
	ends, until := r.flag(), r.time()
	if ends {
		p.Until = until
	}
	p.Set = r.time()
	if err := r.end(); err != nil {
		return Polling{}, err
	}
	return p, nil
}
