package store_test

import (
	"reflect"
	"testing"
	"time"

	"github.com/souk-market/souk/core/store"
	"github.com/souk-market/souk/core/store/audit"
)

func TestPollingIsWhatWasSaidLast(t *testing.T) {
	s, _, c := openStore(t)
	_, err := s.Polling(ctx)
	wantIs(t, "Polling of a new store", err, store.ErrNotFound)
	until := start.Add(36 * time.Hour)
	for _, p := range []store.Polling{{Hours: 48, Set: start}, {Hours: 96, Until: until, Set: start.Add(time.Minute)}} {
		if err := s.SetPolling(ctx, p.Hours, p.Until); err != nil {
			t.Fatal(err)
		}
		if got, err := s.Polling(ctx); err != nil || !reflect.DeepEqual(got, p) {
			t.Errorf("Polling = %+v, %v, want %+v", got, err, p)
		}
		c.advance(time.Minute)
	}
	c.set(until)
	_, err = s.Polling(ctx)
	wantIs(t, "Polling past its end", err, store.ErrNotFound)
	if err := s.SetPolling(ctx, 48, time.Time{}); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time there is nothing to take back
		if err := s.ClearPolling(ctx); err != nil {
			t.Errorf("ClearPolling = %v", err)
		}
		_, err = s.Polling(ctx)
		wantIs(t, "Polling that was taken back", err, store.ErrNotFound)
	}
}

func TestPollingIsWrittenDownBeforeItIsSet(t *testing.T) {
	a := openAudited(t)
	until := start.Add(time.Hour)
	for _, err := range []error{
		a.SetPolling(ctx, 48, until), a.SetPolling(ctx, 48, until), a.SetPolling(ctx, 96, time.Time{}), a.ClearPolling(ctx), a.ClearPolling(ctx),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	var got []map[string]string
	for _, e := range a.entries(t) {
		if e.Kind != audit.PollingChanged {
			t.Errorf("there is an entry of kind %s", e.Kind)
		}
		got = append(got, e.Detail)
	}
	want := []map[string]string{{"hours": "48", "until": until.Format(time.RFC3339)}, {"old": "48", "hours": "96"}, {"old": "96"}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("written down is %v, want %v", got, want)
	}
	a.broken.Store(true)
	wantIs(t, "SetPolling without a log", a.SetPolling(ctx, 48, time.Time{}), store.ErrStopped)
	_, err := a.Polling(ctx)
	wantIs(t, "Polling after that", err, store.ErrNotFound)
}

func TestPollingThatIsDamagedIsAnError(t *testing.T) {
	s, e, _ := openStore(t)
	for _, b := range [][]byte{{}, {1}, {2, 0, 0, 0, 48}} {
		if err := e.Apply(ctx, store.Op{Key: store.Key{Table: 'O', Part: "polling"}, Value: append([]byte{}, b...)}); err != nil {
			t.Fatal(err)
		}
		if p, err := s.Polling(ctx); err == nil {
			t.Errorf("Polling of %v = %+v, want an error", b, p)
		}
		if err := s.SetPolling(ctx, 48, time.Time{}); err == nil {
			t.Errorf("SetPolling over %v = nil, want an error: a newer program may have written it", b)
		}
		if err := s.ClearPolling(ctx); err != nil {
			t.Errorf("ClearPolling over %v = %v: the way out", b, err)
		}
		_, err := s.Polling(ctx)
		wantIs(t, "Polling that was cleared", err, store.ErrNotFound)
	}
}
