package server

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"
)

// deadlines hands out the contexts of requests. A timer for each, and a place in
// the list of its parent, cost as much as reading a form; so requests that begin
// within a moment share a context, which ends by that moment later than the first
// of them asked for.
type deadlines struct {
	base    context.Context
	length  time.Duration
	stripes [deadlineStripes]atomic.Pointer[shared]
}

const (
	deadlineStripes = 16 // connections spread over them: whoever waits for the end of a context locks it
	deadlineMoments = 16 // of a deadline
)

// shared is a context that is handed out until some time.
type shared struct {
	ctx   context.Context
	until time.Time
}

func newDeadlines(base context.Context, length time.Duration) *deadlines {
	return &deadlines{base: base, length: length}
}

// of returns the context of a request that has just begun. It outlives the request:
// nothing may wait for it to end before its deadline.
func (d *deadlines) of(r *fasthttp.RequestCtx) context.Context { return d.at(r.ConnID(), r.Time()) }

// at is of for a connection and a time.
//
// hot: called for nearly every request; an allocation once in a moment.
func (d *deadlines) at(connection uint64, now time.Time) context.Context {
	at := &d.stripes[connection%deadlineStripes]
	s := at.Load()
	if s == nil || !now.Before(s.until) {
		moment := d.length / deadlineMoments
		ctx, cancel := context.WithTimeout(d.base, d.length+moment)
		context.AfterFunc(ctx, cancel)
		s = &shared{ctx, now.Add(moment)}
		at.Store(s) // where two come at once, one of the two is used less
	}
	return s.ctx
}
