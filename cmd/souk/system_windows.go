package main

import "os"

// onHangup does nothing: Windows has no such signal, and "souk plugin reload" does
// the same.
func onHangup(chan<- os.Signal) {}
