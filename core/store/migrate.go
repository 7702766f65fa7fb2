package store

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// Format is the format of the whole store that this program reads and writes. It
// changes when the key map does in a way that an older program would get wrong; a
// record's own format is in its first byte.
const Format = 3

// migration brings a store from one format to the next. It may be cut off at any
// write and run again, also by two nodes at once: so each of its writes is good by
// itself, and doing it twice does no harm.
type migration struct {
	from uint32
	what string // for the log
	run  func(ctx context.Context, s *Store, done func()) error
}

// migrations are all there are, in order: one for each format before the present one.
var migrations = [Format - 1]migration{
	{1, "list sign-ins under their accounts", listSignIns},
	{2, "note the sign-outs that were cut off", noteSignOuts},
}

// checkFormat refuses a store of a newer format, migrates one of an older format, and
// marks an empty one.
func (s *Store) checkFormat(ctx context.Context) error {
	it, err := s.engine.Update(ctx, formatKey(), func(cur *Item) (*Write, error) {
		if cur == nil {
			return &Write{Value: encodeFormat(Format)}, nil
		}
		return nil, nil
	})
	if err != nil {
		return err
	}
	found, err := decodeFormat(it.Value)
	switch {
	case err != nil:
		return err
	case found > Format:
		return fmt.Errorf("store: this directory was written by a newer version (format %d, this program knows %d)", found, Format)
	case found < 1:
		return fmt.Errorf("store: this directory was written by an older version (format %d, this program knows 1 to %d)", found, Format)
	}
	return s.migrate(ctx, found, migrations[:])
}

// FormatOf is the format of what an engine holds, without a Store over it.
func FormatOf(ctx context.Context, e Engine) (uint32, error) {
	it, err := e.Get(ctx, formatKey())
	if errors.Is(err, ErrNotFound) {
		return 0, errors.New("store: nothing was ever stored here")
	} else if err != nil {
		return 0, err
	}
	return decodeFormat(it.Value)
}

// migrate takes the steps that are left. A step is over when the format says so: that
// is written after all else.
func (s *Store) migrate(ctx context.Context, found uint32, steps []migration) error {
	for _, m := range steps {
		if m.from < found {
			continue
		}
		log := s.log.With("from", m.from, "to", m.from+1, "what", m.what)
		log.Info("store: migrating the directory")
		var n atomic.Int64
		if err := s.reporting(log, &n, func() error { return m.run(ctx, s, func() { n.Add(1) }) }); err != nil {
			return fmt.Errorf("store: migrate from format %d: %s: %w", m.from, m.what, err)
		}
		_, err := s.engine.Update(ctx, formatKey(), func(cur *Item) (*Write, error) {
			if cur != nil {
				now, err := decodeFormat(cur.Value)
				if err != nil || now > m.from { // another node was faster
					return nil, err
				}
			}
			return &Write{Value: encodeFormat(m.from + 1)}, nil
		})
		if err != nil {
			return fmt.Errorf("store: note the format %d: %w", m.from+1, err)
		}
		log.Info("store: the directory is migrated", "records", n.Load())
	}
	return nil
}

// reportEvery is how often a long migration says how far it is.
const reportEvery = 10 * time.Second

// reporting runs f, and logs the count meanwhile.
func (s *Store) reporting(log *slog.Logger, n *atomic.Int64, f func() error) error {
	done := make(chan struct{})
	var reporter sync.WaitGroup
	reporter.Go(func() {
		tick := time.NewTicker(reportEvery)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				log.Info("store: still migrating", "records", n.Load())
			case <-done:
				return
			}
		}
	})
	err := f()
	close(done)
	reporter.Wait()
	return err
}

// listSignIns is the step from format 1. Stores of that format may be older than the
// list of an account's sign-ins, and than the epoch in a subject token: sign-ins that
// are not listed can't be ended by whoever ends those of an account.
func listSignIns(ctx context.Context, s *Store, done func()) error {
	return s.eachRecord(ctx, func(it Item) error {
		switch it.Key.Table {
		case tableFamily:
			return s.relist(ctx, it, done)
		case tableSubjectToken:
			return s.addEpoch(ctx, it, done)
		}
		return nil
	})
}

// relist puts a sign-in into the list of its account, unless it is there.
func (s *Store) relist(ctx context.Context, it Item, done func()) error {
	f, err := decodeFamily(it.Value)
	if err != nil {
		return err
	}
	if f.State != Active || len(it.Key.Part) != 16 {
		return nil
	}
	entry := sessionKey(f.Subject, [16]byte([]byte(it.Key.Part)))
	err = s.engine.Apply(ctx, Op{Key: entry, Guard: true, Value: appendTime([]byte{1}, s.now())})
	if errors.Is(err, ErrConflict) {
		return nil
	}
	if err == nil {
		done()
	}
	return err
}

// addEpoch writes a subject token anew that has none: it gets its account's.
func (s *Store) addEpoch(ctx context.Context, it Item, done func()) error {
	if _, err := decodeSubjectToken(it.Value); err == nil {
		return nil
	}
	r := readRecord(tableSubjectToken, it.Value, 1)
	t := SubjectToken{Foreign: r.flag(), Account: r.text(), Client: r.text()}
	if err := r.end(); err != nil {
		return err
	}
	switch a, err := s.Account(ctx, SubjectID(t.Account)); {
	case err == nil:
		t.Epoch = a.Epoch
	case !errors.Is(err, ErrNotFound):
		return err
	}
	err := s.engine.Apply(ctx, Op{Key: it.Key, Guard: true, If: it.Version, Value: encodeSubjectToken(t), Expires: it.Expires})
	if errors.Is(err, ErrConflict) { // another node was faster
		return nil
	}
	if err == nil {
		done()
	}
	return err
}

// manyAtOnce is how many records are worked on at the same time: they share commits.
const manyAtOnce = 128

// eachRecord calls f for every record as it was at one moment, for many at the same
// time. The first error ends it.
func (s *Store) eachRecord(ctx context.Context, f func(Item) error) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	items := make(chan Item)
	var workers sync.WaitGroup
	for range manyAtOnce {
		workers.Go(func() {
			for it := range items {
				if err := f(it); err != nil {
					stop(err)
				}
			}
		})
	}
	err := s.engine.Dump(ctx, func(it Item) error {
		select {
		case items <- it:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	})
	close(items)
	workers.Wait()
	if ctx.Err() != nil { // also one that came when all was handed out
		return context.Cause(ctx)
	}
	return err
}

func encodeFormat(format uint32) []byte {
	return binary.BigEndian.AppendUint32([]byte{1}, format)
}

func decodeFormat(b []byte) (uint32, error) {
	r := readRecord(tableMeta, b, 1)
	format := r.uint32()
	return format, r.end()
}
