package sim

import (
	"syscall"
	"time"
)

// nap sleeps for less than the runtime's timers can: they wake up once a millisecond.
func nap(d time.Duration) {
	t := syscall.NsecToTimespec(int64(d))
	_ = syscall.Nanosleep(&t, nil) // one that is woken early looks at the clock, and naps again
}
