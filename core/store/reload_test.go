package store_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/souk-market/souk/core/store"
)

func TestReloadReadsAgainUntilItIsWell(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		full, torn := errors.New("full"), errors.New("torn")
		comes := []error{full, full, torn, nil, full, nil}
		hints := make(chan struct{}, 1)
		var at []time.Duration
		var told []error
		done := make(chan struct{})
		go func() {
			defer close(done)
			store.Reload(t.Context(), hints, nil, func(context.Context) error {
				at = append(at, time.Since(began))
				err := comes[0]
				comes = comes[1:]
				return err
			}, func(err error) { told = append(told, err) })
		}()
		time.Sleep(10 * time.Second)
		hints <- struct{}{} // fails three times, and is well after three seconds
		time.Sleep(10 * time.Second)
		hints <- struct{}{} // fails once
		time.Sleep(10 * time.Second)
		close(hints)
		<-done
		if want := []time.Duration{10 * time.Second, 11 * time.Second, 12 * time.Second, 13 * time.Second, 20 * time.Second, 21 * time.Second}; !slices.Equal(at, want) {
			t.Errorf("read at %v, want %v", at, want)
		}
		if want := []error{full, torn, full}; !slices.Equal(told, want) {
			t.Errorf("told %v, want %v: each once", told, want)
		}
	})
}

func TestReloadGoesOnWhereTheFirstReadFailed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		ctx, stop := context.WithCancel(t.Context())
		first := errors.New("the same")
		store.Reload(ctx, make(chan struct{}), first, func(context.Context) error {
			if time.Since(began) >= 3*time.Second {
				stop()
			}
			return first
		}, func(err error) { t.Errorf("told %v, which is known", err) })
		if took := time.Since(began); took != 3*time.Second {
			t.Errorf("read for %v, want a read each second for 3 s", took)
		}
	})
}
