// Package bench is the command `souk bench`: what this machine does with this
// program, measured beside something that is known in the same run. Each case has
// files of its own, store*.go and http*.go; this one has what they share.
package bench

import (
	"context"
	"fmt"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/term"
)

// Commands are the subcommands of `souk bench`.
type Commands struct {
	HTTP   HTTP   `cmd:"" name:"http" default:"withargs" help:"The server, through HTTP, beside a bare fasthttp handler. This is what \"souk bench\" alone does: its flags are those of \"souk bench http\"."`
	Store  Store  `cmd:"" help:"The store: durable writes, refreshes, reads beside them, room on disk, and the open after a crash."`
	Growth Growth `cmd:"" help:"What an update check costs as apps, plugins and connections become more."`
	Child  Child  `cmd:"" hidden:""` // a process of its own for a server that is measured
	Loader Loader `cmd:"" name:"store-loader" hidden:""`
}

// rate lets so many callers run f again and again for a time, and returns how many
// calls a second there were. The first error ends it.
func rate(ctx context.Context, callers int, d time.Duration, f func(caller int) error) (float64, error) {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var all sync.WaitGroup
	var calls atomic.Int64
	began := time.Now()
	for caller := range callers {
		all.Go(func() {
			n := int64(0)
			for ctx.Err() == nil && time.Since(began) < d {
				if err := f(caller); err != nil {
					stop(err)
					break
				}
				n++
			}
			calls.Add(n)
		})
	}
	all.Wait()
	return float64(calls.Load()) / time.Since(began).Seconds(), context.Cause(ctx)
}

// median is the middle one, of an even number the lower of the two.
func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[(len(sorted)-1)/2]
}

// progress says on a terminal what is being done, in a line that goes again.
type progress struct{ terminal bool }

func newProgress() progress { return progress{term.IsTerminal(int(os.Stderr.Fd()))} }

func (p progress) say(format string, args ...any) {
	if p.terminal {
		fmt.Fprintf(os.Stderr, "\r\x1b[K%s", fmt.Sprintf(format, args...))
	}
}

func (p progress) end() { p.say("") }
