//go:build !linux

package powercut

import "errors"

// Notes is the file below the mount point to which a program writes its notes.
const Notes = "notes"

// ErrNoMount means that this user or system may not mount.
var ErrNoMount = errors.New("powercut: no filesystem can be mounted here, Linux, root and /dev/fuse are needed")

// Recorder is a mounted filesystem that logs what is done to it.
type Recorder struct{}

// Record is for Linux only.
func Record(string) (*Recorder, error) { return nil, ErrNoMount }

// Noted is how many notes the log has.
func (*Recorder) Noted() int { return 0 }

// Unmount ends the recording and returns the log.
func (*Recorder) Unmount() ([]Event, error) { return nil, ErrNoMount }
