//go:build !unix && !windows

package bench

import (
	"errors"
	"time"
)

func cpuTime() (time.Duration, error) {
	return 0, errors.New("this system doesn't say what processor time a process has used")
}
