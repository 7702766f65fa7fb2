//go:build !linux

package sim

import "time"

// nap sleeps, to the millisecond or so.
func nap(d time.Duration) { time.Sleep(d) }
