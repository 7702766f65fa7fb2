package audit

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// Query says which entries are wanted. What is empty does not matter.
type Query struct {
	Account string // or of this Subject
	Subject ID
	Family  ID
	Kind    Kind
	Since   time.Time
	Before  uint64 // only entries with smaller numbers; 0 = all
	Limit   int    // at most so many
}

func (q *Query) wants(e *Entry) bool {
	return (q.Account == "" && q.Subject == ID{} || q.Account != "" && e.Account == q.Account || q.Subject != ID{} && e.Subject == q.Subject) &&
		(q.Family == ID{} || e.Family == q.Family) &&
		(q.Kind == "" || e.Kind == q.Kind) &&
		(q.Since.IsZero() || !e.Time.Before(q.Since)) &&
		(q.Before == 0 || e.Seq < q.Before)
}

// Search returns the entries that are wanted, newest first. It reads a segment at a
// time and checks each as Read does; what is damaged is told beside the entries that
// are whole.
func Search(ctx context.Context, dir string, q Query) (found []Entry, damage []*DamageError, err error) {
	all, err := segments(dir)
	if err != nil {
		return nil, nil, err
	}
	newest := len(all) - 1
	for i := newest; i >= 0 && len(found) < q.Limit; i-- {
		if err := ctx.Err(); err != nil {
			return nil, nil, err
		}
		if first, ok := firstOf(dir, all[i]); ok && q.Before != 0 && first >= q.Before {
			continue
		}
		here, broken, err := all[i].search(dir, &q, q.Limit-len(found), i == newest)
		if err != nil {
			return nil, nil, err
		}
		found = append(found, here...)
		damage = append(damage, broken...)
		if begun := all[i].created.Add(time.Second); !q.Since.IsZero() && !begun.After(q.Since) { // its name leaves out what is below a second
			break
		}
	}
	return found, damage, nil
}

// search returns the newest that are wanted of one segment, newest first.
func (s *segment) search(dir string, q *Query, limit int, newest bool) (found []Entry, damage []*DamageError, err error) {
	b, err := s.load(dir)
	if broken, ok := errors.AsType[*DamageError](err); ok {
		return nil, []*DamageError{broken}, nil
	} else if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, nil // dropped meanwhile
	} else if err != nil {
		return nil, nil, err
	}
	(&chain{}).segment(*s, b, newest, func(e Entry, err error) bool {
		if broken, ok := errors.AsType[*DamageError](err); ok {
			if len(damage) < maxDamage {
				damage = append(damage, broken)
			}
		} else if q.wants(&e) {
			found = append(found, e)
			if len(found) >= 2*limit {
				found = slices.Delete(found, 0, len(found)-limit)
			}
		}
		return true
	})
	found = found[max(0, len(found)-limit):]
	slices.Reverse(found)
	return found, damage, nil
}

// firstOf reads the number of a segment's first entry, if its header tells.
func firstOf(dir string, s segment) (first uint64, ok bool) {
	f, err := os.Open(filepath.Join(dir, s.name))
	if err != nil {
		return 0, false
	}
	defer f.Close()
	b := make([]byte, headerSize)
	if _, err := io.ReadFull(f, b); err != nil {
		return 0, false
	}
	h, reason := decodeHeader(b)
	return h.first, reason == ""
}
