package crashtest

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/souk-market/souk/core/store"
)

// Ledger knows what was acknowledged. The zero value is empty.
type Ledger struct {
	Acknowledged int // writes
	Redeemed     int // codes

	newest map[store.Key]Written // by key, the newest that was acknowledged
	rules  map[Rule]map[uint64]uint64
	wrong  []string // what the reports themselves contradict
}

// Take books a report.
func (l *Ledger) Take(r Report) {
	if l.newest == nil {
		l.newest = map[store.Key]Written{}
		l.rules = map[Rule]map[uint64]uint64{}
	}
	for _, w := range r.Writes {
		if w.Version > l.newest[w.Key].Version {
			l.newest[w.Key] = w
		}
	}
	if r.Rule == Wrote {
		l.Acknowledged++
		return
	}
	known := l.rules[r.Rule]
	if known == nil {
		known = map[uint64]uint64{}
		l.rules[r.Rule] = known
	}
	before, again := known[r.ID]
	switch r.Rule {
	case Redeemed:
		if l.Redeemed++; again {
			l.complain("code %d was redeemed twice, by %d and by %d", r.ID, before, r.Value)
		}
	case Replayed:
		if again && before != r.Value {
			l.complain("code %d was redeemed by %d and by %d, says who came later", r.ID, before, r.Value)
		}
	case Bound:
		if again && before != r.Value {
			l.complain("token %d was bound twice, to %d and to %d", r.ID, before, r.Value)
		}
	case Swapped: // reports overtake each other, but no value comes twice
		if id := r.ID<<48 | r.Value; l.first(id) {
			known[r.ID] = max(before, r.Value)
		} else {
			l.complain("counter %d was swapped to %d twice", r.ID, r.Value)
		}
		return
	case Rotated, Granted, Applied:
		r.Value = max(before, r.Value)
	}
	known[r.ID] = r.Value
}

// seen is no rule of a report: it holds what Swapped has had.
const seen Rule = 0

func (l *Ledger) first(id uint64) bool {
	if l.rules[seen] == nil {
		l.rules[seen] = map[uint64]uint64{}
	}
	_, again := l.rules[seen][id]
	l.rules[seen][id] = 1
	return !again
}

func (l *Ledger) complain(format string, args ...any) {
	l.wrong = append(l.wrong, fmt.Sprintf(format, args...))
}

// Findings is what a Check has found to be wrong.
type Findings struct {
	Lost  int      // acknowledged writes that are not there, nor a newer one of the record
	Wrong []string // what must not be: sentences
}

// Err is nil if nothing was found.
func (f Findings) Err() error {
	if f.Lost == 0 && len(f.Wrong) == 0 {
		return nil
	}
	return fmt.Errorf("%d acknowledged writes are lost; %d things are wrong: %q", f.Lost, len(f.Wrong), f.Wrong[:min(len(f.Wrong), 5)])
}

// Check compares what the engine holds with what was acknowledged.
func (l *Ledger) Check(ctx context.Context, e store.Engine) (Findings, error) {
	found := Findings{Wrong: slices.Clone(l.wrong)}
	there, err := Records(ctx, e)
	if err != nil {
		return found, err
	}
	parts := newestOfParts(there)
	for k, w := range l.newest {
		it, ok := there[k]
		switch {
		case !ok && (w.Sum == 0 || parts[k.Part].Version > w.Version):
		case !ok || it.Version < w.Version:
			found.Lost++
		case it.Version == w.Version && w.Sum != 0 && sum(it.Value) != w.Sum:
			found.Wrong = append(found.Wrong, fmt.Sprintf("record %c %x has other bytes than were acknowledged", k.Table, k.Part))
		}
	}
	wrong, err := l.checkRules(ctx, e)
	found.Wrong = append(found.Wrong, wrong...)
	return found, err
}

// Records reads all that an engine holds.
func Records(ctx context.Context, e store.Engine) (map[store.Key]store.Item, error) {
	there := map[store.Key]store.Item{}
	err := e.Dump(ctx, func(it store.Item) error {
		there[it.Key] = it
		return nil
	})
	return there, err
}

// newestOfParts returns the newest record of each part that Apply writes: of one
// that is absent there it tells whether an Apply, which nobody may have heard of,
// has deleted it.
func newestOfParts(there map[store.Key]store.Item) map[string]store.Item {
	parts := map[string]store.Item{}
	for k, it := range there {
		if k.Table == table && it.Version > parts[k.Part].Version {
			parts[k.Part] = it
		}
	}
	return parts
}

