package sim

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/souk-market/souk/cmd/souk/sim/population"
)

const (
	endless = 64 // connections whose requests never end
	drip    = 200 * time.Millisecond
	inTime  = time.Second
)

// poison mixes requests that are broken or too large into those of a day, and holds
// connections open with requests that come a byte at a time.
func poison(r *run) (*scenario, error) {
	r.config.Traffic = population.Traffic{Expired: 0.02, NoToken: 0.05, UnknownApp: 0.02, Malformed: 0.2, Oversized: 0.05}
	s := &scenario{length: aDay / 2, speed: 720, claims: r.usual(r.checks.harm)}
	var late atomic.Uint64
	var drips drips
	s.operate = func(ctx context.Context) error {
		r.mark("%d connections send a byte every %v", endless, drip)
		var wg sync.WaitGroup
		for range endless {
			wg.Go(func() {
				for ctx.Err() == nil && r.clock.Now().Before(r.to) {
					r.dripInto(ctx, &drips)
				}
			})
		}
		wg.Wait()
		return nil
	}
	s.judged = func(_ *worker, j *job, rp reply) {
		r.checks.harm.looked.Add(1)
		if rp.answered-j.due > inTime*time.Duration(r.c.Patience) {
			late.Add(1)
		}
	}
	s.conclude = func() {
		r.figure("endless", "%d requests that never ended were cut off, %d of them with 408", drips.cut.Load(), drips.told.Load())
		r.checks.codes.hold(drips.told.Load() > 0 && r.tally.count(class400) > 0 && r.tally.count(class403) > 0 && r.tally.count(class413) > 0, func() string {
			return "of the requests that are broken, too large, endless or have an old token not all were there: the run was too small or too short"
		})
		if n := late.Load(); n*100 > r.checks.harm.looked.Load() {
			r.checks.harm.failed.Store(n)
			r.checks.harm.first = "more than one of a hundred had to wait for more than " + inTime.String()
		}
	}
	return s, nil
}

// drips counts requests that never end: those that the server has cut off, and of them
// those that were told so. Where bytes were on their way a machine may lose that answer.
type drips struct{ cut, told atomic.Uint64 }

// dripInto sends a request a byte at a time, until the server has had enough of it or
// the run is over.
func (r *run) dripInto(ctx context.Context, d *drips) {
	l := line{address: r.host, tls: r.tls}
	defer l.close()
	text := appendHead(nil, r.host, pathUpdates, jsonType, nil, 1<<16)
	for i := 0; ; i++ {
		b := []byte{' '} // of the body
		if i == 0 {
			b = text
		}
		if err := l.send(b); err != nil {
			if i > 0 {
				d.cut.Add(1)
			}
			return
		}
		if ctx.Err() != nil || !r.clock.Now().Before(r.to) {
			return
		}
		if err := l.conn.SetReadDeadline(time.Now().Add(drip)); err != nil {
			d.cut.Add(1)
			return
		}
		_, err := l.in.Peek(1)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			continue
		}
		d.cut.Add(1)
		var answer fasthttp.Response
		if err == nil {
			err = answer.Read(l.in)
		}
		if err == nil {
			why := func() string {
				return fmt.Sprintf("a request that never ends was answered %d and not 408", answer.StatusCode())
			}
			switch {
			case answer.StatusCode() == 503 && len(answer.Header.Peek("Retry-After")) > 0: // it was turned away
			case answer.StatusCode() == 200 && string(answer.Body()) == emptyList:
				r.excused.codes.hold(false, why)
			default:
				d.told.Add(1)
				r.checks.codes.hold(answer.StatusCode() == 408, why)
			}
		}
		return
	}
}
