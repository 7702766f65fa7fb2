//go:build !windows

package main

import (
	"os"
	"os/signal"
	"syscall"
)

// onHangup has the signals come that say: read your configuration again.
func onHangup(c chan<- os.Signal) { signal.Notify(c, syscall.SIGHUP) }
