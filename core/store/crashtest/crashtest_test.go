package crashtest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"reflect"
	"slices"
	"sync"
	"testing"

	"github.com/souk-market/souk/core/store"
	"github.com/souk-market/souk/core/store/badger"
)

var ctx = context.Background()

func TestReportReadsBack(t *testing.T) {
	want := Report{Rule: Wrote, ID: 1, Value: 2, Writes: []Written{
		{Key: store.Key{Table: 'P', Part: "part", Sub: "sub"}, Version: 7, Sum: 9},
		{Key: store.Key{Table: 'F', Part: "part"}, Version: 8},
	}}
	b := want.encode()
	got, err := ReadReport(bytes.NewReader(b))
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("ReadReport() = %+v, %v, want %+v", got, err, want)
	}
	for n := range b {
		if _, err := ReadReport(bytes.NewReader(b[:n])); !errors.Is(err, io.EOF) {
			t.Fatalf("ReadReport of %d of %d bytes = %v, want io.EOF", n, len(b), err)
		}
	}
	b[1]--
	if _, err := ReadReport(bytes.NewReader(b)); err == nil {
		t.Error("a report of a wrong length was read")
	}
}

// wrote runs the writers over an engine in memory until so many reports.
func wrote(t *testing.T, enough int) (store.Engine, []Report) {
	t.Helper()
	e, err := badger.Open(badger.Options{InMemory: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = e.Close() })
	running, stop := context.WithCancel(ctx)
	defer stop()
	var mu sync.Mutex
	var reports []Report
	var speaking sync.WaitGroup
	w := &Writers{Engine: e, Tell: func(report []byte) error {
		speaking.Add(1)
		defer speaking.Done()
		r, err := ReadReport(bytes.NewReader(report))
		mu.Lock()
		defer mu.Unlock()
		if reports = append(reports, r); len(reports) == enough {
			stop()
		}
		return err
	}}
	if err := w.Run(running); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	mu.Lock()
	defer mu.Unlock()
	return e, slices.Clone(reports)
}

func ledgerOf(reports []Report) *Ledger {
	l := &Ledger{}
	for _, r := range reports {
		l.Take(r)
	}
	return l
}

func wantFindings(t *testing.T, what string, l *Ledger, e store.Engine, lost, wrong bool) {
	t.Helper()
	found, err := l.Check(ctx, e)
	if err != nil {
		t.Fatal(err)
	}
	if (found.Lost > 0) != lost || (len(found.Wrong) > 0) != wrong {
		t.Errorf("%s: %v, want lost %v and wrong %v", what, found.Err(), lost, wrong)
	}
}

func TestLedgerFindsWhatIsMissing(t *testing.T) {
	e, reports := wrote(t, 4000)
	l := ledgerOf(reports)
	if l.Acknowledged == 0 || l.Redeemed == 0 {
		t.Fatalf("%d writes, %d codes in %d reports", l.Acknowledged, l.Redeemed, len(reports))
	}
	for _, rule := range []Rule{Redeemed, Replayed, Rotated, Bound, Granted, Swapped, Applied} {
		if len(l.rules[rule]) == 0 {
			t.Errorf("no report of rule %c", rule)
		}
	}
	wantFindings(t, "a whole store", l, e, false, false)

	if err := e.Apply(ctx, store.Op{Key: partKey(3, 0), Delete: true}, store.Op{Key: partKey(3, 1), Delete: true}); err != nil {
		t.Fatal(err)
	}
	wantFindings(t, "half of an Apply", l, e, false, true)
	family := familyID(number(0, 0))
	if err := e.Apply(ctx, store.Op{Key: store.Key{Table: 'F', Part: string(family[:])}, Delete: true}); err != nil {
		t.Fatal(err)
	}
	wantFindings(t, "a family that is gone", l, e, true, true)
}

func TestLedgerFindsContradictions(t *testing.T) {
	for what, r := range map[string][2]Report{
		"redeemed twice":            {{Rule: Redeemed, ID: 1, Value: 1}, {Rule: Redeemed, ID: 1, Value: 2}},
		"redeemed twice by the one": {{Rule: Redeemed, ID: 1, Value: 1}, {Rule: Redeemed, ID: 1, Value: 1}},
		"two winners":               {{Rule: Replayed, ID: 1, Value: 1}, {Rule: Replayed, ID: 1, Value: 2}},
		"bound twice":               {{Rule: Bound, ID: 1, Value: 1}, {Rule: Bound, ID: 1, Value: 2}},
		"swapped twice":             {{Rule: Swapped, ID: 1, Value: 1}, {Rule: Swapped, ID: 1, Value: 1}},
	} {
		if l := ledgerOf(r[:]); len(l.wrong) != 1 {
			t.Errorf("%s: %q, want one complaint", what, l.wrong)
		}
	}
}

func TestHistoryFindsMixtures(t *testing.T) {
	e, reports := wrote(t, 4000)
	h := NewHistory(reports)
	there, err := Records(ctx, e)
	if err != nil {
		t.Fatal(err)
	}
	commit := func(v store.Version) uint64 { return uint64(v) >> 12 } // of Badger
	if wrong := h.Mixed(there, commit); len(wrong) > 0 {
		t.Fatalf("a store that nothing happened to: %q", wrong)
	}
	for k, writes := range h.writes {
		if len(writes) < 2 || writes[0].Sum == 0 || there[k].Version == 0 {
			continue
		}
		newer := there[k]
		old := newer
		old.Version = writes[0].Version
		there[k] = old
		if wrong := h.Mixed(there, commit); len(wrong) != 1 {
			t.Fatalf("with an older record among newer ones: %q, want that one", wrong)
		}
		there[k] = newer
		return
	}
	t.Fatal("no record was written twice")
}
