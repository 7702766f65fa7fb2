package server

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/valyala/fasthttp"
)

// Requests of one moment share a context, none gets less time than it should, and
// none more than a moment beyond.
func TestDeadlines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		base, stop := context.WithCancel(t.Context())
		defer stop()
		const length, moment = 16 * time.Second, time.Second
		d := newDeadlines(base, length)
		request := func() (context.Context, time.Time) {
			now := time.Now()
			return d.at(0, now), now
		}
		var all []context.Context
		for range 40 {
			ctx, now := request()
			end, ok := ctx.Deadline()
			if left := end.Sub(now); !ok || left < length || left > length+moment {
				t.Fatalf("a request has %v, want %v to %v", left, length, length+moment)
			}
			if len(all) == 0 || all[len(all)-1] != ctx {
				all = append(all, ctx)
			}
			time.Sleep(moment / 4)
		}
		if len(all) != 10 {
			t.Errorf("40 requests in 10 moments have %d contexts, want 10", len(all))
		}
		if other := d.at(1, time.Now()); other == all[len(all)-1] {
			t.Error("two connections of different stripes share a context")
		}
		time.Sleep(length)
		if err := all[0].Err(); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("past its deadline a context says %v", err)
		}
		last, _ := request()
		stop()
		synctest.Wait()
		if err := last.Err(); !errors.Is(err, context.Canceled) {
			t.Errorf("when the server stops a context says %v", err)
		}
	})
}

// A request begins when fasthttp says so.
func TestDeadlinesOfARequest(t *testing.T) {
	d := newDeadlines(t.Context(), time.Minute)
	r := &fasthttp.RequestCtx{}
	r.Init(&fasthttp.Request{}, nil, nil)
	if ctx := d.of(r); ctx != d.of(r) {
		t.Error("two requests of the same moment have two contexts")
	} else if end, ok := ctx.Deadline(); !ok || time.Until(end) > time.Minute+time.Minute/deadlineMoments {
		t.Errorf("a request may go on until %v", end)
	}
}