// checkRules reads what the rules say through the Store, as a server does.
func (l *Ledger) checkRules(ctx context.Context, e store.Engine) (wrong []string, err error) {
	s := store.New(e, nil)
	kv, err := s.PluginKV(plugin, store.KVQuota{})
	if err != nil {
		return nil, err
	}
	say := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	for rule, won := range map[Rule]string{Redeemed: "redeemed", Replayed: "found redeemed"} {
		for _, code := range slices.Sorted(maps.Keys(l.rules[rule])) {
			f, err := s.Family(ctx, familyID(code))
			if by := l.rules[rule][code]; err != nil || f.Client != identity(by) {
				say("code %d was %s by %d: now the family is that of %x, %v", code, won, by, f.Client, err)
			}
		}
	}
	for _, code := range slices.Sorted(maps.Keys(l.rules[Rotated])) {
		f, err := s.Family(ctx, familyID(code))
		if to := l.rules[Rotated][code]; err != nil || uint64(f.Generation) < to {
			say("family of code %d: generation %d, %v, it had %d", code, f.Generation, err, to)
		}
	}
	for _, token := range slices.Sorted(maps.Keys(l.rules[Bound])) {
		t, err := s.SubjectToken(ctx, tokenHash(token))
		if to := l.rules[Bound][token]; err != nil || t.Client != client(to) {
			say("token %d was bound to %d: now it is %q, %v", token, to, t.Client, err)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(l.rules[Granted])) {
		a, err := s.Account(ctx, store.SubjectID(account(int(id>>8))))
		n, err2 := granted(a, int(id&0xff))
		if to := l.rules[Granted][id]; err != nil || err2 != nil || n < to {
			say("%s: writer %d has grant %d, %v, it had %d", account(int(id>>8)), id&0xff, n, errors.Join(err, err2), to)
		}
	}
	for _, k := range slices.Sorted(maps.Keys(l.rules[Swapped])) {
		value, err := kv.Get(ctx, counterKey(int(k)))
		if to := l.rules[Swapped][k]; err != nil || len(value) != 8 || binary.LittleEndian.Uint64(value) < to {
			say("counter %d: %x, %v, it had %d", k, value, err, to)
		}
	}
	for writer := range writers {
		n, err := partState(ctx, e, writer)
		if to := l.rules[Applied][uint64(writer)]; err != nil || n < to {
			say("part of writer %d: state %d, %v, it had %d", writer, n, err, to)
		}
	}
	return wrong, nil
}

// History is all that was ever acknowledged, in the order of the versions. It tells
// whether a store is as it was after one commit, and no mixture of several.
type History struct {
	writes map[store.Key][]Written
	known  map[store.Key]map[store.Version]bool
}

// NewHistory makes the history of the reports.
func NewHistory(reports []Report) *History {
	h := &History{writes: map[store.Key][]Written{}, known: map[store.Key]map[store.Version]bool{}}
	for _, r := range reports {
		for _, w := range r.Writes {
			if h.known[w.Key] == nil {
				h.known[w.Key] = map[store.Version]bool{}
			}
			if !h.known[w.Key][w.Version] {
				h.known[w.Key][w.Version] = true
				h.writes[w.Key] = append(h.writes[w.Key], w)
			}
		}
	}
	for _, writes := range h.writes {
		slices.SortFunc(writes, func(a, b Written) int { return int(int64(a.Version) - int64(b.Version)) })
	}
	return h
}

// Mixed returns what is wrong with the belief that the records are those of one
// moment: after the commit of the newest of them, before the next. commit says to
// which commit a version belongs. A write that was never acknowledged may be there.
func (h *History) Mixed(there map[store.Key]store.Item, commit func(store.Version) uint64) (wrong []string) {
	newest := uint64(0)
	for _, it := range there {
		newest = max(newest, commit(it.Version))
	}
	parts := newestOfParts(there)
	for k, writes := range h.writes {
		var want Written // as of the newest commit
		for _, w := range writes {
			if commit(w.Version) <= newest {
				want = w
			}
		}
		it, ok := there[k]
		switch {
		case ok && it.Version == want.Version && sum(it.Value) == want.Sum:
		case !ok && want.Sum == 0:
		case ok && it.Version > want.Version && !h.known[k][it.Version]: // under way when its writer died
		case !ok && h.unheard(parts[k.Part], want.Version): // the same, a delete
		default:
			wrong = append(wrong, fmt.Sprintf("record %c %x: commit %d of %d, want %d", k.Table, k.Part, commit(it.Version), newest, commit(want.Version)))
		}
	}
	return wrong
}

// unheard says that a record is newer and was never acknowledged.
func (h *History) unheard(it store.Item, than store.Version) bool {
	return it.Version > than && !h.known[it.Key][it.Version]
}
